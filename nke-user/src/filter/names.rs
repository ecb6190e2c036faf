//! The names of protocols and ports that the language knows.
//!
//! They are few and fixed on purpose: a rule must mean the same on every host, whatever its
//! `/etc/services` says. Whatever has no name here has a number.
//!
//! Never read from a file, and never printed for ports: a number leaves no question.

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
