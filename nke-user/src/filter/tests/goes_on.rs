//! Rules that go on, and that are limited.

use super::*;

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
fn what_goes_on_counts_and_marks_till_one_decides() {
    let rules: RuleSet = "count proto udp\nmark 0x1 proto udp\ncount mark 2\ndrop mark 1\ncount"
        .parse()
        .unwrap();
    let packet = |text| Dialect::Packets.packet(text, Way::In).unwrap();
    let udp = packet("udp 10.0.0.1:1 > 10.0.0.2:2 mark 6");
    assert_eq!(rules.judge(&Ok(udp.clone())).by, Decider::Rule(3));
    assert_eq!(rules.going_on(&udp), (vec![0, 1], Some(Mark::whole(1))));
    let tcp = packet("tcp 10.0.0.1:1 > 10.0.0.2:2 mark 2");
    assert_eq!(rules.judge(&Ok(tcp.clone())).by, Decider::Default);
    assert_eq!(rules.going_on(&tcp), (vec![2, 4], Some(Mark::whole(2))));
}

#[test]
fn what_a_rule_has_set_of_a_mark_is_known_to_those_behind() {
    let by = |rules: &str, packet: &str| {
        let packet = Dialect::Packets.packet(packet, Way::In).unwrap();
        rules.parse::<RuleSet>().unwrap().judge(&Ok(packet)).by
    };
    let unsaid = "udp 10.0.0.1:1 > 10.0.0.2:2";
    assert_eq!(by("mark 7 in\ndrop in mark 7", unsaid), Decider::Rule(1));
    assert_eq!(by("mark 7 out\ndrop in mark 7", unsaid), Decider::Default);
    let half = "mark 0x10/0xf0";
    let behind = |rule: &str, packet| by(&format!("{half}\n{rule}"), packet);
    assert_eq!(behind("drop mark 0x10/0x30", unsaid), Decider::Rule(1));
    assert_eq!(behind("drop mark not 0x20/0xff", unsaid), Decider::Rule(1));
    // What the rest of the mark is, nobody has said.
    assert_eq!(behind("drop mark 0x10/0xff", unsaid), Decider::Default);
    assert_eq!(behind("drop mark not 0x10/0xff", unsaid), Decider::Default);
    let said = format!("{unsaid} mark 0x21");
    assert_eq!(behind("drop mark 0x11", &said), Decider::Rule(1));
    let half = format!("{unsaid} mark 1/0xf");
    assert_eq!(behind("drop mark 0x11/0xff", &half), Decider::Rule(1));
}
