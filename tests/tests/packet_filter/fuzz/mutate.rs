//! Packets spoilt in the ways of those who want to get past a filter: lengths that lie, chains of
//! headers, fragments, tags, flags; and bits that fall over.
//!
//! Whatever is done to it, what comes out is bytes. Where they stand in the headers is found out
//! anew before each step, so that one step builds upon another.

use std::net::IpAddr;

use nke_tests::Dice;

use crate::any::{PORTS, PROTOCOLS, V4, V6};

/// Bytes at which counters turn over and lengths begin to lie.
const EDGES: [u8; 12] = [0, 1, 4, 5, 6, 0x0f, 0x40, 0x45, 0x60, 0x7f, 0x80, 0xff];

/// Kinds of what a frame carries: those that are read, and neighbours.
const KINDS: [u16; 10] = [
    0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x9100, 0x8847, 0x8864, 0x05dc, 0,
];

/// What IPv6 puts between its header and the rest, and what is next to that in the list of
/// numbers.
const EXTENSIONS: [u8; 9] = [0, 43, 44, 51, 60, 50, 59, 135, 139];

/// The longest that a test run takes.
pub(crate) const LONGEST: usize = 3000;

/// Where the headers of a packet begin, as far as there are any.
struct Layers {
    /// The last ethertype.
    kind: usize,
    /// Of IP, whether it is of version 6.
    ip: Option<(usize, bool)>,
    /// Of what IP carries, and its number.
    inner: Option<(usize, u8)>,
}

impl Layers {
    fn of(bytes: &[u8]) -> Self {
        let two = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let mut kind = 12;
        while matches!(two(kind), Some(0x8100 | 0x88a8)) {
            kind += 4;
        }
        let start = kind + 2;
        let ip = match two(kind) {
            Some(0x0800) if bytes.len() >= start + 20 => Some((start, false)),
            Some(0x86dd) if bytes.len() >= start + 40 => Some((start, true)),
            _ => None,
        };
        let inner = ip.map(|(start, v6)| {
            if v6 {
                (start + 40, bytes[start + 6])
            } else {
                (start + usize::from(bytes[start] & 15) * 4, bytes[start + 9])
            }
        });
        Self { kind, ip, inner }
    }
}

/// A packet of the corpus, spoilt a few times.
pub(crate) fn spoilt(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    // Among the addresses of the rules, or they would hardly ever meet.
    if dice.once_in(2) {
        addresses(dice, &mut bytes);
    }
    for _ in 0..dice.pick(&[0, 1, 1, 2, 2, 3, 5]) {
        spoil(dice, &mut bytes, corpus);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn spoil(dice: &mut Dice, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    match dice.below(16) {
        0 => cut(dice, bytes),
        1 => tags(dice, bytes),
        2 => {
            let at = Layers::of(bytes).kind;
            put(bytes, at, &dice.pick(&KINDS).to_be_bytes());
        }
        3 => addresses(dice, bytes),
        4 | 5 => ip_header(dice, bytes),
        6 => between(dice, bytes),
        7 => chain(dice, bytes),
        8 => fragment(dice, bytes),
        9 | 10 => inner(dice, bytes),
        11 => {
            let at = dice.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        12 => {
            let (at, edge) = (dice.below(bytes.len().max(1)), dice.pick(&EDGES));
            put(bytes, at, &[edge]);
        }
        13 => {
            let (from, to) = range(dice, bytes);
            bytes.drain(from..to);
        }
        14 => {
            let (from, to) = range(dice, bytes);
            let copy = bytes[from..to].to_vec();
            bytes.splice(to..to, copy);
        }
        _ => {
            // The end of another, somewhere.
            let other = &corpus[dice.below(corpus.len())];
            let (at, from) = (dice.below(bytes.len() + 1), dice.below(other.len() + 1));
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
}

/// Writes bytes, as far as there are any to be written over.
fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(what) {
        *byte = *new;
    }
}

fn range(dice: &mut Dice, bytes: &[u8]) -> (usize, usize) {
    let from = dice.below(bytes.len() + 1);
    (from, (from + dice.below(24)).min(bytes.len()))
}

/// Ends it anywhere, or just where a header ends, or beside that.
fn cut(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let layers = Layers::of(bytes);
    let mut ends = vec![layers.kind + 2, 22, dice.below(bytes.len() + 1)];
    ends.extend(
        layers
            .ip
            .map(|(start, v6)| start + if v6 { 40 } else { 20 }),
    );
    ends.extend(
        layers
            .inner
            .map(|(start, _)| start + dice.pick(&[0, 2, 4, 8, 14, 20])),
    );
    let end = (dice.pick(&ends) + dice.below(3)).saturating_sub(1);
    bytes.truncate(end);
}

/// Puts tags in front, or takes one away.
fn tags(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if bytes.len() < 14 {
        return;
    }
    if dice.once_in(4) && bytes.len() > 18 {
        bytes.drain(12..16);
        return;
    }
    for _ in 0..dice.pick(&[1, 1, 2, 3, 4]) {
        let kind = dice
            .pick(&[0x8100u16, 0x8100, 0x88a8, 0x9100])
            .to_be_bytes();
        let id = dice.pick(&[0u16, 1, 2, 0x7001, 0xf002, 4095]).to_be_bytes();
        bytes.splice(12..12, [kind, id].concat());
    }
}

fn addresses(dice: &mut Dice, bytes: &mut [u8]) {
    match Layers::of(bytes).ip {
        Some((start, false)) => {
            for at in [start + 12, start + 16] {
                let address: std::net::Ipv4Addr = dice.pick(&V4).parse().expect("an address");
                put(bytes, at, &address.octets());
            }
        }
        Some((start, true)) => {
            for at in [start + 8, start + 24] {
                let address: std::net::Ipv6Addr = dice.pick(&V6).parse().expect("an address");
                put(bytes, at, &address.octets());
            }
        }
        None => {}
    }
}

/// Has a packet come from this address, or go there, if it is of that family.
pub(crate) fn meet(dice: &mut Dice, bytes: &mut [u8], address: IpAddr) {
    let second = dice.below(2);
    match (Layers::of(bytes).ip, address) {
        (Some((start, false)), IpAddr::V4(address)) => {
            put(bytes, start + 12 + second * 4, &address.octets());
        }
        (Some((start, true)), IpAddr::V6(address)) => {
            put(bytes, start + 8 + second * 16, &address.octets());
        }
        (Some(_) | None, _) => {}
    }
}

/// A field of the IP header, to a value at an edge.
fn ip_header(dice: &mut Dice, bytes: &mut [u8]) {
    let Some((start, v6)) = Layers::of(bytes).ip else {
        return;
    };
    let edge = dice.pick(&EDGES);
    let protocol = dice.pick(&PROTOCOLS);
    match (v6, dice.below(6)) {
        // Version and length of the header.
        (false, 0) => put(
            bytes,
            start,
            &[dice.pick(&[0x44, 0x45, 0x46, 0x4f, 0x55, 0x65, 0x40])],
        ),
        (true, 0) => put(bytes, start, &[dice.pick(&[0x60, 0x6b, 0x40, 0x50, 0xf0])]),
        // The code point.
        (false, 1) => put(
            bytes,
            start + 1,
            &[dice.pick(&[0, 0xb8, 0xbb, 0x04, 0x80, 0xff])],
        ),
        (true, 1) => put(bytes, start + 1, &[dice.pick(&[0, 0x80, 0x40, 0xf0])]),
        // How long it says it is.
        (false, 2) => put(bytes, start + 2, &[0, edge]),
        (true, 2) => put(bytes, start + 4, &[0, edge]),
        (false, 3) => put(bytes, start + 9, &[edge]),
        (true, 3) => put(bytes, start + 6, &[dice.pick(&EXTENSIONS)]),
        (false, _) => put(bytes, start + 9, &[protocol]),
        (true, _) => put(bytes, start + 6, &[protocol]),
    }
}

/// Puts something between the IP header and what it carries: options, or extension headers.
fn between(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let Some((start, v6)) = Layers::of(bytes).ip else {
        return;
    };
    if !v6 {
        let words = dice.below(12);
        let options = dice.bytes(words * 4);
        bytes.splice(start + 20..start + 20, options);
        bytes[start] = 0x45 + u8::try_from(words).expect("small");
        return;
    }
    for _ in 0..dice.pick(&[1, 1, 2, 3, 6, 8, 9, 12]) {
        let kind = dice.pick(&EXTENSIONS);
        let next = std::mem::replace(&mut bytes[start + 6], kind);
        // Most are as long as they say.
        let units = dice.pick(&[0, 0, 0, 1, 2, 7, 20, 58]);
        let length = match kind {
            44 => 8,
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        let mut header = vec![next, u8::try_from(units).expect("small")];
        header.resize(length, 0);
        if kind == 44 {
            let offset = dice.pick(&[0u16, 0, 1, 8, 0xfff8, 6]);
            header[2..4].copy_from_slice(&offset.to_be_bytes());
        }
        if dice.once_in(8) {
            header[1] = dice.pick(&EDGES);
        }
        bytes.splice(start + 40..start + 40, header);
    }
}

/// Changes a link of a chain that is there.
fn chain(dice: &mut Dice, bytes: &mut [u8]) {
    let Some((start, true)) = Layers::of(bytes).ip else {
        return;
    };
    let at = start + 40 + 8 * dice.below(10);
    if dice.once_in(2) {
        put(bytes, at, &[dice.pick(&EXTENSIONS)]);
    } else {
        put(bytes, at + 1, &[dice.pick(&EDGES)]);
    }
}

fn fragment(dice: &mut Dice, bytes: &mut [u8]) {
    if let Some((start, false)) = Layers::of(bytes).ip {
        // Offsets that overlap the ports among them; more to come, not to be cut, and the bit
        // that nobody should set.
        let offset = dice.pick(&[0u16, 0, 1, 2, 185, 0x1fff]);
        let field = offset | dice.pick(&[0, 0x2000, 0x4000, 0x8000]);
        put(bytes, start + 6, &field.to_be_bytes());
    }
}

/// What IP carries: ports, flags, types, lengths.
fn inner(dice: &mut Dice, bytes: &mut [u8]) {
    let Some((start, protocol)) = Layers::of(bytes).inner else {
        return;
    };
    let port = dice.pick(&PORTS).to_be_bytes();
    match (protocol, dice.below(4)) {
        (1 | 58, 0 | 1) => put(bytes, start, &[dice.pick(&[0, 3, 4, 8, 128, 135, 255])]),
        (1 | 58, _) => put(bytes, start + 1, &[dice.pick(&[0, 1, 22, 255])]),
        (6, 0) => put(bytes, start + 13, &[dice.byte()]),
        (6, 1) => put(bytes, start + 12, &[dice.pick(&EDGES)]),
        (17, 0) => put(bytes, start + 4, &[0, dice.pick(&EDGES)]),
        (_, 0 | 2) => put(bytes, start, &port),
        _ => put(bytes, start + 2, &port),
    }
}
