//! The alternative to a search: rules as a program of their own, some instructions for each.
//!
//! It is measured beside the packet filter: what rules cost as instructions, without a chain, however many they are
//! (docs/decisions/0007). The packet filter has its rules so where they are few, in its fast path (docs/decisions/0011). It knows what
//! [`Shape`](nke::filter::shapes::Shape)s draw, and the packets that nearly all are: IPv4 of TCP or UDP without
//! tags, options or fragments.
//!
//! ```text
//! header:     is it such a packet, or pass
//! each rule:  load a field, compare it, go to the next rule if it differs; …; its number, to the end
//! end:        add to the count of that number, in this CPU's row; drop
//! ```

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::bpf_insn;
use nke::filter::shapes::Drawn;
use nke::hook::Hook;
use nke::sys::program::{self, Load};
use nke::sys::{link, map};

use super::Laid;
use crate::bench::stage::Stage;

/// Compiles rules that drop, and attaches the program alone.
pub(in crate::bench::filter) fn lay(stage: &mut Stage<'_>, rules: &[Drawn]) -> Result<Laid> {
    ensure!(rules.iter().all(|rule| !rule.six), "only rules of IPv4");
    let cable = stage.cable()?;
    let row = i32::try_from((rules.len() + 1).next_multiple_of(4)).context("too many rules")?;
    let cpus = i32::try_from(map::cpu_ids().context("cannot count the processors")?)?;
    let shape = map::Shape {
        flags: BPF_F_MMAPABLE,
        max_entries: 1,
        ..map::Shape::array("counts", (row * cpus * COUNT).cast_unsigned())
    };
    // The program holds it.
    let counts = map::create(shape).context("cannot make counts")?;
    let mut code = Code::default();
    code.begin();
    for (number, rule) in (1..).zip(rules) {
        code.rule(rule, number);
    }
    code.end(counts.as_raw_fd(), row, cpus)?;
    let hook = Hook::INTERFACE_XDP.row();
    let loaded = program::load(&Load {
        program_type: hook.program_type as u32,
        expected_attach_type: hook.expected_attach_type,
        attach_btf_id: 0,
        flags: 0,
        name: "compiled",
        license: c"GPL",
        instructions: &code.instructions,
        btf: None,
        func_info: &[],
        line_info: &[],
    });
    let program = loaded
        .map_err(|refused| refused.error)
        .context("cannot load compiled rules")?;
    let link = link::create(&program, cable.inside_index, hook.attach_type, 0)
        .context("cannot attach a program")?;
    Ok(Laid {
        cable,
        root: Some(program),
        counts: None,
        link: Some(link),
    })
}

const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Bytes of a count: packets and bytes.
const COUNT: i32 = 16;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

// Where fields lie in the packet.
const ETHERTYPE: i16 = 12;
const VERSION: i16 = 14;
const FRAGMENT: i16 = 20;
const PROTOCOL: i16 = 23;
const SOURCE: i16 = 26;
const DESTINATION: i16 = 30;
const SOURCE_PORT: i16 = 34;
const DESTINATION_PORT: i16 = 36;
const END: i32 = 38;

// Opcodes by the names of the kernel's Documentation/bpf/standardization/instruction-set.rst.
const LDXB: u8 = 0x71;
const LDXH: u8 = 0x69;
const LDXW: u8 = 0x61;
const LDXDW: u8 = 0x79;
const STXDW: u8 = 0x7b;
const LDDW: u8 = 0x18;
const MOV: u8 = 0xbf;
const MOV_IMM: u8 = 0xb7;
const ADD: u8 = 0x0f;
const ADD_IMM: u8 = 0x07;
const SUB: u8 = 0x1f;
const MUL_IMM: u8 = 0x27;
const LSH_IMM: u8 = 0x67;
const AND32_IMM: u8 = 0x54;
const TO_BE: u8 = 0xdc;
const JA: u8 = 0x05;
const JGT: u8 = 0x2d;
const JEQ_IMM: u8 = 0x15;
const JNE_IMM: u8 = 0x55;
const JSET_IMM: u8 = 0x45;
const JGT_IMM: u8 = 0x25;
const JGE_IMM: u8 = 0x35;
const JLT_IMM: u8 = 0xa5;
const JNE32_IMM: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const PSEUDO_MAP_VALUE: u8 = 2;
const GET_SMP_PROCESSOR_ID: i32 = 8;

/// The number of the rule, and then the place of its count.
const NUMBER: u8 = 0;
/// What is compared.
const FIELD: u8 = 1;
/// Where the packet begins.
const PACKET: u8 = 2;
const CONTEXT: u8 = 6;
const KEPT: u8 = 7;

#[derive(Default)]
struct Code {
    instructions: Vec<bpf_insn>,
    /// Jumps to the packet's pass, to the count, and to the next rule.
    strange: Vec<usize>,
    decided: Vec<usize>,
    next: Vec<usize>,
}

impl Code {
    fn push(&mut self, code: u8, (to, from): (u8, u8), off: i16, imm: i32) -> usize {
        self.instructions.push(bpf_insn {
            code,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(to, from),
            off,
            imm,
        });
        self.instructions.len() - 1
    }

    /// The next instruction is where these jumps go.
    fn land(&mut self, jumps: &[usize]) -> Result<()> {
        for jump in jumps {
            let distance = self.instructions.len() - jump - 1;
            self.instructions[*jump].off = i16::try_from(distance).context("too many rules")?;
        }
        Ok(())
    }

    /// Has what is no plain packet pass.
    fn begin(&mut self) {
        self.push(MOV, (CONTEXT, 1), 0, 0);
        self.push(LDXW, (PACKET, CONTEXT), 0, 0);
        self.push(LDXW, (3, CONTEXT), 4, 0);
        self.push(MOV, (FIELD, PACKET), 0, 0);
        self.push(ADD_IMM, (FIELD, 0), 0, END);
        let checks = [
            self.push(JGT, (FIELD, 3), 0, 0),
            self.differs(LDXH, ETHERTYPE, 0x0800_u16.to_be().into()),
            self.differs(LDXB, VERSION, 0x45),
        ];
        self.push(LDXH, (FIELD, PACKET), FRAGMENT, 0);
        let part = self.push(JSET_IMM, (FIELD, 0), 0, 0x3fff_u16.to_be().into());
        self.push(LDXB, (FIELD, PACKET), PROTOCOL, 0);
        // Over the next one.
        self.push(JEQ_IMM, (FIELD, 0), 1, 6);
        let other = self.push(JNE_IMM, (FIELD, 0), 0, 17);
        self.strange.extend(checks.into_iter().chain([part, other]));
    }

    /// A jump, where a field is not this.
    fn differs(&mut self, load: u8, field: i16, value: i32) -> usize {
        self.push(load, (FIELD, PACKET), field, 0);
        self.push(JNE_IMM, (FIELD, 0), 0, value)
    }

    // Every rule loads what it compares: the verifier would remember what earlier rules had found of
    // a register, and walk through the rest once for all that it may be.
    fn rule(&mut self, rule: &Drawn, number: i32) {
        if let Some(protocol) = rule.protocol {
            let differs = self.differs(LDXB, PROTOCOL, protocol.into());
            self.next.push(differs);
        }
        for (field, (first, length)) in [(SOURCE, rule.source), (DESTINATION, rule.destination)] {
            self.address(field, first as u32, length);
        }
        for (field, (first, last)) in [
            (SOURCE_PORT, rule.source_ports),
            (DESTINATION_PORT, rule.destination_ports),
        ] {
            self.ports(field, first, last);
        }
        self.push(MOV_IMM, (NUMBER, 0), 0, number);
        let decided = self.push(JA, (0, 0), 0, 0);
        self.decided.push(decided);
        let next = std::mem::take(&mut self.next);
        // Rules are short.
        for jump in next {
            self.instructions[jump].off = (self.instructions.len() - jump - 1) as i16;
        }
    }

    fn address(&mut self, field: i16, first: u32, length: u8) {
        let Some(mask) = u32::MAX.checked_shl(32 - u32::from(length)) else {
            return;
        };
        self.push(LDXW, (FIELD, PACKET), field, 0);
        if length < 32 {
            self.push(AND32_IMM, (FIELD, 0), 0, mask.to_be().cast_signed());
        }
        let value = (first & mask).to_be().cast_signed();
        let differs = self.push(JNE32_IMM, (FIELD, 0), 0, value);
        self.next.push(differs);
    }

    fn ports(&mut self, field: i16, first: u16, last: u16) {
        if (first, last) == (0, u16::MAX) {
            return;
        }
        if first == last {
            let differs = self.differs(LDXH, field, first.to_be().into());
            self.next.push(differs);
            return;
        }
        self.push(LDXH, (FIELD, PACKET), field, 0);
        self.push(TO_BE, (FIELD, 0), 0, 16);
        let outside = [
            self.push(JLT_IMM, (FIELD, 0), 0, first.into()),
            self.push(JGT_IMM, (FIELD, 0), 0, last.into()),
        ];
        self.next.extend(outside);
    }

    /// Counts, and drops what a rule has decided about.
    fn end(&mut self, counts: i32, row: i32, cpus: i32) -> Result<()> {
        self.push(MOV_IMM, (NUMBER, 0), 0, 0);
        let decided = std::mem::take(&mut self.decided);
        self.land(&decided)?;
        self.push(MOV, (KEPT, NUMBER), 0, 0);
        self.push(CALL, (0, 0), 0, GET_SMP_PROCESSOR_ID);
        self.push(MUL_IMM, (0, 0), 0, row);
        self.push(ADD, (0, KEPT), 0, 0);
        let outside = self.push(JGE_IMM, (0, 0), 0, row * cpus);
        self.push(LSH_IMM, (0, 0), 0, COUNT.ilog2() as i32);
        self.push(LDDW, (1, PSEUDO_MAP_VALUE), 0, counts);
        self.push(0, (0, 0), 0, 0);
        self.push(ADD, (1, 0), 0, 0);
        self.push(LDXDW, (2, 1), 0, 0);
        self.push(ADD_IMM, (2, 0), 0, 1);
        self.push(STXDW, (1, 2), 0, 0);
        self.push(LDXW, (3, CONTEXT), 4, 0);
        self.push(LDXW, (4, CONTEXT), 0, 0);
        self.push(SUB, (3, 4), 0, 0);
        self.push(LDXDW, (2, 1), 8, 0);
        self.push(ADD, (2, 3), 0, 0);
        self.push(STXDW, (1, 2), 8, 0);
        self.land(&[outside])?;
        self.push(MOV_IMM, (0, 0), 0, XDP_PASS);
        // Over the next one: no rule matched.
        self.push(JEQ_IMM, (KEPT, 0), 1, 0);
        self.push(MOV_IMM, (0, 0), 0, XDP_DROP);
        self.push(EXIT, (0, 0), 0, 0);
        let strange = std::mem::take(&mut self.strange);
        self.land(&strange)?;
        self.push(MOV_IMM, (0, 0), 0, XDP_PASS);
        self.push(EXIT, (0, 0), 0, 0);
        Ok(())
    }
}
