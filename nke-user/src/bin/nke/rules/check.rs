//! `nke filter check`: every mistake of a file of rules, with no rule put in force.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
};

use clap::Args;
use nke::{
    control::Scope,
    error,
    filter::{Error, MemberError, ParseError, Source, StatedSet, refuse_what_has_no_room},
};
use serde_json::{Value, json};

use super::{
    asked::hooks_that_take,
    counted, own,
    sets::{Stated, members_of},
    target::Target,
    text_of,
};
use crate::{
    arguments::Format,
    output::{complain, count, escaped, line, print_json},
};

/// So many mistakes are shown: a file of something else has one on each line.
const MOST: usize = 100;

/// Find the mistakes of a file of rules
///
/// Every line with a mistake is shown, of more than a hundred the first, with what was expected; and what else `load` would surely refuse. Needs no root,
/// without which it is not known which sets there are beside the file's. Changes nothing.
#[derive(Args, Debug)]
pub(crate) struct Check<T: Target> {
    /// The file; - for standard input
    file: PathBuf,
    #[command(flatten)]
    format: Format,
    #[arg(skip)]
    whose: PhantomData<T>,
}

impl<T: Target> Check<T> {
    pub(super) fn run(&self, state: &Path) -> anyhow::Result<()> {
        let text = text_of(&self.file)?;
        let origin = self.file.display().to_string();
        let own = own(&text, &Scope::default())?;
        let (source, mistakes) = T::DIALECT.look_through(&text, &own);
        // Their files can have mistakes as well.
        let (mut sets, mut others, mut unchecked) = (Vec::new(), Vec::new(), Vec::new());
        for set in &source.sets {
            match members_of(set, &self.file) {
                Ok(members) => sets.push((set.about, members)),
                Err(error) => others.push(of_set(error, &origin, set)),
            }
        }
        let stated = Stated { source, sets, text };
        if mistakes.is_empty() && others.is_empty() {
            others = refusals::<T>(&stated);
            if others.is_empty() {
                match stated.refuse_by_others(state, T::EXTENSION) {
                    Ok(sets) => unchecked = sets,
                    Err(error) => others.push(error),
                }
            }
            let placed = |error: anyhow::Error| match error.downcast::<Error>() {
                Ok(error) => stated.placed(&origin, error).into(),
                Err(other) => other,
            };
            others = others.into_iter().map(placed).collect();
        }
        let Source { rules, sets, .. } = stated.source;
        if self.format.json {
            let read = mistakes.is_empty();
            let told = mistakes.iter().take(MOST);
            let told = told.map(|mistake| report(&origin, mistake));
            let told = told.chain(others.iter().take(MOST).map(report_of_others));
            print_json(&json!({
                "file": origin,
                "rules": read.then_some(rules.rules.len()),
                "sets": read.then_some(sets.len()),
                "default": read.then(|| rules.default.to_string()),
                "mistakes": told.collect::<Vec<_>>(),
                "more_mistakes": more(mistakes.len()) + more(others.len()),
                "unchecked_sets": unchecked.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }))?;
        } else {
            let told = mistakes.iter().take(MOST);
            told.for_each(|mistake| tell(&origin, mistake));
            tell_of_more(more(mistakes.len()));
        }
        let last = match mistakes.is_empty() {
            true => others.pop(),
            false => None,
        };
        others.iter().take(MOST).for_each(tell_of_others);
        tell_of_more(more(others.len()));
        if !mistakes.is_empty() {
            let lines = mistakes.len();
            return Err(Error::Mistakes { origin, lines }.into());
        }
        if let Some(last) = last {
            return Err(last);
        }
        if !self.format.json {
            let mut number = counted(rules.rules.len());
            if !sets.is_empty() {
                number += &format!(" and {}", count(sets.len(), "set"));
            }
            line(format_args!(
                "{origin}: {number}, default {}",
                rules.default
            ));
        }
        Ok(())
    }
}

/// Why `load` would refuse a file wherever that was.
fn refusals<T: Target>(stated: &Stated) -> Vec<anyhow::Error> {
    let rules = &stated.source.rules;
    let refusals = [
        stated.refuse_too_large(),
        refuse_what_has_no_room(rules).map_err(anyhow::Error::from),
        match hooks_that_take::<T>("", &rules.rules, false) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        },
    ];
    refusals.into_iter().filter_map(Result::err).collect()
}

/// An error of the members of a set, with where it is stated; one that knows its own place has that.
fn of_set(error: anyhow::Error, origin: &str, set: &StatedSet) -> anyhow::Error {
    match error.downcast::<error::Error>() {
        Ok(error) => error::Error::Declared {
            place: format!("{origin}: line {}", set.line),
            source: Box::new(error),
        }
        .into(),
        Err(other) => other,
    }
}

/// How many of so many mistakes are not shown.
const fn more(mistakes: usize) -> usize {
    mistakes.saturating_sub(MOST)
}

fn tell_of_more(more: usize) {
    if more > 0 {
        complain(format_args!("and {}", count(more, "more mistake")));
    }
}

fn tell(origin: &str, mistake: &ParseError) {
    show(&format!("{origin}: {mistake}"), &mistake.marked());
}

fn tell_of_others(error: &anyhow::Error) {
    let marked = error.downcast_ref::<Error>().map(Error::marked);
    show(&format!("{error:#}"), &marked.unwrap_or_default());
}

fn show(mistake: &str, marked: &str) {
    complain(format_args!("{}", escaped(mistake)));
    for line in marked.lines() {
        complain(format_args!("    {line}"));
    }
}

fn report(origin: &str, mistake: &ParseError) -> Value {
    let ParseError {
        line,
        column,
        width,
        text,
        problem,
        hint,
    } = mistake;
    json!({
        "file": origin,
        "line": line,
        "column": column,
        "width": width,
        "text": text,
        "problem": problem.to_string(),
        "hint": hint.as_ref().map(ToString::to_string),
    })
}

/// The first mistake of a file of members, in the same form; or what else is in the way, of no line.
fn report_of_others(error: &anyhow::Error) -> Value {
    if let Some(Error::Malformed { origin, error }) = error.downcast_ref() {
        return report(origin, error);
    }
    if let Some(Error::OfLine {
        origin,
        line,
        column,
        width,
        text,
        source,
    }) = error.downcast_ref()
    {
        return json!({
            "file": origin, "line": line, "column": column, "width": width, "text": text,
            "problem": source.to_string(), "hint": null,
        });
    }
    let Some(Error::MalformedMember { origin, error }) = error.downcast_ref() else {
        return json!({
            "file": null, "line": null, "column": null, "width": null, "text": null,
            "problem": format!("{error:#}"), "hint": null,
        });
    };
    let MemberError {
        line,
        column,
        found,
        text,
        problem,
    } = &**error;
    json!({
        "file": origin,
        "line": line,
        "column": column,
        "width": found.chars().count(),
        "text": text,
        "problem": format!("{problem}, found `{found}`"),
        "hint": null,
    })
}
