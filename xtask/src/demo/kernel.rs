//! Counts the kernel's BPF objects, by an independent witness: bpftool.
//!
//! The kernel frees objects a moment after their last user is gone, so "nothing is left" is
//! asked until it is true, or too late.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::shell::Shell;

/// How long the kernel may take to free what nobody uses.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The kinds of objects, as bpftool calls them.
const KINDS: [(&str, &str); 3] = [("prog", "program"), ("map", "map"), ("link", "link")];

/// Every BPF object of the machine at one moment.
pub(super) struct Objects(BTreeMap<(&'static str, u64), String>);

impl Objects {
    /// Asks for all of them.
    pub(super) fn now(shell: &Shell<'_>) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (kind, word) in KINDS {
            let list = shell.ask(&format!("bpftool --json {kind} list"))?;
            // Without any object, some versions answer with an object and not a list.
            for object in list.as_array().map(Vec::as_slice).unwrap_or_default() {
                let id = object["id"].as_u64().context("an object without an id")?;
                let about = ["type", "name"].map(|key| text(&object[key])).join(" ");
                all.insert((word, id), about);
            }
        }
        Ok(Self(all))
    }

    /// How many there are that were not there before.
    pub(super) fn news(&self, before: &Self) -> String {
        let count = |word| {
            let new = |key: &&(&str, u64)| key.0 == word && !before.0.contains_key(key);
            match self.0.keys().filter(new).count() {
                1 => format!("1 {word}"),
                n => format!("{n} {word}s"),
            }
        };
        KINDS.map(|(_, word)| count(word)).join(", ")
    }

    /// Waits until none is left of what came since `before`. What others load in the meantime
    /// is none of ours: only what is there at the first look can be.
    pub(super) fn gone_again(shell: &Shell<'_>, before: &Self) -> Result<Duration> {
        let began = Instant::now();
        let suspects = Self::now(shell)?.0;
        loop {
            let now = Self::now(shell)?.0;
            let left: Vec<String> = suspects
                .iter()
                .filter(|(key, _)| now.contains_key(key) && !before.0.contains_key(key))
                .map(|((word, id), about)| format!("{word} {id} ({about})"))
                .collect();
            if left.is_empty() {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                bail!("left in the kernel: {}", left.join(", "));
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Kinds that bpftool does not know are numbers.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
