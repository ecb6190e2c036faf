//! The stage: two namespaces, a cable between them, a state directory. All of it goes away
//! with this value, whatever happened.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::shell::Shell;

/// The sender's namespace and interface.
pub(super) const SENDER: (&str, &str) = ("nke-left", "left0");
/// The receiver's: where the extensions are attached.
pub(super) const RECEIVER: (&str, &str) = ("nke-right", "right0");
pub(super) const SENDER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const RECEIVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// nke's state, apart from that of the machine.
pub(super) const STATE: &str = "/run/nke-demo";

/// What the demo made, and undoes.
pub(super) struct Stage<'a> {
    shell: &'a Shell<'a>,
    scratch: PathBuf,
    _lock: File,
}

impl<'a> Stage<'a> {
    /// Builds the stage, command by command, for all to see. Sweeps first what a demo that was
    /// killed has left.
    pub(super) fn build(shell: &'a Shell<'a>, scratch: &Path) -> Result<Self> {
        let path = format!("{STATE}.lock");
        let lock = File::create(&path).with_context(|| format!("cannot make {path}"))?;
        if lock.try_lock().is_err() {
            bail!("another demo is running (it holds {path})");
        }
        let stage = Self {
            shell,
            scratch: scratch.to_path_buf(),
            _lock: lock,
        };
        stage.sweep();
        fs::create_dir_all(scratch)
            .with_context(|| format!("cannot make {}", scratch.display()))?;
        let (left, left_if) = SENDER;
        let (right, right_if) = RECEIVER;
        for line in [
            format!("ip netns add {left}"),
            format!("ip netns add {right}"),
            format!(
                "ip link add {left_if} netns {left} type veth peer name {right_if} netns {right}"
            ),
            format!("ip -n {left} address add {SENDER_ADDRESS}/24 dev {left_if}"),
            format!("ip -n {right} address add {RECEIVER_ADDRESS}/24 dev {right_if}"),
            format!("ip -n {left} link set {left_if} up"),
            format!("ip -n {right} link set {right_if} up"),
        ] {
            shell.run(&line)?;
        }
        Ok(stage)
    }

    /// Takes the stage down for all to see.
    pub(super) fn strike(&self) -> Result<()> {
        for line in [
            format!("ip netns delete {}", SENDER.0),
            format!("ip netns delete {}", RECEIVER.0),
        ] {
            self.shell.run(&line)?;
        }
        if is_mounted(STATE)? {
            self.shell.run(&format!("umount {STATE}"))?;
        }
        if Path::new(STATE).exists() {
            self.shell.run(&format!("rmdir {STATE}"))?;
        }
        Ok(())
    }

    /// Complains of any namespace, mount or directory that is still there.
    pub(super) fn is_gone(&self) -> Result<()> {
        for (name, _) in [SENDER, RECEIVER] {
            if Path::new("/run/netns").join(name).exists() {
                bail!("the namespace {name} is still there");
            }
        }
        if is_mounted(STATE)? || Path::new(STATE).exists() {
            bail!("{STATE} is still there");
        }
        Ok(())
    }

    /// The pins below the state directory.
    pub(super) fn pins(&self) -> Result<Vec<PathBuf>> {
        let mut remains = self.remains()?;
        // In a bpffs, what is pinned is a file; the rest is nke's notes.
        remains.retain(|path| path.symlink_metadata().is_ok_and(|data| data.is_file()));
        Ok(remains)
    }

    /// All below the state directory but empty directories.
    pub(super) fn remains(&self) -> Result<Vec<PathBuf>> {
        let mut remains = Vec::new();
        collect(Path::new(STATE), &mut remains)?;
        // The kernel's own, in every bpffs: lists of all maps and programs.
        remains.retain(|path| path.extension().is_none_or(|end| end != "debug"));
        Ok(remains)
    }

    fn sweep(&self) {
        // The order matters: an interface goes with its namespace, and takes its programs along.
        self.shell.undo(&format!("ip netns delete {}", SENDER.0));
        self.shell.undo(&format!("ip netns delete {}", RECEIVER.0));
        if is_mounted(STATE).unwrap_or(true) {
            self.shell.undo(&format!("umount {STATE}"));
        }
        drop(fs::remove_dir(STATE));
        drop(fs::remove_dir_all(&self.scratch));
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.sweep();
        drop(fs::remove_file(format!("{STATE}.lock")));
    }
}

/// Does something inside a namespace. A socket made there stays there.
pub(super) fn inside<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    use std::os::fd::AsFd as _;
    let path = Path::new("/run/netns").join(namespace);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // A thread of its own: the namespace is the thread's, and dies with it.
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {}", path.display()))?;
            work()
        });
        worker
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a thread in {namespace} died")))
    })
}

fn is_mounted(place: &str) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(place)))
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        let kind = entry.file_type().context("cannot tell what a pin is")?;
        match kind.is_dir() {
            true => collect(&entry.path(), found)?,
            false => found.push(entry.path()),
        }
    }
    Ok(())
}
