//! Which forms a body takes, and which it cannot.

use super::*;

#[track_caller]
fn check_forms(body: &[bpf_insn], expected: &[Form]) {
    assert_eq!(forms(&Body::of(body)).collect::<Vec<_>>(), expected);
}

/// Instructions that use every register kept over calls.
fn busy() -> Vec<bpf_insn> {
    SAVED.iter().map(|register| mov(*register, R1)).collect()
}

#[test]
fn forms_start_with_what_costs_least() {
    check_forms(
        &constant(2),
        &[register(9), slot(-8), slot(-72), slot(-264), Form::Stub],
    );
    check_forms(
        &[busy(), vec![store64(FP, -12, R1), exit()]].concat(),
        &[slot(-24), slot(-88), slot(-280), Form::Stub],
    );
    // A use by address, and a read that stays above it.
    check_forms(
        &[
            busy(),
            vec![mov(R2, FP), add_imm(R2, -48), load64(R3, R2, 8), exit()],
        ]
        .concat(),
        &[slot(-56), slot(-120), slot(-312), Form::Stub],
    );
    check_forms(
        &[busy(), vec![store64(FP, -504, R1), exit()]].concat(),
        &[slot(-512), Form::Stub],
    );
    check_forms(
        &[busy(), vec![store64(FP, -512, R1), exit()]].concat(),
        &[Form::Stub],
    );
    // What is no address of the stack takes no room on it.
    check_forms(
        &[
            busy(),
            vec![mov(R2, FP), mov_imm(R2, 1), add_imm(R2, -48), exit()],
        ]
        .concat(),
        &[slot(-8), slot(-72), slot(-264), Form::Stub],
    );
}

#[test]
fn some_bodies_take_only_the_stub() {
    let tail_call = call(bpf_func_id::BPF_FUNC_tail_call);
    check_forms(&[tail_call, mov_imm(R0, 2), exit()], &[Form::Stub]);

    let mut long = vec![mov_imm(R0, 2); LONGEST_MAIN + 1];
    long.push(exit());
    check_forms(&long, &[Form::Stub]);
    // The last exit is near, so only one in front is out of reach.
    long[0] = exit();
    let error = place(&Body::of(&long), &XDP, register(9), &PLAIN).unwrap_err();
    assert_eq!(
        error,
        PlaceError::TooLong {
            main_len: LONGEST_MAIN + 2
        }
    );
}

#[test]
fn nonsense_is_refused() {
    let pass = constant(2);
    for main_len in [0, 3] {
        let body = Body {
            main_len,
            ..Body::of(&pass)
        };
        let error = place(&body, &XDP, Form::Stub, &PLAIN).unwrap_err();
        assert_eq!(error, PlaceError::NoMain { main_len, len: 2 });
    }
    for form in [register(5), register(10), slot(0), slot(-4), slot(-520)] {
        let error = place(&Body::of(&pass), &XDP, form, &PLAIN).unwrap_err();
        assert!(matches!(error, PlaceError::Home { .. }), "{form:?}");
    }
}
