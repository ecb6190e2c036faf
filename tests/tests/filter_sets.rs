//! `nke filter set`: sets made, edited, listed and removed by the command, with rules that ask for them.

use std::fs;

use nke_tests::{Hook, World, udp_arrives};
use serde::Deserialize;

const EXTENSION: &str = "packet-filter";

/// `nke filter set list --json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sets {
    sets: Vec<Set>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    set: String,
    r#type: String,
    timeout: Option<u64>,
    members: u64,
    memory: u64,
    rules: Vec<String>,
}

/// `nke filter set show --json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape is promised, whoever reads it")]
struct Shown {
    set: String,
    r#type: String,
    timeout: Option<u64>,
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    member: String,
    timeout: Option<u64>,
}

fn set(world: &World, words: &[&str]) -> nke_tests::Ran {
    world.nke(&[&["filter", "set"], words].concat())
}

fn lines(world: &World, name: &str) -> Vec<String> {
    let shown = set(world, &["show", name]).ok().stdout;
    shown.lines().map(str::to_owned).collect()
}

#[test]
fn a_set_is_made_edited_and_removed() {
    let world = World::new();
    // The filter is loaded for it, and stays.
    set(&world, &["create", "blocklist", "addresses"]).ok();
    let added = set(
        &world,
        &[
            "add",
            "blocklist",
            "192.0.2.7/24",
            "2001:db8::1",
            "10.0.0.1",
        ],
    )
    .ok();
    assert_eq!(added.stdout, "set blocklist: added 3 members\n");
    let again = set(&world, &["add", "blocklist", "10.0.0.1"]).ok();
    assert_eq!(again.stdout, "set blocklist: 1 had been there\n");
    for (words, what) in [
        (
            &["--timeout", "1h"][..],
            "1 had been there, with its time begun anew",
        ),
        (
            &["--timeout", "2h"],
            "1 had been there, with its time begun anew",
        ),
        (
            &["192.0.2.0/24"],
            "1 had been there; 1 had been there, without a time from now on",
        ),
        (
            &["10.0.0.2", "192.0.2.0/24"],
            "added 1 member; 2 had been there",
        ),
    ] {
        let add = [&["add", "blocklist", "10.0.0.1"], words].concat();
        assert_eq!(
            set(&world, &add).ok().stdout,
            format!("set blocklist: {what}\n")
        );
        let shown = lines(&world, "blocklist");
        assert_eq!(
            shown[0].contains(" timeout "),
            words[0] == "--timeout",
            "{shown:?}"
        );
    }
    set(&world, &["delete", "blocklist", "10.0.0.2"]).ok();
    assert_eq!(
        lines(&world, "blocklist"),
        ["10.0.0.1", "192.0.2.0/24", "2001:db8::1"]
    );
    let found = set(&world, &["test", "blocklist", "192.0.2.200"]).ok();
    assert_eq!(found.stdout, "192.0.2.200 is in blocklist: 192.0.2.0/24\n");
    drop(set(&world, &["test", "blocklist", "192.0.3.0"]).fails("not-in-set"));

    // What is deleted is all there, or nothing is.
    drop(set(&world, &["delete", "blocklist", "10.0.0.1", "10.0.0.2"]).fails("not-in-set"));
    assert_eq!(lines(&world, "blocklist").len(), 3);
    set(&world, &["delete", "blocklist", "10.0.0.1"]).ok();
    assert_eq!(lines(&world, "blocklist"), ["192.0.2.0/24", "2001:db8::1"]);

    let error = set(&world, &["add", "blocklist", "192.0.2.1", "10/8"]).fails("malformed-member");
    assert!(
        error.contains("line 1, column 11: expected an address or a prefix"),
        "{error}"
    );
    drop(set(&world, &["create", "blocklist", "ports"]).fails("set-exists"));
    let error = set(&world, &["show", "blockist"]).fails("no-set");
    assert!(error.contains("did you mean `blocklist`?"), "{error}");
    set(&world, &["flush", "blocklist"]).ok();
    assert_eq!(lines(&world, "blocklist"), [""; 0]);
    set(&world, &["remove", "blocklist"]).ok();
    assert_eq!(set(&world, &["list"]).ok().stdout, "no sets\n");
}

#[test]
fn a_set_outlives_the_attachments() {
    let world = World::new();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    let refused = set(&world, &["create", "all", "ports", "/no/such/file"]);
    drop(refused.fails_somehow());
    assert_eq!(loads(&world), 0);
    let made = set(&world, &["create", "s1", "addresses"]).ok().stdout;
    assert!(made.contains(", load count 1\n"), "{made}");
    // One request is enough for all sets.
    let made = set(&world, &["create", "s2", "ports"]).ok().stdout;
    assert_eq!(made, "created set s2 of ports: 0 members\n");
    drop(set(&world, &["create", "s2", "ports"]).fails("set-exists"));
    assert_eq!(loads(&world), 1);
    set(&world, &["add", "s1", "192.0.2.1"]).ok();
    world.on(&["detach", "packet-filter"]).ok();
    assert_eq!(lines(&world, "s1"), ["192.0.2.1"]);
    world.nke(&["unload", "packet-filter"]).ok();
    let gone = set(&world, &["show", "s1"]).fails("not-loaded");
    assert!(gone.contains("packet-filter"), "{gone}");
}

/// How many requests hold the only extension.
fn loads(world: &World) -> u32 {
    let all = world.list();
    let [one] = &all[..] else {
        nke_tests::fail(format!("there should be one extension: {all:?}"));
    };
    one.loads
}

#[test]
fn files_are_read_whole_or_not_at_all() {
    let world = World::new();
    let file = world.directory().join("members");
    let file = file.to_str().expect("it is text");
    let text = "# servers\n192.0.2.1:443 timeout 1h30m\ntcp:[2001:db8::1]:22 udp:192.0.2.1:53\n";
    fs::write(file, text).expect("it is ours");
    set(&world, &["create", "services", "pairs", file]).ok();
    let shown: Shown = set(&world, &["show", "services", "--json"]).json();
    let shown: Vec<_> = shown
        .members
        .into_iter()
        .map(|it| {
            (
                it.member,
                it.timeout.is_some_and(|left| (5000..=5400).contains(&left)),
            )
        })
        .collect();
    let expected = [
        ("udp:192.0.2.1:53", false),
        ("192.0.2.1:443", true),
        ("tcp:[2001:db8::1]:22", false),
    ];
    assert!(
        shown
            .iter()
            .map(|(member, timed)| (member.as_str(), *timed))
            .eq(expected),
        "{shown:?}"
    );

    fs::write(file, "192.0.2.9:1\n192.0.2.1 # no port\n").expect("it is ours");
    let error = set(&world, &["replace", "services", file]).fails("malformed-member");
    assert!(
        error.starts_with(&format!(
            "nke: {file}: line 2, column 1: expected an address and a port"
        )),
        "{error}"
    );
    drop(set(&world, &["add", "services", "--from", "nowhere"]).fails("read"));
    let large = world.directory().join("large");
    let made = fs::File::create(&large).and_then(|file| file.set_len((1 << 30) + 1));
    made.expect("it has nothing but a length");
    let large = large.to_str().expect("it is text");
    let error = set(&world, &["replace", "services", large]).fails("file-too-large");
    assert!(error.contains("it is larger than any set"), "{error}");
    assert_eq!(lines(&world, "services").len(), 3);
    fs::write(file, "192.0.2.9:1\n").expect("it is ours");
    set(&world, &["replace", "services", file]).ok();
    assert_eq!(lines(&world, "services"), ["192.0.2.9:1"]);

    // What is shown is read again.
    set(&world, &["create", "ports", "ports"]).ok();
    set(&world, &["add", "ports", "https", "1024-2047", "2048"]).ok();
    assert_eq!(lines(&world, "ports"), ["443", "1024-2048"]);
    drop(set(&world, &["add", "ports", "1", "timeout", "1h"]).fails("malformed-member"));
}

#[test]
fn a_member_that_is_said_twice_counts_once() {
    let world = World::new();
    let file = world.directory().join("members");
    let file = file.to_str().expect("it is text");
    fs::write(file, "192.0.2.1\n192.0.2.1\n192.0.2.1/32\n").expect("it is ours");
    let created = set(&world, &["create", "one", "addresses", file]).ok();
    assert!(
        created
            .stdout
            .ends_with("created set one of addresses: 1 member\n"),
        "{created:?}"
    );
    let replaced = set(&world, &["replace", "one", file]).ok();
    assert_eq!(replaced.stdout, "set one: 1 member\n");
    assert_eq!(lines(&world, "one"), ["192.0.2.1"]);
    let deleted = set(&world, &["delete", "one", "--from", file]).ok();
    assert_eq!(deleted.stdout, "set one: deleted 1 member\n");

    fs::write(file, "80-90 80 91\n").expect("it is ours");
    let created = set(&world, &["create", "ports", "ports", file]).ok();
    assert_eq!(created.stdout, "created set ports of ports: 1 member\n");
    assert_eq!(lines(&world, "ports"), ["80-91"]);
}

#[test]
fn rules_ask_for_sets() {
    let world = World::with_addresses();
    world.attach(Hook::In, EXTENSION, &[]);
    set(
        &world,
        &["create", "senders", "addresses", "--timeout", "1h"],
    )
    .ok();
    set(&world, &["create", "names", "ports"]).ok();
    let add = |rule: &str| world.on(&["filter", "add", rule]);
    drop(add("drop from @sender").fails("no-set"));
    drop(add("drop to any port @senders").fails("set-kind"));
    add("drop proto udp from @senders to any port @names").ok();
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [true, true]);
    set(&world, &["add", "senders", "10.1.0.0/24"]).ok();
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [true, true]);
    set(&world, &["add", "names", "domain"]).ok();
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);
    assert_eq!(udp_arrives(&world, true, &[53, 54]), [true, true]);

    let Sets { sets } = set(&world, &["list", "--json"]).json();
    let [names, senders] = sets.as_slice() else {
        nke_tests::fail(format!("there are two: {sets:#?}"));
    };
    assert_eq!(
        (names.set.as_str(), names.r#type.as_str()),
        ("names", "ports")
    );
    assert_eq!((senders.members, senders.timeout), (1, Some(3600)));
    assert!(names.memory > 8192 && senders.memory < 8192, "{sets:#?}");
    assert!(senders.rules[0].ends_with(": rule 1"), "{sets:#?}");
    let error = set(&world, &["remove", "senders"]).fails("set-in-use");
    assert!(error.contains(": rule 1;"), "{error}");

    // Rules stay as they are, and count on, whatever becomes of the set.
    set(&world, &["flush", "senders"]).ok();
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [true, true]);
    world.on(&["filter", "flush"]).ok();
    set(&world, &["remove", "senders"]).ok();
    set(&world, &["remove", "names"]).ok();
}

#[test]
fn files_of_rules_state_sets() {
    let world = World::with_addresses();
    world.attach(Hook::In, EXTENSION, &[]);
    let write = |name: &str, text: &str| {
        fs::write(world.directory().join(name), text).expect("the directory is ours");
    };
    let load = || world.on(&["filter", "load", "rules"]);
    write("members", "10.1.0.0/24 # all\n192.0.2.1 timeout 1h\n");
    write(
        "rules",
        "set senders addresses from \"members\"\nset names ports { domain,\n 55 }\n\
         drop in proto udp from @senders to any port @names\n",
    );
    let loaded = load().ok().stdout;
    assert!(
        loaded.contains("loaded 1 rule and 2 sets, default pass"),
        "{loaded}"
    );
    assert_eq!(
        lines(&world, "senders"),
        ["10.1.0.0/24", "192.0.2.1 timeout 1h"]
    );
    assert_eq!(lines(&world, "names"), ["53", "55"]);
    assert_eq!(
        udp_arrives(&world, false, &[53, 55, 54]),
        [false, false, true]
    );

    // What fails changes nothing: neither a set that was there nor one that was not.
    for (text, error) in [
        (
            "set names ports { 54 }\nset more ports { 1 }\ndrop from @nobody\n",
            "no-set",
        ),
        (
            "set names ports { 54 }\nset more ports { 1 }\ndrop from @names\n",
            "malformed-rule",
        ),
        (
            "set senders addresses { }\nset more ports { 1 }\ndrop from @names\n",
            "set-kind",
        ),
        (
            "set more ports { 1 }\nset names addresses { }\ndrop\n",
            "set-exists",
        ),
        (
            "set names ports { 54 }\nset more ports from \"nowhere\"\n",
            "read",
        ),
        ("set names ports { 54\ndrop\n", "malformed-rule"),
        ("set names ports { 54 }\ndrop out\n", "rule-never-matches"),
    ] {
        write("rules", text);
        drop(load().fails(error));
        assert_eq!(lines(&world, "names"), ["53", "55"], "{text}");
        drop(set(&world, &["show", "more"]).fails("no-set"));
    }
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);

    // Members are replaced, and sets that are not stated stay.
    write(
        "rules",
        "set names ports { 54 }\ndrop in proto udp to any port @names\n",
    );
    load().ok();
    assert_eq!(udp_arrives(&world, false, &[54, 53]), [false, true]);
    assert_eq!(lines(&world, "senders").len(), 2);
}

#[test]
fn stated_sets_are_looked_at_without_the_kernel() {
    let world = World::new();
    let rules = "set blocked addresses { 192.0.2.0/24 }\ndrop in from @blocked\n";
    fs::write(world.directory().join("rules"), rules).expect("the directory is ours");
    let checked = world.nke(&["filter", "check", "rules"]).ok().stdout;
    assert_eq!(checked, "rules: 1 rule and 1 set, default pass\n");
    let explain = |packet: &str| {
        let words = ["filter", "explain", "--file", "rules", packet];
        world.nke(&words).ok().stdout
    };
    let dropped = explain("udp 192.0.2.7:1 > 10.0.0.1:2");
    assert!(
        dropped.starts_with("rules: drop by rule 1 (line 2)"),
        "{dropped}"
    );
    let passed = explain("udp 192.0.3.7:1 > 10.0.0.1:2");
    assert!(passed.starts_with("rules: pass by default"), "{passed}");
}
