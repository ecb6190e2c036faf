//! What is read of a packet to find its flow: key, and what the packet does to it.
//!
//! A message of ICMP that quotes a packet is looked for as that packet: it is let through where the flow
//! is known, and changes nothing of it. It must go to where the quoted packet came from.
//!
//! Later fragments tell no ports and belong to no flow; so do packets that are cut, messages of
//! ICMP other than echo and errors, and what is not IP.

use super::{Event, Key, Kind, Mark, Ticks, seen::Seen};
use crate::{
    Flow, Packet,
    abi::{Subject, facts, field, states::KEY_WORDS},
    branchless::{below, forget},
    headers::{Echo, Ipv4, Ipv6, Ports, protocol},
    packet::Scratch,
};

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Probe {
    /// The flow.
    pub key: Key,
    /// The packet's length in the low half; [`Probe::FROM_HIGH`] and its kin above it.
    pub facts: u64,
    /// TCP's number of sequence in the low half, that which is acknowledged in the high one. If it is to be
    /// entered, for whom: as [`crate::abi::states::Entry::rule`].
    pub numbers: u64,
}

impl Probe {
    /// A bit of [`Probe::facts`]: the packet is from the key's second end.
    pub const FROM_HIGH: u64 = 1 << 32;
    /// A bit of [`Probe::facts`]: the packet is an error that quotes the flow.
    pub const QUOTED: u64 = 1 << 33;
    /// A bit of [`Probe::facts`]: the packet goes out.
    pub const OUT: u64 = 1 << 34;
    /// A bit of [`Probe::facts`]: the packet is a question of ICMP.
    pub const ASKS: u64 = 1 << 35;
    /// A bit of [`Probe::facts`]: the packet can be of a flow.
    pub const FLOW: u64 = 1 << 36;
    pub(super) const KIND_SHIFT: u32 = 40;
    pub(super) const EVENT_SHIFT: u32 = 48;

    /// What to look for where nothing can be found. (What the compiler knows to be zeros becomes a call of a function
    /// that fills bytes, one by one.)
    #[inline(always)]
    pub(super) fn nothing(noise: u64) -> Self {
        let nothing = forget(0, noise);
        Self {
            key: Key([nothing; KEY_WORDS]),
            facts: nothing,
            numbers: nothing,
        }
    }

    /// What to look for.
    #[inline(always)]
    #[must_use]
    pub fn of(packet: &impl Packet, flow: &Flow) -> Self {
        let facts = facts::direction(packet.direction());
        let mut probe = Self::nothing(facts);
        probe.read(packet, &Subject::of_flow(flow, facts));
        probe.sort();
        probe
    }

    /// Makes a probe of nothing one of a packet. (In place: a program's stack is short.)
    #[inline(always)]
    pub(super) fn read(&mut self, packet: &impl Packet, subject: &Subject) {
        let seen;
        (seen, self.numbers) = Seen::of(packet, subject);
        if seen.is_error() {
            self.read_quoted(packet, subject);
        } else {
            self.fill(packet, subject, seen);
        }
    }

    /// Puts the ends of its key in order, which are those of the packet till then.
    #[inline(always)]
    pub(super) fn sort(&mut self) {
        self.facts |= self.key.sort() * Self::FROM_HIGH;
    }

    /// The flow of a packet of which this was seen.
    #[inline(always)]
    fn fill(&mut self, packet: &impl Packet, subject: &Subject, Seen(seen): Seen) {
        if seen & Self::FLOW == 0 {
            return;
        }
        let known = subject.word(field::FACTS);
        // Ports of what has them, the identifier of echoes: each is 0 where the other is not.
        let echo = (seen & Seen::ECHO) as u16;
        let ports = subject.ports();
        let ports = (ports as u16 | echo, (ports >> 32) as u16 | echo);
        let protocol = (known >> facts::PROTOCOL_SHIFT) as u8;
        let is_v6 = known & facts::V6 != 0;
        let (source, destination) = (subject.source(), subject.destination());
        self.key.fill(source, destination, ports, protocol, is_v6);
        self.facts = (seen & !Seen::ECHO) | u64::from(packet.len());
    }

    /// What to look for where an error quotes a packet.
    #[inline(always)]
    fn read_quoted(&mut self, packet: &impl Packet, subject: &Subject) {
        let is_v6 = subject.word(field::FACTS) & facts::V6 != 0;
        let at = below::<1024>(subject.word(field::TRANSPORT) as usize);
        let scratch = &mut Scratch::uninit();
        let at = at + size_of::<Echo>();
        let (source, destination, protocol, behind);
        if is_v6 {
            let Some(ip) = packet.header_in::<Ipv6>(at, scratch) else {
                return;
            };
            if ip.version_class_label[0] >> 4 != 6 {
                return;
            }
            source = crate::flow::address_v6(&ip.source);
            destination = crate::flow::address_v6(&ip.destination);
            (protocol, behind) = (ip.next, at + size_of::<Ipv6>());
        } else {
            let Some(ip) = packet.header_in::<Ipv4>(at, scratch) else {
                return;
            };
            if ip.version_and_length >> 4 != 4 || ip.fragment.get() & 0x1fff != 0 {
                return;
            }
            source = crate::flow::address_v4(&ip.source);
            destination = crate::flow::address_v4(&ip.destination);
            let length = usize::from(ip.version_and_length & 0xf) * 4;
            (protocol, behind) = (ip.protocol, at + length);
        }
        if source != subject.destination() {
            return;
        }
        let Some(ports) = quoted_ports(packet, behind, protocol, is_v6, scratch) else {
            return;
        };
        self.key.fill(source, destination, ports, protocol, is_v6);
        self.facts = Self::FLOW | Self::QUOTED;
    }

    /// Whether there is anything to look for.
    #[inline(always)]
    #[must_use]
    pub const fn is_flow(&self) -> bool {
        self.facts & Self::FLOW != 0
    }

    /// The same, to be entered for a rule.
    #[inline(always)]
    pub const fn enter_for(&mut self, rule: u64) {
        self.numbers = rule;
    }

    /// Whether a packet like this makes an entry: the first of a connection, a question of ICMP,
    /// and whatever has neither.
    #[inline(always)]
    #[must_use]
    pub const fn begins(&self) -> bool {
        match self.kind() {
            Some(Kind::Tcp) => self.event().begins(),
            Some(Kind::Icmp) => self.facts & Self::ASKS != 0,
            Some(Kind::Udp | Kind::Other) => self.is_flow(),
            None => false,
        }
    }

    /// What kind of flow it is of.
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        Mark((self.facts >> Self::KIND_SHIFT & 0xff) << 24).kind()
    }

    /// What stands for its flow when it begins it.
    #[inline(always)]
    pub(super) const fn mark(&self, tag: u64, now: Ticks) -> Mark {
        let from_high = self.facts & Self::FROM_HIGH != 0;
        Mark::new(tag, self.facts >> Self::KIND_SHIFT, from_high, now)
    }

    /// What it does, but for what only who knows its flow can say.
    #[inline(always)]
    #[must_use]
    pub const fn event(&self) -> Event {
        Event((self.facts >> Self::EVENT_SHIFT) as u32)
    }

    /// Bytes of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.facts & u32::MAX as u64
    }
}

/// Whether a message of ICMP is a question or an answer of echo; nothing if it is neither.
#[inline(always)]
pub(super) const fn asks(is_v6: bool, kind: u8) -> Option<bool> {
    match (is_v6, kind) {
        (false, 8) | (true, 128) => Some(true),
        (false, 0) | (true, 129) => Some(false),
        _ => None,
    }
}

#[inline(always)]
fn quoted_ports(
    packet: &impl Packet,
    at: usize,
    protocol: u8,
    is_v6: bool,
    scratch: &mut Scratch,
) -> Option<(u16, u16)> {
    let at = below::<1024>(at);
    if protocol
        == if is_v6 {
            protocol::ICMP6
        } else {
            protocol::ICMP
        }
    {
        let echo = packet.header_in::<Echo>(at, scratch)?;
        asks(is_v6, echo.kind)?;
        return Some((echo.identifier.get(), echo.identifier.get()));
    }
    if !crate::flow::has_ports(protocol) {
        return Some((0, 0));
    }
    let ports = packet.header_in::<Ports>(at, scratch)?;
    Some((ports.source.get(), ports.destination.get()))
}
