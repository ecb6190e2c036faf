//! What a packet costs that no rule matches, beside one that is dropped.
//!
//! A bare program that passes is compared with one that drops, and what nke adds to each of them: what
//! becomes of the packet behind the program is not the program's.

use std::os::fd::OwnedFd;

use anyhow::{Result, bail};
use nke::filter::shapes::{Dice, Drawn, Shape};
use serde_json::json;

use super::SIZES;
use super::candidate::{PACKETS, XDP_DROP, XDP_PASS, alone, time};
use super::frames::{beside, matching};
use super::tools::{Tool, bare};
use crate::bench::Effort;
use crate::bench::nodes::cell;
use crate::bench::report::{Report, Table};
use crate::bench::rotation::{Frame, Rotation};
use crate::bench::samples::Samples;
use crate::bench::stage::Stage;

/// Those of the packets that are run again and again by themselves.
const SINGLE: usize = 64;
/// In how many bits packets differ from one that a rule matches, at first, and at most: where rules are many,
/// what differs in a few is matched by another.
const BITS: [usize; 2] = [1, 64];

/// A program, and packets of both kinds.
struct Subject {
    name: String,
    rules: usize,
    drops: OwnedFd,
    dropped: Vec<Frame>,
    passes: OwnedFd,
    passed: Vec<Frame>,
    /// One packet again and again: dropped, and passed.
    single: [Samples; 2],
    /// Thousands in turn, alike.
    in_turn: [Samples; 2],
    _keeps: Vec<OwnedFd>,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let rotation = Rotation::new(stage, PACKETS)?;
    let mut dice = Dice::new(2);
    let mut subjects = vec![bare_programs(stage, &mut dice)?];
    for shape in Shape::ALL {
        for size in SIZES {
            let mut rules = shape.draw(&mut dice, size, false);
            // Of thousands of rules one would meet every packet.
            rules.retain(|rule| size == 1 || rule.source.1 > 0 || rule.destination.1 > 0);
            subjects.push(filter(stage, shape, &rules, &mut dice)?);
            stage.check()?;
        }
    }
    let rounds = effort.rounds.min(30);
    for round in 0..=rounds {
        stage.progress("packets that no rule matches", round, rounds)?;
        for subject in &mut subjects {
            subject.round(&rotation, round > 0)?;
            stage.check()?;
        }
    }
    tell(&subjects, report);
    Ok(())
}

fn bare_programs(stage: &mut Stage<'_>, dice: &mut Dice) -> Result<Subject> {
    let rules = Shape::Fw.draw(dice, 100, false);
    let packets = matching(&rules, dice, PACKETS, 0);
    let [drop, pass] = [bare::lay(stage, XDP_DROP)?, bare::lay(stage, XDP_PASS)?];
    let keeps = [drop.link, pass.link].into_iter().flatten().collect();
    let roots = (drop.root, pass.root);
    let (Some(drops), Some(passes)) = roots else {
        bail!("a bare program without a program");
    };
    Ok(Subject {
        name: "bare verdict".to_owned(),
        rules: 0,
        drops,
        dropped: packets.clone(),
        passes,
        passed: packets,
        single: Default::default(),
        in_turn: Default::default(),
        _keeps: keeps,
    })
}

fn filter(
    stage: &mut Stage<'_>,
    shape: Shape,
    rules: &[Drawn],
    dice: &mut Dice,
) -> Result<Subject> {
    let laid = Tool::Nke.lay(stage, rules)?;
    let Some(root) = laid.root else {
        bail!("a chain without a program");
    };
    let outside = laid.cable.outside_index;
    let name = format!("{shape:?}").to_lowercase();
    let mut passed = Vec::with_capacity(PACKETS);
    while passed.len() < PACKETS {
        passed.push(unmatched(&root, rules, dice, outside)?);
    }
    Ok(Subject {
        name: format!("nke, {name}"),
        rules: rules.len(),
        dropped: matching(rules, dice, PACKETS, outside),
        drops: root.try_clone()?,
        passes: root,
        passed,
        single: Default::default(),
        in_turn: Default::default(),
        _keeps: Vec::new(),
    })
}

/// A packet that no rule matches, and yet like others as far as that can be.
fn unmatched(program: &OwnedFd, rules: &[Drawn], dice: &mut Dice, outside: u32) -> Result<Frame> {
    for bits in BITS[0]..=BITS[1] {
        let frame = beside(rules, dice, bits, outside);
        if time(program, &frame, 1)?.1 == XDP_PASS {
            return Ok(frame);
        }
    }
    bail!("of {} rules one meets every packet", rules.len())
}

impl Subject {
    fn round(&mut self, rotation: &Rotation, keep: bool) -> Result<()> {
        let kinds = [
            (&self.drops, &self.dropped, XDP_DROP),
            (&self.passes, &self.passed, XDP_PASS),
        ];
        for (kind, (program, packets, verdict)) in kinds.into_iter().enumerate() {
            rotation.fill(packets)?;
            let single = alone(program, &packets[..SINGLE])?;
            let in_turn = rotation.judge(program, verdict)?;
            if keep {
                self.single[kind].push(single);
                self.in_turn[kind].push(in_turn.unwrap_or(f64::NAN));
            }
        }
        Ok(())
    }
}

fn tell(subjects: &[Subject], report: &mut Report) {
    let [bare, filters @ ..] = subjects else {
        return;
    };
    let heading = [
        "",
        "rules",
        "drop",
        "pass",
        "drop, in turn",
        "pass, in turn",
        "pass adds",
        "in turn",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut values = Vec::new();
    for subject in subjects {
        // What nke adds to a pass, beyond what it adds to a drop.
        let more = |own: &[Samples; 2], bare: &[Samples; 2]| {
            own[1].beyond(&bare[1]).beyond(&own[0].beyond(&bare[0]))
        };
        let single = more(&subject.single, &bare.single);
        let in_turn = more(&subject.in_turn, &bare.in_turn);
        let [drop, pass] = &subject.single;
        let [drop_in_turn, pass_in_turn] = &subject.in_turn;
        let numbers = [drop, pass, drop_in_turn, pass_in_turn, &single, &in_turn].map(cell);
        let name = [subject.name.clone(), subject.rules.to_string()];
        rows.push(name.into_iter().chain(numbers).collect());
        values.push(json!({
            "name": subject.name, "rules": subject.rules,
            "drop": drop.json(), "pass": pass.json(),
            "drop_in_turn": drop_in_turn.json(), "pass_in_turn": pass_in_turn.json(),
            "pass_adds": single.json(), "pass_adds_in_turn": in_turn.json(),
        }));
    }
    report.table(Table {
        title: "Nanoseconds of a packet that no rule matches, by BPF_PROG_TEST_RUN".to_owned(),
        rows,
        notes: vec![
            "drop, pass: one packet again and again, the mean of 64; in turn: 4,096 one after the other".to_owned(),
            "such packets differ from one that a rule matches in as few bits as will do".to_owned(),
            "rules that name no address are left out; pass adds: what nke adds to a bare pass, less what it adds to a bare drop".to_owned(),
        ],
    });
    report.value("pass", json!(values));
    for subject in filters {
        let more = |kind: usize| subject.in_turn[kind].beyond(&bare.in_turn[kind]);
        let found = more(1).beyond(&more(0)).median();
        let what = format!(
            "pass beyond drop, in turn, {}, {} rules",
            subject.name, subject.rules
        );
        report.target(&what, found, 2.0, "ns");
    }
}
