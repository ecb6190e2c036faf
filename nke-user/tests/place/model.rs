//! What a chain is, and what it should do: the bodies one after the other, each alone, for as long as
//! their verdicts say go on. Never by placement itself.

use nke::place::{self as placement, Body, Form, Length, Rule};
use proptest::prelude::*;

use super::assemble::Assembled;
use super::machine::{Kernel, Run};
use super::programs::{self, Context, Program, STRANGER_ANSWER, STRANGER_MAP};

/// One node: what it runs, the form (modulo those it takes), whether it counts.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) program: Program,
    pub(crate) form: usize,
    pub(crate) counted: bool,
}

pub(crate) fn node() -> impl Strategy<Value = Node> {
    (programs::program(), any::<usize>(), any::<bool>()).prop_map(|(program, form, counted)| Node {
        program,
        form,
        counted,
    })
}

pub(crate) fn body(assembled: &Assembled) -> Body<'_> {
    Body {
        main_len: assembled.main_len,
        ..Body::of(&assembled.instructions)
    }
}

pub(crate) fn form(body: &Body<'_>, choice: usize) -> Form {
    // A deeper slot is only for what a scan could miss, and so always right too.
    let forms: Vec<_> = placement::forms(body).collect();
    forms[choice % forms.len()]
}

/// A kernel with the program that bodies call by themselves, and that program's number.
pub(crate) fn kernel() -> (Kernel, usize) {
    let mut kernel = Kernel::default();
    let stranger = kernel.load(placement::constant(STRANGER_ANSWER));
    kernel.arrays.insert((STRANGER_MAP, 0), stranger);
    (kernel, stranger)
}

/// What a packet meets, and what each node counts; `answer` is an empty chain's.
pub(crate) fn expected(
    nodes: &[Node],
    rule: &Rule,
    context: Context,
    packet: &[u8],
    answer: i32,
) -> (Run, Vec<[u64; 6]>) {
    let mut run = Run {
        verdict: answer as u32,
        entered: Vec::new(),
        packet: packet.to_vec(),
    };
    let mut counts = vec![[0; 6]; nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        let (mut kernel, stranger) = kernel();
        let program = kernel.load(node.program.assemble(context).instructions);
        let alone = kernel.run(program, context, &run.packet);
        run.entered.push(position);
        assert!(
            alone.entered[1..]
                .iter()
                .all(|entered| *entered == stranger)
        );
        (run.verdict, run.packet) = (alone.verdict, alone.packet);
        let verdict = run.verdict as i32;
        let goes_on = rule.go_on.is_empty() || rule.go_on.contains(&verdict);
        if node.counted {
            let class = if goes_on {
                0
            } else {
                2 - usize::from(rule.dropped.contains(&verdict))
            };
            counts[position][class] += 1;
            if rule.length != Length::None {
                counts[position][3 + class] += run.packet.len() as u64;
            }
        }
        if !goes_on {
            break;
        }
    }
    (run, counts)
}
