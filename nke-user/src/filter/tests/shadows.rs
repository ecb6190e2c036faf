//! What is said of rules that never decide, against the meaning of the list.
//!
//! Rules and packets are made of few words, so that rules often cover others and packets often meet them.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A rule of a list such as people write.
fn rule() -> impl Strategy<Value = Rule> {
    let does = select(vec!["pass", "drop", "drop", "count", "mark 1"]);
    let way = select(vec!["", "", " in", " out"]);
    let log = select(vec!["", "", "", " log"]);
    let family = select(vec!["", "", " inet", " inet6"]);
    let carried = select(vec!["", " proto tcp", " proto tcp", " proto udp"]);
    let from = select(vec![
        "",
        "",
        " from 10.0.0.0/8",
        " from 10.1.0.0/16",
        " from not 10.1.0.0/16",
        " from fd00::/8",
    ]);
    let to = select(vec!["", "", " to any port 22", " to any port 20-30"]);
    let options = select(vec![
        "",
        "",
        " flags S/SA",
        " flags S/SAFR",
        " flags not S/SA",
        " vlan any",
        " vlan 7",
        " vlan none",
        " dscp ef",
        " length 0-99",
        " length 40-60",
        " fragment none",
        " limit 1/s",
        " mark 1",
    ]);
    let words = (does, way, log, family, (carried, from, to, options));
    words.prop_filter_map("no rule", |(does, way, log, family, rest)| {
        let (carried, from, to, options) = rest;
        let text = format!("{does}{way}{log}{family}{carried}{from}{to}{options}");
        text.parse().ok()
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let v4 = |last| Ends::V4(last, Ipv4Addr::new(192, 0, 2, 1));
    let v6 = |last| Ends::V6(last, Ipv6Addr::LOCALHOST);
    let ends = select(vec![
        v4(Ipv4Addr::new(10, 0, 0, 1)),
        v4(Ipv4Addr::new(10, 1, 0, 1)),
        v4(Ipv4Addr::new(203, 0, 113, 1)),
        v6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        v6(Ipv6Addr::LOCALHOST),
    ]);
    let protocol = select(vec![6, 6, 6, 17, 1]);
    let port = select(vec![21, 22, 80]);
    let flags = select(vec![0x02, 0x12, 0x03, 0x10]);
    let shown = (proptest::option::weighted(0.8, port), flags);
    let notes = (
        select(vec![None, VlanId::new(7), VlanId::new(8)]),
        select(vec![0, 46]).prop_filter_map("no DSCP", Dscp::new),
        select(vec![20, 50, 90, 200]),
        select(vec![None, Mark::new(1, u32::MAX)]),
    );
    let way = select(vec![Way::In, Way::Out]);
    (way, ends, protocol, shown, notes).prop_map(|(way, ends, protocol, shown, notes)| {
        let ((port, flags), (vlan, dscp, length, mark)) = (shown, notes);
        Packet {
            ends: Some(ends),
            protocol: Some(Protocol(protocol)),
            ports: port.filter(|_| protocol != 1).map(|port| (40000, port)),
            tcp_flags: port.filter(|_| protocol == 6).map(|_| flags),
            vlan,
            dscp: Some(dscp),
            length: Some(length),
            mark,
            ..Packet::unknown(way)
        }
    })
}

fn does(rule: &Rule) -> (Action, bool, u32, bool) {
    (rule.action, rule.log, rule.sample, rule.keep_state)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rules_that_are_named_as_covers_cover(
        rules in prop::collection::vec(rule(), 2..14),
        default in select(vec![Action::Pass, Action::Drop]),
        packets in prop::collection::vec(packet(), 200),
    ) {
        let list = RuleSet { default, rules };
        let rules = &list.rules;
        for finding in list.findings() {
            let Finding::Shadowed { rule, by, otherwise } = finding else { continue };
            prop_assert!(by.iter().all(|by| *by < rule && !rules[*by].action.goes_on()));
            let differs = |by: &usize| does(&rules[*by]) != does(&rules[rule]);
            prop_assert_eq!(otherwise, by.iter().any(differs), "{} by {:?} of\n{}", rule, by, list);
            for packet in &packets {
                prop_assert_ne!(list.judge(&Ok(packet.clone())).by, Decider::Rule(rule));
                let covered = by.iter().any(|by| rules[*by].matches(packet));
                prop_assert!(
                    covered || !rules[rule].matches(packet),
                    "{packet} is in {rule}, and in none of {by:?} of\n{list}"
                );
            }
            // None of them could be left out.
            for needless in &by {
                let mut others = by.iter().filter(|other| *other != needless).collect::<Vec<_>>();
                others.push(&rule);
                let rules = others.iter().map(|rule| rules[**rule].clone()).collect();
                let last = others.len() - 1;
                let others = RuleSet { default, rules };
                let shadowed =
                    |it: &Finding| matches!(it, Finding::Shadowed { rule, .. } if *rule == last);
                prop_assert!(!others.findings().iter().any(shadowed), "{needless} of {by:?} of\n{list}");
            }
        }
    }
}
