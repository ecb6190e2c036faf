//! Rules that are only looked at: those of a file, or those in force.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use clap::Args;
use nke::{
    filter::{
        Dialect, Error, GoneInterface, InterfaceName, KnownSets, Rule, RuleSet, Source, Way,
        added_by_load, as_met_at, packet_hooks, refuse_what_never_matches, ways_at,
    },
    hook::{Hook, Kind},
};
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
    hooks: Vec<Hook>,
    /// The interface where they are in force, if they are at one.
    pub(super) interface: Option<InterfaceName>,
    /// The ways that things go there.
    pub(super) ways: Vec<Way>,
    pub(super) rules: RuleSet,
    /// The same as the kernel takes them, where interfaces are gone that they name.
    meant: Option<RuleSet>,
    /// Those interfaces.
    gone: Vec<GoneInterface>,
    /// What is in the named sets that they ask for.
    pub(super) known: KnownSets,
    /// In a file, where they stand.
    lines: Option<Vec<usize>>,
}

impl<T: Target> Asked<T> {
    /// Finds them, without root if it is a file's.
    pub(super) fn look(&self, state: &Path) -> anyhow::Result<Vec<Looked>> {
        if let Some(file) = &self.file {
            return Ok(vec![self.of_file(state, file)?]);
        }
        let target = T::everywhere(&self.place);
        let control = open::look(state)?;
        let mut all = Vec::new();
        for found in find::<T>(&control, &target.scope())? {
            let ways = found.hooks.iter().flat_map(|hook| ways_at(*hook));
            let listing = found.table.read()?;
            let rules = listing.rules();
            let is_gone = !listing.gone_interfaces.is_empty();
            let known = match found.table.sets() {
                Some(sets) => sets.known(&rules.rules)?,
                None => KnownSets::default(),
            };
            all.push(Looked {
                title: found.to_string(),
                interface: found.interface.as_ref().and_then(|name| name.parse().ok()),
                ways: ways.copied().collect(),
                hooks: found.hooks,
                rules,
                meant: is_gone.then(|| listing.meant()),
                gone: listing.gone_interfaces,
                known,
                lines: None,
            });
        }
        if all.is_empty() {
            return Err(not_attached(&target).into());
        }
        Ok(all)
    }

    fn of_file(&self, state: &Path, file: &Path) -> anyhow::Result<Looked> {
        let scope = T::everywhere(&self.place).scope();
        let stated = sets::Stated::read(T::DIALECT, file, &scope)?;
        let known = sets::known(state, T::EXTENSION, &stated)?;
        let Source { rules, lines, .. } = stated.source;
        let hooks = scope.hook.map(|family| family.hooks().to_vec());
        let ways = match (&hooks, T::DIALECT) {
            (Some(hooks), _) => hooks.iter().flat_map(|it| ways_at(*it)).copied().collect(),
            (None, Dialect::Packets) => vec![Way::In, Way::Out],
            (None, Dialect::Calls) => Way::CALLS.to_vec(),
        };
        Ok(Looked {
            title: file.display().to_string(),
            hooks: hooks.unwrap_or_default(),
            interface: scope.interface.and_then(|name| name.parse().ok()),
            ways,
            known,
            rules,
            meant: None,
            gone: Vec::new(),
            lines: Some(lines),
        })
    }

    /// Finds them; those of a file as `load` would put them in force where they are said to be, or else somewhere.
    pub(super) fn look_as_loaded(&self, state: &Path) -> anyhow::Result<Vec<Looked>> {
        let mut all = self.look(state)?;
        for looked in all.iter_mut().filter(|looked| looked.lines.is_some()) {
            let of_interface = looked.interface.is_some();
            let hooks = match looked.hooks.as_slice() {
                [] => {
                    let title = format!("{}: ", looked.title);
                    hooks_that_take::<T>(&title, &looked.rules.rules, of_interface)?
                }
                [first, ..] => {
                    let place = format!("{} at {first}", looked.title);
                    let rules = &looked.rules.rules;
                    refuse_what_never_matches(rules, &looked.hooks, &place, T::EXTENSION)?;
                    looked.hooks.clone()
                }
            };
            let added = added_by_load(&looked.rules, &hooks, &looked.known);
            looked.rules.rules.extend(added);
        }
        Ok(all)
    }
}

/// The hooks where `load` takes rules that are about packets: of interfaces, or all; there must be one. Of calls, which
/// have all hooks together, none. Behind the title an error says why.
pub(super) fn hooks_that_take<T: Target>(
    title: &str,
    rules: &[Rule],
    of_interface: bool,
) -> Result<Vec<Hook>, Error> {
    let refused = |hook: Hook| {
        let place = format!("{title}no hook takes all of its rules; at {hook}");
        refuse_what_never_matches(rules, &[hook], &place, T::EXTENSION)
    };
    let hooks = packet_hooks().filter(|hook| {
        let kind = hook.row().kind;
        T::DIALECT == Dialect::Packets && (!of_interface || kind == Kind::Interface)
    });
    let (take, refuse): (Vec<_>, Vec<_>) = hooks.partition(|hook| refused(*hook).is_ok());
    match refuse.first().filter(|_| take.is_empty()) {
        Some(hook) => refused(*hook).map(|()| take),
        None => Ok(take),
    }
}

impl Looked {
    /// The rules as packets meet them there.
    pub(super) fn met(&self) -> Cow<'_, RuleSet> {
        match self.hooks.as_slice() {
            [hook] => as_met_at(*hook, self.meant()),
            _ => Cow::Borrowed(self.meant()),
        }
    }

    /// The rules as the kernel takes them.
    pub(super) fn meant(&self) -> &RuleSet {
        self.meant.as_ref().unwrap_or(&self.rules)
    }

    /// The interfaces that a rule names and that are gone.
    pub(super) fn gone_of(&self, rule: usize) -> impl Iterator<Item = &GoneInterface> {
        let of_rule = move |gone: &&GoneInterface| gone.rule == rule + 1;
        self.gone.iter().filter(of_rule)
    }

    /// `rule 3`, and of a file its line.
    pub(super) fn name(&self, rule: usize) -> String {
        match self.line(rule) {
            Some(line) => format!("rule {} (line {line})", rule + 1),
            None if self.lines.is_some() => {
                format!("rule {} (added by `load` without --force)", rule + 1)
            }
            None => format!("rule {}", rule + 1),
        }
    }

    pub(super) fn line(&self, rule: usize) -> Option<usize> {
        self.lines.as_ref()?.get(rule).copied()
    }

    /// Where they are from, with what else is to be said.
    pub(super) fn json(&self, more: &Value) -> Value {
        let hooks: Vec<_> = self.hooks.iter().map(ToString::to_string).collect();
        let mut value = json!({ "place": self.title, "hooks": hooks });
        if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
            value.extend(more.clone());
        }
        value
    }
}
