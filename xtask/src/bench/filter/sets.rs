//! What a packet costs that a set drops: one rule, which names a set of many addresses, or prefixes.
//!
//! Packets come from 4,096 members in turn, so that the set's part for them stays in the caches, and from
//! members drawn at random of all, where memory decides. Each is compared with one rule of the same tool that
//! names no set, under the same packets.

use anyhow::{Result, ensure};
use nke::filter::shapes::Dice;
use serde_json::json;

use super::candidate::PACKETS;
use super::costs::ONE;
use super::frames;
use super::members::{Kind, Member};
use super::tools::iptables::Flavour;
use super::tools::nftables::Hook;
use super::tools::{Laid, Tool, ipset, nft_set};
use crate::bench::Effort;
use crate::bench::live::at_sender;
use crate::bench::nodes::cell;
use crate::bench::report::{Report, Table};
use crate::bench::rotation::{Frame, Rotation};
use crate::bench::samples::Samples;
use crate::bench::stage::Stage;

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
    sent: u64,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let rotations = [
        Rotation::new(stage, PACKETS)?,
        Rotation::new(stage, RANDOM)?,
    ];
    let mut subjects = Vec::new();
    for tool in [
        Tool::Nftables(Hook::Ingress),
        Tool::Iptables(Flavour::Legacy),
    ] {
        lay(stage, tool, effort.members, &mut subjects)?;
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
fn lay(stage: &mut Stage<'_>, tool: Tool, count: usize, subjects: &mut Vec<Subject>) -> Result<()> {
    let base = subjects.len();
    let mut dice = Dice::new(5);
    let laid = tool.lay(stage, &[ONE])?;
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
            Tool::Nftables(_) | Tool::Nke => nft_set::lay(stage, kind, &members)?,
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
            sent: 0,
        }
    }

    fn round(&mut self, rotations: &[Rotation; 2], packets: u32, keep: bool) -> Result<()> {
        for ((rotation, samples), count) in
            rotations.iter().zip(&mut self.live).zip([PACKETS, RANDOM])
        {
            rotation.fill(&self.packets[..count])?;
            let time = at_sender(|| rotation.send(packets))?;
            self.sent += u64::from(packets);
            if keep {
                samples.push(time);
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
        "replace, ms",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut values = Vec::new();
    for subject in subjects {
        let base = &subjects[subject.base];
        let [turn, random] = &subject.live;
        let [over, over_random] = [0, 1].map(|at| subject.live[at].beyond(&base.live[at]));
        let mut row = vec![subject.name.clone(), subject.members.to_string()];
        let mut value = json!({
            "name": subject.name, "members": subject.members,
            "live_in_turn": turn.json(), "live_at_random": random.json(),
        });
        if subject.members == 0 {
            row.extend([cell(turn), String::new(), cell(random)]);
        } else {
            row.extend([turn, &over, random, &over_random].map(cell));
            row.push(format!("{:.0}", subject.replace));
            value["over_a_rule_in_turn"] = over.json();
            value["over_a_rule_at_random"] = over_random.json();
            value["replace_ms"] = json!(subject.replace);
        }
        rows.push(row);
        values.push(value);
    }
    report.table(Table {
        title: "Nanoseconds of a packet that a set drops, live".to_owned(),
        rows,
        notes: vec![
            "in turn: packets from 4,096 members; at random: from 262,144 draws of all".to_owned(),
            "replace: all members at once, by a whole process".to_owned(),
        ],
    });
    report.value("sets", json!(values));
}
