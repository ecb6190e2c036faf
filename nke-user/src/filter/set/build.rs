//! A set made whole, in memory.

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
    net::IpAddr,
};

use nke_ebpf::{
    abi::facts,
    set::{
        self as layout, ALONE, Answer, Asked, BLOCK_LINES, BUCKETS, HAS_BLOCKS, Key, Kind, LEVELS,
        LINE_WORDS, Line, Lines, PORT_LINES, SINGLES_LEVEL, SINGLES_SHIFT,
    },
};

use super::{About, Inserted, Lasting, NEXT, Set, Store, blocks, member::words, singles};

/// Why a set cannot be made of these members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// A set has not so many members.
    #[error("there are more members than a set can have")]
    Members,
    /// Members with timeouts have too many different lengths.
    #[error(
        "members with timeouts have more than {} different prefix lengths",
        layout::LENGTHS
    )]
    Lengths,
    /// One is something else than the set has.
    #[error("one of them is no such member")]
    Kind,
}

/// How often buckets are tried out: each time with another hash, and twice as many from the second on.
const ATTEMPTS: u64 = 6;

/// How many members are looked up together.
const AT_ONCE: usize = 32;

impl Set {
    /// The set of these members, with room for as many more as an eighth of them.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn of(about: &About, members: &[Lasting]) -> Result<Self, TooLarge> {
        Self::with_tables(about, members, &Tables::of(members))
    }

    /// The same, with these tables: what is in it is the same.
    pub(super) fn with_tables(
        about: &About,
        members: &[Lasting],
        tables: &Tables,
    ) -> Result<Self, TooLarge> {
        if about.kind == Kind::Ports {
            return Self::of_ports(about, members);
        }
        let room = members.len().checked_add(members.len() / 8 + 16);
        let room = room.ok_or(TooLarge::Members)?;
        let places = tables.places.checked_add(tables.places / 8 + 16);
        // Three nodes at most for each eight places: in a million buckets, no four in a row overflow.
        let mut buckets = (places.ok_or(TooLarge::Members)? / 3).next_power_of_two();
        for attempt in 0..ATTEMPTS {
            let lines = room
                .checked_add(buckets)
                .and_then(|lines| lines.checked_add(BUCKETS as usize + tables.lines()));
            // The kernel counts an array's bytes in 32 bits.
            let most = (u32::MAX as usize - 4096) / size_of::<Line>();
            let lines = lines.filter(|lines| *lines <= most);
            let lines = lines.ok_or(TooLarge::Members)?;
            let mask = u32::try_from(buckets - 1).map_err(|_| TooLarge::Members)?;
            let mut set = Self {
                store: vec![[0; 8]; lines],
            };
            let seed = RandomState::new().hash_one(attempt);
            set.store[0] = layout::header(about.kind, mask, seed);
            set.store[0][0] |= tables.header();
            let first = BUCKETS as usize + buckets + tables.lines();
            set.store[1] = about.to_line(first as u64);
            set.note_levels(members, tables);
            if set.take_all(members)? {
                set.trim(first, members.len());
                return Ok(set);
            }
            // Bad luck; the second time in more buckets.
            if attempt > 0 {
                buckets *= 2;
            }
        }
        Err(TooLarge::Members)
    }

    fn of_ports(about: &About, members: &[Lasting]) -> Result<Self, TooLarge> {
        let mut set = Self {
            store: vec![[0; 8]; PORT_LINES as usize],
        };
        set.store[0] = layout::header(about.kind, 0, 0);
        set.store[1] = about.to_line(PORT_LINES.into());
        set.take_all(members)?;
        Ok(set)
    }

    /// Whether there was room for all.
    fn take_all(&mut self, members: &[Lasting]) -> Result<bool, TooLarge> {
        for some in members.chunks(AT_ONCE) {
            self.fetch(some);
            for member in some {
                match self.insert(*member, 0).unwrap_or(Inserted::NoRoom) {
                    Inserted::New | Inserted::Known | Inserted::Lasts => {}
                    Inserted::NoRoom => return Ok(false),
                    Inserted::ManyLengths => return Err(TooLarge::Lengths),
                    Inserted::OtherKind => return Err(TooLarge::Kind),
                }
            }
        }
        Ok(true)
    }

    /// Reads a word of the bucket of each, so that the processor waits for all of them at the same time.
    fn fetch(&self, members: &[Lasting]) {
        let [mask, .., seed] = self.store[0];
        let word = |member: &Lasting| {
            let key = member.member.place()?.key;
            let line = match self.single(&key).ok()? {
                Some(single) => single.line(0),
                None => BUCKETS + (key.hash(seed) as u32 & mask as u32),
            };
            self.store.get(line, 0).ok()
        };
        let all = members.iter().filter_map(word);
        black_box(all.fold(0, |all, word| all ^ word));
    }

    /// Which levels occur, those first that most members have that are searched for: where they are looked for first.
    fn note_levels(&mut self, members: &[Lasting], tables: &Tables) {
        let mut counts = [[0usize; 256]; 2];
        // Who may be among the singles notes the level if it is not.
        let searched = |it: &&Lasting| tables.singles == 0 || !singles::is_single(it);
        let forever = members.iter().filter(|it| it.until.is_none());
        for member in forever.filter(searched) {
            if let Some(place) = member.member.place() {
                let is_block = tables.blocks && blocks::has_whole(member.member);
                let count = &mut counts[usize::from(place.is_v6)][usize::from(place.level)];
                // One that the table of blocks tells of still makes its level occur.
                *count = if is_block {
                    (*count).max(1)
                } else {
                    *count + 1
                };
            }
        }
        for (counts, words) in counts.iter().zip(LEVELS) {
            let mut levels: Vec<_> = (0..=u8::MAX)
                .filter(|it| counts[usize::from(*it)] > 0)
                .collect();
            levels.sort_by_key(|level| std::cmp::Reverse(counts[usize::from(*level)]));
            let line = &mut self.store[0];
            for (nth, level) in levels.into_iter().enumerate() {
                if let Some(word) = line[words.clone()].get_mut(nth / 8) {
                    *word |= u64::from(level) << (nth % 8 * 8);
                }
            }
        }
    }

    /// Leaves room for an eighth more nodes than there are, and for a second prefix in some that have one.
    fn trim(&mut self, first: usize, members: usize) {
        let next = usize::try_from(self.store[1][NEXT]).unwrap_or(usize::MAX);
        let used = next.saturating_sub(first);
        let spare = used / 8 + members / 64 + 16;
        self.store.truncate(next.saturating_add(spare));
    }

    /// The lines, as the kernel has them.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.store
    }

    /// Whether an address is in it now, as an extension would find.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        let family = if address.is_ipv6() {
            facts::V6
        } else {
            facts::V4
        };
        let asked = Asked {
            facts: family,
            address: words(address),
            port: 0,
        };
        self.ask(&asked, 0) == Answer::In
    }
}

/// What a set has beside its buckets and nodes.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// Whether there is a table of blocks.
    pub(super) blocks: bool,
    /// How many lines of singles there are.
    pub(super) singles: u32,
    /// How many places of buckets are taken.
    pub(super) places: usize,
}

impl Tables {
    /// Those that are worth their memory for these members.
    ///
    /// Prefixes of IPv4 share the places of their nodes; others are few enough to be counted one by one.
    fn of(members: &[Lasting]) -> Self {
        let key = |it: &Lasting| match it.until {
            None => it.member.place().map(|place| place.key.alone()),
            Some(_) => None,
        };
        let keys = members.iter().filter_map(key);
        let mut keys: Vec<u32> = keys.filter(|key| key & ALONE != 0).collect();
        let others = members.len() - keys.len();
        keys.sort_unstable();
        let (mut nodes, mut alone) = (0, 0);
        for same in keys.chunk_by(|one, other| one == other) {
            nodes += 1;
            let level = Key::of_alone(same[0]).level;
            alone += usize::from(same.len() == 1 && level == SINGLES_LEVEL);
        }
        let singles = singles::lines_for(alone + alone / 8);
        let in_table = if singles == 0 { 0 } else { alone };
        Self {
            blocks: blocks::are_many(members),
            singles,
            places: others + nodes - in_table,
        }
    }

    /// How many lines they are.
    const fn lines(&self) -> usize {
        let blocks = if self.blocks { BLOCK_LINES } else { 0 };
        blocks as usize + self.singles as usize
    }

    /// What word 0 of line 0 says of them.
    const fn header(&self) -> u64 {
        let blocks = if self.blocks { HAS_BLOCKS } else { 0 };
        blocks | (self.singles as u64) << SINGLES_SHIFT
    }
}

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// What an extension would find.
    pub(in crate::filter) fn ask(&self, asked: &Asked, now: u64) -> Answer {
        let store = self.store();
        layout::ask(&Searched { store, now }, asked)
    }
}

/// A set as extensions search it.
pub(in crate::filter) struct Searched<'a, S> {
    pub(in crate::filter) store: &'a S,
    pub(in crate::filter) now: u64,
}

impl<S: Store> Lines for Searched<'_, S> {
    type Line<'a>
        = Line
    where
        Self: 'a;

    fn line(&self, number: u32) -> Option<Line> {
        let mut line = [0; LINE_WORDS];
        for (index, word) in line.iter_mut().enumerate() {
            *word = self.store.get(number, index).ok()?;
        }
        Some(line)
    }

    fn now(&self) -> u64 {
        self.now
    }
}
