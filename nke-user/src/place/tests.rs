//! Placement as text: what goes in is built by the assembler, what comes out is read.

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::asm::*;
use super::*;

mod forms;
mod guards;
mod stubs;

const XDP: Rule = Rule {
    go_on: &[2],
    dropped: &[0, 1],
    length: Length::XdpLinear,
    preemptible: false,
    bits: None,
};
const TC: Rule = Rule {
    go_on: &[-1, 3],
    dropped: &[2],
    length: Length::SkbLen,
    preemptible: false,
    bits: None,
};
const PLAIN: Maps = Maps {
    next: 7,
    counters: None,
    guard: None,
};
const COUNTED: Maps = Maps {
    next: 7,
    counters: Some(Counters {
        map: 8,
        first_row: 192,
        rows: 4,
    }),
    guard: None,
};

/// One line an instruction, in the words of the kernel's verifier; a jump names its target.
fn text(instructions: &[bpf_insn]) -> String {
    let mut lines = String::new();
    for (at, insn) in scan::instructions(instructions) {
        let (dst, src, off, imm) = (insn.dst_reg(), insn.src_reg(), insn.off, insn.imm);
        let target = at as i64 + 1;
        let line = match insn.code {
            0x18 if src == 1 => format!("r{dst} = map {imm}"),
            0x18 if src == 2 => {
                format!("r{dst} = value of map {imm} {:+}", instructions[at + 1].imm)
            }
            0x18 if src == 4 => format!("r{dst} = function {}", target + i64::from(imm)),
            0x18 => format!("r{dst} = {imm} ll"),
            0x05 => format!("goto {}", target + i64::from(off)),
            0x16 => format!("if w{dst} == {imm} goto {}", target + i64::from(off)),
            0x56 => format!("if w{dst} != {imm} goto {}", target + i64::from(off)),
            0x15 => format!("if r{dst} == {imm} goto {}", target + i64::from(off)),
            0x55 => format!("if r{dst} != {imm} goto {}", target + i64::from(off)),
            0x2d => format!("if r{dst} > r{src} goto {}", target + i64::from(off)),
            0x85 if src == 1 => format!("call {}", target + i64::from(imm)),
            0x85 => format!("call helper {imm}"),
            0x95 => "exit".to_owned(),
            0x07 => format!("r{dst} += {imm}"),
            0x57 => format!("r{dst} &= {imm}"),
            0x67 => format!("r{dst} <<= {imm}"),
            0x0f => format!("r{dst} += r{src}"),
            0x1f => format!("r{dst} -= r{src}"),
            0xb7 => format!("r{dst} = {imm}"),
            0xbf => format!("r{dst} = r{src}"),
            0x61 => format!("r{dst} = *(u32 *)(r{src} {off:+})"),
            0x79 => format!("r{dst} = *(u64 *)(r{src} {off:+})"),
            0x71 => format!("r{dst} = *(u8 *)(r{src} {off:+})"),
            0x63 => format!("*(u32 *)(r{dst} {off:+}) = r{src}"),
            0x7b => format!("*(u64 *)(r{dst} {off:+}) = r{src}"),
            code => panic!("no word for opcode {code:#04x}"),
        };
        lines.push_str(&format!("{at}: {line}\n"));
    }
    lines
}

#[track_caller]
fn check(instructions: &[bpf_insn], expected: &str) {
    let expected: String = expected
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    assert_eq!(
        text(instructions),
        expected.trim_start(),
        "\n{}",
        text(instructions)
    );
}

fn placed(body: &[bpf_insn], rule: &Rule, form: Form, maps: &Maps) -> Vec<bpf_insn> {
    place(&Body::of(body), rule, form, maps)
        .unwrap()
        .instructions
}

const fn register(register: u8) -> Form {
    Form::Inline(Home::Register(register))
}

const fn slot(slot: i16) -> Form {
    Form::Inline(Home::Slot(slot))
}

#[test]
fn every_exit_leads_to_the_epilogue() {
    let mut body = Code::default();
    let other = body.jump_if(Compare::Equal32, R1, 0);
    body.extend([mov_imm(R0, 2), exit()]);
    body.land(other);
    body.extend([mov_imm(R0, 1), exit()]);
    check(
        &placed(&body.finish(), &XDP, register(9), &PLAIN),
        "0: r9 = r1
         1: if w1 == 0 goto 4
         2: r0 = 2
         3: goto 6
         4: r0 = 1
         5: goto 6
         6: if w0 != 2 goto 14
         7: r1 = r9
         8: r2 = map 7
         10: r3 = 0
         11: call helper 12
         12: r0 = 2
         13: exit
         14: exit",
    );
}

#[test]
fn several_verdicts_go_on_and_come_back_unchanged() {
    check(
        &placed(&constant(3), &TC, slot(-8), &PLAIN),
        "0: *(u64 *)(r10 -8) = r1
         1: r0 = 3
         2: goto 3
         3: if w0 == -1 goto 6
         4: if w0 == 3 goto 6
         5: exit
         6: r1 = *(u64 *)(r10 -8)
         7: *(u64 *)(r10 -8) = r0
         8: r2 = map 7
         10: r3 = 0
         11: call helper 12
         12: r0 = *(u64 *)(r10 -8)
         13: exit",
    );
}

#[test]
fn the_second_half_of_a_wide_load_is_no_exit() {
    let [low, mut high] = load_map(R0, 5);
    high.code = 0x95;
    let out = placed(&[low, high, exit()], &XDP, register(9), &PLAIN);
    assert_eq!(out[2].code, 0x95, "left as it was");
    assert_eq!(out[3].code, 0x05, "the real end");
}

#[test]
fn subprograms_move_and_keep_their_exits() {
    let mut function = load_map(R2, 3);
    function[0].set_src_reg(4);
    let mut body = vec![function[0], function[1], call_subprogram(1), exit()];
    // The subprogram calls another, which gives its answer.
    body.extend([call_subprogram(1), exit(), mov_imm(R0, 2), exit()]);
    body[0].imm = 3;
    let whole = Body {
        main_len: 4,
        ..Body::of(&body)
    };
    let out = place(&whole, &XDP, register(9), &PLAIN).unwrap();
    check(
        &out.instructions,
        "0: r9 = r1
         1: r2 = function 14
         3: call 14
         4: goto 5
         5: if w0 != 2 goto 13
         6: r1 = r9
         7: r2 = map 7
         9: r3 = 0
         10: call helper 12
         11: r0 = 2
         12: exit
         13: exit
         14: call 16
         15: exit
         16: r0 = 2
         17: exit",
    );
}

#[test]
fn counted_verdicts_fall_into_classes() {
    check(
        &placed(&constant(2), &XDP, slot(-16), &COUNTED),
        "0: *(u64 *)(r10 -16) = r1
         1: r0 = 2
         2: goto 3
         3: if w0 != 2 goto 27
         4: r6 = *(u64 *)(r10 -16)
         5: call helper 8
         6: r0 <<= 7
         7: r0 &= 384
         8: r1 = value of map 8 +192
         10: r0 += r1
         11: r2 = *(u32 *)(r6 +4)
         12: r1 = *(u32 *)(r6 +0)
         13: r2 -= r1
         14: r3 = *(u64 *)(r0 +0)
         15: r3 += 1
         16: *(u64 *)(r0 +0) = r3
         17: r3 = *(u64 *)(r0 +24)
         18: r3 += r2
         19: *(u64 *)(r0 +24) = r3
         20: r1 = r6
         21: r2 = map 7
         23: r3 = 0
         24: call helper 12
         25: r0 = 2
         26: exit
         27: r6 = *(u64 *)(r10 -16)
         28: *(u64 *)(r10 -8) = r0
         29: call helper 8
         30: r0 <<= 7
         31: r0 &= 384
         32: r1 = value of map 8 +192
         34: r0 += r1
         35: r2 = *(u32 *)(r6 +4)
         36: r1 = *(u32 *)(r6 +0)
         37: r2 -= r1
         38: r3 = *(u64 *)(r10 -8)
         39: r0 += 8
         40: if w3 == 0 goto 43
         41: if w3 == 1 goto 43
         42: r0 += 8
         43: r3 = *(u64 *)(r0 +0)
         44: r3 += 1
         45: *(u64 *)(r0 +0) = r3
         46: r3 = *(u64 *)(r0 +24)
         47: r3 += r2
         48: *(u64 *)(r0 +24) = r3
         49: r0 = *(u64 *)(r10 -8)
         50: exit",
    );
}

#[test]
fn a_root_answers_when_its_chain_is_empty() {
    check(
        &root(7, 2),
        "0: r2 = map 7
         2: r3 = 0
         3: call helper 12
         4: r0 = 2
         5: exit",
    );
}

#[test]
fn a_root_holds_another_map() {
    check(
        &holding(8, root(7, 1)),
        "0: r2 = map 8
         2: r2 = map 7
         4: r3 = 0
         5: call helper 12
         6: r0 = 1
         7: exit",
    );
}

#[test]
fn connections_join_when_they_are_made_or_accepted() {
    check(
        &join(7),
        "0: r2 = *(u32 *)(r1 +0)
         1: if w2 == 4 goto 3
         2: if w2 != 5 goto 13
         3: r6 = r1
         4: call helper 46
         5: *(u64 *)(r10 -8) = r0
         6: r1 = r6
         7: r2 = map 7
         9: r3 = r10
         10: r3 += -8
         11: r4 = 1
         12: call helper 70
         13: r0 = 1
         14: exit",
    );
}
