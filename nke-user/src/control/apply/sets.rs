//! Named sets as they are to be: made aside, and those of new names put where no rule asks for them yet.

use crate::{
    chain::Role,
    control::{
        Control,
        act::Act,
        declared::{Covered, bad_sets},
    },
    declare::{SetBecomes, SetPlan},
    error::Result,
    filter::{Restated, SETS_MAP, Sets as Live},
    loader::{self, Maps},
};

/// Sets that are prepared.
pub(super) struct Sets {
    /// Those of new names, which go again unless they are kept.
    pub(super) made: Vec<Restated>,
    /// The others, to be changed or removed.
    pub(super) later: Vec<Act>,
}

/// The sets of an extension as they will be, for chains on trial: no packet is judged by them.
pub(super) struct OnTrial<'s> {
    extension: &'s str,
    /// The map of sets, by its name.
    maps: Maps,
    /// What becomes of those that rules may ask for already.
    changes: Vec<&'s SetPlan>,
}

impl OnTrial<'_> {
    /// The sets, for rules that are written for the trial.
    pub(super) fn sets(&self) -> Option<Live> {
        let map = self.maps.get(SETS_MAP)?;
        map.try_clone().ok().map(Live::on_trial)
    }

    /// The maps that a node has on trial in the place of those that its extension shares.
    pub(super) fn maps_of<'m>(all: &'m [OnTrial<'_>], role: &Role) -> Option<&'m Maps> {
        let Role::Extension { name, .. } = role else {
            return None;
        };
        Self::of(all, name).map(|found| &found.maps)
    }

    /// Those of the extension of this name.
    pub(super) fn of<'m, 's>(all: &'m [OnTrial<'s>], extension: &str) -> Option<&'m OnTrial<'s>> {
        all.iter().find(|one| one.extension == extension)
    }
}

impl Control {
    /// Has sets that are there already be as they will be, aside; nothing of extensions none of whose sets change.
    pub(super) fn sets_on_trial<'s>(
        &self,
        plans: &'s [SetPlan],
        later: &[Act],
    ) -> Result<Vec<OnTrial<'s>>> {
        let mut all = Vec::new();
        for plans in plans.chunk_by(|one, other| one.extension == other.extension) {
            let extension = plans[0].extension.as_str();
            let changes: Vec<_> = plans.iter().filter(|it| it.running.is_some()).collect();
            let loaded = self.extension(extension).filter(|_| !changes.is_empty());
            let Some(loaded) = loaded else {
                continue;
            };
            let source = self.source_of(loaded.kmid)?;
            let on_trial = OnTrial {
                extension,
                maps: loader::make_maps(&source.object, |map| map == SETS_MAP)?,
                changes,
            };
            if let Some(sets) = on_trial.sets() {
                let failed = |source| bad_sets(extension, source);
                sets.adopt(&self.sets(extension)?).map_err(failed)?;
                for act in later {
                    if let Act::Set { extension: of, set } = act
                        && of == extension
                    {
                        set.put_on_trial(&sets).map_err(failed)?;
                    }
                }
            }
            all.push(on_trial);
        }
        Ok(all)
    }

    /// A set that changes and that rules of a chain ask for, as it is to be.
    pub(super) fn asks_for<'s>(
        &self,
        on_trial: &[OnTrial<'s>],
        chain: &Covered,
    ) -> Result<Option<&'s SetPlan>> {
        for one in on_trial {
            let asked = self.asked_in(one.extension, chain)?;
            let mut changes = one.changes.iter();
            if let Some(plan) = changes.find(|plan| asked.contains(&plan.about.name)) {
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// Makes all sets that are new, and prepares what becomes of the others.
    pub(super) fn prepare_sets(&self, plans: &[SetPlan]) -> Result<Sets> {
        let (mut made, mut later) = (Vec::new(), Vec::new());
        for plans in plans.chunk_by(|one, other| one.extension == other.extension) {
            let extension = &plans[0].extension;
            let origin = plans.iter().find_map(|plan| plan.origin.as_ref());
            let blame = |error| match origin {
                Some(origin) => origin.blame(error),
                None => error,
            };
            let (gone, stated): (Vec<_>, Vec<_>) = plans
                .iter()
                .partition(|plan| plan.becomes == SetBecomes::Removed);
            let stated = stated.iter().map(|plan| (plan.about, plan.members.clone()));
            let gone: Vec<_> = gone.iter().map(|plan| plan.about.name).collect();
            let failed = |source| blame(bad_sets(extension, source));
            let sets = self.sets(extension).map_err(blame)?;
            let prepared = sets.prepare(&stated.collect::<Vec<_>>(), &gone);
            let (new, others): (Vec<_>, Vec<_>) = prepared
                .map_err(failed)?
                .into_iter()
                .partition(|set| set.is_new());
            made.push(Restated::put(new).map_err(failed)?);
            later.extend(others.into_iter().map(|set| Act::Set {
                extension: extension.clone(),
                set,
            }));
        }
        Ok(Sets { made, later })
    }
}
