//! The packet that a filter looks at: a view of the kernel's, never a copy.
//!
//! One filter function serves every hook because it asks for [`Packet`] and not for the kernel's
//! context. The trait is sealed: what [`Packet::header`] returns is trusted without looking, so
//! only the kernel's contexts and a plain slice of bytes may stand behind it.
//!
//! ```
//! use nke_ebpf::{Direction, Frame, Packet, headers::{Ipv4, Vlan}};
//!
//! let frame = Frame::new(&[0; 33], Direction::Out);
//! assert!(frame.header::<Vlan>(14).is_some());
//! assert!(frame.header::<Ipv4>(14).is_none(), "it would end one byte behind the packet");
//! ```
//!
//! A packet is never changed here, and its pointers never leave the borrow that made them.
#![expect(
    unsafe_code,
    reason = "the verifier checks what the borrow checker cannot see"
)]

mod frame;

use core::mem::MaybeUninit;
#[cfg(feature = "bpf")]
use core::ptr::NonNull;

#[cfg(feature = "bpf")]
use aya_ebpf::bindings::{__sk_buff, xdp_md};

use crate::headers::Header;
#[cfg(feature = "bpf")]
use crate::{
    Case, Functions,
    abi::{Page, Subject},
    branchless::load,
    classic, flow,
    in_force::{RuleSet, straight},
    states::{self, KeepsState},
};

pub use self::frame::Frame;

/// Which way a packet goes.
//
// In bits, so that whoever compares them needs no branch: a forwarded packet goes both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the interface into the host.
    In = 1,
    /// From the host out of the interface.
    Out = 2,
    /// From one interface through the host out of another, as the hook `ip/forward` sees it.
    Forward = 3,
}

/// A packet: from its Ethernet header on, or at the hooks of the IP layer from its IP header on.
pub trait Packet: sealed::Sealed {
    /// The header at this offset, or nothing where the packet ends before it does.
    fn header<T: Header>(&self, offset: usize) -> Option<&T>;

    /// How many bytes the packet has, link header included where the packet begins with it.
    ///
    /// A packet that the kernel has put together from several, or will cut into several, counts
    /// once and as one.
    fn len(&self) -> u32;

    /// Whether there are no bytes at all.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which way it goes.
    fn direction(&self) -> Direction;

    /// How many VLAN tags the kernel (or the device) has moved out of the packet into its own
    /// notes: 0 or 1. Their bytes are not in the packet any more.
    fn tags_taken(&self) -> usize;
}

pub(crate) mod sealed {
    #[cfg(feature = "bpf")]
    use core::{mem::MaybeUninit, ptr::NonNull};

    use super::Scratch;
    #[cfg(feature = "bpf")]
    use crate::{
        Case, Functions,
        abi::Subject,
        in_force::{RuleSet, straight},
        states::{self, KeepsState},
    };
    use crate::{abi::Page, headers::Header};

    /// Only this crate says what is a packet.
    pub trait Sealed {
        /// Whether another program can run between two instructions of the one that looks at it.
        const PREEMPTIBLE: bool = false;

        /// Whether the packet begins with its Ethernet header.
        #[inline(always)]
        fn has_link(&self) -> bool {
            true
        }

        /// What the packet carries, one of [`crate::headers::ethertype`], and where that begins.
        /// Nothing where the packet is too short to say.
        fn network(&self) -> Option<(u16, usize)>;

        /// The outer VLAN tag, as [`crate::abi::facts::TAGGED`] and its identifier; 0 if there is none.
        fn tag(&self) -> u64;

        /// The mark that the kernel keeps with the packet; 0 where it keeps none.
        #[inline(always)]
        fn mark(&self) -> u32 {
            0
        }

        /// Has the kernel keep another mark with the packet, where it can be told.
        #[inline(always)]
        fn set_mark(&self, _: u32) {}

        /// The index of the interface that it comes in by, or goes out by if it only goes out; 0 of none.
        #[inline(always)]
        fn interface(&self) -> u32 {
            0
        }

        /// The addresses of the frame, receiver's first, each with its first byte highest.
        #[inline(always)]
        fn ether(&self) -> Option<[u64; 2]> {
            None
        }

        /// Judges it, if it is as nearly all are: see [`crate::in_force::straight`].
        #[cfg(feature = "bpf")]
        #[inline(always)]
        fn judge_straight<F: Functions>(
            &self,
            _: &mut MaybeUninit<Case>,
            _: &RuleSet,
            _: NonNull<Page>,
        ) -> u64 {
            straight::NOT
        }

        /// Makes a case of it, and says whether that could be done: see [`Case::read`].
        #[cfg(feature = "bpf")]
        fn read_case(&self, case: &mut MaybeUninit<Case>, asks: u32) -> bool;

        /// As [`super::Packet::header`], with room to copy a header to that does not lie in
        /// one place.
        fn header_in<'a, T: Header>(
            &'a self,
            offset: usize,
            scratch: &'a mut Scratch,
        ) -> Option<&'a T>;

        /// The rule of its flow if that is known, or 0; with a rule, its flow is entered for that, if it begins one.
        #[cfg(feature = "bpf")]
        fn ask_flow<S: KeepsState>(&self, subject: &Subject, rule: u64) -> u64;

        /// The same of a packet as nearly all are, which has no case: see [`states::find_straight`].
        #[cfg(feature = "bpf")]
        #[inline(always)]
        fn find_flow<S: KeepsState>(&self) -> u64 {
            states::NOT
        }

        /// What expressions say of it: see [`crate::answers`].
        fn answers(&self, page: &Page) -> u64;
    }
}

/// Room for the longest header that a flow is read from. Where it is not needed, it takes none.
pub(crate) type Scratch = MaybeUninit<[u64; 5]>;

/// The header at `offset` of the bytes from `start` to `end`.
///
/// The sum is compared in the form in which the verifier recognises a check of packet bounds.
///
/// # Safety
///
/// `start` and `end` must be a context's `data` and `data_end`, and the reference must not be
/// used after a helper that may move the packet. The shared borrow of the packet keeps that:
/// nothing that takes `&self` moves it.
#[cfg(feature = "bpf")]
#[inline(always)]
unsafe fn header_between<'a, T: Header>(start: usize, end: usize, offset: usize) -> Option<&'a T> {
    let header = start + offset;
    if header + size_of::<T>() > end {
        return None;
    }
    // SAFETY: no packet lies at address 0. (Unsaid, every use of the option tests for it again.)
    unsafe { core::hint::assert_unchecked(header != 0) };
    // SAFETY: the bytes lie before `end`; a `Header` has alignment 1 and every pattern is valid.
    Some(unsafe { &*(header as *const T) })
}

/// See [`Case::read`]. In a function of its own: what it has on the stack is not there any more when the case is
/// judged.
#[cfg(feature = "bpf")]
#[inline(never)]
fn read_case(packet: impl Packet, case: &mut MaybeUninit<Case>, asks: u32) -> bool {
    Case::read(&packet, case, asks)
}

/// See [`straight`]. In a function of its own, as above.
#[cfg(feature = "bpf")]
#[inline(never)]
fn judge_straight<F: Functions>(
    packet: impl Packet,
    case: &mut MaybeUninit<Case>,
    set: &RuleSet,
    first: NonNull<Page>,
) -> u64 {
    straight::judge::<F, _>(&packet, case, set, first)
}

/// See [`sealed::Sealed::ask_flow`]. In a function of its own, as above.
#[cfg(feature = "bpf")]
#[inline(never)]
fn ask_flow<S: KeepsState>(packet: impl Packet, subject: &Subject, rule: u64) -> u64 {
    states::ask::<S>(&packet, subject, rule)
}

/// See [`states::find_straight`]. In a function of its own, as above.
#[cfg(feature = "bpf")]
#[inline(never)]
fn find_flow<S: KeepsState>(packet: impl Packet) -> u64 {
    states::find_straight::<S>(&packet)
}

/// A packet in an XDP program.
#[cfg(feature = "bpf")]
#[derive(Debug)]
pub struct XdpPacket(*mut xdp_md);

#[cfg(feature = "bpf")]
impl XdpPacket {
    /// # Safety
    ///
    /// The context must be the one that the kernel has called the program with.
    #[inline(always)]
    pub(crate) unsafe fn new(context: *mut xdp_md) -> Self {
        Self(context)
    }

    /// What the kernel has called the program with.
    #[inline(always)]
    pub(crate) const fn context(&self) -> *mut xdp_md {
        self.0
    }

    /// Where the packet begins, and where it ends.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        const START: usize = core::mem::offset_of!(xdp_md, data);
        const END: usize = core::mem::offset_of!(xdp_md, data_end);
        // SAFETY: the context is the kernel's.
        unsafe {
            (
                load::context::<START, _>(self.0),
                load::context::<END, _>(self.0),
            )
        }
    }
}

#[cfg(feature = "bpf")]
impl sealed::Sealed for XdpPacket {
    #[inline(always)]
    fn judge_straight<F: Functions>(
        &self,
        case: &mut MaybeUninit<Case>,
        set: &RuleSet,
        first: NonNull<Page>,
    ) -> u64 {
        judge_straight::<F>(Self(self.0), case, set, first)
    }

    #[inline(always)]
    fn read_case(&self, case: &mut MaybeUninit<Case>, asks: u32) -> bool {
        read_case(Self(self.0), case, asks)
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the kernel's.
        unsafe { (*self.0).ingress_ifindex }
    }

    #[inline(always)]
    fn ask_flow<S: KeepsState>(&self, subject: &Subject, rule: u64) -> u64 {
        ask_flow::<S>(Self(self.0), subject, rule)
    }

    #[inline(always)]
    fn find_flow<S: KeepsState>(&self) -> u64 {
        find_flow::<S>(Self(self.0))
    }

    #[inline(always)]
    fn ether(&self) -> Option<[u64; 2]> {
        flow::ether(self)
    }

    #[inline(always)]
    fn network(&self) -> Option<(u16, usize)> {
        flow::behind_link(self)
    }

    #[inline(always)]
    fn tag(&self) -> u64 {
        flow::tag_behind_link(self)
    }

    #[inline(always)]
    fn header_in<'a, T: Header>(&'a self, offset: usize, _: &'a mut Scratch) -> Option<&'a T> {
        self.header(offset)
    }

    #[inline(always)]
    fn answers(&self, page: &Page) -> u64 {
        classic::run(classic::Xdp(self.0), page)
    }
}

#[cfg(feature = "bpf")]
impl Packet for XdpPacket {
    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let (start, end) = self.bounds();
        // SAFETY: the context is the kernel's.
        unsafe { header_between(start, end, offset) }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        let (start, end) = self.bounds();
        (end - start) as u32
    }

    #[inline(always)]
    fn direction(&self) -> Direction {
        Direction::In
    }

    #[inline(always)]
    fn tags_taken(&self) -> usize {
        0
    }
}

/// A packet in a TC program.
#[cfg(feature = "bpf")]
#[derive(Debug)]
pub struct TcPacket<const OUT: bool>(*mut __sk_buff);

/// A packet on its way in.
#[cfg(feature = "bpf")]
pub type InPacket = TcPacket<false>;

/// A packet on its way out.
#[cfg(feature = "bpf")]
pub type OutPacket = TcPacket<true>;

#[cfg(feature = "bpf")]
impl<const OUT: bool> TcPacket<OUT> {
    /// # Safety
    ///
    /// The context must be the one that the kernel has called the program with.
    #[inline(always)]
    pub(crate) unsafe fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// What the kernel has called the program with.
    #[inline(always)]
    pub(crate) const fn context(&self) -> *mut __sk_buff {
        self.0
    }

    /// Where the bytes in reach begin, and where they end.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        const START: usize = core::mem::offset_of!(__sk_buff, data);
        const END: usize = core::mem::offset_of!(__sk_buff, data_end);
        // SAFETY: the context is the kernel's.
        unsafe {
            (
                load::context::<START, _>(self.0),
                load::context::<END, _>(self.0),
            )
        }
    }

    /// How many of the packet's bytes can be looked at. The rest lies in pages of its own.
    #[inline(always)]
    pub(crate) fn in_reach(&self) -> u32 {
        let (start, end) = self.bounds();
        (end - start) as u32
    }

    /// Brings the first `bytes` into reach. Every header that was borrowed is gone, which is why
    /// this takes the packet exclusively.
    #[inline(always)]
    pub(crate) fn reach(&mut self, bytes: u32) -> Option<()> {
        // SAFETY: the context is the kernel's, and no reference into the packet is alive.
        let error = unsafe { aya_ebpf::helpers::bpf_skb_pull_data(self.0, bytes) };
        (error == 0).then_some(())
    }
}

#[cfg(feature = "bpf")]
impl<const OUT: bool> sealed::Sealed for TcPacket<OUT> {
    #[inline(always)]
    fn judge_straight<F: Functions>(
        &self,
        case: &mut MaybeUninit<Case>,
        set: &RuleSet,
        first: NonNull<Page>,
    ) -> u64 {
        judge_straight::<F>(Self(self.0), case, set, first)
    }

    #[inline(always)]
    fn read_case(&self, case: &mut MaybeUninit<Case>, asks: u32) -> bool {
        read_case(Self(self.0), case, asks)
    }

    #[inline(always)]
    fn ask_flow<S: KeepsState>(&self, subject: &Subject, rule: u64) -> u64 {
        ask_flow::<S>(Self(self.0), subject, rule)
    }

    #[inline(always)]
    fn find_flow<S: KeepsState>(&self) -> u64 {
        find_flow::<S>(Self(self.0))
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: the context is the kernel's.
        unsafe { (*self.0).mark }
    }

    #[inline(always)]
    fn set_mark(&self, mark: u32) {
        // SAFETY: the context is the kernel's, which lets programs write this of it.
        unsafe { (*self.0).mark = mark }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the kernel's.
        unsafe { (*self.0).ifindex }
    }

    #[inline(always)]
    fn ether(&self) -> Option<[u64; 2]> {
        flow::ether(self)
    }

    #[inline(always)]
    fn network(&self) -> Option<(u16, usize)> {
        flow::behind_link(self)
    }

    #[inline(always)]
    fn tag(&self) -> u64 {
        if self.tags_taken() == 0 {
            return flow::tag_behind_link(self);
        }
        // SAFETY: the context is the kernel's.
        flow::tagged(unsafe { (*self.0).vlan_tci } as u16)
    }

    #[inline(always)]
    fn header_in<'a, T: Header>(&'a self, offset: usize, _: &'a mut Scratch) -> Option<&'a T> {
        self.header(offset)
    }

    #[inline(always)]
    fn answers(&self, page: &Page) -> u64 {
        classic::run(classic::Skb(self.0), page)
    }
}

#[cfg(feature = "bpf")]
impl<const OUT: bool> Packet for TcPacket<OUT> {
    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let (start, end) = self.bounds();
        // SAFETY: the context is the kernel's.
        unsafe { header_between(start, end, offset) }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the context is the kernel's.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn direction(&self) -> Direction {
        if OUT { Direction::Out } else { Direction::In }
    }

    #[inline(always)]
    fn tags_taken(&self) -> usize {
        // SAFETY: the context is the kernel's.
        usize::from(unsafe { (*self.0).vlan_present } != 0)
    }
}
