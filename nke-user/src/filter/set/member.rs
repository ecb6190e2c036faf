//! Members of named sets: addresses and prefixes, ports, addresses with ports.
//!
//! ```
//! use nke::filter::Member;
//!
//! let member: Member = "192.0.2.77/24".parse()?;
//! assert_eq!(member.to_string(), "192.0.2.0/24");
//! let member: Member = "tcp:[2001:db8::1]:443".parse()?;
//! assert_eq!(member.to_string(), "tcp:[2001:db8::1]:443");
//! # Ok::<(), nke::filter::NoMember>(())
//! ```
//!
//! Nothing here does I/O, and nothing knows where a member is kept but by its [`Key`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use nke_ebpf::set::{self as layout, ANY_PROTOCOL, Key, Kind, WITH_PROTOCOL, WITHOUT_PROTOCOL};

use crate::filter::{
    names,
    rule::{PortProtocol, PortRange, Prefix, Protocol},
};

/// A member of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// An address of IPv4, or all that begin alike.
    V4(Prefix<Ipv4Addr>),
    /// An address of IPv6, or all that begin alike.
    V6(Prefix<Ipv6Addr>),
    /// A port, or several that follow each other.
    Ports(PortRange),
    /// An address with a port.
    Pair {
        /// Of this protocol; or of any that has ports.
        protocol: Option<PortProtocol>,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
}

/// Text that is no member.
#[derive(Debug, thiserror::Error)]
#[error(
    "a member is an address or a prefix such as 192.0.2.0/24, a port or a range of ports, or an \
     address with a port such as 192.0.2.1:443, [2001:db8::1]:443 or tcp:192.0.2.1:443"
)]
pub struct NoMember;

impl FromStr for Member {
    type Err = NoMember;

    fn from_str(text: &str) -> Result<Self, NoMember> {
        let all = [Kind::Addresses, Kind::Ports, Kind::Pairs].into_iter();
        let mut read = all.filter_map(|kind| Self::read(kind, text));
        read.next().ok_or(NoMember)
    }
}

/// A number as in rules: no sign, no leading zeros.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok()?;
    (digits && (text.len() == 1 || !text.starts_with('0'))).then_some(number)
}

/// A port, by name or number.
fn port_of(text: &str) -> Option<u16> {
    names::port(text).or_else(|| number(text))
}

/// What nearly all members of large sets are, read in one go: four numbers, and a length behind or not. Whatever
/// else there is, a mistake too, is nothing here.
fn plain_v4(text: &[u8]) -> Option<Prefix<Ipv4Addr>> {
    let mut numbers = [0u32; 5];
    let (mut nth, mut digits) = (0, 0);
    for byte in text {
        match byte {
            // None begins with a zero that has more behind it.
            b'0'..=b'9' if digits < 3 && (digits == 0 || numbers[nth] != 0) => {
                numbers[nth] = numbers[nth] * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if nth < 3 && digits > 0 => (nth, digits) = (nth + 1, 0),
            b'/' if nth == 3 && digits > 0 => (nth, digits) = (4, 0),
            _ => return None,
        }
    }
    let [a, b, c, d, length] = numbers.map(u8::try_from);
    let address = Ipv4Addr::new(a.ok()?, b.ok()?, c.ok()?, d.ok()?);
    match nth {
        3 if digits > 0 => Some(Prefix::<Ipv4Addr>::one(address)),
        4 if digits > 0 => Prefix::<Ipv4Addr>::new(address, length.ok()?),
        _ => None,
    }
}

impl Member {
    /// The member of a set of this kind that a text is.
    #[must_use]
    pub fn read(kind: Kind, text: &str) -> Option<Self> {
        match kind {
            Kind::Addresses => Self::prefix(text),
            Kind::Ports => {
                let whole = port_of(text).map(PortRange::one);
                let range = || {
                    let (first, last) = text.split_once(['-', ':'])?;
                    PortRange::new(number(first)?, number(last)?)
                };
                whole.or_else(range).map(Self::Ports)
            }
            Kind::Pairs => Self::pair(text),
        }
    }

    /// Where it stands among others: by family, address, prefixes before what is in them, port.
    #[must_use]
    pub fn order(&self) -> (bool, u128, u8, u16, u8) {
        let bits = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        };
        match self {
            Self::V4(prefix) => (false, bits(&prefix.address().into()), prefix.length(), 0, 0),
            Self::V6(prefix) => (true, bits(&prefix.address().into()), prefix.length(), 0, 0),
            Self::Ports(range) => (false, 0, 0, range.first(), 0),
            Self::Pair {
                protocol,
                address,
                port,
            } => {
                let protocol = protocol.map_or(0, |protocol| protocol.protocol().0);
                (address.is_ipv6(), bits(address), 0, *port, protocol)
            }
        }
    }

    fn prefix(text: &str) -> Option<Self> {
        if let Some(plain) = plain_v4(text.as_bytes()) {
            return Some(Self::V4(plain));
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(number::<u8>(length)?)),
            None => (text, None),
        };
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                Prefix::<Ipv4Addr>::new(address, length.unwrap_or(32)).map(Self::V4)
            }
            IpAddr::V6(address) => {
                Prefix::<Ipv6Addr>::new(address, length.unwrap_or(128)).map(Self::V6)
            }
        }
    }

    fn pair(text: &str) -> Option<Self> {
        let protocol = |name: &str| PortProtocol::try_from(Protocol(names::protocol(name)?)).ok();
        let (protocol, ends) = match text.split_once(':') {
            Some((name, ends)) if names::protocol(name).is_some() => (Some(protocol(name)?), ends),
            _ => (None, text),
        };
        let (address, port) = ends.rsplit_once(':')?;
        let six = address
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'));
        Some(Self::Pair {
            protocol,
            address: match six {
                Some(six) => IpAddr::V6(six.parse().ok()?),
                None => IpAddr::V4(address.parse().ok()?),
            },
            port: port_of(port)?,
        })
    }

    /// The kind of set that it can be in.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::V4(_) | Self::V6(_) => Kind::Addresses,
            Self::Ports(_) => Kind::Ports,
            Self::Pair { .. } => Kind::Pairs,
        }
    }

    /// The member itself, and behind it all others that have what it has: shorter prefixes, any
    /// protocol.
    pub(in crate::filter) fn wider(self) -> Vec<Self> {
        let (v4, v6) = (Prefix::<Ipv4Addr>::new, Prefix::<Ipv6Addr>::new);
        match self {
            Self::V4(prefix) => (0..=prefix.length())
                .rev()
                .filter_map(|length| v4(prefix.address(), length).map(Self::V4))
                .collect(),
            Self::V6(prefix) => (0..=prefix.length())
                .rev()
                .filter_map(|length| v6(prefix.address(), length).map(Self::V6))
                .collect(),
            Self::Ports(_) => vec![self],
            Self::Pair { address, port, .. } => {
                let any = Self::Pair {
                    protocol: None,
                    address,
                    port,
                };
                vec![self, any]
            }
        }
    }

    /// What an end of a TCP connection would be in a set of this kind.
    #[must_use]
    pub fn of_end(kind: Kind, end: SocketAddr) -> Self {
        match kind {
            Kind::Addresses => Self::address(end.ip()),
            Kind::Ports => Self::Ports(PortRange::one(end.port())),
            Kind::Pairs => Self::Pair {
                protocol: Some(PortProtocol::Tcp),
                address: end.ip(),
                port: end.port(),
            },
        }
    }

    /// An address alone.
    #[must_use]
    pub const fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(Prefix::<Ipv4Addr>::one(address)),
            IpAddr::V6(address) => Self::V6(Prefix::<Ipv6Addr>::one(address)),
        }
    }

    /// Where it belongs. Nowhere if it is a port: ports have no nodes.
    pub(super) fn place(&self) -> Option<Place> {
        let (address, length, pair) = match *self {
            Self::V4(prefix) => (IpAddr::V4(prefix.address()), prefix.length(), None),
            Self::V6(prefix) => (IpAddr::V6(prefix.address()), prefix.length(), None),
            Self::Ports(_) => return None,
            Self::Pair {
                protocol,
                address,
                port,
            } => (address, 0, Some((protocol, port))),
        };
        let is_v6 = address.is_ipv6();
        let words = words(address);
        let Some((protocol, port)) = pair else {
            let begin = layout::begin(is_v6, length.into());
            let level = u8::try_from(begin + 1).ok()?;
            let key = Key::of(&words, is_v6, level);
            return Some(Place {
                key,
                bit: layout::bit(key.bits, u32::from(length) - begin),
                level,
                is_v6,
                timed: Key::timed(&words, is_v6, length + 1),
                length: length + 1,
            });
        };
        let level = protocol.map_or(WITHOUT_PROTOCOL, |_| WITH_PROTOCOL);
        let protocol = protocol.map_or(ANY_PROTOCOL, |it| it.protocol().0.into());
        let key = Key::pair(&words, is_v6, protocol, port.into());
        Some(Place {
            key,
            bit: layout::bit(key.bits, 7),
            level,
            is_v6,
            timed: Key::timed_pair(&words, is_v6, protocol, port.into()),
            length: level,
        })
    }
}

/// Where a member belongs: without a timeout, and with one.
pub(super) struct Place {
    pub(super) key: Key,
    /// The bit of its node.
    pub(super) bit: u32,
    /// What stands for it among the levels that occur.
    pub(super) level: u8,
    pub(super) is_v6: bool,
    pub(super) timed: Key,
    /// What stands for it among the lengths that occur with timeouts.
    pub(super) length: u8,
}

/// An address as two words in memory order, as it is in a packet; IPv4 fills the first four bytes.
pub(in crate::filter) fn words(address: IpAddr) -> [u64; 2] {
    let both = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let [high, low] = [both >> 64, both].map(|half| {
        let [.., a, b, c, d, e, f, g, h] = half.to_be_bytes();
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    });
    [high, low]
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(prefix) if prefix.length() == 32 => write!(f, "{}", prefix.address()),
            Self::V4(prefix) => write!(f, "{}/{}", prefix.address(), prefix.length()),
            Self::V6(prefix) if prefix.length() == 128 => write!(f, "{}", prefix.address()),
            Self::V6(prefix) => write!(f, "{}/{}", prefix.address(), prefix.length()),
            Self::Ports(range) => write!(f, "{range}"),
            Self::Pair {
                protocol,
                address,
                port,
            } => {
                if let Some(protocol) = protocol {
                    write!(f, "{}:", protocol.protocol())?;
                }
                write!(f, "{}", SocketAddr::new(*address, *port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_as_in_rules() {
        for text in [
            "",
            "192.0.2.1/33",
            "192.0.2.1/08",
            "192.0.2",
            "192.0.2.1.1",
            "192.0.2.256",
            "192.0.2.01",
            "192.0..1",
            "192.0.2.1/8/8",
            "192.0.2.1/",
            "192.0.2.1/+8",
            "::1/129",
            "::/08",
            "all",
            "65536",
            "+1",
            "080",
            "9-8",
            "192.0.2.1:",
            "192.0.2.1:080",
            "icmp:192.0.2.1:1",
            "[fe80::1%1]:80",
            "[192.0.2.1]:80",
            "192.0.2.1:htps",
            "192.0.2.1:HTTP",
            "192.0.2.1/32:80",
            "192.0.2.1:80-81",
        ] {
            assert!(text.parse::<Member>().is_err(), "{text:?}");
        }
        for (text, printed) in [
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("https", "443"),
            ("1024:2047", "1024-2047"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("udp:[::1]:53", "udp:[::1]:53"),
            ("192.0.2.1:https", "192.0.2.1:443"),
            ("udp:[2001:DB8::1]:domain", "udp:[2001:db8::1]:53"),
        ] {
            let member: Member = text.parse().unwrap();
            assert_eq!(member.to_string(), printed);
            assert_eq!(printed.parse::<Member>().unwrap(), member);
        }
    }
}
