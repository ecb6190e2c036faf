//! `nke filter` and `nke guard`: the rules of an extension that is attached somewhere.
//!
//! What is typed is read as rules first, then the lock is taken: a mistake costs nobody anything.
//! The meaning of rules is the library's (`nke::filter`); here they are found, counted and named.

use std::{
    fs::File,
    io::{self, Read},
    mem,
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use nke::{
    control::{Control, Scope},
    error,
    filter::{self, Action, Dialect, Error, ParseError, Rule, RuleSet, Source},
    interface::Namespace,
};

mod asked;
mod check;
mod explain;
mod found;
mod import;
mod listing;
mod optimise;
mod sets;
mod states;
mod target;
mod test;

pub(crate) use self::target::{FilterTarget, GuardTarget};
use self::{
    found::{Found, find, not_attached, one},
    target::Target,
};
use crate::{arguments::Format, failure::Manner, open, output};

/// A file that is larger is none of rules: some million of them.
const LARGEST_FILE: u64 = 64 << 20;

/// What only packets have.
#[derive(Debug, Subcommand)]
pub(crate) enum Filter {
    #[command(flatten)]
    Rules(Rules<FilterTarget>),
    Import(import::Import),
    States(states::States),
    Test(test::Test),
    Set(sets::NamedSets<FilterTarget>),
}

impl Filter {
    /// Carries out a command.
    pub(crate) fn run(&self, state: &Path, manner: Manner) -> anyhow::Result<()> {
        match self {
            Self::Rules(rules) => run(state, rules, manner),
            Self::Import(import) => import.run(),
            Self::States(states) => states.run(state),
            Self::Test(test) => test.run(state, manner),
            Self::Set(sets) => sets.run(state, manner),
        }
    }
}

/// The rules about calls, and the sets that they ask for.
#[derive(Debug, Subcommand)]
pub(crate) enum Guard {
    #[command(flatten)]
    Rules(Rules<GuardTarget>),
    Set(sets::NamedSets<GuardTarget>),
}

impl Guard {
    /// Carries out a command.
    pub(crate) fn run(&self, state: &Path, manner: Manner) -> anyhow::Result<()> {
        match self {
            Self::Rules(rules) => run(state, rules, manner),
            Self::Set(sets) => sets.run(state, manner),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rules<T: Target> {
    /// Add a rule behind the others, or at a place among them
    #[command(long_about = T::SYNTAX, after_help = T::EXAMPLE)]
    Add {
        #[command(flatten)]
        target: T,
        /// Its number in the list from now on; those behind it move on
        #[arg(long, value_name = "N")]
        at: Option<NonZeroUsize>,
        /// The rule, in one word or several
        #[arg(required = true)]
        rule: Vec<String>,
    },
    /// List the rules, each with how often it has decided
    List {
        #[command(flatten)]
        place: T::Place,
        #[command(flatten)]
        format: Format,
    },
    /// Delete rules by their numbers in the list
    Delete {
        #[command(flatten)]
        target: T,
        /// Numbers as `list` shows them
        #[arg(required = true, value_name = "N")]
        numbers: Vec<NonZeroUsize>,
    },
    /// Put the rules of a file in the place of all that there are
    ///
    /// A file has a rule, `default pass` or `default drop`, a set that rules ask for (`set NAME addresses {
    /// MEMBER, ... }`), a comment (#) or nothing on each line. Without a default, what no rule matches passes. Rules
    /// that were there before keep their hits.
    Load {
        #[command(flatten)]
        target: T,
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Say what becomes of whatever no rule matches
    Default {
        #[command(flatten)]
        target: T,
        /// pass or drop
        action: Action,
    },
    /// Delete all rules; the default stays
    Flush {
        #[command(flatten)]
        target: T,
    },
    Check(check::Check<T>),
    Explain(explain::Explain<T>),
    Optimise(optimise::Optimise<T>),
}

/// Carries out a command.
fn run<T: Target>(state: &Path, rules: &Rules<T>, manner: Manner) -> anyhow::Result<()> {
    // Whatever can be wrong with what was typed is found before the lock is taken.
    let (target, change) = match rules {
        Rules::List { place, format } => {
            return list(&open::look(state)?, &T::everywhere(place), format.json);
        }
        Rules::Check(check) => return check.run(state),
        Rules::Explain(explain) => return explain.run(state, manner),
        Rules::Optimise(optimise) => return optimise.run(state, manner),
        Rules::Add { target, at, rule } => (
            target,
            Change::Add {
                at: *at,
                rules: typed(T::DIALECT, &rule.join(" "), &target.scope())?,
            },
        ),
        Rules::Delete { target, numbers } => (target, Change::Delete(numbers)),
        Rules::Load { target, file } => (
            target,
            Change::Load {
                file,
                stated: sets::Stated::read(T::DIALECT, file, &target.scope())?,
            },
        ),
        Rules::Default { target, action } => (target, Change::Default(*action)),
        Rules::Flush { target } => (target, Change::Flush),
    };
    // Held until the rules are written: nobody else edits them in between.
    let mut control = open::open(state)?;
    let mut found = one(&control, target, change.new_rules())?;
    let never = found.refuse_what_never_matches::<T>(change.new_rules());
    never.map_err(|error| change.placed(error))?;
    carry_out(&control, target, &mut found, change)?;
    control.hasten();
    Ok(())
}

fn carry_out<T: Target>(
    control: &Control,
    target: &T,
    found: &mut Found,
    change: Change<'_>,
) -> anyhow::Result<()> {
    match change {
        Change::Load { file, mut stated } => {
            let (naming, origin) = (stated.source.naming(), file.display().to_string());
            let text = mem::take(&mut stated.text);
            let loaded = load(control, target, found, stated);
            loaded.map_err(|error| match error.downcast::<Error>() {
                Ok(error) => naming.placed(&origin, &text, error).into(),
                Err(other) => other,
            })
        }
        Change::Add { at, rules } => add(target, found, at, &rules),
        Change::Delete(numbers) => delete(target, found, numbers),
        Change::Default(default) => {
            let mut revision = found.table.revision()?;
            revision.set_default(default);
            found.revise(target, revision)?;
            output::line(format_args!("{found}: default {default}"));
            Ok(())
        }
        Change::Flush => {
            let mut revision = found.table.revision()?;
            let (rules, default) = (counted(revision.length()), revision.default());
            revision.clear();
            found.revise(target, revision)?;
            output::line(format_args!("{found}: deleted {rules}, default {default}"));
            Ok(())
        }
    }
}

/// A number of rules, in words.
fn counted(rules: usize) -> String {
    match rules {
        1 => "1 rule".to_owned(),
        rules => format!("{rules} rules"),
    }
}

/// What is to be done with the rules.
enum Change<'a> {
    Add {
        at: Option<NonZeroUsize>,
        rules: Vec<Rule>,
    },
    Delete(&'a [NonZeroUsize]),
    Load {
        file: &'a Path,
        stated: sets::Stated,
    },
    Default(Action),
    Flush,
}

impl Change<'_> {
    fn new_rules(&self) -> &[Rule] {
        match self {
            Self::Add { rules, at: _ } => rules,
            Self::Load { stated, file: _ } => &stated.source.rules.rules,
            Self::Delete(_) | Self::Default(_) | Self::Flush => &[],
        }
    }

    /// An error with the line of the file that has the rule, if there is one.
    fn placed(&self, error: Error) -> Error {
        match self {
            Self::Load { stated, file } => stated.placed(&file.display().to_string(), error),
            Self::Add { .. } | Self::Delete(_) | Self::Default(_) | Self::Flush => error,
        }
    }
}

fn load<T: Target>(
    control: &Control,
    target: &T,
    found: &mut Found,
    sets::Stated {
        source,
        sets,
        text: _,
    }: sets::Stated,
) -> anyhow::Result<()> {
    let RuleSet { default, rules } = &source.rules;
    let (rules, default) = (counted(rules.len()), *default);
    let with = match sets.len() {
        0 => String::new(),
        count => format!(" and {}", output::count(count, "set")),
    };
    sets::write_with(control, &found.extension.clone(), &sets, || {
        found.write(target, source.rules)
    })?;
    output::line(format_args!(
        "{found}: loaded {rules}{with}, default {default}"
    ));
    Ok(())
}

fn add<T: Target>(
    target: &T,
    found: &mut Found,
    at: Option<NonZeroUsize>,
    new: &[Rule],
) -> anyhow::Result<()> {
    let mut revision = found.table.revision()?;
    let count = revision.length();
    let index = at.map_or(count, |number| number.get() - 1);
    if index > count {
        let place = found.to_string();
        return Err(Error::NoPlace { place, count }.into());
    }
    revision.insert(index, new);
    found.revise(target, revision)?;
    for (number, rule) in (index + 1..).zip(new) {
        output::line(format_args!("{found}: added rule {number}: {rule}"));
    }
    Ok(())
}

fn list<T: Target>(control: &Control, target: &T, json: bool) -> anyhow::Result<()> {
    let all = find::<T>(control, &target.scope())?
        .into_iter()
        .map(|found| {
            let listing = found.table.read()?;
            Ok((found, listing))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    if all.is_empty() && !json && target.is_named() {
        return Err(not_attached(target).into());
    }
    listing::print::<T>(&all, json)
}

fn delete<T: Target>(
    target: &T,
    found: &mut Found,
    numbers: &[NonZeroUsize],
) -> anyhow::Result<()> {
    let mut revision = found.table.revision()?;
    let count = revision.length();
    if let Some(number) = numbers.iter().find(|number| number.get() > count) {
        return Err(Error::NoRule {
            place: found.to_string(),
            number: number.get(),
            count,
        }
        .into());
    }
    let mut places: Vec<_> = numbers.iter().map(|number| number.get() - 1).collect();
    places.sort_unstable();
    places.dedup();
    let gone = found.table.rules_at(&places)?;
    // From the last to the first, so that the numbers stay what they were.
    for place in places.iter().rev() {
        revision.remove(*place);
    }
    found.revise(target, revision)?;
    for (place, rule) in places.iter().zip(gone) {
        output::line(format_args!("{found}: deleted rule {}: {rule}", place + 1));
    }
    Ok(())
}

/// Rules from the command line.
fn typed(dialect: Dialect, text: &str, scope: &Scope) -> anyhow::Result<Vec<Rule>> {
    let rules = dialect.rules_on(text, &own(text, scope)?);
    Ok(rules.map_err(|error| malformed("rule", error))?)
}

/// Rules from a file, and its text.
fn read(dialect: Dialect, file: &Path, scope: &Scope) -> anyhow::Result<(Source, String)> {
    let text = text_of(file)?;
    let source = dialect.source_on(&text, &own(&text, scope)?);
    let first = |mistakes: Vec<ParseError>| mistakes.into_iter().next();
    match source {
        Ok(source) => Ok((source, text)),
        Err(mistakes) => Err(match first(mistakes) {
            Some(error) => malformed(&file.display().to_string(), error).into(),
            None => anyhow::anyhow!("{}: it cannot be read", file.display()),
        }),
    }
}

/// The host's own addresses in the network namespace that is named, if rules ask for them.
fn own(text: &str, scope: &Scope) -> Result<Vec<IpAddr>, error::Error> {
    if !text.contains("self") {
        return Ok(Vec::new());
    }
    Namespace::open(scope.netns.as_deref())?.addresses()
}

/// The text of a file that can be one of rules.
fn text_of(file: &Path) -> anyhow::Result<String> {
    let bytes = bytes_of(file, LARGEST_FILE, "rule set")?;
    let text = filter::text_of(bytes);
    Ok(text.map_err(|error| malformed(&file.display().to_string(), error))?)
}

/// What is in a file that has so many bytes at most.
fn bytes_of(file: &Path, most: u64, what: &'static str) -> Result<Vec<u8>, error::Error> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().take(most + 1).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| {
            // What says that it is longer need not be read; a device says nothing of itself.
            if file.metadata()?.len() > most {
                return Ok(usize::MAX);
            }
            file.take(most + 1).read_to_end(&mut bytes)
        })
    };
    let length = read.map_err(|source| error::Error::Read {
        path: file.to_owned(),
        source,
    })?;
    if u64::try_from(length).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(error::Error::FileTooLarge {
        path: file.to_owned(),
        what,
    })
}

fn malformed(origin: &str, error: ParseError) -> Error {
    Error::Malformed {
        origin: origin.to_owned(),
        error: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_read_beyond_what_it_can_be() {
        let error = bytes_of(Path::new("/dev/zero"), 9, "rule set").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/dev/zero: read: it is larger than any rule set; check the path"
        );
        let nothing = bytes_of(Path::new("/dev/null"), 0, "rule set");
        assert!(nothing.expect("it can be read").is_empty());
    }
}
