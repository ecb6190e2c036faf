//! The answer to a packet that is rejected: the packet itself, made over and sent back.
//!
//! ```text
//! RST    link, addresses turned round | IP header | TCP header
//! ICMP   link, addresses turned round | IP header | ICMP header | of the packet: IP header, 20 bytes behind it
//! ```
//!
//! So an answer is as long for a large packet as for a small one, takes the packet's way back, and keeps its VLAN
//! tags. Its sender is who the packet was for. There is none, and the packet is dropped silently, where
//! RFC 1122 (3.2.2) and RFC 4443 (2.4) forbid one: to errors of ICMP and to redirects, to later fragments, to what went to or came
//! from more than one host; and to a RST (RFC 9293, 3.10.7).
//!
//! All is done by calls of helpers, and nothing by writing to the packet: a TC program that does has the kernel copy the
//! head of every packet that is shared, as all are that TCP sends.

use crate::{Flow, Packet, Refusal, abi::facts, branchless::below, headers::protocol};

/// A packet that can be made over. Whatever fails leaves a packet that must not go on.
pub(crate) trait MadeOver: Packet {
    /// Bytes of it.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Puts bytes in the place of others.
    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()>;

    /// Leaves so many bytes of it.
    fn cut(&mut self, length: usize) -> Option<()>;

    /// Makes room in front of it.
    fn grow(&mut self, bytes: usize) -> Option<()>;

    /// Whether the kernel has put off its checksum, and will sum up what is behind its first transport header. The two
    /// bytes at the offset are used up.
    fn is_summed_later(&mut self, _offset: usize) -> Option<bool> {
        Some(false)
    }
}

const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// How much is quoted behind the IP header, its options or extension headers: 8 bytes must be (RFC 792), and the checksum of
/// TCP is in 20.
const QUOTED: usize = 20;

/// How much is quoted at most: an IPv4 header with all options always fits, of IPv6 so many extension headers.
const MOST_QUOTED: usize = 100;

const TCP_LENGTH: usize = 20;
const ICMP_LENGTH: usize = 8;

/// Where the headers of a packet are.
#[derive(Clone, Copy)]
struct Place {
    v6: bool,
    ip: usize,
    transport: usize,
    /// How many bytes are there from the IP header on, by what it says.
    length: usize,
}

impl Place {
    /// The length of an IP header without options.
    const fn head(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }
}

/// Makes a packet over to the answer to itself; nothing if there must be none, or cannot.
#[inline(always)]
pub(crate) fn answer<P: MadeOver>(packet: &mut P, why: Refusal) -> Option<()> {
    let (_, ip) = packet.network()?;
    let flow = Flow::of(packet).ok()?;
    let transport = below::<1024>(flow.transport());
    // Where it is not known, the packet is no IP packet, a later fragment, or cut.
    if transport == 0 {
        return None;
    }
    let v6 = flow.facts() & facts::V6 != 0;
    let link: [u8; 12] = packet.load(0)?;
    if (link[0] | link[6]) & 1 != 0 {
        return None;
    }
    let said: [u8; 2] = packet.load(if v6 { ip + 4 } else { ip + 2 })?;
    let said = usize::from(u16::from_be_bytes(said));
    let length = if v6 { said + 40 } else { said };
    let place = Place {
        v6,
        ip,
        transport,
        length,
    };
    let protocol = flow.protocol()?;
    match (protocol, why) {
        (protocol::TCP, Refusal::Usual) => reset(packet, &place),
        (protocol::ICMP | protocol::ICMP6, _) if is_error(packet, &place)? => None,
        _ => error(packet, &place, protocol, why),
    }
}

/// Whether a message of ICMP must not be answered by an error: it is one itself, or a redirect, or not known.
#[inline(always)]
fn is_error<P: MadeOver>(packet: &P, place: &Place) -> Option<bool> {
    let [kind] = packet.load(place.transport)?;
    Some(if place.v6 {
        kind < 128 || kind == 137
    } else {
        matches!(kind, 3..=5 | 11 | 12 | 19..)
    })
}

/// Makes a segment over to a RST.
#[inline(always)]
fn reset<P: MadeOver>(packet: &mut P, place: &Place) -> Option<()> {
    let old: [u8; TCP_LENGTH] = packet.load(place.transport)?;
    let [
        a,
        b,
        c,
        d,
        s0,
        s1,
        s2,
        s3,
        a0,
        a1,
        a2,
        a3,
        length,
        flags,
        ..,
    ] = old;
    let header = usize::from(length >> 4) * 4;
    if flags & RST != 0 || header < TCP_LENGTH {
        return None;
    }
    let mut tcp = [0; TCP_LENGTH];
    [tcp[0], tcp[1], tcp[2], tcp[3]] = [c, d, a, b];
    tcp[12] = (TCP_LENGTH as u8 / 4) << 4;
    if flags & ACK != 0 {
        [tcp[4], tcp[5], tcp[6], tcp[7]] = [a0, a1, a2, a3];
        tcp[13] = RST;
    } else {
        let front = place.transport - place.ip + header;
        let data = if place.length > front {
            place.length - front
        } else {
            0
        };
        // SYN and FIN take a number each.
        let taken = data as u32 + u32::from(flags >> 1 & 1) + u32::from(flags & 1);
        let next = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(taken);
        [tcp[8], tcp[9], tcp[10], tcp[11]] = next.to_be_bytes();
        tcp[13] = RST | ACK;
    }
    let at = place.ip + place.head();
    packet.cut(at + TCP_LENGTH)?;
    let pseudo = head(packet, place, 0, (protocol::TCP, TCP_LENGTH))?;
    packet.store(at, &tcp)?;
    turn_round(packet, 0)?;
    let checksum = at + 16;
    // What is summed later begins with the sum of the pseudo header.
    let sum = if packet.is_summed_later(checksum)? {
        fold(pseudo)
    } else {
        !fold(pseudo + sum(&tcp))
    };
    packet.store(checksum, &sum.to_be_bytes())
}

/// Makes a packet over to an error of ICMP.
#[inline(always)]
fn error<P: MadeOver>(packet: &mut P, place: &Place, protocol: u8, why: Refusal) -> Option<()> {
    let front = place.transport - place.ip;
    let there = (packet.len() as usize).checked_sub(place.ip)?;
    // A length that ends within the headers is not meant: that of a very large segment is 0.
    let there = if place.length > front && place.length < there {
        place.length
    } else {
        there
    };
    let quoted = min(min(there, front + QUOTED), MOST_QUOTED) & !3;
    let added = place.head() + ICMP_LENGTH;
    packet.cut(place.ip + quoted)?;
    turn_round(packet, added)?;
    let (kind, number) = if place.v6 {
        (why.icmp6(), protocol::ICMP6)
    } else {
        (why.icmp(), protocol::ICMP)
    };
    let pseudo = head(packet, place, added, (number, ICMP_LENGTH + quoted))?;
    let at = place.ip + place.head();
    let [kind, code] = kind;
    packet.store(at, &[kind, code, 0, 0, 0, 0, 0, 0])?;
    let checksum = at + 2;
    if packet.is_summed_later(checksum)? {
        settle(
            packet,
            protocol,
            place.transport + added,
            at + ICMP_LENGTH + quoted,
        )?;
    }
    let mut all = if place.v6 { pseudo } else { 0 };
    all += sum(&[kind, code]) + sum_between(packet, at + ICMP_LENGTH, at + ICMP_LENGTH + quoted)?;
    packet.store(checksum, &(!fold(all)).to_be_bytes())
}

/// Makes room in front of a packet, and puts its link header there, with its addresses turned round and its tags. What
/// of its length is that of no tag is written over.
#[inline(always)]
fn turn_round<P: MadeOver>(packet: &mut P, added: usize) -> Option<()> {
    if added == 0 {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = packet.load(0)?;
        return packet.store(0, &[g, h, i, j, k, l, a, b, c, d, e, f]);
    }
    let link: [u8; 22] = packet.load(0)?;
    let mut turned = link;
    let mut index = 0;
    while index < 6 {
        turned[index] = link[index + 6];
        turned[index + 6] = link[index];
        index += 1;
    }
    packet.grow(added)?;
    packet.store(0, &turned)
}

/// Writes the IP header of the answer, by that of the packet, which lies so many bytes behind; and says the sum of the
/// pseudo header. Nothing if one of the addresses is not of one host.
#[inline(always)]
fn head<P: MadeOver>(
    packet: &mut P,
    place: &Place,
    behind: usize,
    (protocol, length): (u8, usize),
) -> Option<u64> {
    const HOPS: u8 = 64;
    let of_rest = length as u64 + u64::from(protocol);
    if place.v6 {
        let from: [u8; 16] = packet.load(place.ip + behind + 8)?;
        let to: [u8; 16] = packet.load(place.ip + behind + 24)?;
        if from[0] == 0xff || to[0] == 0xff || from == [0; 16] {
            return None;
        }
        let [high, low] = (length as u16).to_be_bytes();
        packet.store(place.ip, &[0x60, 0, 0, 0, high, low, protocol, HOPS])?;
        packet.store(place.ip + 8, &to)?;
        packet.store(place.ip + 24, &from)?;
        return Some(of_rest + sum(&from) + sum(&to));
    }
    let [a, b, c, d, e, f, g, h] = packet.load(place.ip + behind + 12)?;
    let is_one = |first| matches!(first, 1..=223);
    if !is_one(a) || !is_one(e) {
        return None;
    }
    let [high, low] = (length as u16 + 20).to_be_bytes();
    // Internetwork control (RFC 1812, 4.3.2.5), and not to be cut.
    let class = if protocol == protocol::TCP { 0 } else { 0xc0 };
    let front = [
        0x45, class, high, low, 0, 0, 0x40, 0, HOPS, protocol, 0, 0, e, f, g, h, a, b, c, d,
    ];
    packet.store(place.ip, &front)?;
    packet.store(place.ip + 10, &(!fold(sum(&front))).to_be_bytes())?;
    Some(of_rest + sum(&[a, b, c, d, e, f, g, h]))
}

/// Sees to it that what the kernel will sum up later within the quoted packet is what stands there already: the number
/// that is the checksum of all with itself. So the answer's own checksum is right whether or not that happens.
#[inline(always)]
fn settle<P: MadeOver>(packet: &mut P, protocol: u8, from: usize, end: usize) -> Option<()> {
    let field = match protocol {
        protocol::TCP => from + 16,
        protocol::UDP => from + 6,
        _ => return None,
    };
    packet.store(field, &[0, 0])?;
    let rest = sum_between(packet, from, end)?;
    // 2 * number + rest is 0 in the arithmetic of checksums, modulo 65,535, where 32,768 is a half.
    let number = (0xffff - u64::from(fold(rest))) * 0x8000;
    let number = match fold(number) {
        0 => u16::MAX,
        number => number,
    };
    packet.store(field, &number.to_be_bytes())
}

/// The sum of the bytes between two offsets, a multiple of four, [`MOST_QUOTED`] at most.
#[inline(always)]
fn sum_between<P: MadeOver>(packet: &P, from: usize, end: usize) -> Option<u64> {
    let mut all = 0;
    for index in 0..MOST_QUOTED / 4 {
        let at = from + index * 4;
        if at >= end {
            break;
        }
        all += sum(&packet.load::<4>(at)?);
    }
    Some(all)
}

/// The sum of bytes, of which there are an even number, in pairs.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8; N]) -> u64 {
    let mut all = 0;
    let mut index = 0;
    while index + 1 < N {
        all += u64::from(u16::from_be_bytes([bytes[index], bytes[index + 1]]));
        index += 2;
    }
    all
}

/// A sum in sixteen bits, as checksums have it (RFC 1071).
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[inline(always)]
const fn min(one: usize, other: usize) -> usize {
    if one < other { one } else { other }
}
