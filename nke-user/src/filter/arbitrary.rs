//! Any rule and any packet, for property tests.
//!
//! Addresses and ports come from a few neighbours, so that rules and packets meet often.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;

use super::{
    Action, Addresses, Ends, Packet, PortProtocol, PortRange, Prefix, Protocol, Rule, RuleSet,
    Transport, Way,
};

fn action() -> impl Strategy<Value = Action> {
    select(vec![Action::Pass, Action::Drop])
}

fn way() -> impl Strategy<Value = Way> {
    select(vec![Way::In, Way::Out])
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from_bits),
        (0u8..4, 0u8..4).prop_map(|(high, low)| Ipv4Addr::new(10, high, 0, low)),
    ]
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        any::<u128>().prop_map(Ipv6Addr::from_bits),
        (0u16..4, 0u16..4).prop_map(|(high, low)| Ipv6Addr::new(0xfd00, high, 0, 0, 0, 0, 0, low)),
    ]
}

fn prefix_v4() -> impl Strategy<Value = Prefix<Ipv4Addr>> {
    (v4(), 0..=32u8).prop_filter_map("no prefix", |(address, length)| {
        Prefix::<Ipv4Addr>::new(address, length)
    })
}

fn prefix_v6() -> impl Strategy<Value = Prefix<Ipv6Addr>> {
    (v6(), 0..=128u8).prop_filter_map("no prefix", |(address, length)| {
        Prefix::<Ipv6Addr>::new(address, length)
    })
}

fn addresses() -> impl Strategy<Value = Addresses> {
    prop_oneof![
        Just(Addresses::Any),
        (prefix_v4(), prefix_v4()).prop_map(|(source, destination)| Addresses::V4 {
            source,
            destination
        }),
        (prefix_v6(), prefix_v6()).prop_map(|(source, destination)| Addresses::V6 {
            source,
            destination
        }),
    ]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), 0u16..4, (u16::MAX - 3)..=u16::MAX]
}

fn ports() -> impl Strategy<Value = PortRange> {
    let range =
        (port(), port()).prop_filter_map("no range", |(a, b)| PortRange::new(a.min(b), a.max(b)));
    prop_oneof![Just(PortRange::ALL), port().prop_map(PortRange::one), range]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![any::<u8>(), select(vec![1, 6, 17, 58])].prop_map(Protocol)
}

fn transport() -> impl Strategy<Value = Transport> {
    let carrier = proptest::option::of(select(PortProtocol::ALL.to_vec()));
    prop_oneof![
        Just(Transport::Any),
        protocol().prop_map(Transport::Protocol),
        (carrier, ports(), ports()).prop_map(|(protocol, source, destination)| {
            Transport::Ports {
                protocol,
                source,
                destination,
            }
        }),
    ]
}

pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let way = proptest::option::of(way());
    (action(), way, any::<bool>(), addresses(), transport()).prop_map(
        |(action, way, log, addresses, transport)| Rule {
            action,
            way,
            log,
            addresses,
            transport,
        },
    )
}

pub(super) fn rule_set() -> impl Strategy<Value = RuleSet> {
    (action(), prop::collection::vec(rule(), 0..12))
        .prop_map(|(default, rules)| RuleSet { default, rules })
}

/// A packet as it can come out of [`super::dissect`].
pub(super) fn packet() -> impl Strategy<Value = Packet> {
    let ends = prop_oneof![
        (v4(), v4()).prop_map(|(from, to)| Ends::V4(from, to)),
        (v6(), v6()).prop_map(|(from, to)| Ends::V6(from, to)),
    ];
    let carried = proptest::option::of((protocol(), proptest::option::of((port(), port()))));
    (way(), proptest::option::of((ends, carried))).prop_map(|(way, ip)| {
        let carried = ip.and_then(|(_, carried)| carried);
        Packet {
            way,
            ends: ip.map(|(ends, _)| ends),
            protocol: carried.map(|(protocol, _)| protocol),
            ports: carried
                .and_then(|(protocol, ports)| PortProtocol::try_from(protocol).ok().and(ports)),
        }
    })
}

/// A rule of a guard: without `log` and a sender.
pub(super) fn call_rule() -> impl Strategy<Value = Rule> {
    let way = select(vec![Way::Out, Way::Connect, Way::Sendmsg, Way::Bind]);
    (rule(), proptest::option::of(way)).prop_map(|(rule, way)| Rule {
        way,
        log: false,
        addresses: match rule.addresses {
            Addresses::Any => Addresses::Any,
            Addresses::V4 { destination, .. } => Addresses::V4 {
                source: Prefix::<Ipv4Addr>::ANY,
                destination,
            },
            Addresses::V6 { destination, .. } => Addresses::V6 {
                source: Prefix::<Ipv6Addr>::ANY,
                destination,
            },
        },
        transport: match rule.transport {
            Transport::Ports {
                protocol,
                destination,
                source: _,
            } => Transport::Ports {
                protocol,
                source: PortRange::ALL,
                destination,
            },
            Transport::Any | Transport::Protocol(_) => rule.transport,
        },
        ..rule
    })
}
