//! Rules filed by what they fix, so that a rule is held only against those that may meet it.
//!
//! ```text
//! drop from 11.1.2.3           by its source: it fixes all 32 bits of that
//! drop to 10.0.0.0/8           by its destination, of which it fixes 8
//! drop to any port 22          by its port
//! drop proto udp               nowhere: whoever asks is told of it
//! ```
//!
//! What is found may meet the rule, and whatever may meet it is found: nothing is decided here.

use std::ops::Range;

use super::cover::Bounds;

/// Of a larger part of all rules than one in so many, it is as well to look at each.
const FEW: usize = 8;

/// All rules of a list, by their numbers.
pub(super) struct Filed {
    sides: [Side; Bounds::TELLING.len()],
    /// Those that fix nothing of any side.
    nowhere: Vec<usize>,
    length: usize,
}

/// The rules that are filed by one side.
#[derive(Default)]
struct Side {
    /// For each rule, the smallest block of 2^level values, at a multiple of that, which holds all that it has of the
    /// side: its level and its first value, in order.
    blocks: Vec<(u32, u64, usize)>,
    /// Where those of each level are.
    levels: Vec<(u32, Range<usize>)>,
}

impl Filed {
    pub(super) fn new(all: &[Bounds]) -> Self {
        let mut filed = Self {
            sides: Default::default(),
            nowhere: Vec::new(),
            length: all.len(),
        };
        for (rule, bounds) in all.iter().enumerate() {
            let sides = Bounds::TELLING.into_iter().enumerate();
            let fixed = sides.map(|(nth, side)| (fixed(nth, bounds.side(side)), nth, side));
            // Of equals, the first.
            let most = fixed.rev().max_by_key(|(fixed, ..)| *fixed);
            match most.filter(|(fixed, ..)| *fixed > 0) {
                Some((_, nth, side)) => {
                    let (first, last) = bounds.side(side);
                    let level = level(first, last);
                    filed.sides[nth]
                        .blocks
                        .push((level, begin(first, level), rule));
                }
                None => filed.nowhere.push(rule),
            }
        }
        filed.sides.iter_mut().for_each(Side::put_in_order);
        filed
    }

    /// The rules that may meet one that has these bounds, in the order of the list; and maybe others.
    pub(super) fn near(&self, bounds: &Bounds) -> Near {
        let sides = self.sides.iter().zip(Bounds::TELLING);
        let parts: Vec<_> = sides
            .flat_map(|(side, of)| side.near(bounds.side(of)))
            .collect();
        let count = parts.iter().map(|part| part.len()).sum::<usize>() + self.nowhere.len();
        if count > self.length / FEW {
            return Near::All;
        }
        let found = parts.into_iter().flatten().map(|(.., rule)| *rule);
        let mut found: Vec<_> = found.chain(self.nowhere.iter().copied()).collect();
        found.sort_unstable();
        Near::These(found)
    }
}

/// Which rules may meet one.
pub(super) enum Near {
    /// So many that all may.
    All,
    /// These, in the order of the list.
    These(Vec<usize>),
}

impl Near {
    /// Those of them that are among these.
    pub(super) fn among(self, others: Range<usize>) -> impl Iterator<Item = usize> {
        let (all, these) = match self {
            Self::All => (others.clone(), Vec::new()),
            Self::These(these) => (0..0, these),
        };
        all.chain(these.into_iter().filter(move |rule| others.contains(rule)))
    }
}

impl Side {
    fn put_in_order(&mut self) {
        self.blocks.sort_unstable();
        let mut from = 0;
        for run in self.blocks.chunk_by(|one, next| one.0 == next.0) {
            let end = from + run.len();
            self.levels.push((run[0].0, from..end));
            from = end;
        }
    }

    /// The rules of which the blocks have some of these values.
    fn near(&self, (first, last): (u64, u64)) -> impl Iterator<Item = &[(u32, u64, usize)]> {
        self.levels.iter().map(move |(level, of_level)| {
            let of_level = &self.blocks[of_level.clone()];
            let from = of_level.partition_point(|block| block.1 < begin(first, *level));
            let behind = &of_level[from..];
            &behind[..behind.partition_point(|block| block.1 <= last)]
        })
    }
}

/// How many bits of a value tell nothing apart of these.
const fn level(first: u64, last: u64) -> u32 {
    u64::BITS - (first ^ last).leading_zeros()
}

/// The first value of the block of this level that has a value.
const fn begin(value: u64, level: u32) -> u64 {
    match value.checked_shr(level) {
        Some(block) => block << level,
        None => 0,
    }
}

/// How many bits are fixed of one of the sides that tell rules apart.
fn fixed(nth: usize, (first, last): (u64, u64)) -> u32 {
    let bits: u32 = match nth {
        // An address of IPv4, or the first half of one of IPv6.
        0 | 1 if last <= u64::from(u32::MAX) => 32,
        0 | 1 => 64,
        // A port, or none.
        _ => 17,
    };
    bits.saturating_sub(level(first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::shapes::{Dice, Shape};
    use crate::filter::{RuleSet, arbitrary, cover::Region};

    proptest! {
        #[test]
        fn whatever_meets_is_found(
            rules in prop::collection::vec(arbitrary::rule(), 1..80),
        ) {
            let all: Vec<_> = rules.iter().map(|rule| Region::of(rule).bounds()).collect();
            let filed = Filed::new(&all);
            for bounds in &all {
                let near: Vec<_> = filed.near(bounds).among(0..all.len()).collect();
                prop_assert!(near.is_sorted());
                for (rule, other) in all.iter().enumerate() {
                    prop_assert!(near.contains(&rule) || !bounds.meet(other), "{:?}", rules[rule]);
                }
            }
        }
    }

    #[test]
    fn of_lists_as_people_write_them_whatever_meets_is_found() {
        let mut dice = Dice::new(3);
        for shape in Shape::ALL {
            for six in [false, true] {
                let drawn = shape.draw(&mut dice, 600, six);
                let text: String = drawn.iter().map(|rule| format!("{rule}\n")).collect();
                let rules: RuleSet = text.parse().expect("rules");
                let all: Vec<_> = (rules.rules.iter())
                    .map(|rule| Region::of(rule).bounds())
                    .collect();
                let filed = Filed::new(&all);
                for bounds in &all {
                    let meets = |rule: &usize| bounds.meet(&all[*rule]);
                    let near = filed.near(bounds).among(0..all.len()).filter(meets);
                    assert!(near.eq((0..all.len()).filter(meets)), "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn many_addresses_are_told_apart() {
        let text: String = (0..4096)
            .map(|it| format!("drop in from 11.0.{}.{}\n", it / 256, it % 256))
            .collect();
        let text = format!("{text}drop from 11.0.7.0/24 to 10.0.0.0/8\npass proto udp\n");
        let rules: RuleSet = text.parse().expect("rules");
        let all = rules.rules.iter();
        let all: Vec<_> = all.map(|rule| Region::of(rule).bounds()).collect();
        let filed = Filed::new(&all);
        let near = |rule: usize| -> Vec<_> { filed.near(&all[rule]).among(0..all.len()).collect() };
        assert_eq!(near(5), [5, 4097]);
        assert_eq!(near(7 * 256 + 5), [7 * 256 + 5, 4096, 4097]);
        assert_eq!(near(4096).len(), 256 + 2);
        assert_eq!(near(4097).len(), all.len());
        let behind: Vec<_> = filed.near(&all[5]).among(6..all.len()).collect();
        assert_eq!(behind, [4097]);
    }
}
