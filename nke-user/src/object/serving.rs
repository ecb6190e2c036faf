//! Which of an object's programs are attached where.

use super::Object;
use crate::{
    error::Result,
    hook::{Family, Hook, Kind},
};

impl Object {
    /// The hooks that it is attached to together, each with its program's symbol: those that it
    /// serves of a family; without one, those that its manifest names, or else those of the family
    /// of the first that it serves.
    ///
    /// # Errors
    ///
    /// As [`Object::choose`], where there is none.
    pub fn serving(
        &self,
        kind: Kind,
        family: Option<&Family>,
        symbol: Option<&str>,
    ) -> Result<Vec<(Hook, String)>> {
        let named: Vec<_> = self
            .manifest()
            .hooks
            .iter()
            .map(|entry| &entry.hook)
            .collect();
        let here = |family: &&Family| family.hooks().iter().any(|hook| hook.row().kind == kind);
        let families: Vec<Family> = match family {
            Some(family) => vec![family.clone()],
            None if symbol.is_none() && named.iter().any(here) => {
                named.into_iter().cloned().collect()
            }
            None => vec![Family::of(self.choose(kind, None, symbol)?.0)],
        };
        let hooks: Vec<Hook> = families.iter().flat_map(Family::hooks).copied().collect();
        let served = hooks.iter().filter_map(|hook| {
            let (hook, program) = self.choose(kind, Some(*hook), symbol).ok()?;
            Some((hook, program.symbol.clone()))
        });
        let served: Vec<_> = served.collect();
        if served.is_empty() {
            // The same question for one hook says why.
            let (hook, program) = self.choose(kind, hooks.first().copied(), symbol)?;
            return Ok(vec![(hook, program.symbol.clone())]);
        }
        Ok(served)
    }
}
