//! What is left in the kernel after many rounds of load, attach, detach and unload: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nke::control::{Scope, Unload};
use nke::find::Wanted;
use nke::hook::Hook;
use nke::order::Selector;
use nke::sys::{self, link, map, program};
use serde_json::json;

use super::Effort;
use super::report::{Report, Table};
use super::stage::{Cable, Stage};

/// Rounds that fill caches and pools, before anything is counted.
const WARM_UP: usize = 50;
/// How long the kernel may take to free what nobody uses.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// What others may have loaded meanwhile, and kept: objects have no owner that one could ask for.
const FOREIGN: f64 = 0.01;
/// A leak of the smallest program, in every second round.
const NOISE: f64 = 2.0;

/// The kinds of memory that BPF objects are made of, in /proc/meminfo.
const KINDS: [&str; 4] = ["SUnreclaim", "Percpu", "VmallocUsed", "KernelStack"];

/// All BPF objects of the machine, by kind and id.
type Ids = BTreeSet<(&'static str, u32)>;

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let cable = stage.cable()?;
    for _ in 0..WARM_UP.min(effort.cycles) {
        cycle(stage, &cable)?;
    }
    let (objects, memory, own) = (ids(), kernel_memory()?, own_memory()?);
    for round in 0..effort.cycles {
        stage.progress(
            "rounds of load, attach, detach, unload",
            round,
            effort.cycles,
        )?;
        cycle(stage, &cable)?;
    }
    let left = left_of(&objects);
    let more = kernel_memory()? - memory;
    let own = own_memory()? - own;
    let per_round = more / effort.cycles as f64;

    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let count = |kind: &str| left.iter().filter(|(its, _)| *its == kind).count();
    let mut rows: Vec<_> = ["programs", "maps", "links", "types"]
        .map(|kind| row(kind, count(kind).to_string()))
        .into();
    rows.push(row("kernel memory", format!("{more:+.0} KiB")));
    rows.push(row("the process's memory", format!("{own:+.0} KiB")));
    report.table(Table {
        title: format!(
            "Left of {} rounds of load, attach, detach, unload",
            effort.cycles
        ),
        rows,
        notes: vec![
            "objects that others loaded meanwhile count as well".to_owned(),
            "kernel memory: slabs, per-CPU areas, vmalloc, stacks of the whole machine".to_owned(),
        ],
    });
    report.value(
        "leaks",
        json!({
            "cycles": effort.cycles, "objects": left.len(),
            "kernel_kib": more, "kernel_kib_per_cycle": per_round, "process_kib": own,
        }),
    );
    let objects = left.len() as f64 / effort.cycles as f64;
    report.target("objects left of a round", objects, FOREIGN, "objects");
    report.target(
        "kernel memory left of a round",
        per_round.max(0.0),
        NOISE,
        "KiB",
    );
    Ok(())
}

/// One round, each verb with a library that was opened anew, as the command does it.
fn cycle(stage: &Stage<'_>, cable: &Cable) -> Result<()> {
    let wanted = Wanted::Path(stage.objects.path("node-xdp"));
    stage.control()?.load(&wanted)?;
    let attach = stage.attachment("node-xdp", cable, Hook::INTERFACE_XDP);
    let id = Selector::Id(stage.control()?.attach(&attach)?.node.id);
    stage.control()?.detach(&id, &Scope::default())?;
    stage.control()?.unload("node-xdp", Unload::default())?;
    Ok(())
}

fn ids() -> Ids {
    let programs = program::all_ids().map(|id| ("programs", id));
    let maps = map::all_ids().map(|id| ("maps", id));
    let links = link::all_ids().map(|id| ("links", id));
    let types = sys::btf_ids().map(|id| ("types", id));
    programs.chain(maps).chain(links).chain(types).collect()
}

/// What came since `before` and stays. What others load in the meantime is none of ours: only what
/// is there at the first look can be.
fn left_of(before: &Ids) -> Ids {
    let began = Instant::now();
    let mut left: Ids = ids().difference(before).copied().collect();
    while !left.is_empty() && began.elapsed() < PATIENCE {
        thread::sleep(PAUSE);
        let now = ids();
        left.retain(|object| now.contains(object));
    }
    left
}

/// KiB of the kinds of memory that BPF objects are made of.
fn kernel_memory() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let ours = lines.filter(|(kind, _)| KINDS.contains(kind));
    Ok(ours
        .filter_map(|(_, amount)| amount.trim().split(' ').next()?.parse::<f64>().ok())
        .sum())
}

/// KiB of this process.
fn own_memory() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let amount = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    amount.context("no VmRSS in /proc/self/status")
}
