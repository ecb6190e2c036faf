//! What a placed program does once its body has spoken: count the verdict, and go on or end.
//!
//! ```text
//!     if the verdict means go on: go
//!     [count as dropped or other]
//!     exit
//! go: [count as gone on]
//!     r1 = context; r2 = NEXT; r3 = 0; tail_call
//!     r0 = the verdict; exit                       (end of the chain)
//! ```
//!
//! The body is over when the epilogue runs: its registers and its stack are free, but for the
//! verdict in r0 and the context in its [`Home`]. The epilogue must give back the body's verdict
//! and must not touch the packet.

use aya_obj::generated::{bpf_func_id, bpf_insn};

use super::asm::{self, Code, Compare, FP, R0, R1, R2, R3, Reg, SAVED};
use super::{Home, Length, Maps, Rule};

/// The 8 bytes at which a lookup finds its key when the context is not on the stack.
const KEY: i16 = -8;

/// Where in a counter's value the bytes of a class lie behind its packets.
const BYTES: i16 = 3 * 8;

/// The classes of verdicts, as places in a counter's value: `[u64; 6]`, packets then bytes.
#[derive(Clone, Copy)]
enum Class {
    GoOn,
    DroppedOrOther,
}

const DROPPED: i16 = 8;

/// The registers of one epilogue, all of which outlive a call.
struct Registers {
    verdict: Reg,
    context: Reg,
    counter: Reg,
}

pub(super) fn write(home: Home, rule: &Rule, maps: &Maps) -> Vec<bpf_insn> {
    let registers = registers(home);
    let mut code = Code::default();
    let mut going_on = Vec::new();
    if let [only] = rule.go_on {
        // One jump less on the way that most packets take.
        let end = code.jump_if(Compare::NotEqual32, R0, *only);
        go_on(&mut code, &registers, home, rule, maps);
        code.land(end);
        finish(&mut code, &registers, home, rule, maps);
        return code.finish();
    }
    for verdict in rule.go_on {
        going_on.push(code.jump_if(Compare::Equal32, R0, *verdict));
    }
    finish(&mut code, &registers, home, rule, maps);
    if !going_on.is_empty() {
        for jump in going_on {
            code.land(jump);
        }
        go_on(&mut code, &registers, home, rule, maps);
    }
    code.finish()
}

fn registers(home: Home) -> Registers {
    let context = match home {
        Home::Register(register) => Reg(register),
        Home::Slot(_) => SAVED[0],
    };
    let mut free = SAVED.into_iter().filter(|register| *register != context);
    // Three of four are always free; the fallbacks are never taken.
    let verdict = free.next().unwrap_or(SAVED[1]);
    let counter = free.next().unwrap_or(SAVED[2]);
    Registers {
        verdict,
        context,
        counter,
    }
}

/// The verdict ends the chain here.
fn finish(code: &mut Code, registers: &Registers, home: Home, rule: &Rule, maps: &Maps) {
    if maps.counters.is_some() {
        code.push(asm::mov(registers.verdict, R0));
        reload(code, registers, home);
        count(code, registers, home, rule, maps, Class::DroppedOrOther);
        code.push(asm::mov(R0, registers.verdict));
    }
    code.push(asm::exit());
}

/// The next node is asked; should there be none, the body's own verdict stands.
fn go_on(code: &mut Code, registers: &Registers, home: Home, rule: &Rule, maps: &Maps) {
    let known = match rule.go_on {
        [only] => Some(*only),
        _ => None,
    };
    if known.is_none() {
        code.push(asm::mov(registers.verdict, R0));
    }
    match (maps.counters, home) {
        (None, Home::Slot(slot)) => code.push(asm::load64(R1, FP, slot)),
        (None, Home::Register(_)) => code.push(asm::mov(R1, registers.context)),
        (Some(_), _) => {
            reload(code, registers, home);
            count(code, registers, home, rule, maps, Class::GoOn);
            code.push(asm::mov(R1, registers.context));
        }
    }
    code.extend(asm::load_map(R2, maps.next));
    code.push(asm::mov_imm(R3, 0));
    code.push(asm::call(bpf_func_id::BPF_FUNC_tail_call));
    code.push(match known {
        Some(verdict) => asm::mov_imm(R0, verdict),
        None => asm::mov(R0, registers.verdict),
    });
    code.push(asm::exit());
}

/// The context goes to its register, which frees its slot for the lookup's key.
fn reload(code: &mut Code, registers: &Registers, home: Home) {
    match home {
        Home::Slot(slot) => code.push(asm::load64(registers.context, FP, slot)),
        Home::Register(_) => {}
    }
}

/// One packet more of this class, and its bytes.
///
/// Plain additions on memory that only this CPU writes: the interface hooks run with bottom
/// halves off, so that nothing can come between the read and the write.
fn count(
    code: &mut Code,
    registers: &Registers,
    home: Home,
    rule: &Rule,
    maps: &Maps,
    class: Class,
) {
    let Some(counters) = maps.counters else {
        return;
    };
    let key = match home {
        Home::Slot(slot) => slot,
        Home::Register(_) => KEY,
    };
    code.push(asm::store32_imm(FP, key, 0));
    code.push(asm::mov(R2, FP));
    code.push(asm::add_imm(R2, key.into()));
    code.extend(asm::load_map(R1, counters));
    code.push(asm::call(bpf_func_id::BPF_FUNC_map_lookup_elem));
    let missing = code.jump_if(Compare::Equal64, R0, 0);
    let mut value = R0;
    match rule.length {
        Length::XdpLinear => {
            code.push(asm::load32(R2, registers.context, 4));
            code.push(asm::load32(R1, registers.context, 0));
            code.push(asm::sub(R2, R1));
        }
        Length::XdpFrags => {
            value = registers.counter;
            code.push(asm::mov(value, R0));
            code.push(asm::mov(R1, registers.context));
            code.push(asm::call(bpf_func_id::BPF_FUNC_xdp_get_buff_len));
            code.push(asm::mov(R2, R0));
        }
        Length::SkbLen => code.push(asm::load32(R2, registers.context, 0)),
        Length::None => {}
    }
    let packets = match class {
        Class::GoOn => 0,
        Class::DroppedOrOther => {
            let dropped: Vec<_> = rule
                .dropped
                .iter()
                .map(|verdict| code.jump_if(Compare::Equal32, registers.verdict, *verdict))
                .collect();
            // Dropped is where the pointer stands; one further is other.
            code.push(asm::add_imm(value, 8));
            for jump in dropped {
                code.land(jump);
            }
            DROPPED
        }
    };
    code.push(asm::load64(R1, value, packets));
    code.push(asm::add_imm(R1, 1));
    code.push(asm::store64(value, packets, R1));
    match rule.length {
        Length::XdpLinear | Length::XdpFrags | Length::SkbLen => {
            code.push(asm::load64(R1, value, packets + BYTES));
            code.push(asm::add(R1, R2));
            code.push(asm::store64(value, packets + BYTES, R1));
        }
        Length::None => {}
    }
    code.land(missing);
}
