//! The swap: all chains, sets, rules, settings and counts are prepared, and then put in force, all or none.

use std::{collections::HashSet, path::PathBuf};

use nke_ebpf::abi::map;

use super::{
    nodes::{ground, site},
    upgrades::Upgrades,
};
use crate::{
    chain::{Ground, Prepared, Role, node_directory, prepare},
    control::{
        Around, Control, Scope,
        act::{Act, do_all},
        declared::{Covered, Survey, bad_rules, has_rules},
        load::wanted_again,
    },
    declare::plan::Step,
    error::Result,
    extension::{Build, Extension, Record},
    filter::Table,
    holder::{self, Users},
    order::Selector,
    target::Target,
};

/// Own maps of attachments that are made and not yet in force.
type Aside = Vec<(Target, u32, PathBuf)>;

impl Control {
    /// Prepares all that is to change, and puts it in force, all or none of it.
    pub(super) fn swap(
        &mut self,
        survey: &Survey,
        upgrades: &Upgrades<'_>,
        sets: Vec<Act>,
    ) -> Result<()> {
        let covered = &survey.covered;
        let moving: Vec<_> = covered.iter().filter(|chain| chain.plan.moves()).collect();
        let sites: Vec<_> = moving.iter().map(|chain| site(chain)).collect();
        let mut aside = Aside::new();
        let mut prepared = Vec::new();
        let mut shown = Aside::new();
        for (chain, site) in moving.iter().zip(&sites) {
            let present = self.chain(chain.plan.hook, chain.target);
            let Some(ground) = ground(present, site.as_ref()) else {
                continue;
            };
            let wanted = self.changes(chain, upgrades);
            let wanted = wanted.map_err(|error| chain.blame(error))?;
            let blame = |role: &Role, error| chain.blame_node(role, error);
            let around = Around {
                aside: &aside,
                blame: &blame,
            };
            let change = self.build(ground, &around, |shop| prepare(shop, &wanted));
            let change = change.map_err(|error| chain.blame(error))?;
            let made = self.made_aside(chain, upgrades, &change);
            shown.extend(
                made.iter()
                    .filter(|(_, opt_in)| !opt_in)
                    .map(|(m, _)| m.clone()),
            );
            aside.extend(made.into_iter().map(|(made, _)| made));
            prepared.push((*chain, change));
        }
        // No rule asks for a set before it is there, nor behind its end.
        let goes = |act: &Act| matches!(act, Act::Set { set, .. } if set.goes());
        let (gone, mut acts): (Vec<_>, Vec<_>) = sets.into_iter().partition(goes);
        acts.extend(self.prepare_rules(covered, upgrades, &prepared)?);
        acts.extend(gone);
        acts.extend(self.prepare_settings(survey)?);
        acts.extend(self.prepare_counts(survey));
        let mut changes: Vec<_> = prepared.into_iter().map(|(_, change)| change).collect();
        changes.extend(self.switch_elsewhere(survey, upgrades)?);
        upgrades.copy()?;
        let mut seen = HashSet::new();
        // No socket has opted in for what has just come.
        shown.retain(|(target, kmid, _)| seen.insert((*target, *kmid)));
        let show = || {
            let mut shown = shown.iter();
            shown.try_for_each(|(target, kmid, maps)| self.show_existing_with(*kmid, *target, maps))
        };
        let write = || do_all(&self.state, &mut acts, show);
        self.put_in_force_with(changes, write)?;
        for act in acts {
            if let Act::Record { extension, .. } = act {
                self.note(*extension);
            }
        }
        Ok(())
    }

    /// Prepares chains that are not declared and have upgraded extensions in them.
    fn switch_elsewhere(
        &self,
        survey: &Survey,
        upgrades: &Upgrades<'_>,
    ) -> Result<Vec<Prepared<'_>>> {
        let mut changes = Vec::new();
        for chain in &self.chains {
            let is = |covered: &Covered| {
                (covered.plan.hook, covered.target) == (chain.hook, chain.target)
            };
            if survey.covered.iter().any(is) {
                continue;
            }
            if let Some(wanted) = upgrades.whole(self, chain)? {
                let around = Around {
                    blame: &|role, error| upgrades.blame(role, error),
                    ..Around::default()
                };
                let ground = Ground::Chain(chain);
                changes.push(self.build(ground, &around, |shop| prepare(shop, &wanted))?);
            }
        }
        Ok(changes)
    }

    /// An extension's record is another one.
    fn note(&mut self, written: Extension) {
        for extension in &mut self.extensions {
            if extension.kmid == written.kmid {
                *extension = written;
                return;
            }
        }
    }

    /// Settings of what was loaded before; the others were loaded with theirs.
    fn prepare_settings(&self, survey: &Survey) -> Result<Vec<Act>> {
        let mut acts = Vec::new();
        let of_each = survey
            .plan
            .settings
            .chunk_by(|a, b| a.extension == b.extension);
        for settings in of_each {
            let name = &settings[0].extension;
            let live = settings.iter().filter(|setting| !setting.at_load);
            let values = live.map(|s| (s.setting.clone(), s.text.clone()));
            let values: Vec<_> = values.collect();
            if values.is_empty() {
                continue;
            }
            let selector = Selector::Name(name.clone());
            let changes = self.prepare_set(&selector, &Scope::default(), &values);
            let changes = changes.map_err(|error| survey.blame(name, error))?;
            acts.extend(changes.into_iter().map(Act::from));
        }
        Ok(acts)
    }

    /// Who holds what then.
    fn prepare_counts(&self, survey: &Survey) -> Vec<Act> {
        let caller = holder::caller();
        let current = self.extensions.iter().filter(|e| e.build == Build::Current);
        let acts = current.filter_map(|extension| {
            let record = if survey.plan.load.contains(&extension.name) {
                wanted_again(extension, Some(&caller))
            } else if survey.plan.release.contains(&extension.name) {
                let record = extension.record.clone();
                let users = Users::default();
                Record { users, ..record }
            } else {
                return None;
            };
            Some(Act::Record {
                extension: Box::new(extension.clone()),
                record: Box::new(record),
            })
        });
        acts.collect()
    }

    /// Where the nodes are that were made for a chain, with their extensions.
    /// And whether sockets have to opt in for them.
    fn made_aside(
        &self,
        covered: &Covered,
        upgrades: &Upgrades<'_>,
        change: &Prepared<'_>,
    ) -> Vec<((Target, u32, PathBuf), bool)> {
        let Covered { target, plan, .. } = covered;
        let directory = self.state.chain(plan.hook, *target);
        let slots = plan.steps.iter().zip(&plan.wanted.slots);
        let made = slots
            .zip(change.programs())
            .filter_map(|((step, slot), id)| {
                let loaded = || Some(self.extension(&slot.extension)?.kmid);
                let kmid = upgrades.kmid(&slot.extension).or_else(loaded)?;
                let maps = node_directory(&directory, *id).join("maps");
                (*step == Step::New).then_some(((*target, kmid, maps), slot.opt_in))
            });
        made.collect()
    }

    /// Writes the rules of nodes that nothing leads to yet, and prepares those of the others.
    fn prepare_rules(
        &self,
        covered: &[Covered],
        upgrades: &Upgrades<'_>,
        prepared: &[(&Covered, Prepared<'_>)],
    ) -> Result<Vec<Act>> {
        let mut known = HashSet::new();
        let mut later = Vec::new();
        for declared in covered {
            let Covered { target, plan, .. } = declared;
            let hook = plan.hook;
            let failed = |source| declared.blame(bad_rules(hook, source));
            let Some(chain) = self.chain(hook, *target) else {
                continue;
            };
            let rules = plan.new_rules().map(|(_, at, rules)| (at, rules));
            let rules: Vec<_> = rules.collect();
            for (at, node) in chain.nodes.iter().enumerate() {
                let role = &node.record.role;
                let sets = match role {
                    Role::Extension { name, .. } if has_rules(name) => self.sets(name).ok(),
                    Role::Extension { .. } | Role::DropPolicy | Role::Claim { .. } => continue,
                };
                if !upgrades.keeps(role, map::RULES) {
                    continue;
                }
                let maps = chain.node_directory(node).join("maps");
                let table = Table::open(&maps).map_err(failed)?.with_sets(sets);
                let table = table
                    .in_namespace(target.namespace())
                    .with_absent_interfaces();
                let new = rules.iter().find(|(changed, _)| *changed == at);
                if let (true, Some((_, rules))) = (known.insert(table.id()), new) {
                    let rules = Box::new(table.prepare(rules).map_err(failed)?);
                    later.push(Act::Rules { hook, rules });
                }
            }
        }
        for (declared, change) in prepared {
            let Covered { target, plan, .. } = declared;
            let failed = |source| declared.blame(bad_rules(plan.hook, source));
            let directory = self.state.chain(plan.hook, *target);
            let slots = plan.steps.iter().zip(&plan.wanted.slots);
            for ((step, slot), id) in slots.zip(change.programs()) {
                let Some(rules) = slot
                    .rules
                    .as_ref()
                    .filter(|_| !matches!(step, Step::Keep(_)))
                else {
                    continue;
                };
                let maps = node_directory(&directory, *id).join("maps");
                let sets = self.sets(&slot.extension).ok();
                let table = Table::open(&maps).map_err(failed)?.with_sets(sets);
                let table = table.in_namespace(target.namespace());
                let mut table = table.with_absent_interfaces();
                if known.insert(table.id()) {
                    table.write(rules).map_err(failed)?;
                }
            }
        }
        Ok(later)
    }
}
