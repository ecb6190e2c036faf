//! Whatever is printed reads back; what is no value, or no type, is told.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::object::btf::Types;

/// BTF, written type by type.
#[derive(Clone, Debug, Default)]
struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const FLOAT: u32 = 16;
const ENUM64: u32 = 19;

impl Btf {
    fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len();
        self.strings.extend(text.bytes().chain([0]));
        u32::try_from(at).unwrap()
    }

    fn push(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    /// A type; its id.
    fn add(&mut self, kind: u32, name: &str, info: u32, size: u32, more: &[u32]) -> u32 {
        let name = self.string(name);
        self.push(&[name, kind << 24 | info, size]);
        self.push(more);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.add(INT, name, 0, size, &[(encoding << 24) | (8 * size)])
    }

    fn array(&mut self, element: u32, count: u32) -> u32 {
        self.add(ARRAY, "", 0, 0, &[element, element, count])
    }

    /// A struct or union with members by name, type and place.
    fn record(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let fields = 1 << 31;
        let more: Vec<u32> = members
            .iter()
            .flat_map(|(name, of, place)| [self.string(name), *of, *place])
            .collect();
        let count = u32::try_from(members.len()).unwrap();
        self.add(kind, name, fields | count, size, &more)
    }

    fn bytes(&self) -> Vec<u8> {
        let strings = if self.strings.is_empty() {
            vec![0]
        } else {
            self.strings.clone()
        };
        let [types, texts] = [&self.types, &strings].map(|part| u32::try_from(part.len()).unwrap());
        let header = [0x0001_eb9f, 24, 0, types, types, texts];
        let header: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        [header, self.types.clone(), strings].concat()
    }

    fn of(&self, id: u32) -> Option<Type> {
        Type::of(&Types::parse(&self.bytes())?, id)
    }
}

/// A bit field's place.
const fn field(offset: u32, width: u32) -> u32 {
    width << 24 | offset
}

fn check(of: &Type, bytes: &[u8], text: &str) {
    let literal = of.decode(bytes);
    assert_eq!(literal.to_string(), text);
    assert_eq!(of.parse(text).as_deref(), Ok(bytes), "{text}");
    let json = literal.json().to_string();
    assert_eq!(of.parse(&json).as_deref(), Ok(bytes), "{json}");
}

#[test]
fn values_of_each_kind() {
    let mut btf = Btf::default();
    let byte = btf.int("unsigned char", 1, 0);
    let signed = btf.int("int", 4, 1);
    let bool = btf.int("_Bool", 1, 4);
    let char = btf.int("char", 1, 1);
    let short = btf.int("unsigned short", 2, 0);
    let word = btf.int("unsigned int", 4, 0);
    let wide = btf.int("__int128", 16, 1);
    let name = btf.array(char, 8);
    let bytes = btf.array(byte, 6);
    let (a, b) = (btf.string("OPEN"), btf.string("SHUT"));
    let state = btf.add(ENUM, "state", 2, 4, &[a, 0, b, 7]);
    let big = btf.add(ENUM64, "big", 1 << 31 | 1, 8, &[b, u32::MAX, u32::MAX]);
    let pointer = btf.add(PTR, "", 0, signed, &[]);
    let float = btf.add(FLOAT, "double", 0, 8, &[]);
    let be16 = btf.add(TYPEDEF, "__be16", 0, short, &[]);
    let be32 = btf.add(TYPEDEF, "__be32", 0, word, &[]);
    let flow = btf.record(STRUCT, "flow", 8, &[("from", be32, 0), ("port", be16, 32)]);
    let of = |id| btf.of(id).unwrap();
    check(&of(signed), &(-5i32).to_ne_bytes(), "-5");
    check(&of(bool), &[1], "true");
    check(&of(bool), &[9], "9");
    check(&of(char), &[65], "65");
    check(&of(wide), &i128::MIN.to_ne_bytes(), &i128::MIN.to_string());
    check(&of(name), b"eth0\0\0\0\0", "\"eth0\"");
    check(
        &of(name),
        b"a\0\"\\\n\0\0\x01",
        "\"a\\0\\\"\\\\\\u{a}\\0\\0\\u{1}\"",
    );
    check(
        &of(name),
        b"\xff\0\0\0\0\0\0\0",
        "[255, 0, 0, 0, 0, 0, 0, 0]",
    );
    check(&of(bytes), &[1, 2, 3, 4, 5, 6], "[1, 2, 3, 4, 5, 6]");
    check(&of(bytes), &[7; 6], "[7; 6]");
    check(&of(state), &7u32.to_ne_bytes(), "SHUT");
    check(&of(state), &8u32.to_ne_bytes(), "8");
    check(&of(big), &(-1i64).to_ne_bytes(), "SHUT");
    check(&of(pointer), &0xffff_8880u64.to_ne_bytes(), "0xffff8880");
    check(&of(float), &1.5f64.to_ne_bytes(), "1.5");
    check(&of(float), &f64::NEG_INFINITY.to_ne_bytes(), "-inf");
    check(&of(float), &f64::NAN.to_ne_bytes(), "0x7ff8000000000000");
    check(
        &of(flow),
        &[10, 0, 0, 1, 1, 187, 0, 0],
        "{from: 10.0.0.1, port: 443}",
    );
    check(
        &of(flow),
        &[10, 0, 0, 1, 1, 187, 0, 9],
        "0x0a00000101bb0009",
    );
    check(&Type::opaque(3), &[0, 1, 255], "0x0001ff");
}

#[test]
fn members_of_bits_and_in_one_place() {
    let mut btf = Btf::default();
    let byte = btf.int("unsigned char", 1, 0);
    let signed = btf.int("int", 4, 1);
    let word = btf.int("unsigned int", 4, 0);
    let bits = [
        ("a", word, field(0, 3)),
        ("b", signed, field(3, 5)),
        ("c", byte, 8),
    ];
    let bits = btf.record(STRUCT, "bits", 4, &bits);
    let either = btf.record(
        UNION,
        "either",
        4,
        &[("number", word, 0), ("bytes", byte, 0)],
    );
    let of = |id| btf.of(id).unwrap();
    let packed = (5u32 | (0x1e << 3) | (77 << 8)).to_le_bytes();
    check(&of(bits), &packed, "{a: 5, b: -2, c: 77}");
    check(&of(either), &[1, 0, 0, 0], "{number: 1, bytes: 1}");
}

#[test]
fn prefixes() {
    let six = [32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let net = [&32u32.to_ne_bytes()[..], &six].concat();
    check(&Type::prefix(20), &net, "2001:db8::1/32");
    check(&Type::prefix(8), &[8, 0, 0, 0, 10, 0, 0, 0], "10.0.0.0/8");
    check(
        &Type::prefix(8),
        &[33, 0, 0, 0, 10, 0, 0, 0],
        "0x210000000a000000",
    );
}

#[test]
fn names_say_what_is_declared() {
    let mut btf = Btf::default();
    let word = btf.int("unsigned int", 4, 0);
    let alias = btf.add(TYPEDEF, "__u32", 0, word, &[]);
    let fast = btf.add(VOLATILE, "", 0, alias, &[]);
    let two = btf.array(fast, 2);
    let cell = btf.record(STRUCT, "UnsafeCell_3C_u32_3E_", 4, &[("value", word, 0)]);
    let atomic = btf.record(STRUCT, "AtomicU32", 4, &[("v", cell, 0)]);
    let new = btf.record(STRUCT, "Port", 4, &[("__0", atomic, 0)]);
    let inner = btf.record(UNION, "", 4, &[("b", word, 0), ("c", word, 0)]);
    let outer = btf.record(STRUCT, "outer", 8, &[("a", word, 0), ("", inner, 32)]);
    let of = |id| btf.of(id).unwrap();
    assert_eq!(of(two).name, "__u32[2]");
    assert_eq!((of(new).name, of(new).kind), (of(word).name, of(word).kind));
    check(&of(outer), &[1, 0, 0, 0, 2, 0, 0, 0], "{a: 1, b: 2, c: 2}");
    assert_eq!(of(outer).parse("{c: 2}"), Ok(vec![0, 0, 0, 0, 2, 0, 0, 0]));
}

#[test]
fn what_is_no_value_is_told() {
    let mut btf = Btf::default();
    let byte = btf.int("unsigned char", 1, 0);
    let list = btf.array(byte, 2);
    let both = [
        ("list", list, 0),
        ("whole", byte, 0),
        ("low", byte, field(16, 4)),
    ];
    let record = btf.record(STRUCT, "thing", 4, &both);
    let of = btf.of(record).unwrap();
    let check = |text: &str, expected: &str| {
        assert_eq!(of.parse(text).unwrap_err().to_string(), expected, "{text}");
    };
    check(
        "{list: [1, 256]}",
        "list[1]: 256 does not fit unsigned char",
    );
    check("{list: [1, -1]}", "list[1]: -1 does not fit unsigned char");
    check(
        "{list: [1, 2, 3]}",
        "list: 3 are more than unsigned char[2] has room for",
    );
    check(
        "{list: [1; 99999999999]}",
        "list: 99999999999 are more than unsigned char[2] has room for",
    );
    check("{list: [x]}", "list[0]: x is no unsigned char");
    check("{low: 16}", "low: 16 does not fit 4 bits");
    check(
        "{other: 1}",
        "struct thing has no member other; it has list, whole, low",
    );
    check("7", "7 is no struct thing");
    check("{list: {}}", "list: a record is no unsigned char[2]");
    check(
        "{list: [1, 2], whole: 2}",
        "whole: it shares bytes with another member, and they differ; give one of them",
    );
    check(
        "{list: [1, 2], whole: 1} x",
        "at character 26 there is no end of the value",
    );
    check(
        "{list",
        "at character 6 there is no ':' behind a member's name",
    );
    check("{list: \"x", "at character 10 there is no '\"' at its end");
    check("[1 2]", "at character 4 there is no ',' or ']'");
    check("", "at character 1 there is no value");
    check(
        &"[".repeat(99),
        "at character 65 there is no value that is nested so deep",
    );
    assert_eq!(of.parse("{}"), Ok(vec![0; 4]));
    assert_eq!(of.parse("{list: [1,], }"), Ok(vec![1, 0, 0, 0]));
}

#[test]
fn types_that_make_no_sense_are_none() {
    let mut btf = Btf::default();
    let word = btf.int("unsigned int", 4, 0);
    let outside = btf.record(STRUCT, "outside", 4, &[("a", word, 8)]);
    let odd = btf.record(STRUCT, "odd", 8, &[("a", word, 3)]);
    let next = btf.count + 2;
    let endless = btf.record(STRUCT, "endless", 4, &[("a", next, 0)]);
    let array = btf.array(endless, 1);
    assert_eq!(array, next);
    let mut doubled = btf.array(word, 2);
    for _ in 0..40 {
        doubled = btf.array(doubled, 2);
    }
    let void = btf.array(0, 2);
    let itself = btf.count + 1;
    let alias = btf.add(TYPEDEF, "self", 0, itself, &[]);
    for id in [outside, odd, endless, array, doubled, void, alias, 0, 9999] {
        assert_eq!(btf.of(id), None, "{id}");
    }
    let nothing = btf.record(STRUCT, "", 0, &[]);
    let many = btf.array(nothing, u32::MAX);
    assert_eq!(btf.of(many).map(|of| of.kind), Some(Kind::Opaque));
}

/// How one more type is made of those there are.
#[derive(Clone, Debug)]
enum Make {
    Int(u32, u32),
    Enum(u32, bool, Vec<u32>),
    Array(usize, u32),
    Record(bool, Vec<(usize, u32, u32)>),
    Alias(usize, u32),
    Other(bool),
}

fn make() -> impl Strategy<Value = Make> {
    let size = || prop::sample::select(vec![1u32, 2, 4, 8, 16]);
    prop_oneof![
        (size(), 0..8u32).prop_map(|(size, how)| Make::Int(size, how)),
        (size(), any::<bool>(), vec(any::<u32>(), 0..4)).prop_map(|(s, b, v)| Make::Enum(s, b, v)),
        (any::<usize>(), 0..7u32).prop_map(|(of, count)| Make::Array(of, count)),
        (
            any::<bool>(),
            vec((any::<usize>(), 0..9u32, 0..40u32), 0..6)
        )
            .prop_map(|(union, members)| Make::Record(union, members)),
        (any::<usize>(), 0..5u32).prop_map(|(of, name)| Make::Alias(of, name)),
        any::<bool>().prop_map(Make::Other),
    ]
}

impl Btf {
    fn make(&mut self, make: &Make) {
        let earlier =
            |btf: &Self, nth: usize| u32::try_from(nth % (btf.count as usize + 1)).unwrap();
        let size = |btf: &Self, id| btf.of(id).map_or(0, |of| u32::try_from(of.size).unwrap());
        match make {
            Make::Int(size, encoding) => {
                let name = if *encoding == 1 { "char" } else { "number" };
                self.int(name, *size, *encoding);
            }
            Make::Enum(size, signed, values) => {
                let info = u32::from(*signed) << 31 | u32::try_from(values.len()).unwrap();
                let name = self.string("NAME");
                if *size == 8 {
                    let values: Vec<_> = values.iter().flat_map(|v| [name, *v, v >> 3]).collect();
                    self.add(ENUM64, "wide", info, 8, &values);
                } else {
                    let values: Vec<_> = values.iter().flat_map(|v| [name, *v]).collect();
                    self.add(ENUM, "narrow", info, *size, &values);
                }
            }
            Make::Array(of, count) => {
                self.array(earlier(self, *of), *count);
            }
            Make::Record(union, members) => {
                let (mut at, mut most) = (0, 0);
                let mut placed = Vec::new();
                for (of, gap, width) in members {
                    let of = earlier(self, *of);
                    let bits = 8 * size(self, of);
                    let place = if (1..=bits).contains(width) {
                        field(at + gap, *width)
                    } else {
                        at = (at + gap).next_multiple_of(8);
                        at
                    };
                    let end =
                        (place & 0x00ff_ffff) + if place >> 24 > 0 { place >> 24 } else { bits };
                    most = most.max(end);
                    at = if *union { 0 } else { end };
                    placed.push((["a", "b", "", "c"][placed.len() % 4], of, place));
                }
                let kind = if *union { UNION } else { STRUCT };
                self.record(kind, "record", most.div_ceil(8), &placed);
            }
            Make::Alias(of, name) => {
                let of = earlier(self, *of);
                let name = ["__be16", "__be32", "__be64", "alias", ""][*name as usize];
                self.add(
                    if name.is_empty() { VOLATILE } else { TYPEDEF },
                    name,
                    0,
                    of,
                    &[],
                );
            }
            Make::Other(float) if *float => {
                self.add(FLOAT, "float", 0, 4, &[]);
            }
            Make::Other(_) => {
                self.add(PTR, "", 0, 0, &[]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_printed_reads_back(makes in vec(make(), 1..14), seed in vec(any::<u8>(), 1..64), sparse in any::<bool>()) {
        let mut btf = Btf::default();
        makes.iter().for_each(|make| btf.make(make));
        for id in 1..=btf.count {
            let Some(of) = btf.of(id).filter(|of| of.size <= 1 << 16) else { continue };
            let zeros = |nth: usize| if sparse && !nth.is_multiple_of(3) { 0 } else { seed[nth % seed.len()] };
            let bytes: Vec<u8> = (0..of.size).map(zeros).collect();
            let literal = of.decode(&bytes);
            let text = literal.to_string();
            prop_assert_eq!(of.parse(&text), Ok(bytes.clone()), "{}: {}", of.name, text);
            let json = literal.json().to_string();
            prop_assert_eq!(of.parse(&json), Ok(bytes.clone()), "{}: {}", of.name, json);
        }
    }

    #[test]
    fn any_names_in_quotes_are_read_back(names in vec(".{0,4}", 1..4)) {
        let members = names.into_iter().map(|name| (name, Literal::Word("1".to_owned())));
        let record = Literal::Record(members.collect());
        prop_assert_eq!(record.to_string().parse(), Ok(record));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\]{}:;,\"\\\\0x1-9a-f .]{0,40}") {
        if let Ok(literal) = text.parse::<Literal>() {
            let again = literal.to_string();
            prop_assert_eq!(again.parse(), Ok(literal), "{}", again);
        }
    }

    #[test]
    fn any_types_are_read_or_refused(words in vec(prop_oneof![0..40u32, any::<u32>(), (0..20u32).prop_map(|kind| kind << 24 | 2)], 0..60)) {
        let mut btf = Btf::default();
        btf.string("name");
        btf.push(&words);
        let bytes = btf.bytes();
        let Some(types) = Types::parse(&bytes) else { return Ok(()) };
        for id in types.ids() {
            if let Some(of) = Type::of(&types, id).filter(|of| of.size <= 1 << 16) {
                let bytes = vec![0xa5; of.size];
                let text = of.decode(&bytes).to_string();
                prop_assert_eq!(of.parse(&text), Ok(bytes), "{}", text);
            }
        }
    }
}
