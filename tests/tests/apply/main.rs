//! `nke apply` and `nke diff`: the system is brought to what is declared, each chain at once.

mod cgroup;
mod fail;
mod kill;
mod lockout;
mod many;
mod save;
mod sets;
mod settings;
mod unit;
mod upgrade;

use nke_tests::{Hook, IFACE, Ran, World, trail};
use serde_json::Value;

/// The keys that name the inside's interface.
fn here(world: &World) -> String {
    format!(
        "interface = \"{IFACE}\"\nnetns = \"{}\"\n",
        world.inside.name()
    )
}

/// Writes a declaration. `HERE` stands for the keys that name the inside's interface, `NETNS` for
/// that of its namespace.
fn declare(world: &World, file: &str, text: &str) {
    let netns = format!("netns = \"{}\"", world.inside.name());
    let text = text.replace("HERE", &here(world)).replace("NETNS", &netns);
    std::fs::write(world.directory().join(file), text).expect("the directory is the test's");
}

/// Puts `trail` programs of these numbers where names are found.
fn trails(world: &World, numbers: impl IntoIterator<Item = u8>) {
    for number in numbers {
        let name = world.extensions().join(format!("trail{number}.o"));
        std::fs::copy(trail::object(number), name).expect("the directory is the test's");
    }
}

/// An attachment at interface/in for each number, in their order.
fn attachments(numbers: &[u8]) -> String {
    let one = |number| {
        format!("[[attach]]\nextension = \"trail{number}\"\nhook = \"interface/in\"\nHERE\n")
    };
    numbers.iter().map(one).collect()
}

fn apply(world: &World, file: &str) -> Ran {
    world.nke(&["apply", file])
}

/// `diff` has told that there is nothing to change.
#[track_caller]
fn assert_nothing_to_change(world: &World, file: &str) {
    let ran = world.nke(&["diff", file]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), ""),
        "{}",
        ran.stderr
    );
    assert_eq!(apply(world, file).ok().stdout, "nothing to change\n");
}

#[test]
fn what_is_declared_comes_to_be_and_stays() {
    let world = World::new();
    trails(&world, 1..=4);
    declare(&world, "a.toml", &attachments(&[1, 2, 3]));
    let diff = world.nke(&["diff", "a.toml"]);
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let place = format!("{IFACE} in {}", world.inside.name());
    assert_eq!(
        diff.stdout,
        format!(
            "--- running\n+++ declared\n@@ interface/in of {place} @@\n\
             +    50 trail1 (trail_tc)\n+    50 trail2 (trail_tc)\n+    50 trail3 (trail_tc)\n\
             +policy pass\n"
        )
    );
    assert_eq!(world.chains(), [], "a diff changes nothing");
    let told = apply(&world, "a.toml").ok().stdout;
    assert_eq!(told, format!("interface/in of {place}: 3 attached\n"));
    world.assert_trail(Hook::In, &[1, 2, 3]);
    let before = world.chain(Hook::In);
    assert_nothing_to_change(&world, "a.toml");
    assert_eq!(
        world.chain(Hook::In),
        before,
        "ids and programs are the same"
    );

    // What stays keeps its id, wherever it goes.
    declare(&world, "b.toml", &attachments(&[3, 4, 1]));
    apply(&world, "b.toml").ok();
    world.assert_trail(Hook::In, &[3, 4, 1]);
    let (before, after) = (
        before.expect("a chain"),
        world.chain(Hook::In).expect("a chain"),
    );
    for name in ["trail1", "trail3"] {
        assert_eq!(before.node(name).id, after.node(name).id, "{name}");
    }
    assert_nothing_to_change(&world, "b.toml");
    assert!(
        world.list().iter().all(|e| e.name != "trail2"),
        "nothing holds it"
    );
}

#[test]
fn a_chain_that_is_declared_is_whole_and_others_are_left_alone() {
    let world = World::new();
    trails(&world, 1..=3);
    world.attach(Hook::In, "trail2", &[]);
    world.attach(Hook::Xdp, "trail3", &[]);
    world.nke(&["load", "trail2"]).ok();
    declare(&world, "a.toml", &attachments(&[1]));
    apply(&world, "a.toml").ok();
    world.assert_trail(Hook::In, &[1]);
    world.assert_trail(Hook::Xdp, &[3]);

    let ran = world.nke(&["apply", "--prune", "a.toml"]).ok();
    assert!(ran.stdout.contains("released trail2\n"), "{}", ran.stdout);
    world.assert_trail(Hook::In, &[1]);
    assert!(world.chain(Hook::Xdp).is_none());
    assert_eq!(world.list().len(), 1);

    declare(&world, "none.toml", "# Nothing at all.\n");
    apply(&world, "none.toml").ok();
    world.assert_trail(Hook::In, &[1]);
    world.nke(&["apply", "--prune", "none.toml"]).ok();
    assert_eq!((world.chains(), world.list()), (vec![], vec![]));
    assert!(!world.is_mounted(), "nothing is left");
}

#[test]
fn an_order_can_be_declared() {
    let world = World::new();
    trails(&world, 1..=4);
    let one = |number: u8, more: &str| format!("{}{more}\n", attachments(&[number]));
    let text = [
        one(1, "before = \"trail3\""),
        one(2, "priority = 90"),
        one(3, "priority = 10"),
        one(4, "after = \"trail3\""),
    ];
    declare(&world, "a.toml", &text.concat());
    apply(&world, "a.toml").ok();
    world.assert_trail(Hook::In, &[1, 3, 4, 2]);
    assert_nothing_to_change(&world, "a.toml");
    declare(&world, "b.toml", &one(1, "before = \"trail9\""));
    let said = apply(&world, "b.toml").fails("declaration");
    assert!(
        said.contains("b.toml:1: attach: no attachment that it goes"),
        "{said}"
    );
    world.assert_trail(Hook::In, &[1, 3, 4, 2]);
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let world = World::new();
    trails(&world, 1..=2);
    let netns = world.inside.name().to_owned();
    let text =
        attachments(&[1]) + &attachments(&[2]).replace("HERE", "interface = \"late0\"\nNETNS");
    declare(&world, "a.toml", &text);
    let told = apply(&world, "a.toml").ok().stdout;
    let line = format!("waiting for interface late0 in {netns}: trail2 (a.toml:7)\n");
    assert!(told.ends_with(&line), "{told}");
    world.assert_trail(Hook::In, &[1]);
    let diff = world.nke(&["diff", "a.toml"]);
    assert_eq!((diff.code, diff.stdout), (Some(0), format!("# {line}")));

    world.inside.ip("link add late0 type veth peer late1");
    let told = apply(&world, "a.toml").ok().stdout;
    assert_eq!(
        told,
        format!("interface/in of late0 in {netns}: 1 attached\n")
    );
    assert_nothing_to_change(&world, "a.toml");
    declare(
        &world,
        "n.toml",
        "[[attach]]\nextension = \"trail1\"\ninterface = \"x\"\nnetns = \"nowhere\"",
    );
    let told = apply(&world, "n.toml").ok().stdout;
    assert!(
        told.contains("waiting for interface x in nowhere: trail1"),
        "{told}"
    );
    declare(
        &world,
        "c.toml",
        "[[attach]]\nextension = \"counter\"\ncgroup = \"/nowhere\"",
    );
    let told = apply(&world, "c.toml").ok().stdout;
    assert!(
        told.contains("waiting for cgroup /nowhere: counter"),
        "{told}"
    );
}

#[test]
fn a_rule_of_an_interface_that_is_not_there_yet_keeps_no_other_out() {
    let world = World::with_addresses();
    let netns = world.inside.name().to_owned();
    let rules = |more: &str| {
        format!(
            "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/in\"\nHERE\n\
             rules = '''\n{more}drop in on late0 proto udp to any port 1\ndrop in proto udp to any port 52\n\
             redirect to late1 proto 98\ndrop in on not late0 proto udp to any port 53\n'''\n"
        )
    };
    // Few rules are always written anew, many are edited in place where that can be.
    let many = (100..120).map(|port| format!("drop proto udp to any port {port}\n"));
    for more in [String::new(), many.collect()] {
        declare(&world, "a.toml", &rules(&more));
        let line = 8 + more.lines().count();
        let waits =
            |what: &str, rest: &str| format!("waiting for interface {what} in {netns}: {rest}");
        let lines = [
            waits(
                "late0",
                &format!(
                    "`drop in on late0 proto udp to any port 1` matches nothing until it is there and applied again; and another rule (a.toml:{line})\n"
                ),
            ),
            waits(
                "late1",
                &format!(
                    "`redirect to late1 proto 98` drops all that it matches until it is there and applied again (a.toml:{})\n",
                    line + 2
                ),
            ),
        ];
        let told = apply(&world, "a.toml").ok().stdout;
        assert!(told.ends_with(&lines.concat()), "{told}");
        let arrived = nke_tests::udp_arrives(&world, false, &[51, 52, 53, 54]);
        assert_eq!(arrived, [true, false, false, true]);
        let listed = world.on(&["filter", "list"]).ok().stdout;
        assert!(
            listed.contains("there is no interface late0 now"),
            "{listed}"
        );
        let diff = world.nke(&["diff", "a.toml"]);
        let pending = lines.each_ref().map(|line| format!("# {line}")).concat();
        assert_eq!((diff.code, diff.stdout), (Some(0), pending));

        world.inside.ip("link add late0 type veth peer name late1");
        assert_eq!(world.nke(&["diff", "a.toml"]).code, Some(1));
        let told = apply(&world, "a.toml").ok().stdout;
        let changed = format!("interface/in of {IFACE} in {netns}: 1 with other rules\n");
        assert_eq!(told, changed);
        assert_nothing_to_change(&world, "a.toml");
        let listed: Value = world.on(&["filter", "list", "--json"]).json();
        let gone = &listed["filters"][0]["gone_interfaces"];
        assert_eq!(gone.as_array().map(Vec::len), Some(0), "{gone}");
        world.inside.ip("link delete late0");
        assert_eq!(world.nke(&["diff", "a.toml"]).code, Some(0));
        world.nke(&["apply", "--prune", "/dev/null"]).ok();
    }
}

#[test]
fn whatever_fails_leaves_everything() {
    let world = World::new();
    trails(&world, 1..=3);
    world.attach(Hook::In, "trail1", &[]);
    let before = world.standing();
    let refused = |text: &str, name: &str| {
        declare(&world, "a.toml", text);
        let said = apply(&world, "a.toml").fails(name);
        world.assert_standing(&before);
        said
    };
    // The chain at interface/in could change; the one behind it cannot.
    let text = attachments(&[2, 3]);
    let xdp = "[[attach]]\nhook = \"interface/xdp\"\nHERE\nextension = ";
    // The line is that of what cannot be had, whoever refuses it.
    let at = |line: usize, said: &str| {
        let start = format!("nke: a.toml:{line}: ");
        assert!(said.starts_with(&start), "{said}");
    };
    let third = |more: &str, name: &str| at(13, &refused(&format!("{text}{xdp}{more}"), name));
    third("\"nowhere\"", "no-extension");
    third("\"trail1\"\nmode = \"tcx\"", "no-mode");
    third("\"trail1\"\nopt-in = true", "no-opt-in");
    third("\"trail1\"\nprogram = \"none\"", "no-program");
    refused(&format!("{text}[[load]]\nextension = 1"), "declaration");
    let refused_by_all = nke_tests::stranger::object("refused.c", "refused", &[]);
    third(&format!("\"{refused_by_all}\""), "verifier");
    // The one that the verifier refuses, and not the first of its chain.
    let chain = format!("{text}{xdp}\"trail3\"\n{xdp}\"{refused_by_all}\"");
    at(19, &refused(&chain, "verifier"));
    let many: String = (0..33).map(|_| attachments(&[2])).collect();
    at(1, &refused(&many, "chain-full"));
    let netns = "[[policy]]\nhook = \"ip/in\"\nnetns = \"/etc/hostname\"\npolicy = \"drop\"";
    at(13, &refused(&format!("{text}{netns}"), "no-namespace"));
}

#[test]
fn rules_that_can_never_match_are_refused() {
    let world = World::new();
    let refused = |hook: &str, place: &str, rules: &str, part: &str| {
        let text = format!(
            "[[attach]]\nextension = \"packet-filter\"\nhook = \"{hook}\"\n{place}\n\
             rules = \"{rules}\"\n"
        );
        declare(&world, "a.toml", &text);
        let said = apply(&world, "a.toml").fails("declaration");
        assert!(said.starts_with("nke: a.toml:1: attach.rules: "), "{said}");
        assert!(said.contains(part), "{said}");
        assert!(!world.is_mounted(), "nothing is loaded");
    };
    let out = "attach packet-filter to interface/out for it";
    refused("interface/in", "HERE", "drop out proto udp", out);
    refused("interface/xdp", "HERE", "drop out proto udp", out);
    let into = "attach packet-filter to interface/in for it";
    refused("interface/out", "HERE", "drop in proto udp", into);
    refused(
        "ip/in",
        "NETNS",
        "drop out",
        "attach packet-filter to ip/out for it",
    );
    // Forwarded packets go both ways.
    let text = "[[attach]]\nextension = \"packet-filter\"\nhook = \"ip/forward\"\nNETNS\n\
                rules = '''\ndrop out proto udp\ndrop in proto tcp\n'''\n";
    declare(&world, "a.toml", text);
    apply(&world, "a.toml").ok();

    // A guard's rules are for all of its hooks together.
    let cgroup = nke_tests::Cgroup::new();
    let guard = |hook: &str, rules: &str| {
        let path = cgroup.path();
        let text = format!(
            "[[attach]]\nextension = \"connection-guard\"\ncgroup = \"{path}\"\n{hook}\n\
             rules = \"{rules}\"\n"
        );
        declare(&world, "a.toml", &text);
        apply(&world, "a.toml")
    };
    let said = guard("hook = \"socket/bind\"", "drop connect").fails("declaration");
    assert!(
        said.contains("attach connection-guard to socket/connect for it"),
        "{said}"
    );
    guard("", "drop bind port 80").ok();
}

#[test]
fn rules_are_declared_with_their_filter() {
    let world = World::new();
    let filter = |rules: &str| {
        format!(
            "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/in\"\nHERE\n\
             rules = '''\n{rules}'''\n"
        )
    };
    let listed = || -> Value { world.on(&["filter", "list", "--json"]).json() };
    declare(
        &world,
        "a.toml",
        &filter("default drop\npass in proto udp\n"),
    );
    apply(&world, "a.toml").ok();
    let first = listed()["filters"][0].clone();
    assert_eq!(
        (&first["default"], &first["rules"][0]["rule"]),
        (&"drop".into(), &"pass in proto udp".into())
    );
    assert_nothing_to_change(&world, "a.toml");

    declare(
        &world,
        "b.toml",
        &filter("default drop\npass in proto tcp\n"),
    );
    let diff = world.nke(&["diff", "b.toml"]).stdout;
    assert!(
        diff.contains("-           pass in proto udp\n+           pass in proto tcp\n"),
        "{diff}"
    );
    apply(&world, "b.toml").ok();
    let second = listed()["filters"][0].clone();
    assert_eq!(first["attachment"], second["attachment"]);
    assert_eq!(second["rules"][0]["rule"], "pass in proto tcp");

    // Rules that are not declared are whoever's they are.
    declare(
        &world,
        "c.toml",
        "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/in\"\nHERE",
    );
    assert_nothing_to_change(&world, "c.toml");
    world.on(&["filter", "add", "pass in proto icmp"]).ok();
    assert_nothing_to_change(&world, "c.toml");
    apply(&world, "b.toml").ok();
    assert_eq!(
        listed()["filters"][0]["rules"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn filters_of_one_interface_have_rules_of_their_own() {
    let world = World::new();
    let filter = |hook: &str, rules: &str| {
        format!("[[attach]]\nextension = \"packet-filter\"\nhook = \"{hook}\"\nHERE\n{rules}\n")
    };
    let way_in = |rules: &str| filter("interface/in", rules);
    let way_out = filter("interface/out", "rules = 'drop out proto icmp'");
    let both = way_in("rules = 'drop in proto udp'") + &way_out;
    declare(&world, "a.toml", &both);
    apply(&world, "a.toml").ok();
    assert_nothing_to_change(&world, "a.toml");
    let saved = world.nke(&["save"]).ok().stdout;
    assert!(saved.contains("drop in proto udp"), "{saved}");
    assert!(saved.contains("drop out proto icmp"), "{saved}");
    // One whose rules are not declared keeps them.
    declare(&world, "b.toml", &(way_in("") + &way_out));
    assert_nothing_to_change(&world, "b.toml");
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    declare(&world, "c.toml", &saved);
    apply(&world, "c.toml").ok();
    assert_eq!(world.nke(&["save"]).ok().stdout, saved);
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let world = World::new();
    trails(&world, 1..=4);
    std::fs::create_dir_all(world.directory().join("d/sub.toml")).expect("the test's own");
    declare(&world, "d/20-b.toml", &attachments(&[1]));
    declare(&world, "d/10-a.toml", &attachments(&[2]));
    declare(&world, "d/30-c.conf", &attachments(&[3]));
    declare(&world, "d/sub.toml/40-d.toml", &attachments(&[4]));
    apply(&world, "d").ok();
    world.assert_trail(Hook::In, &[2, 1]);
}

#[test]
fn options_and_policies_change_in_place() {
    let world = World::new();
    trails(&world, 1..=2);
    let text = attachments(&[1, 2]);
    let policy = "[[policy]]\nhook = \"interface/in\"\nHERE\npolicy = \"drop\"\n";
    declare(&world, "a.toml", &text);
    declare(
        &world,
        "b.toml",
        &format!("{text}no-counters = true\n{policy}"),
    );
    declare(&world, "c.toml", &format!("{text}disabled = true\n"));
    let ids = || {
        let chain = world.chain(Hook::In).expect("a chain");
        chain.nodes.iter().map(|node| node.id).collect::<Vec<_>>()
    };
    apply(&world, "a.toml").ok();
    let first = ids();
    for (file, policy) in [
        ("b.toml", "drop"),
        ("c.toml", "pass"),
        ("b.toml", "drop"),
        ("a.toml", "pass"),
    ] {
        apply(&world, file).ok();
        assert_eq!(ids(), first);
        assert_eq!(world.chain(Hook::In).expect("a chain").policy, policy);
        let seen: &[u8] = if file == "c.toml" { &[1] } else { &[1, 2] };
        assert_eq!(world.trail(Hook::In).seen, seen, "{file}");
        assert_nothing_to_change(&world, file);
    }
}

#[test]
fn what_is_written_for_programs_stays_as_it_is() {
    let world = World::new();
    trails(&world, 1..=2);
    declare(
        &world,
        "a.toml",
        &(attachments(&[1]) + "[[load]]\nextension = \"trail2\"\n"),
    );
    let report: Value = {
        let ran = world.nke(&["diff", "--json", "a.toml"]);
        assert_eq!(ran.code, Some(1));
        serde_json::from_str(&ran.stdout).expect("it is JSON")
    };
    let expected = serde_json::json!({
        "changes": true,
        "upgrades": [],
        "load": ["trail2"],
        "release": [],
        "sets": [],
        "settings": [],
        "waiting": [],
        "chains": [{
            "hook": "interface/in",
            "place": format!("{IFACE} in {}", world.inside.name()),
            "policy": "pass",
            "policy_changes": false,
            "attachments": [{
                "becomes": "attached",
                "extension": "trail1",
                "program": "trail_tc",
                "priority": 50,
                "rules_change": false,
            }],
        }],
    });
    assert_eq!(report, expected);
    let report: Value = world.nke(&["apply", "--json", "a.toml"]).json();
    assert_eq!(report, expected);
    let report: Value = world.nke(&["apply", "--json", "a.toml"]).json();
    assert_eq!(report["changes"], false);
}
