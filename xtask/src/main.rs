//! `cargo xtask`: one command for everything that is done to this repository.
//!
//! Each subcommand is a file of its own and does its own set-up first, so that any of them
//! works on a machine that was prepared by nobody. This program must stay cheap to compile:
//! it is the first thing that a newcomer waits for.
//!
//! ```text
//! cargo xtask demo      # see it work on real packets
//! cargo xtask test      # everything that CI runs
//! ```

mod build;
mod check;
mod demo;
mod fuzz;
mod setup;
mod soak;
mod step;
mod strip;
mod test;
mod tidy;
mod vm;
mod workspace;

#[cfg(feature = "bench")]
mod bench;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};

use crate::setup::Want;
use crate::step::Steps;
use crate::workspace::Workspace;

/// Sets up, builds, tests, checks, shows and measures nke.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing of the BPF toolchain (and of the programs that tests use)
    Setup {
        /// Also what the tests need: clang, iproute2, …
        #[arg(long)]
        tests: bool,
        /// Also the programs that the benchmarks compare with: iptables, strace, xdp-tools, …
        #[arg(long)]
        bench: bool,
    },
    /// Build the command `nke` and the bundled extensions
    Build {
        /// The debug profile: quicker to build, target/debug/nke
        #[arg(long)]
        debug: bool,
    },
    /// Check, build and run every test, and the fuzzers for a minute: exactly what CI runs
    Test {
        /// Only the tests of this package
        #[arg(long, short)]
        package: Option<String>,
        /// Skip formatting, lints and docs
        #[arg(long)]
        no_check: bool,
        /// Arguments for the test programs, such as a filter
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Show it work: filters joining, changing and leaving a live interface
    Demo,
    /// Check formatting, lints, docs and the rules of the house
    Check,
    /// Do the same work a hundred thousand times, and by many at once; half an hour
    Soak {
        /// Only the tests whose names have this in them
        filter: Vec<String>,
    },
    /// Hand spoilt texts and captures to the parsers (libFuzzer), and spoilt packets to the packet filter
    Fuzz {
        /// How long; a million packets more under large rule sets take two or three beside it
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
        /// All of that time for the parsers alone, which takes no root
        #[arg(long)]
        parsers: bool,
    },
    /// Run end-to-end tests in a virtual machine with another kernel
    Vm(vm::Vm),
    /// Measure (nothing here is a test)
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure, and its options: `chain [--json] [--quick]`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut steps = Steps::new(&workspace);
    match arguments.verb {
        Verb::Setup { tests, bench } => {
            let want = Want {
                tests,
                bench,
                vm: false,
            };
            let toolchain = setup::ensure(&workspace, &mut steps, want)?;
            eprintln!("ready: BPF toolchain {toolchain}");
            Ok(())
        }
        Verb::Build { debug } => {
            let toolchain = setup::ensure(&workspace, &mut steps, Want::default())?;
            build::command(&workspace, !debug)?;
            build::extensions(&workspace, &toolchain)
        }
        Verb::Test {
            package,
            no_check,
            arguments,
        } => test::run(
            &workspace,
            &mut steps,
            &test::Options {
                package,
                check: !no_check,
                arguments,
            },
        ),
        Verb::Demo => {
            setup::need_root("the demo makes namespaces and attaches programs")?;
            let toolchain = setup::ensure(&workspace, &mut steps, Want::TESTS)?;
            build::command(&workspace, true)?;
            build::extensions(&workspace, &toolchain)?;
            demo::run(&workspace)
        }
        Verb::Check => check::run(&workspace),
        Verb::Soak { filter } => soak::run(&workspace, &mut steps, &filter),
        Verb::Fuzz { minutes, parsers } => fuzz::run(&workspace, &mut steps, minutes, parsers),
        Verb::Vm(options) => vm::run(&workspace, &mut steps, &options),
        Verb::Bench { arguments } => bench(&workspace, &mut steps, &arguments),
    }
}

/// In the build with the benchmarks: runs them.
#[cfg(feature = "bench")]
fn bench(_: &Workspace, _: &mut Steps, arguments: &[String]) -> Result<()> {
    bench::run(arguments)
}

/// In the ordinary build: sets up and builds, then becomes the build with the benchmarks,
/// in the release profile, since it measures itself along with the kernel.
#[cfg(not(feature = "bench"))]
fn bench(workspace: &Workspace, steps: &mut Steps, arguments: &[String]) -> Result<()> {
    setup::need_root("the benchmarks make namespaces and attach programs")?;
    let want = Want {
        tests: true,
        bench: true,
        vm: false,
    };
    let toolchain = setup::ensure(workspace, steps, want)?;
    build::command(workspace, true)?;
    build::extensions(workspace, &toolchain)?;
    let status = workspace
        .cargo()
        .args(["run", "--release", "--package", "xtask"])
        .args(["--features", "bench", "--", "bench"])
        .args(arguments)
        .env("NKE_BIN", workspace.binary("release", "nke"))
        .env("NKE_PATH", workspace.extensions())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the benchmark failed ({status})");
    Ok(())
}

/// Runs a command that speaks for itself: its output is the user's.
fn delegate(what: &str, command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{what}: cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{what} failed ({status})");
    Ok(())
}
