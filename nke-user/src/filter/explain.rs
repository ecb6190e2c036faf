//! Why a rule is not about a packet: everything in which the two differ.
//!
//! ```
//! use nke::filter::{Dialect, Rule, Way};
//!
//! let rule: Rule = "drop in proto udp to 10.0.0.0/8 port 53".parse()?;
//! let packet = Dialect::Packets.packet("tcp 10.1.2.3:999 > 10.0.0.1:53", Way::In)?;
//! let misses: Vec<_> = rule.misses(&packet).iter().map(ToString::to_string).collect();
//! assert_eq!(misses, ["protocol: tcp, not udp"]);
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! A rule without a miss matches: this never says other than [`Rule::matches`] does, and decides
//! nothing itself.

use std::fmt;

use super::conditions::{self, Conditions, Fragment, IcmpKind, Vlan};
use super::dissect::{Ends, Packet};
use super::further::{Asked, Test};
use super::known::KnownSets;
use super::rule::{Addresses, PortProtocol, PortRange, Rule, Transport};

/// One thing in which a packet is not as a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What of it: `source port`.
    pub what: &'static str,
    /// What the packet has, in the words of the language; nothing if it has none.
    pub found: Option<String>,
    /// What the rule asks for.
    pub wanted: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            found,
            wanted,
        } = self;
        let found = found.as_deref().unwrap_or("none");
        write!(f, "{what}: {found}, not {wanted}")
    }
}

impl Rule {
    /// In which named sets a packet is that this rule asks for, in words, if the rule is about it.
    #[must_use]
    pub fn found_in(&self, packet: &Packet) -> Vec<String> {
        let sets = self.tests.iter().filter(|test| !test.not);
        let sets = sets.filter(|test| matches!(test.what, Asked::In(_)));
        sets.map(|Test { what, not: _ }| {
            let found = what.found(packet).unwrap_or_default();
            format!("{}: {found}, in {what}", what.name())
        })
        .collect()
    }

    /// Everything in which a packet is not as this rule asks for, where no named set is known.
    #[must_use]
    pub fn misses(&self, packet: &Packet) -> Vec<Miss> {
        self.misses_with(packet, &KnownSets::default())
    }

    /// Everything in which a packet is not as this rule asks for.
    #[must_use]
    pub fn misses_with(&self, packet: &Packet, known: &KnownSets) -> Vec<Miss> {
        let Self {
            action: _,
            way,
            log: _,
            sample: _,
            addresses,
            transport,
            conditions,
            tests,
            expression,
            keep_state: _,
        } = self;
        let mut misses = Misses::default();
        if let Some(wanted) = way.filter(|_| !self.applies(packet.way)) {
            misses.add("way", Some(packet.way), wanted);
        }
        misses.addresses(addresses, packet);
        misses.transport(transport, packet);
        misses.conditions(conditions, packet);
        for Test { what, not } in tests.iter().filter(|test| !test.holds(packet, known)) {
            let found = what.found(packet);
            match not {
                true => misses.add(what.name(), found, format_args!("anything but {what}")),
                false => misses.add(what.name(), found, what),
            }
        }
        if let Some(wanted) = expression.as_ref().filter(|it| !it.matches(packet)) {
            misses.add("expression", Some("otherwise"), wanted);
        }
        misses.0
    }
}

#[derive(Default)]
struct Misses(Vec<Miss>);

impl Misses {
    fn add(
        &mut self,
        what: &'static str,
        found: Option<impl fmt::Display>,
        wanted: impl fmt::Display,
    ) {
        self.0.push(Miss {
            what,
            found: found.map(|found| found.to_string()),
            wanted: wanted.to_string(),
        });
    }

    /// Adds a miss unless it is none.
    fn compare(
        &mut self,
        fits: bool,
        what: &'static str,
        found: impl fmt::Display,
        wanted: impl fmt::Display,
    ) {
        if !fits {
            self.add(what, Some(found), wanted);
        }
    }

    fn addresses(&mut self, wanted: &Addresses, packet: &Packet) {
        const SOURCE: &str = "source address";
        const DESTINATION: &str = "destination address";
        let family = match packet.ends {
            Some(Ends::V4(..)) => Some("inet"),
            Some(Ends::V6(..)) => Some("inet6"),
            None => packet.arp.then_some("arp"),
        };
        match (wanted, packet.ends) {
            (Addresses::Any, _) => {}
            (Addresses::Arp, _) if packet.arp => {}
            (Addresses::Arp, _) => self.add("family", family, "arp"),
            (
                Addresses::V4 {
                    source,
                    destination,
                },
                Some(Ends::V4(from, to)),
            ) => {
                self.compare(source.contains(from), SOURCE, from, source);
                self.compare(destination.contains(to), DESTINATION, to, destination);
            }
            (
                Addresses::V6 {
                    source,
                    destination,
                },
                Some(Ends::V6(from, to)),
            ) => {
                self.compare(source.contains(from), SOURCE, from, source);
                self.compare(destination.contains(to), DESTINATION, to, destination);
            }
            (Addresses::V4 { .. }, _) => self.add("family", family, "inet"),
            (Addresses::V6 { .. }, _) => self.add("family", family, "inet6"),
        }
    }

    fn transport(&mut self, wanted: &Transport, packet: &Packet) {
        let protocol = match wanted {
            Transport::Any => None,
            Transport::Protocol(protocol) => Some(*protocol),
            Transport::Ports { protocol, .. } => protocol.map(|protocol| protocol.protocol()),
            Transport::Tcp { .. } => Some(PortProtocol::Tcp.protocol()),
            Transport::Icmp(kind) => Some(kind.protocol()),
        };
        if let Some(protocol) = protocol.filter(|wanted| packet.protocol != Some(*wanted)) {
            self.add("protocol", packet.protocol, protocol);
        }
        match wanted {
            Transport::Any | Transport::Protocol(_) => {}
            Transport::Ports {
                protocol: _,
                source,
                destination,
            } => self.ports(source, destination, packet.ports),
            Transport::Tcp {
                source,
                destination,
                flags,
            } => {
                self.ports(source, destination, packet.ports);
                if !packet.tcp_flags.is_some_and(|found| flags.hold(found)) {
                    self.add("flags", packet.tcp_flags.map(conditions::letters), flags);
                }
            }
            Transport::Icmp(wanted) => {
                if !packet
                    .icmp
                    .is_some_and(|(kind, code)| wanted.is(kind, code))
                {
                    let found = packet.icmp.map(|(kind, code)| IcmpKind {
                        v6: wanted.v6,
                        kind,
                        code: Some(code),
                    });
                    self.add("type", found, wanted);
                }
            }
        }
    }

    fn ports(&mut self, source: &PortRange, destination: &PortRange, found: Option<(u16, u16)>) {
        let Some((from, to)) = found else {
            if *source != PortRange::ALL {
                self.add("source port", None::<u16>, source);
            }
            if *destination != PortRange::ALL || *source == PortRange::ALL {
                self.add("destination port", None::<u16>, destination);
            }
            return;
        };
        self.compare(source.contains(from), "source port", from, source);
        let fits = destination.contains(to);
        self.compare(fits, "destination port", to, destination);
    }

    fn conditions(&mut self, wanted: &Conditions, packet: &Packet) {
        let Conditions {
            fragment,
            dscp,
            vlan,
        } = wanted;
        if let Some(wanted) = fragment.filter(|wanted| match wanted {
            Fragment::Any => packet.fragment.is_none(),
            Fragment::None => packet.fragment.is_some(),
            Fragment::First | Fragment::Later => packet.fragment != Some(*wanted),
        }) {
            self.add("fragment", packet.fragment, wanted);
        }
        if let Some(wanted) = dscp.filter(|wanted| packet.dscp != Some(*wanted)) {
            self.add("dscp", packet.dscp, wanted);
        }
        if let Some(wanted) = vlan.filter(|wanted| match wanted {
            Vlan::Tagged => packet.vlan.is_none(),
            Vlan::Untagged => packet.vlan.is_some(),
            Vlan::Id(id) => packet.vlan != Some(*id),
        }) {
            self.add("vlan", packet.vlan.map(Vlan::Id), wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::filter::{Dialect, Rule, Way, arbitrary};

    #[track_caller]
    fn check(rule: &str, packet: &str, misses: &[&str]) {
        let rule: Rule = rule.parse().unwrap();
        let packet = Dialect::Packets.packet(packet, Way::In).unwrap();
        let found: Vec<_> = rule
            .misses(&packet)
            .iter()
            .map(|it| it.to_string())
            .collect();
        assert_eq!(found, misses, "{rule}");
    }

    #[test]
    fn a_miss_says_what_is_and_what_was_wanted() {
        let packet = "tcp 10.1.2.3:999 > 10.0.0.1:22";
        check("drop in proto tcp to any port 22", packet, &[]);
        check("drop out", packet, &["way: in, not out"]);
        check("drop inet6", packet, &["family: inet, not inet6"]);
        check("drop inet", "not-ip", &["family: none, not inet"]);
        check(
            "drop proto udp from 192.0.2.0/24 to 10.0.0.2 port 22",
            packet,
            &[
                "source address: 10.1.2.3, not 192.0.2.0/24",
                "destination address: 10.0.0.1, not 10.0.0.2",
                "protocol: tcp, not udp",
            ],
        );
        check(
            "drop from any port 1-5 to any port 23",
            packet,
            &["source port: 999, not 1-5", "destination port: 22, not 23"],
        );
        check(
            "drop to any port 22",
            "icmp 10.1.2.3 > 10.0.0.1",
            &["destination port: none, not 22"],
        );
    }

    proptest! {
        #[test]
        fn what_matches_has_no_miss(rule in arbitrary::rule(), packet in arbitrary::packet()) {
            prop_assert_eq!(rule.misses(&packet).is_empty(), rule.matches(&packet));
        }
    }
}
