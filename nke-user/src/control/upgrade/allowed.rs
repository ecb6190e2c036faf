//! Whether a version may take another's place. Nothing here changes anything.

use std::collections::BTreeSet;

use super::super::Control;
use crate::{
    error::{Error, Result},
    extension::Extension,
    object::{Object, satisfies},
    upgrade::{Changed, Plan},
};

impl Control {
    /// Whether the extensions that need one can do with another version of it, which has the same
    /// maps as far as `keeps` says.
    pub(in crate::control) fn dependants_allow(
        &self,
        old: &Extension,
        new: &Object,
        keeps: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let (version, since) = (&new.manifest().version, new.manifest().compatible_since());
        for dependant in &self.extensions {
            let needs = dependant.record.needs.iter();
            for needed in needs.filter(|needed| needed.kmid == old.kmid) {
                let refused = |cause| Error::DependantRefuses {
                    name: old.name.clone(),
                    dependant: dependant.name.clone(),
                    cause,
                };
                if let Some(range) = &needed.range
                    && !satisfies(version, since, range)
                {
                    return Err(refused(format!("needs {range}, and {version} is not that")));
                }
                if let Some(map) = needed.maps.iter().find(|map| !keeps(map)) {
                    return Err(refused(format!("uses its map {map}, which is not kept")));
                }
            }
        }
        Ok(())
    }
}

/// Whether a version may come after the one that is loaded.
pub(super) fn may_follow(old: &Extension, object: &Object, force: bool) -> Result<()> {
    let manifest = object.manifest();
    let identity = |identifier: &Option<_>| identifier.as_ref().map(ToString::to_string);
    let (was, is) = (
        identity(&old.record.identifier),
        identity(&manifest.identifier),
    );
    if was.is_some() && was != is {
        return Err(Error::OtherIdentity {
            name: old.name.clone(),
            was: was.unwrap_or_default(),
            is: is.unwrap_or_else(|| "none".to_owned()),
        });
    }
    if manifest.version <= old.record.version && !force {
        return Err(Error::NotNewer {
            name: old.name.clone(),
            loaded: old.record.version.clone(),
            found: manifest.version.clone(),
        });
    }
    Ok(())
}

/// What becomes of the maps.
pub(super) fn plan(old: &Object, new: &Object, reset: &BTreeSet<String>) -> Result<Plan> {
    let has = |map: &&String| new.maps().any(|(name, _)| name == *map);
    if let Some(map) = reset.iter().find(|map| !has(map)) {
        return Err(Error::NoMapToReset {
            object: new.name().to_owned(),
            map: map.clone(),
        });
    }
    Plan::between(old, new, reset).map_err(|Changed { map, difference }| Error::MapChanged {
        object: new.name().to_owned(),
        map,
        difference,
    })
}
