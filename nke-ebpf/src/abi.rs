//! What the bundled extensions and their user side agree on: the layout of maps.
//!
//! Map values are described as structs for the extension, and as the words that they are made of
//! for the user side, which so needs no unsafe code to read them from the kernel:
//!
//! ```
//! use nke_ebpf::abi::{Rule, RULE_WORDS};
//!
//! let rule = Rule { outcome: Rule::DROP, slot: 7, ..Rule::ANY };
//! let words: [u64; RULE_WORDS] = rule.to_words();
//! assert_eq!(Rule::from_words(&words), rule);
//! ```
//!
//! Nothing here may have padding, or a meaning that depends on who reads it.

pub mod records;

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

/// Names of the maps of the packet filter, and of the connection guard.
pub mod map {
    /// An array of one map, which is an array of one [`super::RuleSet`]. Where there is none yet,
    /// everything passes.
    pub const RULES: &str = "RULES";
    /// A per-CPU array of [`super::Count`], by [`super::Rule::slot`].
    pub const HITS: &str = "HITS";
}

/// How many rules a rule set can hold.
pub const CAPACITY: usize = 1024;

/// Where packets that no rule matched are counted.
pub const DEFAULT_SLOT: u32 = CAPACITY as u32;

/// Where packets that could not be judged, and were dropped for it, are counted.
pub const OBSCURED_SLOT: u32 = CAPACITY as u32 + 1;

/// How many counts the map of hits has.
pub const SLOTS: usize = CAPACITY + 2;

/// What is known of a packet or a socket call, one bit each. A rule asks for some of them.
pub mod facts {
    /// The packet is IPv4; the address of the call is.
    pub const V4: u32 = 1;
    /// The packet is IPv6; the address of the call is.
    pub const V6: u32 = 1 << 1;
    /// The protocol is known, and stands in the bits of [`PROTOCOL_MASK`].
    pub const PROTOCOL: u32 = 1 << 2;
    /// The ports are known.
    pub const PORTS: u32 = 1 << 3;
    /// The packet is on its way in.
    pub const IN: u32 = 1 << 4;
    /// The packet is on its way out; the call is [`CONNECT`] or [`SENDMSG`].
    pub const OUT: u32 = 1 << 5;
    /// The call is `connect`.
    pub const CONNECT: u32 = 1 << 16;
    /// The call is `sendmsg`, or one of its kin, with an address.
    pub const SENDMSG: u32 = 1 << 17;
    /// The call is `bind`.
    pub const BIND: u32 = 1 << 18;

    /// The facts of a direction: [`IN`], [`OUT`], or both of a packet that is forwarded.
    #[inline(always)]
    #[must_use]
    pub const fn direction(direction: crate::Direction) -> u32 {
        (direction as u32) << 4
    }

    /// Where the protocol's number stands.
    pub const PROTOCOL_SHIFT: u32 = 8;
    /// The protocol's number.
    pub const PROTOCOL_MASK: u32 = 0xff << PROTOCOL_SHIFT;
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

/// One rule, ready to be compared without a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rule {
    /// Bits that the sender's address must have where the mask has ones.
    pub source: [u64; 2],
    /// Which bits of the sender's address are compared.
    pub source_mask: [u64; 2],
    /// Bits that the receiver's address must have where the mask has ones.
    pub destination: [u64; 2],
    /// Which bits of the receiver's address are compared.
    pub destination_mask: [u64; 2],
    /// Facts that must hold where the mask has ones. See [`facts`].
    pub facts: u32,
    /// Which facts are compared.
    pub facts_mask: u32,
    /// The lowest ports that match. See [`ports`].
    pub first_ports: u64,
    /// The highest ports that match, with [`PORT_GUARD`].
    pub last_ports: u64,
    /// What follows from a match: [`Rule::DROP`] and [`Rule::LOG`].
    pub outcome: u32,
    /// Where the rule's hits are counted: below [`CAPACITY`].
    pub slot: u32,
}

/// How many words a rule is made of.
pub const RULE_WORDS: usize = 12;

/// How many words a rule set is made of.
pub const RULE_SET_WORDS: usize = 1 + CAPACITY * RULE_WORDS;

impl Rule {
    /// A bit of [`Rule::outcome`]: the packet is dropped.
    pub const DROP: u32 = 1;
    /// A bit of [`Rule::outcome`]: the packet is logged.
    pub const LOG: u32 = 1 << 1;

    /// The rule that matches and passes every packet.
    pub const ANY: Self = Self {
        source: [0; 2],
        source_mask: [0; 2],
        destination: [0; 2],
        destination_mask: [0; 2],
        facts: 0,
        facts_mask: 0,
        first_ports: 0,
        last_ports: ports(u16::MAX, u16::MAX) | PORT_GUARD,
        outcome: 0,
        slot: 0,
    };

    /// The words that this rule is in memory.
    #[must_use]
    pub const fn to_words(&self) -> [u64; RULE_WORDS] {
        [
            self.source[0],
            self.source[1],
            self.source_mask[0],
            self.source_mask[1],
            self.destination[0],
            self.destination[1],
            self.destination_mask[0],
            self.destination_mask[1],
            join(self.facts, self.facts_mask),
            self.first_ports,
            self.last_ports,
            join(self.outcome, self.slot),
        ]
    }

    /// The rule that these words are in memory.
    #[must_use]
    pub const fn from_words(words: &[u64; RULE_WORDS]) -> Self {
        let [
            s0,
            s1,
            sm0,
            sm1,
            d0,
            d1,
            dm0,
            dm1,
            facts,
            first_ports,
            last_ports,
            end,
        ] = *words;
        let (facts, facts_mask) = split(facts);
        let (outcome, slot) = split(end);
        Self {
            source: [s0, s1],
            source_mask: [sm0, sm1],
            destination: [d0, d1],
            destination_mask: [dm0, dm1],
            facts,
            facts_mask,
            first_ports,
            last_ports,
            outcome,
            slot,
        }
    }
}

/// The whole of what a filter goes by. It is never changed once packets are judged by it: an edit
/// is another one in its place.
#[derive(Debug)]
#[repr(C)]
pub struct RuleSet {
    /// How many of the rules count, from the front.
    pub length: u32,
    /// What happens to a packet that none of them matches: [`Rule::DROP`] or 0.
    pub default: u32,
    /// The rules, in order.
    pub rules: [Rule; CAPACITY],
}

const _: () = assert!(size_of::<Rule>() == RULE_WORDS * 8);
const _: () = assert!(size_of::<RuleSet>() == RULE_SET_WORDS * 8);

/// Two numbers that lie in memory one behind the other, as one word.
#[must_use]
pub const fn join(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The two numbers that lie in a word of memory one behind the other.
#[must_use]
pub const fn split(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}
