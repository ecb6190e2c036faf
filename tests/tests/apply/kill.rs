//! Killed at any system call, an apply leaves each chain the old one or the new one, and applying
//! again finishes.
//!
//! What a kill leaves behind can only differ where a call between could change something, so it is
//! killed at those; `NKE_KILL_ALL=1` kills it at every one.

use nke_tests::{Call, End, Hook, World, trace, tree};
use serde_json::Value;

use crate::{
    apply, attachments, declare,
    fail::{NEW_RULES, OLD_RULES},
    trails,
    upgrade::{attach, object},
};

/// What packets meet at each hook.
fn packets(world: &World) -> Vec<(Vec<u8>, u32)> {
    let trails = Hook::ALL.map(|hook| world.trail(hook));
    let seen = trails.into_iter().map(|trail| (trail.seen, trail.answer));
    seen.collect()
}

/// What is declared of it, and the names of files in the state without their numbers.
pub(crate) fn picture(world: &World) -> (String, Vec<String>, Vec<(String, u32, u32)>) {
    let saved = world.nke(&["save"]).ok().stdout;
    let plain = |line: String| {
        let path = line.split(" -> ").next().unwrap_or_default().to_owned();
        let parts = path.split('/').map(|part| {
            let number = part.starts_with(|c: char| c.is_ascii_digit());
            if number { "#" } else { part }
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let own = |line: &String| line.starts_with("chains/") || line.starts_with("extensions/");
    let lines = tree(&world.state()).into_iter().filter(own);
    let mut files: Vec<_> = lines.map(plain).collect();
    files.sort();
    let mut list: Vec<_> = world
        .list()
        .into_iter()
        .map(|e| (e.name, e.loads, e.uses))
        .collect();
    list.sort();
    (saved, files, list)
}

#[test]
fn each_chain_is_old_or_new_and_applying_again_finishes() {
    let world = World::new();
    trails(&world, 1..=5);
    let filter = |rules: &str| {
        format!(
            "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/out\"\nHERE\n\
             rules = '''\n{rules}\n'''\n"
        )
    };
    let xdp = |number| attachments(&[number]).replace("interface/in", "interface/xdp");
    let old = attachments(&[1, 2]) + &xdp(3) + &filter(OLD_RULES);
    let out = attachments(&[5]).replace("interface/in", "interface/out");
    let policy = "[[policy]]\nhook = \"interface/in\"\nHERE\npolicy = \"drop\"\n";
    let load = "[[load]]\nextension = \"counter\"\n";
    let new = [
        &attachments(&[2, 4]),
        policy,
        &xdp(5),
        &out,
        &filter(NEW_RULES),
        load,
    ];
    declare(&world, "old.toml", &old);
    declare(&world, "new.toml", &new.concat());
    assert!(kill_at_each_call(&world, || ()) > 20);
    apply(&world, "new.toml").ok();
    let hits: Value = world.nke(&["filter", "list", "--json"]).json();
    assert_eq!(
        hits["filters"][0]["rules"][0]["rule"],
        "drop out proto tcp from @changes to @comes"
    );
}

#[test]
fn an_upgrade_is_in_force_everywhere_or_nowhere_and_applying_again_finishes() {
    let world = World::new();
    trails(&world, [9]);
    let declared = |id: u8| {
        let versions = object(id, &[]);
        ["interface/xdp", "interface/in", "interface/out"]
            .map(|hook| attach(&versions, hook, ""))
            .concat()
    };
    declare(&world, "old.toml", &declared(1));
    let more = attach("trail9", "interface/in", "priority = 10");
    declare(&world, "new.toml", &(declared(2) + &more));
    // From here on there is a version before.
    for file in ["old.toml", "new.toml"] {
        world.nke(&["apply", "--prune", file]).ok();
    }
    let kills = kill_at_each_call(&world, || {
        drop(world.list());
        let met = Hook::ALL.map(|hook| world.trail(hook).seen.last().copied());
        assert!(met == [Some(1); 3] || met == [Some(2); 3], "{met:?}");
    });
    assert!(kills > 20, "{kills}");
}

/// Kills an apply of new.toml, where old.toml is in force, at each call that changes something:
/// packets meet the old chain or the new one at each hook, then `next` is asked, and what is applied
/// again is whole, either way. Returns how many calls these are.
fn kill_at_each_call(world: &World, next: impl Fn()) -> usize {
    let bring = |file: &str| world.nke(&["apply", "--prune", file]).ok();
    bring("old.toml");
    let (before, old) = (packets(world), picture(world));
    bring("new.toml");
    let (after, new) = (packets(world), picture(world));
    bring("old.toml");
    assert_eq!(picture(world), old, "the way back");
    assert!(
        before.iter().zip(&after).all(|(b, a)| b != a),
        "{before:?} {after:?}"
    );
    let every = std::env::var_os("NKE_KILL_ALL").is_some();
    let counts = |call: &Call| every || call.changes_the_world();
    for kills in 0_usize.. {
        let mut left = kills;
        let mut at = None;
        let mut command = world.command(&["apply", "--prune", "new.toml"]);
        let killed = trace(&mut command, |call| {
            if !counts(call) {
                return false;
            }
            at = Some(*call);
            let now = left == 0;
            left = left.saturating_sub(1);
            now
        });
        let seen = packets(world);
        for ((seen, old), new) in seen.iter().zip(&before).zip(&after) {
            assert!(seen == old || seen == new, "killed at {at:?}: {seen:?}");
        }
        if killed.end != End::Killed {
            assert_eq!(killed.end, End::Exited(0), "{}", killed.stderr);
            return kills;
        }
        next();
        bring("new.toml");
        assert_eq!(picture(world), new, "killed at {at:?}, applied again");
        bring("old.toml");
        assert_eq!(picture(world), old, "killed at {at:?}, and back");
    }
    0
}
