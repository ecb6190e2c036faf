//! Whether edits lose packets: a chain is edited, again and again, while packets go through it at the
//! full rate of the generator.
//!
//! The generator sends batch after batch on one core, the edits come from another. A gate in front of
//! the chain's last node, a sink, counts nothing twice: what was sent and did not reach the sink was
//! lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nke::control::{Attach, Control, Scope};
use nke::find::Wanted;
use nke::hook::Hook;
use nke::order::{Position, Selector};
use serde_json::{Map, Value, json};

use super::Effort;
use super::live::Generator;
use super::objects::counted;
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::{Cable, Core, Stage, enter_sender, pin_to};

/// Packets of one call of the generator: some tens of milliseconds.
const BURST: u32 = 200_000;

const KINDS: [&str; 3] = ["insert", "replace", "remove"];

/// What the generator tells, and is told.
#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    stop: AtomicBool,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let cable = stage.cable()?;
    let hook = Hook::INTERFACE_XDP;
    let mut control = stage.control()?;
    stage.append(&mut control, "gate", (&cable, hook), true)?;
    stage.append(&mut control, "sink-xdp", (&cable, hook), true)?;
    let (gate, sink) = (stage.counter("gate")?, stage.counter("sink-xdp")?);
    let generator = Generator::new(stage)?;

    let shared = Shared::default();
    let (sending, edits) = thread::scope(|scope| {
        let sender = scope.spawn(|| send(&generator, &cable, &shared));
        let edits = edit(stage, &mut control, &cable, effort.edits);
        shared.stop.store(true, Ordering::Relaxed);
        let sending = sender
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the generator died")));
        (sending, edits)
    });
    pin_to(Core::Measuring)?;
    let (times, elapsed) = edits?;
    sending?;
    let sent = shared.sent.load(Ordering::Relaxed);
    let (entered, arrived) = (counted(&gate)?, counted(&sink)?);
    let rate = sent as f64 / elapsed.as_secs_f64() / 1e6;

    let mut rows = vec![
        ["", "edits", "milliseconds each"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (kind, times) in KINDS.iter().zip(&times) {
        rows.push(vec![
            (*kind).to_owned(),
            effort.edits.to_string(),
            times.told(2),
        ]);
    }
    report.table(Table {
        title: format!("Edits of an XDP chain at {rate:.1} million packets a second"),
        rows,
        notes: vec![format!(
            "sent {sent}, through the gate {entered}, at the sink {arrived}"
        )],
    });
    let each = KINDS
        .iter()
        .map(|kind| (*kind).to_owned())
        .zip(times.iter().map(Samples::json));
    report.value(
        "edits",
        json!({
            "each": effort.edits,
            "million_packets_per_second": rate,
            "sent": sent,
            "gate": entered,
            "sink": arrived,
            "milliseconds": each.collect::<Map<String, Value>>(),
        }),
    );
    let lost = sent as f64 - arrived as f64;
    report.target("packets lost over all edits", lost, 0.0, "packets");
    Ok(())
}

fn send(generator: &Generator, cable: &Cable, shared: &Shared) -> Result<()> {
    enter_sender()?;
    pin_to(Core::Measuring)?;
    while !shared.stop.load(Ordering::Relaxed) {
        generator.send(cable, BURST)?;
        shared.sent.fetch_add(BURST.into(), Ordering::Relaxed);
    }
    Ok(())
}

/// Inserts a node, replaces it and removes it, at places that change; the times in milliseconds.
fn edit(
    stage: &Stage<'_>,
    control: &mut Control,
    cable: &Cable,
    edits: usize,
) -> Result<([Samples; 3], Duration)> {
    pin_to(Core::Beside)?;
    let began = Instant::now();
    let mut times: [Samples; 3] = Default::default();
    let node = stage.attachment("node-xdp", cable, Hook::INTERFACE_XDP);
    let other = Wanted::Path(stage.objects.path("other-xdp"));
    let scope = Scope {
        interface: Some(cable.inside.clone()),
        ..Scope::default()
    };
    let beside = |name: &str| Selector::Name(name.to_owned());
    let positions = [
        Position::Before(beside("gate")),
        Position::After(beside("gate")),
    ];
    let mut timed = |kind: usize, began: Instant| {
        times[kind].push(began.elapsed().as_secs_f64() * 1e3);
    };
    for round in 0..edits {
        stage.progress("edits under traffic", round, edits)?;
        let position = positions[round % positions.len()].clone();
        let began = Instant::now();
        let attached = control.attach(&Attach {
            position: Some(position),
            ..node.clone()
        })?;
        timed(0, began);
        let id = Selector::Id(attached.node.id);
        let began = Instant::now();
        control.replace(&id, &scope, &other, None)?;
        timed(1, began);
        let began = Instant::now();
        control.detach(&id, &scope)?;
        timed(2, began);
    }
    Ok((times, began.elapsed()))
}
