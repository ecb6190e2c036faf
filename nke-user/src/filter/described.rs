//! Packets and calls as words: `tcp 10.1.2.3:999 > 10.0.0.1:22`.
//!
//! ```
//! use nke::filter::{Dialect, Way};
//!
//! let packet = Dialect::Packets.packet("udp [fd00::1]:5000 > [fd00::2]:domain", Way::In)?;
//! assert_eq!(packet.to_string(), "in udp [fd00::1]:5000 > [fd00::2]:53");
//! let call = Dialect::Calls.packet("connect tcp 192.0.2.1:https", Way::Connect)?;
//! assert_eq!(call.ports, Some((0, 443)));
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! Nothing is guessed: what the rules may ask for must be said.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cursor::{Cursor, Said};
use super::dialect::Dialect;
use super::dissect::{Ends, Packet};
use super::parse_error::{ParseError, Problem};
use super::rule::{PortProtocol, Protocol, Way};
use super::{hint, names, parse};

/// A packet that is not IP.
const NOT_IP: &str = "not-ip";
/// A protocol that does not show, behind IPv6 extension headers that are cut.
const UNKNOWN: &str = "unknown";
/// Ports that do not show: those of a later fragment.
const FRAGMENT: &str = "fragment";

impl Dialect {
    /// The packet, or the call, that words describe; `way` is the one it goes if they do not say.
    ///
    /// # Errors
    ///
    /// [`ParseError`], which knows the column.
    pub fn packet(self, text: &str, way: Way) -> Result<Packet, ParseError> {
        let cursor = &mut Cursor::new(self, 1, text);
        let mut ways = self.ways_that_go().iter();
        let said = ways.find_map(|(word, way)| cursor.keyword(word).then_some(*way));
        let nothing = Packet {
            way: said.unwrap_or(way),
            ends: None,
            protocol: None,
            ports: None,
        };
        let packets = self == Self::Packets;
        if packets && (cursor.keyword(NOT_IP) || cursor.keyword("arp")) {
            return end(cursor).map(|()| nothing);
        }
        let protocol = if packets && cursor.keyword(UNKNOWN) {
            None
        } else {
            Some(parse::protocol(cursor)?)
        };
        let with_ports = protocol.is_some_and(|it| PortProtocol::try_from(it).is_ok());
        let with_ports = with_ports && !(packets && cursor.keyword(FRAGMENT));
        let (ends, ports) = if packets {
            let source = host(cursor, with_ports)?;
            cursor.thing("`>`", |_| None, |text| (text == ">").then_some(Ok(())))?;
            both(cursor, source, with_ports)?
        } else {
            let Said { thing, word: _ } = host(cursor, with_ports)?;
            let nobody = match thing.address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            (ends(nobody, thing.address), Some((0, thing.port)))
        };
        end(cursor)?;
        Ok(Packet {
            ends,
            protocol,
            ports: ports.filter(|_| with_ports),
            ..nothing
        })
    }
}

/// The sender or the receiver. The port is 0 where there is none.
#[derive(Clone, Copy)]
struct Host {
    address: IpAddr,
    port: u16,
}

type Both = (Option<Ends>, Option<(u16, u16)>);

/// Goes on to the receiver, who must be of the sender's family.
fn both<'a>(
    cursor: &mut Cursor<'a>,
    source: Said<'a, Host>,
    with_ports: bool,
) -> Result<Both, ParseError> {
    let destination = host(cursor, with_ports)?;
    let (from, to) = (source.thing, destination.thing);
    match ends(from.address, to.address) {
        None => Err(cursor.problem(Problem::MixedFamilies, destination.word, None)),
        ends => Ok((ends, Some((from.port, to.port)))),
    }
}

fn ends(from: IpAddr, to: IpAddr) -> Option<Ends> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(Ends::V4(from, to)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(Ends::V6(from, to)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn host<'a>(cursor: &mut Cursor<'a>, with_port: bool) -> Result<Said<'a, Host>, ParseError> {
    let what = if with_port {
        "an address and a port, as in `10.0.0.1:22` or `[fd00::1]:22`"
    } else {
        "an address without a port"
    };
    cursor.said(|cursor| {
        cursor.thing(what, hint::for_address, |text| {
            let (address, port) = if with_port {
                text.rsplit_once(':')?
            } else {
                (text, "0")
            };
            let bare = address
                .strip_prefix('[')
                .and_then(|it| it.strip_suffix(']'));
            let address: IpAddr = match bare {
                Some(bare) => bare.parse::<Ipv6Addr>().ok()?.into(),
                None if with_port => address.parse::<Ipv4Addr>().ok()?.into(),
                None => address.parse().ok()?,
            };
            let host = |port| Host { address, port };
            if let Some(port) = names::port(port) {
                return Some(Ok(host(port)));
            }
            let number = port.parse().map(host).map_err(|_| Problem::PortTooHigh);
            parse::is_number(port).then_some(number)
        })
    })
}

/// There must be no more words.
fn end(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    if cursor.is_done() {
        return Ok(());
    }
    // Hints about rules would lead astray.
    cursor.thing("the end of the line", |_| None, |_| None)
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            way,
            ends,
            protocol,
            ports,
        } = self;
        write!(f, "{way} ")?;
        let (from, to) = match ends {
            None => return f.write_str(NOT_IP),
            Some(Ends::V4(from, to)) => (IpAddr::V4(*from), IpAddr::V4(*to)),
            Some(Ends::V6(from, to)) => (IpAddr::V6(*from), IpAddr::V6(*to)),
        };
        match protocol {
            Some(protocol) => write!(f, "{protocol} ")?,
            None => write!(f, "{UNKNOWN} ")?,
        }
        let call = Way::CALLS.contains(way);
        match ports {
            Some((_, port)) if call => {
                return write!(f, "{}", std::net::SocketAddr::new(to, *port));
            }
            Some((source, destination)) => {
                let from = std::net::SocketAddr::new(from, *source);
                let to = std::net::SocketAddr::new(to, *destination);
                return write!(f, "{from} > {to}");
            }
            None => {}
        }
        if call {
            return write!(f, "{to}");
        }
        if protocol.is_some_and(|it: Protocol| PortProtocol::try_from(it).is_ok()) {
            write!(f, "{FRAGMENT} ")?;
        }
        write!(f, "{from} > {to}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::arbitrary;

    #[track_caller]
    fn check(dialect: Dialect, text: &str, printed: &str) {
        let packet = dialect.packet(text, Way::In);
        let packet = packet.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(packet.to_string(), printed, "{text}");
    }

    #[track_caller]
    fn check_error(text: &str, message: &str) {
        let error = Dialect::Packets.packet(text, Way::In).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }

    #[test]
    fn packets_are_read() {
        let packets = |text, printed| check(Dialect::Packets, text, printed);
        packets(
            "tcp 10.1.2.3:999 > 10.0.0.1:ssh",
            "in tcp 10.1.2.3:999 > 10.0.0.1:22",
        );
        packets(
            "out 17 [fd00::1]:1 > [fd00::2]:2",
            "out udp [fd00::1]:1 > [fd00::2]:2",
        );
        packets("icmp 10.0.0.1 > 10.0.0.2", "in icmp 10.0.0.1 > 10.0.0.2");
        packets("icmp6 fd00::1 > [::2]", "in icmp6 fd00::1 > ::2");
        packets(
            "udp fragment 10.0.0.1 > 10.0.0.2",
            "in udp fragment 10.0.0.1 > 10.0.0.2",
        );
        packets("unknown ::1 > ::2", "in unknown ::1 > ::2");
        packets("out arp", "out not-ip");
        let calls = |text, printed| check(Dialect::Calls, text, printed);
        calls("connect tcp 10.0.0.1:22", "connect tcp 10.0.0.1:22");
        calls("bind udp [::]:53", "bind udp [::]:53");
    }

    #[test]
    fn what_is_missing_is_told() {
        check_error(
            "tcp 10.1.2.3 > 10.0.0.1:22",
            "line 1, column 5: expected `fragment` or an address and a port, as in \
             `10.0.0.1:22` or `[fd00::1]:22`, found `10.1.2.3`",
        );
        check_error(
            "tcp 10.1.2.3:70000 > 10.0.0.1:22",
            "line 1, column 5: a port is a number from 0 to 65535",
        );
        check_error(
            "icmp 10.1.2.3 > ::1",
            "line 1, column 17: no packet is both IPv4 and IPv6: this address is not of the family \
             given before it",
        );
        check_error(
            "icmp 10.1.2.3 > 10.0.0.1 log",
            "line 1, column 26: expected the end of the line, found `log`",
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(packet in arbitrary::packet()) {
            let read = Dialect::Packets.packet(&packet.to_string(), Way::Bind);
            prop_assert_eq!(read, Ok(packet));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            for dialect in [Dialect::Packets, Dialect::Calls] {
                if let Err(error) = dialect.packet(&text, Way::In) {
                    prop_assert!(!error.marked().is_empty() && !error.to_string().is_empty());
                }
            }
        }
    }
}
