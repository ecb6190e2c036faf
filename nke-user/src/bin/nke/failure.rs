//! A command that failed: what is said of it, and what the command exits with.
//!
//! A line for people, `nke: …`; or, where `--json` was asked for, one JSON object for programs,
//! `{"error": "not-loaded", "code": 31, "message": "…", "details": []}`. Both go to standard error:
//! standard output holds only answers.

use std::process::ExitCode;

use nke::{
    error::{
        Error,
        code::{Code, OTHER},
    },
    filter,
};
use serde_json::json;

use crate::output;

/// Lines of the verifier's log that are shown without `-v`.
pub(crate) const LAST_WORDS: usize = 6;

/// How failures are to be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// With the error's name, and all of the verifier's log.
    pub(crate) verbose: bool,
    /// As an object.
    pub(crate) json: bool,
}

/// A failure that has been told already, of a command that went on with the rest.
#[derive(Debug, thiserror::Error)]
#[error("told already")]
pub(crate) struct Told(pub(crate) ExitCode);

/// Why a command failed, as far as it is known.
struct Failure {
    code: Code,
    message: String,
    /// Lines that show more than the message says.
    details: String,
}

impl From<&anyhow::Error> for Failure {
    fn from(error: &anyhow::Error) -> Self {
        // Each message of the library says its cause itself.
        let (code, details) = if let Some(error) = error.downcast_ref::<Error>() {
            let log = error.verifier_log().unwrap_or_default();
            (error.code(), log.to_owned())
        } else if let Some(error) = error.downcast_ref::<filter::Error>() {
            (error.code(), error.marked())
        } else {
            (OTHER, String::new())
        };
        Self {
            code,
            // Names come from files, and stay on their line.
            message: output::escaped(&error.to_string()),
            details,
        }
    }
}

/// Tells why a command failed, and says what it exits with.
pub(crate) fn tell(error: &anyhow::Error, manner: Manner) -> ExitCode {
    if let Some(Told(code)) = error.downcast_ref() {
        return *code;
    }
    let Failure {
        code: Code { number, name },
        message,
        details,
    } = Failure::from(error);
    let Manner { verbose, json } = manner;
    let lines: Vec<_> = details.lines().filter(|line| !line.is_empty()).collect();
    if json {
        let object = json!({ "error": name, "code": number, "message": message, "details": lines });
        output::complain(format_args!("{object}"));
        return ExitCode::from(number);
    }
    output::complain(format_args!("nke: {message}"));
    if verbose {
        output::complain(format_args!("    error {name}, exit code {number}"));
    }
    let skip = if verbose {
        0
    } else {
        lines.len().saturating_sub(LAST_WORDS)
    };
    for line in &lines[skip..] {
        output::complain(format_args!("    {line}"));
    }
    ExitCode::from(number)
}
