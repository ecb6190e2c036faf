//! What one run of the command came to, and what tests expect of it.

use std::{
    ffi::OsStr,
    process::{Command, Output},
};

use serde::de::DeserializeOwned;

use crate::{errors, fail};

/// One finished run of a command.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The words, as a user would type them.
    pub words: String,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote on its standard output.
    pub stdout: String,
    /// What it wrote on its standard error.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let output = command
            .output()
            .unwrap_or_else(|error| fail(format!("{:?}: {error}", command.get_program())));
        Self::from_output(command, output)
    }

    pub(crate) fn from_output(command: &Command, output: Output) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        Self {
            words: words(command),
            code: status.code(),
            stdout: String::from_utf8(stdout).expect("the output is UTF-8"),
            stderr: String::from_utf8(stderr).expect("the error output is UTF-8"),
        }
    }

    /// It must have succeeded, and have had nothing to complain of.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "the check is the point")]
    pub fn ok(self) -> Self {
        if self.code != Some(0) || self.stderr.contains("panicked") {
            fail(format!("`{}` should succeed:\n{self:#?}", self.words));
        }
        self
    }

    /// It must have failed with the exit code of this error, a name of docs/errors.md such as
    /// `not-loaded`, saying why in one line; the line.
    ///
    /// Hints and the verifier's last lines may follow, indented.
    #[track_caller]
    #[must_use]
    pub fn fails(self, name: &str) -> String {
        let code = errors::code(name);
        if self.code != Some(code) || self.stderr.contains("panicked") {
            let was = self.code.and_then(errors::name).unwrap_or("something else");
            fail(format!(
                "`{}` should fail with {name} ({code}), and it was {was}:\n{self:#?}",
                self.words
            ));
        }
        if !self.stdout.is_empty() {
            fail(format!(
                "`{}` failed, and yet printed:\n{self:#?}",
                self.words
            ));
        }
        self.stderr
    }

    /// It must have failed, with an error that docs/errors.md names; the name and the line.
    #[track_caller]
    #[must_use]
    pub fn fails_somehow(self) -> (&'static str, String) {
        let name = self.code.and_then(errors::name);
        let Some(name) = name.filter(|name| *name != "other") else {
            fail(format!(
                "`{}` should fail with an error that has a name:\n{self:#?}",
                self.words
            ));
        };
        let said = self.fails(name);
        (name, said)
    }

    /// Whether it exited with the code of this error, a name of docs/errors.md, whatever it printed.
    #[must_use]
    pub fn exited_with(&self, name: &str) -> bool {
        self.code == Some(errors::code(name))
    }

    /// It must have succeeded; what it printed, as JSON.
    #[track_caller]
    #[must_use]
    pub fn json<T: DeserializeOwned>(self) -> T {
        let ran = self.ok();
        serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| fail(format!("{error} in the output of {ran:#?}")))
    }
}

/// A command's words, as a user would type them.
pub(crate) fn words(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let all = [program].into_iter().chain(command.get_args());
    all.map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
