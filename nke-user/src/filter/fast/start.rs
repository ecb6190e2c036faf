//! What every fast path begins and ends with: the packet, the rule set, the counts.

use std::os::fd::{AsRawFd as _, RawFd};

use aya_obj::generated::{bpf_func_id, bpf_insn};
use nke_ebpf::{
    abi::{Count, FAST_WORD},
    headers::protocol,
};

use super::{
    Context, FastPath, Memory, ToSlow,
    walk::{self, KEY},
};
use crate::place::asm::{self, Code, Compare, FP, R0, R1, R2, R3, R4, R5, Reg};

/// What the kernel calls the program with; placement keeps it there.
pub(super) const CONTEXT: Reg = Reg(6);
/// The first page of a rule set that is searched, till the packet has been read.
pub(super) const FIRST: Reg = Reg(8);
/// This CPU's row of counts, where there are few rules. (Each register that is kept over calls, a program saves and
/// restores: a nanosecond.)
pub(super) const ROW: Reg = R0;
/// Where the packet begins.
pub(super) const PACKET: Reg = R5;
/// How long it is.
pub(super) const LENGTH: Reg = R4;

// Where fields lie in a plain packet: behind its Ethernet header (14 bytes), RFC 791, RFC 9293, RFC 768.
const KIND: i16 = 12;
const FRAGMENT: i16 = 20;
pub(super) const PROTOCOL: i16 = 23;
pub(super) const SOURCE: i16 = 26;
pub(super) const DESTINATION: i16 = 30;
pub(super) const SOURCE_PORT: i16 = 34;
pub(super) const DESTINATION_PORT: i16 = 36;
const END: i32 = 38;

/// IPv4 behind no tag, of five words: the ethertype, and the first byte of the header.
const PLAIN: [u8; 4] = [0x08, 0x00, 0x45, 0];
const PLAIN_MASK: [u8; 4] = [0xff, 0xff, 0xff, 0];
/// One more fragment follows, or this one is not the first.
const PART: u16 = 0x3fff_u16.to_be();

/// Has [`ROW`] be this CPU's row of counts.
fn row(path: &FastPath, code: &mut Code, to_slow: &mut ToSlow) {
    let bytes = size_of::<Count>() as u32;
    let row = path.set.header.row * bytes;
    let last = row * (path.cpus - 1);
    code.push(asm::call(bpf_func_id::BPF_FUNC_get_smp_processor_id));
    code.push(asm::multiply_imm(R0, row.cast_signed()));
    to_slow.add(code.jump_if(Compare::Above, R0, last.cast_signed()));
    let counts = (path.set.header.counts * bytes).cast_signed();
    code.extend(asm::load_map_value(R1, path.set.descriptor(), counts));
    code.push(asm::add(ROW, R1));
}

/// Looks up the page in r1: it is in r0 then, and there is one.
pub(super) fn look_up(set: RawFd, code: &mut Code, to_slow: &mut ToSlow) {
    code.push(asm::store32(FP, KEY, R1));
    code.extend(asm::load_map(R1, set));
    code.push(asm::mov(R2, FP));
    code.push(asm::add_imm(R2, KEY.into()));
    code.push(asm::call(bpf_func_id::BPF_FUNC_map_lookup_elem));
    to_slow.add(code.jump_if(Compare::Equal, R0, 0));
}

/// A fast path that is being written.
pub(super) struct Start {
    pub(super) code: Code,
    pub(super) to_slow: ToSlow,
    context: Context,
}

impl Start {
    /// Has [`PACKET`] be a plain packet, while the rule set is in force; and [`FIRST`] the first page of one that has several.
    pub(super) fn write(path: &FastPath) -> Self {
        let mut start = Self {
            code: Code::default(),
            to_slow: ToSlow::default(),
            context: path.context,
        };
        let Self {
            code,
            to_slow,
            context,
        } = &mut start;
        let set = path.set.descriptor();
        let first = if path.has_few() { R2 } else { FIRST };
        code.push(asm::mov(CONTEXT, R1));
        match path.memory {
            Memory::One => code.extend(asm::load_map_value(first, set, 0)),
            Memory::Many => {
                code.push(asm::mov_imm(R1, 0));
                look_up(set, code, to_slow);
                code.push(asm::mov(first, R0));
            }
        }
        code.push(asm::load64(R1, first, FAST_WORD as i16 * 8));
        to_slow.add(code.jump_if(Compare::Equal, R1, 0));
        if !path.has_few() {
            walk::header(code, to_slow);
        }
        code.extend(asm::load_map_value(R1, path.kept.as_raw_fd(), 0));
        code.push(asm::load64(R1, R1, 0));
        to_slow.add(code.jump_if(Compare::NotEqual, R1, 0));
        if path.has_few() {
            // Before what no call leaves alone.
            row(path, code, to_slow);
        }

        code.push(asm::load32(PACKET, CONTEXT, context.data));
        code.push(asm::load32(R1, CONTEXT, context.data_end));
        code.push(asm::mov(R2, PACKET));
        code.push(asm::add_imm(R2, END));
        to_slow.add(code.jump_if_greater(R2, R1));
        let number = |bytes| i32::from_ne_bytes(bytes);
        code.push(asm::load32(R1, PACKET, KIND));
        code.push(asm::and32_imm(R1, number(PLAIN_MASK)));
        to_slow.add(code.jump_if(Compare::NotEqual32, R1, number(PLAIN)));
        code.push(asm::load16(R1, PACKET, FRAGMENT));
        to_slow.add(code.jump_if(Compare::AnyOf32, R1, PART.into()));
        code.push(asm::load8(R1, PACKET, PROTOCOL));
        let tcp = code.jump_if(Compare::Equal32, R1, protocol::TCP.into());
        to_slow.add(code.jump_if(Compare::NotEqual32, R1, protocol::UDP.into()));
        code.land(tcp);
        start
    }

    /// Has [`LENGTH`] be how long the packet is.
    pub(super) fn measure(&mut self) {
        let Self { code, context, .. } = self;
        match context.length {
            Some(length) => code.push(asm::load32(LENGTH, CONTEXT, length)),
            None => {
                code.push(asm::load32(LENGTH, CONTEXT, context.data_end));
                code.push(asm::load32(R1, CONTEXT, context.data));
                code.push(asm::sub(LENGTH, R1));
            }
        }
    }

    /// Ends with the verdict of an outcome that says nothing else.
    pub(super) fn say(&mut self, outcome: u32) {
        self.code
            .push(asm::mov_imm(R0, self.context.verdict(outcome)));
        self.code.push(asm::exit());
    }

    /// Counts the packet where this register points, with so much added.
    pub(super) fn count(&mut self, at: Reg, more: i16) {
        for (offset, register) in [(0, None), (8, Some(LENGTH))] {
            self.code.push(asm::load64(R1, at, more + offset));
            self.code.push(match register {
                Some(length) => asm::add(R1, length),
                None => asm::add_imm(R1, 1),
            });
            self.code.push(asm::store64(at, more + offset, R1));
        }
    }

    /// The body, with what hands packets over by the program of this array.
    pub(super) fn finish(self, slow: RawFd) -> Vec<bpf_insn> {
        let Self {
            mut code,
            to_slow,
            context,
        } = self;
        to_slow.land(&mut code);
        code.push(asm::mov(R1, CONTEXT));
        code.extend(asm::load_map(R2, slow));
        code.push(asm::mov_imm(R3, 0));
        code.push(asm::call(bpf_func_id::BPF_FUNC_tail_call));
        // The node is there as long as this program is.
        code.push(asm::mov_imm(R0, context.drop));
        code.push(asm::exit());
        code.finish()
    }
}
