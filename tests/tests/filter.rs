//! `nke filter`: rules typed, listed, changed and deleted, with packets on the wire.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use nke_tests::{Hook, IFACE, World, fail, trail, udp_arrives};
use serde::Deserialize;
use serde_json::Value;

const EXTENSION: &str = "packet-filter";

/// `nke filter list --json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the shape is promised, whoever reads it")]
struct Filter {
    hook: String,
    interface: String,
    netns: Option<String>,
    attachment: u32,
    default: String,
    default_hits: Hits,
    known_hits: Hits,
    obscured_hits: Hits,
    evicted_sources: u64,
    gone_interfaces: Vec<Value>,
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hits {
    packets: u64,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    number: usize,
    rule: String,
    packets: u64,
    bytes: u64,
}

#[track_caller]
fn filters(world: &World) -> Vec<Filter> {
    world
        .nke(&["filter", "list", "--json"])
        .json::<Filters>()
        .filters
}

/// The rules of the only filter, in order.
#[track_caller]
fn rules(world: &World) -> Vec<String> {
    let filters = filters(world);
    let [filter] = filters.as_slice() else {
        fail(format!("one filter is attached: {filters:#?}"));
    };
    assert!(
        filter
            .rules
            .iter()
            .map(|rule| rule.number)
            .eq(1..=filter.rules.len())
    );
    filter.rules.iter().map(|rule| rule.rule.clone()).collect()
}

#[track_caller]
fn add(world: &World, rule: &str) {
    world.on(&["filter", "add", rule]).ok();
}

#[test]
fn rules_come_and_go() {
    let world = World::new();
    world.attach(Hook::Xdp, EXTENSION, &[]);
    add(&world, "drop in proto tcp from 10.0.0.0/8 to any port 22");
    // Words need no quotes, and a list is a rule each.
    world
        .on(&["filter", "add", "pass", "proto", "{icmp,", "icmp6}"])
        .ok();
    add(&world, "drop");
    world
        .on(&["filter", "add", "--at", "2", "pass to any port domain"])
        .ok();
    let all = [
        "drop in proto tcp from 10.0.0.0/8 to any port 22",
        "pass to any port 53",
        "pass proto icmp",
        "pass proto icmp6",
        "drop",
    ];
    assert_eq!(rules(&world), all);

    // Numbers are those of the list, whatever else goes at the same time.
    let gone = world.on(&["filter", "delete", "1", "4", "4"]).ok();
    assert_eq!(
        gone.stdout,
        format!(
            "{at}: deleted rule 1: {}\n{at}: deleted rule 4: {}\n",
            all[0],
            all[3],
            at = format_args!("interface/xdp of {IFACE} in {}", world.inside.name()),
        )
    );
    assert_eq!(rules(&world), [all[1], all[2], all[4]]);

    world.on(&["filter", "default", "drop", "--force"]).ok();
    world.on(&["filter", "flush", "--force"]).ok();
    assert_eq!(rules(&world), [""; 0]);
    assert_eq!(filters(&world)[0].default, "drop", "it stays");
}

#[test]
fn a_file_takes_the_place_of_all() {
    let world = World::new();
    world.attach(Hook::In, EXTENSION, &[]);
    add(&world, "drop to any port 1");
    let file = world.directory().join("rules");
    let file = file.to_str().expect("it is text");
    fs::write(file, "# mine\ndefault drop\npass to any port {2, 3}\n").expect("it is ours");
    world.on(&["filter", "load", "--force", file]).ok();
    assert_eq!(rules(&world), ["pass to any port 2", "pass to any port 3"]);
    assert_eq!(filters(&world)[0].default, "drop");

    // What is wrong with a file changes nothing.
    fs::write(file, "pass\npass port 1\n").expect("it is ours");
    let error = world.on(&["filter", "load", file]).fails("malformed-rule");
    let first = format!("nke: {file}: line 2, column 6: expected `in`, `out`,");
    assert!(error.starts_with(&first), "{error}");
    assert!(
        error.ends_with("\n    pass port 1\n         ^^^^\n"),
        "{error}"
    );
    fs::write(file, b"pass\npass # caf\xe9\n").expect("it is ours");
    let error = world.on(&["filter", "load", file]).fails("malformed-rule");
    let first = format!("nke: {file}: line 2, column 11: ");
    assert!(error.starts_with(&first), "{error}");
    drop(world.on(&["filter", "load", "nowhere"]).fails("read"));
    for (rule, code, what, (column, width)) in [
        (
            "drop out # x",
            "rule-never-matches",
            "can never match",
            (1, 8),
        ),
        (
            "drop on nosuch",
            "rule-no-interface",
            "there is no interface nosuch",
            (9, 6),
        ),
        (
            "drop from @nosuch",
            "no-set",
            "there is none of that name",
            (11, 7),
        ),
    ] {
        fs::write(file, format!("pass\n\npass on lo\n{rule}\n")).expect("it is ours");
        let error = world.on(&["filter", "load", file]).fails(code);
        let first = format!("nke: {file}: line 4, column {column}: ");
        assert!(error.starts_with(&first) && error.contains(what), "{error}");
        let marked = format!(
            "    {rule}\n    {}{}\n",
            " ".repeat(column - 1),
            "^".repeat(width)
        );
        assert!(error.ends_with(&marked), "{error}");
    }
    fs::write(file, "drop to any port 1\n".repeat(1025)).expect("it is ours");
    let error = world.on(&["filter", "load", file]).fails("rules-full");
    assert!(error.contains("among 1025 rules, more than 640"), "{error}");
    assert_eq!(rules(&world), ["pass to any port 2", "pass to any port 3"]);
}

#[test]
fn rules_act_on_the_wire() {
    let world = World::with_addresses();
    for hook in [Hook::Xdp, Hook::In] {
        world.attach(hook, EXTENSION, &[]);
        for v6 in [false, true] {
            assert_eq!(udp_arrives(&world, v6, &[53, 54, 55]), [true; 3]);
        }
        let at = |words: &[&str]| world.at(hook, &[&["filter"], words].concat()).ok();
        at(&["add", "drop in proto udp from 10.1.0.0/24 to any port 53"]);
        assert_eq!(
            udp_arrives(&world, false, &[53, 54, 55]),
            [false, true, true]
        );
        assert_eq!(udp_arrives(&world, true, &[53, 54, 55]), [true; 3]);
        at(&["add", "drop proto udp to any port 54"]);
        assert_eq!(
            udp_arrives(&world, false, &[53, 54, 55]),
            [false, false, true]
        );
        assert_eq!(
            udp_arrives(&world, true, &[53, 54, 55]),
            [true, false, true]
        );

        let filter = &filters(&world)[0];
        let packets: Vec<_> = filter.rules.iter().map(|rule| rule.packets).collect();
        assert_eq!(packets, [2, 2]);
        // Ethernet, IPv4, UDP and "datagram".
        assert_eq!(filter.rules[0].bytes, 2 * (14 + 20 + 8 + 8));
        at(&["delete", "1"]);
        assert_eq!(
            udp_arrives(&world, false, &[53, 54, 55]),
            [true, false, true]
        );
        world.at(hook, &["detach", EXTENSION]).ok();
        assert_eq!(udp_arrives(&world, false, &[53, 54, 55]), [true; 3]);
    }
}

#[test]
fn every_attachment_has_rules_of_its_own() {
    let world = World::new();
    for hook in Hook::ALL {
        world.attach(hook, EXTENSION, &[]);
    }
    // The rule says where it belongs.
    add(&world, "drop out to any port 1");
    world
        .at(Hook::In, &["filter", "add", "drop to any port 2"])
        .ok();
    let found: Vec<_> = filters(&world)
        .into_iter()
        .map(|filter| {
            (
                filter.hook,
                filter.rules.into_iter().map(|rule| rule.rule).collect(),
            )
        })
        .collect();
    let expected: [(String, Vec<String>); 3] = [
        ("interface/xdp".into(), vec![]),
        ("interface/in".into(), vec!["drop to any port 2".into()]),
        (
            "interface/out".into(),
            vec!["drop out to any port 1".into()],
        ),
    ];
    assert_eq!(found, expected);

    let error = world.on(&["filter", "add", "drop"]).fails("many-rule-sets");
    assert!(error.contains("say which with --hook or --id"), "{error}");
    let error = world
        .at(Hook::Out, &["filter", "add", "drop in"])
        .fails("rule-never-matches");
    assert!(error.contains("`drop in` can never match"), "{error}");

    // Two at one hook are told apart by their ids.
    let second = world.attach(Hook::Out, EXTENSION, &[]).to_string();
    let error = world
        .at(Hook::Out, &["filter", "add", "drop"])
        .fails("many-rule-sets");
    assert!(error.contains("say which with --id"), "{error}");
    let error = world.on(&["filter", "add", "drop"]).fails("many-rule-sets");
    assert!(error.contains("say which with --hook or --id"), "{error}");
    // So where the rule has left those at one hook.
    let error = world
        .on(&["filter", "add", "drop out"])
        .fails("many-rule-sets");
    assert!(error.contains("say which with --id"), "{error}");
    world
        .on(&["filter", "add", "--id", &second, "drop to any port 3"])
        .ok();
    let filters = filters(&world);
    let of_second = filters
        .iter()
        .find(|filter| filter.attachment.to_string() == second);
    assert_eq!(of_second.map(|filter| filter.rules.len()), Some(1));
}

#[test]
fn rules_stay_when_the_chain_changes() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, EXTENSION, &[]);
    add(&world, "drop proto udp to any port 53");
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);
    world.attach(Hook::Xdp, &trail::object(1), &["--priority", "10"]);
    world
        .at(Hook::Xdp, &["move", EXTENSION, "--priority", "5"])
        .ok();
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);
    assert_eq!(filters(&world)[0].rules[0].packets, 2);
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let world = World::new();
    let error = world.on(&["filter", "add", "drop"]).fails("no-rule-set");
    let netns = world.inside.name();
    let hint = format!("`nke attach packet-filter -i eth0 --netns {netns}` does that");
    assert!(error.contains(&hint), "{error}");
    world.attach(Hook::Xdp, EXTENSION, &[]);
    add(&world, "pass");
    let check = |words: &[&str], message: &str| {
        let error = world.on(&[&["filter"], words].concat()).fails_somehow().1;
        assert!(error.contains(message), "{error}");
    };
    check(
        &["add", "drop in proto tpc"],
        "nke: rule: line 1, column 15: expected `not`, `{` or a protocol, by name or number, found \
         `tpc`; did you mean `tcp`?\n    drop in proto tpc\n                  ^^^\n",
    );
    check(
        &["add", ""],
        "expected `pass`, `drop`, `reject`, `redirect`, `count` or `mark`, found the end of the line",
    );
    check(&["add", "drop out"], "can never match");
    check(
        &["add", "--at", "3", "drop"],
        "give --at a number from 1 to 2",
    );
    check(&["delete", "2"], "there is no rule 2, only 1");
    check(&["delete", "--id", "1", "1"], "it is not attached there");
    for words in [&["delete", "0"], &["default", "reject"], &["delete", "one"]] {
        drop(
            world
                .on(&[&["filter"], words.as_slice()].concat())
                .fails("usage"),
        );
    }
    assert_eq!(rules(&world), ["pass"]);
}

#[test]
fn a_rule_can_log() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, EXTENSION, &[]);
    add(&world, "drop log proto udp to any port 53");
    let mut command = world.command(&["log", EXTENSION]);
    let mut log = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command can be run");
    let lines = BufReader::new(log.stdout.take().expect("it was asked for")).lines();
    // Lines wait in the ring buffer for their first reader, so there is no order to keep here.
    for v6 in [false, true] {
        assert_eq!(udp_arrives(&world, v6, &[53, 54]), [false, true]);
    }
    let mut found = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("proto 17"));
    let (first, second) = (found.next(), found.next());
    log.kill().expect("it runs");
    log.wait().expect("it ends");
    let check = |line: Option<String>, from: &str, to: &str, bytes: usize| {
        let line = line.unwrap_or_default();
        let start = format!("rule 1: drop in proto 17 from {from} port ");
        let end = format!(" to {to} port 53, {bytes} bytes, on {IFACE}");
        assert!(line.contains(&start) && line.ends_with(&end), "{line}");
    };
    check(first, "10.1.0.1", "10.1.0.2", 50);
    check(second, "fd01::1", "fd01::2", 70);
}

#[test]
fn a_row_is_one_line_where_nobody_looks() {
    let world = World::new();
    world.attach(Hook::Xdp, EXTENSION, &[]);
    let rule = "drop in proto tcp from 2001:db8:1234:5678::/64 to 2001:db8:8765:4321::1 port 1024-65535 flags S/SA";
    add(&world, rule);
    let listed = world.on(&["filter", "list"]).ok().stdout;
    let whole = |line: &str| line.ends_with(&format!(" {rule}"));
    assert!(listed.lines().any(whole), "{listed}");
}

#[test]
fn no_tags_are_at_the_ip_layer() {
    let world = World::new();
    let layer = ["--netns", world.inside.name()];
    let nke = |words: &[&str]| world.nke(&[words, &layer].concat());
    nke(&["attach", EXTENSION, "--hook", "ip/in"]).ok();
    for rule in ["drop in vlan 7", "drop in vlan any", "drop in vlan not 7"] {
        let told = nke(&["filter", "add", rule]).fails("rule-not-there");
        assert!(told.contains("there is no VLAN tag at ip/in"), "{told}");
    }
    let told = nke(&["filter", "add", "drop arp"]).fails("rule-not-there");
    assert!(told.contains("there is no ARP at ip/in"), "{told}");
    nke(&["filter", "add", "drop in vlan none"]).ok();
    let listed: Value = nke(&["filter", "list", "--json"]).json();
    assert_eq!(
        listed["filters"][0]["rules"][0]["rule"],
        "drop in vlan none"
    );
}
