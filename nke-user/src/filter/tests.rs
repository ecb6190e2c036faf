//! The language and its meaning, together.

mod calls;
mod goes_on;
mod hints;
mod mistakes;
mod properties;
mod shadows;

use super::*;

/// What lines are read as, and printed again.
#[track_caller]
fn check(line: &str, printed: &[&str]) {
    let rules = parse_rules(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let found: Vec<_> = rules.iter().map(Rule::to_string).collect();
    assert_eq!(found, printed, "{line}");
}

/// What is said of a wrong line: where, and what.
#[track_caller]
fn check_error(line: &str, column: usize, width: usize, message: &str) {
    let error = parse_rules(line).unwrap_err();
    let at = (error.line, error.column, error.width);
    assert_eq!(at, (1, column, width), "{line}: {error}");
    assert_eq!(
        error.to_string(),
        format!("line 1, column {column}: {message}"),
        "{line}"
    );
}

/// What a line about calls is read as, and printed again.
#[track_caller]
fn check_calls(line: &str, printed: &[&str]) {
    let rules = Dialect::Calls.rules(line);
    let rules = rules.unwrap_or_else(|error| panic!("{line}: {error}"));
    let found: Vec<_> = rules.iter().map(Rule::to_string).collect();
    assert_eq!(found, printed, "{line}");
}

#[test]
fn rules_are_printed_without_what_adds_nothing() {
    check(
        "drop in proto tcp from 10.0.0.0/8 to any port 22",
        &["drop in proto tcp from 10.0.0.0/8 to any port 22"],
    );
    check("pass", &["pass"]);
    check("  drop\tall # everything", &["drop"]);
    check("drop from any to any", &["drop"]);
    check(
        "pass out log inet proto icmp",
        &["pass out log inet proto icmp"],
    );
    check("pass inet from 10.1.2.3/8", &["pass from 10.0.0.0/8"]);
    check("pass from 10.1.2.3/32", &["pass from 10.1.2.3"]);
    check("pass inet6 to fe80::/10", &["pass to fe80::/10"]);
    check("pass from 0.0.0.0/0", &["pass inet"]);
    check("pass proto ipv6-icmp", &["pass proto icmp6"]);
    check("pass proto 6", &["pass proto tcp"]);
    check("pass proto 99", &["pass proto 99"]);
    check("pass to any port domain", &["pass to any port 53"]);
    check(
        "pass from any port 1024:65535",
        &["pass from any port 1024-65535"],
    );
    check(
        "pass from any port 0-65535 to any port 7",
        &["pass to any port 7"],
    );
    check(
        "pass proto udp from any port 0-65535",
        &["pass proto udp to any port 0-65535"],
    );
}

#[test]
fn what_few_rules_ask_for_stands_behind() {
    let same = |line: &str| check(line, &[line]);
    same("drop in proto tcp from any port 1-9 to any port 22 flags S/SA fragment dscp ef vlan 7");
    same("drop proto tcp flags /FSRPAUEW");
    same("pass log proto icmp from 10.0.0.0/8 icmp-type echo-request code 3 vlan none");
    same("pass proto icmp6 icmp6-type 99");
    same("drop fragment later vlan any");
    same("pass in log arp");
    same("drop arp vlan none");
    check(
        "pass arp vlan {1,2}",
        &["pass arp vlan 1", "pass arp vlan 2"],
    );
    same("drop inet fragment first dscp 45");
    check(
        "drop vlan 1 dscp 0 fragment",
        &["drop fragment dscp cs0 vlan 1"],
    );
    same("drop inet proto tcp to any port 22 dscp ef vlan 7 length 40-100");
    same("pass arp length not { 1, 28-64 }");
    same("drop proto not { tcp, udp } from any port 1");
    same("drop in inet proto not icmp");
    same("drop proto tcp flags not S/SA");
    same("drop proto udp from 10.0.0.1 dscp not { cs1, ef } vlan not { 1, 2 } mark not 0x1");
    same("drop proto icmp6 icmp6-type not { echo-request, nd-redirect code 1 }");
    same("drop mark 0x10/0xf0 ether from 02:00:00:00:00:01 ether to not ff:ff:ff:ff:ff:ff");
    check("drop flags not S/SA", &["drop proto tcp flags not S/SA"]);
    check(
        "drop icmp-type not 8",
        &["drop proto icmp icmp-type not echo-request"],
    );
    check("drop mark 0x1f/0xf0", &["drop mark 0x10/0xf0"]);
    check("drop fragment not", &["drop fragment none"]);
    check("drop fragment not first", &["drop fragment later"]);
    check("drop fragment not later", &["drop fragment first"]);
    check("drop vlan not any", &["drop vlan none"]);
    check("drop vlan not none", &["drop vlan any"]);
    check("drop vlan not { none, 7 }", &["drop vlan not 7"]);
    check(
        "drop ether to { 02:00:00:00:00:02, 02:00:00:00:00:0A } mark 7",
        &[
            "drop mark 0x7 ether to 02:00:00:00:00:02",
            "drop mark 0x7 ether to 02:00:00:00:00:0a",
        ],
    );
    check(
        "drop length {9,1-4} vlan 1",
        &["drop vlan 1 length 9", "drop vlan 1 length 1-4"],
    );
    check("drop flags AS/AS", &["drop proto tcp flags SA/SA"]);
    check(
        "drop icmp-type {echoreq code 0, 3} dscp {ef, 0}",
        &[
            "drop proto icmp icmp-type echo-request code 0 dscp ef",
            "drop proto icmp icmp-type echo-request code 0 dscp cs0",
            "drop proto icmp icmp-type destination-unreachable dscp ef",
            "drop proto icmp icmp-type destination-unreachable dscp cs0",
        ],
    );
    check(
        "drop to any port 1 flags F/F",
        &["drop proto tcp to any port 1 flags F/F"],
    );
}

#[test]
fn a_packet_that_is_no_fragment_is_not_another_one() {
    let rules: RuleSet = "drop in fragment not first\ndrop in fragment not later"
        .parse()
        .unwrap();
    let by = |text| {
        let packet = Dialect::Packets.packet(text, Way::In).unwrap();
        rules.judge(&Ok(packet)).by
    };
    assert_eq!(by("udp fragment 10.0.0.1 > 10.0.0.2"), Decider::Rule(0));
    assert_eq!(
        by("udp first-fragment 10.0.0.1:1 > 10.0.0.2:2"),
        Decider::Rule(1)
    );
    assert_eq!(by("udp 10.0.0.1:1 > 10.0.0.2:2"), Decider::Default);
    assert_eq!(by("arp"), Decider::Default);
    assert_eq!(by("not-ip"), Decider::Default);
}

#[test]
fn a_sender_can_be_told() {
    let same = |line: &str| check(line, &[line]);
    same("reject");
    same("reject in log 1/9 proto tcp from 10.0.0.0/8 limit 5/m");
    same("reject with port-unreachable out");
    same("reject with host-unreachable arp");
    same("reject with no-route proto udp");
    same("reject with admin-prohibited");
    let error = |line: &str| parse_rules(line).unwrap_err().to_string();
    assert!(error("reject with in").contains("`no-route` or `admin-prohibited`, found `in`"));
    assert!(error("reject with tcp-reset").contains("`reject` alone answers TCP by a RST"));
    assert!(error("reject with no-rout").contains("did you mean `no-route`?"));
    assert!(error("reject keep state").contains("only `pass` keeps state"));
    assert!(error("deny in").contains("it is called `drop` here"));
    assert!("default reject".parse::<RuleSet>().is_err());
    let of_calls = Dialect::Calls.rules("reject out").unwrap_err().to_string();
    assert!(of_calls.contains("it is called `drop` here"), "{of_calls}");
    same("redirect to eth1");
    same("redirect to br-lan in log 1/9 on eth0 proto udp to any port 53");
    assert!(error("redirect eth1").contains("expected `to`"));
    assert!(error("redirect to a/b").contains("1 to 15 characters"));
    assert!(error("redirect to eth1 keep state").contains("only `pass` keeps state"));
    assert!(Dialect::Calls.rules("redirect to eth1 out").is_err());
    let rules: RuleSet = "reject proto udp\ndrop".parse().unwrap();
    let packet = |text| Dialect::Packets.packet(text, Way::In).unwrap();
    let judged = |text| rules.judge(&Ok(packet(text))).action;
    assert_eq!(
        judged("udp 10.0.0.1:1 > 10.0.0.2:2"),
        Action::Reject(Refusal::Usual)
    );
    assert_eq!(judged("icmp 10.0.0.1 > 10.0.0.2"), Action::Drop);
}

#[test]
fn addresses_can_be_all_but_some() {
    let same = |line: &str| check(line, &[line]);
    same("drop in from not 10.0.0.0/8");
    same("drop log proto udp from not fd00::/8 port 53 to fd01::1");
    check(
        "drop from not { 192.168.0.0/16, 10.1.2.3/8 } to not 10.0.0.1 port 22",
        &["drop from not { 10.0.0.0/8, 192.168.0.0/16 } to not 10.0.0.1 port 22"],
    );
    check(
        "drop from not { 10.0.0.0/8, fd00::/8, 10.0.0.0/8 }",
        &["drop from not 10.0.0.0/8", "drop from not fd00::/8"],
    );
    let check_error = |line: &str, column: usize, message: &str| {
        let error = parse_rules(line).unwrap_err();
        assert_eq!(error.column, column, "{line}: {error}");
        let text = error.to_string();
        assert!(text.contains(message), "{line}: {text}");
    };
    check_error("drop from not any", 15, "no address is left");
    check_error("drop from not { 10.0.0.1, ::/0 }", 27, "no address is left");
    check_error("drop inet6 from not 10.0.0.1", 21, "both IPv4 and IPv6");
    check_error("drop from !10.0.0.1", 11, "`drop from not 10.0.0.1`");
    let many: Vec<_> = (0..33).map(|low| format!("10.0.0.{low}")).collect();
    let many = format!("drop from not {{ {} }}", many.join(", "));
    check_error(&many, 1, "can ask 32 at most");
    let error = Dialect::Calls.rules("drop proto not tcp").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`not` of addresses and ports only"),
        "{error}"
    );
}

#[test]
fn a_list_is_a_rule_each() {
    check(
        "drop in proto { tcp, udp } to any port { 53, 853 }",
        &[
            "drop in proto tcp to any port 53",
            "drop in proto tcp to any port 853",
            "drop in proto udp to any port 53",
            "drop in proto udp to any port 853",
        ],
    );
    check(
        "pass from {10.0.0.0/8,fd00::/8}",
        &["pass from 10.0.0.0/8", "pass from fd00::/8"],
    );
    let error = "pass proto {tcp,udp}".parse::<Rule>().unwrap_err();
    assert_eq!(error.problem, Problem::Several { rules: 2 });
}

#[test]
fn not_is_all_other_ports() {
    check(
        "drop proto tcp to any port not 22",
        &[
            "drop proto tcp to any port 0-21",
            "drop proto tcp to any port 23-65535",
        ],
    );
    check(
        "drop from any port not { 65535, 0-9, 5-20 }",
        &["drop from any port 21-65534"],
    );
    check("drop to any port not 0-65534", &["drop to any port 65535"]);
    let error = parse_rules("drop to any port not { 0-9, 5-65535 }").unwrap_err();
    assert_eq!((error.column, error.problem), (24, Problem::NoPortLeft));
    check_calls(
        "drop out port not 443",
        &[
            "drop out to any port 0-442",
            "drop out to any port 444-65535",
        ],
    );
}

#[test]
fn self_is_the_hosts_own_addresses() {
    let own = ["10.0.0.1", "10.0.0.2", "fd00::1"].map(|text| text.parse().unwrap());
    let check = |line: &str, expected: &[&str]| {
        let rules = Dialect::Packets.rules_on(line, &own);
        let rules = rules.unwrap_or_else(|error| panic!("{line}: {error}"));
        let rules: Vec<_> = rules.iter().map(Rule::to_string).collect();
        assert_eq!(rules, expected, "{line}");
    };
    check(
        "pass in proto tcp to self port 22",
        &[
            "pass in proto tcp to 10.0.0.1 port 22",
            "pass in proto tcp to 10.0.0.2 port 22",
            "pass in proto tcp to fd00::1 port 22",
        ],
    );
    check("pass inet6 to self", &["pass to fd00::1"]);
    check(
        "pass from fe80::/10 to self",
        &["pass from fe80::/10 to fd00::1"],
    );
    check(
        "pass from self to {192.0.2.1, fd00::2}",
        &[
            "pass from 10.0.0.1 to 192.0.2.1",
            "pass from 10.0.0.2 to 192.0.2.1",
            "pass from fd00::1 to fd00::2",
        ],
    );
    let problem = |own: &[std::net::IpAddr]| {
        let error = Dialect::Packets.rules_on("pass inet6 from self", own);
        error.map_err(|error| error.problem)
    };
    assert_eq!(problem(&[]), Err(Problem::NoSelf));
    assert_eq!(problem(&own[..2]), Err(Problem::NoSelf));
    assert_eq!(problem(&own).map(|rules| rules.len()), Ok(1));
}

#[test]
fn a_file_has_rules_and_a_default() {
    let text = "# a comment\n\ndefault drop\npass in proto { tcp, udp } to any port 53 # two\n";
    let rules: RuleSet = text.parse().unwrap();
    assert_eq!(
        rules.to_string(),
        "default drop\npass in proto tcp to any port 53\npass in proto udp to any port 53\n"
    );
    assert_eq!("".parse(), Ok(RuleSet::default()));

    let error = "default drop\npass\ndefault pass"
        .parse::<RuleSet>()
        .unwrap_err();
    assert_eq!((error.line, error.column, error.width), (3, 1, 12));
    assert_eq!(error.problem, Problem::SecondDefault { earlier: 1 });
    let error = "pass\n drop it".parse::<RuleSet>().unwrap_err();
    assert_eq!((error.line, error.column), (2, 7));
}

/// The code blocks of a kind in the page that describes the language.
fn examples(kind: &str) -> Vec<&'static str> {
    let page = include_str!("../../../docs/filter-language.md");
    let blocks = page.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n'))
        .collect()
}

#[test]
fn the_examples_of_the_page_are_right() {
    let rules = examples("rules");
    assert!(!rules.is_empty());
    for line in rules.iter().flat_map(|block| block.lines()) {
        assert!(
            parse_rules(line).is_ok_and(|rules| !rules.is_empty()),
            "{line}"
        );
    }
    let guards = examples("guard");
    assert!(!guards.is_empty());
    for file in guards {
        let rules = Dialect::Calls.rule_set(file);
        assert!(rules.is_ok_and(|rules| !rules.rules.is_empty()), "{file}");
    }
    let files = examples("file");
    assert!(!files.is_empty());
    for file in files {
        let source = Dialect::Packets.source(file);
        assert!(
            source.is_ok_and(|source| !source.lines.is_empty()),
            "{file}"
        );
    }
}

#[test]
fn rules_know_where_they_can_apply() {
    let rule: Rule = "drop in".parse().unwrap();
    assert!(rule.applies(Direction::In) && !rule.applies(Direction::Out));
    let rule: Rule = "drop".parse().unwrap();
    assert!(rule.applies(Direction::In) && rule.applies(Direction::Out));
}
