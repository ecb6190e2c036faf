//! Named sets: written here, asked by the rules of an extension in the kernel.
//!
//! ```
//! use nke::filter::{About, Lasting, Set, SetKind};
//!
//! let about = About::new("blocklist".parse()?, SetKind::Addresses);
//! let forever = |text: &str| text.parse().map(Lasting::forever);
//! let mut set = Set::of(&about, &[forever("192.0.2.0/24")?, forever("2001:db8::1")?]).unwrap();
//! assert!(set.has_address("192.0.2.7".parse()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How a set is laid out, and why it is found fast, stands in [`nke_ebpf::set`]. To add or
//! remove one member takes the same few words read and written, however many there are; the order of the
//! writes is such that a search meanwhile finds the set before or after, and every other member always.
//!
//! A line of a node, once used, is never used for other members: a search could still be reading it.
//! So a set fills up by edits, and is then made anew in another array, without what has ended.

mod about;
mod blocks;
mod build;
mod find;
pub(in crate::filter) mod index;
mod member;
mod singles;
mod store;
mod text;
mod walk;

#[cfg(test)]
mod tests;

use std::io;

use nke_ebpf::set::{ALONE, BITS, BUCKETS, LENGTHS, LEVELS, Line, end};

use self::{about::NEXT, find::At, member::Place};
pub(in crate::filter) use self::{
    about::name_of,
    index::Index,
    member::words,
    store::{Mapped, Store},
};
pub use self::{
    about::{About, NoSetName, SetName},
    build::TooLarge,
    member::{Member, NoMember},
    text::{MemberError, MemberProblem, SetText, time},
};
use super::rule::PortRange;

/// A member, and how long it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lasting {
    /// The member.
    pub member: Member,
    /// When it ends: nanoseconds of `CLOCK_BOOTTIME`. Never, if there is nothing.
    pub until: Option<u64>,
}

impl Lasting {
    /// A member without a timeout.
    #[must_use]
    pub const fn forever(member: Member) -> Self {
        let until = None;
        Self { member, until }
    }
}

/// What became of a member that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in the set now.
    New,
    /// It had been before, and nothing is otherwise.
    Known,
    /// It had been before, and lasts now as long as was asked for, which is another time.
    Lasts,
    /// There is no room for it: the set must be made anew, larger.
    NoRoom,
    /// Members with timeouts have too many different lengths.
    ManyLengths,
    /// The set is one of something else.
    OtherKind,
}

/// A set, wherever its lines are.
#[derive(Clone, Debug)]
pub struct Set<S = Vec<Line>> {
    store: S,
}

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    pub(in crate::filter) const fn in_store(store: S) -> Self {
        Self { store }
    }

    pub(in crate::filter) const fn store(&self) -> &S {
        &self.store
    }

    /// Adds a member, or changes how long it lasts. `now` tells whether one has ended.
    pub(in crate::filter) fn insert(&mut self, new: Lasting, now: u64) -> io::Result<Inserted> {
        let Lasting { member, until } = new;
        if member.kind() != self.kind()? {
            return Ok(Inserted::OtherKind);
        }
        let Some(place) = member.place() else {
            return self.insert_ports(member);
        };
        let inserted = match until {
            Some(until) => self.insert_timed(&place, until, now)?,
            None => self.insert_forever(member, &place)?,
        };
        match (inserted, until) {
            (Inserted::New, _) => {}
            (Inserted::Known, Some(_)) => return Ok(Inserted::Lasts),
            (other, _) => return Ok(other),
        }
        // It may have been there in the other way: gone only now, it was there all the time.
        let was = match until {
            Some(_) => self.remove_forever(member, &place)?,
            None => self.remove_timed(&place, now)?,
        };
        Ok(if was { Inserted::Lasts } else { Inserted::New })
    }

    /// Takes a member out. Whether it was in.
    pub(in crate::filter) fn remove(&mut self, member: Member, now: u64) -> io::Result<bool> {
        match member.place() {
            Some(place) => {
                let bit = self.remove_forever(member, &place)?;
                Ok(self.remove_timed(&place, now)? || bit)
            }
            None => self.change_ports(member, |word, mask| word & !mask),
        }
    }

    fn insert_ports(&mut self, member: Member) -> io::Result<Inserted> {
        let changed = self.change_ports(member, |word, mask| word | mask)?;
        Ok(if changed {
            Inserted::New
        } else {
            Inserted::Known
        })
    }

    /// Whether anything was changed.
    fn change_ports(
        &mut self,
        member: Member,
        change: impl Fn(u64, u64) -> u64,
    ) -> io::Result<bool> {
        let Member::Ports(range) = member else {
            return Ok(false);
        };
        let mut changed = false;
        for word in range.first() / 64..=range.last() / 64 {
            let own = (0..64).filter(|bit| range.contains(word * 64 + bit));
            let mask = own.fold(0, |mask, bit| mask | 1u64 << bit);
            let (line, index) = (BUCKETS + u32::from(word) / 8, usize::from(word % 8));
            let old = self.store.get(line, index)?;
            let new = change(old, mask);
            if new != old {
                self.store.put(line, index, new)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Which of the ports are in.
    fn ports(&self, range: PortRange) -> io::Result<Vec<bool>> {
        let is_in = |port: u16| {
            let (line, index) = (BUCKETS + u32::from(port) / 512, usize::from(port / 64 % 8));
            let word = self.store.get(line, index)?;
            Ok(word >> (port % 64) & 1 != 0)
        };
        (range.first()..=range.last()).map(is_in).collect()
    }

    fn insert_forever(&mut self, member: Member, place: &Place) -> io::Result<Inserted> {
        self.search_blocks(member)?;
        let inserted = self.insert_bit(place)?;
        if matches!(inserted, Inserted::New | Inserted::Known) {
            self.fill_blocks(member)?;
        }
        Ok(inserted)
    }

    fn remove_forever(&mut self, member: Member, place: &Place) -> io::Result<bool> {
        if !self.has_bit(place)? {
            return Ok(false);
        }
        self.search_blocks(member)?;
        self.remove_bit(place)
    }

    fn insert_bit(&mut self, place: &Place) -> io::Result<Inserted> {
        if let Some(inserted) = self.insert_single(place)? {
            return Ok(inserted);
        }
        if !self.note_level(place)? {
            return Ok(Inserted::ManyLengths);
        }
        let found = self.find(&place.key)?;
        let node = match (found.there, found.free) {
            (Some(At::Node(node)), _) => Some(node),
            (Some(At::Alone(spot)), _) => {
                let there = self.alone_at(spot)?;
                if there == end(place.bit) {
                    return Ok(Inserted::Known);
                }
                if there == 0 {
                    self.put_alone(spot, end(place.bit))?;
                    return Ok(Inserted::New);
                }
                self.join(&place.key, spot)?
            }
            (None, Some(spot)) if place.key.alone() & ALONE != 0 => {
                self.put_alone(spot, end(place.bit))?;
                self.take(&place.key, spot, place.key.alone(), &found.passed)?;
                return Ok(Inserted::New);
            }
            (None, Some(spot)) => self.take_node(&place.key, spot, &found.passed)?,
            (None, None) => None,
        };
        let Some(node) = node else {
            return Ok(Inserted::NoRoom);
        };
        let (index, mark) = bit_of(place.bit);
        let word = self.store.get(node, index)?;
        if word & mark != 0 {
            return Ok(Inserted::Known);
        }
        self.store.put(node, index, word | mark)?;
        Ok(Inserted::New)
    }

    fn insert_timed(&mut self, place: &Place, until: u64, now: u64) -> io::Result<Inserted> {
        let timed = LEVELS[usize::from(place.is_v6)].end;
        if !self.note(timed..timed + 1, place.length)? {
            return Ok(Inserted::ManyLengths);
        }
        let found = self.find(&place.timed)?;
        let node = match (found.there, found.free) {
            (Some(At::Node(node)), _) => Some(node),
            (None, Some(spot)) => self.take_node(&place.timed, spot, &found.passed)?,
            (Some(At::Alone(_)), _) | (None, None) => None,
        };
        let Some(node) = node else {
            return Ok(Inserted::NoRoom);
        };
        let was = self.store.get(node, BITS)?;
        self.store.put(node, BITS, until)?;
        Ok(if was > now {
            Inserted::Known
        } else {
            Inserted::New
        })
    }

    fn remove_bit(&mut self, place: &Place) -> io::Result<bool> {
        let node = match self.find(&place.key)?.there {
            None => return self.remove_single(place),
            Some(At::Alone(spot)) => {
                let is_there = self.alone_at(spot)? == end(place.bit);
                if is_there {
                    self.put_alone(spot, 0)?;
                }
                return Ok(is_there);
            }
            Some(At::Node(node)) => node,
        };
        let (index, mark) = bit_of(place.bit);
        let word = self.store.get(node, index)?;
        if word & mark != 0 {
            self.store.put(node, index, word & !mark)?;
        }
        Ok(word & mark != 0)
    }

    /// Whether a member without a timeout is this very one.
    fn has_bit(&self, place: &Place) -> io::Result<bool> {
        match self.find(&place.key)?.there {
            None => self.has_single(place),
            Some(At::Alone(spot)) => Ok(self.alone_at(spot)? == end(place.bit)),
            Some(At::Node(node)) => {
                let (index, mark) = bit_of(place.bit);
                Ok(self.store.get(node, index)? & mark != 0)
            }
        }
    }

    fn remove_timed(&mut self, place: &Place, now: u64) -> io::Result<bool> {
        if self.store.get(0, LEVELS[usize::from(place.is_v6)].end)? == 0 {
            return Ok(false);
        }
        let Some(At::Node(node)) = self.find(&place.timed)?.there else {
            return Ok(false);
        };
        let was = self.store.get(node, BITS)?;
        if was != 0 {
            self.store.put(node, BITS, 0)?;
        }
        Ok(was > now)
    }

    /// How long this very member lasts, if it is one.
    pub(in crate::filter) fn lasts(&self, member: Member, now: u64) -> io::Result<Option<Lasting>> {
        let Some(place) = member.place() else {
            let Member::Ports(range) = member else {
                return Ok(None);
            };
            let all = self.ports(range)?.into_iter().all(|is_in| is_in);
            return Ok(all.then_some(Lasting::forever(member)));
        };
        if self.has_bit(&place)? {
            return Ok(Some(Lasting::forever(member)));
        }
        let Some(At::Node(node)) = self.find(&place.timed)?.there else {
            return Ok(None);
        };
        let until = Some(self.store.get(node, BITS)?).filter(|until| *until > now);
        Ok(until.map(|_| Lasting { member, until }))
    }

    /// Puts a prefix's level among those that occur.
    fn note_level(&mut self, place: &Place) -> io::Result<bool> {
        let levels = &LEVELS[usize::from(place.is_v6)];
        self.note(levels.clone(), place.level)
    }

    /// Puts a number among those that occur; whether there is room for it.
    fn note(&mut self, words: std::ops::Range<usize>, number: u8) -> io::Result<bool> {
        for index in words {
            let word = self.store.get(0, index)?;
            for at in 0..LENGTHS {
                let there = word >> (at * 8) & 0xff;
                if there == u64::from(number) {
                    return Ok(true);
                }
                if there == 0 {
                    let with = word | u64::from(number) << (at * 8);
                    return self.store.put(0, index, with).map(|()| true);
                }
            }
        }
        Ok(false)
    }
}

/// The word of a node with a prefix's bit, and the bit.
const fn bit_of(bit: u32) -> (usize, u64) {
    (BITS + (bit >> 6) as usize, 1 << (bit & 63))
}
