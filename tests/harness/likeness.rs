//! A stranger in a chain against the same stranger alone: same verdicts, same packets, same maps.
//!
//! The stranger is loaded twice: by libbpf, through bpftool, as its author would load it; and by
//! nke, between two `trail` nodes. Both get the same packets.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    Hook, World, fail,
    kernel::{self, TestRun},
    netns::run,
    trail, tree,
};

/// A stranger, and what is to be known to compare it.
#[derive(Clone, Debug)]
pub struct Likeness<'a> {
    /// The object for nke.
    pub object: &'a str,
    /// The object for libbpf, which knows fewer section names.
    pub reference: &'a str,
    /// The program's symbol.
    pub program: &'a str,
    /// Where nke attaches it.
    pub hook: Hook,
    /// The neighbours, where they must be special ones.
    pub neighbours: [String; 2],
    /// The packets.
    pub packets: Vec<Vec<u8>>,
    /// Maps whose contents differ by their nature.
    pub incomparable: &'a [&'a str],
    /// Maps that the reference has not.
    pub only_in_nke: &'a [&'a str],
}

impl<'a> Likeness<'a> {
    /// A stranger that libbpf loads as it is, and 32 packets that bring it as many numbers.
    #[must_use]
    pub fn of(object: &'a str, program: &'a str, hook: Hook) -> Self {
        Self {
            object,
            reference: object,
            program,
            hook,
            neighbours: [trail::object(1), trail::object(2)],
            packets: (0..32)
                .chain([77, 200, 201, 255])
                .map(trail::frame)
                .collect(),
            incomparable: &[],
            only_in_nke: &[],
        }
    }

    /// Compares in a world of its own.
    #[track_caller]
    pub fn check(&self) {
        self.check_in(&World::new());
    }

    /// Compares in a world that is there.
    #[track_caller]
    pub fn check_in(&self, world: &World) {
        // Maps with a value for each CPU are the same only if both ran on the same CPUs.
        let mut one = rustix::thread::CpuSet::new();
        one.set(0);
        rustix::thread::sched_setaffinity(None, &one).expect("CPU 0 is ours");
        let [before, after] = &self.neighbours;
        world.attach(self.hook, before, &["--priority", "10"]);
        world.attach(self.hook, self.object, &["--program", self.program]);
        world.attach(self.hook, after, &["--priority", "90"]);
        let alone = self.load_alone(world);
        let maps = Maps::of(world, self, &alone);
        for (nth, packet) in self.packets.iter().enumerate() {
            let expected = self.expected(alone.program, packet);
            let got = world.run(self.hook, packet).expect("a root is attached");
            assert_eq!(
                got, expected,
                "left in the chain, right alone, of {packet:?}"
            );
            // Reading them all costs a hundred times what the packet does.
            if nth < 2 || nth + 1 == self.packets.len() {
                maps.compare(self.incomparable, packet);
            }
        }
    }

    fn load_alone(&self, world: &World) -> Alone {
        let base = world.reference().join("alone");
        let (programs, maps) = (base.display().to_string(), base.with_extension("maps"));
        let maps = maps.display().to_string().replace('.', "-");
        run(
            "bpftool",
            &[
                "prog",
                "loadall",
                self.reference,
                &programs,
                "pinmaps",
                &maps,
            ],
        );
        let pin = Path::new(&programs).join(self.program);
        let program = kernel::pinned_id(&pin).unwrap_or_else(|| {
            fail(format!(
                "libbpf pins no {} in {:?}",
                self.program,
                tree(&base)
            ))
        });
        Alone { program, maps }
    }

    /// What the chain is to make of a packet: the neighbour in front adds its number, the
    /// stranger does what it does, and if it goes on the neighbour behind adds its number.
    fn expected(&self, alone: u32, packet: &[u8]) -> TestRun {
        let mut packet = packet.to_vec();
        trail::add(&mut packet, 1);
        let run = kernel::test_run(alone, &packet).expect("the program alone can be run");
        let TestRun { answer, mut packet } = run;
        if !self.hook.goes_on(answer) {
            return TestRun { answer, packet };
        }
        trail::add(&mut packet, 2);
        TestRun {
            answer: self.hook.pass(),
            packet,
        }
    }
}

struct Alone {
    program: u32,
    maps: String,
}

/// The same maps on both sides, by their names.
struct Maps(BTreeMap<String, [String; 2]>);

impl Maps {
    fn of(world: &World, likeness: &Likeness<'_>, alone: &Alone) -> Self {
        let name = Path::new(likeness.object)
            .file_stem()
            .expect("an object has a name")
            .to_string_lossy();
        let ours = world.state().join("extensions").join(&*name).join("maps");
        let theirs: Vec<_> = tree(Path::new(&alone.maps));
        let mut pairs = BTreeMap::new();
        for ours in fs::read_dir(&ours).into_iter().flatten().flatten() {
            let name = ours.file_name().to_string_lossy().replace("%2e", ".");
            if likeness.only_in_nke.contains(&name.as_str()) {
                continue;
            }
            // libbpf puts the object's name before those of sections, and likes no dots.
            let end = name.replace('.', "_");
            let matches =
                |their: &&String| **their == end || name.starts_with('.') && their.ends_with(&end);
            let their = theirs.iter().find(matches);
            let their = their.unwrap_or_else(|| fail(format!("libbpf has no {name}: {theirs:?}")));
            let their = format!("{}/{their}", alone.maps);
            pairs.insert(name, [ours.path().display().to_string(), their]);
        }
        assert_eq!(
            pairs.len(),
            theirs.len(),
            "left by nke, right by libbpf: {pairs:?} {theirs:?}"
        );
        Self(pairs)
    }

    #[track_caller]
    fn compare(&self, incomparable: &[&str], packet: &[u8]) {
        for (name, [ours, theirs]) in &self.0 {
            if !incomparable.contains(&name.as_str()) {
                let at = trail::read(packet);
                assert_eq!(
                    contents(ours),
                    contents(theirs),
                    "left nke's map {name}, after {at:?}"
                );
            }
        }
    }
}

/// A map's contents, in the order of its keys; what cannot be read counts as empty.
fn contents(pin: &str) -> Vec<String> {
    let output = Command::new("bpftool")
        .args(["-j", "map", "dump", "pinned", pin])
        .output();
    let output = output.expect("bpftool is installed");
    let entries: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let raw = |entry: &Value| format!("{} {} {}", entry["key"], entry["value"], entry["values"]);
    let mut lines: Vec<_> = entries.as_array().into_iter().flatten().map(raw).collect();
    lines.sort();
    lines
}
