//! The values that nft compares with, as its JSON has them.

use std::net::IpAddr;

use serde_json::Value;

use super::super::super::conditions::{Dscp, IcmpKind, TcpFlags, VlanId};
use super::super::super::further::{Asked, Mac, Mark};
use super::super::super::names;
use super::super::super::rule::{PortRange, Protocol};
use super::super::line::Net;

pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn each<T>(values: &[Value], read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    let all: Option<Vec<_>> = values.iter().map(read).collect();
    all.filter(|all| !all.is_empty())
}

pub(super) fn protocol(value: &Value) -> Option<Protocol> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    number
        .or_else(|| names::protocol(word(value)))
        .map(Protocol)
}

/// The protocol that a match of ports is about: nothing within if any will do.
#[expect(clippy::option_option, reason = "any protocol is an answer")]
pub(super) fn carried(name: &str) -> Option<Option<Vec<Protocol>>> {
    match name {
        "th" => Some(None),
        "tcp" | "udp" | "sctp" | "dccp" | "udplite" => {
            Some(names::protocol(name).map(|number| vec![Protocol(number)]))
        }
        _ => None,
    }
}

pub(super) fn dscp(value: &Value) -> Option<Dscp> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    number
        .or_else(|| names::dscp(word(value)))
        .and_then(Dscp::new)
}

pub(super) fn icmp(v6: bool, value: &Value) -> Option<IcmpKind> {
    let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
    let kind = number.or_else(|| names::icmp(v6, word(value)))?;
    let code = None;
    Some(IcmpKind { v6, kind, code })
}

/// Whether it is IPv6.
pub(super) fn family(values: &[Value]) -> Option<bool> {
    let [value] = values else {
        return None;
    };
    match word(value) {
        "ipv4" | "ip" => Some(false),
        "ipv6" | "ip6" => Some(true),
        _ => None,
    }
}

/// `eth*` is every name that begins so.
pub(super) fn is_interface(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

pub(super) fn nets(value: &Value) -> Option<Vec<Net>> {
    if let Some(prefix) = value.get("prefix") {
        let address: IpAddr = word(&prefix["addr"]).parse().ok()?;
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return Net::new(address, length).map(|net| vec![net]);
    }
    if let Some([first, last]) = value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return Net::range(word(first).parse().ok()?, word(last).parse().ok()?);
    }
    Net::parse(word(value)).map(|net| vec![net])
}

pub(super) fn ports(value: &Value) -> Option<PortRange> {
    if let Some([first, last]) = value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return PortRange::new(port(first)?, port(last)?);
    }
    port(value).map(PortRange::one)
}

pub(super) fn port(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.or_else(|| names::port(word(value)))
}

/// As `5`, of the bits of a mask.
pub(super) fn mark(value: &Value, mask: Option<&Value>) -> Option<Mark> {
    let number = |value: &Value| value.as_u64().and_then(|it| u32::try_from(it).ok());
    Mark::new(number(value)?, mask.map_or(Some(u32::MAX), number)?)
}

pub(super) fn mac(value: &Value) -> Option<Mac> {
    Mac::parse(word(value))
}

pub(super) fn vlan(value: &Value) -> Option<VlanId> {
    VlanId::new(u16::try_from(value.as_u64()?).ok()?)
}

/// The flags of TCP of which one must be so, or none: which of the two.
pub(super) fn flags(op: &str, mask: Option<&Value>, right: &[Value]) -> Option<(Vec<Asked>, bool)> {
    let one = |set, among| TcpFlags::new(set, among).map(Asked::Flags);
    let among = mask.map_or(Some(u8::MAX), bits)?;
    let (asked, not) = match (op, right) {
        ("==" | "!=", right) => (each(right, |it| one(bits(it)?, among))?, op == "!="),
        // Any of them, or none.
        ("in" | "!", [right]) if mask.is_none() => {
            let among = bits(right)?;
            match op {
                "in" if among.is_power_of_two() => (vec![one(among, among)?], false),
                _ => (vec![one(0, among)?], op == "in"),
            }
        }
        _ => return None,
    };
    Some((asked, not))
}

/// As `"syn"`, `["syn", "ack"]`, `{"|": ["syn", "ack"]}` or `2`.
fn bits(value: &Value) -> Option<u8> {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let all = value.get("|").unwrap_or(value);
    if let Some(all) = all.as_array() {
        return all
            .iter()
            .try_fold(0, |found, one| Some(found | bits(one)?));
    }
    let named = NAMES.iter().position(|name| *name == word(value));
    let number = value.as_u64().and_then(|it| u8::try_from(it).ok());
    number.or_else(|| named.map(|bit| 1 << bit))
}
