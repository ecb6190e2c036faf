//! A machine for placed and unplaced programs: the instructions that they use, subprograms, and
//! tail calls as the kernel does them.
//!
//! A tail call replaces only the frame that makes it, so that what it calls returns to the caller
//! of a subprogram. The machine must give the kernel's answers, not the verifier's: it stops with
//! a panic where a program does what no verifier would let pass.

use std::collections::HashMap;

use aya_obj::generated::bpf_insn;

use super::programs::Context;

/// Bases of memory, far enough apart that no program's arithmetic leads from one to another.
const CONTEXT: u64 = 0x1_0000_0000;
const PACKET: u64 = 0x2_0000_0000;
const COUNTERS: u64 = 0x3_0000_0000;
const STACK: u64 = 0x4_0000_0000;
const FRAME: u64 = 0x1000;

/// The CPU that programs run on.
pub(crate) const CPU: usize = 2;

/// The kernel around the programs: maps by descriptor.
#[derive(Default)]
pub(crate) struct Kernel {
    /// Every loaded program.
    pub(crate) programs: Vec<Vec<bpf_insn>>,
    /// Program arrays: by descriptor and index, a place in `programs`.
    pub(crate) arrays: HashMap<(i32, u64), usize>,
    /// The values of counter maps.
    pub(crate) counters: HashMap<i32, Vec<u8>>,
}

/// What one packet met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) verdict: u32,
    /// The programs that were entered, in order.
    pub(crate) entered: Vec<usize>,
    /// The packet as it left.
    pub(crate) packet: Vec<u8>,
}

struct Frame {
    program: usize,
    at: usize,
    /// r6 to r9 of the caller, and where it goes on; nothing for the kernel.
    caller: Option<([u64; 4], usize, usize)>,
    stack: [u8; 512],
}

struct Machine<'a> {
    kernel: &'a mut Kernel,
    context: Context,
    packet: Vec<u8>,
    registers: [u64; 11],
    frames: Vec<Frame>,
    entered: Vec<usize>,
    tail_calls: u32,
}

impl Kernel {
    /// Loads a program: its number.
    pub(crate) fn load(&mut self, program: Vec<bpf_insn>) -> usize {
        self.programs.push(program);
        self.programs.len() - 1
    }

    pub(crate) fn run(&mut self, program: usize, context: Context, packet: &[u8]) -> Run {
        let mut machine = Machine {
            kernel: self,
            context,
            packet: packet.to_vec(),
            registers: [0; 11],
            frames: Vec::new(),
            entered: Vec::new(),
            tail_calls: 0,
        };
        machine.registers[1] = CONTEXT;
        machine.enter(program, 0, None);
        machine.entered.push(program);
        while machine.step() {}
        let Machine {
            registers,
            entered,
            packet,
            ..
        } = machine;
        Run {
            verdict: registers[0] as u32,
            entered,
            packet,
        }
    }
}

impl Machine<'_> {
    fn enter(&mut self, program: usize, at: usize, caller: Option<([u64; 4], usize, usize)>) {
        self.frames.push(Frame {
            program,
            at,
            caller,
            stack: [0xa5; 512],
        });
        assert!(self.frames.len() <= 8, "too deep");
        self.set_frame_pointer();
    }

    fn set_frame_pointer(&mut self) {
        self.registers[10] = STACK + self.frames.len() as u64 * FRAME;
    }

    /// One instruction; false when the program is over.
    fn step(&mut self) -> bool {
        let frame = self.frames.last_mut().unwrap();
        let program = &self.kernel.programs[frame.program];
        let (insn, second) = (program[frame.at], program.get(frame.at + 1).copied());
        frame.at += 1;
        let (dst, src) = (usize::from(insn.dst_reg()), usize::from(insn.src_reg()));
        let imm = insn.imm as i64 as u64;
        let by_register = insn.code & 0x08 != 0;
        match insn.code {
            // The address of a map's value.
            0x18 if src == 2 => {
                frame.at += 1;
                let offset = second.unwrap().imm as u64;
                self.registers[dst] = COUNTERS + imm * FRAME + offset;
            }
            0x18 => {
                frame.at += 1;
                let high = u64::from(second.unwrap().imm as u32) << 32;
                self.registers[dst] = high | u64::from(insn.imm as u32);
            }
            0x05 => frame.at = frame.at.wrapping_add_signed(insn.off.into()),
            0x85 if src == 1 => {
                let to = frame.at.wrapping_add_signed(insn.imm as isize);
                let program = frame.program;
                let saved = self.registers[6..10].try_into().unwrap();
                let caller = Some((saved, program, frame.at));
                self.enter(program, to, caller);
            }
            0x85 => self.helper(insn.imm),
            0x95 => return self.leave(),
            // An atomic addition.
            0xdb => {
                let address = self.registers[dst].wrapping_add_signed(insn.off.into());
                let sum = self.load(address, 8).wrapping_add(self.registers[src]);
                self.store(address, 8, sum);
            }
            code => match code & 0x07 {
                0x01 => {
                    let address = self.registers[src].wrapping_add_signed(insn.off.into());
                    self.registers[dst] = self.load(address, size(code));
                }
                0x02 | 0x03 => {
                    let address = self.registers[dst].wrapping_add_signed(insn.off.into());
                    let value = if code & 0x07 == 0x03 {
                        self.registers[src]
                    } else {
                        imm
                    };
                    self.store(address, size(code), value);
                }
                class @ (0x04 | 0x07) => {
                    let other = if by_register {
                        self.registers[src]
                    } else {
                        imm
                    };
                    self.registers[dst] = compute(code, class, self.registers[dst], other);
                }
                class => {
                    let other = if by_register {
                        self.registers[src]
                    } else {
                        imm
                    };
                    if compare(code, class, self.registers[dst], other) {
                        frame.at = frame.at.wrapping_add_signed(insn.off.into());
                    }
                }
            },
        }
        true
    }

    fn leave(&mut self) -> bool {
        let frame = self.frames.pop().unwrap();
        let Some((saved, program, at)) = frame.caller else {
            return false;
        };
        self.registers[6..10].copy_from_slice(&saved);
        let frame = self.frames.last_mut().unwrap();
        // A tail call may have replaced the program meanwhile, but never that of a waiting frame.
        assert_eq!((frame.program, frame.at), (program, at));
        self.set_frame_pointer();
        self.forget(1..6);
        true
    }

    /// Registers that a call does not keep.
    fn forget(&mut self, registers: std::ops::Range<usize>) {
        self.registers[registers].fill(0xdead_dead_dead_dead);
    }

    fn helper(&mut self, number: i32) {
        let [_, r1, r2, r3, ..] = self.registers;
        self.forget(0..6);
        match number {
            // get_smp_processor_id
            8 => self.registers[0] = CPU as u64,
            12 => {
                assert_eq!(r1, CONTEXT, "a tail call's context");
                let array = self.kernel.arrays.get(&(r2 as i32, r3)).copied();
                let Some(program) = array.filter(|_| self.tail_calls < 33) else {
                    return;
                };
                self.tail_calls += 1;
                self.entered.push(program);
                let frame = self.frames.last_mut().unwrap();
                (frame.program, frame.at, frame.stack) = (program, 0, [0xa5; 512]);
                self.forget(6..10);
                self.registers[1] = CONTEXT;
            }
            // xdp_get_buff_len
            188 => {
                assert_eq!(r1, CONTEXT);
                self.registers[0] = self.packet.len() as u64;
            }
            number => panic!("helper {number}"),
        }
    }

    fn load(&mut self, address: u64, size: usize) -> u64 {
        if (CONTEXT..CONTEXT + 0x100).contains(&address) {
            assert_eq!(size, 4);
            let off = (address - CONTEXT) as i16;
            return match off {
                _ if off == self.context.data => PACKET,
                _ if off == self.context.data_end => PACKET + self.packet.len() as u64,
                _ if off != self.context.number => panic!("context at {off}"),
                _ if self.context.number_is_length => self.packet.len() as u64,
                _ => 0,
            };
        }
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.memory(address)[..size]);
        u64::from_le_bytes(bytes)
    }

    fn store(&mut self, address: u64, size: usize, value: u64) {
        self.memory(address)[..size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    fn memory(&mut self, address: u64) -> &mut [u8] {
        if address >= STACK - 512 {
            let number = (address - STACK).div_ceil(FRAME) as usize - 1;
            let bottom = STACK + (number as u64 + 1) * FRAME - 512;
            return &mut self.frames[number].stack[(address - bottom) as usize..];
        }
        if address >= COUNTERS {
            let map = ((address - COUNTERS) / FRAME) as i32;
            let off = ((address - COUNTERS) % FRAME) as usize;
            return &mut self.kernel.counters.get_mut(&map).unwrap()[off..];
        }
        &mut self.packet[(address - PACKET) as usize..]
    }
}

/// How many bytes a load or store moves.
fn size(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn compute(code: u8, class: u8, dst: u64, src: u64) -> u64 {
    let narrow = class == 0x04;
    let (dst, src) = if narrow {
        (dst as u32 as u64, src as u32 as u64)
    } else {
        (dst, src)
    };
    let result = match code & 0xf0 {
        0x00 => dst.wrapping_add(src),
        0x10 => dst.wrapping_sub(src),
        0x20 => dst.wrapping_mul(src),
        0x30 => dst.checked_div(src).unwrap_or(0),
        0x40 => dst | src,
        0x50 => dst & src,
        0x60 => dst << src,
        0x90 => dst.checked_rem(src).unwrap_or(dst),
        0xa0 => dst ^ src,
        0xb0 => src,
        _ => panic!("computation {code:#04x}"),
    };
    if narrow { result as u32 as u64 } else { result }
}

fn compare(code: u8, class: u8, dst: u64, src: u64) -> bool {
    let (dst, src) = if class == 0x06 {
        (dst as i32 as u64, src as i32 as u64)
    } else {
        (dst, src)
    };
    // Sign extension keeps both orders of 32-bit numbers.
    match code & 0xf0 {
        0x10 => dst == src,
        0x20 => dst > src,
        0x40 => dst & src != 0,
        0x50 => dst != src,
        0x60 => (dst as i64) > src as i64,
        0xa0 => dst < src,
        0xc0 => (dst as i64) < src as i64,
        _ => panic!("comparison {code:#04x}"),
    }
}
