//! What the kernel itself says: the programs at an attach point, their answer, what still lives.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use crate::{
    Deadline, fail,
    netns::run,
    sys::bpf::{self, Kind},
    tree,
};

/// A set of kernel objects, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects(BTreeSet<(Kind, u32)>);

impl Objects {
    /// Everything that is pinned below a directory, with all that it holds: a link's program, a
    /// program's maps and its BTF.
    #[must_use]
    pub fn pinned_below(directory: &Path) -> Self {
        let mut all = Self::default();
        for path in tree::files(directory) {
            let Ok(pin) = bpf::pinned(&path) else {
                continue;
            };
            let (kind, id) = identify(&pin)
                .unwrap_or_else(|| fail(format!("{} pins something unknown", path.display())));
            all.0.insert((kind, id));
            match kind {
                Kind::Link => {
                    let program = bpf::link_program(pin.as_fd()).expect("a link has an info");
                    all.add_program(program);
                }
                Kind::Program => all.add_program(id),
                Kind::Map | Kind::Btf => {}
            }
        }
        all
    }

    /// Adds a program with its maps and its BTF, unless it is gone.
    pub fn add_program(&mut self, id: u32) {
        let Ok(fd) = bpf::open(Kind::Program, id) else {
            return;
        };
        let (info, maps) = bpf::program_info(fd.as_fd()).expect("a program has an info");
        self.0.insert((Kind::Program, id));
        if info.btf_id != 0 {
            self.0.insert((Kind::Btf, info.btf_id));
        }
        self.0.extend(maps.into_iter().map(|map| (Kind::Map, map)));
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// Those that are not in another set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of them that the kernel still has.
    #[must_use]
    pub fn alive(&self) -> Self {
        Self(
            self.0
                .iter()
                .copied()
                .filter(|&(kind, id)| bpf::exists(kind, id))
                .collect(),
        )
    }

    /// All of them must go; the kernel frees them some grace periods after their last user.
    #[track_caller]
    pub fn assert_gone(&self) {
        if !Deadline::generous().until(|| self.alive().0.is_empty()) {
            fail(format!(
                "still in the kernel: {:?} of {self:?}",
                self.alive()
            ));
        }
    }
}

/// How many objects of every kind the whole kernel has.
#[must_use]
pub fn population() -> [(&'static str, usize); 4] {
    Kind::ALL.map(|kind| {
        let name = match kind {
            Kind::Program => "programs",
            Kind::Map => "maps",
            Kind::Link => "links",
            Kind::Btf => "BTF objects",
        };
        (name, bpf::ids(kind, 0).len())
    })
}

/// What a descriptor is: the kernel says so in its fdinfo.
pub(crate) fn identify(fd: &OwnedFd) -> Option<(Kind, u32)> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let number = |key: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    };
    // A link's fdinfo shows its program too, and a program array's its owner: ask in this order.
    let kinds = [
        ("link_id:", Kind::Link),
        ("map_id:", Kind::Map),
        ("prog_id:", Kind::Program),
        ("btf_id:", Kind::Btf),
    ];
    kinds
        .into_iter()
        .find_map(|(key, kind)| Some((kind, number(key)?)))
}

/// The id of a pinned object.
#[must_use]
pub fn pinned_id(path: &Path) -> Option<u32> {
    let pin = bpf::pinned(path).ok()?;
    identify(&pin).map(|(_, id)| id)
}

/// Pins a program that is loaded, by its id.
///
/// # Errors
///
/// What the kernel says, when there is no such program or it cannot be pinned there.
pub fn pin_program(program: u32, path: &Path) -> io::Result<()> {
    bpf::pin(bpf::open(Kind::Program, program)?.as_fd(), path)
}

/// Pins what is pinned at one path at another as well.
pub fn pin_again(from: &Path, to: &Path) {
    let object = bpf::pinned(from).expect("it is pinned");
    bpf::pin(object.as_fd(), to).expect("it can be pinned there");
}

/// What a program answered to one packet, and the packet as it left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's return value.
    pub answer: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
}

/// Runs a program once on a packet, by its id.
///
/// # Errors
///
/// What the kernel says, when there is no such program or it cannot be run.
pub fn test_run(program: u32, packet: &[u8]) -> io::Result<TestRun> {
    let fd = bpf::open(Kind::Program, program)?;
    let (answer, packet) = bpf::test_run(fd.as_fd(), packet)?;
    Ok(TestRun { answer, packet })
}

/// The entries of a pinned array of 64-bit numbers.
#[must_use]
pub fn counts(pin: &Path) -> Vec<u64> {
    let text = run(
        "bpftool",
        &["-j", "map", "dump", "pinned", &pin.display().to_string()],
    );
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).expect("bpftool writes JSON");
    let byte = |digit: &serde_json::Value| {
        let text = digit
            .as_str()
            .and_then(|text| text.strip_prefix("0x"))
            .unwrap_or_default();
        u8::from_str_radix(text, 16).expect("a byte")
    };
    let number = |entry: &serde_json::Value| {
        let bytes: Vec<u8> = entry["value"]
            .as_array()
            .into_iter()
            .flatten()
            .map(byte)
            .collect();
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    };
    entries.iter().map(number).collect()
}

/// Sets an entry of a pinned array of 64-bit numbers.
pub fn set_count(pin: &Path, at: u32, count: u64) {
    let bytes = |bytes: &[u8]| {
        let hex = bytes.iter().map(|byte| format!("0x{byte:02x}"));
        hex.collect::<Vec<_>>()
    };
    let pin = pin.display().to_string();
    let (key, value) = (bytes(&at.to_le_bytes()), bytes(&count.to_le_bytes()));
    let mut words = vec!["map", "update", "pinned", &pin, "key"];
    words.extend(key.iter().map(String::as_str));
    words.push("value");
    words.extend(value.iter().map(String::as_str));
    run("bpftool", &words);
}
