//! Placed programs on the real verifier: random bodies and chains of them give the verdicts, and
//! count the packets, that the bodies alone call for. XDP and traffic control, every form.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

// The programs, and what chains of them should do, are those of the library's own test, which runs
// them on a machine of its own.
#[path = "../../nke-user/tests/place/assemble.rs"]
mod assemble;
#[path = "../../nke-user/tests/place/machine.rs"]
mod machine;
#[path = "../../nke-user/tests/place/model.rs"]
mod model;
#[path = "../../nke-user/tests/place/programs.rs"]
mod programs;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya_obj::generated::{bpf_insn, bpf_prog_type};
use nke::{
    counters,
    place::{self as placement, Body, Form, Length, Maps, Placed, Rule},
    sys::{map, program},
};
use proptest::{collection::vec, prelude::*};

use assemble::Assembled;
use model::{Node, body, expected, form, node};
use programs::{Context, SK_BUFF, STRANGER_ANSWER, STRANGER_MAP, XDP_MD};

/// A kind of program, as the kernel and as placement know it.
#[derive(Debug, Clone, Copy)]
struct Kind {
    program_type: bpf_prog_type,
    flags: u32,
    rule: Rule,
    context: Context,
}

const XDP: Kind = Kind {
    program_type: bpf_prog_type::BPF_PROG_TYPE_XDP,
    flags: 0,
    rule: Rule {
        go_on: &[2],
        dropped: &[0, 1],
        length: Length::XdpLinear,
        preemptible: false,
        bits: None,
    },
    context: XDP_MD,
};
const FRAGS: Kind = Kind {
    flags: program::XDP_HAS_FRAGS,
    rule: Rule {
        length: Length::XdpFrags,
        ..XDP.rule
    },
    ..XDP
};
const TC: Kind = Kind {
    program_type: bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
    flags: 0,
    rule: Rule {
        go_on: &[-1, 3],
        dropped: &[2],
        length: Length::SkbLen,
        preemptible: false,
        bits: None,
    },
    context: SK_BUFF,
};

/// Programs of one kind in the real kernel, and the program array that bodies call by themselves.
struct Kernel {
    kind: Kind,
    stranger_map: OwnedFd,
    _stranger: OwnedFd,
    /// A stub around a body that tail-calls needs BTF, which these bodies have not.
    btf: OwnedFd,
    static_main: u32,
}

impl Kernel {
    fn new(kind: Kind) -> Self {
        let shape = map::Shape {
            max_entries: 2,
            ..map::Shape::program_array("stranger")
        };
        let stranger_map = map::create(shape).unwrap();
        let stranger = load(kind, &bare(placement::constant(STRANGER_ANSWER)), None).unwrap();
        set(&stranger_map, &stranger);
        let (btf, static_main) = placement::plain_btf();
        Self {
            kind,
            stranger_map,
            _stranger: stranger,
            btf: nke::sys::load_btf(&btf).unwrap(),
            static_main,
        }
    }

    /// The program, with the real program array where it names one.
    fn assemble(&self, program: &programs::Program) -> Assembled {
        let mut assembled = program.assemble(self.kind.context);
        for insn in &mut assembled.instructions {
            if insn.code == 0x18 && insn.src_reg() == 1 && insn.imm == STRANGER_MAP {
                insn.imm = self.stranger_map.as_raw_fd();
            }
        }
        assembled
    }

    /// Loads a placed program, if the verifier takes this form.
    fn load_placed(&self, body: &Body<'_>, form: Form, maps: &Maps) -> Result<OwnedFd, String> {
        let body = Body {
            static_main: Some(self.static_main),
            ..*body
        };
        let placed = placement::place(&body, &self.kind.rule, form, maps).unwrap();
        load(self.kind, &placed, Some(self.btf.as_fd()))
    }
}

fn bare(instructions: Vec<bpf_insn>) -> Placed {
    Placed {
        instructions,
        func_info: Vec::new(),
        line_info: Vec::new(),
    }
}

fn load(kind: Kind, placed: &Placed, btf: Option<BorrowedFd<'_>>) -> Result<OwnedFd, String> {
    program::load(&program::Load {
        program_type: kind.program_type as u32,
        expected_attach_type: 0,
        attach_btf_id: 0,
        flags: kind.flags,
        name: "placed",
        license: c"GPL",
        instructions: &placed.instructions,
        btf,
        func_info: &placed.func_info,
        line_info: &placed.line_info,
    })
    .map_err(|refused| refused.log)
}

fn set(array: &OwnedFd, program: &OwnedFd) {
    let program = program.as_raw_fd().to_ne_bytes();
    map::update(array, &0u32.to_ne_bytes(), &program).unwrap();
}

fn verdict(program: &OwnedFd, packet: &[u8]) -> u32 {
    let run = program::TestRun {
        packet,
        ..program::TestRun::default()
    };
    program::test_run(program, &run).unwrap().0
}

/// The maps of one node.
struct NodeMaps {
    next: OwnedFd,
    counters: Option<OwnedFd>,
}

impl NodeMaps {
    fn new(counted: bool) -> Self {
        Self {
            next: map::create(map::Shape::program_array("next")).unwrap(),
            counters: counted.then(|| counters::make().unwrap()),
        }
    }

    fn fds(&self) -> Maps {
        Maps {
            next: self.next.as_raw_fd(),
            counters: self
                .counters
                .as_ref()
                .map(|map| counters::rows(map).unwrap()),
            guard: None,
        }
    }

    /// What was counted, on all CPUs.
    fn counts(&self) -> [u64; 6] {
        let counted = self.counters.as_ref().map(counters::sums);
        counted.transpose().unwrap().unwrap_or_default()
    }
}

/// A node is loaded in the form of its choice, or the next one that the verifier takes: a deep
/// slot or a stub may find no room for a body with a deep stack.
fn load_node(kernel: &Kernel, node: &Node, maps: &Maps) -> OwnedFd {
    let assembled = kernel.assemble(&node.program);
    let body = body(&assembled);
    let forms: Vec<_> = placement::forms(&body).collect();
    let chosen = forms
        .iter()
        .position(|f| *f == form(&body, node.form))
        .unwrap();
    let mut refusals = String::new();
    for form in forms[chosen..].iter().chain(&forms[..chosen]) {
        match kernel.load_placed(&body, *form, maps) {
            Ok(program) => return program,
            Err(log) => refusals.push_str(&log),
        }
    }
    panic!("no form loads: {refusals}");
}

fn kinds() -> impl Strategy<Value = Kind> {
    let kinds = prop_oneof![2 => Just(XDP), 1 => Just(FRAGS), 2 => Just(TC)];
    (kinds, any::<bool>()).prop_map(|(kind, preemptible)| Kind {
        rule: Rule {
            preemptible,
            ..kind.rule
        },
        ..kind
    })
}

/// A frame of no protocol: the kernel runs nothing on one that says it is of IP and is too short for
/// its header (`bpf_prog_test_run_skb`, net/bpf/test_run.c, as of 6.18).
fn packet() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 14..24).prop_map(|mut packet| {
        packet[12] = 0x88;
        packet
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_gives_a_placed_body_its_own_verdict(
        program in programs::program(),
        kind in kinds(),
        counted in any::<bool>(),
        packet in packet(),
    ) {
        let kernel = Kernel::new(kind);
        let assembled = kernel.assemble(&program);
        let alone = load(kind, &bare(assembled.instructions.clone()), None).unwrap_or_else(|log| panic!("unplaced: {log}"));
        let alone = verdict(&alone, &packet);
        let body = body(&assembled);
        let mut loaded = 0;
        for form in placement::forms(&body) {
            let maps = NodeMaps::new(counted);
            let Ok(placed) = kernel.load_placed(&body, form, &maps.fds()) else { continue };
            loaded += 1;
            prop_assert_eq!(verdict(&placed, &packet), alone, "{:?}", form);
            prop_assert_eq!(maps.counts()[..3].iter().sum::<u64>(), u64::from(counted));
        }
        prop_assert!(loaded > 0, "no form loads");
    }

    #[test]
    fn the_kernel_runs_exactly_the_nodes_of_a_chain(
        nodes in vec(node(), 0..=12),
        kind in kinds(),
        packet in packet(),
        answer in -1..4i32,
    ) {
        let kernel = Kernel::new(kind);
        let first = NodeMaps::new(false);
        let root = load(kind, &bare(placement::root(first.fds().next, answer)), None).unwrap();
        let mut chain: Vec<(NodeMaps, OwnedFd)> = Vec::new();
        for node in &nodes {
            let maps = NodeMaps::new(node.counted);
            let program = load_node(&kernel, node, &maps.fds());
            let previous = chain.last().map_or(&first, |(maps, _)| maps);
            set(&previous.next, &program);
            chain.push((maps, program));
        }
        let (run, counts) = expected(&nodes, &kind.rule, kind.context, &packet, answer);
        prop_assert_eq!(verdict(&root, &packet), run.verdict);
        let counted: Vec<_> = chain.iter().map(|(maps, _)| maps.counts()).collect();
        prop_assert_eq!(counted, counts);
    }
}
