//! Named sets that stand beside declared rules: they are what they are stated to be.

use std::fs;

use nke_tests::{Cgroup, Hook, World};
use serde_json::Value;

use crate::{apply, assert_nothing_to_change, declare, trails};

/// A filter at interface/in with this text for its rules.
fn filter(rules: &str) -> String {
    format!(
        "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/in\"\nHERE\n\
         rules = '''\n{rules}\n'''\n"
    )
}

/// The members of a set, a line each.
fn members(world: &World, set: &str) -> Vec<String> {
    let shown = world.nke(&["filter", "set", "show", set]).ok().stdout;
    shown.lines().map(str::to_owned).collect()
}

/// The names of all sets.
fn names(world: &World) -> Vec<String> {
    let listed: Value = world.nke(&["filter", "set", "list", "--json"]).json();
    let sets = listed["sets"].as_array().cloned().unwrap_or_default();
    let name = |set: &Value| set["set"].as_str().map(str::to_owned);
    sets.iter().filter_map(name).collect()
}

#[test]
fn sets_become_what_is_stated_and_stay() {
    let world = World::new();
    let rules = "drop in from @office to any port @web";
    let old = format!(
        "set office addresses {{ 192.0.2.1 10.1.2.3/8 }}\nset web ports {{ 80 81 }}\n{rules}"
    );
    declare(&world, "a.toml", &filter(&old));
    let diff = world.nke(&["diff", "a.toml"]);
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let made =
        "@@ set office of packet-filter @@\n+set office addresses\n+10.0.0.0/8\n+192.0.2.1\n";
    assert!(diff.stdout.contains(made), "{}", diff.stdout);
    let told = apply(&world, "a.toml").ok().stdout;
    let line = "set office of packet-filter: made, 2 members added\n";
    assert!(told.contains(line), "{told}");
    assert_eq!(members(&world, "office"), ["10.0.0.0/8", "192.0.2.1"]);
    assert_eq!(members(&world, "web"), ["80-81"]);
    assert_nothing_to_change(&world, "a.toml");

    // Other members come from a file beside the declaration; other sets are left alone.
    world
        .nke(&["filter", "set", "create", "other", "ports"])
        .ok();
    world.nke(&["filter", "set", "add", "web", "8080"]).ok();
    let new =
        format!("set office addresses from \"office.txt\"\nset web ports {{ 80-81 }}\n{rules}");
    declare(&world, "b.toml", &filter(&new));
    let file = world.directory().join("office.txt");
    fs::write(&file, "192.0.2.1   # one\n2001:db8::/32 timeout 1h\n")
        .expect("the directory is the test's");
    let diff = world.nke(&["diff", "b.toml"]);
    let changed = " set office addresses\n-10.0.0.0/8\n+2001:db8::/32 timeout 1h\n";
    assert!(diff.stdout.contains(changed), "{}", diff.stdout);
    let told = apply(&world, "b.toml").ok().stdout;
    let line = "set office of packet-filter: 1 member added, 1 member removed\n";
    assert!(told.contains(line), "{told}");
    assert!(
        told.contains("set web of packet-filter: 1 member removed\n"),
        "{told}"
    );
    assert_eq!(members(&world, "web"), ["80-81"]);
    assert_eq!(names(&world), ["office", "other", "web"]);
    assert_nothing_to_change(&world, "b.toml");

    // With --prune those go that nobody asks for.
    let report: Value = world.nke(&["apply", "--prune", "--json", "b.toml"]).json();
    let removed = serde_json::json!([{
        "extension": "packet-filter", "set": "other", "type": "ports", "timeout": null,
        "becomes": "removed", "added": 0, "removed": 0,
    }]);
    assert_eq!(report["sets"], removed, "{report:#}");
    declare(
        &world,
        "c.toml",
        &filter("").replace("rules = '''\n\n'''\n", ""),
    );
    world.nke(&["apply", "--prune", "c.toml"]).ok();
    assert_eq!(
        names(&world),
        ["office", "web"],
        "rules that stay ask for them"
    );
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    assert!(!world.is_mounted());
}

/// How often the filter was asked for by name.
fn loads(world: &World) -> u64 {
    let listed: Value = world.nke(&["list", "--json"]).json();
    let count = listed["extensions"][0]["loads"].as_u64();
    count.unwrap_or_else(|| nke_tests::fail(listed.to_string()))
}

#[test]
fn a_set_that_was_made_by_hand_and_stays_keeps_its_extension() {
    let world = World::new();
    world
        .nke(&["filter", "set", "create", "hand", "addresses"])
        .ok();
    world
        .nke(&["filter", "set", "add", "hand", "192.0.2.1"])
        .ok();
    declare(&world, "a.toml", &filter("drop in from @hand"));
    world.nke(&["apply", "--prune", "a.toml"]).ok();
    assert_eq!(loads(&world), 1);
    let unchanged = world.nke(&["diff", "--prune", "a.toml"]);
    assert_eq!(unchanged.code, Some(0), "{unchanged:#?}");
    // So it outlives the attachment, as `set create` has promised.
    world.nke(&["detach", "packet-filter"]).ok();
    assert_eq!(members(&world, "hand"), ["192.0.2.1"]);

    // One that is stated comes with its file again, and holds nothing; nor does one that goes.
    let stated = "set hand addresses { 192.0.2.1 }\ndrop in from @hand";
    declare(&world, "b.toml", &filter(stated));
    world.nke(&["apply", "--prune", "b.toml"]).ok();
    assert_eq!(loads(&world), 0);
}

#[test]
fn what_is_refused_has_changed_no_set() {
    let world = World::new();
    trails(&world, [1]);
    let old = "set a addresses { 192.0.2.1 }\ndrop in from @a";
    declare(&world, "old.toml", &filter(old));
    apply(&world, "old.toml").ok();
    // A set that comes and one that changes, and rules that ask for what is not there.
    let no = "set a addresses { 192.0.2.2 }\nset b ports { 7 }\ndrop in from @a to any port @b\ndrop from @c";
    declare(&world, "no.toml", &filter(no));
    let said = apply(&world, "no.toml").fails("declared-rules");
    assert!(said.contains("@c") || said.contains(" c"), "{said}");
    assert_eq!(members(&world, "a"), ["192.0.2.1"]);
    assert_eq!(names(&world), ["a"]);
    assert_nothing_to_change(&world, "old.toml");

    let refused = |rules: &str, part: &str| {
        declare(&world, "no.toml", rules);
        let said = apply(&world, "no.toml").fails("declaration");
        assert!(said.contains(part), "{said}");
    };
    let two = filter("set a ports { 7 }") + &filter("\nset a ports { 8 }");
    refused(&two, "no.toml:8 says another set a of packet-filter");
    refused(&filter("set a ports { 7 }"), "members of another type");
    fs::write(world.directory().join("a.txt"), "192.0.2.1\n192.0.2.300\n").expect("the test's");
    refused(&filter("set a addresses from \"a.txt\""), "a.txt:2: ");
    declare(
        &world,
        "no.toml",
        &filter("set a addresses from \"none.txt\""),
    );
    let said = apply(&world, "no.toml").fails("read");
    assert!(said.contains("none.txt"), "{said}");
    assert_eq!(members(&world, "a"), ["192.0.2.1"]);
}

#[test]
fn sets_that_were_saved_come_back() {
    let (world, cgroup) = (World::new(), Cgroup::new());
    world.attach(Hook::In, "packet-filter", &[]);
    let guard = [
        "attach",
        "connection-guard",
        "--cgroup",
        cgroup.path(),
        "--hook",
        "socket/connect",
    ];
    world.nke(&guard).ok();
    for (verb, words) in [
        ("filter", "create office addresses --timeout 1h"),
        ("filter", "add office 192.0.2.1 2001:db8::/32"),
        ("filter", "create empty pairs"),
        ("guard", "create web ports"),
        ("guard", "add web 443 80"),
    ] {
        let words: Vec<_> = [verb, "set"].into_iter().chain(words.split(' ')).collect();
        world.nke(&words).ok();
    }
    world.on(&["filter", "add", "drop in from @office"]).ok();
    world
        .nke(&[
            "guard",
            "add",
            "--cgroup",
            cgroup.path(),
            "drop connect port @web",
        ])
        .ok();
    world.nke(&["save", "saved.toml"]).ok();
    let saved = fs::read_to_string(world.directory().join("saved.toml")).expect("it is written");
    assert!(
        saved.contains("set web ports {\n    80\n    443\n}\n"),
        "{saved}"
    );
    let same = || {
        let diff = world.nke(&["diff", "--prune", "saved.toml"]);
        assert_eq!(
            (diff.code, diff.stdout.as_str()),
            (Some(0), ""),
            "{}",
            diff.stderr
        );
    };
    same();
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    assert!(!world.is_mounted(), "nothing is left");
    apply(&world, "saved.toml").ok();
    same();
    assert_eq!(names(&world), ["empty", "office"]);
    assert_eq!(members(&world, "office").len(), 2);
    // A change of nothing but a set.
    let more = saved.replace("    443\n", "    443\n    8443\n");
    fs::write(world.directory().join("more.toml"), more).expect("the test's");
    let told = apply(&world, "more.toml").ok().stdout;
    assert_eq!(told, "set web of connection-guard: 1 member added\n");
    assert_nothing_to_change(&world, "more.toml");
}
