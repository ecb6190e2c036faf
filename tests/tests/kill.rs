//! Killed at any system call, a command leaves the old or the new state in force, never a third,
//! and the next command takes away the rest.
//!
//! Each command is run again and again, and killed at the entry of one system call after the
//! other. What a kill leaves behind can only differ where a call between could change something,
//! so by default it is killed at all of those, and at some others. `NKE_KILL_ALL=1` kills it at
//! every one.

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
    let own = |line: &String| line.starts_with("chains/") || line.starts_with("extensions/");
    let lines = tree(&world.state()).into_iter().filter(own);
    let mut files: Vec<_> = lines.map(plain).collect();
    files.sort();
    files
}

impl Case {
    fn check(&self) {
        let world = World::new();
        for object in (1..=9).map(trail::object).chain([1, 2].map(trail::frags)) {
            let name = Path::new(&object)
                .file_name()
                .expect("an object has a name");
            std::fs::copy(&object, world.extensions().join(name)).expect("it can be copied");
        }
        put_dependencies(&world);
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
        assert!(
            seen == old.packets || seen == new.packets,
            "killed at {at:?}, packets meet {seen:?}\nold {old:#?}\nnew {new:#?}"
        );
        let then = picture(world);
        assert!(
            then == *old || then == *new,
            "killed at {at:?}: {then:#?}\nold {old:#?}\nnew {new:#?}"
        );
        assert_eq!(then.packets, seen, "the next command changes nothing of it");
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

#[test]
fn attach_the_first() {
    Case {
        before: &[],
        command: "attach trail1 HERE",
        undo: &["detach trail1"],
    }
    .check();
}

#[test]
fn attach_the_first_at_traffic_control() {
    let command = "attach trail1 HERE --hook interface/in";
    Case {
        before: &[],
        command,
        undo: &["detach trail1"],
    }
    .check();
}

/// A chain at the IP layer, with a place of its own.
const ATTACH_IP: &str = "attach counter NETNS --hook ip/in --netfilter-priority raw --defrag";
const DETACH_IP: &str = "detach counter NETNS";

#[test]
fn attach_the_first_at_the_ip_layer() {
    Case {
        // The hook's directory stays until the last chain of all has gone.
        before: &["attach trail1 HERE", ATTACH_IP, DETACH_IP],
        command: ATTACH_IP,
        undo: &[DETACH_IP],
    }
    .check();
}

#[test]
fn detach_the_last_at_the_ip_layer() {
    Case {
        before: &["attach trail1 HERE", ATTACH_IP],
        command: DETACH_IP,
        undo: &[ATTACH_IP],
    }
    .check();
}

#[test]
fn attach_between_others() {
    Case {
        before: &[
            "attach trail1 HERE --hook interface/out",
            "attach trail2 HERE --hook interface/out",
        ],
        command: "attach trail3 HERE --hook interface/out --before trail2",
        undo: &["detach trail3"],
    }
    .check();
}

#[test]
fn attach_what_is_loaded_at_the_end() {
    Case {
        before: &["load trail3", "attach trail1 HERE", "policy drop HERE"],
        command: "attach trail3 HERE",
        undo: &["detach trail3"],
    }
    .check();
}

#[test]
fn disabling() {
    Case {
        before: &["attach trail1 HERE", "attach trail2 HERE"],
        command: "disable trail1",
        undo: &["enable trail1"],
    }
    .check();
}

#[test]
fn enabling() {
    Case {
        before: &["attach trail1 HERE", "disable trail1"],
        command: "enable trail1",
        undo: &["disable trail1"],
    }
    .check();
}

#[test]
fn attach_with_maps_of_its_own() {
    Case {
        before: &["attach trail1 HERE"],
        command: "attach packet-filter HERE --priority 10",
        undo: &["detach packet-filter"],
    }
    .check();
}

#[test]
fn attach_what_makes_the_chain_give_up_fragments() {
    Case {
        before: &["attach frags1 HERE", "attach frags2 HERE"],
        command: "attach trail3 HERE --after frags1",
        undo: &["detach trail3"],
    }
    .check();
}

#[test]
fn detach_one_of_several() {
    Case {
        before: &[
            "attach trail1 HERE",
            "attach trail2 HERE",
            "attach trail3 HERE",
        ],
        command: "detach trail2",
        undo: &["attach trail2 HERE --after trail1"],
    }
    .check();
}

#[test]
fn detach_the_last() {
    let before = &["attach trail1 HERE"];
    Case {
        before,
        command: "detach trail1",
        undo: &["attach trail1 HERE"],
    }
    .check();
}

#[test]
fn detach_the_last_at_traffic_control() {
    let before = &["attach trail1 HERE --hook interface/in"];
    Case {
        before,
        command: "detach trail1",
        undo: before,
    }
    .check();
}

#[test]
fn replace() {
    Case {
        before: &[
            "attach trail1 HERE",
            "attach trail2 HERE",
            "attach trail3 HERE",
        ],
        command: "replace trail2 trail9",
        undo: &["replace trail9 trail2"],
    }
    .check();
}

#[test]
fn replace_the_only_one() {
    Case {
        before: &["attach trail1 HERE --hook interface/in"],
        command: "replace trail1 trail9",
        undo: &["replace trail9 trail1"],
    }
    .check();
}

#[test]
fn move_over_others() {
    Case {
        before: &[
            "attach trail1 HERE --priority 10",
            "attach trail2 HERE --priority 20",
            "attach trail3 HERE --priority 30",
            "attach trail4 HERE --priority 40",
        ],
        command: "move trail1 --priority 35",
        undo: &["move trail1 --priority 10"],
    }
    .check();
}

#[test]
fn policy_of_no_chain() {
    Case {
        before: &[],
        command: "policy drop HERE --hook interface/xdp",
        undo: &["policy pass HERE --hook interface/xdp"],
    }
    .check();
}

#[test]
fn policy_of_a_chain() {
    Case {
        before: &[
            "attach trail1 HERE",
            "attach trail2 HERE",
            "policy drop HERE",
        ],
        command: "policy pass HERE",
        undo: &["policy drop HERE"],
    }
    .check();
}

#[test]
fn load() {
    Case {
        before: &[],
        command: "load packet-filter",
        undo: &["unload packet-filter"],
    }
    .check();
}

#[test]
fn load_with_what_it_needs() {
    Case {
        before: &[],
        command: "load limit",
        undo: &["unload limit"],
    }
    .check();
}

#[test]
fn attach_with_some_of_what_it_needs() {
    Case {
        before: &["attach trail1 HERE", "load base"],
        command: "attach limit HERE",
        undo: &["detach limit"],
    }
    .check();
}

#[test]
fn unload_with_what_only_it_needed() {
    Case {
        before: &["attach trail1 HERE", "load base", "load limit"],
        command: "unload limit",
        undo: &["load limit"],
    }
    .check();
}

#[test]
fn detach_with_what_only_it_needed() {
    Case {
        before: &["attach limit HERE"],
        command: "detach limit",
        undo: &["attach limit HERE"],
    }
    .check();
}

#[test]
fn load_again() {
    Case {
        before: &["load trail1"],
        command: "load trail1",
        undo: &["unload trail1"],
    }
    .check();
}

#[test]
fn unload() {
    let before = &["attach trail2 HERE", "load packet-filter"];
    Case {
        before,
        command: "unload packet-filter",
        undo: &["load packet-filter"],
    }
    .check();
}

#[test]
fn unload_one_of_two_requests() {
    Case {
        before: &["load trail1", "load trail1"],
        command: "unload trail1",
        undo: &["load trail1"],
    }
    .check();
}

#[test]
fn unload_what_is_attached() {
    Case {
        before: &[
            "attach trail2 HERE",
            "load trail1",
            "attach trail1 HERE --priority 10",
        ],
        command: "unload --force trail1",
        undo: &["load trail1", "attach trail1 HERE --priority 10"],
    }
    .check();
}

#[test]
fn load_a_copy() {
    Case {
        before: &["load trail1"],
        command: "load trail1 --instance lab",
        undo: &["unload trail1@lab"],
    }
    .check();
}

const FILTER: &[&str] = &[
    "attach packet-filter HERE",
    "filter add HERE 'drop in proto udp from any to any port 53'",
    "filter add HERE 'pass in proto tcp from 10.0.0.0/8 to any'",
];

#[test]
fn add_a_rule() {
    let command = "filter add HERE --at 2 'drop in from fd00::/8 to any'";
    Case {
        before: FILTER,
        command,
        undo: &["filter delete HERE 2"],
    }
    .check();
}

#[test]
fn delete_a_rule() {
    let undo = &["filter add HERE --at 1 'drop in proto udp from any to any port 53'"];
    Case {
        before: FILTER,
        command: "filter delete HERE 1",
        undo,
    }
    .check();
}

#[test]
fn change_the_default_of_a_filter() {
    let undo = &["filter default HERE pass"];
    Case {
        before: FILTER,
        command: "filter default HERE drop",
        undo,
    }
    .check();
}
