//! The names of protocols and ports that the language knows.
//!
//! They are few and fixed on purpose: a rule must mean the same on every host, whatever its
//! `/etc/services` says. Whatever has no name here has a number.
//!
//! Never read from a file, and never printed for ports: a number leaves no question.

use nke_ebpf::Refusal;

/// Protocols by name. The first name of a number is the one that is printed.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// Ports by name.
const PORTS: &[(&str, u16)] = &[
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("isakmp", 500),
    ("syslog", 514),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("openvpn", 1194),
    ("radius", 1812),
    ("nfs", 2049),
    ("mysql", 3306),
    ("rdp", 3389),
    ("ipsec-nat-t", 4500),
    ("vxlan", 4789),
    ("sip", 5060),
    ("mdns", 5353),
    ("postgresql", 5432),
    ("redis", 6379),
    ("wireguard", 51820),
];

/// Types of ICMP by name. The first name of a number is the one that is printed; pf's are the
/// shorter ones, nft's the longer ones.
const ICMP: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("echorep", 0),
    ("destination-unreachable", 3),
    ("unreach", 3),
    ("source-quench", 4),
    ("squench", 4),
    ("redirect", 5),
    ("redir", 5),
    ("echo-request", 8),
    ("echoreq", 8),
    ("router-advertisement", 9),
    ("routeradv", 9),
    ("router-solicitation", 10),
    ("routersol", 10),
    ("time-exceeded", 11),
    ("timex", 11),
    ("parameter-problem", 12),
    ("paramprob", 12),
    ("timestamp-request", 13),
    ("timereq", 13),
    ("timestamp-reply", 14),
    ("timerep", 14),
];

/// What the sender of a rejected packet is told, by nft's names (`icmpx`).
pub(super) const REFUSALS: &[(&str, Refusal)] = &[
    ("port-unreachable", Refusal::Port),
    ("host-unreachable", Refusal::Host),
    ("no-route", Refusal::NoRoute),
    ("admin-prohibited", Refusal::Admin),
];

/// Types of ICMP for IPv6 by name, alike.
const ICMP6: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("unreach", 1),
    ("packet-too-big", 2),
    ("toobig", 2),
    ("time-exceeded", 3),
    ("timex", 3),
    ("parameter-problem", 4),
    ("paramprob", 4),
    ("echo-request", 128),
    ("echoreq", 128),
    ("echo-reply", 129),
    ("echorep", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("nd-router-solicit", 133),
    ("routersol", 133),
    ("nd-router-advert", 134),
    ("routeradv", 134),
    ("nd-neighbor-solicit", 135),
    ("neighbrsol", 135),
    ("nd-neighbor-advert", 136),
    ("neighbradv", 136),
    ("nd-redirect", 137),
    ("redir", 137),
    ("mld2-listener-report", 143),
];

/// Code points by name (RFC 2474, 2597, 3246, 5865).
const DSCP: &[(&str, u8)] = &[
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

const fn icmps(v6: bool) -> &'static [(&'static str, u8)] {
    if v6 { ICMP6 } else { ICMP }
}

/// The number of a type of ICMP, or of ICMP for IPv6.
pub(super) fn icmp(v6: bool, name: &str) -> Option<u8> {
    number_of(icmps(v6), name)
}

/// The name that a type is printed with.
pub(super) fn icmp_name(v6: bool, number: u8) -> Option<&'static str> {
    name_of(icmps(v6), number)
}

/// Every name of a type, to suggest one.
pub(super) fn icmp_names(v6: bool) -> impl Iterator<Item = &'static str> {
    icmps(v6).iter().map(|&(name, _)| name)
}

/// The number of a code point.
pub(super) fn dscp(name: &str) -> Option<u8> {
    number_of(DSCP, name)
}

/// The name that a code point is printed with.
pub(super) fn dscp_name(number: u8) -> Option<&'static str> {
    name_of(DSCP, number)
}

/// Every name of a code point, to suggest one.
pub(super) fn dscps() -> impl Iterator<Item = &'static str> {
    DSCP.iter().map(|&(name, _)| name)
}

fn number_of(names: &[(&str, u8)], name: &str) -> Option<u8> {
    let mut names = names.iter();
    names
        .find(|(known, _)| *known == name)
        .map(|&(_, number)| number)
}

fn name_of(names: &'static [(&'static str, u8)], number: u8) -> Option<&'static str> {
    let mut names = names.iter();
    names
        .find(|(_, known)| *known == number)
        .map(|&(name, _)| name)
}

/// The number of a protocol.
pub(super) fn protocol(name: &str) -> Option<u8> {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, number)| number)
}

/// The name that a protocol is printed with.
pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS
        .iter()
        .find(|(_, known)| *known == number)
        .map(|&(name, _)| name)
}

/// The number of a port.
pub(super) fn port(name: &str) -> Option<u16> {
    PORTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, number)| number)
}

/// Every name of a protocol, to suggest one.
pub(super) fn protocols() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|&(name, _)| name)
}

/// Every name of a port, to suggest one.
pub(super) fn ports() -> impl Iterator<Item = &'static str> {
    PORTS.iter().map(|&(name, _)| name)
}
