//! How the kernel makes packets over, and how an answer is sent back by each hook.
//!
//! In a function of its own for each hook: its stack is not there while a packet is judged. This never makes over a
//! packet that goes on.
#![expect(unsafe_code, reason = "calls of the kernel's helpers")]

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        BPF_F_INGRESS, TC_ACT_SHOT,
        xdp_action::{XDP_DROP, XDP_TX},
    },
    cty::{c_int, c_void},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_redirect, bpf_skb_change_head, bpf_skb_change_tail,
        bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes, bpf_xdp_adjust_head,
        bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
};

use crate::{
    Refusal,
    answer::{MadeOver, answer},
    packet::{TcPacket, XdpPacket, sealed::Sealed as _},
};

/// Makes a packet over to the answer to itself, which leaves by the interface that it came in by (XDP_TX).
#[inline(never)]
pub(crate) fn answer_xdp(mut packet: XdpPacket, why: Refusal) -> u32 {
    match answer(&mut packet, why) {
        Some(()) => XDP_TX,
        None => XDP_DROP,
    }
}

/// The same in a TC program: what came in leaves by the interface, and what was to leave comes in by it.
#[inline(never)]
pub(crate) fn answer_tc<const OUT: bool>(mut packet: TcPacket<OUT>, why: Refusal) -> c_int {
    let interface = packet.interface();
    let way = if OUT { u64::from(BPF_F_INGRESS) } else { 0 };
    match answer(&mut packet, why) {
        // SAFETY: the helper takes numbers.
        Some(()) => unsafe { bpf_redirect(interface, way) as c_int },
        None => TC_ACT_SHOT,
    }
}

/// Has a packet leave by an interface, and says the answer of the program that does it.
#[inline(always)]
pub(crate) fn redirect(interface: u32) -> i64 {
    // SAFETY: the helper takes numbers.
    unsafe { bpf_redirect(interface, 0) }
}

/// What a helper says, which is 0 if it could.
#[inline(always)]
fn done(error: i64) -> Option<()> {
    (error == 0).then_some(())
}

impl MadeOver for XdpPacket {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let to = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: the context is the kernel's, and there is room for so many bytes.
        done(unsafe { bpf_xdp_load_bytes(self.context(), offset as u32, to, N as u32) })?;
        // SAFETY: the helper has filled them.
        Some(unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()> {
        let from = bytes.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: as above; the helper reads the bytes.
        done(unsafe { bpf_xdp_store_bytes(self.context(), offset as u32, from, N as u32) })
    }

    #[inline(always)]
    fn cut(&mut self, length: usize) -> Option<()> {
        // SAFETY: the context is the kernel's, and no reference into the packet is alive.
        unsafe {
            let before = bpf_xdp_get_buff_len(self.context());
            done(bpf_xdp_adjust_tail(
                self.context(),
                (length as u64).wrapping_sub(before) as c_int,
            ))
        }
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: as above.
        done(unsafe { bpf_xdp_adjust_head(self.context(), -(bytes as c_int)) })
    }
}

impl<const OUT: bool> MadeOver for TcPacket<OUT> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let to = bytes.as_mut_ptr().cast::<c_void>();
        // SAFETY: the context is the kernel's, and there is room for so many bytes.
        done(unsafe { bpf_skb_load_bytes(self.context().cast(), offset as u32, to, N as u32) })?;
        // SAFETY: the helper has filled them.
        Some(unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()> {
        let from = bytes.as_ptr().cast::<c_void>();
        // SAFETY: as above; the helper reads the bytes.
        done(unsafe { bpf_skb_store_bytes(self.context(), offset as u32, from, N as u32, 0) })
    }

    #[inline(always)]
    fn cut(&mut self, length: usize) -> Option<()> {
        // SAFETY: the context is the kernel's, and no reference into the packet is alive.
        unsafe {
            done(bpf_skb_change_tail(self.context(), length as u32, 0))?;
            done(bpf_skb_pull_data(self.context(), length as u32))
        }
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: as above.
        done(unsafe { bpf_skb_change_head(self.context(), bytes as u32, 0) })
    }

    // The helper for checksums leaves alone what is summed later, unless it is told that a pseudo header has changed.
    #[inline(always)]
    fn is_summed_later(&mut self, offset: usize) -> Option<bool> {
        self.store(offset, &[0, 0])?;
        // SAFETY: the context is the kernel's; a number of two bytes changes from 0 to 1.
        done(unsafe { bpf_l4_csum_replace(self.context(), offset as u32, 0, 1, 2) })?;
        let sum: [u8; 2] = self.load(offset)?;
        Some(sum == [0, 0])
    }
}
