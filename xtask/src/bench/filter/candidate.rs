//! A way of judging packets, the packets, and what they cost.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use nke::filter::shapes::Shape;
use nke::sys::program::{TestRun, test_run};
use serde_json::{Map, Value, json};

use super::tools::Laid;
use crate::bench::live::{Generator, at_sender};
use crate::bench::nodes::cell;
use crate::bench::rotation::{Frame, Rotation};
use crate::bench::samples::Samples;
use crate::bench::stage::Stage;

pub(super) const XDP_DROP: u32 = 1;
pub(super) const XDP_PASS: u32 = 2;

/// Packets that take turns.
pub(super) const PACKETS: usize = 4096;
/// Those of them that are sent, or run, again and again by themselves.
const SINGLE: usize = 16;
/// Runs of a program on one packet.
const RUNS: u32 = 2000;
/// Those packets that are looked at closely when the dearest is looked for.
const FINALISTS: usize = 24;

/// What is measured, all in nanoseconds of a packet: the heading of its column, and its name in JSON.
pub(super) const COSTS: [(&str, &str); 6] = [
    // All that is done for it under live traffic, one packet again and again; the mean of sixteen.
    ("live", "live"),
    // The same with thousands in turn.
    ("in turn", "live_in_turn"),
    // The same of the packet that is the dearest to the program alone, again and again.
    ("dearest", "live_dearest"),
    // The program alone, one packet again and again; the mean of sixteen.
    ("alone", "alone"),
    // The same with thousands in turn; what it takes to have them in turn is a part of it.
    ("in turn", "alone_in_turn"),
    // The same of its dearest packet, again and again.
    ("dearest", "alone_dearest"),
];
/// Places in [`COSTS`].
pub(super) const LIVE: usize = 0;
pub(super) const LIVE_DEAREST: usize = 2;

/// What the columns are.
pub(super) const NOTES: [&str; 4] = [
    "live: the whole packet on one core, from its sender to its end; alone: the program by BPF_PROG_TEST_RUN",
    "the first column of each: one packet again and again, so that all is warm; the mean of 16",
    "in turn: 4,096 packets one after the other; the copy of 64 bytes that takes is included",
    "dearest: again and again the one of 4,096 packets that takes the program longest",
];

/// Rules in force somewhere, and packets for them.
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) shape: Option<Shape>,
    pub(super) rules: usize,
    /// By how much fewer packets it is sent.
    patience: u32,
    laid: Laid,
    packets: Vec<Frame>,
    dearest: Option<Frame>,
    /// Packets sent up to now.
    sent: u64,
    costs: [Samples; COSTS.len()],
}

impl Candidate {
    pub(super) fn new(
        name: &str,
        (shape, rules): (Option<Shape>, usize),
        patience: u32,
        laid: Laid,
        packets: Vec<Frame>,
    ) -> Result<Self> {
        let dearest = match &laid.root {
            Some(root) => Some(dearest(root, &packets)?),
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            shape,
            rules,
            patience,
            laid,
            packets,
            dearest,
            sent: 0,
            costs: Default::default(),
        })
    }

    pub(super) const fn cost(&self, which: usize) -> &Samples {
        &self.costs[which]
    }

    /// Measures everything once, and keeps that unless it is the first time, which finds cold caches.
    pub(super) fn round(
        &mut self,
        generator: &Generator,
        rotation: &Rotation,
        packets: u32,
        keep: bool,
    ) -> Result<()> {
        rotation.fill(&self.packets)?;
        let [one, turn, dearest] = self.live(generator, rotation, packets)?;
        let [own, own_turn, own_dearest] = match (&self.laid.root, &self.dearest) {
            (Some(root), Some(dearest)) => [
                Some(alone(root, &self.packets[..SINGLE])?),
                rotation.judge(root, XDP_DROP)?,
                Some(alone(root, std::slice::from_ref(dearest))?),
            ],
            _ => [None; 3],
        };
        // The order of `COSTS`.
        let found = [one, turn, dearest, own, own_turn, own_dearest];
        for (cost, found) in self.costs.iter_mut().zip(found) {
            if let Some(found) = found.filter(|_| keep) {
                cost.push(found);
            }
        }
        Ok(())
    }

    fn live(
        &mut self,
        generator: &Generator,
        rotation: &Rotation,
        packets: u32,
    ) -> Result<[Option<f64>; 3]> {
        let share = (packets / self.patience / SINGLE as u32).max(1);
        let in_turn = share * SINGLE as u32;
        let found = at_sender(|| {
            let mut sum = 0.0;
            for packet in &self.packets[..SINGLE] {
                sum += f64::from(generator.send_packet(packet, share)?);
            }
            let turn = rotation.send(in_turn)?;
            let dearest = match &self.dearest {
                Some(packet) => Some(generator.send_packet(packet, in_turn)?.into()),
                None => None,
            };
            Ok([Some(sum / SINGLE as f64), Some(turn), dearest])
        })?;
        self.sent += u64::from(in_turn) * found.iter().flatten().count() as u64;
        Ok(found)
    }

    /// Fails unless every packet that was sent has been counted by a rule, where that can be told.
    pub(super) fn check(&self, stage: &Stage<'_>) -> Result<()> {
        let Some(counts) = &self.laid.counts else {
            return Ok(());
        };
        let counted = counts.read(stage)?;
        let Self {
            name, rules, sent, ..
        } = self;
        // A program of its own has judged test runs, too.
        ensure!(
            counted == *sent || self.laid.root.is_some() && counted > *sent,
            "{name}, {rules} rules: of {sent} packets {counted} met a rule"
        );
        Ok(())
    }

    /// What was measured, as a table has it.
    pub(super) fn cells(&self) -> impl Iterator<Item = String> {
        self.costs.iter().map(|samples| match samples.is_empty() {
            true => String::new(),
            false => cell(samples),
        })
    }

    pub(super) fn json(&self) -> Value {
        let shape = self.shape.map(|shape| format!("{shape:?}").to_lowercase());
        let mut value = Map::from_iter([
            ("tool".to_owned(), json!(self.name)),
            ("shape".to_owned(), json!(shape)),
            ("rules".to_owned(), json!(self.rules)),
        ]);
        let costs = COSTS.iter().zip(&self.costs);
        let told = costs.filter(|(_, samples)| !samples.is_empty());
        value.extend(told.map(|((_, key), samples)| ((*key).to_owned(), samples.json())));
        Value::Object(value)
    }
}

/// The heading of a table of costs, behind these columns.
pub(super) fn heading(first: &[&str]) -> Vec<String> {
    let costs = COSTS.iter().map(|(title, _)| *title);
    first
        .iter()
        .copied()
        .chain(costs)
        .map(str::to_owned)
        .collect()
}

/// Nanoseconds of one run, as the kernel tells, and the verdict.
pub(super) fn time(program: &OwnedFd, packet: &Frame, repeat: u32) -> Result<(f64, u32)> {
    let run = TestRun {
        packet,
        repeat,
        ..TestRun::default()
    };
    let (verdict, nanoseconds) = test_run(program, &run).context("cannot run a program")?;
    Ok((f64::from(nanoseconds), verdict))
}

/// The mean over packets, each the least of three.
pub(super) fn alone(program: &OwnedFd, packets: &[Frame]) -> Result<f64> {
    let mut sum = 0.0;
    for packet in packets {
        let mut least = f64::INFINITY;
        for _ in 0..3 {
            least = least.min(time(program, packet, RUNS)?.0);
        }
        sum += least;
    }
    Ok(sum / packets.len() as f64)
}

/// The packet that a program takes longest for. It must drop all of them.
fn dearest(program: &OwnedFd, packets: &[Frame]) -> Result<Frame> {
    let mut times = Vec::with_capacity(packets.len());
    for packet in packets {
        let (time, verdict) = time(program, packet, RUNS / 20)?;
        ensure!(verdict == XDP_DROP, "a packet was not dropped");
        times.push((time, packet));
    }
    times.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let mut dearest = (0.0, packets[0]);
    for (_, packet) in times.into_iter().take(FINALISTS) {
        let time = alone(program, std::slice::from_ref(packet))?;
        if time > dearest.0 {
            dearest = (time, *packet);
        }
    }
    Ok(dearest.1)
}
