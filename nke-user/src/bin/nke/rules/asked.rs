//! Rules that are only looked at: those of a file, or those in force.

use std::path::{Path, PathBuf};

use clap::Args;
use nke::filter::{Dialect, InterfaceName, KnownSets, RuleSet, Source, Way, ways_at};
use serde_json::{Value, json};

use super::{find, not_attached, sets, target::Target};
use crate::open;

/// Whose rules are asked about.
#[derive(Args, Debug)]
pub(crate) struct Asked<T: Target> {
    #[command(flatten)]
    place: T::Place,
    /// The rules of a file, in the place of those in force; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Rules, and where they are from.
pub(super) struct Looked {
    /// The place, or the file.
    pub(super) title: String,
    /// The hooks where they are in force.
    hooks: Vec<String>,
    /// The interface where they are in force, if they are at one.
    pub(super) interface: Option<InterfaceName>,
    /// The ways that things go there.
    pub(super) ways: Vec<Way>,
    pub(super) rules: RuleSet,
    /// What is in the named sets that they ask for.
    pub(super) known: KnownSets,
    /// In a file, where they stand.
    lines: Option<Vec<usize>>,
}

impl<T: Target> Asked<T> {
    /// Finds them, without root if it is a file's.
    pub(super) fn look(&self, state: &Path) -> anyhow::Result<Vec<Looked>> {
        if let Some(file) = &self.file {
            let scope = T::everywhere(&self.place).scope();
            let stated = sets::Stated::read(T::DIALECT, file, &scope)?;
            let known = sets::known(state, T::EXTENSION, &stated)?;
            let Source { rules, lines, .. } = stated.source;
            let ways = match T::DIALECT {
                Dialect::Packets => vec![Way::In, Way::Out],
                Dialect::Calls => Way::CALLS.to_vec(),
            };
            let scope = T::everywhere(&self.place).scope();
            return Ok(vec![Looked {
                title: file.display().to_string(),
                hooks: Vec::new(),
                interface: scope.interface.and_then(|name| name.parse().ok()),
                ways,
                known,
                rules,
                lines: Some(lines),
            }]);
        }
        let target = T::everywhere(&self.place);
        let control = open::look(state)?;
        let mut all = Vec::new();
        for found in find::<T>(&control, &target.scope())? {
            let ways = found.hooks.iter().flat_map(|hook| ways_at(*hook));
            let rules = found.table.read()?.rules();
            let known = match found.table.sets() {
                Some(sets) => sets.known(&rules.rules)?,
                None => KnownSets::default(),
            };
            all.push(Looked {
                title: found.to_string(),
                hooks: found.hooks.iter().map(ToString::to_string).collect(),
                interface: found.interface.as_ref().and_then(|name| name.parse().ok()),
                ways: ways.copied().collect(),
                rules,
                known,
                lines: None,
            });
        }
        if all.is_empty() {
            return Err(not_attached(&target).into());
        }
        Ok(all)
    }
}

impl Looked {
    /// `rule 3`, and of a file its line.
    pub(super) fn name(&self, rule: usize) -> String {
        match self.line(rule) {
            Some(line) => format!("rule {} (line {line})", rule + 1),
            None => format!("rule {}", rule + 1),
        }
    }

    pub(super) fn line(&self, rule: usize) -> Option<usize> {
        self.lines.as_ref()?.get(rule).copied()
    }

    /// Where they are from, with what else is to be said.
    pub(super) fn json(&self, more: &Value) -> Value {
        let mut value = json!({ "place": self.title, "hooks": self.hooks });
        if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
            value.extend(more.clone());
        }
        value
    }
}
