//! Steps of set-up: long commands whose output nobody wants, unless they fail.
//!
//! On a terminal a step is one line that lives: what is done, for how long, and the last thing
//! that the command said. Elsewhere it is two plain lines. The whole output goes to
//! `.tools/setup.log`, and its end is shown when a step fails.
//!
//! ```text
//!   ok  bpf-linker 0.13.0 (31.2 s)
//! ```

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::termios::tcgetwinsize;

use crate::workspace::Workspace;

/// How often a living line is redrawn.
const TICK: Duration = Duration::from_millis(100);
/// How many of a failed command's last lines are shown.
const TAIL: usize = 15;

/// Runs steps and shows them.
pub(crate) struct Steps {
    live: bool,
    log: PathBuf,
    started: bool,
}

/// When to give up on a command: nothing below `directory` changed for `patience`.
pub(crate) struct Stall<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) patience: Duration,
}

impl Steps {
    /// Nothing is written before the first step.
    pub(crate) fn new(workspace: &Workspace) -> Self {
        Self {
            live: io::stderr().is_terminal(),
            log: workspace.tools.join("setup.log"),
            started: false,
        }
    }

    /// Says something between steps.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("setup: {text}");
    }

    /// Runs a command that must succeed. `remedy` says what to do if it does not.
    pub(crate) fn run(&mut self, what: &str, remedy: &str, command: &mut Command) -> Result<()> {
        match self.drive(what, command, None)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!(
                "set-up failed at step `{what}`: {} ended with {status}\n{}\n  remedy: {remedy}",
                command.get_program().display(),
                self.tail(),
            ),
            None => bail!("set-up failed at step `{what}`: it made no progress"),
        }
    }

    /// Runs a command that may fail, or be given up; tells whether it succeeded.
    pub(crate) fn attempt(
        &mut self,
        what: &str,
        command: &mut Command,
        stall: Option<&Stall<'_>>,
    ) -> Result<bool> {
        let status = self.drive(what, command, stall)?;
        Ok(status.is_some_and(|status| status.success()))
    }

    fn drive(
        &mut self,
        what: &str,
        command: &mut Command,
        stall: Option<&Stall<'_>>,
    ) -> Result<Option<ExitStatus>> {
        let mut log = self.open_log()?;
        writeln!(log, "== {what}: {command:?}").context("cannot write the log")?;
        let copy = log.try_clone().context("cannot share the log")?;
        let from = log.stream_position().context("cannot place the log")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!(
                    "step `{what}`: cannot run {}",
                    command.get_program().display()
                )
            })?;
        if !self.live {
            eprintln!("setup: {what} …");
        }
        let began = Instant::now();
        let mut watch = stall.map(|stall| (stall, bytes_below(stall.directory), Instant::now()));
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for the command")? {
                break Some(status);
            }
            if let Some((stall, seen, when)) = &mut watch {
                if when.elapsed() > stall.patience {
                    child.kill().context("cannot end the command")?;
                    child.wait().context("cannot wait for the command")?;
                    break None;
                }
                let now = bytes_below(stall.directory);
                if now != *seen {
                    (*seen, *when) = (now, Instant::now());
                }
            }
            self.draw(what, began.elapsed(), from);
            thread::sleep(TICK);
        };
        self.finish(what, began.elapsed(), status);
        Ok(status)
    }

    fn open_log(&mut self) -> Result<File> {
        let directory = self.log.parent().context("the log has no directory")?;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let mut options = File::options();
        options.create(true).append(true);
        if !self.started {
            // A log of an earlier set-up answers nobody's question.
            File::create(&self.log)
                .with_context(|| format!("cannot write {}", self.log.display()))?;
            self.started = true;
        }
        let mut log = options
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        log.seek(SeekFrom::End(0)).context("cannot place the log")?;
        Ok(log)
    }

    fn draw(&self, what: &str, elapsed: Duration, from: u64) {
        if !self.live {
            return;
        }
        let said = last_line(&self.log, from).unwrap_or_default();
        let line = format!("  ..  {what} ({:.0} s) {said}", elapsed.as_secs_f64());
        // Progress is decoration: a closed terminal must not stop the work.
        drop(write!(io::stderr(), "\r\x1b[2K{}", fit(&line, columns())));
    }

    fn finish(&self, what: &str, elapsed: Duration, status: Option<ExitStatus>) {
        let word = match status {
            Some(status) if status.success() => "ok",
            Some(_) => "no",
            None => "gave up",
        };
        let seconds = elapsed.as_secs_f64();
        if self.live {
            eprintln!("\r\x1b[2K  {word}  {what} ({seconds:.1} s)");
        } else {
            eprintln!("setup: {what}: {word} ({seconds:.1} s)");
        }
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(TAIL);
        let mut shown = format!("  the end of {}:", self.log.display());
        for line in &lines[start..] {
            shown.push_str("\n    ");
            shown.push_str(line);
        }
        shown
    }
}

/// The last whole line in a log, from an offset on.
fn last_line(log: &Path, from: u64) -> Option<String> {
    const ENOUGH: u64 = 512;
    let mut file = File::open(log).ok()?;
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let start = end.saturating_sub(ENOUGH).max(from);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

/// Cuts a line to a width, without control characters.
fn fit(line: &str, width: usize) -> String {
    line.chars()
        .filter(|c| !c.is_control())
        .take(width)
        .collect()
}

/// The width to draw in: one less than the terminal's, so that nothing wraps.
fn columns() -> usize {
    tcgetwinsize(io::stderr())
        .map_or(80, |size| usize::from(size.ws_col))
        .max(20)
        - 1
}

/// A number that changes whenever a download or an unpacking moves on.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, data)| match data.is_dir() {
            true => 1 + bytes_below(&path),
            false => 1 + data.len(),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_line_is_cut_to_the_width_and_has_no_control_characters() {
        assert_eq!(fit("a\x1b[2Kbc\td", 5), "a[2Kb");
        assert_eq!(fit("ü…", 1), "ü");
    }
}
