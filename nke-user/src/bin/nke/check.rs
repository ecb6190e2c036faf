//! `nke check`: all that would keep extensions from running here.

use clap::Args;
use nke::{
    check::{self, Finding, Outcome, Report, Run, Severity, StageReport, When},
    error::Error,
    find::Wanted,
};
use serde_json::json;

use crate::{
    arguments::Format,
    failure::{LAST_WORDS, Manner},
    output::{escaped, line, print_json},
};

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Names to search in $NKE_PATH, or paths (what holds a '/')
    #[arg(required = true)]
    extensions: Vec<Wanted>,
    /// Extensions that provide what a manifest does not say that it needs, as at `nke load`
    #[arg(long, value_name = "EXTENSION")]
    with: Vec<Wanted>,
    #[command(flatten)]
    format: Format,
}

impl Check {
    pub(crate) fn run(&self, manner: Manner) -> anyhow::Result<()> {
        let reports: Vec<_> = self
            .extensions
            .iter()
            .map(|it| check::check(it, &self.with))
            .collect();
        if self.format.json {
            print_json(&json!({ "reports": reports }))?;
        } else {
            reports.iter().for_each(|report| print(report, manner));
        }
        let names: Vec<_> = reports.iter().map(|report| report.name.as_str()).collect();
        let objects = names.join(", ");
        let failures = reports.iter().map(Report::failures).sum();
        let skipped = reports.iter().map(Report::skipped).sum();
        match (failures, skipped) {
            (0, 0) => Ok(()),
            (0, skipped) => Err(Error::CheckIncomplete { objects, skipped }.into()),
            (failures, _) => Err(Error::CheckFailed { objects, failures }.into()),
        }
    }
}

fn print(report: &Report, manner: Manner) {
    let Report {
        name,
        path,
        stages,
        runs,
    } = report;
    match path {
        Some(path) => line(format_args!("{name}, {}", path.display())),
        None => line(format_args!("{name}")),
    }
    stages.iter().for_each(|stage| print_stage(stage, manner));
    runs.iter().for_each(print_run);
}

fn print_stage(report: &StageReport, manner: Manner) {
    let StageReport {
        stage,
        outcome,
        skipped,
        findings,
    } = report;
    let stage = serde_json::to_value(stage).unwrap_or_default();
    let stage = stage.as_str().unwrap_or_default();
    match (outcome, skipped) {
        (Outcome::Passed, _) => line(format_args!("  {stage:<12} passed")),
        (Outcome::Failed, _) => line(format_args!("  {stage:<12} FAILED")),
        (Outcome::Skipped, why) => {
            let why = why.unwrap_or_default();
            line(format_args!("  {stage:<12} skipped: {why}"));
        }
    }
    for Finding {
        severity,
        error: _,
        message,
        details,
    } in findings
    {
        let word = match severity {
            Severity::Failure => "",
            Severity::Warning => "warning: ",
        };
        line(format_args!("    {word}{}", escaped(message)));
        let last = if manner.verbose {
            details.len()
        } else {
            LAST_WORDS
        };
        for log in &details[details.len().saturating_sub(last)..] {
            line(format_args!("      {}", escaped(log)));
        }
    }
}

fn print_run(run: &Run) {
    let Run {
        program,
        section: _,
        when,
        hook,
        priority,
        form,
    } = run;
    let hook = hook.map(|hook| hook.to_string()).unwrap_or_default();
    let mut when = match when {
        When::Hook => format!("runs at {hook}, with --hook"),
        When::DefaultHook => format!("runs at {hook}"),
        When::Init => "runs when it has been loaded".to_owned(),
        When::Exit => "runs before it is unloaded".to_owned(),
        When::Iterator => "runs over what there is, when it is attached".to_owned(),
        When::TailCall => "runs by tail calls of the others".to_owned(),
        When::Never => "never runs".to_owned(),
    };
    if let Some(priority) = priority {
        when += &format!(", priority {priority}");
    }
    if let Some(form) = form {
        let form = serde_json::to_value(form).unwrap_or_default();
        when += &format!(", placed {}", form.as_str().unwrap_or_default());
    }
    line(format_args!("  {} {when}", escaped(program)));
}
