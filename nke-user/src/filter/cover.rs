//! Which packets a rule is about, as boxes, so that one rule can be taken from another.
//!
//! ```text
//! pass proto tcp from 10.0.0.0/8      one box: v4, sources 10.0.0.0-10.255.255.255, protocol 6, …
//! drop                                three: what is not IP, IPv4, IPv6
//! ```
//!
//! A box is a range in each of the things that a rule asks for. What is left of it when another is
//! taken away is a few smaller boxes. Packets that cannot be are left out of the boxes wherever
//! that is simple: so that what can be is seen to be covered. What rules seldom ask for (flags, tags)
//! has no side, and tests have none: only a rule that asks for no more of it than another can cover that. This
//! never says that something is covered that is not.

use super::conditions::Bits;
use super::expression::Expression;
use super::further::{Asked, Test};
use super::rule::{Addresses, PortProtocol, PortRange, Rule, Transport, Way};

/// What a rule asks for, one range each: way, family, source, destination, protocol, ports.
const SIDES: usize = 7;

/// More pieces than this are not followed; what is not known to be covered counts as not covered.
const MOST_PIECES: usize = 2000;

/// Packets between two corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cuboid {
    first: [u128; SIDES],
    last: [u128; SIDES],
}

/// The packets of a rule, or what is left of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    cuboids: Vec<Cuboid>,
    /// What else all of them have, as the kernel compares it.
    bits: Bits,
    /// What else is asked of them.
    tests: Vec<Test>,
    expression: Option<Expression>,
}

/// There were more pieces than are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Region {
    /// Every packet that a rule is about.
    pub(super) fn of(rule: &Rule) -> Self {
        let mut region = Vec::new();
        if asks_for_both(&rule.tests) {
            return Self {
                cuboids: Vec::new(),
                bits: rule.conditions.bits(),
                tests: Vec::new(),
                expression: None,
            };
        }
        let ways = ways(rule.way);
        for [family, source, destination] in families(rule) {
            for [protocol, from, to] in transports(&rule.transport, family) {
                let sides = [ways, family, source, destination, protocol, from, to];
                region.push(Cuboid {
                    first: sides.map(|(first, _)| first),
                    last: sides.map(|(_, last)| last),
                });
            }
        }
        let bits = rule.conditions.bits();
        let bits = match &rule.transport {
            Transport::Tcp { flags, .. } => bits.and(flags.bits()),
            Transport::Icmp(kind) => bits.and(kind.bits()),
            Transport::Any | Transport::Protocol(_) | Transport::Ports { .. } => bits,
        };
        let cuboids = region;
        let tests = rule.tests.clone();
        let expression = rule.expression.clone();
        Self {
            cuboids,
            bits,
            tests,
            expression,
        }
    }

    /// The sides by which most rules are told apart: destinations, sources, and the ports of both.
    pub(super) const TELLING: [usize; 4] = [3, 2, 6, 5];

    /// What it has of a side, from the first to the last; the first is behind if it has nothing.
    pub(super) fn side(&self, side: usize) -> (u128, u128) {
        let all = self.cuboids.iter();
        all.fold((u128::MAX, 0), |(first, last), one| {
            (first.min(one.first[side]), last.max(one.last[side]))
        })
    }

    /// The corners of all that is in it.
    pub(super) fn bounds(&self) -> Bounds {
        let nothing = Bounds {
            first: [u64::MAX; SIDES],
            last: [0; SIDES],
        };
        self.cuboids.iter().fold(nothing, |all, one| {
            let one = one.bounds();
            Bounds {
                first: std::array::from_fn(|side| all.first[side].min(one.first[side])),
                last: std::array::from_fn(|side| all.last[side].max(one.last[side])),
            }
        })
    }

    /// Whether there is no packet in it.
    pub(super) fn is_empty(&self) -> bool {
        self.cuboids.is_empty()
    }

    /// Whether there may be packets in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let (one, two) = (self.bits, other.bits);
        let apart = one.mask & two.mask & (one.value ^ two.value) != 0;
        let meets = |one: &Cuboid| other.cuboids.iter().any(|other| one.meets(other));
        !apart && self.cuboids.iter().any(meets)
    }

    /// Takes the packets of another away, if it has all of those in its corners.
    pub(super) fn subtract(&mut self, other: &Self) -> Result<(), TooMany> {
        // Limits run out, and marks may be others further down.
        let asks_more = other.tests.iter().any(|test| {
            matches!(test.what, Asked::Limit(_) | Asked::Mark(_)) || !self.tests.contains(test)
        }) || other.expression.is_some() && other.expression != self.expression;
        if asks_more || other.bits.mask & !self.bits.mask != 0 || !self.meets(other) {
            return Ok(());
        }
        for taken in &other.cuboids {
            if !self.cuboids.iter().any(|piece| piece.meets(taken)) {
                continue;
            }
            let mut left = Vec::with_capacity(self.cuboids.len());
            for piece in &self.cuboids {
                piece.without(taken, &mut left);
            }
            if left.len() > MOST_PIECES {
                return Err(TooMany);
            }
            self.cuboids = left;
        }
        Ok(())
    }
}

/// Whether tests ask that something be so and not be so, which no packet passes.
fn asks_for_both(tests: &[Test]) -> bool {
    let mut both = tests.windows(2);
    both.any(|pair| pair[0].what == pair[1].what && pair[0].not != pair[1].not)
}

/// The corners of a region, in few enough bits that a rule is soon told apart from ten thousand others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    first: [u64; SIDES],
    last: [u64; SIDES],
}

impl Bounds {
    /// Whether regions that have these may meet.
    pub(super) fn meet(&self, other: &Self) -> bool {
        // Addresses tell most rules apart, ports many others.
        const ORDER: [usize; SIDES] = [3, 2, 6, 5, 4, 1, 0];
        ORDER.into_iter().all(|side| {
            self.first[side] <= other.last[side] && other.first[side] <= self.last[side]
        })
    }
}

impl Cuboid {
    /// The same in fewer bits: of an IPv6 address, the first half. What meets, meets in these.
    fn bounds(&self) -> Bounds {
        let six = self.first[1] == V6.0;
        let of = |corner: [u128; SIDES]| {
            let side = |side| match side {
                2 | 3 if six => (corner[side] >> 64) as u64,
                _ => corner[side] as u64,
            };
            std::array::from_fn(side)
        };
        let (first, last) = (of(self.first), of(self.last));
        Bounds { first, last }
    }

    fn meets(&self, other: &Self) -> bool {
        (0..SIDES).all(|side| {
            self.first[side] <= other.last[side] && other.first[side] <= self.last[side]
        })
    }

    /// Adds what is left without another.
    fn without(&self, taken: &Self, left: &mut Vec<Self>) {
        if !self.meets(taken) {
            left.push(*self);
            return;
        }
        // Slices off what lies beside it, one side after the other.
        let mut rest = *self;
        for side in 0..SIDES {
            if rest.first[side] < taken.first[side] {
                let mut below = rest;
                below.last[side] = taken.first[side] - 1;
                left.push(below);
                rest.first[side] = taken.first[side];
            }
            if rest.last[side] > taken.last[side] {
                let mut above = rest;
                above.first[side] = taken.last[side] + 1;
                left.push(above);
                rest.last[side] = taken.last[side];
            }
        }
    }
}

type Side = (u128, u128);

/// In, forwarded (which is in and out), out, connect, sendmsg, bind.
const fn ways(way: Option<Way>) -> Side {
    match way {
        None => (0, 5),
        Some(Way::In) => (0, 1),
        Some(Way::Out) => (1, 4),
        Some(Way::Connect) => (3, 3),
        Some(Way::Sendmsg) => (4, 4),
        Some(Way::Bind) => (5, 5),
    }
}

/// ARP, and what else is not IP.
const NOT_IP: Side = (0, 1);
const ARP: Side = (1, 1);
const V4: Side = (4, 4);
const V6: Side = (6, 6);

fn families(rule: &Rule) -> Vec<[Side; 3]> {
    const EVERY_V4: Side = (0, u32::MAX as u128);
    const EVERY_V6: Side = (0, u128::MAX);
    match rule.addresses {
        Addresses::Arp => vec![[ARP, (0, 0), (0, 0)]],
        Addresses::Any => {
            let mut all = vec![[V4, EVERY_V4, EVERY_V4], [V6, EVERY_V6, EVERY_V6]];
            // What is not IP has no protocol to be asked for.
            if rule.transport == Transport::Any {
                all.push([NOT_IP, (0, 0), (0, 0)]);
            }
            all
        }
        Addresses::V4 {
            source,
            destination,
        } => {
            let sides = [source, destination].map(|prefix| {
                let first = prefix.address().to_bits();
                (first.into(), (first | !prefix.mask().to_bits()).into())
            });
            vec![[V4, sides[0], sides[1]]]
        }
        Addresses::V6 {
            source,
            destination,
        } => {
            let sides = [source, destination].map(|prefix| {
                let first = prefix.address().to_bits();
                (first, first | !prefix.mask().to_bits())
            });
            vec![[V6, sides[0], sides[1]]]
        }
    }
}

/// The protocol's number, or one more than there are where it does not show.
const UNKNOWN: u128 = 256;

/// Protocol and ports. A port is one more than its number; 0 is none.
fn transports(transport: &Transport, family: Side) -> Vec<[Side; 3]> {
    const NO_PORT: Side = (0, 0);
    const ANY_PORT: Side = (0, 1 << 16);
    let known = |range: &PortRange| -> Side {
        (u128::from(range.first()) + 1, u128::from(range.last()) + 1)
    };
    let one = |number: u8| (u128::from(number), u128::from(number));
    match transport {
        Transport::Any if family == NOT_IP || family == ARP => {
            vec![[(UNKNOWN, UNKNOWN), NO_PORT, NO_PORT]]
        }
        Transport::Any if family == V4 => vec![[(0, UNKNOWN - 1), ANY_PORT, ANY_PORT]],
        Transport::Any => vec![[(0, UNKNOWN), ANY_PORT, ANY_PORT]],
        Transport::Protocol(protocol) => {
            let port = match PortProtocol::try_from(*protocol) {
                Ok(_) => ANY_PORT,
                Err(_) => NO_PORT,
            };
            vec![[one(protocol.0), port, port]]
        }
        Transport::Ports {
            protocol,
            source,
            destination,
        } => {
            let carriers = PortProtocol::ALL.into_iter();
            let carriers = carriers.filter(|it| protocol.is_none_or(|wanted| wanted == *it));
            let sides =
                |it: PortProtocol| [one(it.protocol().0), known(source), known(destination)];
            carriers.map(sides).collect()
        }
        Transport::Tcp {
            source,
            destination,
            flags: _,
        } => {
            let tcp = one(PortProtocol::Tcp.protocol().0);
            vec![[tcp, known(source), known(destination)]]
        }
        Transport::Icmp(kind) => vec![[one(kind.protocol().0), NO_PORT, NO_PORT]],
    }
}
