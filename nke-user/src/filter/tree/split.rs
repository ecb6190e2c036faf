//! Where to cut a box, so that the rules in it are spread over as many ways as a node has.
//!
//! Of each field, the cuts that make the fullest way as empty as can be; of the fields, the one whose
//! ways are emptiest altogether. A rule that reaches over a cut is on both sides of it: a copy.

use nke_ebpf::abi::WAYS;

use super::spans::{Span, Spans};

/// A cut of a box by one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) field: usize,
    /// The last number of each way but the last one.
    pub(super) last: Vec<u32>,
    /// How many rules all ways have together.
    pub(super) copies: usize,
    /// The sum of the squares of what each way has.
    weight: usize,
}

/// The best cut of these rules, in a box, that needs no more copies than this. Nothing where no cut
/// helps.
pub(super) fn best(
    rules: &[u32],
    all: &[Spans],
    region: &Spans,
    fields: &[usize],
    copies: usize,
) -> Option<Split> {
    let mut best: Option<Split> = None;
    for &field in fields {
        let (low, high) = region[field];
        if low == high {
            continue;
        }
        let edges = Edges::of(
            rules.iter().map(|rule| all[*rule as usize][field]),
            (low, high),
        );
        for ways in [WAYS, WAYS / 2, 2] {
            let Some(split) = edges.split(field, ways, rules.len()) else {
                break;
            };
            if split.copies > copies {
                continue;
            }
            if best.as_ref().is_none_or(|best| split.weight < best.weight) {
                best = Some(split);
            }
            break;
        }
    }
    // What leaves three quarters of the work is not worth the step.
    best.filter(|split| split.weight * 4 <= rules.len() * rules.len() * 3)
}

/// Where rules begin and end in a field, within a box.
struct Edges {
    /// Numbers behind which a cut can be.
    cuts: Vec<u32>,
    /// How many rules begin at or before each, and how many end there or before.
    begun: Vec<usize>,
    ended: Vec<usize>,
}

impl Edges {
    fn of(spans: impl Iterator<Item = Span>, (low, high): Span) -> Self {
        let (mut lows, mut highs) = (Vec::new(), Vec::new());
        for (first, last) in spans {
            lows.push(first.max(low));
            highs.push(last.min(high));
        }
        lows.sort_unstable();
        highs.sort_unstable();
        let before = lows
            .iter()
            .filter(|first| **first > low)
            .map(|first| first - 1);
        let mut cuts: Vec<u32> = before
            .chain(highs.iter().copied().filter(|last| *last < high))
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts.push(high);
        let counted = |sorted: &[u32]| {
            let mut count = 0;
            let upto = |cut: &u32| {
                while sorted.get(count).is_some_and(|number| number <= cut) {
                    count += 1;
                }
                count
            };
            cuts.iter().map(upto).collect::<Vec<usize>>()
        };
        let (begun, ended) = (counted(&lows), counted(&highs));
        Self { cuts, begun, ended }
    }

    /// The cuts into so many ways whose fullest is emptiest.
    fn split(&self, field: usize, ways: usize, rules: usize) -> Option<Split> {
        if self.cuts.len() < 2 {
            return None;
        }
        let (mut low, mut high) = (1, rules);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.ways_of(middle, ways).is_some() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if low == rules {
            return None;
        }
        let at = self.ways_of(low, ways)?;
        let (mut copies, mut weight, mut ended) = (0, 0, 0);
        for &index in &at {
            let count = self.begun[index] - ended;
            ended = self.ended[index];
            copies += count;
            weight += count * count;
        }
        let last = at[..at.len() - 1]
            .iter()
            .map(|index| self.cuts[*index])
            .collect();
        Some(Split {
            field,
            last,
            copies,
            weight,
        })
    }

    /// Where ways end that have at most `most` rules each, if so many ways are enough.
    fn ways_of(&self, most: usize, ways: usize) -> Option<Vec<usize>> {
        let mut at = Vec::with_capacity(ways);
        let (mut from, mut ended) = (0, 0);
        while from < self.cuts.len() {
            if at.len() == ways {
                return None;
            }
            // As far as it goes: `begun` only grows.
            let fits = self.begun[from..].partition_point(|begun| begun - ended <= most);
            if fits == 0 {
                return None;
            }
            from += fits;
            at.push(from - 1);
            ended = self.ended[from - 1];
        }
        Some(at)
    }
}
