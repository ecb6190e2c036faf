//! `--confirm`: killed before it is told of, a change is the old state's again with the next command;
//! after that it waits. Killed as it goes back, the next command goes back.

use std::fs;

use nke_tests::{Call, End, IFACE, World, trace};

use crate::{Case, packets, picture, prepared, run};

const UPGRADE: &str = "upgrade ./v2/routine.o --confirm 600";
const APPLY: &str = "apply two.toml --confirm 600";

const BEFORE_UPGRADE: &[&str] = &[
    "attach trail2 HERE",
    "load routine",
    "attach routine HERE --priority 10",
];
const BEFORE_APPLY: &[&str] = &["attach trail1 HERE --hook interface/in"];

/// A declaration of another state, in which nothing is as it was.
pub(crate) fn put_declaration(world: &World) {
    let netns = world.inside.name();
    let text = format!(
        "[[attach]]\nextension = 'trail2'\nhook = 'interface/in'\ninterface = '{IFACE}'\n\
         netns = '{netns}'\n[[load]]\nextension = 'trail3'\n"
    );
    fs::write(world.directory().join("two.toml"), text).expect("the directory is the test's");
}

#[test]
fn upgrade_to_confirm() {
    Case {
        before: BEFORE_UPGRADE,
        command: UPGRADE,
        undo: &["confirm", "rollback routine"],
    }
    .check();
}

#[test]
fn apply_to_confirm() {
    Case {
        before: BEFORE_APPLY,
        command: APPLY,
        undo: &[
            "confirm",
            "unload trail3",
            "detach trail2",
            "attach trail1 HERE --hook interface/in",
        ],
    }
    .check();
}

#[test]
fn confirming() {
    Case {
        before: &[
            "attach trail2 HERE",
            "load routine",
            "attach routine HERE --priority 10",
            UPGRADE,
        ],
        command: "confirm",
        undo: &["rollback routine", UPGRADE],
    }
    .check();
}

/// Kills a command that finds a change due, at each call that changes something.
fn going_back(before: &[&str], change: &str) {
    let world = prepared();
    run(&world, before);
    let (old, met) = (picture(&world), packets(&world));
    for nth in 0.. {
        run(&world, &[change]);
        // Nobody else is to go back in its place.
        world.kill_timer();
        world.set_deadline(0);
        let new = packets(&world);
        let (mut left, mut at) = (nth, None);
        let killed = trace(&mut world.command(&["list"]), |call: &Call| {
            if !call.changes_the_world() || left < 0 {
                return false;
            }
            left -= 1;
            at = Some(*call);
            left < 0
        });
        let seen = packets(&world);
        assert!(seen == met || seen == new, "killed at {at:?}: {seen:?}");
        drop(world.list());
        assert_eq!(picture(&world), old, "killed at {at:?}");
        assert!(world.timers().is_empty());
        if killed.end != End::Killed {
            assert_eq!(killed.end, End::Exited(0), "{}", killed.stderr);
            assert!(nth > 10, "it makes more calls than {nth}");
            eprintln!("going back from {change}: killed {nth} times");
            return;
        }
    }
}

#[test]
fn going_back_from_an_upgrade() {
    going_back(BEFORE_UPGRADE, UPGRADE);
}

#[test]
fn going_back_from_an_apply() {
    going_back(BEFORE_APPLY, APPLY);
}
