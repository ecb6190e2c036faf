//! The rules of the packet filter and of the connection guard: their language, their meaning, and
//! the way into the kernel.
//!
//! A packet (or what a program asks of its socket: see [`Dialect`]) goes down an ordered list of rules, and the first that matches decides; where none
//! does, the default. What the words mean to a user is in `docs/filter-language.md`.
//!
//! ```
//! use nke::filter::RuleSet;
//!
//! let rules: RuleSet = "
//!     default drop
//!     pass in proto tcp to any port { ssh, https }   # a list is a rule each
//!     pass proto icmp
//! "
//! .parse()?;
//! assert_eq!(rules.rules.len(), 3);
//! assert_eq!(rules.rules[1].to_string(), "pass in proto tcp to any port 443");
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! In reading order: [`rule`](Rule) is the pure model, `parse` its language, `judge` what it means
//! (in so few words that it can be believed, and so the test of everything else), `encode` the
//! kernel's form of a rule, [`Set`] that of a set, and [`Table`] the rules of one attachment.
//!
//! Only [`Table`] and [`Trial`] do any I/O. Nothing above it knows how the kernel side searches.

pub mod shapes;

mod names;
mod rule;

mod conditions;
mod expression;
mod further;
mod interface_name;
mod rate;

mod display;

mod dialect;

mod cursor;
mod excerpt;
mod guess;
mod hint;
mod options;
mod parse;
mod parse_error;
mod source;
mod stated;
mod words;

mod described;
mod dissect;
mod explain;
mod judge;
mod known;
mod ways;

mod cover;
mod near;
mod optimise;
mod safeguard;

pub mod import;

mod encode;
mod room;
mod tree;

mod set;
mod sets;

mod stored;

mod carry;
mod counts;
mod edit;
mod revision;
mod seen;

mod error;
mod fast;
mod states;
mod table;
mod trial;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod tests;

pub use conditions::{Conditions, Dscp, Fragment, IcmpKind, TcpFlags, Vlan, VlanId};
pub use dialect::Dialect;
pub use dissect::{Ends, Obscured, Packet, dissect};
pub use error::Error;
pub use explain::Miss;
pub use expression::{Expression, Frame, LONGEST_TEXT, Malformed, Program, Refused};
pub(crate) use fast::MadeOf;
pub use further::{Asked, LengthRange, Mac, Mark, Membership, Net, Side, Test};
pub(crate) use hint::nearest;
pub use hint::{Hint, Meant};
pub use interface_name::{InterfaceName, NoInterfaceName};
pub use judge::{Decider, Judgement};
pub use known::KnownSets;
pub use nke_ebpf::Refusal;
pub use nke_ebpf::set::Kind as SetKind;
pub use optimise::Finding;
pub use parse::parse_rules;
pub use parse_error::{Expected, Found, ParseError, Problem};
pub use rate::{Limit, Period, Sources};
pub use revision::Revision;
pub use room::refuse_what_has_no_room;
pub use rule::{
    Action, Addresses, Direction, PortProtocol, PortRange, Prefix, Protocol, Rule, RuleSet,
    Transport, Way,
};
pub use safeguard::{Caller, Passing};
pub use set::{
    About, Inserted, Lasting, Member, MemberError, MemberProblem, NoMember, NoSetName, Set,
    SetName, SetText, TooLarge, time,
};
pub use sets::{Added, NamedSet, Restated, Sets, now};
pub(crate) use sets::{Instead, MAP as SETS_MAP};
pub use source::{Source, text_of};
pub use stated::{StatedMembers, StatedSet, kind_word, span_word};
pub(crate) use stated::{head, lasting};
pub use states::{DEFAULT_LIMIT, FlowState, Followed, KnownFlows, LARGEST_LIMIT, Numbers, States};
pub use table::{GoneInterface, Hits, Listing, Prepared, Table};
pub use trial::{Capture, Captured, Trial, Tried, Unreadable};
pub use ways::{
    added_by_load, as_met_at, can_match, not_there, packet_hooks, refuse_what_never_matches,
    shuts_out_neighbours, ways_at,
};
