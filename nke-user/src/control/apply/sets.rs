//! Named sets as they are to be: made aside, and those of new names put where no rule asks for them yet.

use crate::{
    control::{Control, act::Act, declared::bad_sets},
    declare::{SetBecomes, SetPlan},
    error::Result,
    filter::Restated,
};

/// Sets that are prepared.
pub(super) struct Sets {
    /// Those of new names, which go again unless they are kept.
    pub(super) made: Vec<Restated>,
    /// The others, to be changed or removed.
    pub(super) later: Vec<Act>,
}

impl Control {
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
