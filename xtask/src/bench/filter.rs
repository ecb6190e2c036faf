//! What rules cost: the packet filter beside a bare program that drops everything, and nftables, with the
//! same rules for each.
//!
//! Rules are drawn from a seed in the shapes that firewalls have; packets are such as rules match, so
//! that every one is dropped where it is judged. The whole packet's cost is measured under live traffic, on one
//! core; the program's own, and the dearest packet's, by `BPF_PROG_TEST_RUN`.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nke::control::Scope;
use nke::filter::{
    RuleSet, Table as Rules,
    shapes::{Dice, Drawn, Shape},
};
use nke::hook::Hook;
use nke::order::Selector;
use nke::sys::{
    link,
    program::{TestRun, test_run},
};
use serde_json::{Value, json};

use super::Effort;
use super::live::Generator;
use super::nodes::{cell, program};
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::{Cable, Stage, run};

/// How many rules.
const SIZES: [usize; 4] = [1, 100, 1000, 10_000];

/// Packets that take turns.
const PACKETS: usize = 16;

/// Packets among which the dearest is looked for.
const SAMPLED: usize = 400;

const XDP_DROP: i32 = 1;

/// A way of dropping packets, on a cable of its own.
struct Candidate {
    name: String,
    rules: usize,
    packets: Vec<Vec<u8>>,
    /// Fewer, where a packet takes microseconds.
    repeat: u32,
    live: Samples,
    /// What the kernel runs for it, if that can be run by itself.
    root: Option<OwnedFd>,
    own: Samples,
    dearest: Samples,
    /// What dearest packets are looked for among.
    sampled: Vec<Vec<u8>>,
    _keeps: Option<OwnedFd>,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let generator = Generator::new(stage)?;
    let mut dice = Dice::new(1);
    let mut candidates = vec![bare(stage, &mut dice)?];
    let mut edits = Vec::new();
    for shape in Shape::ALL {
        for size in SIZES {
            let drawn = shape.draw(&mut dice, size, false);
            candidates.push(nke(stage, shape, &drawn, &mut dice, &mut edits)?);
            if shape == Shape::Acl {
                candidates.push(nftables(stage, &drawn, &mut dice)?);
            }
            stage.check()?;
        }
    }
    for round in 0..=effort.rounds.min(30) {
        stage.progress("rules", round, effort.rounds.min(30))?;
        for candidate in &mut candidates {
            let (live, own, dearest) = time(&generator, candidate, effort.packets / 5)?;
            // The first round finds cold caches.
            if round > 0 {
                candidate.live.push(live);
                if let Some((own, dearest)) = own.zip(dearest) {
                    candidate.own.push(own);
                    candidate.dearest.push(dearest);
                }
            }
            stage.check()?;
        }
    }
    tell(&candidates, edits, report);
    Ok(())
}

fn candidate(name: &str, drawn: &[Drawn], cable: &Cable, dice: &mut Dice) -> Candidate {
    let mut packets = |count: usize| -> Vec<Vec<u8>> {
        let packet = |dice: &mut Dice| {
            let mut packet = drawn[dice.below(drawn.len() as u64) as usize].packet(dice);
            // Where to, for the generator: where an IP packet has its length and its number.
            packet[16..20].copy_from_slice(&cable.outside_index.to_ne_bytes());
            packet.resize(64, 0);
            packet
        };
        (0..count).map(|_| packet(dice)).collect()
    };
    Candidate {
        name: name.to_owned(),
        rules: drawn.len(),
        packets: packets(PACKETS),
        sampled: packets(SAMPLED),
        repeat: 1,
        live: Samples::default(),
        root: None,
        own: Samples::default(),
        dearest: Samples::default(),
        _keeps: None,
    }
}

/// A program that drops all it sees.
fn bare(stage: &mut Stage<'_>, dice: &mut Dice) -> Result<Candidate> {
    let cable = stage.cable()?;
    let drop = program(Hook::INTERFACE_XDP, XDP_DROP)?;
    let attach_type = Hook::INTERFACE_XDP.row().attach_type;
    let link = link::create(&drop, cable.inside_index, attach_type, 0)
        .context("cannot attach a program")?;
    let drawn = Shape::Acl.draw(dice, 1, false);
    Ok(Candidate {
        root: Some(drop),
        _keeps: Some(link),
        ..candidate("bare XDP_DROP", &drawn, &cable, dice)
    })
}

/// The packet filter, and how long its rules take to be written and edited.
fn nke(
    stage: &mut Stage<'_>,
    shape: Shape,
    drawn: &[Drawn],
    dice: &mut Dice,
    edits: &mut Vec<Value>,
) -> Result<Candidate> {
    let cable = stage.cable()?;
    let mut control = stage.control()?;
    let attached =
        control.attach(&stage.bundled("packet-filter", &cable, Hook::INTERFACE_XDP)?)?;
    let scope = Scope {
        interface: Some(cable.inside.clone()),
        ..Scope::default()
    };
    let (_, maps) = control.attachment_maps(&Selector::Id(attached.node.id), &scope)?;
    let text: String = drawn.iter().map(|rule| format!("{rule}\n")).collect();
    let mut rules: RuleSet = text.parse().map_err(|_| anyhow::anyhow!("no rules"))?;
    let mut table = Rules::open(&maps)?;
    let load = milliseconds(|| table.write(&rules))?;
    let (mut add, mut delete) = (Samples::default(), Samples::default());
    for _ in 0..5 {
        let last = rules.rules.remove(rules.rules.len() / 2);
        delete.push(milliseconds(|| table.write(&rules))?);
        rules.rules.insert(rules.rules.len() / 2, last);
        add.push(milliseconds(|| table.write(&rules))?);
    }
    edits.push(json!({
        "shape": format!("{shape:?}"), "rules": drawn.len(), "load_ms": load,
        "add_ms": add.json(), "delete_ms": delete.json(),
        "bytes": table.memory()?,
    }));
    Ok(Candidate {
        root: Some(stage.root(&cable, Hook::INTERFACE_XDP)?),
        ..candidate(&format!("nke, {shape:?}"), drawn, &cable, dice)
    })
}

fn milliseconds<E: Into<anyhow::Error>>(work: impl FnOnce() -> Result<(), E>) -> Result<f64> {
    let start = Instant::now();
    work().map_err(Into::into)?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// A chain of nftables at the interface's input, with the same rules.
fn nftables(stage: &mut Stage<'_>, drawn: &[Drawn], dice: &mut Dice) -> Result<Candidate> {
    let cable = stage.cable()?;
    let name = &cable.inside;
    let mut text = format!(
        "add table netdev {name}\nadd chain netdev {name} in {{ type filter hook ingress device {name} priority 0; }}\n"
    );
    for rule in drawn {
        text += &format!("add rule netdev {name} in {}\n", in_nft(rule));
    }
    let file = format!("{}/rules.nft", std::env::temp_dir().display());
    fs::write(&file, text).with_context(|| format!("cannot write {file}"))?;
    run("nft", &["-f", &file])?;
    let mut candidate = candidate("nftables, Acl", drawn, &cable, dice);
    candidate.repeat = match drawn.len() {
        0..=1 => 1,
        2..=100 => 4,
        101..=1000 => 40,
        _ => 200,
    };
    Ok(candidate)
}

fn in_nft(rule: &Drawn) -> String {
    let address = |(first, length): (u128, u8)| {
        format!("{}/{length}", std::net::Ipv4Addr::from_bits(first as u32))
    };
    let mut words = String::new();
    for (word, prefix) in [("saddr", rule.source), ("daddr", rule.destination)] {
        if prefix.1 > 0 {
            words += &format!("ip {word} {} ", address(prefix));
        }
    }
    let Some(protocol) = rule.protocol else {
        return words + "counter drop";
    };
    let protocol = if protocol == 6 { "tcp" } else { "udp" };
    let all = (0, u16::MAX);
    for (word, range) in [
        ("sport", rule.source_ports),
        ("dport", rule.destination_ports),
    ] {
        if range != all {
            words += &format!("{protocol} {word} {}-{} ", range.0, range.1);
        }
    }
    if rule.source_ports == all && rule.destination_ports == all {
        words += &format!("ip protocol {protocol} ");
    }
    words + "counter drop"
}

/// Nanoseconds of a packet under live traffic, of the program alone, and of its dearest packet.
fn time(
    generator: &Generator,
    candidate: &Candidate,
    packets: u32,
) -> Result<(f64, Option<f64>, Option<f64>)> {
    let share = packets / candidate.repeat / PACKETS as u32;
    let mut live = 0.0;
    for packet in &candidate.packets {
        live += f64::from(generator.send_from_there(packet, share)?);
    }
    live /= PACKETS as f64;
    let Some(root) = &candidate.root else {
        return Ok((live, None, None));
    };
    let (mut sum, mut dearest) = (0.0, 0.0f64);
    for packet in &candidate.sampled {
        let mut least = u32::MAX;
        for _ in 0..3 {
            let test = TestRun {
                packet,
                repeat: 2000,
                ..TestRun::default()
            };
            let (verdict, time) = test_run(root, &test).context("cannot run a program")?;
            ensure!(verdict == XDP_DROP as u32, "a packet was not dropped");
            least = least.min(time);
        }
        sum += f64::from(least);
        dearest = dearest.max(least.into());
    }
    Ok((live, Some(sum / SAMPLED as f64), Some(dearest)))
}

fn tell(candidates: &[Candidate], edits: Vec<Value>, report: &mut Report) {
    let heading = ["", "rules", "live", "alone", "dearest alone"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut values = Vec::new();
    for candidate in candidates {
        let own = |samples: &Samples| match candidate.root {
            Some(_) => cell(samples),
            None => String::new(),
        };
        rows.push(vec![
            candidate.name.clone(),
            candidate.rules.to_string(),
            cell(&candidate.live),
            own(&candidate.own),
            own(&candidate.dearest),
        ]);
        values.push(json!({
            "name": candidate.name, "rules": candidate.rules, "live": candidate.live.json(),
            "alone": candidate.own.json(), "dearest": candidate.dearest.json(),
        }));
    }
    report.table(Table {
        title: "Nanoseconds of a packet that is dropped".to_owned(),
        rows,
        notes: vec!["alone: by BPF_PROG_TEST_RUN, the least of three, of 400 packets".to_owned()],
    });
    let heading = ["", "rules", "load", "add one", "delete one", "bytes"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for edit in &edits {
        let number = |value: &Value| format!("{:.1}", value.as_f64().unwrap_or(f64::NAN));
        rows.push(vec![
            edit["shape"].as_str().unwrap_or_default().to_owned(),
            edit["rules"].to_string(),
            number(&edit["load_ms"]),
            number(&edit["add_ms"]["median"]),
            number(&edit["delete_ms"]["median"]),
            edit["bytes"].to_string(),
        ]);
    }
    report.table(Table {
        title: "Milliseconds of an edit, and what the rules take".to_owned(),
        rows,
        notes: Vec::new(),
    });
    report.value("rules", json!(values));
    report.value("edits_of_rules", json!(edits));
    let one = candidates.iter().filter(|one| one.name == "nke, Fw");
    let costs: Vec<f64> = one.map(|one| one.live.median()).collect();
    if let [one, rest @ ..] = costs.as_slice() {
        for ((size, cost), limit) in SIZES[1..].iter().zip(rest).zip([1.2, 1.4, 1.8]) {
            let what = format!("{size} rules against one, under live traffic");
            report.target(&what, cost / one, limit, "times");
        }
        report.target(
            "one rule against a bare drop",
            *one,
            candidates[0].live.median() / 0.95,
            "ns",
        );
    }
}
