//! Sets of addresses and prefixes: written here, searched by extensions.
//!
//! ```
//! use nke::filter::AddressSet;
//! use nke_ebpf::address_set::Address;
//!
//! let mut set = AddressSet::of(&["192.0.2.0/24".parse()?, "2001:db8::1".parse()?]).unwrap();
//! assert!(set.contains(Address::V4([192, 0, 2, 7])));
//! set.insert("198.51.100.1".parse()?);
//! set.remove("192.0.2.0/24".parse()?);
//! assert!(!set.contains(Address::V4([192, 0, 2, 7])));
//! assert_eq!(set.len(), 2);
//! # Ok::<(), nke::filter::NoMember>(())
//! ```
//!
//! How a set is laid out, and why it is found fast, stands in [`nke_ebpf::address_set`]. To add or
//! remove one member takes the same few lines read and written, however many there are; the order of the
//! writes is such that a search meanwhile finds the set before or after, and every other member always.
//!
//! A line of a node, once used, is never used for other prefixes: a search could still be reading it.
//! So a set fills up by edits, and is then made anew in another array.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use nke_ebpf::address_set::{
    self as layout, Address, BITS, FULL, Key, LEVEL, Line, NODES, PLACES, REACH,
};

use super::rule::Prefix;

/// In the header: the words with the next free line of a node, and the count of members.
const NEXT: usize = 3;
const COUNT: usize = 4;

/// A member: an address, or all that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// Of IPv4.
    V4(Prefix<Ipv4Addr>),
    /// Of IPv6.
    V6(Prefix<Ipv6Addr>),
}

/// Text that is no member.
#[derive(Debug, thiserror::Error)]
#[error("a member is an address, or a prefix such as 192.0.2.0/24")]
pub struct NoMember;

impl FromStr for Member {
    type Err = NoMember;

    fn from_str(text: &str) -> Result<Self, NoMember> {
        let (address, length) = match text.split_once('/') {
            // As in rules: no sign, no leading zeros.
            Some((address, length)) => {
                let number: u8 = length.parse().map_err(|_| NoMember)?;
                if number.to_string() != length {
                    return Err(NoMember);
                }
                (address, Some(number))
            }
            None => (text, None),
        };
        match address.parse().map_err(|_| NoMember)? {
            IpAddr::V4(address) => {
                Prefix::<Ipv4Addr>::new(address, length.unwrap_or(32)).map(Self::V4)
            }
            IpAddr::V6(address) => {
                Prefix::<Ipv6Addr>::new(address, length.unwrap_or(128)).map(Self::V6)
            }
        }
        .ok_or(NoMember)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(prefix) if prefix.length() == 32 => write!(f, "{}", prefix.address()),
            Self::V4(prefix) => write!(f, "{}/{}", prefix.address(), prefix.length()),
            Self::V6(prefix) if prefix.length() == 128 => write!(f, "{}", prefix.address()),
            Self::V6(prefix) => write!(f, "{}/{}", prefix.address(), prefix.length()),
        }
    }
}

impl Member {
    /// Where it belongs, and its bit there.
    fn place(&self) -> (Key, u32) {
        let (address, is_v6, length) = match self {
            Self::V4(prefix) => (
                Address::V4(prefix.address().octets()),
                false,
                prefix.length(),
            ),
            Self::V6(prefix) => (
                Address::V6(prefix.address().octets()),
                true,
                prefix.length(),
            ),
        };
        let length = u32::from(length);
        let key = Key::of(&address.words(), layout::level(is_v6, length));
        (key, layout::bit(&key, length))
    }
}

/// What became of a member that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in the set now.
    New,
    /// It had been before.
    Known,
    /// There is no room for it: the set must be made anew, larger.
    NoRoom,
}

/// A set in memory, as it goes into the kernel.
#[derive(Clone, Debug)]
pub struct AddressSet {
    lines: Vec<Line>,
}

/// Where a key is, or could be.
struct Found {
    /// Its node.
    node: Option<u32>,
    /// The first place that is free for it: bucket and number.
    free: Option<(u32, usize)>,
    /// Buckets in front of that, where a search must not stop.
    passed: Vec<u32>,
}

impl AddressSet {
    /// The set of these members, with room for as many more as an eighth of them.
    ///
    /// `None` if there are more than a set can have: some two thousand million.
    #[must_use]
    pub fn of(members: &[Member]) -> Option<Self> {
        let room = members.len().checked_add(members.len() / 8 + 16)?;
        // Three or four nodes for each eight places: few buckets overflow.
        let mut buckets = (room / 5).next_power_of_two();
        for attempt in 0.. {
            let lines = room.checked_add(buckets)?.checked_add(1)?;
            // The kernel counts an array's bytes in 32 bits.
            if lines > (u32::MAX as usize - 4096) / size_of::<Line>() {
                return None;
            }
            let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), attempt);
            let mut set = Self {
                lines: vec![[0; 8]; lines],
            };
            set.lines[0] = layout::header(u32::try_from(buckets - 1).ok()?, 0, seed);
            set.lines[0][NEXT] = 1 + buckets as u64;
            if members
                .iter()
                .all(|member| set.insert(*member) != Inserted::NoRoom)
            {
                return Some(set);
            }
            // Bad luck; the second time in more buckets.
            if attempt > 0 {
                buckets *= 2;
            }
        }
        None
    }

    /// The lines, as the kernel has them.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How many members it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.lines[0][COUNT]
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an address is in it, as an extension would find.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        let is_v6 = matches!(address, Address::V6(_));
        layout::contains(&self.lines[..], &address.words(), is_v6)
    }

    /// Whether this very prefix is a member.
    #[must_use]
    pub fn has(&self, member: Member) -> bool {
        let (key, bit) = member.place();
        let node = self.find(&key).node;
        node.is_some_and(|node| {
            let word = self.lines[node as usize][BITS + (bit >> 6) as usize];
            word >> (bit & 63) & 1 != 0
        })
    }

    /// Adds a member.
    pub fn insert(&mut self, member: Member) -> Inserted {
        let (key, bit) = member.place();
        let found = self.find(&key);
        let node = match (found.node, found.free) {
            (Some(node), _) => node,
            (None, Some(free)) => match self.take(&key, free, &found.passed) {
                Some(node) => node,
                None => return Inserted::NoRoom,
            },
            (None, None) => return Inserted::NoRoom,
        };
        let word = &mut self.lines[node as usize][BITS + (bit >> 6) as usize];
        let mark = 1 << (bit & 63);
        if *word & mark != 0 {
            return Inserted::Known;
        }
        *word |= mark;
        self.lines[0][COUNT] += 1;
        Inserted::New
    }

    /// Takes a member out. Whether it was in.
    pub fn remove(&mut self, member: Member) -> bool {
        if !self.has(member) {
            return false;
        }
        let (key, bit) = member.place();
        if let Some(node) = self.find(&key).node {
            self.lines[node as usize][BITS + (bit >> 6) as usize] &= !(1 << (bit & 63));
            self.lines[0][COUNT] -= 1;
        }
        true
    }

    /// Looks for a key's node.
    fn find(&self, key: &Key) -> Found {
        let [mask, _, seed, ..] = self.lines[0];
        let hash = key.hash(seed);
        let tag = Key::tag(hash) as u16;
        let mut found = Found {
            node: None,
            free: None,
            passed: Vec::new(),
        };
        for step in 0..REACH {
            let bucket = 1 + ((hash as u32).wrapping_add(step) & mask as u32);
            let places = &self.lines[bucket as usize];
            let mut free = None;
            let mut is_taken = false;
            for place in 0..PLACES {
                let (there, node) = entry(places, place);
                if there == tag {
                    let line = &self.lines[node as usize];
                    if line[..LEVEL] == key.prefix && line[LEVEL] == u64::from(key.level) {
                        found.node = Some(node);
                        return found;
                    }
                    is_taken = true;
                } else if there == 0 && free.is_none() {
                    free = Some((bucket, place));
                }
            }
            if found.free.is_none() {
                // Another's tag of the same looks keeps this one out.
                match free.filter(|_| !is_taken) {
                    Some(free) => found.free = Some(free),
                    None => found.passed.push(bucket),
                }
            }
            if places[FULL] == 0 && found.free.is_some() {
                break;
            }
        }
        found
    }

    /// Gives a key a node of its own.
    fn take(&mut self, key: &Key, (bucket, place): (u32, usize), passed: &[u32]) -> Option<u32> {
        let [_, _, seed, next, ..] = self.lines[0];
        let node = u32::try_from(next).ok()?;
        let line = self.lines.get_mut(node as usize)?;
        let [high, low] = key.prefix;
        *line = [high, low, u64::from(key.level), 0, 0, 0, 0, 0];
        for passed in passed {
            self.lines[*passed as usize][FULL] = 1;
        }
        let tag = Key::tag(key.hash(seed));
        let places = &mut self.lines[bucket as usize];
        places[NODES + place / 2] |= u64::from(node) << (place % 2 * 32);
        places[place / 4] |= tag << (place % 4 * 16);
        let header = &mut self.lines[0];
        header[1] |= 1 << key.level;
        header[NEXT] += 1;
        Some(node)
    }
}

/// The tag at a place of a bucket, and the node's line.
fn entry(places: &Line, place: usize) -> (u16, u32) {
    let tag = places[place / 4] >> (place % 4 * 16);
    let node = places[NODES + place / 2] >> (place % 2 * 32);
    (tag as u16, node as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Members and addresses that meet often: few bits differ.
    fn member() -> impl Strategy<Value = Member> {
        let v4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| {
            let address = Ipv4Addr::from_bits(bits & 0x8000_8183 | bits & 0x4040_4040);
            Member::V4(Prefix::<Ipv4Addr>::new(address, length).unwrap())
        });
        let v6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| {
            let address = Ipv6Addr::from_bits(bits & 0x8000_0000_0001_0000_8180_0000_0000_0083);
            Member::V6(Prefix::<Ipv6Addr>::new(address, length).unwrap())
        });
        prop_oneof![v4, v6]
    }

    fn is_in(members: &HashSet<Member>, address: Address) -> bool {
        members.iter().any(|member| match (member, address) {
            (Member::V4(prefix), Address::V4(bytes)) => prefix.contains(Ipv4Addr::from(bytes)),
            (Member::V6(prefix), Address::V6(bytes)) => prefix.contains(Ipv6Addr::from(bytes)),
            (Member::V4(_), Address::V6(_)) | (Member::V6(_), Address::V4(_)) => false,
        })
    }

    /// The first and the last address of a member, and those just outside.
    fn borders(member: &Member) -> Vec<Address> {
        match member {
            Member::V4(prefix) => {
                let first = prefix.address().to_bits();
                let last = first | !prefix.mask().to_bits();
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                    .map(|bits| Address::V4(bits.to_be_bytes()))
                    .to_vec()
            }
            Member::V6(prefix) => {
                let first = prefix.address().to_bits();
                let last = first | !prefix.mask().to_bits();
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                    .map(|bits| Address::V6(bits.to_be_bytes()))
                    .to_vec()
            }
        }
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_into_it(
            begin in prop::collection::vec(member(), 0..60),
            edits in prop::collection::vec((any::<bool>(), member()), 0..60),
        ) {
            let mut set = AddressSet::of(&begin).unwrap();
            let mut model: HashSet<Member> = begin.iter().copied().collect();
            for (adds, member) in edits {
                if adds {
                    match set.insert(member) {
                        Inserted::New => prop_assert!(model.insert(member)),
                        Inserted::Known => prop_assert!(model.contains(&member)),
                        Inserted::NoRoom => {
                            model.insert(member);
                            let all: Vec<_> = model.iter().copied().collect();
                            set = AddressSet::of(&all).unwrap();
                        }
                    }
                } else {
                    prop_assert_eq!(set.remove(member), model.remove(&member));
                }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            for address in model.iter().flat_map(borders).chain(begin.iter().flat_map(borders)) {
                prop_assert_eq!(set.contains(address), is_in(&model, address), "{:?}", address);
            }
        }

        #[test]
        fn what_is_printed_is_read(member in member()) {
            prop_assert_eq!(member.to_string().parse::<Member>().unwrap(), member);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _: Result<Member, NoMember> = text.parse();
        }
    }

    #[test]
    fn a_large_set_is_found_whole() {
        // As many as fill buckets, and make some overflow; any odd factor gives each another address.
        let address = |n: u32| n.wrapping_mul(0x9e37_79b1);
        let members: Vec<_> = (0..100_000)
            .map(|n| Prefix::<Ipv4Addr>::new(Ipv4Addr::from_bits(address(n)), 32))
            .map(|prefix| Member::V4(prefix.unwrap()))
            .collect();
        let set = AddressSet::of(&members).unwrap();
        assert_eq!(set.len(), 100_000);
        let contains = |n| set.contains(Address::V4(address(n).to_be_bytes()));
        assert!((0..100_000).all(contains));
        assert!(!(100_000..200_000).any(contains));
    }

    #[test]
    fn a_full_set_says_so() {
        let mut set = AddressSet::of(&[]).unwrap();
        let mut members = (0..).map(|n| {
            let prefix = Prefix::<Ipv4Addr>::new(Ipv4Addr::from_bits(n << 8), 32);
            Member::V4(prefix.unwrap())
        });
        let room = members
            .position(|member| set.insert(member) == Inserted::NoRoom)
            .unwrap();
        assert_eq!(set.len(), room as u64);
        assert!(room >= 4, "{room}");
    }

    #[test]
    fn members_are_written_as_in_rules() {
        for text in [
            "",
            "192.0.2.1/33",
            "192.0.2.1/",
            "192.0.2.1/+8",
            "::1/129",
            "::/08",
            "all",
        ] {
            assert!(text.parse::<Member>().is_err(), "{text:?}");
        }
        let member: Member = "192.0.2.77/24".parse().unwrap();
        assert_eq!(member.to_string(), "192.0.2.0/24");
    }
}
