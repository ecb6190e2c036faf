//! What the bundled extensions and their user side agree on: the layout of maps.
//!
//! Map values are described as structs for the extension, and as the words that they are made of
//! for the user side, which so needs no unsafe code to read them from the kernel:
//!
//! ```
//! use nke_ebpf::abi::{Rule, RULE_WORDS};
//!
//! let rule = Rule { outcome: Rule::DROP, number: 7, ..Rule::ANY };
//! let words: [u64; RULE_WORDS] = rule.to_words();
//! assert_eq!(Rule::from_words(&words), rule);
//! ```
//!
//! Nothing here may have padding, or a meaning that depends on who reads it.

pub mod classic;
pub mod records;
mod rule_set;
pub mod sources;
pub mod states;
mod test;

pub use rule_set::{
    At, COUNT_WORDS, COUNTS_IN_PAGE, FAST_WORD, FEW, FEW_AT, FEW_TESTS_AT, FORMAT, FRONT_WORDS,
    Field, Front, HEADER_WORDS, HEADERS, Header, LATER_WORD, LINE_WORDS, MOST_BITS, PAGE_LINES,
    PAGE_WORDS, PAGES, Page, ROOTS, RULES_IN_PAGE, RUN, Root, TREES,
};
pub use test::{SUBJECT_WORDS, Subject, TESTS, Test, field, limit};

/// Packets and bytes. A map holds one for each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of those packets, link header included.
    pub bytes: u64,
}

/// What a routine of an extension is run for, the word that its context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// It has been loaded.
    Load = 0,
    /// It is about to be unloaded.
    Unload = 1,
    /// After `exit` had answered well, it could not be unloaded after all: `init` is run again.
    Resume = 2,
    /// It is about to be unloaded, whatever the answer.
    Force = 3,
}

impl From<u32> for Event {
    fn from(word: u32) -> Self {
        match word {
            0 => Self::Load,
            2 => Self::Resume,
            3 => Self::Force,
            _ => Self::Unload,
        }
    }
}

/// Names of the map of the packet filter, and of the connection guard.
pub mod map {
    /// An array of one map, which is an array of [`super::Page`]. Where there is none yet,
    /// everything passes.
    pub const RULES: &str = "RULES";
    /// A per-CPU array of one `u64`: how many log lines were not written, for they would have been too many.
    pub const LEFT_OUT: &str = "LEFT_OUT";
}

/// The target of log lines that begin with two numbers: the time, in nanoseconds of `CLOCK_BOOTTIME`, and the index of the
/// interface that the packet comes in by, or goes out by if it only goes out; 0 of none.
pub const STAMPED: &str = "nke-stamped";

/// What is known of a packet or a socket call, one bit each. A rule asks for some of them.
pub mod facts {
    /// The packet is IPv4; the address of the call is.
    pub const V4: u64 = 1;
    /// The packet is IPv6; the address of the call is.
    pub const V6: u64 = 1 << 1;
    /// The protocol is known, and stands in the bits of [`PROTOCOL_MASK`].
    pub const PROTOCOL: u64 = 1 << 2;
    /// The ports are known.
    pub const PORTS: u64 = 1 << 3;
    /// The packet is on its way in.
    pub const IN: u64 = 1 << 4;
    /// The packet is on its way out; the call is [`CONNECT`] or [`SENDMSG`].
    pub const OUT: u64 = 1 << 5;
    /// The flags of TCP, or the type and code of ICMP, are known: see [`DETAIL_SHIFT`].
    pub const DETAIL: u64 = 1 << 6;
    /// The DSCP is known, and stands in the bits of [`DSCP_MASK`].
    pub const DSCP: u64 = 1 << 7;
    /// The call is `connect`.
    pub const CONNECT: u64 = 1 << 16;
    /// The call is `sendmsg`, or one of its kin, with an address.
    pub const SENDMSG: u64 = 1 << 17;
    /// The call is `bind`.
    pub const BIND: u64 = 1 << 18;

    /// The facts of a direction: [`IN`], [`OUT`], or both of a packet that is forwarded.
    #[inline(always)]
    #[must_use]
    pub const fn direction(direction: crate::Direction) -> u64 {
        (direction as u64) << 4
    }

    /// Where the protocol's number stands.
    pub const PROTOCOL_SHIFT: u32 = 8;
    /// The protocol's number.
    pub const PROTOCOL_MASK: u64 = 0xff << PROTOCOL_SHIFT;

    /// Where the sixteen bits begin that the protocol's own header fills: flags of TCP, type and
    /// code of ICMP.
    pub const DETAIL_SHIFT: u32 = 32;
    /// The flags of TCP; or the type of ICMP, and above it the code.
    pub const DETAIL_MASK: u64 = 0xffff << DETAIL_SHIFT;

    /// Where the DSCP stands.
    pub const DSCP_SHIFT: u32 = 48;
    /// The DSCP.
    pub const DSCP_MASK: u64 = 0x3f << DSCP_SHIFT;
    /// The packet is a fragment.
    pub const FRAGMENT: u64 = 1 << 54;
    /// It is not the first one.
    pub const LATER: u64 = 1 << 55;
    /// The packet has a VLAN tag; the outer one's identifier stands in the bits of [`VLAN_MASK`].
    pub const TAGGED: u64 = 1 << 56;
    /// The packet is ARP.
    pub const ARP: u64 = 1 << 57;
    /// Where the identifier of the VLAN tag stands.
    pub const VLAN_SHIFT: u32 = 19;
    /// The identifier of the VLAN tag.
    pub const VLAN_MASK: u64 = 0xfff << VLAN_SHIFT;

    /// What is read of a packet only where a rule asks for it ([`super::Rule::ASKS_MORE`]).
    pub const MORE: u64 =
        DETAIL | DETAIL_MASK | DSCP | DSCP_MASK | FRAGMENT | LATER | TAGGED | VLAN_MASK;
}

/// A pair of ports as one number: the sender's in the low half, the receiver's in the high one.
#[inline(always)]
#[must_use]
pub const fn ports(source: u16, destination: u16) -> u64 {
    source as u64 | (destination as u64) << 32
}

/// The top bit of both halves of a pair of ports. Set in one side of a subtraction, it stays set
/// in the halves that need no borrow: two comparisons for one.
pub const PORT_GUARD: u64 = 1 << 31 | 1 << 63;

/// Eight bytes of both addresses, and which of their bits are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ends {
    /// Bits that the sender's address must have where the mask has ones.
    pub source: u64,
    /// Which bits of the sender's address are compared.
    pub source_mask: u64,
    /// Bits that the receiver's address must have where the mask has ones.
    pub destination: u64,
    /// Which bits of the receiver's address are compared.
    pub destination_mask: u64,
}

impl Ends {
    /// All addresses.
    pub const ANY: Self = Self {
        source: 0,
        source_mask: 0,
        destination: 0,
        destination_mask: 0,
    };

    const fn to_words(self) -> [u64; 4] {
        [
            self.source,
            self.source_mask,
            self.destination,
            self.destination_mask,
        ]
    }

    const fn from_words(words: [u64; 4]) -> Self {
        let [source, source_mask, destination, destination_mask] = words;
        Self {
            source,
            source_mask,
            destination,
            destination_mask,
        }
    }
}

/// One rule, ready to be compared without a branch.
//
// Two lines of a processor's cache. What nearly all rules differ in lies in the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rule {
    /// The first eight bytes of the addresses; all of IPv4's.
    pub front: Ends,
    /// Facts that must hold where the mask has ones. See [`facts`].
    pub facts: u64,
    /// Which facts are compared.
    pub facts_mask: u64,
    /// The lowest ports that match. See [`ports`].
    pub first_ports: u64,
    /// The highest ports that match, with [`PORT_GUARD`].
    pub last_ports: u64,
    /// The last eight bytes of IPv6 addresses.
    pub back: Ends,
    /// What follows from a match: [`Rule::DROP`], [`Rule::REJECT`], [`Rule::REDIRECT`], [`Rule::LOG`], [`Rule::SAMPLED`],
    /// [`Rule::GO_ON`], [`Rule::KEEP_STATE`]; and whether it is to be known before that: [`Rule::CASE`].
    pub outcome: u32,
    /// The number of the rule within its set, from 1: by it, the rule is counted and found in the
    /// list. It stays while rules come and go in front of it.
    pub number: u32,
    /// Where its [`Test`]s lie, which are looked at only where all else matches; 0: nowhere, there
    /// are none. See [`Test::extra`].
    pub extra: u32,
    /// Of two rules that match, the one decides whose order is lower.
    pub order: u32,
    /// The edition of the rule set from which on the rule is gone; `u32::MAX`: it is not.
    pub until: u32,
    /// In the list: the rule's place among those that are there, from 1, in even editions and in odd
    /// ones. Log lines have it.
    pub place: [u32; 2],
    /// In the list of all rules, the number of its first test among those of all, from 0.
    pub listed: u32,
}

/// How many words a rule is made of.
pub const RULE_WORDS: usize = 16;

impl Rule {
    /// A bit of [`Rule::outcome`]: the packet is dropped.
    pub const DROP: u32 = 1;
    /// A bit of [`Rule::outcome`]: the packet is logged.
    pub const LOG: u32 = 1 << 1;
    /// A bit of [`Rule::outcome`]: the packet is counted and perhaps marked, and the search goes on
    /// behind the rule.
    pub const GO_ON: u32 = 1 << 4;
    /// A bit of [`Rule::outcome`]: only some packets are logged, as the first of the rule's tests says.
    pub const SAMPLED: u32 = 1 << 5;
    /// A bit of [`Rule::outcome`], beside [`Rule::DROP`]: the sender is told, as the bits of [`Rule::REFUSAL`] say.
    pub const REJECT: u32 = 1 << 6;
    /// A bit of [`Rule::outcome`]: the rule has other [`Test`]s than one [`Test::IN`].
    pub const CASE: u32 = 1 << 7;
    /// A bit of [`Rule::outcome`], beside [`Rule::DROP`]: the packet leaves by another interface, as the first of the
    /// rule's tests says.
    pub const REDIRECT: u32 = 1 << 11;
    /// Where the number of a [`Refusal`](crate::Refusal) stands in [`Rule::outcome`].
    pub const REFUSAL_SHIFT: u32 = 8;
    /// The number of a [`Refusal`](crate::Refusal).
    pub const REFUSAL: u32 = 7 << Self::REFUSAL_SHIFT;
    /// The bits of [`Rule::outcome`] that say what becomes of the packet, and nothing beside.
    pub const VERDICTS: u32 = Self::DROP | Self::REJECT | Self::REFUSAL;
    /// A bit of [`Rule::outcome`]: the packet's flow is entered into the table of flows.
    pub const KEEP_STATE: u32 = 1 << 16;
    /// A bit of a rule set's default: some rule asks for [`facts::MORE`].
    pub const ASKS_MORE: u32 = 1 << 2;
    /// A bit of a rule set's default: some rule has [`Test`]s.
    pub const ASKS_TESTS: u32 = 1 << 3;
    /// What rules ask for of a packet beside its flow.
    pub const ASKS: u32 = Self::ASKS_MORE | Self::ASKS_TESTS;

    /// The rule that matches and passes every packet.
    pub const ANY: Self = Self {
        front: Ends::ANY,
        facts: 0,
        facts_mask: 0,
        first_ports: 0,
        last_ports: ports(u16::MAX, u16::MAX) | PORT_GUARD,
        back: Ends::ANY,
        outcome: 0,
        number: 0,
        extra: 0,
        order: 0,
        until: u32::MAX,
        place: [0; 2],
        listed: 0,
    };

    /// The words that this rule is in memory.
    #[must_use]
    pub const fn to_words(&self) -> [u64; RULE_WORDS] {
        let [s0, sm0, d0, dm0] = self.front.to_words();
        let [s1, sm1, d1, dm1] = self.back.to_words();
        let [even, odd] = self.place;
        [
            s0,
            sm0,
            d0,
            dm0,
            self.facts,
            self.facts_mask,
            self.first_ports,
            self.last_ports,
            s1,
            sm1,
            d1,
            dm1,
            join(self.outcome, self.number),
            join(self.extra, self.order),
            join(self.until, even),
            join(odd, self.listed),
        ]
    }

    /// The rule that these words are in memory.
    #[must_use]
    pub const fn from_words(words: &[u64; RULE_WORDS]) -> Self {
        let [
            s0,
            sm0,
            d0,
            dm0,
            facts,
            facts_mask,
            first_ports,
            last_ports,
            s1,
            sm1,
            d1,
            dm1,
            end,
            more,
            gone,
            rest,
        ] = *words;
        let (outcome, number) = split(end);
        let (extra, order) = split(more);
        let (until, even) = split(gone);
        let (odd, listed) = split(rest);
        Self {
            front: Ends::from_words([s0, sm0, d0, dm0]),
            facts,
            facts_mask,
            first_ports,
            last_ports,
            back: Ends::from_words([s1, sm1, d1, dm1]),
            outcome,
            number,
            extra,
            order,
            until,
            place: [even, odd],
            listed,
        }
    }
}

const _: () = assert!(size_of::<Rule>() == RULE_WORDS * 8);

/// Two numbers that lie in memory one behind the other, as one word.
//
// Not by their bytes: compiled for BPF, that is a dozen instructions.
#[inline(always)]
#[must_use]
pub const fn join(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}

/// The two numbers that lie in a word of memory one behind the other.
#[inline(always)]
#[must_use]
pub const fn split(word: u64) -> (u32, u32) {
    let (low, high) = (word as u32, (word >> 32) as u32);
    if cfg!(target_endian = "little") {
        (low, high)
    } else {
        (high, low)
    }
}
