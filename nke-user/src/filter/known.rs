//! The named sets that are known where rules are judged: copies, as they were at one moment.
//!
//! ```
//! use nke::filter::{About, Dialect, KnownSets, Lasting, RuleSet, Set, SetKind, Way};
//!
//! let about = About::new("blocklist".parse()?, SetKind::Addresses);
//! let set = Set::of(&about, &[Lasting::forever("192.0.2.0/24".parse()?)])?;
//! let known = KnownSets::from_iter([(about.name, set)]);
//! let rules: RuleSet = "drop from @blocklist".parse()?;
//! let packet = Dialect::Packets.packet("icmp 192.0.2.7 > 10.0.0.1", Way::In)?;
//! assert!(rules.rules[0].matches_with(&packet, &known));
//! assert!(!rules.rules[0].matches(&packet), "nothing is known");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here does I/O.

use std::{collections::BTreeMap, net::IpAddr};

use nke_ebpf::{
    abi::facts,
    set::{Answer, Asked},
};

use super::dissect::{Ends, Packet};
use super::further::{Membership, Side};
use super::set::{Set, SetName, words};

/// Sets by their names.
#[derive(Clone, Debug, Default)]
pub struct KnownSets(BTreeMap<SetName, Set>);

impl FromIterator<(SetName, Set)> for KnownSets {
    fn from_iter<I: IntoIterator<Item = (SetName, Set)>>(sets: I) -> Self {
        Self(sets.into_iter().collect())
    }
}

impl KnownSets {
    /// These, and others, which stand for those of the same name.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether a packet is in a set; nothing if it has nothing to ask for, or the set is not known.
    pub(super) fn has(&self, membership: &Membership, packet: &Packet) -> Option<bool> {
        let set = self.0.get(&membership.set)?;
        let ends: Option<(IpAddr, IpAddr)> = packet.ends.map(|ends| match ends {
            Ends::V4(from, to) => (from.into(), to.into()),
            Ends::V6(from, to) => (from.into(), to.into()),
        });
        let (address, port) = match membership.side {
            Side::Source => (ends.unzip().0, packet.ports.unzip().0),
            Side::Destination => (ends.unzip().1, packet.ports.unzip().1),
        };
        let family = match address {
            Some(IpAddr::V4(_)) => facts::V4,
            Some(IpAddr::V6(_)) => facts::V6,
            None => 0,
        };
        let protocol = packet.protocol.map_or(0, |protocol| {
            facts::PROTOCOL | u64::from(protocol.0) << facts::PROTOCOL_SHIFT
        });
        let asked = Asked {
            facts: family | protocol | port.map_or(0, |_| facts::PORTS),
            address: address.map_or([0; 2], words),
            port: port.unwrap_or_default().into(),
        };
        // What had ended was not copied.
        match set.ask(&asked, 0) {
            Answer::In => Some(true),
            Answer::Out => Some(false),
            Answer::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{
        About, Dialect, Lasting, Problem, Rule, SetKind, Way, encode, set::Set as Members,
    };

    #[track_caller]
    fn reads_as(text: &str, printed: &[&str]) {
        let rules = Dialect::Packets.rules(text).unwrap();
        let texts: Vec<_> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(texts, printed, "{text}");
        for (text, rule) in texts.iter().zip(&rules) {
            assert_eq!(&text.parse::<Rule>().unwrap(), rule);
            let encoded = encode::encode(rule, 1);
            let mut tests: Vec<_> = rule.tests.iter().map(|test| test.encode()).collect();
            // Wherever the set lies, it is the same rule.
            tests.iter_mut().for_each(|test| test.slot = 7);
            assert_eq!(
                encode::decode(&encoded, &tests, &[]).as_ref(),
                Some(rule),
                "{text}"
            );
        }
    }

    #[test]
    fn sets_stand_where_addresses_and_ports_do() {
        for text in [
            "drop from @blocklist",
            "pass in inet6 proto tcp from @a to @b port 22",
            "drop from not @a to not @b",
            "drop to any port @web",
            "drop proto udp from @a port @b to any port not @c",
            "drop inet from not @a length 40-50",
            "drop from not { 10.0.0.0/8, @a, @b } to 192.0.2.1",
            "drop proto tcp from any port 53 to any port @web flags S/SA",
        ] {
            reads_as(text, &[text]);
        }
        reads_as(
            "drop from { 10.0.0.0/8, @a }",
            &["drop from 10.0.0.0/8", "drop from @a"],
        );
        reads_as(
            "drop from not { 10.0.0.0/8, fd00::/8, @a }",
            &[
                "drop from not { 10.0.0.0/8, @a }",
                "drop from not { fd00::/8, @a }",
            ],
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, problem) in [
            ("drop from @", Problem::SetName),
            ("drop from @9", Problem::SetName),
            ("drop to any port @a.b", Problem::SetName),
        ] {
            let error = Dialect::Packets.rules(text).unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
        }
        for text in [
            "drop proto icmp to any port @web",
            "drop icmp-type 8 to any port @web",
            "drop to any port { 22, @web }",
            "drop from @a@b",
        ] {
            assert!(Dialect::Packets.rules(text).is_err(), "{text}");
        }
    }

    /// A set of each type.
    fn known() -> KnownSets {
        let set = |name: &str, kind, member: &str| {
            let about = About::new(name.parse().unwrap(), kind);
            let member = Lasting::forever(member.parse().unwrap());
            (about.name, Members::of(&about, &[member]).unwrap())
        };
        KnownSets::from_iter([
            set("a", SetKind::Addresses, "192.0.2.0/24"),
            set("p", SetKind::Ports, "53"),
            set("s", SetKind::Pairs, "udp:192.0.2.1:53"),
        ])
    }

    #[test]
    fn calls_are_asked_too() {
        let known = known();
        for (rule, call, matches) in [
            ("drop to @a", "connect tcp 192.0.2.1:443", true),
            ("drop to not @a", "connect tcp 192.0.2.1:443", false),
            (
                "drop to not { 10.0.0.0/8, @a }",
                "connect tcp 192.0.3.1:443",
                true,
            ),
            ("drop connect port @p", "connect udp 10.0.0.1:53", true),
            ("drop bind port not @p", "bind udp 10.0.0.1:53", false),
            ("drop to @s", "sendmsg udp 192.0.2.1:53", true),
            ("drop to @s", "connect tcp 192.0.2.1:53", false),
        ] {
            let rules = Dialect::Calls.rules(rule).unwrap();
            let call = Dialect::Calls.packet(call, Way::Connect).unwrap();
            assert_eq!(rules[0].matches_with(&call, &known), matches, "{rule}");
            let printed = rules[0].to_string();
            assert_eq!(Dialect::Calls.rules(&printed).unwrap(), rules, "{printed}");
        }
        assert!(Dialect::Calls.rules("drop from @a").is_err());
    }

    #[test]
    fn who_has_nothing_to_ask_for_is_meant_by_no_rule() {
        let known = known();
        let matches = |rule: &str, packet: &str| {
            let rule: Rule = rule.parse().unwrap();
            let packet = Dialect::Packets.packet(packet, Way::In).unwrap();
            let matches = rule.matches_with(&packet, &known);
            assert_eq!(rule.misses_with(&packet, &known).is_empty(), matches);
            matches
        };
        let udp = "udp 10.0.0.1:9 > 192.0.2.1:53";
        for rule in [
            "drop to @a",
            "drop from not @a",
            "drop to any port @p",
            "drop to @s",
        ] {
            assert!(matches(rule, udp), "{rule}");
            assert!(!matches(rule, "not-ip"), "{rule}");
        }
        for rule in [
            "drop to not @a",
            "drop from @a",
            "drop to not @s",
            "drop from @s",
        ] {
            assert!(!matches(rule, udp), "{rule}");
        }
        assert!(!matches("drop to @s", "tcp 10.0.0.1:9 > 192.0.2.1:53"));
        for rule in ["drop to any port not @p", "drop to not @s"] {
            assert!(!matches(rule, "icmp 10.0.0.1 > 192.0.2.1"), "{rule}");
        }
        assert!(!matches("drop to not @unknown", udp));
    }
}
