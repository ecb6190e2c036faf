//! Knows which of the kernel's BPF objects are the demo's, and whether they are gone.
//!
//! What is pinned below the demo's state directory is its own, and what that holds in turn:
//! a command that has ended holds nothing else. Other programs of the machine may load and free
//! what they like meanwhile. The kernel frees objects a moment after their last user has gone,
//! so "nothing is left" is asked until it is true, or too late. See [`super::ids`] for why only
//! numbers are asked for then.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::ids::{Kind, all};
use super::shell::Shell;

/// How long the kernel may take to free what nobody uses.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for what need not be ours.
const WHILE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// The kinds of objects, as people and as bpftool call them; holders before what they hold.
const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Link, "link", "link"),
    (Kind::Program, "program", "prog"),
    (Kind::Map, "map", "map"),
];

/// A set of objects, by kind and number. The kernel uses a number once only.
#[derive(Default)]
pub(super) struct Objects(BTreeSet<(Kind, u64)>);

impl Objects {
    /// Every object of the machine.
    pub(super) fn of_the_machine() -> Result<Self> {
        let mut found = BTreeSet::new();
        for (kind, word, _) in KINDS {
            let numbers = all(kind).with_context(|| format!("cannot walk the kernel's {word}s"))?;
            found.extend(numbers.into_iter().map(|number| (kind, number)));
        }
        Ok(Self(found))
    }

    /// What is pinned, and what that holds in turn. An independent witness tells: bpftool.
    pub(super) fn pinned(shell: &Shell<'_>, pins: &[impl AsRef<Path>]) -> Result<Self> {
        let mut found = Self::default();
        for pin in pins {
            let (kind, about) = look(shell, pin.as_ref())?;
            found.add(shell, kind, &about)?;
        }
        Ok(found)
    }

    fn add(&mut self, shell: &Shell<'_>, kind: Kind, about: &Value) -> Result<()> {
        let number = about["id"].as_u64().context("an object without a number")?;
        self.0.insert((kind, number));
        if let Some(program) = about["prog_id"].as_u64() {
            let about = shell.ask(&format!("bpftool --json prog show id {program}"))?;
            self.add(shell, Kind::Program, &about)?;
        }
        let maps = about["map_ids"].as_array().into_iter().flatten();
        let maps = maps.filter_map(Value::as_u64);
        self.0.extend(maps.map(|number| (Kind::Map, number)));
        Ok(())
    }

    /// Waits until the machine has none of them any more.
    pub(super) fn wait_until_gone(&self) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let left = Self(&self.0 & &Self::of_the_machine()?.0);
            if left.0.is_empty() {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "left in the kernel: {} ({:?})",
                    left.count(),
                    left.numbers()
                );
            }
            thread::sleep(PAUSE);
        }
    }

    /// What the machine has beyond these, after a while for what is on its way out.
    pub(super) fn news(&self) -> Result<Self> {
        let began = Instant::now();
        loop {
            let news = Self(&Self::of_the_machine()?.0 - &self.0);
            if news.0.is_empty() || began.elapsed() > WHILE {
                return Ok(news);
            }
            thread::sleep(PAUSE);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `1 link, 4 programs, 20 maps`
    pub(super) fn count(&self) -> String {
        let counts = KINDS.iter().filter_map(|(kind, word, _)| {
            match self.0.iter().filter(|(its, _)| its == kind).count() {
                0 => None,
                1 => Some(format!("1 {word}")),
                count => Some(format!("{count} {word}s")),
            }
        });
        counts.collect::<Vec<_>>().join(", ")
    }

    fn numbers(&self) -> Vec<u64> {
        self.0.iter().map(|(_, number)| *number).collect()
    }
}

/// What a pin is of. Its path does not tell the kind, so each is tried.
fn look(shell: &Shell<'_>, pin: &Path) -> Result<(Kind, Value)> {
    let path = pin.display();
    KINDS
        .iter()
        .find_map(|(kind, _, word)| {
            let about = shell.ask(&format!("bpftool --json {word} show pinned {path}"));
            Some((*kind, about.ok()?))
        })
        .with_context(|| format!("bpftool does not know what {path} is"))
}
