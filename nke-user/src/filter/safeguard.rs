//! What a default of `drop` must not shut out by accident: ARP, neighbour discovery, and the
//! connection that the caller sits at.
//!
//! ```
//! use nke::filter::{RuleSet, Way};
//!
//! let rules: RuleSet = "default drop\npass in proto tcp to any port 22".parse()?;
//! let lacking = rules.lacking(&[Way::In], true, None);
//! assert_eq!(lacking[0].to_string(), "pass arp");
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! Only what the default drops is lacking: a rule that drops it is there on purpose. Nothing here
//! changes a rule set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::conditions::{Conditions, IcmpKind};
use super::dissect::{Ends, Packet};
use super::interface_name::InterfaceName;
use super::judge::Decider;
use super::rule::{
    Action, Addresses, PortProtocol, PortRange, Prefix, Rule, RuleSet, Transport, Way,
};

/// Router solicitation and advertisement, neighbour solicitation and advertisement (RFC 4861).
const NEIGHBOUR_DISCOVERY: [u8; 4] = [133, 134, 135, 136];

impl RuleSet {
    /// Rules that pass what the default would drop, for things that go these ways. `link` says
    /// whether ARP comes by; `caller` are the ends of the caller's connection, the far one first.
    #[must_use]
    pub fn lacking(
        &self,
        ways: &[Way],
        link: bool,
        caller: Option<(SocketAddr, SocketAddr)>,
    ) -> Vec<Rule> {
        let mut lacking = Vec::new();
        for &way in ways {
            let mut wanted = Vec::new();
            if link {
                wanted.push(arp(way));
            }
            wanted.extend(NEIGHBOUR_DISCOVERY.map(|kind| neighbours(way, kind)));
            wanted.extend(caller.map(|ends| connection(way, ends)));
            for (packet, rule) in wanted {
                let judgement = self.judge(&Ok(packet));
                let dropped = judgement.action.drops();
                if dropped && judgement.by == Decider::Default && !lacking.contains(&rule) {
                    lacking.push(rule);
                }
            }
        }
        lacking
    }

    /// The index of a rule that drops packets of a connection, whose far end is the first. Where it is not known which
    /// interface they come by, it may be any.
    #[must_use]
    pub fn cuts(
        &self,
        ways: &[Way],
        interface: Option<InterfaceName>,
        caller: (SocketAddr, SocketAddr),
    ) -> Option<usize> {
        let named = self.rules.iter().flat_map(Rule::interfaces);
        let named = named.filter(|_| interface.is_none());
        let mut interfaces: Vec<_> = named.map(Some).chain([interface]).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        let packets = ways.iter().flat_map(|way| {
            let packet = connection(*way, caller).0;
            let on = |interface: &Option<InterfaceName>| Packet {
                interface: *interface,
                ..packet.clone()
            };
            interfaces.iter().map(on).collect::<Vec<_>>()
        });
        packets.into_iter().find_map(|packet| {
            let judgement = self.judge(&Ok(packet));
            match judgement.by {
                Decider::Rule(index) if judgement.action.drops() => Some(index),
                Decider::Rule(_) | Decider::Default | Decider::Obscured => None,
            }
        })
    }
}

fn arp(way: Way) -> (Packet, Rule) {
    let packet = Packet {
        arp: true,
        ..Packet::unknown(way)
    };
    let rule = Rule {
        addresses: Addresses::Arp,
        ..Rule::all(Action::Pass)
    };
    (packet, rule)
}

fn neighbours(way: Way, kind: u8) -> (Packet, Rule) {
    let message = IcmpKind {
        v6: true,
        kind,
        code: None,
    };
    let address = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    let packet = Packet {
        ends: Some(Ends::V6(address(1), address(2))),
        protocol: Some(message.protocol()),
        icmp: Some((kind, 0)),
        ..Packet::unknown(way)
    };
    let rule = Rule {
        transport: Transport::Icmp(message),
        ..Rule::all(Action::Pass)
    };
    (packet, rule)
}

/// A segment of a connection that stands; and the rule for all between the far end's host and the
/// near end's port.
fn connection(way: Way, (far, near): (SocketAddr, SocketAddr)) -> (Packet, Rule) {
    const ACK: u8 = 0x10;
    let outwards = way == Way::Out;
    let (from, to) = if outwards { (near, far) } else { (far, near) };
    let (ends, addresses) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = Addresses::V4 {
                source: Prefix::<Ipv4Addr>::one(from),
                destination: Prefix::<Ipv4Addr>::one(to),
            };
            (Ends::V4(from, to), addresses)
        }
        (from, to) => {
            let wide = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            let (from, to) = (wide(from), wide(to));
            let addresses = Addresses::V6 {
                source: Prefix::<Ipv6Addr>::one(from),
                destination: Prefix::<Ipv6Addr>::one(to),
            };
            (Ends::V6(from, to), addresses)
        }
    };
    let packet = Packet {
        ends: Some(ends),
        protocol: Some(PortProtocol::Tcp.protocol()),
        ports: Some((from.port(), to.port())),
        tcp_flags: Some(ACK),
        ..Packet::unknown(way)
    };
    let port = PortRange::one(near.port());
    let (source, destination) = if outwards {
        (port, PortRange::ALL)
    } else {
        (PortRange::ALL, port)
    };
    let rule = Rule {
        addresses,
        transport: Transport::Ports {
            protocol: Some(PortProtocol::Tcp),
            source,
            destination,
        },
        conditions: Conditions::NONE,
        ..Rule::all(Action::Pass)
    };
    (packet, rule)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::arbitrary;

    fn caller() -> (SocketAddr, SocketAddr) {
        let far = "192.0.2.1:50000".parse().unwrap();
        (far, "192.0.2.2:22".parse().unwrap())
    }

    #[track_caller]
    fn check(text: &str, ways: &[Way], link: bool, expected: &[&str]) {
        let rules: RuleSet = text.parse().unwrap();
        let lacking = rules.lacking(ways, link, Some(caller()));
        let lacking: Vec<_> = lacking.iter().map(Rule::to_string).collect();
        assert_eq!(lacking, expected, "{text}");
    }

    const ND: [&str; 4] = [
        "pass proto icmp6 icmp6-type nd-router-solicit",
        "pass proto icmp6 icmp6-type nd-router-advert",
        "pass proto icmp6 icmp6-type nd-neighbor-solicit",
        "pass proto icmp6 icmp6-type nd-neighbor-advert",
    ];

    #[test]
    fn only_what_the_default_drops_is_lacking() {
        let ssh = "pass proto tcp from 192.0.2.1 to 192.0.2.2 port 22";
        let all = [&["pass arp"][..], &ND, &[ssh]].concat();
        check("default drop", &[Way::In], true, &all);
        check("default drop", &[Way::In], false, &all[1..]);
        check("pass", &[Way::In], true, &[]);
        check("default drop\ndrop arp\npass inet", &[Way::In], true, &ND);
        check(
            "default drop\npass arp\npass proto icmp6",
            &[Way::Out],
            true,
            &["pass proto tcp from 192.0.2.2 port 22 to 192.0.2.1"],
        );
    }

    #[test]
    fn a_rule_that_cuts_is_named() {
        let rules: RuleSet = "pass out\ndrop in proto tcp to any port 22"
            .parse()
            .unwrap();
        assert_eq!(rules.cuts(&[Way::Out], None, caller()), None);
        assert_eq!(rules.cuts(&[Way::In], None, caller()), Some(1));
        let rules: RuleSet = "drop in on eth0".parse().unwrap();
        let on = |name: &str| name.parse().ok();
        assert_eq!(rules.cuts(&[Way::In], on("eth1"), caller()), None);
        assert_eq!(rules.cuts(&[Way::In], on("eth0"), caller()), Some(0));
        assert_eq!(rules.cuts(&[Way::In], None, caller()), Some(0));
    }

    proptest! {
        #[test]
        fn nothing_is_lacking_any_more(rules in arbitrary::rule_set(), way in 0..2usize) {
            let ways = [[Way::In], [Way::Out]][way];
            let mut all = rules.clone();
            all.rules.extend(rules.lacking(&ways, true, Some(caller())));
            prop_assert_eq!(all.lacking(&ways, true, Some(caller())), []);
            let set: RuleSet = all.to_string().parse().unwrap();
            prop_assert_eq!(set, all);
        }
    }
}
