//! How long the verbs of the manager take where there is much to manage: 32 extensions, each
//! attached to 16 interfaces; and where that time goes.
//!
//! Each time is that of a whole process. What a verb spends its time on comes from one more run of
//! it under `strace`, which slows every system call alike: read its shares, not its times.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use super::Effort;
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::{STATE, Stage};
use super::times::{call, word};

const EXTENSIONS: usize = 32;
const INTERFACES: usize = 16;
/// Where the extensions' files are: nobody but root may write there.
pub(super) const FILES: &str = "/run/nke-bench-extensions";
/// What a command may take before it does anything.
const START: f64 = 5.0;

/// What is timed.
#[derive(Clone, Copy)]
enum Work {
    Start,
    List,
    Load,
    First,
    More,
    Chain,
    Upgrade,
    ApplyAll,
    ApplyNone,
    ApplyOrder,
}

const ALL: [(Work, &str, &str); 10] = [
    (Work::Start, "nke --version", "start"),
    (Work::List, "nke list, nothing loaded", "list_empty"),
    (Work::Load, "nke load", "load"),
    (
        Work::First,
        "nke attach, the first of its interface",
        "attach_first",
    ),
    (Work::More, "nke attach, one more", "attach_more"),
    (Work::Chain, "nke chain, of all 512 attachments", "chain"),
    (
        Work::Upgrade,
        "nke upgrade, of one on all 16 interfaces",
        "upgrade",
    ),
    (
        Work::ApplyAll,
        "nke apply, of all 512 attachments",
        "apply_all",
    ),
    (
        Work::ApplyNone,
        "nke apply again, nothing to do",
        "apply_none",
    ),
    (
        Work::ApplyOrder,
        "nke apply, the order of all 16 chains reversed",
        "apply_order",
    ),
];

/// What is measured, and with what.
struct Bench<'a> {
    nke: String,
    interfaces: Vec<String>,
    samples: [Samples; ALL.len()],
    stage: &'a Stage<'a>,
}

pub(super) fn measure(
    stage: &mut Stage<'_>,
    effort: Effort,
    nke: &Path,
    report: &mut Report,
) -> Result<()> {
    ensure!(nke.exists(), "there is no {}", nke.display());
    let mut interfaces = Vec::new();
    for _ in 0..INTERFACES {
        interfaces.push(stage.cable()?.inside);
    }
    write_files(stage, &interfaces)?;
    let mut bench = Bench {
        nke: format!("{} --state {STATE}", word(nke)?),
        interfaces,
        samples: Default::default(),
        stage,
    };
    let rounds = (effort.rounds / 10).max(1);
    for round in 0..rounds {
        stage.progress("32 extensions on 16 interfaces", round, rounds)?;
        bench.round()?;
    }
    let traces = bench.traces()?;
    bench.tell(&traces, report);
    Ok(())
}

/// Two versions of every extension, and two declarations of all attachments.
fn write_files(stage: &Stage<'_>, interfaces: &[String]) -> Result<()> {
    let object = fs::read(stage.objects.path("node-tc")).context("cannot read an object")?;
    for version in 1..=2 {
        let directory = directory(version);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        for n in 0..EXTENSIONS {
            let write = |end: &str, bytes: &[u8]| {
                let path = directory.join(format!("ext{n}.{end}"));
                fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
            };
            write("o", &object)?;
            let manifest =
                format!("identifier = \"org.example.ext{n}\"\nversion = \"{version}.0.0\"\n");
            write("toml", manifest.as_bytes())?;
        }
    }
    for (name, reverse) in [("up", false), ("down", true)] {
        let mut text = String::new();
        for interface in interfaces {
            for n in 0..EXTENSIONS {
                let priority = if reverse { EXTENSIONS - n } else { n };
                text += &format!(
                    "[[attach]]\nextension = \"{FILES}/v1/ext{n}.o\"\ninterface = \"{interface}\"\n\
                     hook = \"interface/in\"\npriority = {priority}\n\n"
                );
            }
        }
        fs::write(declaration(name), text).context("cannot write a declaration")?;
    }
    Ok(())
}

fn directory(version: u32) -> PathBuf {
    Path::new(FILES).join(format!("v{version}"))
}

fn declaration(name: &str) -> String {
    format!("{FILES}/{name}.toml")
}

impl Bench<'_> {
    /// Builds all up by single verbs, upgrades it, takes it away; then the same by declarations.
    fn round(&mut self) -> Result<()> {
        self.time(Work::Start, &["--version"])?;
        self.time(Work::List, &["list"])?;
        for n in 0..EXTENSIONS {
            self.time(Work::Load, &["load", &format!("{FILES}/v1/ext{n}.o")])?;
        }
        for n in 0..EXTENSIONS {
            let work = if n == 0 { Work::First } else { Work::More };
            for interface in self.interfaces.clone() {
                let name = format!("ext{n}");
                self.time(
                    work,
                    &["attach", &name, "-i", &interface, "--hook", "interface/in"],
                )?;
            }
        }
        self.time(Work::Chain, &["chain"])?;
        for n in 0..EXTENSIONS {
            self.time(Work::Upgrade, &["upgrade", &format!("{FILES}/v2/ext{n}.o")])?;
        }
        self.clear()?;
        let [up, down] = ["up", "down"].map(declaration);
        self.time(Work::ApplyAll, &["apply", &up])?;
        self.time(Work::ApplyNone, &["apply", &up])?;
        self.time(Work::ApplyOrder, &["apply", &down])?;
        self.clear()
    }

    /// Everything goes.
    fn clear(&self) -> Result<()> {
        for n in 0..EXTENSIONS {
            self.call(&["unload", "--force", &format!("ext{n}")])?;
        }
        Ok(())
    }

    fn time(&mut self, work: Work, words: &[&str]) -> Result<()> {
        self.stage.check()?;
        let began = Instant::now();
        self.call(words)?;
        self.samples[work as usize].push(began.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }

    fn call(&self, words: &[&str]) -> Result<()> {
        call(&format!("{} {}", self.nke, words.join(" ")))
    }

    /// What the largest verbs spend their time on.
    fn traces(&self) -> Result<Vec<(&'static str, String)>> {
        let load = format!("load {FILES}/v1/ext0.o");
        let [up, down] = ["up", "down"].map(declaration);
        let mut traces = Vec::new();
        for (name, words) in [
            ("nke load", load),
            ("nke apply, of all", format!("apply {up}")),
            ("nke apply, order reversed", format!("apply {down}")),
            (
                "nke upgrade, on all 16",
                format!("upgrade {FILES}/v2/ext1.o"),
            ),
        ] {
            traces.push((name, self.trace(&words)?));
        }
        self.clear()?;
        Ok(traces)
    }

    /// The system calls that take most of a command's time, by its wall clock.
    fn trace(&self, words: &str) -> Result<String> {
        let output = format!("{FILES}/trace");
        let line = format!("strace -f -c -w -o {output} {} {words}", self.nke);
        let began = Instant::now();
        call(&line)?;
        let whole = began.elapsed().as_secs_f64();
        let text = fs::read_to_string(&output).context("strace wrote nothing")?;
        Ok(most(&text, whole))
    }

    fn tell(&self, traces: &[(&'static str, String)], report: &mut Report) {
        let rows = ALL.iter().zip(&self.samples);
        let rows = rows.map(|((_, name, _), samples)| vec![(*name).to_owned(), samples.told(2)]);
        let mut notes = vec!["each a whole process".to_owned()];
        notes.extend(
            traces
                .iter()
                .map(|(name, calls)| format!("{name}, under strace: {calls}")),
        );
        report.table(Table {
            title: "Milliseconds with 32 extensions on 16 interfaces".to_owned(),
            rows: rows.collect(),
            notes,
        });
        let mut values: Map<String, Value> = ALL
            .iter()
            .zip(&self.samples)
            .map(|((.., key), samples)| ((*key).to_owned(), samples.json()))
            .collect();
        values.insert("traces".to_owned(), json!(traces));
        report.value("lifecycle_milliseconds", Value::Object(values));
        let start = self.samples[Work::Start as usize].median();
        report.target("a command's own start", start, START, "ms");
        let list = self.samples[Work::List as usize].median();
        report.target("a command that finds nothing to do", list, START, "ms");
    }
}

/// The first lines of what `strace -c` prints, as shares of the whole time in seconds.
fn most(text: &str, whole: f64) -> String {
    const SHOWN: usize = 4;
    let calls = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, seconds, _, count, .., name] = words.as_slice() else {
            return None;
        };
        let (seconds, count): (f64, u32) = (seconds.parse().ok()?, count.parse().ok()?);
        (*name != "total").then(|| format!("{name} {:.0} % ({count})", seconds / whole * 100.0))
    });
    calls.take(SHOWN).collect::<Vec<_>>().join(", ")
}

/// Takes the files away.
pub(super) fn sweep() {
    // Nobody else's are there.
    drop(fs::remove_dir_all(FILES));
}

#[cfg(test)]
mod tests {
    use super::most;

    #[test]
    fn strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                     74.18    0.120000        1043       115         2 bpf\n\
                     10.00    0.020000          13         9           openat\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.140000                   124         2 total\n";
        assert_eq!(most(text, 0.2), "bpf 60 % (115), openat 10 % (9)");
    }
}
