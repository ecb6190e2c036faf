//! `nke filter check`: every mistake of a file of rules, with no rule put in force.

use std::{marker::PhantomData, path::PathBuf};

use clap::Args;
use nke::{
    control::Scope,
    filter::{Error, MemberError, ParseError, Source},
};
use serde_json::{Value, json};

use super::{counted, own, sets::members_of, target::Target, text_of};
use crate::{
    arguments::Format,
    output::{complain, count, escaped, line, print_json},
};

/// Find the mistakes of a file of rules
///
/// Every line with a mistake is shown, with what was expected. Needs no root, and changes nothing.
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
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let text = text_of(&self.file)?;
        let origin = self.file.display().to_string();
        let own = own(&text, &Scope::default())?;
        let (Source { rules, sets, .. }, mistakes) = T::DIALECT.look_through(&text, &own);
        // Their files can have mistakes as well.
        let members = sets.iter().map(|set| members_of(set, &self.file).err());
        let mut members: Vec<_> = members.flatten().collect();
        if self.format.json {
            let read = mistakes.is_empty();
            let told = mistakes.iter().map(|mistake| report(&origin, mistake));
            let told = told.chain(members.iter().map(report_of_members));
            print_json(&json!({
                "file": origin,
                "rules": read.then_some(rules.rules.len()),
                "sets": read.then_some(sets.len()),
                "default": read.then(|| rules.default.to_string()),
                "mistakes": told.collect::<Vec<_>>(),
            }))?;
        } else {
            mistakes.iter().for_each(|mistake| tell(&origin, mistake));
        }
        if !mistakes.is_empty() {
            members.iter().for_each(tell_of_members);
            let lines = mistakes.len();
            return Err(Error::Mistakes { origin, lines }.into());
        }
        if let Some(last) = members.pop() {
            members.iter().for_each(tell_of_members);
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

fn tell(origin: &str, mistake: &ParseError) {
    show(&format!("{origin}: {mistake}"), &mistake.marked());
}

fn tell_of_members(error: &anyhow::Error) {
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
        "hint": hint.map(|hint| hint.to_string()),
    })
}

/// The first mistake of a file of members, in the same form; or why there is nothing to be read.
fn report_of_members(error: &anyhow::Error) -> Value {
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
