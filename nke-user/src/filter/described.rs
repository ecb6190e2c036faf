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
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::conditions::{self, Dscp, Fragment, IcmpKind};
use super::cursor::{Cursor, Said};
use super::dialect::Dialect;
use super::dissect::{Ends, Packet};
use super::parse_error::{ParseError, Problem};
use super::rule::{PortProtocol, Protocol, Way};
use super::{hint, names, options, parse};

/// A packet that is not IP.
const NOT_IP: &str = "not-ip";
/// Nor is this.
const ARP: &str = "arp";
/// A protocol that does not show, behind IPv6 extension headers that are cut.
const UNKNOWN: &str = "unknown";
/// A part of a datagram behind the first: its ports do not show.
const LATER: &str = "fragment";
/// The first part of a datagram.
const FIRST: &str = "first-fragment";
/// Ports that do not show because the packet ends before them.
const CUT: &str = "cut";
/// No flag.
const NO_FLAG: &str = "none";

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
        let mut packet = Packet::unknown(said.unwrap_or(way));
        match self {
            Self::Packets => {
                packet.arp = cursor.keyword(ARP);
                if !packet.arp && !cursor.keyword(NOT_IP) {
                    ip(cursor, &mut packet)?;
                }
                properties(cursor, &mut packet)?;
            }
            Self::Calls => call(cursor, &mut packet)?,
        }
        end(cursor).map(|()| packet)
    }
}

fn ip(cursor: &mut Cursor<'_>, packet: &mut Packet) -> Result<(), ParseError> {
    if !cursor.keyword(UNKNOWN) {
        packet.protocol = Some(parse::protocol(cursor)?);
    }
    if cursor.keyword(LATER) {
        packet.fragment = Some(Fragment::Later);
    } else if cursor.keyword(FIRST) {
        packet.fragment = Some(Fragment::First);
    }
    let later = packet.fragment == Some(Fragment::Later);
    let with_ports = has_ports(packet.protocol) && !later && !cursor.keyword(CUT);
    let source = host(cursor, with_ports)?;
    cursor.thing("`>`", |_| None, |text| (text == ">").then_some(Ok(())))?;
    let destination = host(cursor, with_ports)?;
    let (from, to) = (source.thing, destination.thing);
    packet.ends = ends(from.address, to.address);
    if packet.ends.is_none() {
        return Err(cursor.problem(Problem::MixedFamilies, destination.word, None));
    }
    packet.ports = with_ports.then_some((from.port, to.port));
    packet.dscp = Dscp::new(0);
    Ok(())
}

/// What stands behind the ends, in any order.
fn properties(cursor: &mut Cursor<'_>, packet: &mut Packet) -> Result<(), ParseError> {
    let v6 = packet.protocol == Some(Protocol(58));
    let icmp = v6 || packet.protocol == Some(Protocol(1));
    loop {
        let later = packet.fragment == Some(Fragment::Later);
        if packet.ports.is_some()
            && packet.protocol == Some(PortProtocol::Tcp.protocol())
            && cursor.keyword("flags")
        {
            packet.tcp_flags = Some(cursor.thing(
                "flags, as in `SA`",
                |_| None,
                |text| {
                    let none = text == NO_FLAG;
                    let flags = if none {
                        Some(0)
                    } else {
                        options::letters(text)
                    };
                    flags.map(Ok)
                },
            )?);
        } else if icmp && !later && cursor.keyword("type") {
            let kind = options::icmp(cursor, v6)?;
            packet.icmp = Some((kind.kind, kind.code.unwrap_or(0)));
        } else if packet.ends.is_some() && cursor.keyword("dscp") {
            packet.dscp = Some(options::dscp(cursor)?);
        } else if cursor.keyword("vlan") {
            packet.vlan = Some(options::vlan_id(cursor)?);
        } else if cursor.keyword("length") {
            packet.length = Some(options::length(cursor)?);
        } else if cursor.keyword("mark") {
            packet.mark = Some(options::mark(cursor)?);
        } else if cursor.keyword("on") {
            packet.interface = Some(options::interface(cursor)?);
        } else if cursor.keyword("ether") {
            let from = options::mac(cursor)?;
            cursor.thing("`>`", |_| None, |text| (text == ">").then_some(Ok(())))?;
            packet.ether = Some((from, options::mac(cursor)?));
        } else {
            return Ok(());
        }
    }
}

fn call(cursor: &mut Cursor<'_>, packet: &mut Packet) -> Result<(), ParseError> {
    packet.protocol = Some(parse::protocol(cursor)?);
    let with_ports = has_ports(packet.protocol);
    let Host { address, port } = host(cursor, with_ports)?.thing;
    let nobody = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    packet.ends = ends(nobody, address);
    packet.ports = with_ports.then_some((0, port));
    Ok(())
}

fn has_ports(protocol: Option<Protocol>) -> bool {
    protocol.is_some_and(|it| PortProtocol::try_from(it).is_ok())
}

/// The sender or the receiver. The port is 0 where there is none.
#[derive(Clone, Copy)]
struct Host {
    address: IpAddr,
    port: u16,
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
            arp,
            ends,
            protocol,
            ports,
            tcp_flags,
            icmp,
            fragment,
            dscp,
            vlan,
            length,
            mark,
            ether,
            interface,
            frame: _,
        } = self;
        write!(f, "{way} ")?;
        match ends {
            None => f.write_str(if *arp { ARP } else { NOT_IP })?,
            Some(Ends::V4(from, to)) => {
                self.fmt_ip(f, IpAddr::V4(*from), IpAddr::V4(*to), *ports)?;
            }
            Some(Ends::V6(from, to)) => {
                self.fmt_ip(f, IpAddr::V6(*from), IpAddr::V6(*to), *ports)?;
            }
        }
        match tcp_flags {
            Some(0) => write!(f, " flags {NO_FLAG}")?,
            Some(flags) => write!(f, " flags {}", conditions::letters(*flags))?,
            None => {}
        }
        if let Some((kind, code)) = *icmp {
            let kind = IcmpKind {
                v6: *protocol == Some(Protocol(58)),
                kind,
                code: Some(code),
            };
            write!(f, " type {kind}")?;
        }
        if let Some(dscp) = dscp.filter(|dscp| dscp.number() != 0) {
            write!(f, " dscp {dscp}")?;
        }
        // The fragment stands in front.
        let _: &Option<Fragment> = fragment;
        if let Some(id) = vlan {
            write!(f, " vlan {}", id.number())?;
        }
        if let Some(length) = length {
            write!(f, " length {length}")?;
        }
        if let Some(mark) = mark {
            write!(f, " mark {mark}")?;
        }
        if let Some(name) = interface {
            write!(f, " on {name}")?;
        }
        ether.map_or(Ok(()), |(from, to)| write!(f, " ether {from} > {to}"))
    }
}

impl Packet {
    fn fmt_ip(
        &self,
        f: &mut fmt::Formatter<'_>,
        from: IpAddr,
        to: IpAddr,
        ports: Option<(u16, u16)>,
    ) -> fmt::Result {
        match self.protocol {
            Some(protocol) => write!(f, "{protocol} ")?,
            None => write!(f, "{UNKNOWN} ")?,
        }
        if Way::CALLS.contains(&self.way) {
            return match ports {
                Some((_, port)) => write!(f, "{}", SocketAddr::new(to, port)),
                None => write!(f, "{to}"),
            };
        }
        match self.fragment {
            Some(Fragment::Later) => write!(f, "{LATER} ")?,
            Some(Fragment::First | Fragment::Any) => write!(f, "{FIRST} ")?,
            Some(Fragment::None) | None => {}
        }
        match ports {
            Some((source, destination)) => {
                let from = SocketAddr::new(from, source);
                write!(f, "{from} > {}", SocketAddr::new(to, destination))
            }
            None if has_ports(self.protocol) && self.fragment != Some(Fragment::Later) => {
                write!(f, "{CUT} {from} > {to}")
            }
            None => write!(f, "{from} > {to}"),
        }
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
        packets("out arp vlan 7", "out arp vlan 7");
        packets(
            "tcp first-fragment 10.0.0.1:1 > 10.0.0.2:2 flags SA dscp 46",
            "in tcp first-fragment 10.0.0.1:1 > 10.0.0.2:2 flags SA dscp ef",
        );
        packets("tcp cut ::1 > ::2", "in tcp cut ::1 > ::2");
        packets(
            "icmp6 ::1 > ::2 type echoreq",
            "in icmp6 ::1 > ::2 type echo-request code 0",
        );
        let calls = |text, printed| check(Dialect::Calls, text, printed);
        calls("connect tcp 10.0.0.1:22", "connect tcp 10.0.0.1:22");
        calls("bind udp [::]:53", "bind udp [::]:53");
    }

    #[test]
    fn what_is_missing_is_told() {
        check_error(
            "tcp 10.1.2.3 > 10.0.0.1:22",
            "line 1, column 5: expected `fragment`, `first-fragment`, `cut` or an address and a port, as in \
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
            "line 1, column 26: expected `type`, `dscp`, `vlan`, `length`, `mark`, `on`, `ether` or the end of the line, found `log`",
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
