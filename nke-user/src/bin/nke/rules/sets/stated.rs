//! Sets that a file of rules states, with what else its rules ask for.

use std::path::{Path, PathBuf};

use nke::{
    control::{Control, Scope},
    filter::{
        About, Dialect, Error, KnownSets, Lasting, Rule, Set, SetName, Source, StatedMembers,
        StatedSet, Trial, now,
    },
};

use super::{super::read, FilterTarget, Target as _, Text};
use crate::{open, output};

/// A file of rules, with the members of its sets.
pub(crate) struct Stated {
    pub(crate) source: Source,
    pub(crate) sets: Vec<(About, Vec<Lasting>)>,
    /// What it was read from.
    pub(crate) text: String,
}

impl Stated {
    /// Reads a file of rules, and those that it names for its sets.
    pub(crate) fn read(dialect: Dialect, file: &Path, scope: &Scope) -> anyhow::Result<Self> {
        let (source, text) = read(dialect, file, scope)?;
        let sets = members(&source.sets, file)?;
        Ok(Self { source, sets, text })
    }

    /// An error with its place in the file, if it is of something there.
    pub(crate) fn placed(&self, origin: &str, error: Error) -> Error {
        self.source.placed(origin, &self.text, error)
    }

    /// The sets that they are, as if they had been made.
    fn known(&self) -> anyhow::Result<KnownSets> {
        let made = |(about, members): &(About, Vec<Lasting>)| {
            let set = Set::of(about, members).map_err(|problem| Error::SetTooLarge {
                name: about.name.to_string(),
                problem: problem.to_string(),
            })?;
            Ok((about.name, set))
        };
        self.sets.iter().map(made).collect()
    }

    /// Refuses sets that cannot be made, or of which there are too many.
    pub(crate) fn refuse_too_large(&self) -> anyhow::Result<()> {
        let limit = nke_ebpf::set::SETS;
        if self.sets.len() > limit {
            return Err(Error::ManySets { limit }.into());
        }
        self.known().map(drop)
    }

    /// Refuses what does not go with the sets that an extension has now. The sets that rules ask for, and that are not
    /// stated, where it is not known which there are.
    pub(crate) fn refuse_by_others(&self, state: &Path, of: &str) -> anyhow::Result<Vec<SetName>> {
        let others = self.others();
        if others.is_empty() && self.sets.is_empty() {
            return Ok(Vec::new());
        }
        let sets = match open::look(state).and_then(|control| control.sets(of)) {
            Ok(sets) => sets,
            Err(error) => {
                let mut names: Vec<_> = others
                    .iter()
                    .flat_map(Rule::memberships)
                    .map(|it| it.set)
                    .collect();
                names.retain(|name| !self.states(*name));
                names.sort_unstable();
                names.dedup();
                for name in &names {
                    output::note(format_args!(
                        "note: not checked whether there is @{name}: {error}"
                    ));
                }
                return Ok(names);
            }
        };
        for set in sets.all()? {
            let About { name, kind, .. } = *set.about();
            let same = |(about, _): &&(About, _)| about.name == name;
            if self
                .sets
                .iter()
                .find(same)
                .is_some_and(|(about, _)| about.kind != kind)
            {
                return Err(Error::SetExists {
                    name: name.to_string(),
                }
                .into());
            }
        }
        sets.refuse_what_is_not_there(&others, &|name| self.states(name))?;
        Ok(Vec::new())
    }

    fn states(&self, name: SetName) -> bool {
        self.sets.iter().any(|(about, _)| about.name == name)
    }

    /// The rules that ask for a set which is not stated.
    fn others(&self) -> Vec<Rule> {
        let asks = |rule: &&Rule| rule.memberships().any(|asked| !self.states(asked.set));
        self.source
            .rules
            .rules
            .iter()
            .filter(asks)
            .cloned()
            .collect()
    }
}

/// The members of stated sets; those in files from the directory of the file of rules on.
pub(crate) fn members(
    sets: &[StatedSet],
    file: &Path,
) -> anyhow::Result<Vec<(About, Vec<Lasting>)>> {
    let members = |set: &StatedSet| Ok((set.about, members_of(set, file)?));
    sets.iter().map(members).collect()
}

/// The members of one of them.
pub(crate) fn members_of(set: &StatedSet, file: &Path) -> anyhow::Result<Vec<Lasting>> {
    let directory = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let About { kind, timeout, .. } = set.about;
    Ok(match &set.members {
        StatedMembers::Here(_) => set.members_at(now()),
        StatedMembers::File(path) => {
            Text::of_file(&directory.join(path))?.members(kind, timeout)?
        }
    })
}

/// Does something while sets are as they are stated; they stay so if it is done.
pub(crate) fn write_with(
    control: &Control,
    extension: &str,
    stated: &[(About, Vec<Lasting>)],
    write: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if stated.is_empty() {
        return write();
    }
    let sets = control.sets(extension)?;
    let restated = sets.restate(stated)?;
    write()?;
    restated.keep();
    Ok(())
}

/// What is in the sets that the rules of a file ask for, as far as that can be known.
pub(crate) fn known(state: &Path, of: &str, stated: &Stated) -> anyhow::Result<KnownSets> {
    let own = stated.known()?;
    let others = stated.others();
    if others.is_empty() {
        return Ok(own);
    }
    let sets = open::look(state).and_then(|control| control.sets(of));
    let known = sets.map_err(anyhow::Error::from);
    let known = known.and_then(|sets| Ok(sets.known(&others)?));
    let known = known.unwrap_or_else(|error| {
        output::note(format_args!(
            "note: nothing is known to be in a set: {error}"
        ));
        KnownSets::default()
    });
    Ok(known.with(own))
}

/// Gives a trial of rules the sets that they ask for: those that are stated, and those that are in force; what
/// is in them.
pub(crate) fn lend(state: &Path, trial: &Trial, stated: &Stated) -> anyhow::Result<KnownSets> {
    let Some(own) = trial.sets() else {
        return Ok(KnownSets::default());
    };
    let others = stated.others();
    let mut known = KnownSets::default();
    if !others.is_empty() {
        let sets = open::look(state)?.sets(FilterTarget::EXTENSION)?;
        own.adopt(&sets)?;
        known = sets.known(&others)?;
    }
    own.restate(&stated.sets)?.keep();
    Ok(known.with(stated.known()?))
}
