//! nke's library, timed from within.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nke::filter::RuleSet;
use nke::filter::shapes::Drawn;

use super::{MIDDLE, RULES};
use crate::bench::filter::tools::nke::{Filter, rule_set, text};
use crate::bench::samples::Samples;
use crate::bench::stage::Stage;

/// What is timed, with its key.
const ALL: [(&str, &str); 7] = [
    ("parse", "library: read the text of 10,000 rules"),
    ("load", "library: load 10,000 rules"),
    ("prepare", "  of this: build and write them"),
    ("put_in_force", "  of this: put them in force"),
    ("list", "library: list them, read back"),
    ("add", "library: add one among 10,000"),
    ("delete", "library: delete one among 10,000"),
];

/// A filter with many rules.
pub(super) struct Library {
    filter: Filter,
    text: String,
    /// Rules that are in force before these are loaded.
    others: RuleSet,
    samples: [Samples; ALL.len()],
}

impl Library {
    pub(super) fn new(stage: &mut Stage<'_>, [rules, others]: [&[Drawn]; 2]) -> Result<Self> {
        let cable = stage.cable()?;
        Ok(Self {
            filter: Filter::attach(stage, &cable)?,
            text: text(rules),
            others: rule_set(others)?,
            samples: Default::default(),
        })
    }

    /// Does everything once, and keeps how long it took.
    pub(super) fn round(&mut self, keep: bool) -> Result<()> {
        let began = Instant::now();
        let mut rules: RuleSet = self.text.parse().ok().context("no rules")?;
        let parse = milliseconds(began);

        // Or nothing would change.
        self.write(&self.others)?;
        let began = Instant::now();
        let mut prepared = self.filter.table()?.prepare(&rules)?;
        let prepare = milliseconds(began);
        prepared.put_in_force()?;
        let load = milliseconds(began);

        let began = Instant::now();
        let listing = self.filter.table()?.read()?;
        let list = milliseconds(began);
        ensure!(listing.rules.len() == RULES, "rules are missing");

        let one = rules.rules.remove(MIDDLE);
        let delete = self.write(&rules)?;
        rules.rules.insert(MIDDLE, one);
        let add = self.write(&rules)?;

        // The order of `ALL`.
        let found = [parse, load, prepare, load - prepare, list, add, delete];
        for (samples, found) in self.samples.iter_mut().zip(found) {
            if keep {
                samples.push(found);
            }
        }
        Ok(())
    }

    fn write(&self, rules: &RuleSet) -> Result<f64> {
        let began = Instant::now();
        self.filter.table()?.write(rules)?;
        Ok(milliseconds(began))
    }

    /// What was measured: key, title, and how long.
    pub(super) fn found(&self) -> impl Iterator<Item = (&str, &str, &Samples)> {
        let all = ALL.iter().zip(&self.samples);
        all.map(|((key, title), samples)| (*key, *title, samples))
    }
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
