//! What of a packet a flow asks for beside addresses and ports.
//!
//! Nothing here looks behind the protocol's own header.

use super::{Kind, Probe, probe::asks};
use crate::{
    Packet,
    abi::{Subject, facts, field},
    branchless::{at, below},
    headers::{Echo, Header, Segment, protocol},
    packet::Scratch,
};

/// As [`Probe::facts`], but with the identifier of an echo in the place of the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(pub u64);

impl Seen {
    /// Nothing.
    pub const NOTHING: Self = Self(0);
    /// The identifier of an echo.
    pub(super) const ECHO: u64 = 0xffff;
    /// The packet is an error of ICMP.
    const ERROR: u64 = 1 << 37;

    /// Whether the packet is an error of ICMP, which quotes another.
    #[inline(always)]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 & Self::ERROR != 0
    }

    /// What a packet has, and TCP's numbers: [`Probe::numbers`].
    #[inline(always)]
    #[must_use]
    pub fn of(packet: &impl Packet, subject: &Subject) -> (Self, u64) {
        let nothing = (Self::NOTHING, 0);
        let known = subject.word(field::FACTS);
        if known & facts::PROTOCOL == 0 {
            return nothing;
        }
        let offset = below::<1024>(subject.word(field::TRANSPORT) as usize);
        let mut scratch = Scratch::uninit();
        let (mut seen, mut numbers) = (0, 0);
        let kind = match (known >> facts::PROTOCOL_SHIFT) as u8 {
            protocol::TCP => {
                let Some(segment) = header::<Segment>(packet, offset, &mut scratch) else {
                    return nothing;
                };
                seen = u64::from(event(segment.flags)) << Probe::EVENT_SHIFT;
                // One load: first the number of sequence.
                numbers = u64::from_be(at::<4, 8, _>(segment)).rotate_left(32);
                Kind::Tcp
            }
            protocol @ (protocol::ICMP | protocol::ICMP6) => {
                let is_v6 = protocol == protocol::ICMP6;
                let Some(echo) = header::<Echo>(packet, offset, &mut scratch) else {
                    return nothing;
                };
                if is_error(is_v6, echo.kind) {
                    return (Self(Self::ERROR), 0);
                }
                let Some(asks) = asks(is_v6, echo.kind) else {
                    return nothing;
                };
                seen = u64::from(echo.identifier.get());
                if asks {
                    seen |= Probe::ASKS;
                }
                Kind::Icmp
            }
            _ if known & facts::PORTS != 0 => Kind::Udp,
            protocol if crate::flow::has_ports(protocol) => return nothing,
            _ => Kind::Other,
        };
        seen |= Probe::FLOW | (kind as u64) << Probe::KIND_SHIFT;
        if known & facts::IN == 0 {
            seen |= Probe::OUT;
        }
        (Self(seen), numbers)
    }
}

/// The flags as bits of an [`Event`](super::Event).
#[inline(always)]
const fn event(flags: u8) -> u32 {
    // FIN, SYN and RST lie next to each other in both.
    let low = (flags as u32 & 7) << 1;
    low | (flags as u32 & 16)
}

/// A header of the protocol's own, if that begins anywhere.
#[inline(always)]
fn header<'a, T: Header>(
    packet: &'a impl Packet,
    at: usize,
    scratch: &'a mut Scratch,
) -> Option<&'a T> {
    if at == 0 {
        return None;
    }
    packet.header_in(at, scratch)
}

/// Whether a message of ICMP quotes the packet that it is about: unreachable, too big, time
/// exceeded, wrong parameters.
#[inline(always)]
const fn is_error(is_v6: bool, kind: u8) -> bool {
    if is_v6 {
        matches!(kind, 1..=4)
    } else {
        matches!(kind, 3 | 11 | 12)
    }
}
