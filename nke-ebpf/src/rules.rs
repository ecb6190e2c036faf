//! The search of a rule set: the first rule that matches decides.
//!
//! Both bundled extensions with rules compare by this: a packet's [`Flow`], or that of a socket
//! call, with what more is known of it as bits.
//!
//! ```
//! use nke_ebpf::{Direction, Flow, Frame, abi::{CAPACITY, DEFAULT_SLOT, Rule, RuleSet, facts}};
//!
//! let mut set = Box::new(RuleSet { length: 1, default: 0, rules: [Rule::ANY; CAPACITY] });
//! set.rules[0] = Rule { outcome: Rule::DROP, facts: facts::IN, facts_mask: facts::IN, ..Rule::ANY };
//! let flow = Flow::of(&Frame::new(&[0; 14], Direction::In)).unwrap();
//! assert_eq!(set.decide(&flow, facts::IN).number, 1);
//! assert_eq!(set.decide(&flow, facts::OUT).slot, DEFAULT_SLOT);
//! ```
//!
//! It never changes a rule set, and never reads beyond its length.

use crate::{
    Flow,
    abi::{DEFAULT_SLOT, Ends, PORT_GUARD, Rule, RuleSet},
};

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// As [`Rule::outcome`].
    pub outcome: u32,
    /// Where it is counted.
    pub slot: u32,
    /// The place of the rule in the list, from 1; 0 if none matched.
    pub number: u32,
}

impl RuleSet {
    /// Whether some rule asks for [`facts::MORE`](crate::abi::facts::MORE): see [`Flow::with_more`].
    #[inline(always)]
    #[must_use]
    pub const fn asks_more(&self) -> bool {
        self.default & Rule::ASKS_MORE != 0
    }

    /// What the first rule says that matches the flow and these facts beside those of the flow.
    #[inline(always)]
    #[must_use]
    pub fn decide(&self, flow: &Flow, facts: u64) -> Decision {
        let facts = flow.facts() | facts;
        let length = self.length as usize;
        for (index, rule) in self.rules.iter().enumerate() {
            if index >= length {
                break;
            }
            if difference(rule, flow, facts) == 0 {
                return Decision {
                    outcome: rule.outcome,
                    slot: rule.slot,
                    number: index as u32 + 1,
                };
            }
        }
        Decision {
            outcome: self.default,
            slot: DEFAULT_SLOT,
            number: 0,
        }
    }
}

/// Not zero where the rule and the flow disagree.
///
/// Without a branch: the verifier walks through this for every rule that there may be.
#[inline(always)]
fn difference(rule: &Rule, flow: &Flow, facts: u64) -> u64 {
    let addresses = apart(&rule.front, flow.source[0], flow.destination[0])
        | apart(&rule.back, flow.source[1], flow.destination[1]);
    let facts = (rule.facts ^ facts) & rule.facts_mask;
    // The guard bits stay set exactly where no port is below the first or above the last.
    let in_range = (flow.ports() | PORT_GUARD).wrapping_sub(rule.first_ports)
        & rule.last_ports.wrapping_sub(flow.ports());
    addresses | facts | (in_range & PORT_GUARD ^ PORT_GUARD)
}

/// Not zero where these halves of the addresses are not the rule's.
#[inline(always)]
fn apart(rule: &Ends, source: u64, destination: u64) -> u64 {
    (rule.source ^ source) & rule.source_mask
        | (rule.destination ^ destination) & rule.destination_mask
}
