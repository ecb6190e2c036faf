//! The counts of a rule set: how many packets each rule has decided about.
//!
//! Every CPU counts in a row of its own. What rules that stay have counted in sets before is
//! written to one more row, which no packet touches.

use std::io;

use nke_ebpf::abi::COUNT_WORDS;

use super::stored::Set;
use super::table::Hits;

/// The counts of a set, all rows added up.
pub(super) struct Counts {
    /// Of the default, of each rule by its number, of flows known otherwise, and last of packets that could not be
    /// judged.
    row: Vec<Hits>,
}

impl Counts {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// That of counting the processors.
    pub(super) fn of(set: &Set) -> io::Result<Self> {
        // No more than there are, whatever the header says.
        let row = (set.header.row as usize).min(set.bytes() as usize / 8 / COUNT_WORDS);
        let mut sum = vec![Hits::default(); row];
        let cpus = crate::sys::map::cpu_ids()? as usize;
        for (begin, rows) in [(set.carried(), 1), (set.counts(), cpus)] {
            for nth in 0..rows {
                let from = begin + nth * row * COUNT_WORDS;
                let mut words = set.words(from, row * COUNT_WORDS);
                for hits in &mut sum {
                    hits.packets += words.next().unwrap_or_default();
                    hits.bytes += words.next().unwrap_or_default();
                }
            }
        }
        Ok(Self { row: sum })
    }

    pub(super) fn default(&self) -> Hits {
        self.row.first().copied().unwrap_or_default()
    }

    /// Those of the rule of this number.
    pub(super) fn rule(&self, number: u32) -> Hits {
        self.row.get(number as usize).copied().unwrap_or_default()
    }

    /// Packets of known flows which no rule of these let through first.
    pub(super) fn known(&self) -> Hits {
        let place = self.row.len().checked_sub(2);
        place.map(|place| self.row[place]).unwrap_or_default()
    }

    pub(super) fn obscured(&self) -> Hits {
        self.row.last().copied().unwrap_or_default()
    }

    /// The words of another set's row that carries these on. Each of its rules is the old one of a number, or
    /// a new one.
    pub(super) fn carried(&self, staying: &[Option<u32>], row: u32) -> Vec<u64> {
        let of_rules = staying
            .iter()
            .map(|number| number.map_or_else(Hits::default, |number| self.rule(number)));
        let mut hits = vec![self.default()];
        hits.extend(of_rules);
        hits.resize((row as usize).saturating_sub(2), Hits::default());
        hits.extend([self.known(), self.obscured()]);
        hits.iter()
            .flat_map(|hits| [hits.packets, hits.bytes])
            .collect()
    }
}
