//! A program of classic BPF: that it is one, and what it says of a packet.
//!
//! The kernel side runs it in its own way (`nke_ebpf::classic`); this one is as plain as the book.
//! The two must come to the same, and both to what `tcpdump` makes of the packet.
//!
//! ```text
//! (000) ldh [12]      jeq #0x800 jt 2 jf 3      ret #262144      ret #0
//! ```
//!
//! A program that has been checked ends, reads and writes nothing but a packet's bytes and its own
//! memory, and cannot be made otherwise.

use std::sync::Arc;

use nke_ebpf::abi::classic::{self, Instruction, LONGEST};

/// A program that has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program(Arc<[Instruction]>);

/// What makes instructions no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// There are none.
    Empty,
    /// There are more than [`LONGEST`].
    Long(usize),
    /// This instruction is none, divides by nothing, shifts too far or leaves its memory.
    Instruction(usize),
    /// This instruction leads behind the last one.
    Jump(usize),
}

impl Program {
    /// Checks instructions, as the kernel's `bpf_check_classic` does: each is known, leads to
    /// another or ends it, and stays within its memory.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn new(instructions: &[Instruction]) -> Result<Self, Malformed> {
        if instructions.len() > LONGEST {
            return Err(Malformed::Long(instructions.len()));
        }
        let last = instructions.last().ok_or(Malformed::Empty)?;
        for (index, instruction) in instructions.iter().enumerate() {
            if !is_known(instruction) {
                return Err(Malformed::Instruction(index));
            }
            let behind = (instructions.len() - index - 1) as u64;
            if furthest(instruction).is_some_and(|left_out| left_out >= behind) {
                return Err(Malformed::Jump(index));
            }
        }
        if last.code & classic::CLASS != classic::RETURN {
            return Err(Malformed::Jump(instructions.len() - 1));
        }
        Ok(Self(instructions.into()))
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Whether a packet is what was asked for.
    #[must_use]
    pub fn matches(&self, packet: &[u8]) -> bool {
        run(&self.0, packet).is_some_and(|answer| answer != 0)
    }
}

/// How many instructions a jump leaves out at most; nothing of what is no jump.
fn furthest(instruction: &Instruction) -> Option<u64> {
    let Instruction { code, yes, no, k } = *instruction;
    (code & classic::CLASS == classic::JUMP).then(|| {
        if code & classic::OPERATION == classic::ALWAYS {
            k.into()
        } else {
            yes.max(no).into()
        }
    })
}

fn is_known(instruction: &Instruction) -> bool {
    use classic::*;
    let Instruction { code, k, .. } = *instruction;
    let in_memory = (k as usize) < MEMORY;
    let (class, rest) = (code & CLASS, code & !CLASS);
    let (size, mode) = (code & SIZE, code & MODE);
    let operation = code & OPERATION;
    let known_side = rest & !OPERATION & !BY_INDEX == 0;
    code <= 0xff
        && match class {
            LOAD => match mode {
                ABSOLUTE | INDIRECT => matches!(size, WORD | HALF | BYTE),
                IMMEDIATE | LENGTH => size == WORD,
                MEMORY_WORD => size == WORD && in_memory,
                _ => false,
            },
            LOAD_INDEX => match mode {
                IMMEDIATE | LENGTH => size == WORD,
                MEMORY_WORD => size == WORD && in_memory,
                HEADER_LENGTH => size == BYTE,
                _ => false,
            },
            STORE | STORE_INDEX => rest == 0 && in_memory,
            CALCULATE => {
                let by_number = rest & BY_INDEX == 0;
                let fits = match operation {
                    DIVIDE | REMAINDER => !by_number || k != 0,
                    SHIFT_LEFT | SHIFT_RIGHT => !by_number || k < 32,
                    NEGATE => by_number,
                    _ => operation <= EXCLUSIVE_OR,
                };
                known_side && fits
            }
            JUMP if operation == ALWAYS => rest == 0,
            JUMP => known_side && operation <= IF_BITS,
            RETURN => rest == 0 || rest == ACCUMULATOR,
            _ => rest == 0 || rest == TO_ACCUMULATOR,
        }
}

/// What a program answers of a packet; nothing where it reads beyond its end, or divides by
/// nothing.
fn run(program: &[Instruction], packet: &[u8]) -> Option<u32> {
    use classic::*;
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY]);
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    let mut next = 0;
    loop {
        let Instruction { code, yes, no, k } = *program.get(next)?;
        next += 1;
        let cell = k as usize % MEMORY;
        let other = if code & BY_INDEX == 0 { k } else { x };
        match code & CLASS {
            LOAD => {
                a = match code & MODE {
                    ABSOLUTE => load(packet, code & SIZE, k, 0)?,
                    INDIRECT => load(packet, code & SIZE, k, x)?,
                    MEMORY_WORD => memory[cell],
                    LENGTH => length,
                    _ => k,
                }
            }
            LOAD_INDEX => {
                x = match code & MODE {
                    HEADER_LENGTH => (load(packet, BYTE, k, 0)? & 15) * 4,
                    MEMORY_WORD => memory[cell],
                    LENGTH => length,
                    _ => k,
                }
            }
            STORE => memory[cell] = a,
            STORE_INDEX => memory[cell] = x,
            CALCULATE => a = calculate(code & OPERATION, a, other)?,
            JUMP => {
                let holds = match code & OPERATION {
                    IF_EQUAL => a == other,
                    IF_HIGHER => a > other,
                    IF_NOT_LOWER => a >= other,
                    IF_BITS => a & other != 0,
                    _ => {
                        next = next.checked_add(k as usize)?;
                        continue;
                    }
                };
                next += usize::from(if holds { yes } else { no });
            }
            RETURN => return Some(if code & ACCUMULATOR == 0 { k } else { a }),
            _ if code & TO_ACCUMULATOR == 0 => x = a,
            _ => a = x,
        }
    }
}

/// A number of the packet, big end first.
fn load(packet: &[u8], size: u16, k: u32, index: u32) -> Option<u32> {
    let at = (k as usize).checked_add(index as usize)?;
    let length = match size {
        classic::WORD => 4,
        classic::HALF => 2,
        _ => 1,
    };
    let bytes = packet.get(at..at.checked_add(length)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u32::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(codes: &[(u16, u8, u8, u32)]) -> Result<Program, Malformed> {
        let one = |&(code, yes, no, k)| Instruction { code, yes, no, k };
        Program::new(&codes.iter().map(one).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let ret = (0x06, 0, 0, 1);
        assert_eq!(program(&[]), Err(Malformed::Empty));
        assert_eq!(
            program(&[ret; LONGEST + 1]),
            Err(Malformed::Long(LONGEST + 1))
        );
        for wrong in [
            (0xffff, 0, 0, 0),
            (0x18, 0, 0, 0),
            (0x60, 0, 0, 16),
            (0x02, 0, 0, 16),
            (0x34, 0, 0, 0),
            (0x94, 0, 0, 0),
            (0x64, 0, 0, 32),
            (0xb4, 0, 0, 1),
            (0x55, 0, 0, 1),
            (0x16 | 0x20, 0, 0, 1),
            (0x106, 0, 0, 1),
        ] {
            assert_eq!(
                program(&[wrong, ret]),
                Err(Malformed::Instruction(0)),
                "{wrong:?}"
            );
        }
        for wrong in [
            (0x05, 0, 0, 1),
            (0x05, 0, 0, u32::MAX),
            (0x15, 1, 0, 0),
            (0x15, 0, 1, 0),
        ] {
            assert_eq!(program(&[wrong, ret]), Err(Malformed::Jump(0)), "{wrong:?}");
        }
        assert_eq!(program(&[ret, (0x04, 0, 0, 1)]), Err(Malformed::Jump(1)));
    }

    #[test]
    fn a_packet_that_ends_too_early_is_not_it() {
        let at = |size: u16, k| program(&[(0x20 | size, 0, 0, k), (0x06, 0, 0, 1)]).unwrap();
        for (size, length) in [(0x00, 4), (0x08, 2), (0x10, 1)] {
            assert!(at(size, 10).matches(&vec![0; 10 + length]));
            assert!(!at(size, 10).matches(&vec![0; 9 + length]));
            assert!(!at(size, u32::MAX).matches(&[0; 64]));
        }
    }
}
