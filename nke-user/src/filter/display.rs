//! Rules as text: what `nke filter list` prints, and what the parser reads back as the same rule.
//!
//! Every rule has one spelling here, without the words that add nothing. Ports and unnamed
//! protocols are numbers, because a number leaves no question.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::conditions::{Conditions, IcmpKind};
use super::further::{self, Asked, List, Membership, Side, Test};
use super::names;
use super::rule::{
    Action, Addresses, PortProtocol, PortRange, Prefix, Protocol, Rule, RuleSet, Transport, Way,
};

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { default, rules } = self;
        writeln!(f, "default {default}")?;
        rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            way,
            log,
            sample,
            addresses: _,
            transport,
            conditions,
            tests: _,
            expression,
            keep_state,
        } = self;
        write!(f, "{action}")?;
        if let Some(way) = way {
            write!(f, " {way}")?;
        }
        if *log {
            f.write_str(" log")?;
            if *sample != 1 {
                write!(f, " 1/{sample}")?;
            }
        }
        if let Some(list) = List::of(self, |it| matches!(it, Asked::On(_))) {
            write!(f, " on{list}")?;
        }
        f.write_str(self.family())?;
        match transport {
            Transport::Protocol(protocol) => write!(f, " proto {protocol}")?,
            Transport::Ports {
                protocol: Some(protocol),
                ..
            } => {
                write!(f, " proto {}", protocol.protocol())?;
            }
            Transport::Tcp { .. } => write!(f, " proto {}", PortProtocol::Tcp.protocol())?,
            Transport::Icmp(kind) => write!(f, " proto {}", kind.protocol())?,
            Transport::Any | Transport::Ports { protocol: None, .. } => {
                if let Some(list) = List::of(self, |it| matches!(it, Asked::Protocol(_))) {
                    write!(f, " proto{list}")?;
                }
            }
        }
        ends(self)
            .into_iter()
            .try_for_each(|end| write!(f, "{end}"))?;
        match transport {
            Transport::Tcp { flags, .. } => write!(f, " flags {flags}")?,
            Transport::Icmp(kind @ IcmpKind { v6: false, .. }) => write!(f, " icmp-type {kind}")?,
            Transport::Icmp(kind @ IcmpKind { v6: true, .. }) => write!(f, " icmp6-type {kind}")?,
            Transport::Any | Transport::Protocol(_) | Transport::Ports { .. } => {}
        }
        let tagged = |test: &Test| matches!(test.what, Asked::Vlan(_));
        let conditions = Conditions {
            // A test of its number says as much.
            vlan: conditions.vlan.filter(|_| !self.tests.iter().any(tagged)),
            ..*conditions
        };
        write!(f, "{conditions}")?;
        further::fmt_options(&self.tests, f)?;
        if let Some(expression) = expression {
            write!(f, " expr {expression}")?;
        }
        f.write_str(if *keep_state { " keep state" } else { "" })
    }
}

impl Rule {
    /// The word of its family, with a blank in front. An address says its family already.
    fn family(&self) -> &'static str {
        match &self.addresses {
            Addresses::V4 {
                source: Prefix::<Ipv4Addr>::ANY,
                destination: Prefix::<Ipv4Addr>::ANY,
            } if !self.names_a_host() => " inet",
            Addresses::V6 {
                source: Prefix::<Ipv6Addr>::ANY,
                destination: Prefix::<Ipv6Addr>::ANY,
            } if !self.names_a_host() => " inet6",
            Addresses::Arp => " arp",
            Addresses::Any | Addresses::V4 { .. } | Addresses::V6 { .. } => "",
        }
    }

    /// Whether a test says of which family it is.
    fn names_a_host(&self) -> bool {
        let host = |test: &Test| matches!(test.what, Asked::Source(_) | Asked::Destination(_));
        self.tests.iter().any(host)
    }
}

/// The sender's or the receiver's half of a rule.
struct End {
    word: &'static str,
    /// With a blank in front; nothing for any address.
    address: Option<String>,
    /// With a blank in front; nothing for any port, or none.
    ports: Option<String>,
}

fn ends(rule: &Rule) -> [End; 2] {
    let named = |prefix: String| (prefix != ANY).then_some(prefix);
    let (from, to) = match rule.addresses {
        Addresses::Any | Addresses::Arp => (None, None),
        Addresses::V4 {
            source,
            destination,
        } => (named(source.to_string()), named(destination.to_string())),
        Addresses::V6 {
            source,
            destination,
        } => (named(source.to_string()), named(destination.to_string())),
    };
    let tested = |list: Option<List<'_>>| list.map(|list| list.to_string());
    let set = |it: &Asked, wanted: Side, wants_port: bool| {
        matches!(it, Asked::In(Membership { side, port, set: _ })
            if *side == wanted && *port == wants_port)
    };
    let source = tested(List::of(rule, |it| {
        matches!(it, Asked::Source(_)) || set(it, Side::Source, false)
    }));
    let destination = tested(List::of(rule, |it| {
        matches!(it, Asked::Destination(_)) || set(it, Side::Destination, false)
    }));
    let ports = |side| tested(List::of(rule, |it| set(it, side, true)));
    let spaced = |text: Option<String>| text.map(|text| format!(" {text}"));
    let (from, to) = (source.or(spaced(from)), destination.or(spaced(to)));
    let some = |range: PortRange| (range != PortRange::ALL).then_some(range);
    let (from_ports, to_ports) = match rule.transport {
        Transport::Any | Transport::Protocol(_) | Transport::Icmp(_) => (None, None),
        // "Something with ports" has no word of its own.
        Transport::Ports {
            source: PortRange::ALL,
            destination: PortRange::ALL,
            protocol: _,
        } => (None, Some(PortRange::ALL)),
        Transport::Ports {
            source,
            destination,
            protocol: _,
        }
        | Transport::Tcp {
            source,
            destination,
            flags: _,
        } => (some(source), some(destination)),
    };
    [
        End {
            word: "from",
            address: from,
            ports: ports(Side::Source).or(spaced(from_ports.map(|it| it.to_string()))),
        },
        End {
            word: "to",
            address: to,
            ports: ports(Side::Destination).or(spaced(to_ports.map(|it| it.to_string()))),
        },
    ]
}

const ANY: &str = "any";

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            word,
            address,
            ports,
        } = self;
        if address.is_none() && ports.is_none() {
            return Ok(());
        }
        write!(f, " {word}{}", address.as_deref().unwrap_or(" any"))?;
        match ports {
            Some(ports) => write!(f, " port{ports}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Count => "count",
            Self::Mark(mark) => return write!(f, "mark {mark}"),
            Self::Redirect(name) => return write!(f, "redirect to {name}"),
            Self::Reject(refusal) => {
                let said = names::REFUSALS.iter().find(|said| said.1 == *refusal);
                let with = said.map_or(String::new(), |(word, _)| format!(" with {word}"));
                return write!(f, "reject{with}");
            }
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Connect => "connect",
            Self::Sendmsg => "sendmsg",
            Self::Bind => "bind",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match names::protocol_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first(), self.last());
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

macro_rules! prefix {
    ($address:ty) => {
        impl fmt::Display for Prefix<$address> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.length() {
                    0 => f.write_str(ANY),
                    Self::LONGEST => write!(f, "{}", self.address()),
                    length => write!(f, "{}/{length}", self.address()),
                }
            }
        }
    };
}

prefix!(Ipv4Addr);
prefix!(Ipv6Addr);
