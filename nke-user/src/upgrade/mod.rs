//! Which maps of an extension go over to another version of it, and how: a pure decision.
//!
//! ```text
//! unchanged                     kept: the same map, with its contents, under traffic
//! changed, migrate = "members"  copied: each entry, member by member of the same name
//! changed, migrate = "reset"    made anew; so is what the user gives up with --reset-maps
//! changed otherwise             refused, with the map and the difference
//! constants, and what the object fills itself      always the new version's
//! ```
//!
//! Nothing here does I/O but [`Copy::run`]. It must never let one version read what another has written unless both
//! have it laid out alike.

mod convert;
mod copy;
mod layout;

use std::collections::{BTreeMap, BTreeSet};

use self::layout::Layout;
pub(crate) use self::{convert::difference, copy::Copy, layout::Entries};
use crate::object::{Migrate, Object};

/// What becomes of one map of the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is the old version's.
    Keep,
    /// It is a new one, with nothing in it but what the object has.
    Make,
    /// It is a new one, with the old one's entries as they are laid out in it.
    Copy(Box<Entries>),
}

/// A map that cannot go over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) map: String,
    /// How it differs, in words.
    pub(crate) difference: String,
}

/// What becomes of all maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) fates: BTreeMap<String, Fate>,
    /// The maps of the old version that the new one does not have.
    pub(crate) gone: Vec<String>,
}

impl Plan {
    /// Decides for all maps of `new`. What is in `reset` begins anew whatever it is.
    pub(crate) fn between(
        old: &Object,
        new: &Object,
        reset: &BTreeSet<String>,
    ) -> Result<Self, Changed> {
        let mut fates = BTreeMap::new();
        for (map, layout) in layout::all(new) {
            let rule = new.manifest().maps.get(&map).copied().unwrap_or_default();
            let before = layout::of(old, &map);
            let fate = if reset.contains(&map) {
                Ok(Fate::Make)
            } else {
                fate(before.as_ref(), &layout, rule.migrate)
            };
            match fate {
                Ok(fate) => fates.insert(map, fate),
                Err(difference) => return Err(Changed { map, difference }),
            };
        }
        let gone = layout::all(old).map(|(map, _)| map);
        let gone = gone.filter(|map| !fates.contains_key(map)).collect();
        Ok(Self { fates, gone })
    }

    pub(crate) fn keeps(&self, map: &str) -> bool {
        self.fates.get(map) == Some(&Fate::Keep)
    }
}

/// What becomes of a map; why it cannot go over, in words.
fn fate(before: Option<&Layout>, now: &Layout, rule: Migrate) -> Result<Fate, String> {
    let Some(before) = before else {
        return Ok(Fate::Make);
    };
    if now.is_constant || now.fills_itself {
        return Ok(Fate::Make);
    }
    let Some(difference) = before.difference(now) else {
        return Ok(Fate::Keep);
    };
    match rule {
        Migrate::Refuse => Err(difference),
        Migrate::Reset => Ok(Fate::Make),
        Migrate::Members => match before.copy_to(now) {
            Ok(entries) => Ok(Fate::Copy(Box::new(entries))),
            Err(why) => Err(format!("{difference}; {why}")),
        },
    }
}
