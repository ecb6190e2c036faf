//! Rule sets as firewalls have them, drawn at random from a seed: for tests and measurements.
//!
//! ```
//! use nke::filter::shapes::{Dice, Shape};
//!
//! let mut dice = Dice::new(7);
//! let rules = Shape::Acl.draw(&mut dice, 100, false);
//! let packet = rules[99].packet(&mut dice);
//! assert_eq!(packet.len(), 14 + 20 + 8);
//! assert!(rules[99].to_string().parse::<nke::filter::Rule>().is_ok());
//! ```
//!
//! The shapes are after those of ClassBench (Taylor and Turner, 2007): what is usual of each field and of
//! both addresses together, not any real rule set.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A sequence of numbers that look random and follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ number >> 31
    }

    /// A number below this one, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// Whether something of so many percent happens.
    pub const fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What a rule set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A router's access list: receivers are few networks and many hosts, ports are single.
    Acl,
    /// A firewall: often either end is any, and ports are ranges.
    Fw,
    /// Chains of a host: something of both.
    Ipc,
}

/// A rule that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Drawn {
    /// Whether it is IPv6.
    pub six: bool,
    /// The sender's addresses: the first, and how many bits are fixed. Of IPv4, the low 32 bits.
    pub source: (u128, u8),
    /// The receiver's, alike.
    pub destination: (u128, u8),
    /// `tcp`, `udp`, or neither: any protocol, and no ports.
    pub protocol: Option<u8>,
    /// The sender's ports.
    pub source_ports: (u16, u16),
    /// The receiver's ports.
    pub destination_ports: (u16, u16),
}

const ALL: (u16, u16) = (0, u16::MAX);

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Fw, Self::Ipc];

    /// So many rules, no two alike.
    pub fn draw(self, dice: &mut Dice, count: usize, six: bool) -> Vec<Drawn> {
        let networks: Vec<u128> = (0..8 + count / 64).map(|_| wide(dice)).collect();
        let mut seen = std::collections::HashSet::new();
        let mut rules = Vec::with_capacity(count);
        while rules.len() < count {
            let rule = self.one(dice, &networks, six);
            if seen.insert(rule.clone()) {
                rules.push(rule);
            }
        }
        rules
    }

    fn one(self, dice: &mut Dice, networks: &[u128], six: bool) -> Drawn {
        // Percent: any sender, any receiver, single hosts of both.
        let (any_source, any_destination, source_host, destination_host) = match self {
            Self::Acl => (25, 1, 30, 65),
            Self::Fw => (40, 35, 25, 40),
            Self::Ipc => (15, 12, 45, 50),
        };
        let source = prefix(dice, networks, any_source, source_host, six);
        let mut destination = prefix(dice, networks, any_destination, destination_host, six);
        if source.1 == 0 && destination.1 == 0 && !dice.percent(5) {
            destination = prefix(dice, networks, 0, destination_host, six);
        }
        let protocol = match dice.below(20) {
            0..=11 => Some(6),
            12..=17 => Some(17),
            _ => None,
        };
        let mut rule = Drawn {
            six,
            source,
            destination,
            protocol,
            source_ports: ALL,
            destination_ports: ALL,
        };
        if protocol.is_some() {
            let (ranges, sources) = match self {
                Self::Acl => (10, 2),
                Self::Fw => (35, 30),
                Self::Ipc => (20, 15),
            };
            rule.destination_ports = ports(dice, ranges);
            if dice.percent(sources) {
                rule.source_ports = ports(dice, ranges);
            }
        }
        rule
    }
}

fn wide(dice: &mut Dice) -> u128 {
    u128::from(dice.roll()) << 64 | u128::from(dice.roll())
}

/// A prefix, as often as said the whole internet or a single host, and else one of the networks or
/// a part of it.
fn prefix(dice: &mut Dice, networks: &[u128], any: u64, host: u64, six: bool) -> (u128, u8) {
    if dice.percent(any) {
        return (0, 0);
    }
    let width: u8 = if six { 128 } else { 32 };
    let (from, step) = if six { (32, 8) } else { (16, 2) };
    let network = networks[dice.below(networks.len() as u64) as usize];
    let length = if dice.percent(host) {
        width
    } else {
        from + step * dice.below(7) as u8
    };
    // The network's own bits are the same for all that lie in it.
    let fixed = mask(from, 128);
    let address = (network & fixed | wide(dice) & !fixed) >> (128 - width);
    (address & mask(length, width), length)
}

/// The highest bits of so many.
const fn mask(length: u8, width: u8) -> u128 {
    let all = u128::MAX >> (128 - width);
    if length == 0 {
        0
    } else {
        all & all << (width - length)
    }
}

fn ports(dice: &mut Dice, ranges: u64) -> (u16, u16) {
    const USUAL: [u16; 12] = [22, 25, 53, 80, 110, 123, 143, 161, 443, 993, 3306, 8080];
    if dice.percent(ranges) {
        return match dice.below(4) {
            0 => (1024, u16::MAX),
            1 => (0, 1023),
            _ => {
                let (one, other) = (dice.roll() as u16, dice.roll() as u16 % 512);
                (one, one.saturating_add(other))
            }
        };
    }
    let port = if dice.percent(60) {
        USUAL[dice.below(12) as usize]
    } else {
        dice.roll() as u16
    };
    (port, port)
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("drop")?;
        match self.protocol {
            Some(6) => f.write_str(" proto tcp")?,
            Some(_) => f.write_str(" proto udp")?,
            None => {}
        }
        let ends = [
            ("from", self.source, self.source_ports),
            ("to", self.destination, self.destination_ports),
        ];
        for (word, (address, length), (first, last)) in ends {
            if self.six {
                write!(f, " {word} {}/{length}", Ipv6Addr::from_bits(address))?;
            } else {
                write!(
                    f,
                    " {word} {}/{length}",
                    Ipv4Addr::from_bits(address as u32)
                )?;
            }
            if first == last {
                write!(f, " port {first}")?;
            } else if (first, last) != ALL {
                write!(f, " port {first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Drawn {
    /// A packet that the rule matches: anywhere in it, and often at its edges.
    pub fn packet(&self, dice: &mut Dice) -> Vec<u8> {
        let source = address(dice, self.source, self.six);
        let destination = address(dice, self.destination, self.six);
        let [from, to] = [self.source_ports, self.destination_ports].map(|range| port(dice, range));
        let protocol = self
            .protocol
            .unwrap_or(if dice.percent(50) { 6 } else { 17 });
        packet(self.six, source, destination, protocol, from, to)
    }
}

fn address(dice: &mut Dice, (first, length): (u128, u8), six: bool) -> u128 {
    let width = if six { 128 } else { 32 };
    let rest = !mask(length, width) & mask(width, width);
    match dice.below(4) {
        0 => first,
        1 => first | rest,
        _ => first | wide(dice) & rest,
    }
}

fn port(dice: &mut Dice, (first, last): (u16, u16)) -> u16 {
    match dice.below(4) {
        0 => first,
        1 => last,
        _ => first + dice.below(u64::from(last - first) + 1) as u16,
    }
}

/// An Ethernet frame with an IP packet that carries two ports.
#[must_use]
pub fn packet(
    six: bool,
    source: u128,
    destination: u128,
    protocol: u8,
    from: u16,
    to: u16,
) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    if six {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, protocol, 64]);
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
    } else {
        bytes.extend([0x08, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0]);
        bytes.extend((source as u32).to_be_bytes());
        bytes.extend((destination as u32).to_be_bytes());
    }
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend([0, 8, 0, 0]);
    bytes
}
