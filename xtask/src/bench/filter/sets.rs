//! What a packet costs that a set drops: one rule, which names a set of many addresses, or prefixes.
//!
//! Packets come from 4,096 members in turn, so that the set's part for them stays in the caches, and from
//! members drawn at random of all, where memory decides. Each is compared with one rule of the same tool that
//! names no set, under the same packets.

use std::path::Path;

use anyhow::{Result, ensure};
use nke::filter::shapes::Dice;
use serde_json::json;

use super::candidate::{PACKETS, XDP_DROP};
use super::costs::ONE;
use super::frames;
use super::members::{Kind, Member};
use super::tools::iptables::Flavour;
use super::tools::nftables::Hook;
use super::tools::{Laid, Tool, ipset, nft_set, nke_set};
use crate::bench::Effort;
use crate::bench::live::at_sender;
use crate::bench::nodes::cell;
use crate::bench::report::{Report, Table};
use crate::bench::rotation::{Frame, Rotation};
use crate::bench::samples::Samples;
use crate::bench::stage::Stage;

/// Members of nke's sets; others may have fewer, as they take seconds to fill.
const MEMBERS: usize = 1_000_000;
/// What a packet may take over one rule, in nanoseconds, by the kind of the members.
const LIMITS: [f64; 2] = [30.0, 60.0];
/// Packets from members at random.
const RANDOM: usize = 1 << 18;

/// A rule in force, with or without a set, and packets that it drops.
struct Subject {
    name: String,
    members: usize,
    /// Milliseconds of replacing all members.
    replace: f64,
    laid: Laid,
    packets: Vec<Frame>,
    /// What it is compared with: one rule of the same tool.
    base: usize,
    /// Nanoseconds of a packet, 4,096 members in turn and members at random.
    live: [Samples; 2],
    /// The same of the program alone, if that can be run by itself.
    alone: [Samples; 2],
    sent: u64,
}

pub(super) fn measure(
    stage: &mut Stage<'_>,
    effort: Effort,
    nke: &Path,
    report: &mut Report,
) -> Result<()> {
    let rotations = [
        Rotation::new(stage, PACKETS)?,
        Rotation::new(stage, RANDOM)?,
    ];
    let mut subjects = Vec::new();
    for (tool, members) in [
        (Tool::Nke, MEMBERS),
        (Tool::Nftables(Hook::Ingress), effort.members),
        (Tool::Iptables(Flavour::Legacy), effort.members),
    ] {
        lay(stage, nke, tool, members, &mut subjects)?;
    }
    let rounds = effort.rounds.min(20);
    for round in 0..=rounds {
        stage.progress("packets that a set drops", round, rounds)?;
        for subject in &mut subjects {
            subject.round(&rotations, effort.packets / 5, round > 0)?;
            if round == 0 {
                subject.check(stage)?;
            }
            stage.check()?;
        }
    }
    tell(&subjects, report);
    Ok(())
}

/// One rule of a tool, and one with each kind of set.
fn lay(
    stage: &mut Stage<'_>,
    nke: &Path,
    tool: Tool,
    count: usize,
    subjects: &mut Vec<Subject>,
) -> Result<()> {
    let base = subjects.len();
    let mut dice = Dice::new(5);
    let laid = match tool {
        Tool::Nke => nke_set::lay_rule(stage, nke, &ONE.to_string())?,
        Tool::Nftables(_) | Tool::Iptables(_) => tool.lay(stage, &[ONE])?,
    };
    let everywhere = |dice: &mut Dice| dice.roll() as u32;
    let name = format!("{}, one rule", tool.name());
    subjects.push(Subject::new(
        name,
        base,
        0,
        (laid, f64::NAN),
        &mut dice,
        everywhere,
    ));
    for kind in Kind::ALL {
        let name = format!("{}, {}", tool.name(), kind.name());
        stage.progress(&format!("{count} members: {name}"), 0, 1)?;
        let members = kind.draw(&mut dice, count);
        let laid = match tool {
            Tool::Iptables(_) => ipset::lay(stage, kind, &members)?,
            Tool::Nke => nke_set::lay(stage, nke, kind, &members)?,
            Tool::Nftables(_) => nft_set::lay(stage, kind, &members)?,
        };
        let within = |dice: &mut Dice| {
            let member: Member = members[dice.below(count as u64) as usize];
            member.address(dice)
        };
        subjects.push(Subject::new(name, base, count, laid, &mut dice, within));
        stage.check()?;
    }
    Ok(())
}

impl Subject {
    fn new(
        name: String,
        base: usize,
        members: usize,
        (laid, replace): (Laid, f64),
        dice: &mut Dice,
        source: impl Fn(&mut Dice) -> u32,
    ) -> Self {
        let outside = laid.cable.outside_index;
        let packet = |_| {
            let source = source(dice);
            frames::from(source, dice, outside)
        };
        Self {
            name,
            members,
            replace,
            packets: (0..RANDOM).map(packet).collect(),
            laid,
            base,
            live: Default::default(),
            alone: Default::default(),
            sent: 0,
        }
    }

    fn round(&mut self, rotations: &[Rotation; 2], packets: u32, keep: bool) -> Result<()> {
        let counts = [PACKETS, RANDOM];
        for (at, (rotation, count)) in rotations.iter().zip(counts).enumerate() {
            rotation.fill(&self.packets[..count])?;
            let live = at_sender(|| rotation.send(packets))?;
            self.sent += u64::from(packets);
            let alone = match &self.laid.root {
                Some(root) => rotation.judge(root, XDP_DROP)?,
                None => None,
            };
            if keep {
                self.live[at].push(live);
                alone.into_iter().for_each(|time| self.alone[at].push(time));
            }
        }
        Ok(())
    }

    /// Fails unless every packet has been dropped by the rule.
    fn check(&self, stage: &Stage<'_>) -> Result<()> {
        if let Some(counts) = &self.laid.counts {
            let (counted, sent) = (counts.read(stage)?, self.sent);
            let name = &self.name;
            ensure!(
                counted == sent,
                "{name}: of {sent} packets {counted} met the rule"
            );
        }
        Ok(())
    }
}

fn tell(subjects: &[Subject], report: &mut Report) {
    let heading = [
        "",
        "members",
        "in turn",
        "over a rule",
        "at random",
        "over a rule",
        "alone, over a rule",
        "at random",
        "replace, ms",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut values = Vec::new();
    for subject in subjects {
        let base = &subjects[subject.base];
        let beyond =
            |own: &[Samples; 2], base: &[Samples; 2]| [0, 1].map(|at| own[at].beyond(&base[at]));
        let [turn, random] = &subject.live;
        let [over, over_random] = beyond(&subject.live, &base.live);
        let [own, own_random] = beyond(&subject.alone, &base.alone);
        let columns = [turn, &over, random, &over_random, &own, &own_random];
        let is_base = subject.members == 0;
        let told = columns.iter().enumerate().map(|(at, samples)| {
            let shown = !samples.is_empty() && (!is_base || at == 0 || at == 2);
            if shown { cell(samples) } else { String::new() }
        });
        let name = [subject.name.clone(), subject.members.to_string()];
        let mut row: Vec<String> = name.into_iter().chain(told).collect();
        if !is_base {
            row.push(format!("{:.0}", subject.replace));
        }
        rows.push(row);
        values.push(json!({
            "name": subject.name, "members": subject.members, "replace_ms": subject.replace,
            "live_in_turn": turn.json(), "live_at_random": random.json(),
            "live_over_a_rule_in_turn": over.json(), "live_over_a_rule_at_random": over_random.json(),
            "alone_over_a_rule_in_turn": own.json(), "alone_over_a_rule_at_random": own_random.json(),
        }));
    }
    report.table(Table {
        title: "Nanoseconds of a packet that a set drops".to_owned(),
        rows,
        notes: vec![
            "live; in turn: packets from 4,096 members; at random: from 262,144 draws of all"
                .to_owned(),
            "alone: the program by BPF_PROG_TEST_RUN".to_owned(),
            "replace: all members at once, by a whole process".to_owned(),
        ],
    });
    report.value("sets", json!(values));
    let [base, sets @ ..] = subjects else {
        return;
    };
    for (subject, limit) in sets.iter().zip(LIMITS) {
        let over = subject.live[0].beyond(&base.live[0]).median();
        let what = format!("{}, live, over one rule", subject.name);
        report.target(&what, over, limit, "ns");
        let what = format!("{}, all replaced", subject.name);
        report.target(&what, subject.replace, 1000.0, "ms");
    }
}
