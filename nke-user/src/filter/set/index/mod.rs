//! The index of a set of addresses: what it says of IPv4, laid out again for fast paths, in one value of a map.
//!
//! Such a value has an address, which a program can name: whoever asks looks up nothing. The set's own lines cannot be that,
//! for sets of any size lie in one map of maps.
//!
//! ```text
//! 64 bytes  whether it is in force, whose it is, and its shape
//! then      buckets of single addresses, where the members are such: `buckets`
//! or        a table of all /24, where networks are among many: `blocks`
//! ```
//!
//! The set alone says who is a member. An index is made for the fast path that wants one and goes with the last of them; the
//! set says which one it is ([`About`](super::About)'s line), so that edits find it. Whoever edits a member has it hand over
//! everything meanwhile, and so does whoever puts another set in the place of this one: an editor that is killed leaves an
//! index that says nothing, never a wrong one.

mod blocks;
mod buckets;

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::atomic::{AtomicU64, Ordering},
};

use nke_ebpf::set::{Kind, LEVELS, LINE_WORDS};

pub(in crate::filter) use self::{
    blocks::{Blocks, IN, LEAF, OUT},
    buckets::{BUCKET, Buckets, HASHES, NOWHERE},
};
use super::{Mapped, Member, Set, Store as _, about::INDEX};
use crate::{
    filter::rule::Prefix,
    sys::{
        self,
        map::{Memory, Shape as MapShape},
    },
};

/// The name of its map.
const NAME: &str = "nke_index";
/// `BPF_F_MMAPABLE`.
const FLAGS: u32 = 1 << 10;

/// The words in front of the rest: whether it is in force; the kernel's number of the set's map; the shape, as two.
pub(in crate::filter) const IN_FORCE: usize = 0;
const SET: usize = 1;
const SHAPE: usize = 2;
const HEAD_WORDS: usize = LINE_WORDS;
/// Bytes in front of the rest.
pub(in crate::filter) const HEAD: usize = HEAD_WORDS * 8;

/// Networks among so many members of IPv4 are told of by a table of all /24.
const MANY: usize = 1 << 14;

/// How an index is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filter) enum Shape {
    /// Single addresses, by their hash.
    Buckets(Buckets),
    /// All /24.
    Blocks(Blocks),
}

impl Shape {
    fn to_words(self) -> [u64; 2] {
        match self {
            Self::Buckets(buckets) => [1, buckets.to_word()],
            Self::Blocks(blocks) => [2, blocks.to_word()],
        }
    }

    const fn from_words([which, word]: [u64; 2]) -> Option<Self> {
        match which {
            1 => Some(Self::Buckets(Buckets::from_word(word))),
            2 => Some(Self::Blocks(Blocks::from_word(word))),
            _ => None,
        }
    }

    /// How many bytes it takes, in front of which is the head.
    const fn bytes(self) -> usize {
        match self {
            Self::Buckets(buckets) => buckets.bytes(),
            Self::Blocks(blocks) => blocks.bytes(),
        }
    }
}

/// The index of a set.
pub(in crate::filter) struct Index {
    map: OwnedFd,
    id: u32,
    memory: Memory,
    shape: Shape,
}

impl Index {
    /// The index of a set, made if there is none in force; nothing where a set can have none that is of use. Edits follow
    /// it. The caller holds the lock of the state.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENOMEM`, and `E2BIG` where it takes no value of that size.
    pub(in crate::filter) fn followed(set: &mut Set<Mapped>) -> io::Result<Option<Self>> {
        let there = Self::find(set)?;
        if let Some(index) = there.filter(Self::says_something) {
            return Ok(Some(index));
        }
        let made = Self::aside(set)?;
        if let Some(index) = &made {
            set.store.put(1, INDEX, index.id.into())?;
        }
        Ok(made)
    }

    /// One that no edit follows, for who asks a set that may be another's.
    ///
    /// # Errors
    ///
    /// As [`Self::followed`].
    pub(in crate::filter) fn aside(set: &Set<Mapped>) -> io::Result<Option<Self>> {
        if !can_be_told(set)? {
            return Ok(None);
        }
        let mut members = Vec::new();
        Set::in_store(set.store.again()?).for_each(0, |it| match it.member {
            Member::V4(prefix) => members.push(prefix),
            Member::V6(_) | Member::Ports(_) | Member::Pair { .. } => {}
        })?;
        let Some(laid) = Laid::of(&members) else {
            return Ok(None);
        };
        let bytes = HEAD + laid.words.len() * 8;
        // An offset of a program's is such a number.
        if i32::try_from(bytes).is_err() {
            return Ok(None);
        }
        let map = sys::map::create(MapShape {
            flags: FLAGS,
            ..MapShape::array(NAME, bytes as u32)
        })?;
        let index = Self {
            id: sys::map::describe(&map)?.id,
            memory: Memory::map(&map)?,
            map,
            shape: laid.shape,
        };
        index.memory.store_all(HEAD, laid.words.into_iter())?;
        let of = sys::map::describe(set.store.map())?.id;
        let [which, word] = index.shape.to_words();
        // Which says that it is in force, last.
        let head = [1, of.into(), which, word];
        for (at, word) in head.into_iter().enumerate().rev() {
            put(&index.memory.words()[at], word);
        }
        Ok(Some(index))
    }

    /// That which a set says is its own, if it is still there.
    fn find(set: &Set<Mapped>) -> io::Result<Option<Self>> {
        let id = u32::try_from(set.store.get(1, INDEX)?).unwrap_or_default();
        // There is none of number 0; and it has gone with the last fast path, if there is none of this.
        let Ok(map) = sys::map::open(id) else {
            return Ok(None);
        };
        let described = sys::map::describe(&map)?;
        if described.flags & FLAGS == 0 || described.max_entries != 1 {
            return Ok(None);
        }
        let memory = Memory::map(&map)?;
        let word = |at: usize| memory.words().get(at).map_or(0, get);
        let of = sys::map::describe(set.store.map())?.id;
        let shape = Shape::from_words([word(SHAPE), word(SHAPE + 1)]);
        let shape = shape.filter(|shape| {
            word(SET) == u64::from(of) && HEAD + shape.bytes() == described.value_size as usize
        });
        Ok(shape.map(|shape| Self {
            map,
            id,
            memory,
            shape,
        }))
    }

    /// Has the index of a set hand over everything, if it has one: before the set is changed, or another takes its place.
    pub(in crate::filter) fn hold(set: &Set<Mapped>) -> io::Result<Option<Self>> {
        let index = Self::find(set)?.filter(Self::says_something);
        if let Some(index) = &index {
            put(&index.memory.words()[IN_FORCE], 0);
        }
        Ok(index)
    }

    /// Follows the edits of these members, and is in force again: if it can say what they are now.
    pub(in crate::filter) fn follow(
        &self,
        set: &Set<Mapped>,
        members: impl IntoIterator<Item = Member>,
    ) -> io::Result<()> {
        if !can_be_told(set)? {
            return Ok(());
        }
        let words = &self.memory.words()[HEAD_WORDS..];
        for member in members {
            let Member::V4(prefix) = member else {
                continue;
            };
            let follows = match self.shape {
                Shape::Buckets(buckets) => buckets.follow(words, set, prefix)?,
                Shape::Blocks(blocks) => blocks.follow(words, set, prefix)?,
            };
            if !follows {
                return Ok(());
            }
        }
        put(&self.memory.words()[IN_FORCE], 1);
        Ok(())
    }

    fn says_something(&self) -> bool {
        get(&self.memory.words()[IN_FORCE]) != 0
    }

    pub(in crate::filter) const fn shape(&self) -> Shape {
        self.shape
    }

    /// The kernel's number of its map.
    pub(in crate::filter) const fn id(&self) -> u32 {
        self.id
    }

    pub(in crate::filter) fn descriptor(&self) -> RawFd {
        self.map.as_raw_fd()
    }

    /// How many bytes of the kernel's memory the index of a set takes: 0 where there is none.
    pub(in crate::filter) fn bytes_of(set: &Set<Mapped>) -> u64 {
        let index = Self::find(set).ok().flatten();
        index.map_or(0, |index| (HEAD + index.shape.bytes()) as u64)
    }

    /// Whether the index whose map has this number tells anything.
    pub(in crate::filter) fn is_in_force(id: u32) -> bool {
        let word = || {
            let map = sys::map::open(id)?;
            let bytes = sys::map::describe(&map)?.value_size as usize;
            // One of a small set is less than a page.
            let head = Memory::map_part(&map, 0, bytes.min(rustix::param::page_size()))?;
            head.load(IN_FORCE * 8)
        };
        word().is_ok_and(|word| word != 0)
    }
}

/// An index that is in no map yet: what is behind the head.
struct Laid {
    shape: Shape,
    words: Vec<u64>,
}

impl Laid {
    /// Of members of IPv4; nothing where it would be of no use.
    fn of(members: &[Prefix<Ipv4Addr>]) -> Option<Self> {
        let single = members.iter().filter(|it| it.length() == 32).count();
        let are_single = single == members.len();
        if !are_single && members.len() >= MANY {
            let (blocks, words) = Blocks::lay(members);
            let shape = Shape::Blocks(blocks);
            return Some(Self { shape, words });
        }
        let (buckets, words) = Buckets::lay(members, are_single);
        let shape = Shape::Buckets(buckets);
        (are_single || single > 0).then_some(Self { shape, words })
    }
}

/// Whether a set is one of addresses none of which ends.
fn can_be_told(set: &Set<Mapped>) -> io::Result<bool> {
    let [levels, _] = LEVELS;
    Ok(set.kind()? == Kind::Addresses && set.store.get(0, levels.end)? == 0)
}

fn get(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

fn put(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
}

/// Words that nobody else sees yet.
fn zeros(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// A half of a word, by its number.
fn half(words: &[AtomicU64], nth: usize) -> u32 {
    (words.get(nth / 2).map_or(0, get) >> (nth % 2 * 32)) as u32
}

/// Writes it. There is one writer at a time, so that the other half stays as it is.
fn put_half(words: &[AtomicU64], nth: usize, value: u32) {
    if let Some(word) = words.get(nth / 2) {
        let shift = nth % 2 * 32;
        put(
            word,
            get(word) & !(0xffff_ffff << shift) | u64::from(value) << shift,
        );
    }
}
