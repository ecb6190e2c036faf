//! The language and its meaning, together.

use nke_ebpf::abi::facts;
use proptest::prelude::*;

use super::arbitrary;
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
    check(
        "drop fragment not first",
        &["drop fragment later", "drop fragment none"],
    );
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
fn errors_name_what_cannot_stand_behind() {
    let check_error = |line: &str, column: usize, message: &str| {
        let error = parse_rules(line).unwrap_err();
        assert_eq!(error.column, column, "{line}: {error}");
        let text = error.to_string();
        assert!(text.contains(message), "{line}: {text}");
    };
    check_error("drop proto udp flags S/S", 22, "flags: only tcp has that");
    check_error(
        "drop proto tcp icmp-type 3",
        26,
        "this type: only icmp has that",
    );
    check_error("drop to any port 1 icmp6-type 1", 18, "icmp6 has no ports");
    check_error("drop flags S/A", 12, "no segment is so");
    check_error("drop flags X/A", 12, "as in `S/SA`, found `X/A`");
    check_error("drop flags S/S flags A/A", 16, "found `flags`");
    check_error("drop icmp-type 256", 16, "from 0 to 255");
    check_error("drop icmp-type ecoreq", 16, "did you mean `echoreq`?");
    check_error("drop dscp 64", 11, "from 0 to 63");
    check_error("drop vlan 4096", 11, "from 0 to 4095");
    check_error(
        "drop to any port 1 fragment later",
        29,
        "a later fragment has no ports",
    );
    check_error(
        "drop arp proto tcp",
        10,
        "expected `vlan`, `length`, `mark`, `limit`, `ether`, `expr` or the end",
    );
    check_error(
        "drop proto not tcp flags S/S",
        26,
        "flags: only tcp has that",
    );
    check_error("drop proto not icmp icmp-type 3", 31, "only icmp has that");
    check_error(
        "drop fragment later flags not S/S",
        15,
        "a later fragment has no ports",
    );
    check_error("drop vlan not { any, none }", 17, "it has a tag or none");
    check_error("drop mark 0x100000000", 11, "a number of 32 bits");
    check_error("drop mark 1/0", 11, "no bit of the mark");
    check_error("drop ether from 2:0:0:0:0:1", 17, "02:00:00:00:00:01");
    check_error("drop ether src", 12, "expected `from` or `to`");
    check_error("drop length 9-4", 13, "4 is lower than 9");
    check_error("drop length x", 13, "a length in bytes, or a range");
    check_error("drop length 4294967296", 13, "from 0 to 4294967295");
    check_error("drop tos 1", 6, "it is called `dscp` here");
    assert!(Dialect::Calls.rules("drop out flags S/SA").is_err());
}

#[test]
fn rules_can_go_on_and_be_limited() {
    let same = |line: &str| check(line, &[line]);
    same("count in proto tcp to any port 22");
    same("count");
    same("mark 0x10/0xf0 out from 10.0.0.0/8");
    same("drop in log 1/100 proto udp");
    same("drop proto icmp limit over 10/s");
    same("pass arp limit 5/m burst 1");
    same("pass proto udp length 100 limit 1000000/s bytes burst 3000");
    same("drop in limit over 10/s per source");
    same("pass proto icmp limit 5/m burst 1 per source/24");
    same("pass proto icmp limit 500/m bytes burst 100 per source/56");
    same("drop limit over 10/s per source/24/56");
    same("drop limit over 10/s per source/32/32");
    check(
        "drop limit over 10/s per source/32/64",
        &["drop limit over 10/s per source"],
    );
    check(
        "drop limit 1/s per source/32",
        &["drop limit 1/s per source"],
    );
    check("drop log 1/1", &["drop log"]);
    same("pass in log on eth0 proto tcp");
    same("drop on not { br-lan, eth0.7 } arp vlan 7");
    check(
        "drop on { eth0, wg0 } length 1",
        &["drop on eth0 length 1", "drop on wg0 length 1"],
    );
    check("drop limit 1k/second burst 5", &["drop limit 1000/s"]);
    check(
        "drop limit 1m/s bytes burst 64k",
        &["drop limit 1000000/s bytes burst 64000"],
    );
    let check_error = |line: &str, column: usize, message: &str| {
        let error = parse_rules(line).unwrap_err();
        assert_eq!(error.column, column, "{line}: {error}");
        let text = error.to_string();
        assert!(text.contains(message), "{line}: {text}");
    };
    check_error("count log", 7, "give `log` to one that decides");
    check_error("drop on a/b", 9, "1 to 15 characters");
    check_error("drop on", 9, "as in `eth0`");
    check_error("drop log 2/3", 10, "as in `1/100`");
    check_error("drop log 1/0", 10, "one of so many");
    check_error("drop limit 0/s", 12, "at least one");
    check_error("drop limit 1/s bytes", 12, "bytes at least 4/s");
    check_error("drop limit 5", 12, "as in `100/s`");
    for wrong in [
        "/", "/0", "/129", "/24/", "/24/0", "/33/64", "/24/129", "/24/56/1", "/+1", "s",
    ] {
        let line = format!("drop limit 5/s per source{wrong}");
        check_error(&line, 20, "as in `source/24`");
    }
    check_error("drop limit 5/s per sorce", 20, "expected `source`");
    check_error(
        "drop limit 18446744073709551615g/s",
        12,
        "not more than is counted",
    );
    assert!("count".parse::<Action>().is_err());
    assert!("default count".parse::<RuleSet>().is_err());
    assert!(Dialect::Calls.rules("count out").is_err());
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
fn what_goes_on_counts_and_marks_till_one_decides() {
    let rules: RuleSet = "count proto udp\nmark 0x1 proto udp\ncount mark 2\ndrop mark 1\ncount"
        .parse()
        .unwrap();
    let packet = |text| Dialect::Packets.packet(text, Way::In).unwrap();
    let udp = packet("udp 10.0.0.1:1 > 10.0.0.2:2 mark 6");
    assert_eq!(rules.judge(&Ok(udp.clone())).by, Decider::Rule(3));
    assert_eq!(rules.going_on(&udp), (vec![0, 1], Some(1)));
    let tcp = packet("tcp 10.0.0.1:1 > 10.0.0.2:2 mark 2");
    assert_eq!(rules.judge(&Ok(tcp.clone())).by, Decider::Default);
    assert_eq!(rules.going_on(&tcp), (vec![2, 4], Some(2)));
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
    check_error("drop from !10.0.0.1", 11, "write `not`");
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
fn errors_name_the_place_and_the_way_out() {
    check_error(
        "",
        1,
        1,
        "expected `pass`, `drop`, `reject`, `count` or `mark`, found the end of the line",
    );
    check_error(
        "accept in",
        1,
        6,
        "expected `pass`, `drop`, `reject`, `count` or `mark`, found `accept`; it is called `pass` here",
    );
    check_error(
        "tcp dport 22 drop",
        1,
        3,
        "expected `pass`, `drop`, `reject`, `count` or `mark`, found `tcp`; the order is: pass|drop|reject [with WHAT]|count|mark N[/MASK] [in|out] [log [1/N]] [on IFACE] \
         [arp|inet|inet6] [proto P] [from ADDRESS [port N]] [to ADDRESS [port N]] [flags F/G] \
         [icmp-type T [code C]] [fragment] [dscp D] [vlan N] [length N] [mark N[/MASK]] [ether from|to MAC] \
         [limit [over] N/s [bytes] [burst N] [per source[/N]]] [expr 'TCPDUMP'] [keep state]",
    );
    check_error(
        "drop quick",
        6,
        5,
        "expected `in`, `out`, `log`, `on`, `arp`, `inet`, `inet6`, `proto`, `all`, `from`, `to`, `flags`, \
         `icmp-type`, `icmp6-type`, `fragment`, `dscp`, `vlan`, `length`, `mark`, `limit`, `ether`, `expr`, `keep` or the end of the line, found `quick`; leave it out: the first rule that matches always decides",
    );
    check_error(
        "drop frm any",
        6,
        3,
        "expected `in`, `out`, `log`, `on`, `arp`, `inet`, `inet6`, `proto`, `all`, `from`, `to`, `flags`, \
         `icmp-type`, `icmp6-type`, `fragment`, `dscp`, `vlan`, `length`, `mark`, `limit`, `ether`, `expr`, `keep` or the end of the line, found `frm`; did you mean `from`?",
    );
    check_error(
        "drop from 10/8",
        11,
        4,
        "expected `not`, `{`, `self`, `any` or an address, found `10/8`; write all four numbers, as in \
         `10.0.0.0/8`",
    );
    check_error(
        "drop to any port",
        18,
        1,
        "expected `not`, `{` or a port, by name or number, or a range of them, found the end of the line",
    );
    check_error(
        "drop proto {tcp",
        17,
        1,
        "expected `}` or `,`, found the end of the line",
    );
    check_error(
        "drop proto {tcp udp}",
        17,
        3,
        "expected `}` or `,`, found `udp`",
    );
}

#[test]
fn errors_name_what_is_too_much() {
    check_error(
        "drop from 10.0.0.0/33",
        11,
        11,
        "the length of this prefix must be a number from 0 to 32",
    );
    check_error(
        "drop from fd00::/+8",
        11,
        9,
        "the length of this prefix must be a number from 0 to 128",
    );
    check_error(
        "drop to any port 65536",
        18,
        5,
        "a port is a number from 0 to 65535",
    );
    check_error(
        "drop to any port 9-1",
        18,
        3,
        "the range ends before it begins: 1 is lower than 9",
    );
    check_error(
        "drop proto 256",
        12,
        3,
        "a protocol is a number from 0 to 255",
    );
    check_error(
        "drop inet from fd00::1",
        16,
        7,
        "no packet is both IPv4 and IPv6: this address is not of the family given before it",
    );
    check_error(
        "drop from 10.0.0.1 to fd00::1",
        23,
        7,
        "no packet is both IPv4 and IPv6: this address is not of the family given before it",
    );
    check_error(
        "drop proto icmp to any port 7",
        29,
        1,
        "icmp has no ports: they need proto tcp, udp, sctp, dccp or udplite, or none",
    );
    let many = format!("drop to any port {{ {} }}", vec!["1"; 1025].join(","));
    check_error(
        &many,
        1,
        many.len(),
        "this is 1025 rules, more than a filter can hold",
    );
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

/// What a line about calls is read as, and printed again.
#[track_caller]
fn check_calls(line: &str, printed: &[&str]) {
    let rules = Dialect::Calls.rules(line);
    let rules = rules.unwrap_or_else(|error| panic!("{line}: {error}"));
    let found: Vec<_> = rules.iter().map(Rule::to_string).collect();
    assert_eq!(found, printed, "{line}");
}

#[test]
fn rules_about_calls_have_their_own_words() {
    check_calls("pass bind port 8080", &["pass bind to any port 8080"]);
    check_calls("drop", &["drop"]);
    check_calls("drop connect all", &["drop connect"]);
    check_calls(
        "drop out proto tcp to {10.0.0.0/8, fd00::/8} port { ssh, 1-5 }",
        &[
            "drop out proto tcp to 10.0.0.0/8 port 22",
            "drop out proto tcp to 10.0.0.0/8 port 1-5",
            "drop out proto tcp to fd00::/8 port 22",
            "drop out proto tcp to fd00::/8 port 1-5",
        ],
    );
    check_calls("pass sendmsg inet6", &["pass sendmsg inet6"]);

    let check_error = |line: &str, column: usize, message: &str| {
        let error = Dialect::Calls.rules(line).unwrap_err();
        assert_eq!(error.column, column, "{line}: {error}");
        let text = error.to_string();
        assert!(text.ends_with(message), "{line}: {text}");
    };
    check_error("deny out", 1, "found `deny`; it is called `drop` here");
    check_error("drop conect", 6, "did you mean `connect`?");
    check_error("drop in", 6, "it is called `bind` here");
    check_error("drop listen port 1", 6, "it is called `bind` here");
    check_error("drop out log", 10, "calls are counted, and not logged");
    check_error("drop from 10.0.0.1", 6, "`to` is the address they give");
    check_error("drop port 1 to 10.0.0.1", 13, Dialect::Calls.order());
    check_error("drop bind proto icmp port 1", 27, "udplite, or none");
    check_error("drop inet to ::1", 14, "the family given before it");
    let error = parse_rules("drop bind").unwrap_err();
    assert_eq!(error.hint, Some(Hint::GuardsWord));
}

#[test]
fn a_call_is_judged_by_what_it_asks() {
    let rules = Dialect::Calls.rule_set("drop out port 22\npass connect\ndefault drop");
    let rules = rules.unwrap();
    let by = |way, port| {
        let call = Packet {
            protocol: Some(Protocol(6)),
            ports: Some((0, port)),
            ..Packet::unknown(way)
        };
        rules.judge(&Ok(call)).by
    };
    assert_eq!(by(Way::Connect, 22), Decider::Rule(0));
    assert_eq!(by(Way::Sendmsg, 22), Decider::Rule(0));
    assert_eq!(by(Way::Bind, 22), Decider::Default);
    assert_eq!(by(Way::Connect, 23), Decider::Rule(1));
    assert_eq!(by(Way::Sendmsg, 23), Decider::Default);
}

#[test]
fn the_mark_stands_below_the_word() {
    let error = parse_rules("\tdrop  in\tporto tcp").unwrap_err();
    assert_eq!(error.marked(), "\tdrop  in\tporto tcp\n\t        \t^^^^^");
    let error = parse_rules("drop in proto").unwrap_err();
    assert_eq!(error.marked(), "drop in proto\n              ^");
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

/// What the kernel side should say of what few rules ask for.
fn facts_of(packet: &Packet) -> u64 {
    let conditions = Conditions {
        fragment: packet.fragment,
        dscp: packet.dscp,
        vlan: packet.vlan.map(Vlan::Id),
    };
    let flags = packet
        .tcp_flags
        .and_then(|flags| TcpFlags::new(flags, 0xff));
    let kind = packet.icmp.map(|(kind, code)| IcmpKind {
        v6: false,
        kind,
        code: Some(code),
    });
    let detail = flags.map(TcpFlags::bits).or(kind.map(IcmpKind::bits));
    conditions.bits().value | detail.unwrap_or_default().value
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(rule in arbitrary::rule()) {
        prop_assert_eq!(rule.to_string().parse(), Ok(rule));
    }

    #[test]
    fn what_is_printed_of_calls_is_read_back(rule in arbitrary::call_rule(), slot in 0u32..1024) {
        prop_assert_eq!(Dialect::Calls.rules(&rule.to_string()), Ok(vec![rule.clone()]));
        prop_assert_eq!(encode::decode(&encode::encode(&rule, slot), &[], &[]), Some(rule));
    }

    #[test]
    fn all_other_ports_are_the_others(ranges in prop::collection::vec(arbitrary::ports(), 1..5)) {
        let others = PortRange::all_but(&ranges);
        for port in 0..=u16::MAX {
            let is = |ranges: &[PortRange]| ranges.iter().filter(|it| it.contains(port)).count();
            prop_assert_eq!(is(&others), usize::from(is(&ranges) == 0), "{}", port);
        }
    }

    #[test]
    fn a_printed_set_is_read_back(rules in arbitrary::rule_set()) {
        prop_assert_eq!(rules.to_string().parse(), Ok(rules));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        if let Err(error) = text.parse::<RuleSet>() {
            prop_assert!(error.column >= 1 && error.width >= 1);
            prop_assert!(!error.marked().is_empty() && !error.to_string().is_empty());
        }
    }

    #[test]
    fn almost_rules_are_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "pass", "drop", "in", "out", "log", "inet", "inet6", "proto", "tcp", "from", "to",
                "port", "any", "all", "{", "}", ",", "22", "1-5", "10.0.0.0/8", "::/0", "#", "é",
                "flags", "S/SA", "icmp-type", "icmp6-type", "code", "fragment", "later", "dscp",
                "vlan", "none", "not", "length", "mark", "ether", "02:00:00:00:00:01", "count", "reject", "with", "no-route", "limit", "5/m", "over", "1/9",
            ]),
            0..12,
        )
    ) {
        let text = words.join(" ");
        match parse_rules(&text) {
            Ok(rules) => for rule in rules {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            },
            Err(error) => prop_assert!(error.column <= text.chars().count() + 2),
        }
    }

    #[test]
    fn the_first_match_decides(rules in arbitrary::rule_set(), packet in arbitrary::packet()) {
        let judgement = rules.judge(&Ok(packet.clone()));
        match judgement.by {
            Decider::Rule(index) => {
                let before = rules.rules[..index].iter();
                let marks = before.clone().any(|rule| rule.action.goes_on());
                prop_assert!(marks || rules.rules[index].matches(&packet));
                let mut before = before.filter(|rule| !rule.action.goes_on());
                prop_assert!(marks || !before.any(|rule| rule.matches(&packet)));
                prop_assert_eq!(judgement.action, rules.rules[index].action);
            }
            Decider::Default => {
                let mut all = rules.rules.iter();
                let marks = all.clone().any(|rule| rule.action.goes_on());
                prop_assert!(marks || !all.any(|rule| rule.matches(&packet)));
                prop_assert_eq!(judgement.action, rules.default);
            }
            Decider::Obscured => prop_assert!(false, "the packet is not obscured"),
        }
    }

    #[test]
    fn the_kernels_form_is_read_back(rule in arbitrary::rule(), slot in 0u32..1024) {
        let encoded = encode::encode(&rule, slot);
        let none = expression::page::Page::default();
        let tests: Vec<_> = encode::encode_tests(&rule, &none).collect();
        for test in &tests {
            prop_assert_eq!(&nke_ebpf::abi::Test::from_words(&test.to_words()), test);
        }
        prop_assert_eq!(encode::decode(&encoded, &tests, &[]), Some(rule));
        let again = nke_ebpf::abi::Rule::from_words(&encoded.to_words());
        prop_assert_eq!(again, encoded);
    }

    #[test]
    fn any_words_are_a_rule_or_none(words in any::<[u64; nke_ebpf::abi::RULE_WORDS]>()) {
        let encoded = nke_ebpf::abi::Rule::from_words(&words);
        if let Some(rule) = encode::decode(&encoded, &[], &[]) {
            prop_assert_eq!(encode::encode(&rule, encoded.number), encoded);
        }
    }

    #[test]
    fn both_readers_of_packets_agree(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(6), Just(0x45)], 0..120),
        kind in prop::sample::select(vec![0x0800u16, 0x86dd, 0x8100, 0x88a8, 0x0806]),
    ) {
        let mut bytes = bytes;
        if let Some(place) = bytes.get_mut(12..14) {
            place.copy_from_slice(&kind.to_be_bytes());
        }
        let frame = nke_ebpf::Frame::new(&bytes, nke_ebpf::Direction::In);
        let other = nke_ebpf::Flow::of(&frame);
        match dissect(&bytes, Direction::In) {
            Err(Obscured) => prop_assert_eq!(other, Err(nke_ebpf::Obscured)),
            Ok(packet) => {
                let flow = other.unwrap();
                prop_assert_eq!(flow.protocol().map(Protocol), packet.protocol);
                let ports = flow.source_port().zip(flow.destination_port());
                prop_assert_eq!(ports, packet.ports);
                let more = flow.with_more(&frame).facts() & facts::MORE;
                prop_assert_eq!(more, facts_of(&packet));
                let subject = nke_ebpf::abi::Subject::of(&frame, &flow, 0);
                let length = subject.words[usize::from(nke_ebpf::abi::field::LENGTH)];
                prop_assert_eq!(Some(length), packet.length.map(u64::from));
            }
        }
    }
}
