//! The table of blocks: what a set says of each /24 without a search.
//!
//! The nodes alone say who is a member. So it is never wrong to send a search there; the order of the writes is such that
//! a search meanwhile, or ever after if the writer is killed, finds all other members.

use std::{io, net::Ipv4Addr};

use nke_ebpf::set::{BLOCKS_IN_WORD, Block, HAS_BLOCKS};

use super::{Lasting, Member, Set, Store};
use crate::filter::rule::Prefix;

/// The longest prefix that has whole blocks.
const LONGEST: u8 = 24;

/// A set with so many networks without timeouts gets a table: it is 4 MiB, as their nodes are.
const MANY: usize = 1 << 16;

/// Whether a table is worth its memory for these members.
pub(super) fn are_many(members: &[Lasting]) -> bool {
    let is_network = |it: &&Lasting| it.until.is_none() && has_whole(it.member);
    members.iter().filter(is_network).take(MANY).count() == MANY
}

/// Whether a prefix has whole blocks.
const fn is_whole(prefix: Prefix<Ipv4Addr>) -> bool {
    prefix.length() <= LONGEST
}

/// Whether a member has whole blocks.
pub(super) const fn has_whole(member: Member) -> bool {
    match network(member) {
        Some(prefix) => is_whole(prefix),
        None => false,
    }
}

/// The prefix of IPv4 that a member is.
const fn network(member: Member) -> Option<Prefix<Ipv4Addr>> {
    match member {
        Member::V4(prefix) => Some(prefix),
        Member::V6(_) | Member::Ports(_) | Member::Pair { .. } => None,
    }
}

#[expect(private_bounds, reason = "where lines lie is nobody's business")]
impl<S: Store> Set<S> {
    /// Sends searches to the nodes for all that this member is in, or will have been.
    pub(super) fn search_blocks(&mut self, member: Member) -> io::Result<()> {
        match network(member) {
            // What is in by a shorter one stays so.
            Some(prefix) if !is_whole(prefix) && self.block(prefix)? == Block::In => Ok(()),
            Some(prefix) => self.put_blocks(prefix, Block::Search),
            None => Ok(()),
        }
    }

    /// Says of the whole blocks of this member, which is in, that they are.
    pub(super) fn fill_blocks(&mut self, member: Member) -> io::Result<()> {
        match network(member) {
            Some(prefix) if is_whole(prefix) => self.put_blocks(prefix, Block::In),
            _ => Ok(()),
        }
    }

    /// What the table says of the block that a prefix begins in.
    fn block(&self, prefix: Prefix<Ipv4Addr>) -> io::Result<Block> {
        let header = self.store.get(0, 0)?;
        if header & HAS_BLOCKS == 0 {
            return Ok(Block::Search);
        }
        let (line, index, shift) = Block::place(header, prefix.address().to_bits() >> 8);
        Ok(Block::from_bits(self.store.get(line, index)? >> shift))
    }

    /// Says this of each block that has addresses of this prefix, if there is a table.
    fn put_blocks(&mut self, prefix: Prefix<Ipv4Addr>, block: Block) -> io::Result<()> {
        let header = self.store.get(0, 0)?;
        if header & HAS_BLOCKS == 0 {
            return Ok(());
        }
        let first = prefix.address().to_bits() >> 8;
        let last = first | !prefix.mask().to_bits() >> 8;
        for word in first / BLOCKS_IN_WORD..=last / BLOCKS_IN_WORD {
            let begin = word * BLOCKS_IN_WORD;
            let (from, to) = (first.max(begin), last.min(begin + (BLOCKS_IN_WORD - 1)));
            let (line, index, shift) = Block::place(header, from);
            let (_, _, highest) = Block::place(header, to);
            let mine = (u64::MAX << shift) & (u64::MAX >> (62 - highest));
            let old = self.store.get(line, index)?;
            let new = old & !mine | mine & (Block::IN_ALL * block as u64);
            if new != old {
                self.store.put(line, index, new)?;
            }
        }
        Ok(())
    }
}
