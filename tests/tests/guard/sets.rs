//! `nke guard set`: rules about calls that ask for named sets, tried by a thread in the cgroup.

use std::fs;

use nke_tests::Verb::{self, Bind, Connect, Send};

use crate::{TCP, UDP, ask, guard::Guard};

fn set(guard: &Guard, words: &[&str]) -> nke_tests::Ran {
    guard.world.nke(&[&["guard", "set"], words].concat())
}

#[track_caller]
fn check(guard: &mut Guard, calls: &[(Verb, u32, &str, bool)]) {
    for &(verb, protocol, address, is_denied) in calls {
        let ask = ask(verb, protocol, address);
        let found = guard.caller.call(&ask);
        assert_eq!(
            guard.caller.is_denied(&ask),
            is_denied,
            "{ask:?}: {found:?}"
        );
    }
}

#[test]
fn calls_are_denied_by_what_is_in_a_set() {
    let mut guard = Guard::attach();
    set(&guard, &["create", "blocked", "addresses"]).ok();
    set(
        &guard,
        &["add", "blocked", "127.0.0.2", "127.5.0.0/16", "::1"],
    )
    .ok();
    guard.run(&["add", "drop out to @blocked"]).ok();
    check(
        &mut guard,
        &[
            (Connect, TCP, "127.0.0.2:9", true),
            (Connect, TCP, "[::ffff:127.0.0.2]:9", true),
            (Send, UDP, "127.5.6.7:9", true),
            (Connect, TCP, "[::1]:9", true),
            (Connect, TCP, "127.0.0.1:9", false),
            (Bind, TCP, "127.0.0.2:9", false),
        ],
    );
    set(&guard, &["delete", "blocked", "127.0.0.2"]).ok();
    check(
        &mut guard,
        &[
            (Connect, TCP, "127.0.0.2:9", false),
            (Connect, TCP, "127.5.6.7:9", true),
        ],
    );
    let file = guard.world.directory().join("members");
    fs::write(file, "127.0.0.2\n").expect("the directory is ours");
    set(&guard, &["replace", "blocked", "members"]).ok();
    check(
        &mut guard,
        &[
            (Connect, TCP, "127.0.0.2:9", true),
            (Connect, TCP, "127.5.6.7:9", false),
        ],
    );
}

#[test]
fn ports_and_pairs_are_asked_for() {
    let mut guard = Guard::attach();
    set(&guard, &["create", "web", "ports"]).ok();
    set(&guard, &["add", "web", "80", "8000-8080"]).ok();
    set(&guard, &["create", "services", "pairs"]).ok();
    set(
        &guard,
        &["add", "services", "udp:127.0.0.3:53", "127.0.0.3:99"],
    )
    .ok();
    let rules = [
        "pass out to @services",
        "pass bind",
        "drop out inet6 to not ::1",
        "drop out inet port not @web",
    ];
    for rule in rules {
        guard.run(&["add", rule]).ok();
    }
    let printed = guard.rules();
    assert_eq!(printed[0], rules[0]);
    // Listed, a rule is one that can be added.
    guard.run(&["add", &printed[3]]).ok();
    check(
        &mut guard,
        &[
            (Send, UDP, "127.0.0.3:53", false),
            (Connect, TCP, "127.0.0.3:53", true),
            (Connect, TCP, "127.0.0.3:99", false),
            (Connect, TCP, "127.0.0.1:8001", false),
            (Connect, TCP, "127.0.0.1:8081", true),
            (Connect, TCP, "[::1]:8081", false),
            (Connect, TCP, "[fd01::7]:80", true),
            (Bind, TCP, "127.0.0.1:0", false),
        ],
    );
}

#[test]
fn a_set_that_rules_ask_for_stays() {
    let guard = Guard::attach();
    set(&guard, &["create", "blocked", "addresses"]).ok();
    guard.run(&["add", "drop to @blocked"]).ok();
    drop(set(&guard, &["remove", "blocked"]).fails("set-in-use"));
    drop(guard.run(&["add", "drop to @other"]).fails("no-set"));
    drop(guard.run(&["add", "drop port @blocked"]).fails("set-kind"));
    // The packet filter has sets of its own.
    guard
        .world
        .nke(&["filter", "set", "create", "blocked", "ports"])
        .ok();
    let shown = set(&guard, &["list"]).ok().stdout;
    assert!(shown.contains("addresses"), "{shown}");
    guard.run(&["flush"]).ok();
    set(&guard, &["remove", "blocked"]).ok();
}
