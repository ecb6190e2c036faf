//! The base chains of nftables: those that the kernel calls at a hook, in the order in which it
//! does so.
//!
//! Asked of nf_tables itself, over netlink: what would say it of every function at a hook, nft or
//! not (`CONFIG_NETFILTER_NETLINK_HOOK`, since 5.14), is not in every kernel. This module must never
//! change a rule set.
//!
//! ```text
//! table inet t { chain c { type filter hook input priority -10; } }   is called at ip/in, at -10
//! ```

use std::io;

use netlink_packet_core::{
    NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};

use crate::{hook::Hook, interface::Namespace, mode::Mode, netlink};

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseChain {
    /// As nft names it: family, table and chain.
    pub(crate) name: String,
    /// Lower runs first.
    pub(crate) priority: i32,
    family: u8,
    hook: u32,
    devices: Vec<Device>,
}

/// What a chain of interfaces is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Device {
    Name(String),
    /// All that begin with this.
    Prefix(String),
}

// `NFPROTO_…` and `enum nf_inet_hooks` of uapi/linux/netfilter.h.
const INET: u8 = 1;
const IPV4: u8 = 2;
const NETDEV: u8 = 5;
const IPV6: u8 = 10;
const INET_INGRESS: u32 = 5;
const NETDEV_INGRESS: u32 = 0;
const NETDEV_EGRESS: u32 = 1;

/// `NFNL_SUBSYS_NFTABLES`, uapi/linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 10 << 8;

// Of uapi/linux/netfilter/nf_tables.h: enum nf_tables_msg_types, NFTA_TABLE_…, NFTA_CHAIN_…,
// NFTA_HOOK_…, NFTA_DEVICE_….
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// The table's chains are not called.
const DORMANT: u32 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_DEVICE: u16 = 3;
const HOOK_DEVICES: u16 = 4;
const DEVICE_NAME: u16 = 1;
/// Since 6.16.
const DEVICE_PREFIX: u16 = 2;

/// The base chains of a namespace that are called, in the order in which they are at each hook.
///
/// # Errors
///
/// The kernel's: `EPROTONOSUPPORT`, `EOPNOTSUPP` or `EINVAL` when it has no nf_tables.
pub(crate) fn base_chains(namespace: &Namespace) -> io::Result<Vec<BaseChain>> {
    let tables = netlink::dump_netfilter(namespace, Message::asking(GET_TABLE))?;
    let dormant: Vec<_> = tables.iter().filter_map(dormant).collect();
    let chains = netlink::dump_netfilter(namespace, Message::asking(GET_CHAIN))?;
    let is_called =
        |(chain, table): &(BaseChain, String)| !dormant.contains(&(chain.family, table.clone()));
    let called = chains.iter().filter_map(base).filter(is_called);
    let mut called: Vec<_> = called.map(|(chain, _)| chain).collect();
    // They are told in the order in which they were made, and of those with the same priority the
    // kernel calls the newest first (nf_hook_entries_grow, net/netfilter/core.c).
    called.reverse();
    called.sort_by_key(|chain| chain.priority);
    Ok(called)
}

impl BaseChain {
    /// Whether it is called at a hook; of an interface, by its name.
    pub(crate) fn is_at(&self, hook: Hook, interface: Option<&str>) -> bool {
        let number = hook.row().attach_type;
        let netfilter = hook.row().modes.contains(&Mode::Netfilter);
        match (self.family, interface) {
            (INET | IPV4 | IPV6, None) => netfilter && self.hook == number,
            (INET, Some(name)) if hook == Hook::INTERFACE_IN => {
                self.hook == INET_INGRESS && self.is_of(name)
            }
            (NETDEV, Some(name)) if hook == Hook::INTERFACE_IN => {
                self.hook == NETDEV_INGRESS && self.is_of(name)
            }
            (NETDEV, Some(name)) if hook == Hook::INTERFACE_OUT => {
                self.hook == NETDEV_EGRESS && self.is_of(name)
            }
            _ => false,
        }
    }

    fn is_of(&self, interface: &str) -> bool {
        self.devices.iter().any(|device| match device {
            Device::Name(name) => name == interface,
            Device::Prefix(prefix) => interface.starts_with(prefix.as_str()),
        })
    }
}

/// The family and the name of a table that sleeps.
fn dormant(table: &Message) -> Option<(u8, String)> {
    let flags = number(find(&table.attributes, TABLE_FLAGS)?)?;
    let name = text(find(&table.attributes, TABLE_NAME)?);
    (flags & DORMANT != 0).then_some((table.family, name))
}

/// A base chain and its table; `None` for one that only rules jump to.
fn base(chain: &Message) -> Option<(BaseChain, String)> {
    let Message {
        family, attributes, ..
    } = chain;
    let hook = find(attributes, CHAIN_HOOK)?;
    let table = text(find(attributes, CHAIN_TABLE)?);
    let chain = text(find(attributes, CHAIN_NAME)?);
    let word = match *family {
        INET => "inet",
        IPV4 => "ip",
        IPV6 => "ip6",
        NETDEV => "netdev",
        // ARP and bridges have no hook of nke's.
        _ => return None,
    };
    let one = find(hook, HOOK_DEVICE).map(|name| Device::Name(text(name)));
    let several = find(hook, HOOK_DEVICES).unwrap_or_default();
    let several = each(several).filter_map(|(kind, name)| match kind {
        DEVICE_NAME => Some(Device::Name(text(name))),
        DEVICE_PREFIX => Some(Device::Prefix(text(name))),
        _ => None,
    });
    let base = BaseChain {
        name: format!("{word} {table} {chain}"),
        priority: number(find(hook, HOOK_PRIORITY)?)?.cast_signed(),
        family: *family,
        hook: number(find(hook, HOOK_NUMBER)?)?,
        devices: one.into_iter().chain(several).collect(),
    };
    Some((base, table))
}

/// Attributes: a kind and a value each.
fn each(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .map(|attribute| {
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            let value = attribute.into_inner().get(NLA_HEADER_SIZE..length);
            (kind, value.unwrap_or_default())
        })
}

fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    each(attributes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number, which netfilter writes in network byte order.
fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

/// A message of netfilter's: a `struct nfgenmsg` (uapi/linux/netfilter/nfnetlink.h), and attributes.
#[derive(Debug)]
struct Message {
    kind: u16,
    family: u8,
    attributes: Vec<u8>,
}

/// Bytes of a `struct nfgenmsg`: the family, a version, a resource's number.
const HEADER: usize = 4;

impl Message {
    /// One that asks for all of a kind, of every family.
    fn asking(kind: u16) -> Self {
        Self {
            kind: SUBSYSTEM | kind,
            family: 0,
            attributes: Vec::new(),
        }
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let bytes = [self.family, 0, 0, 0]
            .into_iter()
            .chain(self.attributes.iter().copied());
        buffer
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
    }
}

impl NetlinkDeserializable for Message {
    type Error = io::Error;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, io::Error> {
        let (Some(family), Some(attributes)) = (payload.first(), payload.get(HEADER..)) else {
            return Err(io::Error::other("a message of netfilter's is too short"));
        };
        Ok(Self {
            kind: header.message_type,
            family: *family,
            attributes: attributes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute, padded.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(NLA_HEADER_SIZE + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn chain(family: u8, hook: u32, more: &[u8]) -> Message {
        let inner = [
            attribute(HOOK_NUMBER, &hook.to_be_bytes()),
            attribute(HOOK_PRIORITY, &(-150i32).to_be_bytes()),
            more.to_vec(),
        ];
        let attributes = [
            attribute(CHAIN_TABLE, b"t\0"),
            attribute(CHAIN_NAME, b"c\0"),
            attribute(CHAIN_HOOK | 0x8000, &inner.concat()),
        ];
        Message {
            kind: 0,
            family,
            attributes: attributes.concat(),
        }
    }

    fn hook(name: &str) -> Hook {
        name.parse().unwrap()
    }

    #[test]
    fn chains_are_at_their_hooks() {
        let (found, table) = base(&chain(IPV6, 1, &[])).unwrap();
        assert_eq!(
            (&found.name[..], &table[..], found.priority),
            ("ip6 t c", "t", -150)
        );
        assert!(found.is_at(hook("ip/in"), None));
        for other in ["ip/prerouting", "socket/lookup", "socket/release"] {
            assert!(!found.is_at(hook(other), None), "{other}");
        }
        assert!(!found.is_at(Hook::INTERFACE_IN, Some("eth0")));
    }

    #[test]
    fn chains_of_interfaces_are_at_theirs() {
        let devices = [
            attribute(DEVICE_NAME, b"eth0\0"),
            attribute(DEVICE_PREFIX, b"wl\0"),
        ];
        let devices = attribute(HOOK_DEVICES | 0x8000, &devices.concat());
        let check = |family, number, at, is: [bool; 3]| {
            let (found, _) = base(&chain(family, number, &devices)).unwrap();
            let names = ["eth0", "wlan0", "eth1"];
            assert_eq!(names.map(|name| found.is_at(at, Some(name))), is);
        };
        check(NETDEV, 0, Hook::INTERFACE_IN, [true, true, false]);
        check(NETDEV, 1, Hook::INTERFACE_OUT, [true, true, false]);
        check(NETDEV, 1, Hook::INTERFACE_IN, [false; 3]);
        check(INET, 5, Hook::INTERFACE_IN, [true, true, false]);
        check(INET, 0, Hook::INTERFACE_IN, [false; 3]);
        check(NETDEV, 0, Hook::INTERFACE_XDP, [false; 3]);
    }

    #[test]
    fn what_is_cut_short_is_no_chain() {
        let whole = chain(INET, 1, &[]);
        for length in 0..whole.attributes.len() {
            let attributes = whole.attributes[..length].to_vec();
            let message = Message {
                attributes,
                ..chain(INET, 1, &[])
            };
            assert_eq!(base(&message), None, "{length}");
        }
        assert!(Message::deserialize(&NetlinkHeader::default(), &[1, 0]).is_err());
        assert_eq!(base(&chain(3, 1, &[])), None);
    }
}
