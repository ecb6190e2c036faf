//! A [`World`]: two namespaces, a wire between them, and a state directory of its own.
//!
//! ```text
//!   outside                      inside            nke works here
//!   eth0 ═══════ veth ═══════ eth0
//!   02:…:01                   02:…:02
//!   10.1.0.1, fd01::1         10.1.0.2, fd01::2    (World::with_addresses)
//! ```
//!
//! Without addresses the wire is silent but for what the test sends, so counters are exact.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{
    Chain, Extension, Feature, Hook, Namespace, Objects, Ran, Tap, binaries,
    chain::{Chains, Extensions},
    dump, fail, kernel,
    sys::{bpf, packet},
};

/// The interface's name, on both ends.
pub const IFACE: &str = "eth0";
/// The address outside.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The address inside, where nke works.
pub const INSIDE_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// The address outside.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
/// The address inside, where nke works.
pub const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);

/// Everything that one test works on; dropping it takes all of it away.
#[derive(Debug)]
pub struct World {
    /// The namespace where nke works, on [`IFACE`].
    pub inside: Namespace,
    /// The namespace at the other end of the wire.
    pub outside: Namespace,
    directory: PathBuf,
}

impl World {
    /// A silent world: no addresses, nothing on the wire but what the test sends.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "making a world is no default")]
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            fail("these tests need root");
        }
        let (inside, outside) = (Namespace::new("in"), Namespace::new("out"));
        outside.ip(&format!(
            "link add {IFACE} address 02:00:00:00:00:01 type veth \
             peer {IFACE} address 02:00:00:00:00:02 netns {}",
            inside.name()
        ));
        for end in [&inside, &outside] {
            // A veth takes what is redirected to it only with GRO, or with XDP of its own.
            end.enter(|| packet::set_gro(IFACE, true))
                .expect("veth has GRO");
            end.ip(&format!("link set {IFACE} up"));
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", crate::netns::PREFIX, std::process::id());
        let directory = std::env::temp_dir().join(name);
        for part in ["state", "extensions", "reference"] {
            fs::create_dir_all(directory.join(part)).expect("the temporary directory is ours");
        }
        Self {
            inside,
            outside,
            directory,
        }
    }

    /// Has the kernel sum up what leaves the inside, before it is given to the wire.
    pub fn sum_up_inside(&self) {
        let off = || packet::set_checksums(IFACE, false);
        self.inside.enter(off).expect("veth has checksums");
    }

    /// A world with addresses on both ends, and neighbours that need no asking.
    #[must_use]
    pub fn with_addresses() -> Self {
        let world = Self::new();
        let ends = [
            (
                &world.inside,
                INSIDE_V4,
                INSIDE_V6,
                OUTSIDE_V4,
                OUTSIDE_V6,
                1,
            ),
            (
                &world.outside,
                OUTSIDE_V4,
                OUTSIDE_V6,
                INSIDE_V4,
                INSIDE_V6,
                2,
            ),
        ];
        for (end, v4, v6, peer_v4, peer_v6, peer_mac) in ends {
            end.sysctl(&format!("ipv6/conf/{IFACE}/disable_ipv6"), "0");
            end.ip(&format!("address add {v4}/24 dev {IFACE}"));
            end.ip(&format!("address add {v6}/64 dev {IFACE} nodad"));
            for peer in [peer_v4.to_string(), peer_v6.to_string()] {
                let mac = format!("02:00:00:00:00:0{peer_mac}");
                end.ip(&format!(
                    "neigh replace {peer} lladdr {mac} dev {IFACE} nud permanent"
                ));
            }
        }
        world
    }

    /// The state directory, which nke makes a bpffs of its own.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// A directory for the test's own files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory on the extension path, before the bundled ones.
    #[must_use]
    pub fn extensions(&self) -> PathBuf {
        self.directory.join("extensions")
    }

    /// A bpffs that nke knows nothing of, for pins of the test's own.
    #[must_use]
    pub fn reference(&self) -> PathBuf {
        let path = self.directory.join("reference");
        if !self.mounted(&path) {
            mount("bpf", &path, "bpf", MountFlags::empty(), None).expect("bpffs can be mounted");
        }
        path
    }

    /// Whether something is mounted over the state directory: nke does so while it has state.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        self.mounted(&self.state())
    }

    fn mounted(&self, path: &Path) -> bool {
        let device =
            |path: &Path| fs::metadata(path).map(|m| std::os::unix::fs::MetadataExt::dev(&m));
        device(path).ok() != device(&self.directory).ok()
    }

    /// The command, about to run in this world.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binaries::nke());
        self.dress(&mut command);
        command.args(words);
        command
    }

    /// Gives a command this world's surroundings, and nothing else of the user's.
    pub fn dress(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = self.extensions().into_os_string();
        places.push(":");
        places.push(binaries::extensions());
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8");
        command
            .env("NKE_STATE", self.state())
            .env("NKE_PATH", places);
        command.current_dir(&self.directory);
    }

    /// Runs `nke` with these words.
    #[must_use = "say what is expected of it: ok, fails, json"]
    pub fn nke(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.command(words))
    }

    /// What somebody sees at a terminal who types these words, which must succeed.
    #[track_caller]
    #[must_use]
    pub fn seen(&self, words: &[&str]) -> String {
        let mut command = Command::new("script");
        self.dress(&mut command);
        let line = format!("{} {}", binaries::nke().display(), words.join(" "));
        command
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .stdin(Stdio::null());
        Ran::of(&mut command).ok().stdout.replace('\r', "")
    }

    /// Runs `nke` with these words on the inside's interface.
    #[must_use = "say what is expected of it: ok, fails, json"]
    pub fn on(&self, words: &[&str]) -> Ran {
        self.nke(&self.target(words))
    }

    /// Runs `nke` with these words on a hook of the inside's interface.
    #[must_use = "say what is expected of it: ok, fails, json"]
    pub fn at(&self, hook: Hook, words: &[&str]) -> Ran {
        self.on(&[words, &["--hook", hook.name()]].concat())
    }

    /// The words, followed by those that name the inside's interface.
    #[must_use]
    pub fn target<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["-i", IFACE, "--netns", self.inside.name()]].concat()
    }

    /// Attaches at a hook of the inside's interface; the node that it made.
    #[track_caller]
    pub fn attach(&self, hook: Hook, what: &str, more: &[&str]) -> u32 {
        #[derive(serde::Deserialize)]
        struct Attached {
            id: u32,
        }
        let words = [&["attach", what, "--json"], more].concat();
        self.at(hook, &words).json::<Attached>().id
    }

    /// The chain of a hook of the inside's interface, as the command shows it; none when it
    /// shows none.
    #[track_caller]
    #[must_use]
    pub fn chain(&self, hook: Hook) -> Option<Chain> {
        let all: Chains = self.at(hook, &["chain", "--json"]).json();
        let mut chains = all.chains.into_iter();
        match (chains.next(), chains.next()) {
            (found, None) => found,
            more => fail(format!("one chain was asked for: {more:#?}")),
        }
    }

    /// Every chain of this world's state, as the command shows it.
    #[track_caller]
    #[must_use]
    pub fn chains(&self) -> Vec<Chain> {
        self.nke(&["chain", "--json"]).json::<Chains>().chains
    }

    /// The loaded extensions, as the command shows them.
    #[track_caller]
    #[must_use]
    pub fn list(&self) -> Vec<Extension> {
        self.nke(&["list", "--json"])
            .json::<Extensions>()
            .extensions
    }

    /// The ids of the programs that the kernel calls at a hook of the inside's interface.
    #[must_use]
    pub fn programs(&self, hook: Hook) -> Vec<u32> {
        use aya_obj::generated::bpf_attach_type::{BPF_TCX_EGRESS, BPF_TCX_INGRESS};
        let point = match hook {
            Hook::Xdp => return self.xdp_program().into_iter().collect(),
            Hook::In => BPF_TCX_INGRESS,
            Hook::Out => BPF_TCX_EGRESS,
        };
        let mut programs = vec![];
        if Feature::Tcx.here() {
            let ifindex = self.inside.ifindex(IFACE);
            let tcx = self.inside.enter(|| bpf::query(ifindex, point));
            programs = tcx.expect("the attach point can be asked");
        }
        programs.extend(self.filter_programs(hook));
        programs
    }

    /// The programs of the filters of a clsact, which the kernel calls behind those of TCX.
    fn filter_programs(&self, hook: Hook) -> Vec<u32> {
        let direction = if hook == Hook::In {
            "ingress"
        } else {
            "egress"
        };
        let text = self
            .inside
            .tc(&format!("-j filter show dev {IFACE} {direction}"));
        let filters: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let id = |filter: &serde_json::Value| {
            let id = filter.pointer("/options/prog/id")?.as_u64()?;
            u32::try_from(id).ok()
        };
        let filters = filters.as_array().into_iter().flatten();
        filters.filter_map(id).collect()
    }

    fn xdp_program(&self) -> Option<u32> {
        let text = self.inside.ip(&format!("-j -d link show dev {IFACE}"));
        let links: serde_json::Value = serde_json::from_str(&text).expect("ip writes JSON");
        let id = links.pointer("/0/xdp/prog/id")?.as_u64()?;
        u32::try_from(id).ok()
    }

    /// Runs what the kernel calls at a hook on one packet; none when it calls nothing.
    #[must_use]
    pub fn run(&self, hook: Hook, packet: &[u8]) -> Option<kernel::TestRun> {
        let root = *self.programs(hook).first()?;
        Some(kernel::test_run(root, packet).expect("a root can be run"))
    }

    /// Everything that nke has in the kernel for this world.
    #[must_use]
    pub fn objects(&self) -> Objects {
        let mut objects = Objects::pinned_below(&self.state());
        for hook in Hook::ALL {
            for program in self.programs(hook) {
                objects.add_program(program);
            }
        }
        objects
    }

    /// Attaches a pinned program at TCX with no link, as another tool would.
    pub fn attach_foreign_tcx(&self, hook: Hook, pin: &Path) {
        use aya_obj::generated::bpf_attach_type::{BPF_TCX_EGRESS, BPF_TCX_INGRESS};
        let point = if hook == Hook::In {
            BPF_TCX_INGRESS
        } else {
            BPF_TCX_EGRESS
        };
        let program = bpf::pinned(pin).expect("the program is pinned");
        let ifindex = self.inside.ifindex(IFACE);
        let attached = self
            .inside
            .enter(|| bpf::attach_tcx(program.as_fd(), ifindex, point));
        attached.expect("the attach point takes the program");
    }

    /// A packet socket at the inside's end of the wire.
    #[must_use]
    pub fn tap_inside(&self) -> Tap {
        Tap::open(&self.inside, IFACE)
    }

    /// A packet socket at the outside's end of the wire.
    #[must_use]
    pub fn tap_outside(&self) -> Tap {
        Tap::open(&self.outside, IFACE)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            dump::print(self);
        }
        remove(&self.directory);
    }
}

/// Takes a world's directory away, with the file systems mounted in it.
pub(crate) fn remove(directory: &Path) {
    for part in ["state", "reference"] {
        // nke mounts once; more than once would be its bug, and must not outlive the test.
        while unmount(directory.join(part), UnmountFlags::DETACH).is_ok() {}
    }
    drop(fs::remove_dir_all(directory));
}
