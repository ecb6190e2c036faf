//! `nke filter check`: every mistake of a file of rules, with no rule put in force.

use std::{marker::PhantomData, path::PathBuf};

use clap::Args;
use nke::{
    control::Scope,
    filter::{Error, ParseError, Source},
};
use serde_json::{Value, json};

use super::{counted, own, target::Target, text_of};
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
        let read = T::DIALECT.source_on(&text, &own(&text, &Scope::default())?);
        if self.format.json {
            print_json(&report(&origin, &read))?;
        }
        match read {
            Ok(Source { rules, sets, .. }) => {
                // Their files can have mistakes as well.
                super::sets::members(&sets, &self.file)?;
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
            Err(mistakes) => {
                if !self.format.json {
                    mistakes.iter().for_each(|mistake| tell(&origin, mistake));
                }
                let lines = mistakes.len();
                Err(Error::Mistakes { origin, lines }.into())
            }
        }
    }
}

fn tell(origin: &str, mistake: &ParseError) {
    complain(format_args!("{}", escaped(&format!("{origin}: {mistake}"))));
    for line in mistake.marked().lines() {
        complain(format_args!("    {line}"));
    }
}

fn report(origin: &str, read: &Result<Source, Vec<ParseError>>) -> Value {
    let rules = read.as_ref().ok().map(|source| &source.rules);
    let sets = read.as_ref().ok().map(|source| source.sets.len());
    let mistakes = read.as_ref().err().into_iter().flatten();
    let mistakes = mistakes.map(|mistake| {
        let ParseError {
            line,
            column,
            width,
            text,
            problem,
            hint,
        } = mistake;
        json!({
            "line": line,
            "column": column,
            "width": width,
            "text": text,
            "problem": problem.to_string(),
            "hint": hint.map(|hint| hint.to_string()),
        })
    });
    json!({
        "file": origin,
        "rules": rules.map(|rules| rules.rules.len()),
        "sets": sets,
        "default": rules.map(|rules| rules.default.to_string()),
        "mistakes": mistakes.collect::<Vec<_>>(),
    })
}
