//! Writes that are in force at once and can be taken back: rules, named sets, settings, what is written of
//! an extension. Of several, all are done or none.
//!
//! ```text
//! made           all that can well fail
//! do_all         one write each; if one fails, those before it are taken back
//! ```
//!
//! This must never do what cannot be taken back.

use super::settings;
use crate::{
    error::Result,
    extension::{Extension, Record},
    filter,
    hook::Hook,
    state::State,
};

/// One write.
pub(super) enum Act {
    /// Rules of a filter that stays.
    Rules {
        hook: Hook,
        rules: Box<filter::Prepared>,
    },
    /// A named set of the extension of this name, or that it goes.
    Set {
        extension: String,
        set: filter::Instead,
    },
    /// A setting of what is loaded.
    Setting(Box<settings::Change>),
    /// What is written of a loaded extension.
    Record {
        extension: Box<Extension>,
        record: Box<Record>,
    },
}

impl From<settings::Change> for Act {
    fn from(change: settings::Change) -> Self {
        Self::Setting(Box::new(change))
    }
}

impl Act {
    fn carry_out(&mut self, state: &State) -> Result<()> {
        match self {
            Self::Rules { hook, rules } => rules
                .put_in_force()
                .map_err(|source| super::declared::bad_rules(*hook, source)),
            Self::Set { extension, set } => set
                .put_in_force()
                .map_err(|source| super::declared::bad_sets(extension, source)),
            Self::Setting(change) => change.write(),
            Self::Record { extension, record } => {
                let was = extension.record.clone();
                extension.edit(state, |old| *old = Record::clone(record))?;
                **record = was;
                Ok(())
            }
        }
    }

    /// Undoes what was carried out.
    fn take_back(&mut self, state: &State) -> Result<()> {
        match self {
            Self::Rules { hook, rules } => rules
                .take_back()
                .map_err(|source| super::declared::bad_rules(*hook, source)),
            Self::Set { extension, set } => set
                .take_back()
                .map_err(|source| super::declared::bad_sets(extension, source)),
            Self::Setting(change) => change.take_back(),
            Self::Record { .. } => self.carry_out(state),
        }
    }
}

/// Does them all, in their order, and then `last`.
///
/// # Errors
///
/// That of the first that failed; those before it are taken back.
pub(super) fn do_all(
    state: &State,
    acts: &mut [Act],
    last: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mut failed = Ok(());
    let mut done = 0;
    for act in &mut *acts {
        failed = act.carry_out(state);
        if failed.is_err() {
            break;
        }
        done += 1;
    }
    let failed = failed.and_then(|()| last());
    if failed.is_err() {
        for act in acts[..done].iter_mut().rev() {
            // What was written a moment ago can be written again.
            let _: Result<()> = act.take_back(state);
        }
    }
    failed
}
