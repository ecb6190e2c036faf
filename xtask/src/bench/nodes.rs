//! What a node costs by itself: chains under `BPF_PROG_TEST_RUN`, beside one program that calls as
//! many others.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use nke::hook::Hook;
use nke::place;
use nke::sys::program::{self, TestRun, test_run};
use serde_json::{Map, Value, json};

use super::Effort;
use super::objects::{LENGTHS, dispatcher};
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::Stage;

const PACKET: [u8; 64] = [0; 64];
const XDP_PASS: i32 = 2;

/// A way of running several programs.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Counted,
    Dispatcher,
}

/// The ways: what they are called in the table, and in JSON.
const WAYS: [(Way, &str, &str); 3] = [
    (Way::Plain, "nke, without counters", "chain"),
    (Way::Counted, "nke, with counters", "chain_with_counters"),
    (
        Way::Dispatcher,
        "one dispatcher that calls them",
        "dispatcher",
    ),
];

/// Programs run in one way.
struct Candidate {
    entry: OwnedFd,
    _link: Option<OwnedFd>,
    samples: Samples,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let pass = program(Hook::INTERFACE_XDP, XDP_PASS)?;
    let _link = stage.hang(&pass)?;
    let mut bare = Samples::default();
    let mut candidates = Vec::new();
    for (way, ..) in WAYS {
        let mut row = Vec::new();
        for nodes in LENGTHS {
            let (entry, link) = match way {
                Way::Plain | Way::Counted => (chain(stage, nodes, way == Way::Counted)?, None),
                Way::Dispatcher => {
                    let entry = stage.objects.load(&dispatcher(nodes), &[])?;
                    let link = stage.hang(&entry)?;
                    (entry, Some(link))
                }
            };
            row.push(Candidate {
                entry,
                _link: link,
                samples: Samples::default(),
            });
            stage.check()?;
        }
        candidates.push(row);
    }
    // The first round finds cold caches, and a clock that may be slow.
    for round in 0..=effort.rounds {
        stage.progress("a node by BPF_PROG_TEST_RUN", round, effort.rounds)?;
        let base = time(&pass, effort.packets)?;
        if round > 0 {
            bare.push(base);
        }
        for row in &mut candidates {
            for (candidate, nodes) in row.iter_mut().zip(LENGTHS) {
                let time = time(&candidate.entry, effort.packets)?;
                if round > 0 {
                    candidate.samples.push((time - base) / nodes as f64);
                }
                stage.check()?;
            }
        }
    }
    tell(&bare, &candidates, report);
    Ok(())
}

/// A chain of one extension again and again: the program that the kernel calls for it.
fn chain(stage: &mut Stage<'_>, nodes: usize, counters: bool) -> Result<OwnedFd> {
    let cable = stage.cable()?;
    let mut control = stage.control()?;
    for _ in 0..nodes {
        stage.append(
            &mut control,
            "node-xdp",
            (&cable, Hook::INTERFACE_XDP),
            counters,
        )?;
    }
    stage.root(&cable, Hook::INTERFACE_XDP)
}

/// A program that does nothing but give a verdict.
pub(super) fn program(hook: Hook, verdict: i32) -> Result<OwnedFd> {
    let loaded = program::load(&program::Load {
        program_type: hook.row().program_type as u32,
        expected_attach_type: hook.row().expected_attach_type,
        attach_btf_id: 0,
        flags: 0,
        name: "verdict",
        license: c"GPL",
        instructions: &place::constant(verdict),
        btf: None,
        func_info: &[],
        line_info: &[],
    });
    loaded
        .map_err(|refused| refused.error)
        .context("cannot load a program")
}

/// Nanoseconds of one run, as the kernel says: it knows when it begins, which is after much else.
fn time(program: &OwnedFd, packets: u32) -> Result<f64> {
    let run = TestRun {
        packet: &PACKET,
        repeat: packets,
        ..TestRun::default()
    };
    let (verdict, nanoseconds) = test_run(program, &run).context("cannot run a program")?;
    ensure!(
        verdict == XDP_PASS.cast_unsigned(),
        "a chain answered {verdict}"
    );
    Ok(f64::from(nanoseconds))
}

fn tell(bare: &Samples, candidates: &[Vec<Candidate>], report: &mut Report) {
    let mut rows = vec![heading(&LENGTHS)];
    let mut values = Map::new();
    for ((_, name, key), row) in WAYS.iter().zip(candidates) {
        rows.push(
            [(*name).to_owned()]
                .into_iter()
                .chain(row.iter().map(|c| cell(&c.samples)))
                .collect(),
        );
        let lengths = LENGTHS.iter().map(usize::to_string);
        let samples = row.iter().map(|candidate| candidate.samples.json());
        values.insert(
            (*key).to_owned(),
            Value::Object(lengths.zip(samples).collect()),
        );
    }
    report.table(Table {
        title: "Nanoseconds that a program adds, by BPF_PROG_TEST_RUN; programs:".to_owned(),
        rows,
        notes: vec![format!("an empty program alone: {} ns", bare.told(1))],
    });
    values.insert("empty_program".to_owned(), bare.json());
    report.value("nodes", json!(values));
    let at_16 = LENGTHS.iter().position(|nodes| *nodes == 16).unwrap_or(0);
    let ns = |way: usize| candidates[way][at_16].samples.median();
    report.target("a node of 16, without counters", ns(0), 2.5, "ns");
    report.target("a node of 16, with counters", ns(1), 3.5, "ns");
}

/// The heading of a table with a column for each length.
pub(super) fn heading(lengths: &[usize]) -> Vec<String> {
    [String::new()]
        .into_iter()
        .chain(lengths.iter().map(usize::to_string))
        .collect()
}

/// A median with half of the distance between its quartiles, short enough for six in a row.
pub(super) fn cell(samples: &Samples) -> String {
    let (low, high) = samples.spread();
    format!("{:.1} ±{:.1}", samples.median(), (high - low) / 2.0)
}
