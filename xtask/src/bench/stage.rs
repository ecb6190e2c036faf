//! The stage: two namespaces with cables between them, a state directory of its own, a core of its
//! own. All of it goes away with this value, whatever happened.
//!
//! The measuring thread lives in the receiver's namespace, so that no command that it runs needs to
//! be told of one; the generator's thread lives in the sender's.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use nke::control::{Attach, Attached, Control, Manner};
use nke::find::Wanted;
use nke::hook::Hook;
use nke::sys::{self, link, program};
use rustix::thread::{
    CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_getaffinity, sched_setaffinity,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::lifecycle;
use super::objects::Objects;
use crate::workspace::Workspace;

const SENDER: &str = "nke-bench-out";
const RECEIVER: &str = "nke-bench-in";
/// What the names of rooms begin with.
const ROOM: &str = "nke-bench-room-";
/// nke's state, apart from that of the machine.
pub(super) const STATE: &str = "/run/nke-bench";
/// Where other loaders pin.
pub(super) const PINS: &str = "/run/nke-bench-pins";
/// Where tc mounts a bpffs when nobody else has.
const BPFFS: &str = "/sys/fs/bpf";
const LOCK: &str = "/run/nke-bench.lock";
/// The Ethernet address of all receivers: the generators' packets are for them.
const ADDRESS: &str = "02:02:02:02:02:02";

/// What the benchmark made, and undoes.
pub(super) struct Stage<'a> {
    pub(super) objects: &'a Objects,
    interrupted: Arc<AtomicBool>,
    home: File,
    cores: CpuSet,
    cables: usize,
    rooms: usize,
    bpffs: bool,
    _lock: File,
}

/// A network namespace and a cgroup for one candidate alone.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// The namespace's name.
    pub(super) namespace: String,
    /// The cgroup's directory.
    pub(super) cgroup: PathBuf,
}

/// A cable between the namespaces.
#[derive(Clone, Debug)]
pub(super) struct Cable {
    /// The receiver's interface, to which things are attached.
    pub(super) inside: String,
    /// The index of the receiver's interface.
    pub(super) inside_index: u32,
    /// The index of the sender's.
    pub(super) outside_index: u32,
}

impl<'a> Stage<'a> {
    /// Makes the namespaces and enters the receiver's, on the last core. Sweeps first what a
    /// benchmark that was killed has left.
    pub(super) fn build(objects: &'a Objects) -> Result<Self> {
        let lock = File::create(LOCK).with_context(|| format!("cannot make {LOCK}; be root"))?;
        ensure!(
            lock.try_lock().is_ok(),
            "another benchmark is running (it holds {LOCK})"
        );
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .context("cannot listen to signals")?;
        }
        let stage = Self {
            objects,
            interrupted,
            home: File::open("/proc/thread-self/ns/net").context("cannot open the namespace")?,
            cores: sched_getaffinity(None).context("cannot tell the cores")?,
            cables: 0,
            rooms: 0,
            bpffs: is_mounted(BPFFS)?,
            _lock: lock,
        };
        stage.sweep();
        for namespace in [SENDER, RECEIVER] {
            run("ip", &["netns", "add", namespace])?;
        }
        fs::create_dir_all(PINS).with_context(|| format!("cannot make {PINS}"))?;
        run("mount", &["-t", "bpf", "bpf", PINS])?;
        enter(RECEIVER)?;
        pin_to(Core::Measuring)?;
        Ok(stage)
    }

    /// One more cable. Its receiving end takes whole frames without an XDP program, too.
    pub(super) fn cable(&mut self) -> Result<Cable> {
        let (inside, outside) = self.new_cable()?;
        plug(&inside, &outside)
    }

    /// One more cable, into a room.
    pub(super) fn cable_into(&mut self, room: &Room) -> Result<Cable> {
        let (inside, outside) = self.new_cable()?;
        run("ip", &["link", "set", &inside, "netns", &room.namespace])?;
        self.inside(room, || plug(&inside, &outside))
    }

    /// The names of both ends of a new cable.
    fn new_cable(&mut self) -> Result<(String, String)> {
        self.cables += 1;
        let (inside, outside) = (format!("in{}", self.cables), format!("out{}", self.cables));
        let mut add = vec!["link", "add", &inside, "address", ADDRESS, "type", "veth"];
        add.extend(["peer", "name", &outside, "netns", SENDER]);
        run("ip", &add)?;
        Ok((inside, outside))
    }

    /// One more room, with a loopback interface that is up.
    pub(super) fn room(&mut self) -> Result<Room> {
        self.rooms += 1;
        let namespace = format!("{ROOM}{}", self.rooms);
        run("ip", &["netns", "add", &namespace])?;
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
        let cgroup = cgroups()?.join(&namespace);
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        Ok(Room { namespace, cgroup })
    }

    /// Does something as a member of a room, and comes back.
    pub(super) fn inside<T>(&self, room: &Room, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let home = cgroups()?.join(own_cgroup()?);
        enter(&room.namespace)?;
        join(&room.cgroup)?;
        let done = work();
        join(&home)?;
        enter(RECEIVER)?;
        done
    }

    /// The library, with its lock.
    pub(super) fn control(&self) -> Result<Control> {
        Ok(Control::open(STATE.as_ref())?)
    }

    /// The attachment of an object to a cable.
    pub(super) fn attachment(&self, name: &str, cable: &Cable, hook: Hook) -> Attach {
        Attach {
            extension: Wanted::Path(self.objects.path(name)),
            hook: Some(hook),
            ..Attach::new(name, &cable.inside)
        }
    }

    /// The attachment of a bundled extension to a cable.
    pub(super) fn bundled(&self, name: &str, cable: &Cable, hook: Hook) -> Result<Attach> {
        let object = Workspace::find()?.extensions().join(name);
        Ok(Attach {
            extension: Wanted::Path(object.with_extension("o")),
            hook: Some(hook),
            ..Attach::new(name, &cable.inside)
        })
    }

    /// Attaches an object at the end of a chain.
    pub(super) fn append(
        &self,
        control: &mut Control,
        name: &str,
        (cable, hook): (&Cable, Hook),
        counters: bool,
    ) -> Result<Attached> {
        let position = None;
        let attach = Attach {
            manner: Manner {
                counters,
                ..Manner::default()
            },
            position,
            ..self.attachment(name, cable, hook)
        };
        Ok(control.attach(&attach)?)
    }

    /// Hangs a program on a cable of its own for as long as the result is kept.
    ///
    /// Those that hang on an interface, whichever, are in the list of programs that the kernel calls
    /// directly. A test run of any other puts it there and takes it away again, and waits for all CPUs
    /// each time.
    pub(super) fn hang(&mut self, program: &OwnedFd) -> Result<OwnedFd> {
        let attach_type = Hook::INTERFACE_XDP.row().attach_type;
        let index = self.cable()?.inside_index;
        link::create(program, index, attach_type, 0).context("cannot attach a program")
    }

    /// The program that the kernel calls for a chain.
    pub(super) fn root(&self, cable: &Cable, hook: Hook) -> Result<OwnedFd> {
        let inode = fs::metadata("/proc/thread-self/ns/net").context("no namespace")?;
        let inode = std::os::unix::fs::MetadataExt::ino(&inode);
        let hook = hook.row().name.replace('/', "-");
        let path = format!("{STATE}/chains/{hook}/{inode}-{}/link", cable.inside_index);
        let link = sys::get(Path::new(&path)).with_context(|| format!("cannot open {path}"))?;
        let described = link::describe(link).context("cannot ask about a link")?;
        program::open(described.program_id).context("cannot open a root")
    }

    /// The counter of a gate or a sink that nke has loaded.
    pub(super) fn counter(&self, extension: &str) -> Result<OwnedFd> {
        let path = format!("{STATE}/extensions/{extension}/maps/packets");
        sys::get(Path::new(&path)).with_context(|| format!("cannot open {path}"))
    }

    /// Ends everything once somebody has asked for that.
    pub(super) fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Says how far a part has come.
    pub(super) fn progress(&self, part: &str, done: usize, all: usize) -> Result<()> {
        let mut out = io::stderr();
        // Progress is decoration: a closed terminal must not stop the work.
        if out.is_terminal() {
            drop(write!(out, "\r\x1b[2K{part}: {done} of {all}"));
        } else if done == 0 {
            drop(writeln!(out, "{part} …"));
        }
        self.check()
    }

    /// Takes the stage down.
    pub(super) fn strike(self) {
        drop(self);
    }

    fn sweep(&self) {
        // The order matters: an interface goes with its namespace, and takes its programs along.
        for namespace in [SENDER, RECEIVER]
            .map(str::to_owned)
            .into_iter()
            .chain(rooms("/run/netns"))
        {
            undo("ip", &["netns", "delete", &namespace]);
        }
        if let Ok(cgroups) = cgroups() {
            for room in rooms(&cgroups) {
                drop(fs::remove_dir(cgroups.join(room)));
            }
        }
        for place in [STATE, PINS] {
            undo("umount", &[place]);
            drop(fs::remove_dir(place));
        }
        lifecycle::sweep();
        // tc mounts twice: the directory over itself, and a bpffs over that.
        while !self.bpffs && is_mounted(BPFFS).unwrap_or(false) && undo("umount", &[BPFFS]) {}
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let kind = Some(LinkNameSpaceType::Network);
        // What cannot be undone, the next benchmark sweeps.
        let _: rustix::io::Result<()> = move_into_link_name_space(self.home.as_fd(), kind);
        let _: rustix::io::Result<()> = sched_setaffinity(None, &self.cores);
        self.sweep();
        drop(fs::remove_file(LOCK));
        if io::stderr().is_terminal() {
            drop(write!(io::stderr(), "\r\x1b[2K"));
        }
    }
}

/// Has a new cable, the receiving end of which is in this namespace, take packets.
fn plug(inside: &str, outside: &str) -> Result<Cable> {
    // Without addresses there is no traffic but the generator's.
    let mut up = vec!["link", "set", inside, "addrgenmode", "none", "up"];
    run("ip", &up)?;
    up[2] = outside;
    run("ip", &[&["-n", SENDER][..], &up].concat())?;
    run("ethtool", &["-K", inside, "gro", "on"])?;
    Ok(Cable {
        inside_index: index(&["-o", "link", "show", inside])?,
        outside_index: index(&["-n", SENDER, "-o", "link", "show", outside])?,
        inside: inside.to_owned(),
    })
}

/// Moves the calling thread to the sender's side.
pub(super) fn enter_sender() -> Result<()> {
    enter(SENDER)
}

/// The names of rooms in a directory.
fn rooms(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(ROOM)).collect()
}

/// Where cgroups of version 2 are mounted.
fn cgroups() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let mut lines = mounts.lines();
    let mount = lines.find(|line| line.contains(" - cgroup2 "));
    let place = mount.and_then(|line| line.split(' ').nth(4));
    Ok(place.context("no cgroups of version 2 are mounted")?.into())
}

/// The cgroup of this process, below where they are mounted.
fn own_cgroup() -> Result<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").context("cannot read the cgroup")?;
    let mut lines = cgroups.lines();
    let own = lines.find_map(|line| line.strip_prefix("0::/"));
    Ok(own.context("no cgroup of version 2")?.into())
}

fn join(cgroup: &Path) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("cannot join {}", cgroup.display()))
}

fn enter(namespace: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(namespace);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", path.display()))
}

/// A core by what runs there.
#[derive(Clone, Copy)]
pub(super) enum Core {
    /// The last one: what is measured.
    Measuring,
    /// Another one, if there is: what must not disturb that.
    Beside,
}

/// Keeps the calling thread on one core.
pub(super) fn pin_to(core: Core) -> Result<()> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online
        .trim()
        .rsplit(['-', ','])
        .next()
        .and_then(|last| last.parse().ok());
    let last: usize = last.unwrap_or(0);
    let mut set = CpuSet::new();
    set.set(match core {
        Core::Measuring => last,
        Core::Beside => last.saturating_sub(1),
    });
    sched_setaffinity(None, &set).context("cannot stay on one core")
}

/// Runs a command that must succeed; its output.
pub(super) fn run(command: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(command)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {command}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let line = arguments.join(" ");
    ensure!(
        output.status.success(),
        "`{command} {line}` failed: {}",
        complaint.trim()
    );
    Ok(output)
}

/// Runs a command that may well fail; whether it did what it should.
fn undo(command: &str, arguments: &[&str]) -> bool {
    Command::new(command)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn is_mounted(place: &str) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(place)))
}

/// The index that `ip -o link show` begins with.
fn index(arguments: &[&str]) -> Result<u32> {
    let output = run("ip", arguments)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split(':').next().unwrap_or_default();
    number
        .trim()
        .parse()
        .with_context(|| format!("`ip` says {text:?}"))
}
