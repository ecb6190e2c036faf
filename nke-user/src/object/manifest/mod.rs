//! What an extension says of itself: TOML text, in the section `.nke` of its object, or for an
//! object that has none in a file beside it.
//!
//! All of it is optional, and none of it is believed: names must be the object's, text must be
//! printable, and what contradicts itself is refused. Nothing here does I/O.
//!
//! ```toml
//! identifier = "org.example.telnet"
//! version = "1.2.0"
//! hooks = ["interface/in", { hook = "interface/out", priority = 20 }]
//!
//! [dependencies]
//! "org.example.table" = "^1.2"
//! ```

mod entry;
mod identifier;
mod requires;
mod setting;
mod version;

use std::{collections::BTreeMap, fmt};

use nke_ebpf::abi::{map, records, states};
use semver::Version;
use serde::{Deserialize, Serialize};

pub use self::{
    entry::{Dependency, ManifestHook},
    identifier::Identifier,
    requires::{Feature, Requires},
    setting::{Setting, SettingType, SettingValue},
    version::satisfies,
};
use crate::hook::{Family, Hook};

/// What an extension's records are: [`nke_ebpf::abi::records`] says how they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// TCP connections that have ended.
    Connection,
    /// What happens to sockets.
    Event,
}

/// What becomes of a map's contents when another version of the extension takes over, and the
/// map's key or value is laid out differently in it. A map that has not changed is kept as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Migrate {
    /// The upgrade is refused, unless the user gives the contents up.
    #[default]
    Refuse,
    /// Each entry is copied, member by member of the same name; new members are zero.
    Members,
    /// The map begins empty.
    Reset,
}

/// What a manifest says of one map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MapRule {
    /// How its contents go over to another version.
    #[serde(default)]
    pub migrate: Migrate,
}

/// An extension's manifest; an object without one has the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// Who it is, whatever its file is called; without one, others cannot depend on it.
    #[serde(default)]
    pub identifier: Option<Identifier>,
    /// Its version; 0.0.0 if it says none.
    #[serde(default = "unversioned")]
    pub version: Version,
    /// The oldest version that it can stand in for, if not only its own: see
    /// [`Manifest::compatible_since`].
    #[serde(default)]
    pub compatible_since: Option<Version>,
    /// What it is for, in a line.
    #[serde(default)]
    pub description: String,
    /// The licence it is given away under, as SPDX has it; the kernel asks only for the one in the
    /// object's section `license`.
    #[serde(default)]
    pub license: Option<String>,
    /// The hooks that it is attached to together where none is asked for, such as
    /// `socket/connect` (which is all of that family), and at which priority; without any, the
    /// first that it serves.
    #[serde(default)]
    pub hooks: Vec<ManifestHook>,
    /// The program of type SYSCALL that is run when it has been loaded.
    #[serde(default)]
    pub init: Option<String>,
    /// The program of type SYSCALL that is run before it is unloaded.
    #[serde(default)]
    pub exit: Option<String>,
    /// The extensions that must be loaded before it, by identifier.
    #[serde(default)]
    pub dependencies: BTreeMap<Identifier, Dependency>,
    /// What it needs from the kernel, beyond what its object shows.
    #[serde(default)]
    pub requires: Requires,
    /// Its settings, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// What is to be said of its maps, by name.
    #[serde(default)]
    pub maps: BTreeMap<String, MapRule>,
    /// The maps that every attachment has its own of.
    #[serde(default)]
    pub attachment_maps: Vec<String>,
    /// The maps that its attachments to one target share: all those to one cgroup, say.
    #[serde(default)]
    pub target_maps: Vec<String>,
    /// What it sends through the ring buffer `RECORDS`, counting in `LOST` what did not fit.
    #[serde(default)]
    pub records: Option<RecordKind>,
    /// Whether it is to be shown the sockets that a cgroup has already when it is attached to it: its
    /// programs in sections `iter/tcp`, `iter/udp` and `iter/unix` are run over them, once.
    #[serde(default)]
    pub existing: bool,
    /// Whether all that its programs do with a packet of IP is what the rules in its map `RULES` say, or the flows in its
    /// map `STATES`, so that nke may judge packets by these before its programs see them.
    #[serde(default)]
    pub judged_by_rules: bool,
}

const fn unversioned() -> Version {
    Version::new(0, 0, 0)
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            identifier: None,
            version: unversioned(),
            compatible_since: None,
            description: String::new(),
            license: None,
            hooks: Vec::new(),
            init: None,
            exit: None,
            dependencies: BTreeMap::new(),
            requires: Requires::default(),
            settings: BTreeMap::new(),
            maps: BTreeMap::new(),
            attachment_maps: Vec::new(),
            target_maps: Vec::new(),
            records: None,
            existing: false,
            judged_by_rules: false,
        }
    }
}

/// What a manifest is held against.
pub(super) struct Facts<'a> {
    /// Whether the object has a map of this name.
    pub(super) has_map: &'a dyn Fn(&str) -> bool,
    /// Whether one of its programs serves this hook.
    pub(super) serves: &'a dyn Fn(Hook) -> bool,
    /// Whether it has a program of type SYSCALL of this name.
    pub(super) is_syscall: &'a dyn Fn(&str) -> bool,
    /// Whether it has a program that the kernel runs over what there is (`iter/…`).
    pub(super) iterates: bool,
}

/// The longest manifest, in bytes.
pub(crate) const LONGEST: usize = 64 << 10;

/// The longest line in one, in bytes: records of loaded extensions hold some.
const LONGEST_LINE: usize = 400;

impl Manifest {
    /// Reads a manifest; what is wrong with its text in words.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {} KiB", LONGEST >> 10));
        }
        let text = str::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let text = text.trim_matches('\0');
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", printable(error.message()))
        })
    }

    /// Reads the manifest of an object's section, or the one beside it, and tells all that is wrong
    /// with it, in words. Of one that cannot be read, the default is left.
    pub(super) fn examine(
        section: &[u8],
        beside: Option<&[u8]>,
        facts: &Facts<'_>,
    ) -> (Self, Vec<String>) {
        let text = match beside {
            Some(_) if !section.is_empty() => {
                let both =
                    "it has one in its section .nke, and another lies beside it; remove that";
                return (Self::default(), vec![both.to_owned()]);
            }
            Some(text) => text,
            None => section,
        };
        match Self::read(text) {
            Ok(manifest) => {
                let problems = manifest.problems(facts);
                (manifest, problems)
            }
            Err(problem) => (Self::default(), vec![problem]),
        }
    }

    /// What is wrong with a manifest whose object cannot be read, in words.
    pub(crate) fn examine_alone(text: &[u8]) -> Vec<String> {
        match Self::read(text) {
            Ok(manifest) => manifest.of_itself(),
            Err(problem) => vec![problem],
        }
    }

    /// Everything that is wrong with it, in words.
    pub(super) fn problems(&self, facts: &Facts<'_>) -> Vec<String> {
        let mut problems = self.of_itself();
        self.of_hooks(facts, &mut problems);
        self.of_maps(facts, &mut problems);
        self.of_iterators(facts, &mut problems);
        for (key, symbol) in [("init", &self.init), ("exit", &self.exit)] {
            if let Some(symbol) = symbol.as_ref().filter(|symbol| !(facts.is_syscall)(symbol)) {
                problems.push(format!(
                    "{key} names {}, and the object has no such program in a section \"syscall\"",
                    printable(symbol)
                ));
            }
        }
        problems
    }

    /// What contradicts itself, or cannot be printed.
    fn of_itself(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(since) = self
            .compatible_since
            .as_ref()
            .filter(|since| **since > self.version)
        {
            problems.push(format!(
                "compatible-since {since} is newer than version {}",
                self.version
            ));
        }
        if self.version.to_string().len() > LONGEST_LINE {
            problems.push("version is too long".to_owned());
        }
        if let Some(own) = &self.identifier
            && self.dependencies.contains_key(own)
        {
            problems.push(format!("dependencies names {own}, which is itself"));
        }
        let license = self.license.iter().map(|text| ("license", text));
        let settings = self.settings.values();
        let settings = settings.map(|setting| ("description of a setting", &setting.description));
        let own = [("description", &self.description)].into_iter();
        for (key, text) in own.chain(license).chain(settings) {
            if text.chars().any(char::is_control) || text.len() > LONGEST_LINE {
                problems.push(format!(
                    "{key} must be one line of {LONGEST_LINE} bytes at most"
                ));
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let odd = |name: &&String| name.is_empty() || !name.chars().all(plain);
        for name in self.settings.keys().filter(odd) {
            problems.push(format!(
                "settings names {:?}; use letters, digits, - and _",
                printable(name)
            ));
        }
        problems
    }

    fn of_hooks(&self, facts: &Facts<'_>, problems: &mut Vec<String>) {
        let served = |family: &Family| family.hooks().iter().any(|hook| (facts.serves)(*hook));
        for ManifestHook { hook, .. } in self.hooks.iter().filter(|entry| !served(&entry.hook)) {
            problems.push(format!(
                "hooks names {hook}, and no program of the object serves it"
            ));
        }
        for (at, entry) in self.hooks.iter().enumerate() {
            let meets = |other: &ManifestHook| {
                let mut hooks = other.hook.hooks().iter();
                hooks.any(|hook| entry.hook.has(*hook))
            };
            if self.hooks.iter().take(at).any(meets) {
                problems.push(format!("hooks names {} twice", entry.hook));
            }
        }
    }

    fn of_iterators(&self, facts: &Facts<'_>, problems: &mut Vec<String>) {
        if self.existing && !facts.iterates {
            problems.push(
                "existing needs a program in a section such as iter/tcp, and the object has none"
                    .to_owned(),
            );
        }
    }

    // Under a wrong name, a map would be shared by all attachments without a word.
    fn of_maps(&self, facts: &Facts<'_>, problems: &mut Vec<String>) {
        let of_rules = [map::RULES, states::MAP, states::KEPT];
        for map in of_rules.iter().filter(|map| !(facts.has_map)(map)) {
            if self.judged_by_rules {
                problems.push(format!(
                    "judged-by-rules needs a map {map}, and the object has no such map"
                ));
            }
        }
        for map in [records::RECORDS, records::LOST] {
            if self.records.is_some() && !(facts.has_map)(map) {
                problems.push(format!(
                    "records needs a map {map}, and the object has no such map"
                ));
            }
        }
        let attachment = self.attachment_maps.iter();
        let target = self.target_maps.iter();
        let settings = self.settings.values().filter_map(|s| s.map.as_ref());
        let needed = self.dependencies.values().flat_map(|d| &d.maps);
        let named = attachment
            .map(|map| ("attachment-maps", map))
            .chain(target.map(|map| ("target-maps", map)))
            .chain(self.maps.keys().map(|map| ("maps", map)))
            .chain(settings.map(|map| ("settings", map)))
            .chain(needed.map(|map| ("dependencies", map)));
        for (key, map) in named.filter(|(_, map)| !(facts.has_map)(map)) {
            problems.push(format!(
                "{key} names {}, and the object has no such map",
                printable(map)
            ));
        }
        let twice = |map: &&String| self.target_maps.contains(map);
        for map in self.attachment_maps.iter().filter(twice) {
            problems.push(format!(
                "{} is both in attachment-maps and in target-maps",
                printable(map)
            ));
        }
        let mut own = self.dependencies.values().flat_map(|d| &d.maps);
        if let Some(map) = own.find(|map| self.own_maps().any(|own| own == *map)) {
            problems.push(format!(
                "{} is a dependency's, and cannot be an attachment's or a target's own",
                printable(map)
            ));
        }
    }

    /// The oldest version that it can stand in for: its own, if it does not say.
    pub fn compatible_since(&self) -> &Version {
        self.compatible_since.as_ref().unwrap_or(&self.version)
    }

    /// Whether it has been given a version.
    pub fn is_versioned(&self) -> bool {
        self.version != unversioned()
    }

    /// The priority that it is to have at a hook, if it says one.
    pub fn priority(&self, hook: Hook) -> Option<i32> {
        let mut entries = self.hooks.iter().filter(|entry| entry.hook.has(hook));
        entries.find_map(|entry| entry.priority)
    }

    /// The maps that are not the extension's, but an attachment's or a target's.
    pub(crate) fn own_maps(&self) -> impl Iterator<Item = &String> {
        self.attachment_maps.iter().chain(&self.target_maps)
    }
}

/// Text of a file, without what would play tricks on a terminal.
fn printable(text: &str) -> impl fmt::Display + fmt::Debug {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .take(LONGEST_LINE)
        .map(shown)
        .collect::<String>()
}

#[cfg(test)]
mod tests;
