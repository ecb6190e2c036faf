//! The programs that are measured, and those that make and take packets: compiled by clang, as
//! objects that every loader takes.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nke::object::Object;
use nke::sys::{map, program};

use crate::workspace::Workspace;

/// How many nodes are measured.
pub(super) const LENGTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Every object: its name, its source and its macros.
const SOURCES: &[(&str, &str, &[&str])] = &[
    ("node-xdp", "node.c", &[]),
    ("other-xdp", "node.c", &["-DMARK=0x88b6"]),
    ("node-tc", "node.c", &["-DTC"]),
    ("node-netfilter", "node.c", &["-DNETFILTER"]),
    (
        "node-ingress",
        "node.c",
        &["-DCGROUP=\"cgroup_skb/ingress\""],
    ),
    ("node-egress", "node.c", &["-DCGROUP=\"cgroup_skb/egress\""]),
    ("node-connect", "node.c", &["-DCONNECT"]),
    ("sink-xdp", "ends.c", &[]),
    ("sink-tc", "ends.c", &["-DTC"]),
    ("gate", "ends.c", &["-DGATE"]),
    ("generator", "ends.c", &["-DGENERATOR"]),
    ("rotating-sender", "rotation.c", &["-DSENDER"]),
    ("rotating-caller", "rotation.c", &[]),
];

/// The compiled objects.
pub(super) struct Objects {
    directory: PathBuf,
}

impl Objects {
    /// Compiles all of them, which takes a second.
    pub(super) fn compile(workspace: &Workspace) -> Result<Self> {
        let directory = workspace.target.join("bench");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let objects = Self { directory };
        let sources = workspace.root.join("xtask/src/bench/programs");
        for (name, source, macros) in SOURCES {
            compile(&sources.join(source), macros, &objects.path(name))?;
        }
        for length in LENGTHS {
            let macros = format!("-DNODES={length}");
            let output = objects.path(&dispatcher(length));
            compile(&sources.join("dispatcher.c"), &[&macros], &output)?;
        }
        Ok(objects)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.o"))
    }

    /// The path of a file beside the objects.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Loads an object's only program as it is, with these maps.
    pub(super) fn load(&self, name: &str, maps: &[(&str, &OwnedFd)]) -> Result<OwnedFd> {
        self.load_with(name, maps, 0)
    }

    /// The same with `BPF_F_…`.
    pub(super) fn load_with(
        &self,
        name: &str,
        maps: &[(&str, &OwnedFd)],
        flags: u32,
    ) -> Result<OwnedFd> {
        let path = self.path(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let object = Object::parse(name, bytes)?;
        let only = object
            .programs()
            .first()
            .context("an object without a program")?;
        let (hook, symbol) = (object.hooks()[0], only.symbol.clone());
        let maps: BTreeMap<String, BorrowedFd<'_>> = maps
            .iter()
            .map(|(name, fd)| ((*name).to_owned(), fd.as_fd()))
            .collect();
        let linked = object.link(&symbol, &maps)?;
        let body = linked.body();
        let loaded = program::load(&program::Load {
            program_type: hook.row().program_type as u32,
            expected_attach_type: hook.row().expected_attach_type,
            attach_btf_id: 0,
            flags,
            name: &symbol,
            license: &linked.license,
            instructions: body.instructions,
            btf: linked.btf.as_ref().map(OwnedFd::as_fd),
            func_info: body.func_info,
            line_info: body.line_info,
        });
        loaded
            .map_err(|refused| refused.error)
            .with_context(|| format!("cannot load {name}"))
    }
}

/// The name of a dispatcher's object.
pub(super) fn dispatcher(length: usize) -> String {
    format!("dispatcher-{length}")
}

/// A map as a gate or a sink has it.
pub(super) fn packet_counter() -> Result<OwnedFd> {
    map::create(map::Shape::per_cpu_array("packets", 8)).context("cannot make a counter")
}

/// What a gate or a sink has counted, on all CPUs.
pub(super) fn counted(counter: &OwnedFd) -> Result<u64> {
    let mut values = vec![0; 8 * map::cpus()];
    map::lookup(counter, &0u32.to_ne_bytes(), &mut values)
        .context("cannot read a counter")?
        .context("a counter without a value")?;
    let numbers = values
        .chunks_exact(8)
        .filter_map(|bytes| bytes.try_into().ok());
    Ok(numbers.map(u64::from_ne_bytes).sum())
}

fn compile(source: &Path, macros: &[&str], output: &Path) -> Result<()> {
    let include = format!("/usr/include/{}-linux-gnu", env::consts::ARCH);
    let status = Command::new("clang-16")
        .args(["-g", "-O2", "-Wall", "-target", "bpf", "-I", &include])
        .args(macros)
        .arg("-c")
        .args([source.as_os_str(), "-o".as_ref(), output.as_os_str()])
        .status()
        .context("cannot run clang-16; `cargo xtask setup --tests` installs it")?;
    ensure!(
        status.success(),
        "clang-16 cannot compile {}",
        source.display()
    );
    Ok(())
}
