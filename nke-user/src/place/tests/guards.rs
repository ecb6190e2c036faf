//! The guard in front of a body, and the claim by which sockets pass it.

use aya_obj::generated::bpf_func_info;

use super::*;
use crate::place::claim;

const fn guarded(socket: Socket) -> Maps {
    let (marks, pass) = (9, 2);
    Maps {
        guard: Some(Guard {
            marks,
            socket,
            pass,
        }),
        ..PLAIN
    }
}

#[test]
fn a_socket_without_a_mark_goes_to_the_next_node() {
    check(
        &placed(&constant(1), &XDP, register(9), &guarded(Socket::At(168)))[..17],
        "0: r9 = r1
         1: r2 = *(u64 *)(r1 +168)
         2: if r2 == 0 goto 9
         3: r1 = map 9
         5: r3 = 0
         6: r4 = 0
         7: call helper 107
         8: if r0 != 0 goto 16
         9: r1 = r9
         10: r2 = map 7
         12: r3 = 0
         13: call helper 12
         14: r0 = 2
         15: exit
         16: r1 = r9",
    );
}

#[test]
fn the_body_stands_behind_its_guard_as_without_it() {
    let maps = guarded(Socket::At(0));
    for form in [register(9), slot(-8), Form::Stub] {
        let bare = placed(&constant(1), &XDP, form, &PLAIN);
        let whole = placed(&constant(1), &XDP, form, &maps);
        let front = whole.len() - bare.len();
        assert_eq!(
            text(&whole[..1]),
            text(&bare[..1]),
            "the context is kept first"
        );
        assert_eq!(text(&whole[1 + front..]), text(&bare[1..]));
    }
}

#[test]
fn a_context_that_is_the_socket_needs_no_pointer() {
    check(
        &placed(&constant(1), &XDP, slot(-16), &guarded(Socket::Context))[..9],
        "0: *(u64 *)(r10 -16) = r1
         1: r2 = r1
         2: r1 = map 9
         4: r3 = 0
         5: r4 = 0
         6: call helper 107
         7: if r0 != 0 goto 15
         8: r1 = *(u64 *)(r10 -16)",
    );
}

#[test]
fn calls_and_types_move_with_the_guard() {
    // main calls the subprogram behind it.
    let program = [call_subprogram(1), exit(), mov_imm(R0, 2), exit()];
    let types = [(0, 1), (2, 2)].map(|(insn_off, type_id)| bpf_func_info { insn_off, type_id });
    let body = Body {
        instructions: &program,
        main_len: 2,
        func_info: &types,
        line_info: &[],
        static_main: None,
    };
    let placed = place(&body, &XDP, register(9), &guarded(Socket::At(168))).unwrap();
    let called = &placed.instructions[17];
    assert_eq!(text(&[*called]), "0: call 11\n");
    let starts: Vec<_> = placed.func_info.iter().map(|info| info.insn_off).collect();
    assert_eq!(starts, [0, 17 + 1 + 10]);
    assert_eq!(text(&placed.instructions[28..]), "0: r0 = 2\n1: exit\n");
}

#[test]
fn a_claim_knows_its_name_to_the_end() {
    let short = claim("a", 9);
    check(
        &short[..15],
        "0: r6 = r1
         1: r2 = *(u32 *)(r6 +24)
         2: if w2 != 5131077 goto 49
         3: r2 = *(u32 *)(r6 +28)
         4: if w2 != 4129 goto 49
         5: r7 = *(u64 *)(r6 +8)
         6: r3 = *(u64 *)(r6 +16)
         7: r2 = r7
         8: r2 += 64
         9: if r2 > r3 goto 38
         10: r2 = *(u8 *)(r7 +0)
         11: if w2 != 97 goto 38
         12: r2 = *(u8 *)(r7 +1)
         13: if w2 != 0 goto 38
         14: call helper 186",
    );
    // Two instructions a byte.
    assert_eq!(claim(&"x".repeat(63), 9).len(), short.len() + 2 * 62);
    assert_eq!(text(&short[short.len() - 2..]), "0: r0 = 1\n1: exit\n");
}
