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

use super::cover::Region;

/// Of a larger part of all rules than one in so many, it is as well to look at each.
const FEW: usize = 8;

/// All rules of a list, by their numbers.
pub(super) struct Filed {
    sides: [Side; Region::TELLING.len()],
    /// Those that fix nothing of any side.
    nowhere: Vec<usize>,
    length: usize,
}

/// The rules that are filed by one side.
#[derive(Default)]
struct Side {
    /// For each rule, the smallest block of 2^level values, at a multiple of that, which holds all that it has of the
    /// side: its level and its first value, in order.
    blocks: Vec<(u32, u128, usize)>,
    /// Where those of each level are.
    levels: Vec<(u32, Range<usize>)>,
}

impl Filed {
    pub(super) fn new(all: &[Region]) -> Self {
        let mut filed = Self {
            sides: Default::default(),
            nowhere: Vec::new(),
            length: all.len(),
        };
        for (rule, region) in all.iter().enumerate() {
            let sides = Region::TELLING.into_iter().enumerate();
            let fixed = sides.map(|(nth, side)| (fixed(nth, region.side(side)), nth, side));
            // Of equals, the first.
            let most = fixed.rev().max_by_key(|(fixed, ..)| *fixed);
            match most.filter(|(fixed, ..)| *fixed > 0) {
                Some((_, nth, side)) => {
                    let (first, last) = region.side(side);
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

    /// The rules that may meet one of this region, in the order of the list; and maybe others.
    pub(super) fn near(&self, region: &Region) -> Near {
        let sides = self.sides.iter().zip(Region::TELLING);
        let parts: Vec<_> = sides
            .flat_map(|(side, of)| side.near(region.side(of)))
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
    fn near(&self, (first, last): (u128, u128)) -> impl Iterator<Item = &[(u32, u128, usize)]> {
        self.levels.iter().map(move |(level, of_level)| {
            let of_level = &self.blocks[of_level.clone()];
            let from = of_level.partition_point(|block| block.1 < begin(first, *level));
            let behind = &of_level[from..];
            &behind[..behind.partition_point(|block| block.1 <= last)]
        })
    }
}

/// How many bits of a value tell nothing apart of these.
const fn level(first: u128, last: u128) -> u32 {
    u128::BITS - (first ^ last).leading_zeros()
}

/// The first value of the block of this level that has a value.
const fn begin(value: u128, level: u32) -> u128 {
    match value.checked_shr(level) {
        Some(block) => block << level,
        None => 0,
    }
}

/// How many bits are fixed of one of the sides that tell rules apart.
fn fixed(nth: usize, (first, last): (u128, u128)) -> u32 {
    let bits: u32 = match nth {
        // An address of IPv4, or one of IPv6.
        0 | 1 if last <= u128::from(u32::MAX) => 32,
        0 | 1 => 128,
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
            let all: Vec<_> = rules.iter().map(Region::of).collect();
            let filed = Filed::new(&all);
            for region in &all {
                let near: Vec<_> = filed.near(region).among(0..all.len()).collect();
                prop_assert!(near.is_sorted());
                for (rule, other) in all.iter().enumerate() {
                    prop_assert!(near.contains(&rule) || !region.meets(other), "{:?}", rules[rule]);
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
                let all: Vec<_> = rules.rules.iter().map(Region::of).collect();
                let filed = Filed::new(&all);
                for region in &all {
                    let meets = |rule: &usize| region.meets(&all[*rule]);
                    let near = filed.near(region).among(0..all.len()).filter(meets);
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
        let all: Vec<_> = rules.rules.iter().map(Region::of).collect();
        let filed = Filed::new(&all);
        let near = |rule: usize| -> Vec<_> { filed.near(&all[rule]).among(0..all.len()).collect() };
        assert_eq!(near(5), [5, 4097]);
        assert_eq!(near(7 * 256 + 5), [7 * 256 + 5, 4096, 4097]);
        assert_eq!(near(4096).len(), 256 + 2);
        assert_eq!(near(4097).len(), all.len());
        let behind: Vec<_> = filed.near(&all[5]).among(6..all.len()).collect();
        assert_eq!(behind, [4097]);

        let text: String = (0..99)
            .map(|it| format!("drop to fd00::{it:x}\n"))
            .collect();
        let six: RuleSet = text.parse().expect("rules");
        let all: Vec<_> = six.rules.iter().map(Region::of).collect();
        let near = Filed::new(&all).near(&all[7]).among(0..99);
        assert_eq!(near.collect::<Vec<_>>(), [7]);
    }
}
