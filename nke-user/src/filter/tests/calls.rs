//! Rules about calls.

use super::*;

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
