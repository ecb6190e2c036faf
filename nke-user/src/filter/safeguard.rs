//! What a default of `drop` must not shut out by accident: ARP, neighbour discovery, and the
//! connection that the caller sits at.
//!
//! ```
//! use nke::filter::{KnownSets, RuleSet, Way};
//!
//! let rules: RuleSet = "default drop\npass in proto tcp to any port 22".parse()?;
//! let lacking = rules.lacking(&[Way::In], true, None, &KnownSets::default());
//! assert_eq!(lacking[0].to_string(), "pass arp");
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! Only what the default drops is lacking: a rule that drops it is there on purpose. Nothing here
//! changes a rule set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::conditions::{Conditions, IcmpKind};
use super::dissect::{Ends, Obscured, Packet, dissect};
use super::expression::Frame;
use super::further::{Asked, Mac, Test};
use super::interface_name::InterfaceName;
use super::judge::{Decider, Judgement};
use super::known::KnownSets;
use super::rule::{
    Action, Addresses, Direction, PortProtocol, PortRange, Prefix, Rule, RuleSet, Transport, Way,
};
use crate::lockout::packet::tcp;

/// Router solicitation and advertisement, neighbour solicitation and advertisement (RFC 4861).
const NEIGHBOUR_DISCOVERY: [u8; 4] = [133, 134, 135, 136];

/// The connection that the caller sits at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its far end.
    pub far: SocketAddr,
    /// This host's.
    pub near: SocketAddr,
    /// The hardware addresses of whose frames it comes by, and of this host's interface; nothing where they are not known.
    pub hardware: Option<(Mac, Mac)>,
}

/// Bytes of data in packets of a connection: a key that was typed, none, as much as fits.
const LENGTHS: [usize; 3] = [64, 0, 1448];
/// What ssh(1) marks its packets with, now and in earlier years, and nothing.
const TRAFFIC_CLASSES: [u8; 4] = [0x10, 0x00, 0x20, 0x48];

/// The caller's connection, as it comes by some hooks.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The ways that things go there.
    pub ways: &'a [Way],
    /// Whether ARP and frames come by.
    pub link: bool,
    /// The interface that packets are of, if all are of one.
    pub interface: Option<InterfaceName>,
    /// Its ends.
    pub caller: &'a Caller,
}

impl RuleSet {
    /// Rules that pass what the default would drop, for things that go these ways. `link` says
    /// whether ARP and frames come by. What passes up to a limit does not pass for sure, nor does what drops by one
    /// spare the default.
    #[must_use]
    pub fn lacking(
        &self,
        ways: &[Way],
        link: bool,
        caller: Option<&Caller>,
        known: &KnownSets,
    ) -> Vec<Rule> {
        let surely = self.with_limits(|_| false);
        let mut lacking = Vec::new();
        for &way in ways {
            let mut wanted = Vec::new();
            if link {
                wanted.push(arp(way));
            }
            wanted.extend(NEIGHBOUR_DISCOVERY.map(|kind| neighbours(way, kind)));
            if let Some(caller) = caller {
                let rule = between(way, caller);
                let segments = caller.segments(way, link).into_iter();
                wanted.extend(segments.map(|packet| (packet, rule.clone())));
            }
            for (packet, rule) in wanted {
                let Judgement { action, by } = surely.rules.judge_with(&Ok(packet), known);
                if action.drops() && by == Decider::Default && !lacking.contains(&rule) {
                    lacking.push(rule);
                }
            }
        }
        lacking
    }

    /// The index of a rule that drops packets of the caller's connection, other than those that the rules before dropped
    /// as well, with sets as they were. Where it is not known which interface packets come by, it may be any.
    #[must_use]
    pub fn cuts(
        &self,
        passing: &Passing<'_>,
        known: &KnownSets,
        before: Option<(&Self, &KnownSets)>,
    ) -> Option<usize> {
        let Passing {
            ways,
            link,
            interface,
            caller,
        } = passing;
        let before = before.map(|(rules, known)| (rules.with_all_cuts(), known));
        let surely = self.with_all_cuts();
        let named = self.rules.iter().flat_map(Rule::interfaces);
        let named = named.filter(|_| interface.is_none());
        let mut interfaces: Vec<_> = named.map(Some).chain([*interface]).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        let segments = ways.iter().flat_map(|way| caller.segments(*way, *link));
        let mut packets = segments.flat_map(|packet| {
            let on = |interface: &Option<InterfaceName>| Packet {
                interface: *interface,
                ..packet.clone()
            };
            interfaces.iter().map(on).collect::<Vec<_>>()
        });
        packets.find_map(|packet| {
            let packet = Ok(packet);
            let by = surely.drops(&packet, known)?;
            let before = before.as_ref();
            let anyway = before.and_then(|(rules, known)| rules.drops(&packet, known));
            anyway.is_none().then_some(by)
        })
    }

    /// The rules as if all limits stood the wrong way: what passes by one does not, what drops by one does.
    fn with_all_cuts(&self) -> Surely {
        self.with_limits(|rule| rule.action.drops())
    }

    /// The rules as if limits held for some of those that have one, and never for the others.
    fn with_limits(&self, hold: impl Fn(&Rule) -> bool) -> Surely {
        let is_limit = |test: &Test| matches!(test.what, Asked::Limit(_));
        let rules = self.rules.iter().enumerate();
        let rules = rules.filter_map(|(place, rule)| {
            let mut rule = rule.clone();
            let tests = rule.tests.len();
            rule.tests.retain(|test| !is_limit(test));
            let stays = rule.tests.len() == tests || hold(&rule);
            stays.then_some((place, rule))
        });
        let (places, rules) = rules.unzip();
        let default = self.default;
        let rules = Self { default, rules };
        Surely { places, rules }
    }
}

/// Rules that surely pass what they pass, and their places among all.
struct Surely {
    places: Vec<usize>,
    rules: RuleSet,
}

impl Surely {
    /// The place of the rule that drops a packet, if one does.
    fn drops(&self, packet: &Result<Packet, Obscured>, known: &KnownSets) -> Option<usize> {
        let Judgement { action, by } = self.rules.judge_with(packet, known);
        match by {
            Decider::Rule(nth) if action.drops() => Some(self.places[nth]),
            Decider::Rule(_) | Decider::Default | Decider::Obscured => None,
        }
    }
}

impl Caller {
    /// Packets of the connection, which stands, such as come by.
    fn segments(&self, way: Way, link: bool) -> Vec<Packet> {
        let lengths = LENGTHS.iter().map(|length| (*length, TRAFFIC_CLASSES[0]));
        let classes = TRAFFIC_CLASSES.iter().map(|class| (LENGTHS[0], *class));
        let kinds = lengths.chain(classes.skip(1));
        kinds
            .filter_map(|(length, class)| self.segment(way, link, length, class))
            .collect()
    }

    fn segment(&self, way: Way, link: bool, length: usize, class: u8) -> Option<Packet> {
        let outwards = way == Way::Out;
        let (from, to) = if outwards {
            (self.near, self.far)
        } else {
            (self.far, self.near)
        };
        let mut packet = tcp((from, to), &vec![0x5a; length]);
        let kind: [u8; 2] = if packet[0] >> 4 == 4 {
            packet[1] = class;
            [0x08, 0x00]
        } else {
            packet[0] |= class >> 4;
            packet[1] |= class << 4;
            [0x86, 0xdd]
        };
        // In a frame the receiver stands in front.
        let (far, near) = self.hardware.unwrap_or((Mac([2; 6]), Mac([2; 6])));
        let (direction, ether) = if outwards {
            (Direction::Out, [far.0, near.0])
        } else {
            (Direction::In, [near.0, far.0])
        };
        let frame = [ether.as_flattened(), &kind, &packet].concat();
        let read = dissect(&frame, direction).ok()?;
        let bytes = if link { frame } else { packet };
        Some(Packet {
            way,
            ether: read.ether.filter(|_| link && self.hardware.is_some()),
            frame: Some(Frame {
                bytes: bytes.into(),
                has_link: link,
            }),
            ..read
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

/// The rule for all between the far end's host and the near end's port.
fn between(way: Way, caller: &Caller) -> Rule {
    let Caller { far, near, .. } = *caller;
    let outwards = way == Way::Out;
    let (from, to) = if outwards { (near, far) } else { (far, near) };
    let addresses = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Addresses::V4 {
            source: Prefix::<Ipv4Addr>::one(from),
            destination: Prefix::<Ipv4Addr>::one(to),
        },
        (from, to) => {
            let wide = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            let (from, to) = (wide(from), wide(to));
            Addresses::V6 {
                source: Prefix::<Ipv6Addr>::one(from),
                destination: Prefix::<Ipv6Addr>::one(to),
            }
        }
    };
    let port = PortRange::one(near.port());
    let (source, destination) = if outwards {
        (port, PortRange::ALL)
    } else {
        (PortRange::ALL, port)
    };
    Rule {
        addresses,
        transport: Transport::Ports {
            protocol: Some(PortProtocol::Tcp),
            source,
            destination,
        },
        conditions: Conditions::NONE,
        ..Rule::all(Action::Pass)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::{About, Lasting, Set, SetKind, arbitrary};

    fn caller() -> Caller {
        Caller {
            far: "192.0.2.1:50000".parse().unwrap(),
            near: "192.0.2.2:22".parse().unwrap(),
            hardware: Some((Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))),
        }
    }

    /// A set that the far end is in.
    fn known() -> KnownSets {
        let about = About::new("mine".parse().unwrap(), SetKind::Addresses);
        let member = Lasting::forever("192.0.2.1".parse().unwrap());
        KnownSets::from_iter([(about.name, Set::of(&about, &[member]).unwrap())])
    }

    #[track_caller]
    fn check(text: &str, ways: &[Way], link: bool, expected: &[&str]) {
        let rules: RuleSet = text.parse().unwrap();
        let lacking = rules.lacking(ways, link, Some(&caller()), &known());
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
        // What is beyond a limit is dropped by a rule, and all else by the default.
        check(
            "default drop\ndrop in limit over 1k/s per source",
            &[Way::In],
            true,
            &all,
        );
        check(
            "default drop\npass arp\npass proto icmp6",
            &[Way::Out],
            true,
            &["pass proto tcp from 192.0.2.2 port 22 to 192.0.2.1"],
        );
    }

    fn passing<'a>(
        ways: &'a [Way],
        interface: Option<InterfaceName>,
        caller: &'a Caller,
    ) -> Passing<'a> {
        Passing {
            ways,
            link: true,
            interface,
            caller,
        }
    }

    #[test]
    fn what_is_cut_on_one_interface_can_be_cut_on_others() {
        let rules = |text: &str| text.parse::<RuleSet>().unwrap();
        let newly = |before: &str, after: &str| {
            let caller = caller();
            let passing = passing(&[Way::In], None, &caller);
            let before = rules(before);
            rules(after).cuts(&passing, &known(), Some((&before, &known())))
        };
        let here = "drop in on ppp0 proto tcp";
        assert_eq!(newly("pass", here), Some(0));
        assert_eq!(newly(here, here), None);
        assert_eq!(newly(here, &format!("{here}\ndrop proto udp")), None);
        assert_eq!(newly(here, &format!("{here}\ndrop in proto tcp")), Some(1));
        assert_eq!(
            newly("drop in proto tcp", "drop in proto tcp to any port 22"),
            None
        );
    }

    #[test]
    fn a_rule_that_cuts_is_named() {
        let rules: RuleSet = "pass out\ndrop in proto tcp to any port 22"
            .parse()
            .unwrap();
        let cuts =
            |rules: &RuleSet, way, on| rules.cuts(&passing(&[way], on, &caller()), &known(), None);
        assert_eq!(cuts(&rules, Way::Out, None), None);
        assert_eq!(cuts(&rules, Way::In, None), Some(1));
        let rules: RuleSet = "drop in on eth0".parse().unwrap();
        let on = |name: &str| name.parse().ok();
        assert_eq!(cuts(&rules, Way::In, on("eth1")), None);
        assert_eq!(cuts(&rules, Way::In, on("eth0")), Some(0));
        assert_eq!(cuts(&rules, Way::In, None), Some(0));
    }

    #[test]
    fn whatever_drops_packets_of_the_connection_cuts_it() {
        let cut = [
            "drop in from @mine",
            "drop in to not @mine",
            "drop in length 0-65535",
            "drop in length 1400-1500",
            "drop in dscp 0",
            "drop in dscp af21",
            "drop in ether from 02:00:00:00:00:01",
            "drop in ether from not 02:00:00:00:00:77",
            "drop in ether to 02:00:00:00:00:02",
            "drop in expr 'ip[6:2] & 0x4000 != 0'",
            "drop in proto tcp limit over 2/m burst 2",
            "drop in proto tcp limit 2/m burst 2",
            "drop in proto tcp flags PA/PA",
            "pass in proto tcp limit 10/s\ndrop in proto tcp",
        ];
        let live = [
            "drop in from not @mine",
            "drop in length 5000-9000",
            "drop in dscp ef",
            "drop in ether from 02:00:00:00:00:77",
            "drop in expr 'tcp[13] & 2 != 0 and net 10'",
            "drop in proto tcp flags S/SA",
            "drop in fragment",
            "drop in vlan 5",
            "drop in mark 7",
            "pass in proto tcp\ndrop in length 0-65535",
        ];
        for (texts, expected) in [(&cut[..], true), (&live, false)] {
            for text in texts {
                let rules: RuleSet = text.parse().unwrap();
                let found = rules.cuts(&passing(&[Way::In], None, &caller()), &known(), None);
                assert_eq!(found.is_some(), expected, "{text}");
                let last = rules.rules.len() - 1;
                assert!(found.is_none_or(|found| found == last), "{text}");
            }
        }
    }

    #[test]
    fn what_passes_up_to_a_limit_does_not_pass_for_sure() {
        let ssh = "pass proto tcp from 192.0.2.1 to 192.0.2.2 port 22";
        let all = [&["pass arp"][..], &ND, &[ssh]].concat();
        for rule in [
            "pass in proto tcp to any port 22 limit 2/m burst 2",
            "pass in proto tcp length 0-100",
            "pass in inet from not @mine",
        ] {
            check(&format!("{rule}\ndefault drop"), &[Way::In], true, &all);
        }
        let some = [&["pass arp"][..], &ND].concat();
        check("pass in from @mine\ndefault drop", &[Way::In], true, &some);
    }

    proptest! {
        #[test]
        fn nothing_is_lacking_any_more(rules in arbitrary::rule_set(), way in 0..2usize) {
            let ways = [[Way::In], [Way::Out]][way];
            let mut all = rules.clone();
            all.rules.extend(rules.lacking(&ways, true, Some(&caller()), &known()));
            prop_assert_eq!(all.lacking(&ways, true, Some(&caller()), &known()), []);
            let set: RuleSet = all.to_string().parse().unwrap();
            prop_assert_eq!(set, all);
        }
    }
}
