//! Types, layout and values, by a small configuration.

use super::*;

const TEXT: &str = "\
# CONFIG_NOT is not set
CONFIG_BPF=y
CONFIG_BPF_MORE=n
CONFIG_VETH=m
CONFIG_HZ=250
CONFIG_BELOW=-2
CONFIG_START=0xdead000000000000
CONFIG_CONG=\"bbr\"
";

const fn integer(size: usize, signed: bool) -> Shape {
    Shape::Integer { size, signed }
}

#[test]
fn types_are_told_apart() {
    let strings = b"\0libbpf_tristate\0".to_vec();
    let types: &[&[u32]] = &[
        &[0, KIND_INT << 24, 1, 4 << 24 | 8],
        &[0, KIND_INT << 24, 1, 1 << 24 | 8],
        &[0, KIND_INT << 24, 8, 64],
        &[0, KIND_INT << 24, 16, 128],
        &[1, KIND_ENUM << 24, 4],
        &[0, KIND_ENUM << 24, 4],
        &[0, KIND_ARRAY << 24, 0, 10, 3, 12],
        &[0, KIND_ARRAY << 24, 0, 3, 3, 12],
        &[0, KIND_ARRAY << 24, 0, 2, 3, 0],
        &[0, 10 << 24, 2], // const
        &[0, 8 << 24, 11], // a typedef of itself
        &[0, 4 << 24, 4],  // a struct
    ];
    let count = u32::try_from(types.len()).unwrap();
    let variables = (1..=count).map(|id| [0, 14 << 24, id, 1]);
    let words: Vec<_> = variables.fold(types.concat(), |words, next| [&words[..], &next].concat());
    let length = u32::try_from(4 * words.len()).unwrap();
    let header = [0x0001_eb9f, 24, 0, length, length, 17];
    let mut bytes: Vec<_> = header
        .into_iter()
        .chain(words)
        .flat_map(u32::to_ne_bytes)
        .collect();
    bytes.extend(strings);
    let types = Types::parse(&bytes).unwrap();
    let shapes: Vec<_> = (1..=count)
        .map(|id| Shape::of(&types, count + id))
        .collect();
    let expected = [
        Some(Shape::Bool),
        Some(integer(1, true)),
        Some(integer(8, false)),
        None,
        Some(Shape::Tristate),
        None,
        Some(Shape::Text { size: 12 }),
        None,
        None,
        Some(integer(1, true)),
        None,
        None,
    ];
    assert_eq!(shapes, expected);
}

/// The value of variables by `TEXT`, or the symbol of the one that cannot be.
fn value(variables: &[(&str, Shape, bool)]) -> Result<Vec<u8>, String> {
    let variables = variables.iter().map(|(symbol, shape, weak)| Variable {
        symbol: (*symbol).to_owned(),
        weak: *weak,
        shape: *shape,
        offset: 0,
    });
    let kconfig = Kconfig::laid_out(variables.collect()).ok_or("too large")?;
    kconfig
        .value_by("test", TEXT)
        .map_err(|error| error.to_string())
}

#[test]
fn each_type_holds_what_it_can() {
    let check = |symbol: &str, shape: Shape, expected: Option<&[u8]>| {
        let said = look_up(TEXT, symbol).unwrap();
        let got = shape.encode(said);
        assert_eq!(got.as_deref(), expected, "{symbol} as {shape:?}");
    };
    check("CONFIG_BPF", Shape::Bool, Some(&[1]));
    check("CONFIG_BPF_MORE", Shape::Bool, Some(&[0]));
    check("CONFIG_VETH", Shape::Bool, None);
    check("CONFIG_HZ", Shape::Bool, None);
    check("CONFIG_VETH", Shape::Tristate, Some(&[2]));
    check("CONFIG_HZ", Shape::Tristate, None);
    check("CONFIG_VETH", integer(1, true), Some(b"m"));
    check("CONFIG_VETH", integer(2, true), None);
    check("CONFIG_HZ", integer(1, false), Some(&[250]));
    check("CONFIG_HZ", integer(1, true), None);
    check("CONFIG_HZ", integer(4, true), Some(&[250, 0, 0, 0]));
    check("CONFIG_BELOW", integer(2, true), Some(&[254, 255]));
    check("CONFIG_BELOW", integer(4, false), None);
    check("CONFIG_START", integer(4, false), None);
    let start = [0, 0, 0, 0, 0, 0, 0xad, 0xde];
    check("CONFIG_START", integer(8, false), Some(&start));
    check("CONFIG_CONG", integer(8, false), None);
    check("CONFIG_CONG", Shape::Text { size: 8 }, Some(b"bbr"));
    check("CONFIG_CONG", Shape::Text { size: 3 }, Some(b"bb"));
    check("CONFIG_BPF", Shape::Text { size: 8 }, None);
}

#[test]
fn values_lie_in_the_order_of_libbpf() {
    let variables = [
        ("CONFIG_CONG", Shape::Text { size: 4 }, false),
        ("CONFIG_VETH", integer(1, true), false),
        ("CONFIG_BPF", Shape::Bool, false),
        ("CONFIG_HZ", integer(4, false), false),
        ("CONFIG_NOT", integer(8, false), true),
    ];
    let expected = b"\0\0\0\0\0\0\0\0\xfa\0\0\0\x01mbbr\0";
    assert_eq!(value(&variables), Ok(expected.to_vec()));
    assert_eq!(value(&[]), Ok(Vec::new()));
}

#[test]
fn errors_name_the_variable() {
    let check = |variable, expected: &str| {
        let error = value(&[variable]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check(("CONFIG_NOT", Shape::Bool, false), "no CONFIG_NOT");
    check(("CONFIG_VETH", Shape::Bool, true), "CONFIG_VETH: it is m");
    let size = MAX_SIZE + 1;
    check(("CONFIG_CONG", Shape::Text { size }, false), "too large");
}

#[test]
fn what_libbpf_makes_up_is_there() {
    let text = not_configured("CONFIG_ARCH_HAS_SYSCALL_WRAPPER=y\n");
    assert_eq!(look_up(&text, WRAPPER), Some("1"));
    for symbol in ["LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE"] {
        let said = look_up(&text, symbol);
        assert!(said.and_then(number).is_some(), "{symbol}: {said:?}");
    }
}
