//! Which bits of which field tell rules apart best.
//!
//! A table has an entry for each number that a few bits of a field can be. A rule that says nothing of those
//! bits is in every entry, and a rule that leaves some of them open in several: copies. Any bits
//! will do, and not only the highest that are left: of hosts in one network the last ones differ, of
//! networks the first.

use nke_ebpf::abi::{At, Field, MOST_BITS};

use super::grow::Grower;
use super::spans::Span;

/// Of more rules than this, so many are looked at.
const SAMPLE: usize = 384;

/// A table, as far as it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) field: usize,
    /// The lowest bit that it asks for.
    pub(super) shift: u32,
    /// How many bits.
    pub(super) bits: u32,
}

/// The entries that a rule is in: from one to another, past the last one back to the first; or all.
pub(super) type Entries = Option<(usize, usize)>;

impl Split {
    /// What a table asks for.
    pub(super) const fn of(table: At) -> Self {
        Self {
            field: table.field(),
            shift: table.shift(),
            bits: table.bits(),
        }
    }

    /// Each of a rule's entries.
    pub(super) fn each(&self, entries: Entries) -> impl Iterator<Item = usize> {
        let all = 0..self.len();
        let (once, again) = match entries {
            None => (all, 0..0),
            Some((first, last)) if first <= last => (first..last + 1, 0..0),
            Some((first, last)) => (first..all.end, 0..last + 1),
        };
        once.chain(again)
    }

    /// The entries of a rule with this span.
    pub(super) const fn entries(&self, (low, high): Span) -> Entries {
        let mask = self.mask();
        let (first, last) = (low >> self.shift, high >> self.shift);
        if last - first >= mask {
            return None;
        }
        Some(((first & mask) as usize, (last & mask) as usize))
    }

    /// How many rules with these spans are in every entry.
    fn open(&self, spans: &[Span]) -> usize {
        let is_open =
            |(low, high): &&Span| (high >> self.shift) - (low >> self.shift) >= self.mask();
        spans.iter().filter(is_open).count()
    }

    const fn mask(&self) -> u32 {
        (1 << self.bits) - 1
    }

    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        1 << self.bits
    }
}

/// The best table for these rules that needs no more copies than this. Nothing where none helps.
pub(super) fn best(rules: &[u32], grower: &Grower<'_>, copies: usize) -> Option<Split> {
    let Grower {
        rules: _,
        all,
        fields,
        size,
    } = *grower;
    let step = rules.len().div_ceil(SAMPLE);
    let sample = || rules.iter().step_by(step).map(|rule| &all[*rule as usize]);
    let count = sample().count();
    let mut counts: Counts = [0; 1 << MOST_BITS];
    let mut spans = Vec::with_capacity(count);
    let mut best = None;
    let mut least = count as f64;
    let wide = rules.len().ilog2() + 2;
    for &field in fields {
        spans.clear();
        spans.extend(sample().map(|spans| spans[field]));
        let width = width(field);
        let differs = differing(&spans);
        for bits in [wide, wide * 2 / 3] {
            let bits = bits.clamp(1, size.most_bits.min(width));
            let tops = (bits..=width).rev().step_by((bits / 3).max(1) as usize);
            for shift in tops.map(|top| top - bits) {
                let split = Split { field, shift, bits };
                if differs >> shift & split.mask() == 0 {
                    continue;
                }
                // Where a rule is in every entry, it is in every entry of all lower bits too.
                let open = split.open(&spans);
                if floor(open, count) >= least {
                    break;
                }
                let spread = Spread::count(&split, &spans, &mut counts);
                let (left, needed) = spread.judge(step);
                if needed <= copies && left < least {
                    least = left;
                    best = Some(split);
                }
            }
            if bits <= 4 {
                break;
            }
        }
    }
    // What leaves most of the work is not worth the step.
    best.filter(|_| least + STEP < count as f64)
}

/// What is left at least where so many rules of all are in every entry: each of the others with them, in an entry
/// of its own. See [`Spread::judge`].
fn floor(open: usize, count: usize) -> f64 {
    let open = open as f64;
    (open + 1.0) * (1.0 + MOST) - open / count as f64
}

/// What a table costs a packet, in comparisons of a rule, and the memory that it may cost for it.
const STEP: f64 = 1.5;

/// How many bits a field has.
const fn width(field: usize) -> u32 {
    match field as u32 {
        Field::SOURCE_PORT | Field::DESTINATION_PORT => 16,
        Field::PROTOCOL => 9,
        _ => 32,
    }
}

/// The bits that rules differ in.
fn differing(spans: &[Span]) -> u32 {
    let (first_low, first_high) = spans[0];
    let bits = |differs, (low, high): &Span| differs | low ^ first_low | high ^ first_high;
    spans.iter().fold(0, bits)
}

/// How many rules each entry has.
type Counts = [u16; 1 << MOST_BITS];

/// How much the longest list weighs beside the usual one.
const MOST: f64 = 0.25;

/// How rules are spread over the entries of a table.
struct Spread {
    rules: usize,
    entries: usize,
    /// How many rules are in every entry.
    all: u32,
    /// How many entries have rules of their own, how many these are in sum, the sum of their squares, and
    /// the most of them.
    filled: usize,
    sum: u32,
    squares: u64,
    most: u32,
}

impl Spread {
    /// Counts rules with these spans, no more than are looked at; what was counted before is forgotten.
    fn count(split: &Split, spans: &[Span], counts: &mut Counts) -> Self {
        let mut spread = Self {
            rules: spans.len(),
            entries: split.len(),
            all: 0,
            filled: 0,
            sum: 0,
            squares: 0,
            most: 0,
        };
        counts[..split.len()].fill(0);
        for span in spans {
            match split.entries(*span) {
                None => spread.all += 1,
                some => split.each(some).for_each(|entry| {
                    let own = u32::from(counts[entry]);
                    counts[entry] += 1;
                    spread.filled += usize::from(own == 0);
                    spread.sum += 1;
                    // So much further is the next square.
                    spread.squares += u64::from(own) * 2 + 1;
                    spread.most = spread.most.max(own + 1);
                }),
            }
        }
        spread
    }

    /// What is left of the rules, as a packet finds it that one of them matches; and how many copies
    /// there are, where one of the rules looked at stands for so many.
    fn judge(&self, step: usize) -> (f64, usize) {
        let all = f64::from(self.all);
        // Who matches a rule of all entries comes to any of them.
        let any = all + f64::from(self.sum) / self.entries as f64;
        let squares = self.squares + u64::from(self.all) * u64::from(self.sum);
        let owned = squares as f64 / f64::from(self.sum.max(1));
        let part = all / self.rules as f64;
        let left = part * any + (1.0 - part) * owned;
        let shared = self.filled + usize::from(self.filled < self.entries);
        let copies = self.sum as usize + self.all as usize * shared;
        let copies = copies * step + self.entries / 16;
        let cost = left + f64::from(self.all + self.most) * MOST;
        (cost, copies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::shapes::Dice;

    /// What a table costs, as it is said: of a packet that one of the rules matches, all rules alike.
    fn cost(split: &Split, spans: &[Span], step: usize) -> (f64, usize) {
        let mut own = vec![0; split.len()];
        let mut all = 0;
        for span in spans {
            match split.entries(*span) {
                None => all += 1,
                some => split.each(some).for_each(|entry| own[entry] += 1),
            }
        }
        let sum: u32 = own.iter().sum();
        let lists = own.iter().map(|own| f64::from(own * (own + all)));
        let part = f64::from(all) / spans.len() as f64;
        let any = f64::from(all) + f64::from(sum) / own.len() as f64;
        let left = part * any + (1.0 - part) * (lists.sum::<f64>() / f64::from(sum.max(1)));
        let most = f64::from(own.iter().max().unwrap_or(&0) + all);
        // Entries with no rule of their own share one list.
        let mut copies: usize = own
            .iter()
            .filter(|own| **own > 0)
            .map(|own| (own + all) as usize)
            .sum();
        if own.contains(&0) {
            copies += all as usize;
        }
        (left + most * 0.25, copies * step + split.len() / 16)
    }

    #[test]
    fn what_is_passed_over_is_no_better() {
        let mut dice = Dice::new(5);
        let mut counts = [0; 1 << MOST_BITS];
        for round in 0..3000 {
            let count = 1 + dice.below(if round % 10 == 0 { SAMPLE as u64 } else { 12 }) as usize;
            let span = |_| {
                let mask = u32::MAX.checked_shr(dice.below(33) as u32).unwrap_or(0);
                let low = dice.roll() as u32 & !mask;
                let high = if dice.percent(50) {
                    mask
                } else {
                    dice.roll() as u32 & mask
                };
                (low, low | high)
            };
            let spans: Vec<Span> = (0..count).map(span).collect();
            let bits = 1 + dice.below(u64::from(MOST_BITS)) as u32;
            let mut open = 0;
            for shift in (0..=32 - bits).rev() {
                let split = Split {
                    field: 0,
                    shift,
                    bits,
                };
                assert!(split.open(&spans) >= open, "{split:?} of {spans:?}");
                open = split.open(&spans);
                let judged = Spread::count(&split, &spans, &mut counts).judge(3);
                assert_eq!(judged, cost(&split, &spans, 3), "{split:?} of {spans:?}");
                let may_be_best = judged.0 < count as f64;
                assert!(
                    !may_be_best || floor(open, count) <= judged.0,
                    "{split:?} of {spans:?}"
                );
            }
        }
    }
}
