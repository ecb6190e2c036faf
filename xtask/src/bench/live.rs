//! What a node costs under live traffic at an interface's input: nke's chain beside the kernel's own
//! list of programs (TCX), packets and all.
//!
//! Generator and receiver share one core, so that the time of a packet is all that is done for it.
//! Whatever the way, the last program counts the packet and drops it, and a way is compared with
//! itself without the programs in front of that.

use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use nke::hook::Hook;
use nke::sys::{
    link,
    program::{TEST_XDP_LIVE_FRAMES, TestRun, test_run},
};
use serde_json::{Map, Value, json};

use super::Effort;
use super::nodes::{cell, heading};
use super::objects::{counted, packet_counter};
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::{Cable, Core, Stage, enter_sender, pin_to};

/// How many nodes stand in front of the sink, which is a node of the 32 as well.
const LENGTHS: [usize; 6] = [1, 2, 4, 8, 16, 31];

/// Packets that the kernel sends in one go.
pub(super) const BATCH: u32 = 64;

/// Sends packets into cables at the full rate of the core.
pub(super) struct Generator {
    program: OwnedFd,
    _link: OwnedFd,
}

impl Generator {
    pub(super) fn new(stage: &mut Stage<'_>) -> Result<Self> {
        let program = stage.objects.load("generator", &[])?;
        let link = stage.hang(&program)?;
        Ok(Self {
            program,
            _link: link,
        })
    }

    /// Sends so many packets into a cable, on the thread of the sender's side that calls this.
    /// The result is the nanoseconds of a packet.
    pub(super) fn send(&self, cable: &Cable, packets: u32) -> Result<u32> {
        // An Ethernet header, and in it where to.
        let mut packet = [0; 64];
        packet[..6].fill(2);
        packet[8..12].copy_from_slice(&cable.outside_index.to_ne_bytes());
        self.send_packet(&packet, packets)
    }

    /// The same of a packet that holds where it goes.
    pub(super) fn send_packet(&self, packet: &[u8], packets: u32) -> Result<u32> {
        let run = TestRun {
            packet,
            repeat: packets,
            flags: TEST_XDP_LIVE_FRAMES,
            batch: BATCH,
            ..TestRun::default()
        };
        let (_, nanoseconds) = test_run(&self.program, &run).context("cannot send packets")?;
        Ok(nanoseconds)
    }
}

/// Does something on the sender's side, on the core that measures.
pub(super) fn at_sender<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            enter_sender()?;
            pin_to(Core::Measuring)?;
            work()
        });
        sender
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the generator died")))
    })
}

/// A way of running several programs, with so many of them in front of the sink.
struct Candidate {
    cable: Cable,
    counter: OwnedFd,
    /// What keeps programs attached that nke does not keep.
    _links: Vec<OwnedFd>,
    /// Nanoseconds of a packet, in every round.
    times: Vec<f64>,
}

/// The ways: what they are called in the table, and in JSON.
const WAYS: [(&str, &str); 3] = [
    ("nke, without counters", "chain"),
    ("nke, with counters", "chain_with_counters"),
    ("the kernel's own list (TCX)", "tcx"),
];

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let generator = Generator::new(stage)?;
    let mut candidates = Vec::new();
    for way in 0..WAYS.len() {
        let mut row = Vec::new();
        for nodes in [0].into_iter().chain(LENGTHS) {
            row.push(match way {
                2 => tcx(stage, nodes)?,
                _ => chain(stage, nodes, way == 1)?,
            });
            stage.check()?;
        }
        candidates.push(row);
    }
    for round in 0..=effort.rounds {
        stage.progress("a node under live traffic", round, effort.rounds)?;
        for candidate in candidates.iter_mut().flatten() {
            let time = time(&generator, candidate, effort.packets)?;
            // The first round finds cold caches, and a clock that may be slow.
            if round > 0 {
                candidate.times.push(time);
            }
            stage.check()?;
        }
    }
    tell(&candidates, report);
    Ok(())
}

fn chain(stage: &mut Stage<'_>, nodes: usize, counters: bool) -> Result<Candidate> {
    let cable = stage.cable()?;
    let mut control = stage.control()?;
    for _ in 0..nodes {
        stage.append(
            &mut control,
            "node-tc",
            (&cable, Hook::INTERFACE_IN),
            counters,
        )?;
    }
    stage.append(
        &mut control,
        "sink-tc",
        (&cable, Hook::INTERFACE_IN),
        counters,
    )?;
    let counter = stage.counter("sink-tc")?;
    Ok(Candidate {
        cable,
        counter,
        _links: Vec::new(),
        times: Vec::new(),
    })
}

fn tcx(stage: &mut Stage<'_>, nodes: usize) -> Result<Candidate> {
    let cable = stage.cable()?;
    let counter = packet_counter()?;
    // One program can be on the list only once.
    let programs: Result<Vec<_>> = (0..nodes)
        .map(|_| stage.objects.load("node-tc", &[]))
        .collect();
    let mut programs = programs?;
    let sink = stage.objects.load("sink-tc", &[("packets", &counter)])?;
    let attach_type = Hook::INTERFACE_IN.row().attach_type;
    programs.push(sink);
    let links = programs
        .iter()
        .map(|program| link::create(program, cable.inside_index, attach_type, 0))
        .collect::<Result<_, _>>()
        .context("cannot attach by TCX")?;
    Ok(Candidate {
        cable,
        counter,
        _links: links,
        times: Vec::new(),
    })
}

/// Nanoseconds from sending a packet to its end.
fn time(generator: &Generator, candidate: &Candidate, packets: u32) -> Result<f64> {
    let before = counted(&candidate.counter)?;
    let nanoseconds = at_sender(|| generator.send(&candidate.cable, packets))?;
    let arrived = counted(&candidate.counter)? - before;
    ensure!(
        arrived == u64::from(packets),
        "of {packets} packets {arrived} arrived"
    );
    Ok(nanoseconds.into())
}

fn tell(candidates: &[Vec<Candidate>], report: &mut Report) {
    let mut rows = vec![heading(&LENGTHS)];
    let mut values = Map::new();
    let mut at_16 = Vec::new();
    for ((name, key), row) in WAYS.iter().zip(candidates) {
        let [alone, others @ ..] = row.as_slice() else {
            continue;
        };
        let added = |(candidate, nodes): (&Candidate, usize)| {
            let mut samples = Samples::default();
            for (time, base) in candidate.times.iter().zip(&alone.times) {
                samples.push((time - base) / nodes as f64);
            }
            samples
        };
        let samples: Vec<Samples> = others.iter().zip(LENGTHS).map(added).collect();
        rows.push(
            [(*name).to_owned()]
                .into_iter()
                .chain(samples.iter().map(cell))
                .collect(),
        );
        let lengths = LENGTHS.iter().map(usize::to_string);
        let mut value: Map<String, Value> =
            lengths.zip(samples.iter().map(Samples::json)).collect();
        let mut packet = Samples::default();
        alone.times.iter().for_each(|time| packet.push(*time));
        value.insert("packet_with_sink_alone".to_owned(), packet.json());
        values.insert((*key).to_owned(), Value::Object(value));
        let sixteen = LENGTHS
            .iter()
            .zip(&samples)
            .find(|(nodes, _)| **nodes == 16);
        at_16.extend(sixteen.map(|(_, samples)| samples.median()));
    }
    report.table(Table {
        title: "Nanoseconds that a program adds, interface/in, live traffic; programs:".to_owned(),
        rows,
        notes: vec![
            "in front of one that counts and drops; all of a packet on one core".to_owned(),
        ],
    });
    report.value("live", json!(values));
    if let [plain, counted, tcx] = at_16.as_slice() {
        let third = tcx / 3.0;
        report.target(
            "a live node of 16, without counters, against TCX",
            *plain,
            third,
            "ns",
        );
        report.target(
            "a live node of 16, with counters, against TCX",
            *counted,
            third,
            "ns",
        );
    }
}
