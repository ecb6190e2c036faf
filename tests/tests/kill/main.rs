//! Killed at any system call, a command leaves the old or the new state in force in each chain, never
//! a third; with the next command it is the same of both everywhere, and the rest is taken away.
//!
//! Each command is run again and again, and killed at the entry of one system call after the
//! other. What a kill leaves behind can only differ where a call between could change something,
//! so by default it is killed at all of those, and at some others. `NKE_KILL_ALL=1` kills it at
//! every one.

mod attach;
mod confirm;
mod edits;
mod filter;
mod load;
mod upgrade;

use std::{path::Path, process::Command};

use nke_tests::{Call, Chain, End, Hook, World, stranger, trace, trail, tree};
use serde_json::Value;

/// Of the calls that change nothing, one in this many is tried.
const SAMPLE: usize = 16;

/// What is to be killed, and the way back. `HERE` stands for the words that name the interface,
/// `NETNS` for those that name its namespace.
struct Case {
    /// Makes the state that is there before.
    before: &'static [&'static str],
    /// The command that is killed.
    command: &'static str,
    /// Undoes it.
    undo: &'static [&'static str],
}

/// An extension in a chain, and its priority there.
type Place = (String, i64);

/// All that one can see of a state, without the numbers that differ each time.
#[derive(Clone, Debug, PartialEq)]
struct Picture {
    /// What packets meet, and what becomes of them.
    packets: Vec<(Vec<u8>, u32)>,
    /// Each chain: its hook, its policy, and its extensions with their priorities.
    chains: Vec<(String, String, Vec<Place>)>,
    /// Each extension: its name, load count and use count.
    extensions: Vec<(String, u32, u32)>,
    /// The rules of packet filters.
    rules: Vec<String>,
    /// What lies in the state directory.
    files: Vec<String>,
}

fn packets(world: &World) -> Vec<(Vec<u8>, u32)> {
    let trails = Hook::ALL.map(|hook| world.trail(hook));
    trails
        .into_iter()
        .map(|trail| (trail.seen, trail.answer))
        .collect()
}

/// Takes the picture with commands, which sweep, but for the packets: those come first.
fn picture(world: &World) -> Picture {
    let packets = packets(world);
    let outline = |chain: Chain| {
        let nodes = chain
            .nodes
            .into_iter()
            .map(|node| (node.extension, node.priority));
        (chain.hook, chain.policy, nodes.collect())
    };
    let chains = world.chains().into_iter().map(outline).collect();
    let mut extensions: Vec<_> = world
        .list()
        .into_iter()
        .map(|e| (e.name, e.loads, e.uses))
        .collect();
    extensions.sort();
    Picture {
        packets,
        chains,
        extensions,
        rules: rules(world),
        files: files(world),
    }
}

/// Each packet filter's default and rules, without what they counted.
fn rules(world: &World) -> Vec<String> {
    let listed: Value = world.nke(&["filter", "list", "--json"]).json();
    let mut all = Vec::new();
    for filter in listed["filters"].as_array().into_iter().flatten() {
        all.push(filter["default"].to_string());
        let rules = filter["rules"].as_array().into_iter().flatten();
        all.extend(rules.map(|rule| rule["rule"].to_string()));
    }
    all
}

/// The files below the state directory, with every number replaced: ids differ each time.
fn files(world: &World) -> Vec<String> {
    let plain = |line: String| {
        let path = line.split(" -> ").next().unwrap_or_default();
        let numberless: Vec<_> = path
            .split('/')
            .map(|part| {
                if part.starts_with(|c: char| c.is_ascii_digit()) {
                    "#"
                } else {
                    part
                }
            })
            .collect();
        numberless.join("/")
    };
    // Others may have something there as well: iproute2 takes the first bpffs that it finds.
    const OWN: [&str; 3] = ["chains/", "extensions/", "confirm/"];
    let own = |line: &String| OWN.iter().any(|place| line.starts_with(place));
    let lines = tree(&world.state()).into_iter().filter(own);
    let mut files: Vec<_> = lines.map(plain).collect();
    files.sort();
    files
}

impl Case {
    fn check(&self) {
        let world = prepared();
        let command = || world.command(&place(&world, self.command));
        run(&world, self.before);
        let old = picture(&world);
        let whole = trace(&mut command(), |_| false);
        assert_eq!(whole.end, End::Exited(0), "{}", whole.stderr);
        let new = picture(&world);
        assert_ne!(old, new, "the command changes something");
        run(&world, self.undo);
        assert_eq!(picture(&world), old, "the undoing undoes it");

        let every = std::env::var_os("NKE_KILL_ALL").is_some();
        let changing = whole
            .calls
            .iter()
            .filter(|call| call.changes_the_world())
            .count();
        let (mut kills, mut changed) = (0, 0);
        if every {
            while self.kill(&world, command(), kills, |_| true, &old, &new) {
                kills += 1;
            }
        } else {
            while self.kill(
                &world,
                command(),
                changed,
                Call::changes_the_world,
                &old,
                &new,
            ) {
                changed += 1;
            }
            assert!(changed >= changing.min(3), "{changed} of {changing}");
            kills = changed;
            for nth in (0..whole.calls.len()).step_by(SAMPLE) {
                kills += usize::from(self.kill(&world, command(), nth, |_| true, &old, &new));
            }
        }
        eprintln!(
            "{}: killed {kills} times, of {} system calls, {changing} of which change something",
            self.command,
            whole.calls.len()
        );
        assert_eq!(picture(&world), old);
        if !world.pending().exists() {
            world.assert_no_timer();
        }
    }

    /// Kills the command at the `nth` call (from 0) of those that `counts`, and looks at what is
    /// left; false when it came to its end before that.
    fn kill(
        &self,
        world: &World,
        mut command: Command,
        nth: usize,
        counts: impl Fn(&Call) -> bool,
        old: &Picture,
        new: &Picture,
    ) -> bool {
        let mut left = nth;
        let mut at = None;
        let killed = trace(&mut command, |call| {
            if !counts(call) {
                return false;
            }
            left = left.wrapping_sub(1);
            at = Some(*call);
            left == usize::MAX
        });
        let seen = packets(world);
        let each = seen.iter().zip(old.packets.iter().zip(&new.packets));
        assert!(
            each.clone()
                .all(|(seen, (old, new))| seen == old || seen == new),
            "killed at {at:?}, packets meet {seen:?}\nold {old:#?}\nnew {new:#?}"
        );
        // The next command, which may go on or back.
        drop(world.list());
        let then = picture(world);
        assert!(
            then == *old || then == *new,
            "killed at {at:?}: {then:#?}\nold {old:#?}\nnew {new:#?}"
        );
        // Nobody was told of what was to be confirmed and is not told yet: it goes back.
        let goes_back = self.command.contains("--confirm") && then == *old;
        if seen == old.packets || (seen == new.packets && !goes_back) {
            assert_eq!(then.packets, seen, "the next command changes nothing of it");
        }
        if killed.end != End::Killed {
            assert_eq!(
                (killed.end, &then),
                (End::Exited(0), new),
                "{}",
                killed.stderr
            );
        }
        if then == *new {
            run(world, self.undo);
            assert_eq!(picture(world), *old, "the way back from {at:?}");
        }
        killed.end == End::Killed
    }
}

/// A world with all that the cases want on its search path.
fn prepared() -> World {
    let world = World::new();
    for object in (1..=9).map(trail::object).chain([1, 2].map(trail::frags)) {
        let name = Path::new(&object)
            .file_name()
            .expect("an object has a name");
        std::fs::copy(&object, world.extensions().join(name)).expect("it can be copied");
    }
    put_dependencies(&world);
    put_routines(&world);
    confirm::put_declaration(&world);
    world
}

/// Two versions of an extension with an init and an exit program; `./v2/routine.o` is the second.
fn put_routines(world: &World) {
    let newer = world.directory().join("v2");
    std::fs::create_dir(&newer).expect("it is a fresh world");
    for (directory, version) in [(world.extensions(), 1), (newer, 2)] {
        let path = directory.join("routine.o");
        let object = stranger::object("routine.c", "routine", &[]);
        std::fs::copy(object, &path).expect("it can be copied");
        let text = format!("version = '{version}.0.0'\ninit = 'start'\nexit = 'finish'\n");
        std::fs::write(path.with_extension("toml"), text).expect("it can be written");
    }
}

/// Three that need each other: limit uses a map of flows, and both need base.
fn put_dependencies(world: &World) {
    let needs_base = "[dependencies]\n't.base' = '^1'\n";
    let needs_flows = "'t.flows' = { version = '^1', maps = ['FLOWS'] }\n";
    let flows = stranger::object("flows.c", "flows", &[]);
    let limit = stranger::object("limit.c", "limit", &["-DEXTERN", "-DMORE"]);
    for (name, object, needs) in [
        ("base", trail::object(1), String::new()),
        ("flows", flows, needs_base.to_owned()),
        ("limit", limit, format!("{needs_base}{needs_flows}")),
    ] {
        let path = world.extensions().join(format!("{name}.o"));
        std::fs::copy(object, &path).expect("it can be copied");
        let manifest = format!("identifier = 't.{name}'\nversion = '1.0.0'\n{needs}");
        std::fs::write(path.with_extension("toml"), manifest).expect("it can be written");
    }
}

/// The words of a command line; quotes keep them together.
fn place<'a>(world: &'a World, command: &'a str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (nth, part) in command.split('\'').enumerate() {
        if nth % 2 == 1 {
            words.push(part);
            continue;
        }
        for word in part.split_whitespace() {
            match word {
                "HERE" => words.extend(world.target(&[])),
                "NETNS" => words.extend(["--netns", world.inside.name()]),
                word => words.push(word),
            }
        }
    }
    words
}

fn run(world: &World, commands: &[&str]) {
    for command in commands {
        world.nke(&place(world, command)).ok();
    }
}
