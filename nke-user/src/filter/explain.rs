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

use super::dissect::{Ends, Packet};
use super::rule::{Addresses, PortRange, Rule, Transport};

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
    /// Everything in which a packet is not as this rule asks for.
    #[must_use]
    pub fn misses(&self, packet: &Packet) -> Vec<Miss> {
        let Self {
            action: _,
            way,
            log: _,
            addresses,
            transport,
        } = self;
        let mut misses = Misses::default();
        if let Some(wanted) = way.filter(|_| !self.applies(packet.way)) {
            misses.add("way", Some(packet.way), wanted);
        }
        misses.addresses(addresses, packet.ends);
        misses.transport(transport, packet);
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

    fn addresses(&mut self, wanted: &Addresses, found: Option<Ends>) {
        const SOURCE: &str = "source address";
        const DESTINATION: &str = "destination address";
        match (wanted, found) {
            (Addresses::Any, _) => {}
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
            (Addresses::V4 { .. }, found) => {
                self.add("family", found.map(|_| "inet6"), "inet");
            }
            (Addresses::V6 { .. }, found) => {
                self.add("family", found.map(|_| "inet"), "inet6");
            }
        }
    }

    fn transport(&mut self, wanted: &Transport, packet: &Packet) {
        let protocol = match wanted {
            Transport::Any => None,
            Transport::Protocol(protocol) => Some(*protocol),
            Transport::Ports { protocol, .. } => protocol.map(|protocol| protocol.protocol()),
        };
        if let Some(protocol) = protocol.filter(|wanted| packet.protocol != Some(*wanted)) {
            self.add("protocol", packet.protocol, protocol);
        }
        let Transport::Ports {
            protocol: _,
            source,
            destination,
        } = wanted
        else {
            return;
        };
        let Some((from, to)) = packet.ports else {
            if *source != PortRange::ALL {
                self.add("source port", None::<u16>, source);
            }
            if *destination != PortRange::ALL || *source == PortRange::ALL {
                self.add("destination port", None::<u16>, destination);
            }
            return;
        };
        self.compare(source.contains(from), "source port", from, source);
        self.compare(
            destination.contains(to),
            "destination port",
            to,
            destination,
        );
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
