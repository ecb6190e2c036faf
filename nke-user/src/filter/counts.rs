//! The counts of a rule set: how many packets each rule has decided about.
//!
//! Every CPU counts in a row of its own. What rules that stay have counted in sets before is
//! written to one more row, which no packet touches.

use std::io;

use nke_ebpf::abi::{COUNTS_IN_PAGE, Header};

use super::table::{Hits, Set};

/// The counts of a set, all rows added up.
pub(super) struct Counts {
    /// Of the default, of each rule, and last of packets that could not be judged.
    row: Vec<Hits>,
    length: usize,
}

impl Counts {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn of(set: &Set) -> io::Result<Self> {
        let Header {
            length,
            carried,
            counts,
            row,
            ..
        } = set.header;
        let (length, row) = (length as usize, row as usize);
        let mut sum = vec![Hits::default(); row];
        let mut add = |from: usize, rows: usize| -> io::Result<()> {
            let mut place = from;
            let end = from + rows * row;
            while place < end {
                let words = set.page(u32::try_from(place / COUNTS_IN_PAGE).unwrap_or(u32::MAX))?;
                let (counts, _) = words.as_chunks();
                let here = counts.iter().skip(place % COUNTS_IN_PAGE).take(end - place);
                for [packets, bytes] in here {
                    let hits = &mut sum[(place - from) % row];
                    hits.packets += packets;
                    hits.bytes += bytes;
                    place += 1;
                }
            }
            Ok(())
        };
        if row > 0 {
            add(carried as usize * COUNTS_IN_PAGE, 1)?;
            add(counts as usize, crate::sys::map::cpu_ids()? as usize)?;
        }
        Ok(Self { row: sum, length })
    }

    pub(super) fn default(&self) -> Hits {
        self.row.first().copied().unwrap_or_default()
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Hits> {
        self.row.iter().skip(1).take(self.length)
    }

    pub(super) fn obscured(&self) -> Hits {
        self.row.last().copied().unwrap_or_default()
    }

    /// The words of another set's row that carries these on. Each of its rules is the old one at a
    /// place, or a new one.
    pub(super) fn carried(&self, staying: &[Option<usize>], row: u32) -> Vec<u64> {
        let old: Vec<_> = self.rules().copied().collect();
        let of_rules = staying
            .iter()
            .map(|place| place.and_then(|place| old.get(place).copied()));
        let mut hits = vec![self.default()];
        hits.extend(of_rules.map(Option::unwrap_or_default));
        hits.resize((row as usize).saturating_sub(1), Hits::default());
        hits.push(self.obscured());
        hits.iter()
            .flat_map(|hits| [hits.packets, hits.bytes])
            .collect()
    }
}
