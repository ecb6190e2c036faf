//! Rule sets that were found in the kernel, and which of them is meant.

use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf};

use nke::{
    control::{Control, Scope},
    error,
    filter::{
        About, Action, Caller, Error, KnownSets, Lasting, Passing, Revision, Rule, RuleSet, Set,
        Table, Way, can_match, refuse_what_never_matches, ways_at,
    },
    find::original,
    hook::{Hook, Kind},
    interface::Namespace,
    order::Selector,
};

use super::target::Target;
use crate::output;

/// A rule set in the kernel, and where it is in force.
pub(crate) struct Found {
    /// One hook, or those whose attachments share the rules.
    pub(super) hooks: Vec<Hook>,
    /// Nothing but at the hooks of an interface.
    pub(super) interface: Option<String>,
    pub(super) netns: Option<String>,
    /// Nothing but at the hooks of a cgroup.
    pub(super) cgroup: Option<PathBuf>,
    /// The first attachment's.
    pub(super) id: u32,
    /// The extension, of which there can be copies.
    pub(super) extension: String,
    pub(super) table: Table,
    /// The caller's own connection, if it comes by.
    caller: Option<Caller>,
}

impl Found {
    /// Rules for what never comes by would look as if they did something.
    pub(super) fn refuse_what_never_matches<T: Target>(&self, rules: &[Rule]) -> Result<(), Error> {
        refuse_what_never_matches(rules, &self.hooks, self, T::EXTENSION)
    }

    /// Puts rules in force. Unless it is told otherwise, it sees to it that a default of `drop` lets
    /// the host be reached, and refuses rules that cut the caller's own connection.
    pub(super) fn write<T: Target>(
        &mut self,
        target: &T,
        mut rules: RuleSet,
    ) -> anyhow::Result<()> {
        let lacking = self.guard(target, rules.default, || Ok(Cow::Borrowed(&rules)))?;
        rules.rules.extend(lacking.iter().cloned());
        self.table.write(&rules)?;
        tell_added(self, &lacking);
        Ok(())
    }

    /// The same of a revision of those that are in force.
    pub(super) fn revise<T: Target>(
        &mut self,
        target: &T,
        mut revision: Revision,
    ) -> anyhow::Result<()> {
        let all = || Ok(Cow::Owned(revision.rules(self.table.rules()?)));
        let lacking = self.guard(target, revision.default(), all)?;
        revision.insert(revision.length(), &lacking);
        self.table.revise(&revision)?;
        tell_added(self, &lacking);
        Ok(())
    }

    /// Refuses rules that cut the caller's connection; those that they lack. The rules are asked for only where
    /// that can be.
    fn guard<'r, T: Target>(
        &self,
        target: &T,
        default: Action,
        rules: impl FnOnce() -> Result<Cow<'r, RuleSet>, Error>,
    ) -> anyhow::Result<Vec<Rule>> {
        let drops = default != Action::Pass;
        if !target.is_guarded() || !drops && self.caller.is_none() {
            return Ok(Vec::new());
        }
        let rules = rules()?;
        let link = self.interface.is_some();
        let known = self.known(&rules)?;
        self.refuse_what_cuts(&rules, &known)?;
        Ok(match drops {
            true => rules.lacking(&self.ways(), link, self.caller.as_ref(), &known),
            false => Vec::new(),
        })
    }

    /// The sets that the caller's connection is in, of those that rules ask for.
    fn known(&self, rules: &RuleSet) -> Result<KnownSets, Error> {
        match (&self.caller, self.table.sets()) {
            (Some(Caller { far, near, .. }), Some(sets)) => {
                sets.known_of(&rules.rules, [*far, *near])
            }
            _ => Ok(KnownSets::default()),
        }
    }

    /// The ways that things go which come by.
    fn ways(&self) -> Vec<Way> {
        let ways = self.hooks.iter().flat_map(|hook| ways_at(*hook));
        ways.copied().collect()
    }

    /// The rule that cuts the caller's connection, if sets are as these; of those packets that were not cut before.
    fn cutting(
        &self,
        rules: &RuleSet,
        known: &KnownSets,
        before: Option<(&RuleSet, &KnownSets)>,
    ) -> Option<usize> {
        let passing = Passing {
            ways: &self.ways(),
            link: self.interface.is_some(),
            interface: self.interface.as_ref().and_then(|name| name.parse().ok()),
            caller: self.caller.as_ref()?,
        };
        rules.cuts(&passing, known, before)
    }

    fn refuse_what_cuts(&self, rules: &RuleSet, known: &KnownSets) -> anyhow::Result<()> {
        if self.cutting(rules, known, None).is_none() {
            return Ok(());
        }
        // What cuts it already is not the change's doing.
        let before = self.table.read()?.rules();
        let known_before = self.known(&before)?;
        let Some(rule) = self.cutting(rules, known, Some((&before, &known_before))) else {
            return Ok(());
        };
        let by = named(rules, rule);
        Err(self.lock_out("write rules", &by))
    }

    fn lock_out(&self, stage: &'static str, by: &str) -> anyhow::Error {
        let (Some(Caller { far, near, .. }), Some(hook)) = (&self.caller, self.hooks.first())
        else {
            return anyhow::anyhow!("{by}");
        };
        let locks_out = error::Error::LockOut {
            hook: *hook,
            place: self.place(),
            stage,
            connection: format!("{far} to {near} ({by})"),
        };
        locks_out.into()
    }

    /// Refuses that a set gets other members, if the caller's connection would not live. `members` tells those that it will
    /// have of which some are around what is asked for.
    pub(super) fn refuse_members(
        &self,
        about: &About,
        members: impl FnOnce([SocketAddr; 2]) -> anyhow::Result<Vec<Lasting>>,
    ) -> anyhow::Result<()> {
        let Some(caller) = &self.caller else {
            return Ok(());
        };
        let rules = self.table.read()?.rules();
        let asks = |rule: &Rule| rule.memberships().any(|asked| asked.set == about.name);
        if !rules.rules.iter().any(asks) {
            return Ok(());
        }
        let before = self.known(&rules)?;
        let members = members([caller.far, caller.near])?;
        let after = Set::of(about, &members)?;
        let after = before
            .clone()
            .with(KnownSets::from_iter([(about.name, after)]));
        let lacks = |known: &KnownSets| {
            let link = self.interface.is_some();
            rules.lacking(&self.ways(), link, Some(caller), known).len()
        };
        let by = match self.cutting(&rules, &after, Some((&rules, &before))) {
            Some(rule) => named(&rules, rule),
            None if rules.default.drops() && lacks(&after) > lacks(&before) => {
                format!("default {}", rules.default)
            }
            None => return Ok(()),
        };
        Err(self.lock_out("change the set", &by))
    }

    /// Refuses that flows are forgotten, if the caller's connection lives by one of them alone.
    pub(super) fn refuse_to_forget(&self) -> anyhow::Result<()> {
        let Some(caller) = &self.caller else {
            return Ok(());
        };
        let rules = self.table.read()?.rules();
        let known = self.known(&rules)?;
        let link = self.interface.is_some();
        let lacks = |caller| rules.lacking(&self.ways(), link, caller, &known).len();
        let by = match self.cutting(&rules, &known, None) {
            Some(rule) => named(&rules, rule),
            None if rules.default.drops() && lacks(Some(caller)) > lacks(None) => {
                format!("default {}", rules.default)
            }
            None => return Ok(()),
        };
        Err(self.lock_out("forget flows", &by))
    }

    /// What the hooks are of.
    fn place(&self) -> String {
        match (&self.interface, &self.netns) {
            (Some(interface), Some(netns)) => format!("{interface} in {netns}"),
            (Some(interface), None) => interface.clone(),
            (None, Some(netns)) => format!("namespace {netns}"),
            (None, None) => "this namespace".to_owned(),
        }
    }
}

/// A rule as the reason of something.
fn named(rules: &RuleSet, rule: usize) -> String {
    format!("rule {}: {}", rule + 1, rules.rules[rule])
}

/// Says which rules have been put behind the others.
pub(super) fn tell_added(place: &dyn fmt::Display, added: &[Rule]) {
    for rule in added {
        output::note(format_args!(
            "{place}: added `{rule}` behind the others, or the default would drop what the host \
             is reached by; --force leaves it out"
        ));
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hooks,
            interface,
            netns,
            cgroup,
            id: _,
            extension: _,
            table: _,
            caller: _,
        } = self;
        if let [hook] = hooks.as_slice() {
            write!(f, "{hook} of ")?;
        }
        match (interface, netns, cgroup) {
            (Some(interface), Some(netns), _) => write!(f, "{interface} in {netns}"),
            (Some(interface), None, _) => f.write_str(interface),
            (None, _, Some(cgroup)) => write!(f, "{}", cgroup.display()),
            // The kernel takes a while to let go of its programs.
            (None, _, None) if hooks.iter().any(|hook| hook.row().kind == Kind::Cgroup) => {
                f.write_str("a cgroup that is gone")
            }
            (None, Some(netns), None) => write!(f, "namespace {netns}"),
            (None, None, None) => f.write_str("this namespace"),
        }
    }
}

/// The rule sets of an extension's attachments.
pub(super) fn find<T: Target>(control: &Control, scope: &Scope) -> anyhow::Result<Vec<Found>> {
    let mut all: Vec<Found> = Vec::new();
    for chain in control.own_chains(scope)? {
        let nodes = chain.nodes.iter();
        for node in nodes.filter(|node| original(&node.extension) == T::EXTENSION) {
            // Numbers are not used twice, wherever.
            let (id, anywhere) = (Selector::Id(node.id), Scope::default());
            let (hook, maps) = control.attachment_maps(&id, &anywhere)?;
            let sets = control.sets(&node.extension).ok();
            let namespace = Namespace::open(chain.netns.as_deref()).ok();
            let table = Table::open(&maps)?.with_sets(sets).in_namespace(namespace);
            let mut others = all.iter_mut();
            if let Some(same) = others.find(|found| found.table.id() == table.id()) {
                same.hooks.push(hook);
                continue;
            }
            let interface = chain.ifindex.map(|index| {
                let name = chain.interface.clone();
                name.unwrap_or_else(|| format!("#{index}"))
            });
            all.push(Found {
                hooks: vec![hook],
                interface,
                netns: chain.netns.clone(),
                cgroup: chain.cgroup.clone(),
                id: node.id,
                extension: node.extension.clone(),
                table,
                caller: control.caller_at(&id, &anywhere)?,
            });
        }
    }
    Ok(all)
}

/// The rule set that is meant: the only one, or the only one for which these rules are.
pub(super) fn one<T: Target>(
    control: &Control,
    target: &T,
    rules: &[Rule],
) -> anyhow::Result<Found> {
    let mut all = find::<T>(control, &target.scope())?;
    all.retain(|found| target.is(found));
    if all.len() > 1 && !target.has_hook() && !rules.is_empty() {
        let sees = |found: &Found| rules.iter().all(|rule| can_match(rule, &found.hooks));
        if all.iter().any(sees) {
            all.retain(sees);
        }
    }
    if all.len() > 1 {
        let places = all.iter().map(|found| {
            let hooks: Vec<_> = found.hooks.iter().map(ToString::to_string).collect();
            format!("{} ({})", hooks.join(" "), found.id)
        });
        let found = places.collect();
        let at_one_hook = all.iter().all(|one| one.hooks == all[0].hooks);
        let [of_place, of_hook] = T::OPTIONS;
        return Err(Error::ManyRuleSets {
            extension: T::EXTENSION,
            place: target.place(),
            found,
            option: if at_one_hook { of_hook } else { of_place },
        }
        .into());
    }
    Ok(all.pop().ok_or_else(|| not_attached(target))?)
}

pub(super) fn not_attached<T: Target>(target: &T) -> Error {
    Error::NoRuleSet {
        extension: T::EXTENSION,
        words: target.words(),
    }
}
