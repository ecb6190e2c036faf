//! A packet in a netfilter program: the hooks of the IP layer.
//!
//! The packet begins with its IP header, whatever link it came over. The program gets the kernel's
//! own `sk_buff` and not a view of it, so that packet bytes are asked for by functions of the kernel
//! (kfuncs) and not by address; in return they are found wherever they lie.
//!
//! The functions are plain undefined symbols of the object, which the loader resolves by the
//! kernel's BTF. All of them are there since Linux 6.5.
//!
//! Nothing here changes a packet. Of the kernel's structures, that is read which has been where it is since there
//! are netfilter programs, and what nke finds the place of: the packet's mark, and an interface's index.
#![expect(
    unsafe_code,
    reason = "the kernel's functions, whose arguments the verifier checks"
)]

use core::{cell::Cell, ffi::c_void, mem::MaybeUninit, ptr};

use crate::{
    Case, Direction, Packet,
    abi::{Page, Subject},
    branchless::is_below,
    classic,
    headers::{Header, ethertype},
    kernel,
    packet::{Scratch, sealed::Sealed},
    states::{self, KeepsState},
};

/// The kernel's `struct bpf_nf_ctx`.
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    state: *const State,
    packet: *mut c_void,
}

/// The kernel's `struct nf_hook_state`, as far as it is read.
#[derive(Debug)]
#[repr(C)]
struct State {
    /// `enum nf_inet_hooks`.
    hook: u8,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    family: u8,
    /// `struct net_device`: the one that the packet has come by, or null.
    input: *const c_void,
    /// The one that it goes by, or null.
    output: *const c_void,
}

const NFPROTO_IPV4: u64 = 2;
const NF_INET_FORWARD: u64 = 2;

/// The kernel's `struct bpf_dynptr`: a handle of a packet, which only its functions look into.
#[derive(Debug)]
#[repr(C, align(8))]
pub(crate) struct Dynptr(MaybeUninit<[u64; 2]>);

unsafe extern "C" {
    fn bpf_dynptr_from_skb(packet: *mut c_void, flags: u64, dynptr: *mut Dynptr) -> i32;
    pub(crate) fn bpf_dynptr_size(dynptr: *const Dynptr) -> u32;
    pub(crate) fn bpf_dynptr_slice(
        dynptr: *const Dynptr,
        offset: u64,
        buffer: *mut c_void,
        length: u64,
    ) -> *const c_void;
}

unsafe extern "C" {
    // struct sk_buff, include/linux/skbuff.h.
    static nke_offset__sk_buff__mark: u8;
    // struct net_device, include/linux/netdevice.h.
    static nke_offset__net_device__ifindex: u8;
}

/// How many bytes of headers that do not lie in one place a filter may hold on to.
const POOL: usize = 96;

impl Dynptr {
    /// Of no packet yet. It is never moved.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

/// Room for headers on the program's stack. It lies by itself, so that a filter that needs none has none.
#[derive(Debug)]
pub(crate) struct Room(Cell<MaybeUninit<[u64; POOL / 8]>>);

impl Room {
    /// Room for one packet.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self(Cell::new(MaybeUninit::uninit()))
    }
}

/// A packet in a netfilter program.
#[derive(Debug)]
pub struct IpPacket<'a> {
    context: *mut Context,
    dynptr: &'a Dynptr,
    room: &'a Room,
    used: Cell<usize>,
    length: u32,
}

impl<'a> IpPacket<'a> {
    /// # Safety
    ///
    /// The context must be the one that the kernel has called the program with.
    #[inline(always)]
    pub(crate) unsafe fn new(
        context: *mut Context,
        dynptr: &'a mut Dynptr,
        room: &'a mut Room,
    ) -> Self {
        // SAFETY: the context is the kernel's. Should the kernel refuse (it has no reason to), the
        // dynptr is an empty one.
        let length = unsafe {
            bpf_dynptr_from_skb((*context).packet, 0, dynptr);
            bpf_dynptr_size(dynptr)
        };
        Self {
            context,
            dynptr,
            room,
            used: Cell::new(0),
            length,
        }
    }

    /// The header at this offset: in the packet, or where it does not lie in one place there,
    /// copied to `buffer`. Without a buffer, only in the packet.
    ///
    /// # Safety
    ///
    /// The buffer must be null, or as long as a `T` and not in use as long as the header is.
    #[inline(always)]
    unsafe fn slice<T: Header>(&self, offset: usize, buffer: *mut c_void) -> Option<&T> {
        // SAFETY: the dynptr is the packet's; the kernel checks the bounds.
        let header =
            unsafe { bpf_dynptr_slice(self.dynptr, offset as u64, buffer, size_of::<T>() as u64) };
        // SAFETY: null, or as many bytes as a `T` has; it has alignment 1 and every pattern is
        // valid. Nothing here moves the packet.
        unsafe { header.cast::<T>().as_ref() }
    }

    #[inline(always)]
    fn hook(&self) -> u64 {
        // SAFETY: the context is the kernel's.
        u64::from(unsafe { (*(*self.context).state).hook })
    }
}

impl Sealed for IpPacket<'_> {
    // What the host itself sends passes here with bottom halves on.
    const PREEMPTIBLE: bool = true;

    #[inline(always)]
    fn has_link(&self) -> bool {
        false
    }

    #[inline(always)]
    fn network(&self) -> Option<(u16, usize)> {
        // SAFETY: the context is the kernel's.
        let family = u64::from(unsafe { (*(*self.context).state).family });
        let kind = if family == NFPROTO_IPV4 {
            ethertype::IPV4
        } else {
            ethertype::IPV6
        };
        Some((kind, 0))
    }

    #[inline(always)]
    fn tag(&self) -> u64 {
        0
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: the context is the kernel's; a `__u32`, by the kernel's types.
        unsafe { kernel::read((*self.context).packet, &raw const nke_offset__sk_buff__mark) }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the kernel's.
        let state = unsafe { (*self.context).state };
        // SAFETY: as above. What only goes out has come by none.
        let (input, output) = unsafe { ((*state).input, (*state).output) };
        let device = if input.is_null() { output } else { input };
        // SAFETY: a pointer of the kernel's, and an `int`, by its types. Behind none the kernel reads zeros.
        unsafe { kernel::read(device, &raw const nke_offset__net_device__ifindex) }
    }

    #[inline(always)]
    fn header_in<'a, T: Header>(
        &'a self,
        offset: usize,
        scratch: &'a mut Scratch,
    ) -> Option<&'a T> {
        const { assert!(size_of::<T>() <= size_of::<Scratch>()) };
        // SAFETY: long enough, and borrowed exclusively for as long as the header.
        unsafe { self.slice(offset, scratch.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn answers(&self, page: &Page) -> u64 {
        classic::run(classic::Ip(self.dynptr), page)
    }

    #[inline(always)]
    fn read_case(&self, case: &mut MaybeUninit<Case>, asks: u32) -> bool {
        read_case(self.context, self.dynptr, (self.length, asks), case)
    }

    #[inline(always)]
    fn ask_flow<S: KeepsState>(&self, subject: &Subject, rule: u64) -> u64 {
        ask_flow::<S>(self.context, self.dynptr, self.length, subject, rule)
    }
}

/// See [`Case::read`]. In a function of its own: what it has on the stack is not there any more when the case is
/// judged.
#[inline(never)]
fn read_case(
    context: *mut Context,
    dynptr: &Dynptr,
    (length, asks): (u32, u32),
    case: &mut MaybeUninit<Case>,
) -> bool {
    let packet = IpPacket {
        context,
        dynptr,
        room: &Room::new(),
        used: Cell::new(0),
        length,
    };
    Case::read(&packet, case, asks)
}

/// See [`Sealed::ask_flow`]. In a function of its own, as above.
#[inline(never)]
fn ask_flow<S: KeepsState>(
    context: *mut Context,
    dynptr: &Dynptr,
    length: u32,
    subject: &Subject,
    rule: u64,
) -> u64 {
    let packet = IpPacket {
        context,
        dynptr,
        room: &Room::new(),
        used: Cell::new(0),
        length,
    };
    states::ask::<S>(&packet, subject, rule)
}

impl Packet for IpPacket<'_> {
    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        // Each header gets room of its own: all of them may be borrowed at once. The sum is known
        // when the filter is compiled, or else to the verifier.
        let start = self.used.get();
        let end = start + size_of::<T>().next_multiple_of(8);
        let buffer = if end <= POOL {
            self.used.set(end);
            self.room.0.as_ptr().cast::<u8>().wrapping_add(start).cast()
        } else {
            ptr::null_mut()
        };
        // SAFETY: null, or a part of the pool that is given away once.
        unsafe { self.slice(offset, buffer) }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn direction(&self) -> Direction {
        let hook = self.hook();
        // Without a branch: each would double what the verifier has to walk through behind it.
        let inwards = is_below(hook, NF_INET_FORWARD + 1);
        let outwards = is_below(NF_INET_FORWARD, hook + 1);
        let bits = (inwards | outwards << 1) as u8;
        // SAFETY: whatever the hook, one of the bits is set: these are the directions.
        unsafe { core::mem::transmute::<u8, Direction>(bits) }
    }

    #[inline(always)]
    fn tags_taken(&self) -> usize {
        0
    }
}
