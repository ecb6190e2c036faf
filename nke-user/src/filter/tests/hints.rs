//! What is said of a wrong line is a way out: what it tells to write is a rule.

use super::*;

#[track_caller]
fn check_line(line: &str, place: (usize, usize), written: &str) {
    let error = parse_rules(line).unwrap_err();
    assert_eq!((error.column, error.width), place, "{line}: {error}");
    let Some(Hint::Write(meant)) = &error.hint else {
        panic!("{line}: {error}");
    };
    let found = &meant.line;
    assert_eq!(found, written, "{line}");
    assert!(parse_rules(found).is_ok(), "{found}");
    assert!(
        error.to_string().ends_with(&format!("`{written}`")) || error.to_string().ends_with("`?")
    );
    assert!(error.to_string().contains("expected "), "{error}");
}

#[test]
fn ports_are_put_behind_addresses() {
    check_line(
        "pass in proto tcp to port 22",
        (22, 4),
        "pass in proto tcp to any port 22",
    );
    check_line("pass from port 22", (11, 4), "pass from any port 22");
    check_line(
        "pass from port { 22, 80-90 }",
        (11, 4),
        "pass from any port { 22, 80-90 }",
    );
    check_line("pass port 22", (6, 4), "pass to any port 22");
    check_line(
        "pass in proto tcp port ssh",
        (19, 4),
        "pass in proto tcp to any port ssh",
    );
    check_line("pass to 10.0.0.1:22", (9, 11), "pass to 10.0.0.1 port 22");
    check_line("pass to [::1]:22", (9, 8), "pass to ::1 port 22");
    check_line(
        "pass proto tcp to any port = 22",
        (28, 1),
        "pass proto tcp to any port 22",
    );
}

#[test]
fn words_of_nft_are_put_right() {
    check_line(
        "pass in tcp dport 22",
        (9, 3),
        "pass in proto tcp to any port 22",
    );
    check_line(
        "drop tcp sport 22 flags S/SA",
        (6, 3),
        "drop proto tcp from any port 22 flags S/SA",
    );
    check_line(
        "drop in ip saddr != 10.0.0.0/8",
        (9, 2),
        "drop in from not 10.0.0.0/8",
    );
    check_line("drop udp", (6, 3), "drop proto udp");
    check_line("drop from !10.0.0.1", (11, 9), "drop from not 10.0.0.1");
}

#[test]
fn lists_without_braces_get_them() {
    check_line(
        "pass proto tcp to any port 22,80 keep state",
        (30, 1),
        "pass proto tcp to any port { 22, 80 } keep state",
    );
    check_line("pass port 22, 80", (6, 4), "pass to any port { 22, 80 }");
    check_line(
        "drop from 10.0.0.1,10.0.0.4-10.0.0.7, ::1",
        (19, 1),
        "drop from { 10.0.0.1, 10.0.0.4/30, ::1 }",
    );
    check_line(
        "drop proto tcp,udp to { ::1, ::2 } port 1,2",
        (15, 1),
        "drop proto { tcp, udp } to { ::1, ::2 } port { 1, 2 }",
    );
    check_line(
        "pass in tcp dport 22,80",
        (9, 3),
        "pass in proto tcp to any port { 22, 80 }",
    );
    let error = parse_rules("pass proto tcp to any port 22,80").unwrap_err();
    let braces = "; a list stands in braces: write `pass proto tcp to any port { 22, 80 }`";
    assert!(error.to_string().ends_with(braces), "{error}");
    for line in [
        "drop ,",
        "drop from 10.0.0.1,",
        "drop { , }",
        "drop } , {",
        "drop from { 10.0.0.1 , , }",
    ] {
        let error = parse_rules(line).unwrap_err();
        assert!(
            !matches!(error.hint, Some(Hint::Write(_))),
            "{line}: {error}"
        );
    }
}

#[test]
fn limits_and_states_of_nft_are_put_right() {
    check_line("drop limit rate 10/s", (12, 4), "drop limit 10/s");
    check_line(
        "drop udp dport 53 limit rate over 10/second burst 5 packets",
        (6, 3),
        "drop proto udp to any port 53 limit over 10/second burst 5",
    );
    check_line(
        "pass in proto tcp to any port 22 ct state new",
        (34, 2),
        "pass in proto tcp to any port 22 keep state",
    );
    check_line(
        "pass in tcp dport 22,80 ct state new",
        (9, 3),
        "pass in proto tcp to any port { 22, 80 } keep state",
    );
    for line in [
        "pass established",
        "pass in related",
        "pass state established",
        "pass in ct state established,related",
        "pass in ct state new,established",
        "ct state established,related accept",
    ] {
        let error = line.parse::<RuleSet>().unwrap_err();
        assert_eq!(error.hint, Some(Hint::KeepState), "{line}: {error}");
    }
}

#[test]
fn what_there_is_not_is_said_otherwise() {
    check_line("pass from $x", (11, 2), "pass from @x");
    check_line(
        "drop in from <bad> port 22",
        (14, 5),
        "drop in from @bad port 22",
    );
    check_line(
        "pass in proto tcp flags S",
        (25, 1),
        "pass in proto tcp flags S/SA",
    );
    check_line("pass flags not sa", (16, 2), "pass flags not SA/SA");
    check_line(
        "drop from 10.0.0.1-10.0.0.9 to any port 22",
        (11, 17),
        "drop from { 10.0.0.1, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31 } to any port 22",
    );
    check_line(
        "drop to { ::1, 10.0.0.0-10.0.0.3 }",
        (16, 17),
        "drop to { ::1, 10.0.0.0/30 }",
    );
    let calls = Dialect::Calls.rules("drop out to 10.0.0.0-10.0.0.1 port 22");
    let hint = calls.unwrap_err().hint.unwrap().to_string();
    assert!(
        hint.ends_with("write `drop out to 10.0.0.0/31 port 22`"),
        "{hint}"
    );
}

#[test]
fn words_are_put_where_they_belong() {
    check_line("drop not from 10.0.0.1", (6, 3), "drop from not 10.0.0.1");
    check_line("drop in ! proto tcp", (9, 1), "drop in proto not tcp");
    check_line("redirect lo", (10, 2), "redirect to lo");
    check_line(
        "redirect eth0 in proto udp",
        (10, 4),
        "redirect to eth0 in proto udp",
    );
    let calls = Dialect::Calls.rules("drop not to 10.0.0.1 port 22");
    let hint = calls.unwrap_err().hint.unwrap().to_string();
    assert_eq!(hint, "did you mean `drop to not 10.0.0.1 port 22`?");
}

#[test]
fn nobody_is_told_to_write_what_stands_there() {
    for action in ["reject", "count"] {
        let error = action.parse::<Action>().unwrap_err();
        assert_eq!(error.hint, Some(Hint::NoSuchDefault), "{action}");
        let error = format!("default {action}").parse::<RuleSet>().unwrap_err();
        assert_eq!(error.hint, Some(Hint::NoSuchDefault), "{action}");
    }
    // A rule it is, and yet no default.
    for action in ["pass in", "drop all"] {
        let error = action.parse::<Action>().unwrap_err().to_string();
        assert!(!error.contains(&format!("`{action}`")), "{error}");
    }
}

#[test]
fn where_nothing_can_be_guessed_the_way_is_told() {
    for (line, hint) in [
        ("drop to port", Hint::AddressInFront),
        ("drop from $x y", Hint::NoVariables),
        ("drop from 10.0.0.1-10.9.9.9 to x", Hint::NoAddressRanges),
        ("drop from 10.0.0.9-10.0.0.1", Hint::NoAddressRanges),
        ("drop flags SYN to any", Hint::FlagsAmong),
        ("drop proto tcp not tcp", Hint::NotBehind),
        ("redirect too eth0", Hint::DidYouMean("to")),
        ("drop expr 'tcp' to port 22", Hint::Order(Dialect::Packets)),
    ] {
        let error = parse_rules(line).unwrap_err();
        assert_eq!(error.hint, Some(hint), "{line}");
    }
}

#[test]
fn capitals_are_no_other_words() {
    for (line, column, word) in [
        ("DROP in", 1, "drop"),
        ("drop IN proto tcp", 6, "in"),
        ("drop proto TCP", 12, "tcp"),
        ("drop from Any", 11, "any"),
        ("drop from any port SSH", 20, "ssh"),
        ("default DROP", 9, "drop"),
    ] {
        let error = line.parse::<RuleSet>().unwrap_err();
        assert_eq!(error.column, column, "{line}: {error}");
        assert_eq!(error.hint, Some(Hint::DidYouMean(word)), "{line}");
    }
}
