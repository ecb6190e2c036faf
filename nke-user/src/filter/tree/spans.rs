//! Rules as boxes: what each asks of every field, as a span of numbers.
//!
//! A box never leaves out a packet that its rule matches. It may hold others: the comparison at the end of a
//! search is exact, and here is no need to be.

use nke_ebpf::abi::{Field, PORT_GUARD, Rule, facts, split};

/// How many fields a rule has a span in.
pub(super) const FIELDS: usize = 11;

/// The lowest and the highest number of a field.
pub(super) type Span = (u32, u32);

/// A rule's span in each field.
pub(super) type Spans = [Span; FIELDS];

/// Which packets a tree is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Other = 0,
    V4 = 1,
    V6 = 2,
}

impl Family {
    pub(super) const ALL: [Self; 3] = [Self::Other, Self::V4, Self::V6];

    /// Whether a rule can match a packet of this family.
    pub(super) fn has(self, rule: &Rule) -> bool {
        let family = facts::V4 | facts::V6;
        let known = facts::PROTOCOL | facts::PORTS;
        let differs = (rule.facts ^ self as u64) & rule.facts_mask & family;
        differs == 0 && (self != Self::Other || rule.facts & rule.facts_mask & known == 0)
    }

    /// The fields that packets of this family differ in.
    pub(super) const fn fields(self) -> &'static [usize] {
        match self {
            Self::Other => &[],
            Self::V4 => &[0, 4, 8, 9, 10],
            Self::V6 => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        }
    }
}

/// The box of a rule.
pub(super) fn spans(rule: &Rule) -> Spans {
    let mut spans = [(0, u32::MAX); FIELDS];
    let Rule { front, back, .. } = rule;
    let words = [
        (front.source, front.source_mask),
        (back.source, back.source_mask),
        (front.destination, front.destination_mask),
        (back.destination, back.destination_mask),
    ];
    for (two, (value, mask)) in spans.chunks_exact_mut(2).zip(words) {
        let ((a, b), (mask_a, mask_b)) = (split(value), split(mask));
        two.copy_from_slice(&[masked(a, mask_a), masked(b, mask_b)]);
    }
    let last_ports = rule.last_ports & !PORT_GUARD;
    spans[Field::SOURCE_PORT as usize] = (low(rule.first_ports), low(last_ports));
    spans[Field::DESTINATION_PORT as usize] = (low(rule.first_ports >> 32), low(last_ports >> 32));
    let wanted = rule.facts_mask & (facts::PROTOCOL | facts::PROTOCOL_MASK);
    spans[Field::PROTOCOL as usize] =
        if wanted == facts::PROTOCOL | facts::PROTOCOL_MASK && rule.facts & facts::PROTOCOL != 0 {
            let number = low((rule.facts & facts::PROTOCOL_MASK) >> facts::PROTOCOL_SHIFT);
            (number, number)
        } else {
            (0, Field::NO_PROTOCOL)
        };
    spans
}

/// Whichever bits the mask has, nothing that matches is below the value or above the value with
/// all others set.
fn masked(value: u32, mask: u32) -> Span {
    let (value, mask) = (u32::from_be(value), u32::from_be(mask));
    (value, value | !mask)
}

fn low(word: u64) -> u32 {
    let (first, second) = split(word);
    if cfg!(target_endian = "little") {
        first
    } else {
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_asks_nothing_spans_all() {
        let all = spans(&Rule::ANY);
        assert!(all[..8].iter().all(|span| *span == (0, u32::MAX)));
        assert_eq!(all[8..10], [(0, 65535); 2]);
        assert_eq!(all[Field::PROTOCOL as usize], (0, 256));
        assert!(Family::ALL.iter().all(|family| family.has(&Rule::ANY)));
    }
}
