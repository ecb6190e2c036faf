//! Where a program of classic BPF finds a packet's bytes, at each type of hook.
//!
//! A packet is as `tcpdump` would see it on the wire: a VLAN tag that the kernel has moved out of it stands
//! where it stood. At the hooks of the IP layer it begins with its IP header.
//!
//! Nothing here changes a packet, and nothing is read beyond its end.

/// Bytes of a packet, as numbers with the first byte highest; nothing beyond its end.
pub(crate) trait Bytes {
    /// Whether it begins with an Ethernet header.
    const HAS_LINK: bool;

    /// How many there are.
    fn length(&self) -> u32;

    /// So many bytes, as they lie in the packet.
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]>;

    /// One byte.
    #[inline(always)]
    fn byte(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(|[byte]| byte.into())
    }

    /// Two bytes.
    #[inline(always)]
    fn half(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(|two| u16::from_be_bytes(two).into())
    }

    /// Four bytes.
    #[inline(always)]
    fn word(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_be_bytes)
    }
}

/// Bytes in plain memory, for tests on the host.
pub(crate) struct Plain<'a, const HAS_LINK: bool>(pub(crate) &'a [u8]);

impl<const HAS_LINK: bool> Bytes for Plain<'_, HAS_LINK> {
    const HAS_LINK: bool = HAS_LINK;

    fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }
}

#[cfg(feature = "bpf")]
mod kernel {
    use core::ptr;

    use aya_ebpf::{
        bindings::{__sk_buff, xdp_md},
        helpers::generated::bpf_skb_load_bytes,
    };

    use super::Bytes;
    use crate::{
        Packet as _,
        branchless::below,
        headers::Header,
        netfilter::{self, Dynptr},
        packet::XdpPacket,
    };

    /// Packets are shorter, and the verifier follows no pointer farther.
    const END: u64 = 1 << 15;

    #[repr(C)]
    struct Lying<const N: usize>([u8; N]);

    // SAFETY: an array of bytes.
    unsafe impl<const N: usize> Header for Lying<N> {}

    /// Of a packet in an XDP program: the first buffer, if there are several.
    pub(crate) struct Xdp(pub(crate) *mut xdp_md);

    impl Xdp {
        #[inline(always)]
        fn packet(&self) -> XdpPacket {
            // SAFETY: the context is the kernel's.
            unsafe { XdpPacket::new(self.0) }
        }
    }

    #[inline(always)]
    fn offset(at: u64) -> Option<usize> {
        (at < END).then(|| below::<32768>(at as usize))
    }

    impl Bytes for Xdp {
        const HAS_LINK: bool = true;

        #[inline(always)]
        fn length(&self) -> u32 {
            self.packet().len()
        }

        #[inline(always)]
        fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
            let packet = self.packet();
            let Lying(bytes) = packet.header::<Lying<N>>(offset(at)?)?;
            Some(*bytes)
        }
    }

    /// Of a packet in a TC program, wherever they lie.
    pub(crate) struct Skb(pub(crate) *mut __sk_buff);

    /// Where a VLAN tag begins, and where it ends.
    const TAG: (u64, u64) = (12, 16);

    impl Skb {
        /// Bytes as the kernel has them.
        #[inline(always)]
        fn load<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
            if at >= END {
                return None;
            }
            let mut bytes = [0; N];
            let to = ptr::from_mut(&mut bytes).cast();
            // SAFETY: the context is the kernel's, and there is room for as many bytes.
            let error = unsafe { bpf_skb_load_bytes(self.0.cast(), at as u32, to, N as u32) };
            (error == 0).then_some(bytes)
        }

        /// A byte as it was on the wire, of a packet without its tag.
        #[inline(always)]
        fn one(&self, at: u64) -> Option<u8> {
            // SAFETY: the context is the kernel's.
            let (kind, control) =
                unsafe { ((*self.0).vlan_proto as u16, (*self.0).vlan_tci as u16) };
            let [a, b] = kind.to_ne_bytes();
            let [c, d] = control.to_be_bytes();
            match at {
                12 => Some(a),
                13 => Some(b),
                14 => Some(c),
                15 => Some(d),
                0..12 => self.load(at).map(|[byte]| byte),
                _ => self.load(at - 4).map(|[byte]| byte),
            }
        }

        #[inline(always)]
        fn is_tag_taken(&self) -> bool {
            // SAFETY: the context is the kernel's.
            unsafe { (*self.0).vlan_present != 0 }
        }
    }

    impl Bytes for Skb {
        const HAS_LINK: bool = true;

        #[inline(always)]
        fn length(&self) -> u32 {
            // SAFETY: the context is the kernel's.
            unsafe { (*self.0).len + if self.is_tag_taken() { 4 } else { 0 } }
        }

        /// Bytes as they were on the wire.
        #[inline(always)]
        fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
            let (begin, end) = TAG;
            if !self.is_tag_taken() || at + N as u64 <= begin {
                return self.load(at);
            }
            if at >= end {
                return self.load(at - (end - begin));
            }
            let mut bytes = [0; N];
            for (at, byte) in (at..).zip(&mut bytes) {
                *byte = self.one(at)?;
            }
            Some(bytes)
        }
    }

    /// Of a packet in a netfilter program, wherever they lie.
    pub(crate) struct Ip(pub(crate) *const Dynptr);

    impl Bytes for Ip {
        const HAS_LINK: bool = false;

        #[inline(always)]
        fn length(&self) -> u32 {
            // SAFETY: the dynptr is the packet's.
            unsafe { netfilter::bpf_dynptr_size(self.0) }
        }

        #[inline(always)]
        fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
            if at >= END {
                return None;
            }
            let mut room = [0u8; N];
            // SAFETY: the dynptr is the packet's, and there is room for as many bytes.
            let bytes = unsafe {
                netfilter::bpf_dynptr_slice(self.0, at, (&raw mut room).cast(), N as u64)
            };
            // SAFETY: null, or as many bytes.
            unsafe { bytes.cast::<[u8; N]>().as_ref() }.copied()
        }
    }
}

#[cfg(feature = "bpf")]
pub(crate) use self::kernel::{Ip, Skb, Xdp};
