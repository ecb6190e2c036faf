//! One boot of a virtual machine: its output streamed, its time bounded, its exit code told.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What to boot.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) archive: &'a Path,
    /// The LSMs that the kernel is started with.
    pub(crate) lsm: &'a str,
    /// After which it is given up.
    pub(crate) patience: Duration,
}

/// What the first process says at the end, with the exit code of the job behind.
const END: &str = "vm: exit ";

impl Machine<'_> {
    /// Boots it, and waits until the job is done. Returns the job's exit code.
    pub(crate) fn run(&self) -> Result<i32> {
        let Self {
            kernel,
            archive,
            lsm,
            patience,
        } = self;
        let (accelerator, processor) = if has_kvm() {
            ("kvm", "host")
        } else {
            ("tcg", "max")
        };
        let parameters = format!("console=ttyS0 quiet loglevel=3 panic=-1 lsm={lsm}");
        // However this process ends, the kernel then kills qemu: no handler of signals could promise as much.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args([
                "-machine",
                &format!("q35,accel={accelerator}"),
                "-cpu",
                processor,
            ])
            .args(["-m", "2048", "-smp", "2", "-nodefaults", "-display", "none"])
            .args(["-serial", "stdio", "-no-reboot", "-append", &parameters])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(archive)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run setpriv, which is to run qemu-system-x86_64")?;
        let output = child.stdout.take().context("qemu has no output")?;
        let (said, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if said.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let ended = follow(&lines, *patience);
        // Done or not: nothing is left running.
        let _: io::Result<()> = child.kill();
        child.wait().context("cannot wait for qemu")?;
        drop(lines);
        let _: thread::Result<()> = reader.join();
        ended
    }
}

/// Passes on what the machine says, until it says how the job ended.
fn follow(lines: &mpsc::Receiver<String>, patience: Duration) -> Result<i32> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                if let Some(code) = line.strip_prefix(END) {
                    return code
                        .trim()
                        .parse()
                        .context("the machine tells no exit code");
                }
                // A closed terminal must not stop the work.
                drop(writeln!(io::stdout(), "{line}"));
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine was not done after {} s", patience.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the machine ended before its job: the kernel panicked, or did not start")
            }
        }
    }
}

/// Whether the processor can run machines: a `/dev/kvm` without it hangs in the first instruction that
/// it has to emulate.
fn has_kvm() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut words = flags.split_ascii_whitespace();
    let capable = words.any(|word| matches!(word, "vmx" | "svm"));
    capable
        && std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok()
}
