//! Where the key of a member is in a set, and where one that is not there can go.
//!
//! The order of the writes here is such that a search meanwhile finds all that was there before.

use std::io;

use nke_ebpf::set::{
    ALONE, BUCKETS, ENDS, FULL, Key, LEVEL, LINE_WORDS, NODES, PLACES, REACH, SEED, ended,
};

use super::{NEXT, Set, Store, bit_of};

/// A place of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// The bucket's line.
    bucket: u32,
    place: usize,
}

/// Where a key is.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// In this line, which is its node.
    Node(u32),
    /// Here, with a prefix that is alone, or that has been.
    Alone(Spot),
}

/// Where a key is, or could be.
pub(super) struct Found {
    pub(super) there: Option<At>,
    /// The first place that is free for it.
    pub(super) free: Option<Spot>,
    /// Buckets in front of that, where a search must not stop.
    pub(super) passed: Vec<u32>,
}

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// Looks for a key.
    pub(super) fn find(&self, key: &Key) -> io::Result<Found> {
        let mask = self.store.get(0, 0)? as u32;
        let hash = key.hash(self.store.get(0, SEED)?);
        let tag = Key::tag(hash) as u16;
        let mut found = Found {
            there: None,
            free: None,
            passed: Vec::new(),
        };
        for step in 0..REACH {
            let bucket = BUCKETS + ((hash as u32).wrapping_add(step) & mask);
            let tags = [self.store.get(bucket, 0)?, self.store.get(bucket, 1)?];
            let (mut free, mut is_taken) = (None, false);
            for place in 0..PLACES {
                let spot = Spot { bucket, place };
                match (tags[place / 4] >> (place % 4 * 16)) as u16 {
                    0 if free.is_none() => free = Some(spot),
                    there if there == tag => {
                        found.there = self.at(spot, key)?;
                        if found.there.is_some() {
                            return Ok(found);
                        }
                        is_taken = true;
                    }
                    _ => {}
                }
            }
            if found.free.is_none() {
                // Another's tag of the same looks keeps this one out.
                match free.filter(|_| !is_taken) {
                    Some(free) => found.free = Some(free),
                    None => found.passed.push(bucket),
                }
            }
            if self.store.get(bucket, FULL)? == 0 && found.free.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// What is in a place, if it is this key's.
    fn at(&self, spot: Spot, key: &Key) -> io::Result<Option<At>> {
        let node = self.node_in(spot)?;
        if node & ALONE != 0 {
            return Ok((node == key.alone()).then_some(At::Alone(spot)));
        }
        let mut line = [0; LINE_WORDS];
        for (index, word) in line[..=LEVEL].iter_mut().enumerate() {
            *word = self.store.get(node, index)?;
        }
        Ok(key.has(&line).then_some(At::Node(node)))
    }

    /// The line of a place's node, or what stands there instead.
    fn node_in(&self, Spot { bucket, place }: Spot) -> io::Result<u32> {
        let nodes = self.store.get(bucket, NODES + place / 2)?;
        Ok((nodes >> (place % 2 * 32)) as u32)
    }

    fn put_node(&mut self, Spot { bucket, place }: Spot, node: u32) -> io::Result<()> {
        // What a killed command has left in a place without a tag is nobody's.
        let shift = place % 2 * 32;
        let nodes = self.store.get(bucket, NODES + place / 2)? & !(0xffff_ffff << shift);
        let nodes = nodes | u64::from(node) << shift;
        self.store.put(bucket, NODES + place / 2, nodes)
    }

    /// Where the prefix ends that is alone here; 0 if it is gone.
    pub(super) fn alone_at(&self, Spot { bucket, place }: Spot) -> io::Result<u8> {
        Ok((self.store.get(bucket, ENDS)? >> (place * 8)) as u8)
    }

    pub(super) fn put_alone(&mut self, Spot { bucket, place }: Spot, end: u8) -> io::Result<()> {
        let ends = self.store.get(bucket, ENDS)? & !(0xff << (place * 8));
        let ends = ends | u64::from(end) << (place * 8);
        self.store.put(bucket, ENDS, ends)
    }

    /// Gives a place to a key. The tag comes last: by it the key is found.
    pub(super) fn take(
        &mut self,
        key: &Key,
        spot: Spot,
        node: u32,
        passed: &[u32],
    ) -> io::Result<()> {
        for passed in passed {
            self.store.put(*passed, FULL, 1)?;
        }
        self.put_node(spot, node)?;
        let Spot { bucket, place } = spot;
        let tag = Key::tag(key.hash(self.store.get(0, SEED)?)) & 0xffff;
        let tags = self.store.get(bucket, place / 4)? | tag << (place % 4 * 16);
        self.store.put(bucket, place / 4, tags)
    }

    /// Gives a key a place, and a node of its own.
    pub(super) fn take_node(
        &mut self,
        key: &Key,
        spot: Spot,
        passed: &[u32],
    ) -> io::Result<Option<u32>> {
        let Some(node) = self.new_node(key)? else {
            return Ok(None);
        };
        self.take(key, spot, node, passed)?;
        Ok(Some(node))
    }

    /// Gives a key a node of its own whose prefix has been alone, with that prefix in it.
    pub(super) fn join(&mut self, key: &Key, spot: Spot) -> io::Result<Option<u32>> {
        let Some(node) = self.new_node(key)? else {
            return Ok(None);
        };
        if let Some(bit) = ended(self.alone_at(spot)?) {
            let (index, mark) = bit_of(bit);
            self.store.put(node, index, mark)?;
        }
        self.put_node(spot, node)?;
        Ok(Some(node))
    }

    /// A line for the node of a key.
    ///
    /// The line is taken first: whoever is killed before the end leaves one that nobody uses.
    fn new_node(&mut self, key: &Key) -> io::Result<Option<u32>> {
        let next = self.store.get(1, NEXT)?;
        let most = self.store.length().min(ALONE);
        let Some(node) = u32::try_from(next).ok().filter(|it| *it < most) else {
            return Ok(None);
        };
        self.store.put(1, NEXT, next + 1)?;
        let [high, low] = key.prefix;
        for (index, word) in [high, low, key.level].into_iter().enumerate() {
            self.store.put(node, index, word)?;
        }
        Ok(Some(node))
    }

    /// Calls this for each place that somebody has: a node's line; or the key of a prefix that is alone, and its
    /// bit. A node that is in no place is one that a killed command has left.
    pub(super) fn for_each_place(
        &self,
        mut node: impl FnMut(u32) -> io::Result<()>,
        mut alone: impl FnMut(Key, u32),
    ) -> io::Result<()> {
        let buckets = self.store.get(0, 0)? as u32;
        for bucket in BUCKETS..=BUCKETS.saturating_add(buckets) {
            let tags = [self.store.get(bucket, 0)?, self.store.get(bucket, 1)?];
            for place in (0..PLACES).filter(|it| tags[it / 4] >> (it % 4 * 16) & 0xffff != 0) {
                let spot = Spot { bucket, place };
                match self.node_in(spot)? {
                    line if line & ALONE == 0 => node(line)?,
                    it => {
                        let bit = ended(self.alone_at(spot)?);
                        bit.into_iter()
                            .for_each(|bit| alone(Key::of_alone(it), bit));
                    }
                }
            }
        }
        self.for_each_single(alone)
    }
}
