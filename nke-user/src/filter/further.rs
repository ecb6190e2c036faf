//! What a rule asks beside its own fields: tests, which are looked at where all else matches.
//!
//! ```
//! use nke::filter::{Asked, LengthRange, Rule, Test};
//!
//! let rule = "drop proto udp from not 10.0.0.0/8 length 1400-65535".parse::<Rule>()?;
//! let [source, length] = rule.tests.as_slice() else { panic!() };
//! assert!(source.not && matches!(source.what, Asked::Source(_)));
//! assert_eq!(length.what, Asked::Length(LengthRange::new(1400, 65535).unwrap()));
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! Tests of a rule stand in the order of their type, each once: rules that are equal ask the same.
//! What a packet has not got fails every test about it, whether it says `not` or not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nke_ebpf::abi::{self, facts, field, limit};

use super::conditions::{self, Bits, Dscp, IcmpKind, TcpFlags, VlanId};
use super::dissect::{Ends, Packet};
use super::encode;
use super::interface_name::InterfaceName;
use super::known::KnownSets;
use super::rate::Limit;
use super::rule::{Addresses, PortProtocol, Prefix, Protocol, Rule};
use super::set::{SetName, name_of};

/// One thing that a rule asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Test {
    /// What it is about.
    pub what: Asked,
    /// Whether it must be otherwise.
    pub not: bool,
}

/// What a packet must be, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asked {
    /// It carries this.
    Protocol(Protocol),
    /// Its sender is one of these.
    Source(Net),
    /// Its receiver is one of these.
    Destination(Net),
    /// The flags of its TCP segment are so.
    Flags(TcpFlags),
    /// Its message of ICMP is of this kind.
    Icmp(IcmpKind),
    /// It has this code point.
    Dscp(Dscp),
    /// It has the tag of this network.
    Vlan(VlanId),
    /// It is in a named set.
    In(Membership),
    /// It has so many bytes from its IP header on; without one, behind its link header and tags.
    Length(LengthRange),
    /// It has this mark, which the kernel keeps with it.
    Mark(Mark),
    /// Its frame comes from there.
    EtherFrom(Mac),
    /// Its frame goes there.
    EtherTo(Mac),
    /// It comes in by this interface, or goes out by it if it only goes out.
    On(InterfaceName),
    /// No more comes by than so much; all else fits. It is the last test.
    Limit(Limit),
}

/// The mark of a packet, and which of its bits are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Mark {
    /// These bits where the mask has ones; others do not count. Nothing if none is looked at.
    #[must_use]
    pub fn new(value: u32, mask: u32) -> Option<Self> {
        let value = value & mask;
        (mask != 0).then_some(Self { value, mask })
    }

    /// The mark with these bits in the place of its own.
    #[must_use]
    pub const fn set(self, mark: u32) -> u32 {
        mark & !self.mask | self.value
    }

    /// The kernel's form of setting it.
    pub(super) fn encode(self) -> abi::Test {
        let (value, mask) = (u64::from(self.value) << 32, u64::from(self.mask) << 32);
        abi::Test {
            kind: abi::Test::SET_MARK,
            ..word(field::MARK, value, mask)
        }
    }

    /// The mark of which this is the kernel's form.
    pub(super) fn decode(test: &abi::Test) -> Option<Self> {
        let half = |word: u64| u32::try_from(word >> 32).ok();
        let mark = Self::new(half(test.first[0])?, half(test.second[0])?)?;
        (mark.encode() == *test).then_some(mark)
    }

    /// Whether a mark is so.
    #[must_use]
    pub const fn is(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}

/// The address of an interface on its link, as it stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address, as `02:00:00:00:00:01` says it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next()?;
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            *octet = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
        }
        parts.next().is_none().then_some(Self(octets))
    }

    /// As the kernel side compares it: the first byte highest.
    pub(super) const fn word(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn of_word(word: u64) -> Self {
        let [_, _, octets @ ..] = word.to_be_bytes();
        Self(octets)
    }
}

/// A side of a packet in a named set: its address, with its port if that is what the set has; or its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Membership {
    /// Which side.
    pub side: Side,
    /// Whether its port alone is meant.
    pub port: bool,
    /// The set.
    pub set: SetName,
}

/// The sender or the receiver of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// A prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Net {
    /// Of IPv4.
    V4(Prefix<Ipv4Addr>),
    /// Of IPv6.
    V6(Prefix<Ipv6Addr>),
}

/// Lengths of packets from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LengthRange {
    first: u32,
    last: u32,
}

impl LengthRange {
    /// The lengths between two, those included. Nothing if they stand in the wrong order.
    #[must_use]
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Whether a length is one of these.
    #[must_use]
    pub const fn contains(&self, length: u32) -> bool {
        self.first <= length && length <= self.last
    }
}

impl Net {
    /// Whether an address is one of these.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(prefix), IpAddr::V4(address)) => prefix.contains(address),
            (Self::V6(prefix), IpAddr::V6(address)) => prefix.contains(address),
            (Self::V4(_), IpAddr::V6(_)) | (Self::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Asked {
    /// Whether a packet is so; nothing where it has not got what is asked for.
    fn holds(&self, packet: &Packet, known: &KnownSets) -> Option<bool> {
        let (source, destination) = ends(packet).unzip();
        match self {
            Self::Protocol(protocol) => Some(packet.protocol? == *protocol),
            Self::In(membership) => known.has(membership, packet),
            Self::Source(net) => Some(net.contains(source?)),
            Self::Destination(net) => Some(net.contains(destination?)),
            Self::Flags(flags) => Some(flags.hold(packet.tcp_flags?)),
            Self::Icmp(wanted) => {
                let (kind, code) = packet.icmp?;
                Some(wanted.is(kind, code))
            }
            Self::Dscp(dscp) => Some(packet.dscp? == *dscp),
            Self::Vlan(id) => Some(packet.vlan? == *id),
            Self::Length(range) => Some(range.contains(packet.length?)),
            Self::Mark(mark) => Some(mark.is(packet.mark?)),
            Self::EtherFrom(mac) => Some(packet.ether?.0 == *mac),
            Self::EtherTo(mac) => Some(packet.ether?.1 == *mac),
            Self::On(name) => Some(packet.interface? == *name),
            // Nobody knows what else comes by: it is taken for the first.
            Self::Limit(_) => Some(true),
        }
    }

    /// What a packet has of it, in the words of the language.
    pub(super) fn found(&self, packet: &Packet) -> Option<String> {
        let (source, destination) = ends(packet).unzip();
        match self {
            Self::Protocol(_) => packet.protocol.map(|it| it.to_string()),
            Self::In(Membership { side, port, set: _ }) => {
                let ports = packet.ports.unzip();
                let (address, own) = match side {
                    Side::Source => (source, ports.0),
                    Side::Destination => (destination, ports.1),
                };
                match port {
                    true => own.map(|it| it.to_string()),
                    false => address.map(|it| it.to_string()),
                }
            }
            Self::Source(_) => source.map(|it| it.to_string()),
            Self::Destination(_) => destination.map(|it| it.to_string()),
            Self::Flags(_) => packet.tcp_flags.map(conditions::letters),
            Self::Icmp(IcmpKind { v6, .. }) => packet.icmp.map(|(kind, code)| {
                let kind = IcmpKind {
                    v6: *v6,
                    kind,
                    code: Some(code),
                };
                kind.to_string()
            }),
            Self::Dscp(_) => packet.dscp.map(|it| it.to_string()),
            Self::Vlan(_) => packet.vlan.map(|it| it.number().to_string()),
            Self::Length(_) => packet.length.map(|it| it.to_string()),
            Self::Mark(_) => packet.mark.map(|it| format!("{it:#x}")),
            Self::EtherFrom(_) => packet.ether.map(|(from, _)| from.to_string()),
            Self::EtherTo(_) => packet.ether.map(|(_, to)| to.to_string()),
            Self::On(_) => packet.interface.map(|it| it.to_string()),
            Self::Limit(_) => Some("within".to_owned()),
        }
    }

    /// What it is about.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "protocol",
            Self::In(Membership { side, port, set: _ }) => match (side, port) {
                (Side::Source, false) => "source address",
                (Side::Destination, false) => "destination address",
                (Side::Source, true) => "source port",
                (Side::Destination, true) => "destination port",
            },
            Self::Source(_) => "source address",
            Self::Destination(_) => "destination address",
            Self::Flags(_) => "flags",
            Self::Icmp(_) => "type",
            Self::Dscp(_) => "dscp",
            Self::Vlan(_) => "vlan",
            Self::Length(_) => "length",
            Self::Mark(_) => "mark",
            Self::EtherFrom(_) => "source of the frame",
            Self::EtherTo(_) => "destination of the frame",
            Self::On(_) => "interface",
            Self::Limit(_) => "limit",
        }
    }

    /// What must be known of a packet, or it is not asked: [`facts`].
    pub(super) const fn demands(&self) -> u64 {
        match self {
            Self::Protocol(_) => facts::PROTOCOL,
            Self::Flags(_) | Self::Icmp(_) => facts::DETAIL,
            Self::Dscp(_) => facts::DSCP,
            Self::Vlan(_) => facts::TAGGED,
            Self::Source(_)
            | Self::Destination(_)
            | Self::In(_)
            | Self::Length(_)
            | Self::Mark(_)
            | Self::EtherFrom(_)
            | Self::EtherTo(_)
            | Self::On(_)
            | Self::Limit(_) => 0,
        }
    }

    /// The words of it that stand behind a rule's ends, but for what it must be; nothing if it is
    /// said elsewhere.
    pub(super) const fn option(&self) -> Option<&'static str> {
        match self {
            Self::Flags(_) => Some("flags"),
            Self::Icmp(IcmpKind { v6: false, .. }) => Some("icmp-type"),
            Self::Icmp(IcmpKind { v6: true, .. }) => Some("icmp6-type"),
            Self::Dscp(_) => Some("dscp"),
            Self::Vlan(_) => Some("vlan"),
            Self::Protocol(_)
            | Self::Source(_)
            | Self::Destination(_)
            | Self::In(_)
            | Self::On(_) => None,
            Self::Length(_) => Some("length"),
            Self::Mark(_) => Some("mark"),
            Self::EtherFrom(_) => Some("ether from"),
            Self::EtherTo(_) => Some("ether to"),
            Self::Limit(_) => Some("limit"),
        }
    }
}

fn ends(packet: &Packet) -> Option<(IpAddr, IpAddr)> {
    packet.ends.map(|ends| match ends {
        Ends::V4(from, to) => (from.into(), to.into()),
        Ends::V6(from, to) => (from.into(), to.into()),
    })
}

impl Test {
    /// That a packet is not so.
    pub(super) const fn not(what: Asked) -> Self {
        Self { what, not: true }
    }

    /// Whether a packet passes it. Of sets that are not known, none does.
    #[must_use]
    pub fn holds(&self, packet: &Packet, known: &KnownSets) -> bool {
        let Self { what, not } = self;
        what.holds(packet, known).is_some_and(|holds| holds != *not)
    }

    /// The kernel's form.
    pub(super) fn encode(&self) -> abi::Test {
        let Self { what, not } = self;
        let encoded = match what {
            Asked::Protocol(Protocol(number)) => {
                let bits = u64::from(*number) << facts::PROTOCOL_SHIFT;
                word(field::FACTS, bits, facts::PROTOCOL_MASK)
            }
            Asked::Flags(flags) => facts_of(flags.bits(), facts::DETAIL_MASK),
            Asked::Icmp(kind) => facts_of(kind.bits(), facts::DETAIL_MASK),
            Asked::Dscp(dscp) => {
                let bits = u64::from(dscp.number()) << facts::DSCP_SHIFT;
                word(field::FACTS, bits, facts::DSCP_MASK)
            }
            Asked::Vlan(id) => {
                let bits = u64::from(id.number()) << facts::VLAN_SHIFT;
                word(field::FACTS, bits, facts::VLAN_MASK)
            }
            Asked::Mark(Mark { value, mask }) => {
                word(field::MARK, u64::from(*value) << 32, u64::from(*mask) << 32)
            }
            Asked::EtherFrom(mac) => word(field::ETHER_FROM, mac.word(), u64::MAX),
            Asked::EtherTo(mac) => word(field::ETHER_TO, mac.word(), u64::MAX),
            Asked::On(name) => name.encode(),
            Asked::In(Membership { side, port, set }) => {
                abi::Test::member(side.field(), set.to_words(), *port)
            }
            Asked::Limit(limit) => limit.encode(),
            Asked::Source(net) => address(field::SOURCE, net),
            Asked::Destination(net) => address(field::DESTINATION, net),
            Asked::Length(LengthRange { first, last }) => {
                abi::Test::range(field::LENGTH, *first, *last)
            }
        };
        abi::Test {
            not: u16::from(*not),
            ..encoded
        }
    }

    /// The test of a rule with these addresses and this protocol of which this is the kernel's form;
    /// nothing if it is of none.
    pub(super) fn decode(
        encoded: &abi::Test,
        addresses: &Addresses,
        protocol: Option<Protocol>,
    ) -> Option<Self> {
        let halves = |word: u64| u32::try_from(word >> 32).ok();
        let what = match (encoded.kind, encoded.field) {
            (abi::Test::MASKED, field::FACTS) => of_facts(encoded, protocol)?,
            (abi::Test::MASKED, field::MARK) => Asked::Mark(Mark::new(
                halves(encoded.first[0])?,
                halves(encoded.second[0])?,
            )?),
            (abi::Test::MASKED, field::ETHER_FROM) => {
                Asked::EtherFrom(Mac::of_word(encoded.first[0]))
            }
            (abi::Test::MASKED, field::ETHER_TO) => Asked::EtherTo(Mac::of_word(encoded.first[0])),
            (abi::Test::MASKED, field::SOURCE) => Asked::Source(net(encoded, addresses)?),
            (abi::Test::MASKED, field::DESTINATION) => Asked::Destination(net(encoded, addresses)?),
            (abi::Test::MASKED, field::INTERFACE) => Asked::On(InterfaceName::decode(encoded)?),
            (abi::Test::IN, field) => {
                let [a, b] = encoded.first;
                let [c, d] = encoded.second;
                Asked::In(Membership {
                    side: Side::of(field)?,
                    port: encoded.more[0] != 0,
                    set: name_of(&[a, b, c, d])?,
                })
            }
            (abi::Test::LIMIT | abi::Test::LIMIT_PER_SOURCE, 0) => {
                Asked::Limit(Limit::decode(encoded)?)
            }
            (abi::Test::RANGE, field::LENGTH) => {
                let [first, last] = [encoded.first[0], encoded.second[0]].map(u32::try_from);
                Asked::Length(LengthRange::new(first.ok()?, last.ok()?)?)
            }
            _ => return None,
        };
        let not = encoded.not != 0;
        let test = Self { what, not };
        // Where a set lies, it is found by its name, and an interface's index too; where a limit counts is another's
        // to say.
        let mut again = abi::Test {
            slot: encoded.slot,
            ..test.encode()
        };
        if matches!(what, Asked::Limit(_)) {
            again.more[limit::WORD] = encoded.more[limit::WORD];
        }
        if matches!(what, Asked::On(_)) {
            again.first[0] = encoded.first[0];
        }
        (again == *encoded).then_some(test)
    }
}

/// One word.
const fn word(field: u16, value: u64, mask: u64) -> abi::Test {
    abi::Test::masked(field, [value, 0], [mask, 0])
}

/// Some of the facts' bits.
const fn facts_of(bits: Bits, mask: u64) -> abi::Test {
    word(field::FACTS, bits.value & mask, bits.mask & mask)
}

/// What the facts must be, of a rule about this protocol.
fn of_facts(encoded: &abi::Test, protocol: Option<Protocol>) -> Option<Asked> {
    let (value, mask) = (encoded.first[0], encoded.second[0]);
    let bits = Bits { mask, value };
    let number = |mask: u64| u16::try_from((value & mask) >> mask.trailing_zeros()).ok();
    let small = |mask: u64| number(mask).and_then(|number| u8::try_from(number).ok());
    match mask {
        facts::PROTOCOL_MASK => Some(Asked::Protocol(Protocol(small(mask)?))),
        facts::DSCP_MASK => Dscp::new(small(mask)?).map(Asked::Dscp),
        facts::VLAN_MASK => VlanId::new(number(mask)?).map(Asked::Vlan),
        _ if protocol == Some(PortProtocol::Tcp.protocol()) => {
            TcpFlags::of_bits(bits).map(Asked::Flags)
        }
        _ => Some(Asked::Icmp(IcmpKind::of_bits(
            protocol == Some(Protocol(58)),
            bits,
        ))),
    }
}

fn address(field: u16, net: &Net) -> abi::Test {
    let (value, mask) = match net {
        Net::V4(prefix) => encode::words_v4(prefix),
        Net::V6(prefix) => encode::words_v6(prefix),
    };
    abi::Test::masked(field, value, mask)
}

/// The prefix, which is of the rule's family.
fn net(encoded: &abi::Test, addresses: &Addresses) -> Option<Net> {
    let words = (encoded.first, encoded.second);
    match addresses {
        Addresses::V4 { .. } => encode::prefix_v4(words).map(Net::V4),
        Addresses::V6 { .. } => encode::prefix_v6(words).map(Net::V6),
        Addresses::Any | Addresses::Arp => None,
    }
}

/// The things that tests of a rule say of what `is` picks, as they are listed: one, or in braces. Each
/// has the same `not`.
pub(super) struct List<'a> {
    pub(super) not: bool,
    pub(super) all: Vec<&'a Asked>,
}

impl<'a> List<'a> {
    /// Nothing where no test is of that kind.
    pub(super) fn of(rule: &'a Rule, is: impl Fn(&Asked) -> bool) -> Option<Self> {
        Self::of_tests(&rule.tests, is)
    }

    /// The same of some tests.
    pub(super) fn of_tests(tests: &'a [Test], is: impl Fn(&Asked) -> bool) -> Option<Self> {
        let tests = tests.iter().filter(|test| is(&test.what));
        let not = tests.clone().next()?.not;
        let all = tests.map(|test| &test.what).collect();
        Some(Self { not, all })
    }
}

/// What tests say behind a rule's ends, each with a blank in front.
pub(super) fn fmt_options(tests: &[Test], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut said = Vec::new();
    for word in tests.iter().filter_map(|test| test.what.option()) {
        if said.contains(&word) {
            continue;
        }
        said.push(word);
        if let Some(list) = List::of_tests(tests, |asked| asked.option() == Some(word)) {
            write!(f, " {word}{list}")?;
        }
    }
    Ok(())
}

impl fmt::Display for List<'_> {
    /// With a blank in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not, all } = self;
        if *not {
            let limit = all.iter().any(|asked| matches!(asked, Asked::Limit(_)));
            f.write_str(if limit { " over" } else { " not" })?;
        }
        if let [one] = all.as_slice() {
            return write!(f, " {one}");
        }
        for (index, one) in all.iter().enumerate() {
            write!(f, "{}{one}", if index == 0 { " { " } else { ", " })?;
        }
        f.write_str(" }")
    }
}

impl Side {
    const fn field(self) -> u16 {
        match self {
            Self::Source => field::SOURCE,
            Self::Destination => field::DESTINATION,
        }
    }

    const fn of(field: u16) -> Option<Self> {
        match field {
            field::SOURCE => Some(Self::Source),
            field::DESTINATION => Some(Self::Destination),
            _ => None,
        }
    }
}

impl Rule {
    /// What it asks of named sets.
    pub fn memberships(&self) -> impl Iterator<Item = &Membership> {
        self.tests.iter().filter_map(|test| match &test.what {
            Asked::In(membership) => Some(membership),
            Asked::Protocol(_)
            | Asked::Source(_)
            | Asked::Destination(_)
            | Asked::Flags(_)
            | Asked::Icmp(_)
            | Asked::Dscp(_)
            | Asked::Vlan(_)
            | Asked::Length(_)
            | Asked::Mark(_)
            | Asked::EtherFrom(_)
            | Asked::EtherTo(_)
            | Asked::On(_)
            | Asked::Limit(_) => None,
        })
    }

    /// The interfaces that it asks for.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = InterfaceName> {
        self.tests.iter().filter_map(|test| match test.what {
            Asked::On(name) => Some(name),
            Asked::Protocol(_)
            | Asked::Source(_)
            | Asked::Destination(_)
            | Asked::Flags(_)
            | Asked::Icmp(_)
            | Asked::Dscp(_)
            | Asked::Vlan(_)
            | Asked::Length(_)
            | Asked::Mark(_)
            | Asked::EtherFrom(_)
            | Asked::EtherTo(_)
            | Asked::In(_)
            | Asked::Limit(_) => None,
        })
    }
}

impl fmt::Display for Asked {
    /// What it must be, without the words that say of what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(Membership { set, .. }) => write!(f, "@{set}"),
            Self::Source(net) | Self::Destination(net) => match net {
                Net::V4(prefix) => prefix.fmt(f),
                Net::V6(prefix) => prefix.fmt(f),
            },
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Flags(flags) => flags.fmt(f),
            Self::Icmp(kind) => kind.fmt(f),
            Self::Dscp(dscp) => dscp.fmt(f),
            Self::Vlan(id) => id.number().fmt(f),
            Self::Length(range) => range.fmt(f),
            Self::Mark(mark) => mark.fmt(f),
            Self::EtherFrom(mac) | Self::EtherTo(mac) => mac.fmt(f),
            Self::On(name) => name.fmt(f),
            Self::Limit(limit) => limit.fmt(f),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, mask } = self;
        write!(f, "{value:#x}")?;
        if *mask == u32::MAX {
            return Ok(());
        }
        write!(f, "/{mask:#x}")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for LengthRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}
