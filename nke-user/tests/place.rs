//! Placed programs do what their bodies do, and a chain runs the nodes that it should: random
//! programs on a machine that knows tail calls.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

mod place {
    pub(crate) mod assemble;
    pub(crate) mod machine;
    pub(crate) mod model;
    pub(crate) mod programs;
}

use nke::place::{self as placement, Body, Counters, Form, Home, Length, Maps, Rule};
use proptest::{collection::vec, prelude::*};

use place::{
    machine::{CPU, Kernel, Run},
    model::{Node, body, expected, form, kernel, node},
    programs::{self, Context, SK_BUFF, XDP_MD},
};

const XDP: Rule = Rule {
    go_on: &[2],
    dropped: &[0, 1],
    length: Length::XdpLinear,
    preemptible: false,
    bits: None,
};
const FRAGS: Rule = Rule {
    length: Length::XdpFrags,
    ..XDP
};
const TC: Rule = Rule {
    go_on: &[-1, 3],
    dropped: &[2],
    length: Length::SkbLen,
    preemptible: false,
    bits: None,
};
const EVENTS: Rule = Rule {
    go_on: &[1],
    dropped: &[],
    length: Length::None,
    preemptible: true,
    bits: None,
};

/// Descriptors of the maps of a node by its position; 0 is the root's.
fn maps(position: usize, counted: bool) -> Maps {
    let position = position as i32;
    Maps {
        next: 1000 + position,
        counters: counted.then_some(Counters {
            map: 2000 + position,
            first_row: 64 * position,
            rows: 4,
        }),
        guard: None,
    }
}

/// The chain as the loader builds it, and what it counted.
fn chained(
    nodes: &[Node],
    rule: &Rule,
    context: Context,
    packet: &[u8],
    answer: i32,
) -> (Run, Vec<[u64; 6]>) {
    let (mut kernel, stranger) = kernel();
    let root = kernel.load(placement::root(maps(0, false).next, answer));
    let mut programs = Vec::new();
    for (position, node) in nodes.iter().enumerate() {
        let assembled = node.program.assemble(context);
        let body = body(&assembled);
        let maps = maps(position + 1, node.counted);
        let placed = placement::place(&body, rule, form(&body, node.form), &maps).unwrap();
        programs.push(kernel.load(placed.instructions));
        kernel.counters.extend(maps.counters.map(|counters| {
            let size = counters.first_row as usize + 4 * Counters::ROW as usize;
            (counters.map, vec![0; size])
        }));
        kernel
            .arrays
            .insert((self::maps(position, false).next, 0), programs[position]);
    }
    let mut run = kernel.run(root, context, packet);
    let position = |entered: &usize| programs.iter().position(|program| program == entered);
    assert_eq!(run.entered.remove(0), root);
    run.entered.retain(|entered| *entered != stranger);
    run.entered = run
        .entered
        .iter()
        .map(|entered| position(entered).unwrap())
        .collect();
    let counts = (1..=nodes.len()).map(|position| {
        let Some(value) = kernel.counters.get_mut(&(2000 + position as i32)) else {
            return [0; 6];
        };
        let numbers = std::array::from_fn(|at| {
            let at = 64 * position + 128 * CPU + 8 * at;
            let number = value[at..at + 8].try_into().unwrap();
            value[at..at + 8].fill(0);
            u64::from_le_bytes(number)
        });
        assert!(value.iter().all(|byte| *byte == 0), "only its own row");
        numbers
    });
    (run, counts.collect())
}

fn rules() -> impl Strategy<Value = (Rule, Context)> {
    let rules = prop_oneof![
        2 => Just((XDP, XDP_MD)),
        1 => Just((FRAGS, XDP_MD)),
        2 => Just((TC, SK_BUFF)),
        1 => Just((EVENTS, SK_BUFF)),
        1 => Just((Rule { go_on: &[], ..EVENTS }, SK_BUFF)),
    ];
    (rules, any::<bool>()).prop_map(|((rule, context), preemptible)| {
        (
            Rule {
                preemptible,
                ..rule
            },
            context,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_gives_the_verdict_of_the_body_alone(
        program in programs::program(),
        (rule, context) in rules(),
        counted in any::<bool>(),
        packet in vec(any::<u8>(), 14..24),
    ) {
        let assembled = program.assemble(context);
        let forms = placement::forms(&body(&assembled)).count();
        for form in 0..forms {
            let nodes = [Node { program: program.clone(), form, counted }];
            let expected = expected(&nodes, &rule, context, &packet, 0);
            prop_assert_eq!(chained(&nodes, &rule, context, &packet, 0), expected);
        }
    }

    #[test]
    fn a_chain_runs_exactly_its_nodes(
        // No more, for some call a stranger of their own, and the kernel counts those calls too.
        nodes in vec(node(), 0..=16),
        (rule, context) in rules(),
        packet in vec(any::<u8>(), 14..24),
        answer in -1..4i32,
    ) {
        let expected = expected(&nodes, &rule, context, &packet, answer);
        prop_assert_eq!(chained(&nodes, &rule, context, &packet, answer), expected);
    }
}

/// A run that comes between another's at a node counts beside it, and leaves its row alone.
#[test]
fn what_comes_between_counts_in_the_second_row() {
    let node = maps(1, true);
    let counters = node.counters.unwrap();
    for form in [
        Form::Stub,
        Form::Inline(Home::Slot(-8)),
        Form::Inline(Home::Register(7)),
    ] {
        let one = placement::constant(1);
        let placed = placement::place(&Body::of(&one), &EVENTS, form, &node).unwrap();
        let mut kernel = Kernel::default();
        let program = kernel.load(placed.instructions);
        let mut value = vec![0; counters.first_row as usize + 4 * Counters::ROW as usize];
        let row = 64 + 128 * CPU;
        value[row..row + 8].copy_from_slice(&7u64.to_le_bytes());
        // The word that says so.
        value[row + 48] = 1;
        let mut expected = value.clone();
        expected[row + 64] = 1;
        kernel.counters.insert(counters.map, value);
        kernel.run(program, SK_BUFF, &[0; 14]);
        assert_eq!(kernel.counters[&counters.map], expected, "{form:?}");
    }
}

/// Every body goes on, so that the whole length is run.
#[test]
fn thirty_two_nodes_are_reached() {
    let mut kernel = Kernel::default();
    let root = kernel.load(placement::root(1000, 1));
    let pass = placement::constant(2);
    for position in 0..33 {
        let body = Body::of(&pass);
        let form = [
            Form::Stub,
            Form::Inline(Home::Slot(-8)),
            Form::Inline(Home::Register(7)),
        ][position % 3];
        let placed = placement::place(&body, &XDP, form, &maps(position + 1, false)).unwrap();
        let program = kernel.load(placed.instructions);
        kernel.arrays.insert((1000 + position as i32, 0), program);
    }
    let run = kernel.run(root, XDP_MD, &[0; 14]);
    assert_eq!(
        (run.verdict, run.entered),
        (2, (0..=33).collect::<Vec<_>>())
    );
}
