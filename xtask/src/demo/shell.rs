//! Shows commands as a user would type them, and runs them.
//!
//! What is shown is what runs: a line is split into words once, here, and never goes through
//! a shell. Quotes keep words together; there is no other syntax.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Where commands run, and how they look.
pub(super) struct Shell<'a> {
    directory: &'a Path,
    environment: Vec<(&'static str, OsString)>,
    colour: bool,
}

impl<'a> Shell<'a> {
    /// A shell in a directory.
    pub(super) fn new(directory: &'a Path) -> Self {
        Self {
            directory,
            environment: Vec::new(),
            colour: io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Shows and makes a setting.
    pub(super) fn export(&mut self, name: &'static str, shown: &str, value: OsString) {
        self.prompt(&format!("export {name}={shown}"));
        self.environment.push((name, value));
    }

    /// A headline.
    pub(super) fn chapter(&self, text: &str) {
        match self.colour {
            true => say(&format!("\n\x1b[1m== {text}\x1b[0m")),
            false => say(&format!("\n== {text}")),
        }
    }

    /// What the demo itself found out.
    pub(super) fn finding(&self, text: &str) {
        match self.colour {
            true => say(&format!("\x1b[32m   {text}\x1b[0m")),
            false => say(&format!("   {text}")),
        }
    }

    /// Shows a command, runs it, shows what it says. It must succeed.
    pub(super) fn run(&self, line: &str) -> Result<()> {
        self.prompt(line);
        let output = self.output(line, Stdio::inherit())?;
        let said = String::from_utf8_lossy(&output.stdout);
        for text in said.lines() {
            say(text);
        }
        Ok(())
    }

    /// Asks something for the demo's own eyes: neither shown nor part of the story.
    pub(super) fn ask(&self, line: &str) -> Result<Value> {
        let output = self.output(line, Stdio::null())?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{line}` did not answer with JSON"))
    }

    /// Undoes something. It is no matter if there is nothing to undo, nor may Ctrl-C stop it.
    pub(super) fn undo(&self, line: &str) {
        if let Ok(mut command) = self.command(line) {
            command
                .process_group(0)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            drop(command.status());
        }
    }

    fn prompt(&self, line: &str) {
        match self.colour {
            true => say(&format!("\x1b[36m$ {line}\x1b[0m")),
            false => say(&format!("$ {line}")),
        }
    }

    fn output(&self, line: &str, complaints: Stdio) -> Result<Output> {
        let output = self
            .command(line)?
            .stderr(complaints)
            .output()
            .with_context(|| format!("cannot run `{line}`"))?;
        if !output.status.success() {
            bail!("`{line}` failed ({})", output.status);
        }
        Ok(output)
    }

    fn command(&self, line: &str) -> Result<Command> {
        let mut words = words(line).into_iter();
        let program = words.next().context("an empty command")?;
        let mut command = Command::new(self.find(&program));
        command
            .args(words)
            .current_dir(self.directory)
            .stdin(Stdio::null());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        Ok(command)
    }

    /// Looks a program up as the user's shell would after the settings above. `Command` looks
    /// in this process's own PATH.
    fn find(&self, program: &str) -> OsString {
        let path = self.environment.iter().find(|(name, _)| *name == "PATH");
        path.iter()
            .flat_map(|(_, path)| env::split_paths(path))
            .map(|directory| directory.join(program))
            .find(|candidate| candidate.is_file())
            .map_or_else(|| program.into(), Into::into)
    }
}

/// The demo's one way to speak.
#[expect(clippy::print_stdout, reason = "what the demo shows is its output")]
pub(super) fn say(text: &str) {
    println!("{text}");
}

/// Splits a line into words; `'…'` keeps one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in line.split('\'').enumerate() {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("a 'b c'  d"), ["a", "b c", "d"]);
        assert_eq!(words("  "), [""; 0]);
    }
}
