//! A packet in plain memory.

#[cfg(feature = "bpf")]
use core::mem::MaybeUninit;

use super::{Direction, Packet, Scratch, sealed};
#[cfg(feature = "bpf")]
use crate::{
    Case,
    abi::Subject,
    states::{self, KeepsState},
};
use crate::{
    abi::Page,
    classic::{self, Plain},
    flow,
    headers::{Header, ethertype},
};

/// A packet in plain memory, for tests on the host.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    direction: Direction,
    has_link: bool,
}

impl<'a> Frame<'a> {
    /// A packet of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8], direction: Direction) -> Self {
        let has_link = true;
        Self {
            bytes,
            direction,
            has_link,
        }
    }

    /// A packet of these bytes, from the IP header on: as the hooks of the IP layer see it.
    #[must_use]
    pub const fn without_link(bytes: &'a [u8], direction: Direction) -> Self {
        let has_link = false;
        Self {
            bytes,
            direction,
            has_link,
        }
    }
}

impl sealed::Sealed for Frame<'_> {
    #[cfg(feature = "bpf")]
    fn read_case(&self, case: &mut MaybeUninit<Case>, asks: u32) -> bool {
        Case::read(self, case, asks)
    }

    #[cfg(feature = "bpf")]
    fn ask_flow<S: KeepsState>(&self, subject: &Subject, rule: u64) -> u64 {
        states::ask::<S>(self, subject, rule)
    }

    fn has_link(&self) -> bool {
        self.has_link
    }

    fn network(&self) -> Option<(u16, usize)> {
        if self.has_link {
            return flow::behind_link(self);
        }
        let kind = if self.bytes.first()? >> 4 == 4 {
            ethertype::IPV4
        } else {
            ethertype::IPV6
        };
        Some((kind, 0))
    }

    fn ether(&self) -> Option<[u64; 2]> {
        if self.has_link {
            flow::ether(self)
        } else {
            None
        }
    }

    fn tag(&self) -> u64 {
        if self.has_link {
            flow::tag_behind_link(self)
        } else {
            0
        }
    }

    fn header_in<'a, T: Header>(&'a self, offset: usize, _: &'a mut Scratch) -> Option<&'a T> {
        self.header(offset)
    }

    fn answers(&self, page: &Page) -> u64 {
        if self.has_link {
            classic::run(Plain::<true>(self.bytes), page)
        } else {
            classic::run(Plain::<false>(self.bytes), page)
        }
    }
}

impl Packet for Frame<'_> {
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let bytes = self
            .bytes
            .get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice is as long as `T`, and a `Header` has alignment 1 and is valid for
        // every pattern of bits.
        Some(unsafe { &*bytes.as_ptr().cast::<T>() })
    }

    fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn tags_taken(&self) -> usize {
        0
    }
}
