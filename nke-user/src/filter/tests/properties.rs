//! What holds of any rules and packets.

use nke_ebpf::abi::facts;
use proptest::prelude::*;

use super::*;
use crate::filter::arbitrary;

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
