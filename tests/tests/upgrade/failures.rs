//! Whatever fails, and wherever it is killed: one of the versions is in force, whole.

use nke_tests::{Call, End, Hook, World, trace, trace_failing, tree};

use crate::{attach, here, install, manifest, object, object_of, refused, seen, upgrade};

const HOOKS: [&str; 3] = ["interface/xdp", "interface/in", "interface/out"];

/// A world with version 1 in three chains, and other nodes around it.
fn three_chains() -> World {
    let world = World::new();
    world.nke(&["load", &object(1)]).ok();
    for hook in HOOKS {
        attach(&world, &nke_tests::trail::object(9), hook, &here(&world));
        attach(&world, "versions", hook, &here(&world));
    }
    world
}

/// Which version each chain runs.
fn running(world: &World) -> Vec<u8> {
    let trails = Hook::ALL.map(|hook| world.trail(hook).seen);
    let version = |seen: &[u8]| match seen {
        [9, version] => *version,
        _ => nke_tests::fail(format!("a packet meets {seen:?}")),
    };
    trails.iter().map(|seen| version(seen)).collect()
}

/// What lies in the state, with every number replaced: ids differ each time.
fn files(world: &World) -> Vec<String> {
    let plain = |line: String| {
        let path = line.split(" -> ").next().unwrap_or_default();
        let numberless = path.split('/').map(|part| {
            if part.starts_with(|c: char| c.is_ascii_digit()) {
                "#"
            } else {
                part
            }
        });
        numberless.collect::<Vec<_>>().join("/")
    };
    let mut files: Vec<_> = tree(&world.state()).into_iter().map(plain).collect();
    files.sort();
    files
}

#[test]
fn the_verifiers_refusal_at_the_third_chain_changes_nothing() {
    let world = three_chains();
    let new = object_of(2, &manifest(2), &["-DREFUSED"]);
    let error = refused(&world, &["upgrade", &new]);
    assert!(
        error.starts_with("nke: versions: program version_out: verifier: "),
        "{error}"
    );
    assert_eq!(running(&world), [1, 1, 1]);
}

#[test]
fn a_version_that_does_not_serve_a_hook_changes_nothing() {
    let world = three_chains();
    let new = object_of(2, &manifest(2), &["-DONLY_XDP"]);
    let error = refused(&world, &["upgrade", &new]);
    assert!(
        error.contains("it has no program for interface/in"),
        "{error}"
    );
    assert_eq!(running(&world), [1, 1, 1]);
}

/// A state before, a command, and the way back.
struct Case {
    world: World,
    command: Vec<String>,
    /// The versions before and after.
    versions: [u8; 2],
    undo: fn(&World),
}

impl Case {
    fn upgrade() -> Self {
        let world = three_chains();
        Self {
            command: vec!["upgrade".to_owned(), object(2)],
            versions: [1, 2],
            undo: |world| {
                world.nke(&["rollback", "versions"]).ok();
            },
            world,
        }
    }

    fn rollback() -> Self {
        let world = three_chains();
        upgrade(&world, &object(2));
        Self {
            command: vec!["rollback".to_owned(), "versions".to_owned()],
            versions: [2, 1],
            undo: |world| {
                upgrade(world, &object(2));
            },
            world,
        }
    }

    fn command(&self) -> std::process::Command {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        self.world.command(&words)
    }

    /// Runs the command again and again, with another of its calls chosen each time, until it comes
    /// to its end before that. After each run the state must be whole.
    fn each_call(
        &self,
        run: impl Fn(&mut std::process::Command, &mut dyn FnMut(&Call) -> bool) -> End,
    ) {
        let [old, new] = self.versions.map(|version| vec![version; 3]);
        let before = files(&self.world);
        let ids = || {
            let chains = self.world.chains().into_iter();
            chains
                .flat_map(|c| c.nodes)
                .map(|n| (n.id, n.priority))
                .collect::<Vec<_>>()
        };
        let (first, sent) = (ids(), seen(&self.world));
        for nth in 0.. {
            let (mut left, mut at) = (nth, None);
            let mut choose = |call: &Call| {
                if !call.changes_the_world() {
                    return false;
                }
                left -= 1;
                at = Some(*call);
                left == -1
            };
            let end = run(&mut self.command(), &mut choose);
            let met = running(&self.world);
            let reached = left < 0;
            assert!(
                met.iter().all(|v| self.versions.contains(v)),
                "{at:?}: {met:?}"
            );
            if let End::Exited(code) = end {
                let expected = if code == 0 { &new } else { &old };
                assert_eq!(met, *expected, "exit {code} with {at:?} failing");
            }
            // The next command completes it or undoes it.
            assert_eq!(ids(), first, "{at:?}");
            let then = running(&self.world);
            assert!(then == old || then == new, "{at:?}: {met:?}, then {then:?}");
            if met == old || met == new {
                assert_eq!(then, met, "{at:?}");
            }
            if then == new {
                (self.undo)(&self.world);
            }
            assert_eq!(running(&self.world), old);
            assert_eq!(files(&self.world), before, "{at:?}");
            assert!(
                seen(&self.world).iter().sum::<u64>() > sent.iter().sum(),
                "the map is kept"
            );
            if !reached {
                assert!(nth > 20, "it makes more calls than {nth}");
                eprintln!("{:?}: {nth} calls", self.command);
                return;
            }
        }
    }
}

#[test]
fn killed_at_any_call_an_upgrade_is_completed_or_undone() {
    Case::upgrade().each_call(|command, choose| trace(command, choose).end);
}

#[test]
fn killed_at_any_call_a_rollback_is_completed_or_undone() {
    Case::rollback().each_call(|command, choose| trace(command, choose).end);
}

#[test]
fn an_upgrade_one_of_whose_calls_fails_is_done_or_not() {
    Case::upgrade().each_call(|command, choose| trace_failing(command, choose).end);
}

#[test]
fn a_rollback_one_of_whose_calls_fails_is_done_or_not() {
    Case::rollback().each_call(|command, choose| trace_failing(command, choose).end);
}

#[test]
fn versions_go_forward_only_unless_forced() {
    let world = World::new();
    attach(&world, &object(2), "interface/xdp", &here(&world));
    let error = refused(&world, &["upgrade", &object(1)]);
    assert_eq!(
        error,
        "nke: versions: upgrade: 1.0.0 is not newer than 2.0.0, which is loaded; --force takes it\n"
    );
    let other = object_of(2, &manifest(2), &["-DONLY_XDP"]);
    assert!(refused(&world, &["upgrade", &other]).contains("2.0.0 is not newer than 2.0.0"));
    assert!(!upgrade(&world, &object(2)).changed);
    world.nke(&["upgrade", &object(1), "--force"]).ok();
    world.assert_trail(Hook::Xdp, &[1]);
    // By name, from the search path.
    install(&world, &object(3));
    assert_eq!(
        world
            .nke(&["upgrade", "versions", "--json"])
            .json::<crate::Upgraded>()
            .to,
        "3.0.0"
    );
    world.assert_trail(Hook::Xdp, &[3]);
    let ran = world.nke(&["upgrade", "versions"]).ok();
    assert!(
        ran.stdout
            .starts_with("versions 3.0.0 is loaded already (kmid "),
        "{ran:?}"
    );
}

#[test]
fn what_is_not_loaded_or_another_is_refused() {
    let world = World::new();
    install(&world, &object(1));
    assert!(refused(&world, &["upgrade", "versions"]).contains("not loaded"));
    let named = |id: u8, name: &str| {
        object_of(id, &format!("identifier = '{name}'\n{}", manifest(id)), &[])
    };
    attach(
        &world,
        &named(1, "org.example.one"),
        "interface/xdp",
        &here(&world),
    );
    let error = refused(
        &world,
        &["upgrade", &named(2, "org.example.two"), "--force"],
    );
    assert_eq!(
        error,
        "nke: versions: upgrade: org.example.one is loaded, and the file's identifier is \
         org.example.two; unload it first\n"
    );
}
