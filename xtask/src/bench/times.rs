//! How long an attachment and an edit take: the command as a whole process and the library, beside
//! the loaders that Debian has, attaching an equal program.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nke::control::Scope;
use nke::find::Wanted;
use nke::hook::Hook;
use nke::order::{DEFAULT_PRIORITY, Position, Selector};
use nke::sys::link;
use serde_json::{Map, Value};

use super::Effort;
use super::nodes::program;
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::{Cable, PINS, STATE, Stage, run};

/// Nodes of the chain that is edited.
const LENGTH: usize = 8;

/// `TC_ACT_UNSPEC`: the next program is asked.
const TCX_NEXT: i32 = -1;

/// A command line; its words hold no spaces.
type Line = String;

/// Something that is prepared, done and timed, and undone, by commands.
pub(super) struct Contest {
    pub(super) key: String,
    pub(super) name: String,
    before: Vec<Line>,
    timed: Vec<Line>,
    after: Vec<Line>,
    pub(super) samples: Samples,
}

/// What the library is timed at, with its name and its key.
const VERBS: [(Verb, &str, &str); 6] = [
    (
        Verb::Link,
        "the kernel: a TCX link alone",
        "kernel_tcx_link",
    ),
    (Verb::Attach, "library: first attachment", "library_attach"),
    (Verb::Insert, "library: insert", "library_insert"),
    (Verb::Replace, "library: replace", "library_replace"),
    (Verb::Move, "library: move", "library_move"),
    (Verb::Remove, "library: remove", "library_remove"),
];

#[derive(Clone, Copy)]
enum Verb {
    /// No work of nke's: what the kernel itself takes to hang a loaded program on an interface.
    Link,
    Attach,
    Insert,
    Replace,
    Move,
    Remove,
}

/// The chain that is edited, and one attachment of it.
struct Edited {
    cable: Cable,
    id: u32,
}

pub(super) fn measure(
    stage: &mut Stage<'_>,
    effort: Effort,
    nke: &Path,
    report: &mut Report,
) -> Result<()> {
    ensure!(nke.exists(), "there is no {}", nke.display());
    let nke = format!("{} --state {STATE}", word(nke)?);
    let edited = edited(stage)?;
    let bare = stage.cable()?;
    let mut contests = xdp(stage, &nke)?;
    contests.extend(tc(stage, &nke)?);
    contests.extend(edits(stage, &nke, &edited)?);
    let mut library: [Samples; VERBS.len()] = Default::default();
    // The first round reads everything from disk.
    for round in 0..=effort.rounds {
        stage.progress("attachments and edits", round, effort.rounds)?;
        for contest in &mut contests {
            let time = contest.time()?;
            if round > 0 {
                contest.samples.push(time);
            }
            stage.check()?;
        }
        for ((verb, ..), samples) in VERBS.iter().zip(&mut library) {
            let time = library_time(stage, *verb, &bare, &edited)?;
            if round > 0 {
                samples.push(time);
            }
        }
    }
    tell(&contests, &library, report);
    Ok(())
}

fn edited(stage: &mut Stage<'_>) -> Result<Edited> {
    let cable = stage.cable()?;
    let mut control = stage.control()?;
    let mut id = 0;
    for _ in 0..LENGTH {
        let place = (&cable, Hook::INTERFACE_XDP);
        let attached = stage.append(&mut control, "node-xdp", place, true)?;
        // One in the middle.
        if attached.node.position == LENGTH / 2 {
            id = attached.node.id;
        }
    }
    Ok(Edited { cable, id })
}

fn xdp(stage: &mut Stage<'_>, nke: &str) -> Result<Vec<Contest>> {
    let object = stage.objects.path("node-xdp");
    let object = word(&object)?;
    let [ours, loader, tool] = [stage.cable()?, stage.cable()?, stage.cable()?].map(|c| c.inside);
    let pin = format!("{PINS}/node");
    Ok(vec![
        Contest::new("nke_attach_xdp", "nke attach (XDP)")
            .timed(format!("{nke} attach {object} -i {ours} --mode native"))
            .after(format!("{nke} detach node-xdp -i {ours}")),
        Contest::new("xdp_loader", "xdp-loader load")
            .timed(format!("xdp-loader load --mode native {loader} {object}"))
            .after(format!("xdp-loader unload {loader} --all")),
        Contest::new("bpftool", "bpftool prog load, net attach")
            .timed(format!("bpftool prog load {object} {pin}"))
            .timed(format!("bpftool net attach xdpdrv pinned {pin} dev {tool}"))
            .after(format!("bpftool net detach xdpdrv dev {tool}"))
            .after(format!("rm {pin}")),
    ])
}

fn tc(stage: &mut Stage<'_>, nke: &str) -> Result<Vec<Contest>> {
    let object = stage.objects.path("node-tc");
    let object = word(&object)?;
    let [ours, our_clsact, theirs] =
        [stage.cable()?, stage.cable()?, stage.cable()?].map(|c| c.inside);
    let [our_chain, their_list] = [stage.cable()?, stage.cable()?];
    let place = (&our_chain, Hook::INTERFACE_IN);
    stage.append(&mut stage.control()?, "sink-tc", place, true)?;
    run("tc", &["qdisc", "add", "dev", &their_list.inside, "clsact"])?;
    let [our_chain, their_list] = [our_chain, their_list].map(|cable| cable.inside);
    let filter = |interface: &str| {
        let program = format!("bpf direct-action object-file {object} section tc");
        format!("tc filter add dev {interface} ingress {program}")
    };
    Ok(vec![
        Contest::new("nke_attach_tcx", "nke attach (in, TCX), the first")
            .timed(format!(
                "{nke} attach {object} -i {ours} --hook interface/in --mode tcx"
            ))
            .after(format!("{nke} detach node-tc -i {ours}")),
        Contest::new("nke_attach_clsact", "nke attach (in, clsact), the first")
            .timed(format!(
                "{nke} attach {object} -i {our_clsact} --hook interface/in --mode clsact"
            ))
            .after(format!("{nke} detach node-tc -i {our_clsact}")),
        Contest::new("tc_qdisc_and_filter", "tc qdisc add, filter add")
            .timed(format!("tc qdisc add dev {theirs} clsact"))
            .timed(filter(&theirs))
            .after(format!("tc qdisc del dev {theirs} clsact")),
        Contest::new("nke_attach_in_more", "nke attach (in), one more")
            .timed(format!(
                "{nke} attach {object} -i {our_chain} --hook interface/in"
            ))
            .after(format!("{nke} detach node-tc -i {our_chain}")),
        Contest::new("tc_filter_add", "tc filter add")
            .timed(filter(&their_list))
            .after(format!("tc filter del dev {their_list} ingress")),
    ])
}

fn edits(stage: &Stage<'_>, nke: &str, edited: &Edited) -> Result<Vec<Contest>> {
    let objects = ["node-xdp", "other-xdp"].map(|name| stage.objects.path(name));
    let [node, other] = [word(&objects[0])?, word(&objects[1])?];
    let Edited { cable, id } = edited;
    let interface = &cable.inside;
    let insert = format!("{nke} attach {other} -i {interface} --before {id}");
    let remove = format!("{nke} detach other-xdp -i {interface}");
    Ok(vec![
        Contest::new("nke_insert", "nke attach --before (XDP, 8 nodes)")
            .timed(insert.clone())
            .after(remove.clone()),
        Contest::new("nke_replace", "nke replace (XDP, 8 nodes)")
            .timed(format!("{nke} replace {id} {other} -i {interface}"))
            .after(format!("{nke} replace {id} {node} -i {interface}")),
        Contest::new("nke_move", "nke move (XDP, 8 nodes)")
            .timed(format!("{nke} move {id} -i {interface} --priority 99"))
            .after(format!("{nke} move {id} -i {interface} --priority 1")),
        Contest::new("nke_remove", "nke detach")
            .before(insert)
            .timed(remove),
    ])
}

/// A path as a word of a command line.
pub(super) fn word(path: &Path) -> Result<&str> {
    let word = path
        .to_str()
        .filter(|word| !word.contains(char::is_whitespace));
    word.with_context(|| format!("{} must hold no space", path.display()))
}

impl Contest {
    pub(super) fn new(key: &str, name: &str) -> Self {
        Self {
            key: key.to_owned(),
            name: name.to_owned(),
            before: Vec::new(),
            timed: Vec::new(),
            after: Vec::new(),
            samples: Samples::default(),
        }
    }

    pub(super) fn before(mut self, line: Line) -> Self {
        self.before.push(line);
        self
    }

    pub(super) fn timed(mut self, line: Line) -> Self {
        self.timed.push(line);
        self
    }

    pub(super) fn after(mut self, line: Line) -> Self {
        self.after.push(line);
        self
    }

    /// Milliseconds of what is timed.
    pub(super) fn time(&self) -> Result<f64> {
        self.before.iter().try_for_each(call)?;
        let began = Instant::now();
        self.timed.iter().try_for_each(call)?;
        let elapsed = began.elapsed();
        self.after.iter().try_for_each(call)?;
        Ok(elapsed.as_secs_f64() * 1e3)
    }
}

pub(super) fn call(line: &Line) -> Result<()> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let output = command
        .args(words)
        .output()
        .with_context(|| format!("cannot run `{line}`"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{line}` failed: {}",
        complaint.trim()
    );
    Ok(())
}

/// Milliseconds that the library needs, with reading the state as it is.
fn library_time(stage: &Stage<'_>, verb: Verb, bare: &Cable, edited: &Edited) -> Result<f64> {
    let hook = Hook::INTERFACE_XDP;
    let id = Selector::Id(edited.id);
    let scope = |cable: &Cable| Scope {
        interface: Some(cable.inside.clone()),
        ..Scope::default()
    };
    let on_edited = scope(&edited.cable);
    let wanted = |name: &str| Wanted::Path(stage.objects.path(name));
    let mut insert = stage.attachment("other-xdp", &edited.cable, hook);
    insert.position = Some(Position::Before(id.clone()));
    let inserted = Selector::Name("other-xdp".to_owned());
    if let Verb::Remove = verb {
        stage.control()?.attach(&insert)?;
    }
    if let Verb::Link = verb {
        let pass = program(Hook::INTERFACE_IN, TCX_NEXT)?;
        let attach_type = Hook::INTERFACE_IN.row().attach_type;
        let began = Instant::now();
        let link = link::create(&pass, bare.inside_index, attach_type, 0);
        let elapsed = began.elapsed();
        link.context("cannot attach a program")?;
        return Ok(elapsed.as_secs_f64() * 1e3);
    }
    let began = Instant::now();
    let mut control = stage.control()?;
    match verb {
        Verb::Link => {}
        Verb::Attach => drop(control.attach(&stage.attachment("node-xdp", bare, hook))?),
        Verb::Insert => drop(control.attach(&insert)?),
        Verb::Replace => drop(control.replace(&id, &on_edited, &wanted("other-xdp"), None)?),
        Verb::Move => {
            let last = Position::Priority(DEFAULT_PRIORITY + 1);
            drop(control.reposition(&id, &on_edited, &last)?);
        }
        Verb::Remove => drop(control.detach(&inserted, &on_edited)?),
    }
    let elapsed = began.elapsed();
    match verb {
        Verb::Attach => {
            let its = Selector::Name("node-xdp".to_owned());
            drop(control.detach(&its, &scope(bare))?);
        }
        Verb::Insert => drop(control.detach(&inserted, &on_edited)?),
        Verb::Replace => drop(control.replace(&id, &on_edited, &wanted("node-xdp"), None)?),
        Verb::Move => {
            let first = Position::Priority(DEFAULT_PRIORITY - 1);
            drop(control.reposition(&id, &on_edited, &first)?);
        }
        Verb::Link | Verb::Remove => {}
    }
    Ok(elapsed.as_secs_f64() * 1e3)
}

fn tell(contests: &[Contest], library: &[Samples], report: &mut Report) {
    let commands = contests
        .iter()
        .map(|contest| (&*contest.name, &*contest.key, &contest.samples));
    let verbs = VERBS
        .iter()
        .zip(library)
        .map(|((_, name, key), samples)| (*name, *key, samples));
    let all: Vec<_> = commands.chain(verbs).collect();
    let row =
        |(name, _, samples): &(&str, &str, &Samples)| vec![(*name).to_owned(), samples.told(2)];
    report.table(Table {
        title: "Milliseconds of an attachment and of an edit".to_owned(),
        rows: all.iter().map(row).collect(),
        notes: vec!["each a whole process, or the library with reading its state".to_owned()],
    });
    let values: Map<String, Value> = all
        .iter()
        .map(|(_, key, samples)| ((*key).to_owned(), samples.json()))
        .collect();
    report.value("milliseconds", Value::Object(values));

    let of = |key: &str| {
        let found = all.iter().find(|(_, its, _)| *its == key);
        found.map_or(f64::NAN, |(.., samples)| samples.median())
    };
    let fastest = of("xdp_loader").min(of("bpftool"));
    for (what, key, against) in [
        (
            "nke attach (XDP), against the fastest",
            "nke_attach_xdp",
            fastest,
        ),
        (
            "nke insert (XDP), against the fastest",
            "nke_insert",
            fastest,
        ),
        (
            "nke replace (XDP), against the fastest",
            "nke_replace",
            fastest,
        ),
        ("nke move (XDP), against the fastest", "nke_move", fastest),
        (
            "nke detach (XDP), against the fastest",
            "nke_remove",
            fastest,
        ),
        (
            "nke attach (in, clsact), the first, against tc",
            "nke_attach_clsact",
            of("tc_qdisc_and_filter"),
        ),
        (
            "nke attach (in, TCX), the first, against tc",
            "nke_attach_tcx",
            of("tc_qdisc_and_filter"),
        ),
        (
            "nke attach (in), one more, against tc",
            "nke_attach_in_more",
            of("tc_filter_add"),
        ),
    ] {
        report.target(what, of(key), against, "ms");
    }
}
