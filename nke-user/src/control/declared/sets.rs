//! Declared sets: which of them are to change, and what `save` writes of them.
//!
//! Sets are an extension's, whichever attachment's rules state them. Nothing here writes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Covered,
    bodies::Bodies,
    draft::{present, wrong},
    outline::{bad_sets, has_rules, rules_of},
};
use crate::{
    control::{Control, save::spelling},
    declare::{Attachment, Declaration, Declared, Origin, Running, SetPlan, plan::Step},
    error::Result,
    extension::{Build, Extension},
    filter::{About, Lasting, Rule, SETS_MAP, SetName, StatedMembers, StatedSet, now},
};

/// The sets that are stated, by extension and name: all members in order, and where.
type Stated = BTreeMap<(String, SetName), (About, Vec<Lasting>, Origin)>;

impl Control {
    /// Plans what becomes of named sets. With `prune`, those go that are not stated and that no rule asks for.
    pub(super) fn plan_sets(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
        covered: &[Covered],
        prune: bool,
    ) -> Result<Vec<SetPlan>> {
        let stay = self.staying(declaration, bodies, prune)?;
        let stated = self.stated(declaration, bodies, &stay)?;
        let now = now();
        let mut plans = Vec::new();
        for extension in &stay {
            let own: Vec<_> = stated
                .iter()
                .filter(|((of, _), _)| of == extension)
                .map(|((_, name), stated)| (*name, stated))
                .collect();
            let loaded = self.extension(extension).filter(|_| has_rules(extension));
            let running = match loaded {
                Some(loaded) if prune || !own.is_empty() => self.running(loaded, now)?,
                Some(_) | None => BTreeMap::new(),
            };
            for (name, (about, members, origin)) in &own {
                if !bodies.keeps(extension, SETS_MAP) {
                    let cause = "its sets are laid out anew by the upgrade; upgrade first";
                    return Err(wrong(origin, "attach.rules", cause.to_owned()));
                }
                let running = running.get(name);
                if running.is_some_and(|running| running.about.kind != about.kind) {
                    let cause = format!("set {name} is there, with members of another type");
                    return Err(wrong(origin, "attach.rules", cause));
                }
                let stated = (about, members.clone());
                plans.extend(SetPlan::of(extension, stated, running, now, origin));
            }
            if prune && !running.is_empty() {
                let asked = self.asked_of(extension, covered)?;
                let is_stated = |name| own.iter().any(|(own, _)| *own == name);
                let others = running.iter();
                let gone = others.filter(|(name, _)| !is_stated(**name) && !asked.contains(name));
                plans.extend(gone.map(|(_, running)| SetPlan::gone(extension, running)));
            }
        }
        Ok(plans)
    }

    /// The extensions that are loaded then, as far as sets go.
    fn staying(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
        prune: bool,
    ) -> Result<BTreeSet<String>> {
        let mut stay = BTreeSet::new();
        for Declared { what, origin } in &declaration.loads {
            stay.insert(self.body(bodies, what, origin)?.0);
        }
        for Declared { what, origin } in &declaration.attachments {
            if present(&what.place)
                .map_err(|error| origin.blame(error))?
                .is_some()
            {
                stay.insert(self.body(bodies, &what.extension, origin)?.0);
            }
        }
        let current = self.extensions.iter().filter(|e| e.build == Build::Current);
        let needed = |e: &&Extension| !prune || !self.dependants(e.kmid).is_empty();
        stay.extend(current.filter(needed).map(|e| e.name.clone()));
        Ok(stay)
    }

    /// What is stated of sets of extensions that stay. Those of the others wait with their attachments.
    fn stated(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
        stay: &BTreeSet<String>,
    ) -> Result<Stated> {
        let mut stated = Stated::new();
        for Declared { what, origin } in &declaration.attachments {
            let Attachment {
                extension, sets, ..
            } = what;
            let (name, _) = self.body(bodies, extension, origin)?;
            for set in sets.iter().filter(|_| stay.contains(&name)) {
                let at = Origin {
                    line: set.line,
                    ..origin.clone()
                };
                let members = members(set, &at)?;
                let key = (name.clone(), set.about.name);
                match stated.get(&key) {
                    Some((about, known, _)) if *about == set.about && *known == members => {}
                    Some((.., earlier)) => {
                        let cause = format!(
                            "{earlier} says another set {} of {name}; leave one out",
                            set.about.name
                        );
                        return Err(wrong(&at, "attach.rules", cause));
                    }
                    None => drop(stated.insert(key, (set.about, members, at))),
                }
            }
        }
        Ok(stated)
    }

    /// The sets of a loaded extension, by name, with their members in order.
    fn running(&self, extension: &Extension, now: u64) -> Result<BTreeMap<SetName, Running>> {
        // Loaded by an older version, it has none.
        let Ok(sets) = self.sets(&extension.name) else {
            return Ok(BTreeMap::new());
        };
        let failed = |source| bad_sets(&extension.name, source);
        let mut running = BTreeMap::new();
        for set in sets.all().map_err(failed)? {
            let mut members = Vec::new();
            let left = |until: u64| until.saturating_sub(now);
            set.for_each(|it| {
                members.push(Lasting {
                    member: it.member,
                    until: it.until.map(left),
                });
            })
            .map_err(failed)?;
            members.sort_unstable_by_key(|it| it.member.order());
            let about = *set.about();
            running.insert(about.name, Running { about, members });
        }
        Ok(running)
    }

    /// Whether rules of an extension ask for a set that nothing states: it was made by hand, stays, and would go with
    /// the extension.
    pub(super) fn asks_sets_of_hands(
        &self,
        extension: &str,
        declaration: &Declaration,
        bodies: &mut Bodies,
        covered: &[Covered],
    ) -> Result<bool> {
        let mut asked = self.asked_of(extension, covered)?;
        for Declared { what, origin } in &declaration.attachments {
            if self.body(bodies, &what.extension, origin)?.0 == extension {
                asked.retain(|name| what.sets.iter().all(|set| set.about.name != *name));
            }
        }
        Ok(!asked.is_empty())
    }

    /// The sets that rules of an extension ask for, in the chains that there are to be.
    fn asked_of(&self, extension: &str, covered: &[Covered]) -> Result<BTreeSet<SetName>> {
        let mut asked = BTreeSet::new();
        for chain in covered {
            asked.append(&mut self.asked_in(extension, chain)?);
        }
        Ok(asked)
    }

    /// The sets that rules of an extension ask for in a chain, as it is to be.
    pub(in crate::control) fn asked_in(
        &self,
        extension: &str,
        Covered { target, plan, .. }: &Covered,
    ) -> Result<BTreeSet<SetName>> {
        let mut asked = BTreeSet::new();
        let mut ask = |rules: &[Rule]| {
            let memberships = rules.iter().flat_map(Rule::memberships);
            asked.extend(memberships.map(|membership| membership.set));
        };
        let slots = plan.steps.iter().zip(&plan.wanted.slots);
        for (step, slot) in slots.filter(|(_, slot)| slot.extension == extension) {
            let chain = self.chain(plan.hook, *target);
            match (&slot.rules, step, chain) {
                (Some(rules), ..) => ask(&rules.rules),
                (None, Step::Keep(at) | Step::Change(at), Some(chain)) => {
                    ask(&rules_of(chain, &chain.nodes[*at])?.rules);
                }
                (None, ..) => {}
            }
        }
        Ok(asked)
    }

    /// Writes the sets of extensions beside the rules of the first of their attachments that is saved; in words
    /// those of extensions that have none.
    pub(in crate::control) fn save_sets(&self, saved: &mut Declaration) -> Result<Vec<String>> {
        let current = self.extensions.iter().filter(|e| e.build == Build::Current);
        let mut extensions: Vec<_> = current.filter(|e| has_rules(&e.name)).collect();
        extensions.sort_unstable_by_key(|extension| &extension.name);
        let mut lost = Vec::new();
        for extension in extensions {
            let running = self.running(extension, now())?;
            if running.is_empty() {
                continue;
            }
            let wanted = spelling(extension).to_string();
            let mut attachments = saved.attachments.iter_mut();
            let first = attachments.find(|a| a.what.extension.to_string() == wanted);
            let Some(first) = first else {
                lost.push(format!(
                    "sets of {}: they stand beside rules, and none of its rules are saved",
                    extension.name
                ));
                continue;
            };
            let set = |Running { about, members }| StatedSet {
                about,
                members: StatedMembers::Here(members),
                line: 0,
            };
            first.what.sets = running.into_values().map(set).collect();
        }
        Ok(lost)
    }
}

/// The members of a set that is stated, in order.
fn members(set: &StatedSet, at: &Origin) -> Result<Vec<Lasting>> {
    if let StatedMembers::File(path) = &set.members {
        let cause = format!("{}: its members have not been read", path.display());
        return Err(wrong(at, "attach.rules", cause));
    }
    let members = set.in_order();
    members.map_err(|problem| {
        wrong(
            at,
            "attach.rules",
            format!("set {}: {problem}", set.about.name),
        )
    })
}
