//! `nke filter optimise`: rules that do nothing, and rules that depend on their order.

use std::path::Path;

use clap::Args;
use nke::filter::Finding;
use serde_json::{Value, json};

use super::{
    asked::{Asked, Looked},
    counted,
    target::Target,
};
use crate::{
    arguments::Format,
    failure::Manner,
    output::{line, print_json},
    progress::Progress,
};

/// Overlaps that are printed without -v: a list that lives by its order has thousands.
const OVERLAPS: usize = 20;

/// Report rules that could be deleted, and rules whose order alone tells
///
/// A rule is shadowed if rules before it match all that it does; redundant, if whatever it decides
/// would become of the packets without it as well; dead, if it matches nothing, as where the interface
/// is gone that it asks for. All of them can be deleted together, and nothing
/// is judged otherwise. Two rules overlap if both match some packets and do not say the same.
/// Nothing is changed.
#[derive(Args, Debug)]
pub(crate) struct Optimise<T: Target> {
    #[command(flatten)]
    asked: Asked<T>,
    #[command(flatten)]
    format: Format,
}

impl<T: Target> Optimise<T> {
    pub(super) fn run(&self, state: &Path, manner: Manner) -> anyhow::Result<()> {
        let all = self.asked.look(state)?;
        let all: Vec<_> = (all.into_iter())
            .map(|looked| {
                let rules = looked.meant();
                let what = format!("comparing {}", counted(rules.rules.len()));
                let mut progress = Progress::begin(what);
                let findings = rules.findings_telling(&mut |done, all| progress.tell(done, all));
                (findings, looked)
            })
            .collect();
        if self.format.json {
            let reports = all
                .iter()
                .map(|(findings, looked)| report(looked, findings));
            return print_json(&json!({ "reports": reports.collect::<Vec<_>>() }));
        }
        for (findings, looked) in &all {
            print(looked, findings, manner);
        }
        Ok(())
    }
}

fn print(looked: &Looked, findings: &[Finding], manner: Manner) {
    let rule = |index: usize| &looked.rules.rules[index];
    let mut overlaps = 0;
    for finding in findings {
        match finding {
            Finding::Dead { rule: dead } => {
                let name = looked.name(*dead);
                line(format_args!("{name} matches nothing: {}", rule(*dead)));
                for gone in looked.gone_of(*dead) {
                    let name = gone.name;
                    line(format_args!("    there is no {name} now that it means"));
                }
            }
            Finding::Shadowed {
                rule: shadowed,
                by,
                otherwise,
            } => {
                let by: Vec<_> = by.iter().map(|by| looked.name(*by)).collect();
                let but = if *otherwise {
                    ", and not to the same end"
                } else {
                    ""
                };
                line(format_args!(
                    "{} never decides: {}\n    all that it matches is decided before{but}, by {}",
                    looked.name(*shadowed),
                    rule(*shadowed),
                    by.join(", "),
                ));
            }
            Finding::Redundant { rule: redundant } => line(format_args!(
                "{} changes nothing: {}\n    the same becomes of its packets without it",
                looked.name(*redundant),
                rule(*redundant),
            )),
            Finding::Overlap { first, second } => {
                overlaps += 1;
                if overlaps <= OVERLAPS || manner.verbose {
                    line(format_args!(
                        "{} and {} overlap: {} / {}\n    the first decides about what both match",
                        looked.name(*first),
                        looked.name(*second),
                        rule(*first),
                        rule(*second),
                    ));
                }
            }
        }
    }
    if overlaps > OVERLAPS && !manner.verbose {
        let more = overlaps - OVERLAPS;
        line(format_args!(
            "and {more} pairs more that overlap; -v prints all"
        ));
    }
    let total = counted(looked.rules.rules.len());
    let title = &looked.title;
    let goes = findings.len() - overlaps;
    line(format_args!(
        "{title}: {goes} of {total} can be deleted, {overlaps} pairs overlap"
    ));
}

fn report(looked: &Looked, findings: &[Finding]) -> Value {
    let number = |index: &usize| index + 1;
    let text = |index: &usize| looked.rules.rules[*index].to_string();
    let findings = findings.iter().map(|finding| match finding {
        Finding::Dead { rule } => json!({
            "finding": "dead",
            "number": number(rule),
            "line": looked.line(*rule),
            "rule": text(rule),
        }),
        Finding::Shadowed {
            rule,
            by,
            otherwise,
        } => json!({
            "finding": "shadowed",
            "number": number(rule),
            "line": looked.line(*rule),
            "rule": text(rule),
            "by": by.iter().map(number).collect::<Vec<_>>(),
            "otherwise": otherwise,
        }),
        Finding::Redundant { rule } => json!({
            "finding": "redundant",
            "number": number(rule),
            "line": looked.line(*rule),
            "rule": text(rule),
        }),
        Finding::Overlap { first, second } => json!({
            "finding": "overlap",
            "numbers": [number(first), number(second)],
            "lines": [looked.line(*first), looked.line(*second)],
            "rules": [text(first), text(second)],
        }),
    });
    looked.json(&json!({
        "rules": looked.rules.rules.len(),
        "findings": findings.collect::<Vec<_>>(),
    }))
}
