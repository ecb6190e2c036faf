//! Which bits of which field tell rules apart best.
//!
//! A table has an entry for each number that a few bits of a field can be. A rule that says nothing of those
//! bits is in every entry, and a rule that leaves some of them open in several: copies. Any bits
//! will do, and not only the highest that are left: of hosts in one network the last ones differ, of
//! networks the first.

use nke_ebpf::abi::{At, Field};

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
        most_bits,
    } = *grower;
    let step = rules.len().div_ceil(SAMPLE);
    let sample = || rules.iter().step_by(step).map(|rule| &all[*rule as usize]);
    let count = sample().count();
    let mut counts = Counts::default();
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
            let bits = bits.clamp(1, most_bits.min(width));
            let tops = (bits..=width).rev().step_by((bits / 3).max(1) as usize);
            for shift in tops.map(|top| top - bits) {
                let split = Split { field, shift, bits };
                if differs >> shift & split.mask() == 0 {
                    continue;
                }
                counts.of(&split, &spans);
                let (left, needed) = counts.judge(&split, step);
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
#[derive(Default)]
struct Counts {
    own: Vec<u32>,
    /// Of rules that are in every entry.
    all: u32,
    rules: usize,
}

impl Counts {
    fn of(&mut self, split: &Split, spans: &[Span]) {
        self.own.clear();
        self.own.resize(split.len(), 0);
        self.all = 0;
        self.rules = spans.len();
        for span in spans {
            match split.entries(*span) {
                None => self.all += 1,
                some => split.each(some).for_each(|entry| self.own[entry] += 1),
            }
        }
    }

    /// What is left of the rules, as a packet finds it that one of them matches; and how many copies
    /// there are, where one of the rules looked at stands for so many.
    fn judge(&self, split: &Split, step: usize) -> (f64, usize) {
        let (mut squares, mut copies, mut most, mut empty) = (0.0, 0, 0, 0);
        for own in &self.own {
            if *own == 0 {
                empty += 1;
                continue;
            }
            let count = own + self.all;
            squares += f64::from(*own) * f64::from(count);
            copies += count as usize;
            most = most.max(count);
        }
        if empty > 0 {
            copies += self.all as usize;
            most = most.max(self.all);
        }
        // Who matches a rule of all entries comes to any of them.
        let sum: u32 = self.own.iter().sum();
        let any = f64::from(self.all) + f64::from(sum) / split.len() as f64;
        let owned = sum.max(1);
        let part = f64::from(self.all) / self.rules as f64;
        let left = part * any + (1.0 - part) * squares / f64::from(owned);
        let copies = copies * step + split.len() / 16;
        let cost = left + f64::from(most) * 0.25;
        (cost, copies)
    }
}
