//! Tests as the kernel side compares them, and back.
//!
//! What the words of a map say is read only if it is what this writes: anything else is no test.

use nke_ebpf::abi::{self, facts, field, limit};

use super::super::conditions::{Bits, Dscp, IcmpKind, TcpFlags, VlanId};
use super::super::encode;
use super::super::interface_name::InterfaceName;
use super::super::rate::Limit;
use super::super::rule::{Addresses, PortProtocol, Protocol};
use super::super::set::name_of;
use super::{Asked, LengthRange, Mac, Mark, Membership, Net, Side, Test};

impl Test {
    /// The kernel's form.
    pub(in crate::filter) fn encode(&self) -> abi::Test {
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
    pub(in crate::filter) fn decode(
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

impl Mark {
    /// The kernel's form of setting it.
    pub(in crate::filter) fn encode(self) -> abi::Test {
        let (value, mask) = (u64::from(self.value) << 32, u64::from(self.mask) << 32);
        abi::Test {
            kind: abi::Test::SET_MARK,
            ..word(field::MARK, value, mask)
        }
    }

    /// The mark of which this is the kernel's form.
    pub(in crate::filter) fn decode(test: &abi::Test) -> Option<Self> {
        let half = |word: u64| u32::try_from(word >> 32).ok();
        let mark = Self::new(half(test.first[0])?, half(test.second[0])?)?;
        (mark.encode() == *test).then_some(mark)
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
