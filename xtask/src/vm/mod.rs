//! Virtual machines: end-to-end tests on other kernels, and what would be for good on this machine.
//!
//! ```text
//! cargo xtask vm                                  # the kernel's part of the seal, on the newest kernel
//! cargo xtask vm --kernel 6.1 attach chain        # tests/tests/attach.rs and chain.rs
//! cargo xtask vm --run 'nke attach counter -i lo; nke list'
//! ```
//!
//! A machine boots a kernel of the table in [`kernels`] with an archive as its file system: busybox, this
//! build of nke and its extensions, the tests, and the programs that they call. It has no disk and no
//! network. With the processor's help a boot takes a second, without some five.

mod archive;
mod kernels;
mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use self::archive::Archive;
use self::kernels::{Files, Kernel};
use self::machine::Machine;
use crate::setup::{self, Want};
use crate::step::Steps;
use crate::workspace::Workspace;
use crate::{build, delegate};

/// What to do in which machine.
#[derive(Args)]
pub(crate) struct Vm {
    /// The kernel: 6.1, 6.12, …, or all; the newest if left out
    #[arg(long)]
    kernel: Option<String>,
    /// The LSMs that it is started with
    #[arg(long, default_value = "lockdown,capability,bpf")]
    lsm: String,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// A line for the machine's shell, instead of tests
    #[arg(long, conflicts_with = "tests")]
    run: Option<String>,
    /// Only the tests whose names have this in them
    #[arg(long, requires = "tests")]
    filter: Option<String>,
    /// Files of tests/tests, without `.rs`; the seal's if left out
    tests: Vec<String>,
}

/// What is run if nothing is named.
const DEFAULT: &str = "kernel_seal";
/// Programs of this machine that tests call.
const PROGRAMS: &[&str] = &[
    "bpftool", "dash", "ethtool", "ip", "modprobe", "mount", "nft", "setpriv", "strace", "tc",
    "tcpdump", "umount", "unshare",
];
/// The kernel modules that tests need, below `kernel/`.
const MODULES: &[&str] = &["crypto", "drivers/net", "lib", "net"];

/// Sets up, builds, boots.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, options: &Vm) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the table of kernels has only those for x86_64"
    );
    let want = Want {
        tests: true,
        bench: false,
        vm: true,
    };
    let toolchain = setup::ensure(workspace, steps, want)?;
    build::whole_command(workspace)?;
    build::extensions(workspace, &toolchain)?;
    let kernels: Vec<&Kernel> = match options.kernel.as_deref() {
        None => vec![kernels::default()],
        Some("all") => kernels::TABLE.iter().collect(),
        Some(name) => vec![kernels::named(name)?],
    };
    let jobs = jobs(workspace, options)?;
    let place = workspace.target.join("vm");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let mut failed = Vec::new();
    for kernel in kernels {
        let files = kernel.files(workspace, steps)?;
        let archive = place.join(format!("{}.cpio", kernel.name));
        for job in &jobs {
            let bytes = system(workspace, &files, job)?;
            fs::write(&archive, bytes)
                .with_context(|| format!("cannot write {}", archive.display()))?;
            let machine = Machine {
                kernel: &files.image,
                archive: &archive,
                lsm: &options.lsm,
                patience: Duration::from_secs(options.timeout),
            };
            match machine.run()? {
                0 => {}
                code => failed.push(format!("on {} with exit code {code}", kernel.name)),
            }
        }
    }
    ensure!(failed.is_empty(), "the job failed {}", failed.join(", "));
    Ok(())
}

/// What one machine does.
struct Job {
    script: String,
    /// A test program that it needs.
    program: Option<PathBuf>,
}

/// What is to be done, each in a machine of its own: a test may spoil it.
fn jobs(workspace: &Workspace, options: &Vm) -> Result<Vec<Job>> {
    let nke = workspace.binary("debug", "nke");
    let script = format!(
        "export NKE_BIN={} NKE_PATH={}\nexport PATH={}:$PATH\n",
        nke.display(),
        workspace.extensions().display(),
        nke.parent().unwrap_or(Path::new("/")).display(),
    );
    if let Some(line) = &options.run {
        let (script, program) = (format!("{script}{line}\n"), None);
        return Ok(vec![Job { script, program }]);
    }
    let tests = match options.tests.as_slice() {
        [] => vec![DEFAULT.to_owned()],
        tests => tests.to_vec(),
    };
    let filter = options.filter.as_deref().unwrap_or_default();
    let job = |program: PathBuf| {
        let line = format!("{} --test-threads=2 {filter}\n", program.display());
        Job {
            script: format!("{script}{line}"),
            program: Some(program),
        }
    };
    let programs = test_programs(workspace, &tests)?;
    Ok(programs.into_iter().map(job).collect())
}

/// Builds test files, and returns their programs.
fn test_programs(workspace: &Workspace, tests: &[String]) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-run", "--package", "nke-tests"]);
    for test in tests {
        cargo.args(["--test", test]);
    }
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "building the tests failed ({})",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let reports = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = reports.filter_map(|report| {
        let is_test = report["profile"]["test"].as_bool()?;
        is_test.then(|| report["executable"].as_str().map(PathBuf::from))?
    });
    Ok(programs.collect())
}

/// The whole file system of a machine.
fn system(workspace: &Workspace, files: &Files, job: &Job) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.file("/init", include_bytes!("init.sh"), 0o755);
    archive.file("/job", job.script.as_bytes(), 0o644);
    let busybox = fs::read("/bin/busybox").context("cannot read /bin/busybox")?;
    archive.file("/bin/busybox", &busybox, 0o755);
    archive.link("/lib", "usr/lib");
    archive.link("/lib64", "usr/lib64");
    archive.link("/sbin", "usr/sbin");
    for program in PROGRAMS {
        // What is not there, a test that calls it will name.
        if let Some(path) = find(program) {
            add_program(&mut archive, &path, false)?;
        }
    }
    add_program(&mut archive, &workspace.binary("debug", "nke"), true)?;
    if let Some(test) = &job.program {
        add_program(&mut archive, test, true)?;
    }
    let extensions = workspace.extensions();
    archive.tree(&extensions, &extensions.to_string_lossy())?;
    // The extensions of strangers are compiled on this machine: those that were.
    for directory in [
        workspace.target.join("strangers"),
        workspace.root.join("tests"),
    ] {
        if directory.is_dir() {
            archive.tree(&directory, &directory.to_string_lossy())?;
        }
    }
    let modules = files.root.join("lib/modules").join(&files.release);
    let home = format!("/usr/lib/modules/{}", files.release);
    for entry in fs::read_dir(&modules)
        .context("the kernel has no modules")?
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") {
            let contents = fs::read(entry.path()).context("cannot read an index of modules")?;
            archive.file(&format!("{home}/{name}"), &contents, 0o644);
        }
    }
    for part in MODULES {
        let from = modules.join("kernel").join(part);
        if from.is_dir() {
            archive.tree(&from, &format!("{home}/kernel/{part}"))?;
        }
    }
    Ok(archive.finish())
}

/// Adds a program with the libraries that it takes in; `strip` leaves what is there for debuggers.
fn add_program(archive: &mut Archive, path: &Path, strip: bool) -> Result<()> {
    let output = Command::new("ldd")
        .arg(path)
        .output()
        .context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `name => /path (address)`, or `/path (address)`; nothing of the kind for a whole program.
    let libraries = text
        .split_ascii_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in libraries {
        let real = fs::canonicalize(library).with_context(|| format!("no {library}"))?;
        let contents = fs::read(&real).with_context(|| format!("cannot read {library}"))?;
        let place = library.strip_prefix("/usr").unwrap_or(library);
        archive.file(&format!("/usr{place}"), &contents, 0o755);
    }
    if !strip {
        let real = fs::canonicalize(path).with_context(|| format!("no {}", path.display()))?;
        let contents =
            fs::read(&real).with_context(|| format!("cannot read {}", real.display()))?;
        archive.file(&path.to_string_lossy(), &contents, 0o755);
        return Ok(());
    }
    let bare = path.with_extension("bare");
    let mut command = Command::new("strip");
    command.args(["--strip-debug", "-o"]).arg(&bare).arg(path);
    delegate("leaving out what is for debuggers", &mut command)?;
    let contents = fs::read(&bare).with_context(|| format!("cannot read {}", bare.display()))?;
    fs::remove_file(&bare).with_context(|| format!("cannot remove {}", bare.display()))?;
    archive.file(&path.to_string_lossy(), &contents, 0o755);
    Ok(())
}

fn find(program: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin"].into_iter().map(Path::new);
    places
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}
