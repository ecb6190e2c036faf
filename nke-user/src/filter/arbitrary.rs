//! Any rule and any packet, for property tests.
//!
//! Addresses and ports come from a few neighbours, so that rules and packets meet often.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;

use super::{
    Action, Addresses, Asked, Conditions, Dscp, Ends, Fragment, IcmpKind, InterfaceName,
    LengthRange, Limit, Mac, Mark, Net, Packet, Period, PortProtocol, PortRange, Prefix, Protocol,
    Refusal, Rule, RuleSet, Sources, TcpFlags, Test, Transport, Vlan, VlanId, Way,
};

fn action() -> impl Strategy<Value = Action> {
    select(vec![Action::Pass, Action::Drop])
}

/// What becomes of a packet that a rule is about, and one of how many is logged if any is.
fn rule_action() -> impl Strategy<Value = (Action, bool, u32)> {
    prop_oneof![
        4 => (action(), any::<bool>()).prop_map(|(action, log)| (action, log, 1)),
        1 => (action(), 1..4u32).prop_map(|(action, sample)| (action, true, sample)),
        1 => (select(Refusal::ALL.to_vec()), any::<bool>(), 1..3u32).prop_map(|(refusal, log, sample)| {
            (Action::Reject(refusal), log, if log { sample } else { 1 })
        }),
        1 => (interface(), any::<bool>(), 1..3u32).prop_map(|(name, log, sample)| {
            (Action::Redirect(name), log, if log { sample } else { 1 })
        }),
        1 => Just((Action::Count, false, 1)),
        1 => mark().prop_map(|mark| (Action::Mark(mark), false, 1)),
    ]
}

fn limit() -> impl Strategy<Value = Vec<Test>> {
    let period = select(vec![
        Period::Second,
        Period::Minute,
        Period::Hour,
        Period::Day,
    ]);
    let counts = (
        4000..1_000_000u64,
        prop_oneof![Just(5), Just(65536), 1..100u64],
    );
    let sources = prop_oneof![
        Just(None),
        Just(Some(Sources::DEFAULT)),
        (1..=32u8, 1..=128u8).prop_map(|(v4, v6)| Sources::new(v4, v6)),
    ];
    let limit = (counts, period, any::<bool>(), any::<bool>(), sources).prop_filter_map(
        "no limit",
        |((rate, burst), period, bytes, not, sources)| {
            let limit = Limit::new(rate, period, bytes, burst)?;
            let what = Asked::Limit(sources.map_or(limit, |sources| limit.per(sources)));
            Some(vec![Test { what, not }])
        },
    );
    prop_oneof![4 => Just(Vec::new()), 1 => limit]
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
        Just(Addresses::Arp),
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

pub(super) fn ports() -> impl Strategy<Value = PortRange> {
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
        (ports(), ports(), tcp_flags()).prop_map(|(source, destination, flags)| Transport::Tcp {
            source,
            destination,
            flags,
        }),
        (any::<bool>(), 0..4u8, proptest::option::of(0..3u8))
            .prop_map(|(v6, kind, code)| Transport::Icmp(IcmpKind { v6, kind, code })),
    ]
}

fn tcp_flags() -> impl Strategy<Value = TcpFlags> {
    (any::<u8>(), 1..=u8::MAX)
        .prop_filter_map("no flags", |(set, among)| TcpFlags::new(set & among, among))
}

fn vlan_id() -> impl Strategy<Value = VlanId> {
    prop_oneof![0..4u16, Just(4095)].prop_filter_map("no VLAN", VlanId::new)
}

fn dscp() -> impl Strategy<Value = Dscp> {
    select(vec![0, 1, 46, 63]).prop_filter_map("no DSCP", Dscp::new)
}

fn vlan() -> impl Strategy<Value = Vlan> {
    prop_oneof![
        Just(Vlan::Tagged),
        Just(Vlan::Untagged),
        vlan_id().prop_map(Vlan::Id),
    ]
}

/// Nothing at all, most often.
fn conditions() -> impl Strategy<Value = Conditions> {
    let fragment = select(vec![
        Fragment::Any,
        Fragment::First,
        Fragment::Later,
        Fragment::None,
    ]);
    let some = (
        proptest::option::of(fragment),
        proptest::option::of(dscp()),
        proptest::option::of(vlan()),
    );
    prop_oneof![
        Just(Conditions::NONE),
        some.prop_map(|(fragment, dscp, vlan)| Conditions {
            fragment,
            dscp,
            vlan,
        }),
    ]
}

/// Conditions that can hold beside what is asked of the transport.
fn fitting(transport: Transport, conditions: Conditions) -> Conditions {
    let simple = matches!(transport, Transport::Any | Transport::Protocol(_));
    let later = conditions.fragment == Some(Fragment::Later);
    Conditions {
        fragment: conditions.fragment.filter(|_| simple || !later),
        ..conditions
    }
}

pub(super) fn length() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0u32..4, 40u32..60, Just(u32::MAX)]
}

pub(super) fn mac() -> impl Strategy<Value = Mac> {
    (0..3u8).prop_map(|last| Mac([2, 0, 0, 0, 0, last]))
}

pub(super) fn interface() -> impl Strategy<Value = InterfaceName> {
    select(vec!["lo", "eth0", "wg0"])
        .prop_filter_map("no interface", |name| name.parse::<InterfaceName>().ok())
}

fn mark() -> impl Strategy<Value = Mark> {
    (0..4u32, prop_oneof![Just(u32::MAX), 1..4u32])
        .prop_filter_map("no mark", |(value, mask)| Mark::new(value, mask))
}

/// Tests of all kinds that any packet can be asked for, none most often.
fn tests() -> impl Strategy<Value = Vec<Test>> {
    let lengths = (length(), length())
        .prop_filter_map("no range", |(a, b)| LengthRange::new(a.min(b), a.max(b)))
        .prop_map(Asked::Length);
    let marks = mark().prop_map(Asked::Mark);
    let from = mac().prop_map(Asked::EtherFrom);
    let to = mac().prop_map(Asked::EtherTo);
    let on = interface().prop_map(Asked::On);
    prop_oneof![
        3 => Just(Vec::new()),
        1 => asked(lengths),
        1 => (asked(marks), asked(from)).prop_map(|(one, other)| [one, other].concat()),
        1 => asked(to),
        1 => asked(on),
    ]
}

/// Things of the headers that a packet must not be.
fn header_nots() -> impl Strategy<Value = Vec<Asked>> {
    let one = prop_oneof![
        protocol().prop_map(Asked::Protocol),
        tcp_flags().prop_map(Asked::Flags),
        (any::<bool>(), 0..4u8, proptest::option::of(0..3u8))
            .prop_map(|(v6, kind, code)| Asked::Icmp(IcmpKind { v6, kind, code })),
        dscp().prop_map(Asked::Dscp),
        vlan_id().prop_map(Asked::Vlan),
    ];
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..4)]
}

/// Those of them that can be asked beside the fields of a rule.
fn fitting_nots(rule: &Rule, nots: Vec<Asked>) -> Vec<Test> {
    let carried = match rule.transport {
        Transport::Protocol(protocol) => Some(protocol),
        Transport::Ports { protocol, .. } => protocol.map(PortProtocol::protocol),
        Transport::Any | Transport::Tcp { .. } | Transport::Icmp(_) => None,
    };
    let later = rule.conditions.fragment == Some(Fragment::Later);
    let any = matches!(
        rule.transport,
        Transport::Any | Transport::Ports { protocol: None, .. }
    );
    let fits = |asked: &Asked| match asked {
        Asked::Protocol(_) => any,
        Asked::Flags(_) => carried == Some(Protocol(6)) && !later,
        Asked::Icmp(kind) => carried == Some(kind.protocol()) && !later,
        Asked::Dscp(_) => rule.conditions.dscp.is_none(),
        Asked::Vlan(_) => rule.conditions.vlan == Some(Vlan::Tagged),
        Asked::Source(_)
        | Asked::Destination(_)
        | Asked::In(_)
        | Asked::Length(_)
        | Asked::Mark(_)
        | Asked::EtherFrom(_)
        | Asked::EtherTo(_)
        | Asked::On(_)
        | Asked::Limit(_) => false,
    };
    let mut flags = 0;
    let once = |asked: &Asked| {
        flags += usize::from(matches!(asked, Asked::Flags(_)));
        flags < 2 || !matches!(asked, Asked::Flags(_))
    };
    nots.into_iter()
        .filter(fits)
        .filter(once)
        .map(Test::not)
        .collect()
}

/// One of these; or some of them, and none must be so.
fn asked(one: impl Strategy<Value = Asked>) -> impl Strategy<Value = Vec<Test>> {
    (any::<bool>(), prop::collection::vec(one, 1..4)).prop_map(|(not, mut all)| {
        if !not {
            all.truncate(1);
        }
        all.into_iter().map(|what| Test { what, not }).collect()
    })
}

/// Prefixes of both families that an address must not have.
fn nots() -> impl Strategy<Value = Vec<Net>> {
    let net = prop_oneof![prefix_v4().prop_map(Net::V4), prefix_v6().prop_map(Net::V6)];
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(net, 1..4)]
}

/// Those of `nots` that a rule can ask of one end, if it says nothing else of it.
fn not_of(nots: Vec<Net>, is: fn(&Net) -> bool, asked: fn(Net) -> Asked) -> Vec<Test> {
    let every = |net: &Net| match net {
        Net::V4(prefix) => prefix.length() == 0,
        Net::V6(prefix) => prefix.length() == 0,
    };
    let fitting = nots.into_iter().filter(|net| is(net) && !every(net));
    let test = |net| Test {
        what: asked(net),
        not: true,
    };
    fitting.map(test).collect()
}

/// With tests of its ends, where it says nothing else of them.
fn with_ends(addresses: Addresses, from: Vec<Net>, to: Vec<Net>) -> Vec<Test> {
    let v4 = |net: &Net| matches!(net, Net::V4(_));
    let v6 = |net: &Net| matches!(net, Net::V6(_));
    let none = |_: &Net| false;
    let pick = |length: u8, is: fn(&Net) -> bool| if length == 0 { is } else { none };
    let (source, destination) = match addresses {
        Addresses::Any | Addresses::Arp => (none as fn(&Net) -> bool, none as fn(&Net) -> bool),
        Addresses::V4 {
            source,
            destination,
        } => (pick(source.length(), v4), pick(destination.length(), v4)),
        Addresses::V6 {
            source,
            destination,
        } => (pick(source.length(), v6), pick(destination.length(), v6)),
    };
    let mut all = not_of(from, source, Asked::Source);
    all.extend(not_of(to, destination, Asked::Destination));
    all
}

pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let way = proptest::option::of(way());
    let what = (
        addresses().boxed(),
        transport().boxed(),
        conditions().boxed(),
    );
    // On the heap: together they are more than a test's stack holds.
    let tests = (tests().boxed(), limit().boxed());
    let nots = (nots().boxed(), nots().boxed(), header_nots().boxed());
    let further = (tests, nots, any::<bool>());
    (rule_action().boxed(), way, what, further).prop_map(
        |(
            action,
            way,
            (addresses, transport, conditions),
            ((mut tests, limit), (from, to, nots), keep),
        )| {
            let (action, log, sample) = action;
            tests.extend(limit);
            tests.extend(with_ends(addresses, from, to));
            tests.sort_unstable();
            tests.dedup();
            let rule = Rule {
                action,
                way,
                log,
                sample,
                addresses,
                transport,
                conditions: fitting(transport, conditions),
                tests,
                // Its text is another's language, and its program another's work.
                expression: None,
                keep_state: keep && action == Action::Pass && addresses != Addresses::Arp,
            };
            // ARP has none of the others.
            match addresses {
                Addresses::Arp => Rule {
                    transport: Transport::Any,
                    conditions: Conditions {
                        vlan: conditions.vlan,
                        ..Conditions::NONE
                    },
                    ..rule
                },
                Addresses::Any | Addresses::V4 { .. } | Addresses::V6 { .. } => {
                    let mut rule = rule;
                    rule.tests.extend(fitting_nots(&rule, nots));
                    rule.tests.sort_unstable();
                    rule.tests.dedup();
                    rule
                }
            }
        },
    )
}

pub(super) fn rule_set() -> impl Strategy<Value = RuleSet> {
    (action(), prop::collection::vec(rule().boxed(), 0..12))
        .prop_map(|(default, rules)| RuleSet { default, rules })
}

/// A packet as it can come out of [`super::dissect`].
pub(super) fn packet() -> impl Strategy<Value = Packet> {
    let ends = prop_oneof![
        (v4(), v4()).prop_map(|(from, to)| Ends::V4(from, to)),
        (v6(), v6()).prop_map(|(from, to)| Ends::V6(from, to)),
    ];
    let fragment = select(vec![
        None,
        None,
        Some(Fragment::First),
        Some(Fragment::Later),
    ]);
    // What the header of the protocol says: as bytes, of which fewer or more show.
    let header = (0..4usize, port(), port(), any::<u8>(), (0..4u8, 0..3u8));
    let ip = (
        ends,
        proptest::option::of(protocol()),
        fragment,
        dscp(),
        header,
    );
    let tag = proptest::option::of(vlan_id());
    let notes = (
        proptest::option::of(length()),
        proptest::option::of(mark()),
        proptest::option::of((mac(), mac())),
        proptest::option::of(interface()),
    );
    let link = (any::<bool>(), tag, notes);
    (way(), link, proptest::option::of(ip)).prop_map(|(way, (arp, vlan, notes), ip)| {
        let (length, mark, ether, interface) = notes;
        let nothing = Packet {
            arp: arp && ip.is_none(),
            vlan,
            length,
            mark,
            ether,
            interface,
            ..Packet::unknown(way)
        };
        let Some((ends, protocol, fragment, dscp, (shown, from, to, flags, icmp))) = ip else {
            return nothing;
        };
        let later = fragment == Some(Fragment::Later);
        let shows = |at: usize| !later && shown >= at;
        let is = |numbers: &[u8]| protocol.is_some_and(|Protocol(it)| numbers.contains(&it));
        let has_ports = protocol.is_some_and(|it| PortProtocol::try_from(it).is_ok());
        Packet {
            ends: Some(ends),
            protocol,
            ports: (has_ports && shows(1)).then_some((from, to)),
            tcp_flags: (is(&[6]) && shows(2)).then_some(flags),
            icmp: (is(&[1, 58]) && shows(1)).then_some(icmp),
            fragment,
            dscp: Some(dscp),
            ..nothing
        }
    })
}

/// A rule of a guard: without `log` and a sender.
pub(super) fn call_rule() -> impl Strategy<Value = Rule> {
    let way = select(vec![Way::Out, Way::Connect, Way::Sendmsg, Way::Bind]);
    (rule().boxed(), proptest::option::of(way)).prop_map(|(rule, way)| Rule {
        way,
        log: false,
        sample: 1,
        action: match rule.action {
            Action::Drop | Action::Reject(_) | Action::Redirect(_) => Action::Drop,
            Action::Pass | Action::Count | Action::Mark(_) => Action::Pass,
        },
        keep_state: false,
        conditions: Conditions::NONE,
        tests: Vec::new(),
        expression: None,
        addresses: match rule.addresses {
            Addresses::Any | Addresses::Arp => Addresses::Any,
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
            Transport::Tcp { .. } | Transport::Icmp(_) => Transport::Any,
            Transport::Any | Transport::Protocol(_) => rule.transport,
        },
    })
}
