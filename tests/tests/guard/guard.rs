//! A cgroup with a guard on it, and a thread inside.

use std::fs;

use nke::{
    control::{Control, Scope},
    filter::Table,
    order::Selector,
};
use nke_tests::{Caller, Cgroup, Ran, World, fail};
use serde::Deserialize;

pub(crate) const EXTENSION: &str = "connection-guard";

/// `nke guard list --json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guards {
    guards: Vec<List>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    pub(crate) cgroup: String,
    pub(crate) hooks: Vec<String>,
    pub(crate) default: String,
    pub(crate) default_calls: u64,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) number: usize,
    pub(crate) rule: String,
    pub(crate) calls: u64,
}

pub(crate) struct Guard {
    // In this order they go: the thread before its cgroup.
    pub(crate) caller: Caller,
    pub(crate) cgroup: Cgroup,
    pub(crate) world: World,
}

impl Guard {
    /// A thread in a cgroup that nothing is attached to.
    pub(crate) fn new() -> Self {
        let (world, cgroup) = (World::with_addresses(), Cgroup::new());
        Self {
            caller: Caller::start(&cgroup, &world.inside),
            cgroup,
            world,
        }
    }

    /// The same, with the bundled guard on it.
    #[track_caller]
    pub(crate) fn attach() -> Self {
        let guard = Self::new();
        guard.on(&["attach", EXTENSION]).ok();
        guard
    }

    /// Runs `nke` with these words on the cgroup.
    #[must_use = "say what is expected of it: ok, fails, json"]
    pub(crate) fn on(&self, words: &[&str]) -> Ran {
        self.world
            .nke(&[words, &["--cgroup", self.cgroup.path()]].concat())
    }

    /// Runs `nke guard` with these words on the cgroup.
    #[must_use = "say what is expected of it: ok, fails, json"]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.on(&[&["guard"], words].concat())
    }

    /// Loads a file of these rules.
    #[must_use = "say what is expected of it: ok, fails"]
    pub(crate) fn load(&self, rules: &str) -> Ran {
        let file = self.world.directory().join("rules");
        fs::write(&file, rules).expect("the directory is ours");
        self.run(&["load", "rules"])
    }

    /// The only rule set of the cgroup.
    #[track_caller]
    pub(crate) fn list(&self) -> List {
        let Guards { guards } = self.run(&["list", "--json"]).json();
        let count = guards.len();
        let mut guards = guards.into_iter();
        match (guards.next(), guards.next()) {
            (Some(list), None) => list,
            _ => fail(format!("one guard was expected, and there are {count}")),
        }
    }

    /// The rules in words, in order.
    #[track_caller]
    pub(crate) fn rules(&self) -> Vec<String> {
        self.list()
            .rules
            .into_iter()
            .map(|rule| rule.rule)
            .collect()
    }

    /// The maps of the rules, found as the command finds them.
    pub(crate) fn table(&self) -> Table {
        let control = Control::open(&self.world.state()).expect("the state is there");
        let scope = Scope {
            cgroup: Some(self.cgroup.path().into()),
            hook: Some("socket/connect4".parse().expect("a hook")),
            ..Scope::default()
        };
        let name = Selector::Name(EXTENSION.to_owned());
        let (_, maps) = control
            .attachment_maps(&name, &scope)
            .expect("the attachment is there");
        Table::open(&maps).expect("its maps are there")
    }
}
