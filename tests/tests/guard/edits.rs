//! Rules that change while calls are made, and the commands that change them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nke::filter::Dialect;
use nke_tests::{Caller, Cgroup, Deadline, Verb};

use crate::{
    TCP, UDP, ask,
    guard::{EXTENSION, Guard},
};

#[test]
fn rules_come_and_go() {
    let mut guard = Guard::attach();
    let ssh = ask(Verb::Connect, TCP, "127.0.0.1:22");
    assert!(!guard.caller.is_denied(&ssh), "nothing is denied yet");
    guard
        .run(&["add", "drop out proto tcp to 127.0.0.0/8 port ssh"])
        .ok();
    assert!(guard.caller.is_denied(&ssh));
    let added = guard
        .run(&["add", "--at", "1", "pass", "port", "{22,23}"])
        .ok();
    assert_eq!(
        added.stdout,
        format!(
            "{at}: added rule 1: pass to any port 22\n{at}: added rule 2: pass to any port 23\n",
            at = guard.cgroup.path()
        )
    );
    assert!(!guard.caller.is_denied(&ssh));
    guard.run(&["delete", "1", "2"]).ok();
    assert_eq!(guard.rules(), ["drop out proto tcp to 127.0.0.0/8 port 22"]);
    assert_eq!(guard.list().rules[0].calls, 1, "it has kept its calls");
    assert!(guard.caller.is_denied(&ssh));
    guard.run(&["flush"]).ok();
    assert!(!guard.caller.is_denied(&ssh));
    guard.run(&["default", "drop"]).ok();
    assert!(guard.caller.is_denied(&ssh));
    guard.on(&["detach", EXTENSION]).ok();
    assert!(!guard.caller.is_denied(&ssh));
    assert!(!guard.world.is_mounted(), "nothing is left");
}

#[test]
fn all_hooks_of_a_cgroup_share_the_rules() {
    let mut guard = Guard::new();
    let hook = |hook| ["attach", EXTENSION, "--hook", hook];
    guard.on(&hook("socket/connect")).ok();
    guard.run(&["add", "drop port 7"]).ok();
    let error = guard.run(&["add", "drop bind"]).fails("rule-never-matches");
    assert!(
        error.contains("`drop bind` can never match")
            && error.contains("attach connection-guard to socket/bind"),
        "{error}"
    );
    guard.on(&hook("socket/bind")).ok();
    let list = guard.list();
    assert_eq!(list.cgroup, guard.cgroup.path());
    let hooks = ["connect4", "connect6", "bind4", "bind6"].map(|name| format!("socket/{name}"));
    assert!(
        hooks.iter().all(|hook| list.hooks.contains(hook)),
        "{list:?}"
    );
    assert_eq!(list.hooks.len(), 4);
    for verb in [Verb::Connect, Verb::Bind] {
        assert!(guard.caller.is_denied(&ask(verb, TCP, "127.0.0.1:7")));
        assert!(guard.caller.is_denied(&ask(verb, UDP, "[::1]:7")));
    }
    assert!(!guard.caller.is_denied(&ask(Verb::Send, UDP, "127.0.0.1:7")));
    assert_eq!(guard.list().rules[0].calls, 4);

    // A copy of a node shares them as well; another extension in between changes nothing.
    guard
        .on(&[
            "move",
            EXTENSION,
            "--hook",
            "socket/bind4",
            "--priority",
            "7",
        ])
        .ok();
    assert_eq!(guard.rules(), ["drop to any port 7"]);
    // With the first attachments gone, the others have the rules still.
    guard
        .on(&["detach", EXTENSION, "--hook", "socket/connect"])
        .ok();
    assert_eq!(guard.rules(), ["drop to any port 7"]);
    assert!(guard.caller.is_denied(&ask(Verb::Bind, TCP, "127.0.0.1:7")));
    guard.on(&hook("socket/connect")).ok();
    assert_eq!(guard.list().hooks.len(), 4);
    assert!(
        guard
            .caller
            .is_denied(&ask(Verb::Connect, TCP, "127.0.0.1:7"))
    );
}

#[test]
fn cgroups_have_rules_of_their_own() {
    let mut guard = Guard::attach();
    let other = Cgroup::new();
    let mut stranger = Caller::start(&other, &guard.world.inside);
    let words = ["--cgroup", other.path()];
    guard
        .world
        .nke(&[&["attach", EXTENSION], &words[..]].concat())
        .ok();
    guard.run(&["add", "drop port 7"]).ok();
    guard
        .world
        .nke(&[&["guard", "add", "drop port 8"], &words[..]].concat())
        .ok();
    for (port, here) in [(7, true), (8, false)] {
        let ask = ask(Verb::Connect, TCP, &format!("127.0.0.1:{port}"));
        assert_eq!(guard.caller.is_denied(&ask), here, "{port}");
        assert_eq!(stranger.is_denied(&ask), !here, "{port}");
    }
    assert_eq!(guard.rules(), ["drop to any port 7"]);
}

#[test]
fn mistakes_name_the_column_and_change_nothing() {
    let guard = Guard::attach();
    guard.run(&["add", "drop port 7"]).ok();
    for (rule, said) in [
        (
            "deny out",
            "rule: line 1, column 1: expected `pass` or `drop`, found `deny`; it is called `drop` \
             here",
        ),
        (
            "drop listen port 80",
            "rule: line 1, column 6: expected `out`, `connect`, `sendmsg`, `bind`, ",
        ),
        ("drop conect", "column 6: "),
        ("drop conect", "did you mean `connect`?"),
        ("drop out from 10.0.0.1", "column 10: "),
        ("drop out from 10.0.0.1", "`to` is the address they give"),
        ("drop log", "calls are counted, and not logged"),
        ("drop to 10.0.0.0/33", "column 9: the length of this prefix"),
        (
            "drop bind proto icmp port 1",
            "column 27: icmp has no ports",
        ),
    ] {
        let error = guard.run(&["add", rule]).fails("malformed-rule");
        assert!(error.contains(said), "{error}");
        assert!(error.contains(&format!("\n    {rule}\n    ")), "{error}");
    }
    let error = guard
        .load("pass\n\ndrop bind port 99999\n")
        .fails("malformed-rule");
    assert!(
        error.starts_with("nke: rules: line 3, column 16: a port is"),
        "{error}"
    );
    let error = guard.run(&["delete", "2"]).fails("no-rule");
    assert!(error.contains("there is no rule 2, only 1"), "{error}");
    assert_eq!(guard.rules(), ["drop to any port 7"]);

    let nobody = Cgroup::new();
    let words = ["guard", "add", "drop", "--cgroup", nobody.path()];
    let error = guard.world.nke(&words).fails("no-rule-set");
    let way_out = format!("`nke attach {EXTENSION} --cgroup {}`", nobody.path());
    assert!(error.contains(&way_out), "{error}");
    let error = guard.world.nke(&["guard", "add", "drop"]).fails("usage");
    assert!(error.contains("--cgroup <DIR>"), "{error}");
}

#[test]
fn a_call_sees_the_old_rules_or_the_new_ones() {
    let mut guard = Guard::attach();
    let mut table = guard.table();
    // Each denies port 7, by another of its rules; half of one and half of the other would not.
    let sets = [
        "drop port 7\npass\ndefault pass",
        "pass port 1-6\npass port 8-65535\ndefault drop",
    ];
    let sets = sets.map(|set| Dialect::Calls.rule_set(set).expect("rules"));
    table.write(&sets[0]).expect("the kernel takes the rules");
    let (denied, allowed) = (
        ask(Verb::Connect, TCP, "127.0.0.1:7"),
        ask(Verb::Send, UDP, "127.0.0.1:9"),
    );
    let done = AtomicBool::new(false);
    let (done, caller) = (&done, &mut guard.caller);
    let calls = thread::scope(|scope| {
        let calls = scope.spawn(move || {
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) {
                assert!(caller.is_denied(&denied), "after {calls}");
                assert!(!caller.is_denied(&allowed), "after {calls}");
                calls += 2;
            }
            calls
        });
        for edit in 0..60 {
            let set = &sets[(edit + 1) % 2];
            let written = table.write(set);
            if written.is_err() || calls.is_finished() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        calls
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert!(calls > 60, "{calls} calls between 60 edits");
}

#[test]
fn a_guard_above_denies_as_well() {
    let guard = Guard::attach();
    let inner = guard.cgroup.child();
    let mut caller = Caller::start(&inner, &guard.world.inside);
    let on_inner = |words: &[&str]| {
        let words = [words, &["--cgroup", inner.path()]].concat();
        guard.world.nke(&words).ok()
    };
    on_inner(&["attach", EXTENSION]);
    on_inner(&["guard", "add", "pass"]);
    guard.run(&["add", "drop port 7"]).ok();
    on_inner(&["guard", "add", "--at", "1", "drop port 8"]);
    for (port, denied) in [(7, true), (8, true), (9, false)] {
        let ask = ask(Verb::Connect, TCP, &format!("127.0.0.1:{port}"));
        assert_eq!(caller.is_denied(&ask), denied, "{port}");
    }
    assert_eq!(guard.rules(), ["drop to any port 7"]);

    // A cgroup that is gone takes its rules along, once the kernel has let go of it.
    drop(caller);
    drop(inner);
    let list = || guard.world.nke(&["guard", "list"]).ok().stdout;
    assert!(Deadline::generous().until(|| !list().contains("port 8")));
    assert_eq!(guard.rules(), ["drop to any port 7"]);
}
