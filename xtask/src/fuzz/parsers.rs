//! libFuzzer over every parser: the target `nke-user/fuzz`, which `cargo fuzz` can run as well.
//!
//! It is built here by the user's stable compiler: neither cargo-fuzz nor a nightly is needed, but a
//! compiler of C++ for libFuzzer itself. The flags are those of cargo-fuzz but for two. The address sanitizer
//! is left out: the parsers have no `unsafe`, and it leaves a quarter of the inputs. So is the tracing of
//! comparisons, which takes more than half of the time: words are known from the dictionary, and libFuzzer
//! sees texts that are compared without it.
//!
//! | path | what |
//! |---|---|
//! | `nke-user/tests/corpus` | what once broke a parser: committed |
//! | `nke-user/fuzz/parsers.dict` | words that the parsers know: committed |
//! | `target/fuzz/seeds` | the examples of `docs/filter-language.md` |
//! | `target/fuzz/fresh` | what the run in the tests has found worth keeping, for itself alone |
//! | `target/fuzz/corpus` | what the long form has found worth keeping, for its next run |
//! | `target/fuzz/broke` | what broke a parser |

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::delegate;
use crate::workspace::Workspace;

/// What makes a program that libFuzzer sees into.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cdebug-assertions",
];

/// Longer inputs find nothing more; none may take longer than ten seconds, or a gigabyte. Nobody wants addresses.
const LIMITS: [&str; 4] = [
    "-max_len=4096",
    "-timeout=10",
    "-rss_limit_mb=1024",
    "-print_funcs=0",
];

/// How often it is said how far it is.
const TICK: Duration = Duration::from_secs(10);

/// How lines begin that libFuzzer writes each time.
const CHATTER: [&str; 4] = ["INFO: ", "WARNING: Failed to find", "Dictionary: ", "Done "];

/// Which inputs it makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// The same in every run, as far as there is time: no change is blamed for what another did.
    Same,
    /// Others each time, from what earlier runs have kept.
    Others,
}

/// Builds and runs it.
pub(crate) fn run(workspace: &Workspace, seconds: u64, inputs: Inputs) -> Result<()> {
    let program = build(workspace)?;
    let home = workspace.target.join("fuzz");
    let directory = |name: &str| -> Result<PathBuf> {
        let path = home.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    };
    let seeds = fresh(directory("seeds")?)?;
    write_seeds(workspace, &seeds)?;
    let mut command = Command::new(program);
    command
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg(option("-artifact_prefix=", &directory("broke")?.join("")))
        .arg(option(
            "-dict=",
            &workspace.root.join("nke-user/fuzz/parsers.dict"),
        ));
    match inputs {
        Inputs::Same => command.arg("-seed=1").arg(fresh(directory("fresh")?)?),
        Inputs::Others => command.arg(directory("corpus")?),
    };
    // Where it writes comes first, and what it only reads behind.
    command
        .arg(&seeds)
        .arg(workspace.root.join("nke-user/tests/corpus"))
        .stderr(Stdio::piped());
    watch(workspace, &mut command)
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// Empties a directory.
fn fresh(directory: PathBuf) -> Result<PathBuf> {
    fs::remove_dir_all(&directory)
        .and_then(|()| fs::create_dir(&directory))
        .with_context(|| format!("cannot empty {}", directory.display()))?;
    Ok(directory)
}

/// Builds the target.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("fuzz");
    // With a target named, what runs while it is built is not made for fuzzing.
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--release", "--manifest-path"])
        .arg(workspace.root.join("nke-user/fuzz/Cargo.toml"))
        .args(["--target", &target, "--target-dir"])
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    delegate("building the parsers' fuzzer", &mut cargo)?;
    Ok(directory.join(target).join("release/parsers"))
}

/// Writes the examples of the language's page, each as a file.
fn write_seeds(workspace: &Workspace, directory: &Path) -> Result<()> {
    let page = workspace.root.join("docs/filter-language.md");
    let page =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    for (number, example) in examples(&page).iter().enumerate() {
        let path = directory.join(number.to_string());
        fs::write(&path, example).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The blocks of code of a page, and its indented lines.
fn examples(page: &str) -> Vec<&str> {
    let blocks = page.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    let lines = page.lines().filter(|line| line.starts_with("    "));
    blocks
        .map(|(_, text)| text)
        .chain(lines.map(str::trim))
        .collect()
}

/// Runs it, and says now and then how far it is.
fn watch(workspace: &Workspace, command: &mut Command) -> Result<()> {
    let child = command.spawn();
    let mut child =
        child.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let stderr = child.stderr.take().context("it has no output")?;
    let (mut said, mut status) = (Instant::now(), String::new());
    let mut broke = None;
    let mut in_words = false;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line.context("cannot read what it says")?;
        let line = String::from_utf8_lossy(&line);
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            broke = Some(PathBuf::from(path));
        }
        if line.starts_with('#') {
            in_words = line.starts_with("###### Rec");
            status = progress(&line).unwrap_or(status);
            if said.elapsed() >= TICK {
                said = Instant::now();
                eprintln!("parsers: {status}");
            }
        } else if !in_words && !CHATTER.iter().any(|start| line.starts_with(start)) {
            eprintln!("{line}");
        }
    }
    let ended = child.wait().context("cannot wait for it")?;
    if !status.is_empty() {
        eprintln!("parsers: {status}");
    }
    match broke {
        None if ended.success() => Ok(()),
        None => bail!("the parsers' fuzzer failed ({ended})"),
        Some(path) => bail!(
            "a parser broke (see above) by {}\n  remedy: put the file into nke-user/tests/corpus, and mend the parser",
            workspace.short(&path).display()
        ),
    }
}

/// What of libFuzzer's status anybody wants to know: `#65536 pulse cov: 9 ft: 20 corp: 3/9b exec/s: 7 rss: 8Mb`.
fn progress(line: &str) -> Option<String> {
    let mut words = line.strip_prefix('#')?.split_whitespace();
    let inputs = words.next()?;
    let words: Vec<_> = words.collect();
    let behind = |name| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1)
    };
    let (covered, speed, memory) = (behind("cov:")?, behind("exec/s:")?, behind("rss:")?);
    Some(format!(
        "{inputs} inputs, {speed} a second; {covered} places of the code covered; {memory} of memory"
    ))
}

#[cfg(test)]
mod tests {
    use super::{examples, progress};

    #[test]
    fn examples_are_blocks_and_indented_lines() {
        let page = "text\n```text\na\nb\n```\nmore\n\n    c d\n";
        assert_eq!(examples(page), ["a\nb\n", "c d"]);
    }

    #[test]
    fn the_status_of_libfuzzer_is_read() {
        let line = "#512\tREDUCE cov: 12 ft: 3 corp: 4/5b lim: 4096 exec/s: 90 rss: 38Mb L: 1/2";
        let read = "512 inputs, 90 a second; 12 places of the code covered; 38Mb of memory";
        assert_eq!(progress(line).as_deref(), Some(read));
        assert_eq!(
            progress("###### End of recommended dictionary. ######"),
            None
        );
    }
}
