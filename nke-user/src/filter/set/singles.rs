//! The table of singles: prefixes of IPv4 that are alone in their nodes, where a set has many.
//!
//! A node is in the table or in a bucket; who moves from one to the other is in both for a moment, and never in
//! neither.

use std::io;

use nke_ebpf::set::{
    Key, LEAST_SINGLES, LINE_WORDS, REACH, SEED, SINGLES, SINGLES_LEVEL, SINGLES_SHIFT, Single,
    behind_blocks, end, ended,
};

use super::{Inserted, Lasting, Set, Store, bit_of, member::Place};

/// How many of a line's places are taken when a set is as full as it gets: of a million nodes none needs a fifth line.
const FILL: usize = 11;

/// How many lines of singles there are at most.
const MOST: usize = (1 << (u64::BITS - SINGLES_SHIFT)) - 1;

/// A place of a line.
#[derive(Clone, Copy, Debug)]
struct Slot {
    line: u32,
    place: usize,
}

/// Where a node is, or could be.
struct Found {
    there: Option<Slot>,
    /// The first place that is free for it, and its tag there.
    free: Option<(Slot, u32)>,
    /// Lines in front of that, where a search must not stop.
    passed: Vec<u32>,
}

/// How many lines so many nodes want; none if they are too few.
pub(super) fn lines_for(nodes: usize) -> u32 {
    let lines = nodes.div_ceil(FILL).min(MOST);
    let lines = u32::try_from(lines).unwrap_or_default();
    if lines < LEAST_SINGLES { 0 } else { lines }
}

/// Whether a member can be in a table of singles.
pub(super) fn is_single(member: &Lasting) -> bool {
    let is_single = |place: Place| place.key.level == SINGLES_LEVEL;
    member.until.is_none() && member.member.place().is_some_and(is_single)
}

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// Where the node of a key belongs among singles, if it can be there.
    pub(super) fn single(&self, key: &Key) -> io::Result<Option<Single>> {
        if key.level != SINGLES_LEVEL {
            return Ok(None);
        }
        let mut header = [0; LINE_WORDS];
        for word in [0, SEED] {
            header[word] = self.store.get(0, word)?;
        }
        Ok(Single::of(&header, key.prefix[0].to_be()))
    }

    /// Adds a prefix to those that are alone, or makes a node of one that has been; nothing if it belongs into a bucket.
    pub(super) fn insert_single(&mut self, place: &Place) -> io::Result<Option<Inserted>> {
        let Some(single) = self.single(&place.key)? else {
            return Ok(None);
        };
        let in_bucket = self.find(&place.key)?;
        if in_bucket.there.is_some() {
            return Ok(None);
        }
        let found = self.find_single(&single)?;
        if let Some(slot) = found.there {
            let was = self.end_of(slot)?;
            let Some(other) = ended(was).filter(|other| *other != place.bit) else {
                self.put_end(slot, end(place.bit))?;
                let inserted = if was == 0 {
                    Inserted::New
                } else {
                    Inserted::Known
                };
                return Ok(Some(inserted));
            };
            let node = match in_bucket.free {
                Some(spot) if self.note_level(place)? => {
                    self.take_node(&place.key, spot, &in_bucket.passed)?
                }
                _ => None,
            };
            let Some(node) = node else {
                return Ok(Some(Inserted::NoRoom));
            };
            for bit in [other, place.bit] {
                let (index, mark) = bit_of(bit);
                let word = self.store.get(node, index)?;
                self.store.put(node, index, word | mark)?;
            }
            // Only now: it was there all the time.
            self.put_end(slot, 0)?;
            return Ok(Some(Inserted::New));
        }
        let Some((slot, tag)) = found.free else {
            return Ok(None);
        };
        for line in found.passed {
            let last = self.store.get(line, LINE_WORDS - 1)?;
            self.store.put(line, LINE_WORDS - 1, last | Single::FULL)?;
        }
        self.put_end(slot, end(place.bit))?;
        // The tag comes last: by it the node is found.
        let Slot { line, place } = slot;
        let tags = self.store.get(line, place / 4)? | u64::from(tag) << (place % 4 * 16);
        self.store.put(line, place / 4, tags)?;
        Ok(Some(Inserted::New))
    }

    /// Takes a prefix out that is alone. Whether it was in.
    pub(super) fn remove_single(&mut self, place: &Place) -> io::Result<bool> {
        match self.slot_of(place)? {
            Some(slot) => self.put_end(slot, 0).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether a prefix is there, alone.
    pub(super) fn has_single(&self, place: &Place) -> io::Result<bool> {
        Ok(self.slot_of(place)?.is_some())
    }

    /// Where a prefix is that is alone.
    fn slot_of(&self, place: &Place) -> io::Result<Option<Slot>> {
        let Some(single) = self.single(&place.key)? else {
            return Ok(None);
        };
        let Some(slot) = self.find_single(&single)?.there else {
            return Ok(None);
        };
        let is_it = self.end_of(slot)? == end(place.bit);
        Ok(is_it.then_some(slot))
    }

    fn find_single(&self, single: &Single) -> io::Result<Found> {
        let mut found = Found {
            there: None,
            free: None,
            passed: Vec::new(),
        };
        for step in 0..REACH {
            let (line, tag) = (single.line(step), single.tag(step));
            for place in 0..SINGLES {
                let slot = Slot { line, place };
                match self.tag_of(slot)? {
                    there if there == tag => {
                        found.there = Some(slot);
                        return Ok(found);
                    }
                    0 if found.free.is_none() => found.free = Some((slot, tag)),
                    _ => {}
                }
            }
            if found.free.is_none() {
                found.passed.push(line);
            } else if self.store.get(line, LINE_WORDS - 1)? & Single::FULL == 0 {
                break;
            }
        }
        Ok(found)
    }

    fn tag_of(&self, Slot { line, place }: Slot) -> io::Result<u32> {
        let tags = self.store.get(line, place / 4)?;
        Ok((tags >> (place % 4 * 16)) as u32 & 0xffff)
    }

    /// Where the prefix ends that is here; 0 if it is gone.
    fn end_of(&self, Slot { line, place }: Slot) -> io::Result<u8> {
        let (word, shift) = Single::end(place);
        Ok((self.store.get(line, word)? >> shift) as u8)
    }

    fn put_end(&mut self, Slot { line, place }: Slot, end: u8) -> io::Result<()> {
        let (word, shift) = Single::end(place);
        let ends = self.store.get(line, word)? & !(0xff << shift);
        self.store.put(line, word, ends | u64::from(end) << shift)
    }

    /// Calls this for each prefix that is alone, with its key and its bit.
    pub(super) fn for_each_single(&self, mut then: impl FnMut(Key, u32)) -> io::Result<()> {
        let (header, seed) = (self.store.get(0, 0)?, self.store.get(0, SEED)?);
        let lines = (header >> SINGLES_SHIFT) as u32;
        for nth in 0..lines {
            let line = behind_blocks(header).wrapping_add(nth);
            for place in 0..SINGLES {
                let slot = Slot { line, place };
                let tag = self.tag_of(slot)?;
                let bit = if tag == 0 {
                    None
                } else {
                    ended(self.end_of(slot)?)
                };
                if let Some(bit) = bit {
                    let node = Single::node(tag, nth, lines, seed);
                    then(Key::of(&[node, 0], false, SINGLES_LEVEL as u8), bit);
                }
            }
        }
        Ok(())
    }
}
