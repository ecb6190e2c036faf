//! The stub, and what becomes of BTF.

use aya_obj::generated::{bpf_func_info, bpf_line_info};

use super::*;

#[test]
fn a_stub_calls_the_body_as_it_is() {
    check(
        &placed(&constant(2), &XDP, Form::Stub, &PLAIN),
        "0: r6 = r1
         1: call 11
         2: if w0 != 2 goto 10
         3: r1 = r6
         4: r2 = map 7
         6: r3 = 0
         7: call helper 12
         8: r0 = 2
         9: exit
         10: exit
         11: r0 = 2
         12: exit",
    );
}

#[test]
fn a_stub_counts_beside_the_body() {
    let counted = placed(&constant(3), &TC, Form::Stub, &COUNTED);
    check(
        &counted[..20],
        "0: r6 = r1
         1: call 18
         2: r7 = r0
         3: r1 = r6
         4: r2 = r0
         5: call 20
         6: r0 = r7
         7: if w0 == -1 goto 10
         8: if w0 == 3 goto 10
         9: exit
         10: r7 = r0
         11: r1 = r6
         12: r2 = map 7
         14: r3 = 0
         15: call helper 12
         16: r0 = r7
         17: exit
         18: r0 = 3
         19: exit",
    );
    check(
        &counted[20..],
        "0: r6 = r1
         1: *(u64 *)(r10 -8) = r2
         2: call helper 8
         3: r0 <<= 7
         4: r0 &= 384
         5: r1 = value of map 8 +192
         7: r0 += r1
         8: r2 = *(u32 *)(r6 +0)
         9: r3 = *(u64 *)(r10 -8)
         10: if w3 == -1 goto 15
         11: if w3 == 3 goto 15
         12: r0 += 8
         13: if w3 == 2 goto 15
         14: r0 += 8
         15: r3 = *(u64 *)(r0 +0)
         16: r3 += 1
         17: *(u64 *)(r0 +0) = r3
         18: r3 = *(u64 *)(r0 +24)
         19: r3 += r2
         20: *(u64 *)(r0 +24) = r3
         21: r0 = 0
         22: exit",
    );
}

/// What BTF says of a placed program: each function's and each line's offset and mark.
fn infos(body: &Body<'_>, form: Form, maps: &Maps) -> [Vec<(u32, u32)>; 2] {
    let placed = place(body, &XDP, form, maps).unwrap();
    let functions = placed.func_info.iter();
    let lines = placed.line_info.iter();
    [
        functions
            .map(|info| (info.insn_off, info.type_id))
            .collect(),
        lines.map(|line| (line.insn_off, line.line_col)).collect(),
    ]
}

#[test]
fn btf_moves_along() {
    let body = [constant(2), constant(1)].concat();
    let func = |insn_off, type_id| bpf_func_info { insn_off, type_id };
    let line = |insn_off, line_col| bpf_line_info {
        insn_off,
        file_name_off: 0,
        line_off: 0,
        line_col,
    };
    let functions = [func(0, 11), func(2, 12)];
    let lines = [line(0, 101), line(1, 102), line(2, 103)];
    let body = Body {
        main_len: 2,
        func_info: &functions,
        line_info: &lines,
        static_main: Some(13),
        ..Body::of(&body)
    };
    let [functions, lines] = infos(&body, register(9), &PLAIN);
    assert_eq!(functions, [(0, 11), (12, 12)]);
    assert_eq!(lines, [(0, 101), (2, 102), (12, 103)]);

    let [functions, lines] = infos(&body, Form::Stub, &PLAIN);
    assert_eq!(functions, [(0, 11), (11, 13), (13, 12)]);
    assert_eq!(lines, [(0, 101), (11, 101), (12, 102), (13, 103)]);

    let [functions, lines] = infos(&body, Form::Stub, &COUNTED);
    assert_eq!(functions, [(0, 11), (16, 13), (18, 12), (20, 13)]);
    assert_eq!(
        lines,
        [(0, 101), (16, 101), (17, 102), (18, 103), (20, 101)]
    );

    let nameless = Body {
        static_main: None,
        ..body
    };
    let error = place(&nameless, &XDP, Form::Stub, &PLAIN).unwrap_err();
    assert_eq!(error, PlaceError::NoStaticType);
}

#[test]
fn without_btf_every_function_gets_the_one_type() {
    let calls = [call_subprogram(1), exit(), mov_imm(R0, 2), exit()];
    let body = Body {
        main_len: 2,
        static_main: Some(3),
        ..Body::of(&calls)
    };
    let [functions, lines] = infos(&body, Form::Stub, &PLAIN);
    assert_eq!(
        (functions.as_slice(), lines.as_slice()),
        (&[(0, 3), (11, 3), (13, 3)][..], &[][..])
    );
}
