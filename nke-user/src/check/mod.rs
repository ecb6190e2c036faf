//! What would keep an extension from running here: every stage of loading and attaching it is gone
//! through, and all that fails is told, not only the first.
//!
//! Nothing is attached, pinned or written: maps and programs that are made for the verifier go
//! with their descriptors. What needs root is skipped without it, and said to be.
//!
//! ```no_run
//! let report = nke::check::check(&"counter".parse().unwrap(), &[]);
//! for stage in &report.stages {
//!     println!("{:?} {:?}", stage.stage, stage.outcome);
//! }
//! ```

mod kernel;
mod said;

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    control::Form,
    error::Error,
    find::{Wanted, find},
    hook::{Family, Hook},
    object::{Object, Program, Value},
};

/// The stages, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The file is found and read.
    Find,
    /// It is a BPF object, and each of its parts is of a known kind.
    Parse,
    /// What it says of itself fits the object.
    Manifest,
    /// There is an extension for each that it needs.
    Dependencies,
    /// The running kernel has what it needs.
    Features,
    /// Its programs can be fitted to the running kernel.
    Relocation,
    /// The kernel takes its maps, and the verifier its programs.
    Verifier,
    /// Each program can be made a node at each of its hooks.
    Placement,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Find,
        Self::Parse,
        Self::Manifest,
        Self::Dependencies,
        Self::Features,
        Self::Relocation,
        Self::Verifier,
        Self::Placement,
    ];
}

/// What a stage came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing is wrong.
    Passed,
    /// Something is.
    Failed,
    /// It was not looked at.
    Skipped,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not work.
    Failure,
    /// It works, and may not be what its author meant.
    Warning,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the error that a command would fail with (docs/errors.md).
    pub error: Option<&'static str>,
    /// What it is: object, stage, cause and remedy.
    pub message: String,
    /// The verifier's log.
    pub details: Vec<String>,
}

/// A stage that has been gone through.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// Which.
    pub stage: Stage,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it was not looked at.
    pub skipped: Option<&'static str>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// When a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// At a hook, attached with `--hook`.
    Hook,
    /// At a hook, where no other is asked for.
    DefaultHook,
    /// After the extension is loaded.
    Init,
    /// Before it is unloaded.
    Exit,
    /// Over all objects of a kind that there are, when the extension is attached.
    Iterator,
    /// When another program of the object calls it through a map.
    TailCall,
    /// Never, by nke.
    Never,
}

/// A program, and where it will run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its symbol.
    pub program: String,
    /// Its section.
    pub section: String,
    /// When.
    pub when: When,
    /// The hook.
    pub hook: Option<Hook>,
    /// The priority that it has there when none is asked for.
    pub priority: Option<i32>,
    /// How it can be placed; `null` if it cannot, or that was not tried.
    pub form: Option<Form>,
}

/// What a check has found. The shape is what `--json` prints, and stays as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The name that the extension would be loaded under.
    pub name: String,
    /// The file; `null` if there is none.
    pub path: Option<PathBuf>,
    /// All stages, in their order.
    pub stages: Vec<StageReport>,
    /// What will run where.
    pub runs: Vec<Run>,
}

impl Finding {
    fn failure(message: String) -> Self {
        Self {
            severity: Severity::Failure,
            error: None,
            message,
            details: Vec::new(),
        }
    }

    fn warning(message: String) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::failure(message)
        }
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        let log = error.verifier_log().unwrap_or_default();
        let lines = log.lines().filter(|line| !line.is_empty());
        Self {
            error: Some(error.name()),
            details: lines.map(str::to_owned).collect(),
            ..Self::failure(error.to_string())
        }
    }
}

impl Report {
    fn stage(&mut self, stage: Stage, findings: Vec<Finding>) {
        let failed = findings
            .iter()
            .any(|found| found.severity == Severity::Failure);
        self.stages.push(StageReport {
            stage,
            outcome: if failed {
                Outcome::Failed
            } else {
                Outcome::Passed
            },
            skipped: None,
            findings,
        });
    }

    fn skip(&mut self, stage: Stage, why: &'static str) {
        self.stages.push(StageReport {
            stage,
            outcome: Outcome::Skipped,
            skipped: Some(why),
            findings: Vec::new(),
        });
    }

    /// Ends with a stage that nothing can be said behind.
    fn end(mut self, stage: Stage, error: Error, why: &'static str) -> Self {
        self.stage(stage, vec![error.into()]);
        self.skip_rest(why)
    }

    fn skip_rest(mut self, why: &'static str) -> Self {
        for stage in Stage::ALL.into_iter().skip(self.stages.len()) {
            self.skip(stage, why);
        }
        self
    }

    /// How many things are wrong.
    pub fn failures(&self) -> usize {
        let findings = self.stages.iter().flat_map(|stage| &stage.findings);
        findings
            .filter(|found| found.severity == Severity::Failure)
            .count()
    }

    /// How many stages were not gone through.
    pub fn skipped(&self) -> usize {
        let stages = self.stages.iter();
        stages
            .filter(|stage| stage.outcome == Outcome::Skipped)
            .count()
    }
}

/// Checks an extension, which `with` are given to as to `nke load --with`. What cannot be checked is in
/// the report.
pub fn check(wanted: &Wanted, with: &[Wanted]) -> Report {
    let name = wanted.name();
    let mut report = Report {
        name: name.clone(),
        path: None,
        stages: Vec::new(),
        runs: Vec::new(),
    };
    let found = match find(wanted) {
        Ok(found) => found,
        Err(error) => return report.end(Stage::Find, error, "there is no file to look at"),
    };
    report.path = Some(found.path.clone());
    report.stage(Stage::Find, Vec::new());
    let (object, flaws) = match Object::examine(&name, found.bytes, found.manifest.clone()) {
        Ok(examined) => examined,
        Err(error) => {
            report.stage(Stage::Parse, vec![error.into()]);
            let alone = said::manifest_alone(&name, found.manifest.as_deref());
            if !alone.is_empty() {
                report.stage(Stage::Manifest, alone);
            }
            return report.skip_rest("the file cannot be parsed");
        }
    };
    report.stage(Stage::Parse, said::parsed(&object, &flaws));
    report.stage(Stage::Manifest, said::manifest(&object, &flaws));
    if flaws.manifest.is_empty() {
        report.stage(
            Stage::Dependencies,
            said::dependencies(&object, &found.path, with),
        );
    } else {
        report.skip(Stage::Dependencies, "the manifest is wrong");
    }
    report.stage(Stage::Features, said::features(&object));
    report.stage(Stage::Relocation, kernel::relocation(&object));
    report.runs = runs(&object);
    if rustix::process::geteuid().is_root() {
        kernel::load(&object, &mut report);
    } else {
        report.skip(Stage::Verifier, "needs root");
        report.skip(Stage::Placement, "needs root");
    }
    report
}

/// Whether a program of the object calls this one through a map.
fn is_tail_called(object: &Object, program: &Program) -> bool {
    let values = object.initials().iter().map(|initial| &initial.value);
    values.into_iter().any(|value| match value {
        Value::Program(symbol) => *symbol == program.symbol,
        Value::Map(_) => false,
    })
}

/// What will run where.
fn runs(object: &Object) -> Vec<Run> {
    let manifest = object.manifest();
    let mut runs = Vec::new();
    for program in object.programs() {
        let run = |when, hook: Option<Hook>| Run {
            program: program.symbol.clone(),
            section: program.section.clone(),
            when,
            hook,
            priority: hook.and_then(|hook| manifest.priority(hook)),
            form: None,
        };
        let is = |named: &Option<String>| named.as_ref() == Some(&program.symbol);
        let before = runs.len();
        runs.extend(is(&manifest.init).then(|| run(When::Init, None)));
        runs.extend(is(&manifest.exit).then(|| run(When::Exit, None)));
        runs.extend(program.is_iterator().then(|| run(When::Iterator, None)));
        runs.extend(is_tail_called(object, program).then(|| run(When::TailCall, None)));
        runs.extend(program.hooks.iter().map(|hook| {
            let when = if is_default(object, *hook) {
                When::DefaultHook
            } else {
                When::Hook
            };
            run(when, Some(*hook))
        }));
        if runs.len() == before {
            runs.push(run(When::Never, None));
        }
    }
    runs
}

/// Whether an extension is attached to a hook where none is asked for: those that its manifest
/// names of the hook's kind, or else the first that it serves.
fn is_default(object: &Object, hook: Hook) -> bool {
    let kind = hook.row().kind;
    let of_kind = |hook: &&Hook| hook.row().kind == kind;
    let named = object.manifest().hooks.iter();
    let mut named = named
        .map(|entry| &entry.hook)
        .filter(|family| family.hooks().iter().any(|hook| of_kind(&hook)))
        .peekable();
    if named.peek().is_some() {
        return named.any(|family| family.has(hook));
    }
    let served = object.hooks();
    let first = served.iter().find(of_kind);
    first.is_some_and(|first| Family::of(*first).has(hook))
}
