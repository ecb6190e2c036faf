//! Packets
use crate::headers::Header;
pub trait Packet {
    fn header<T: Header>(&self, offset: usize) -> Option<&T>;
}
#[cfg(feature = "bpf")]
pub struct XdpPacket(*mut aya_ebpf::bindings::xdp_md);
#[cfg(feature = "bpf")]
impl XdpPacket {
    pub unsafe fn new(c: *mut aya_ebpf::bindings::xdp_md) -> Self {
        Self(c)
    }
}
#[cfg(feature = "bpf")]
impl Packet for XdpPacket {
    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let (s, e) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        let p = s + offset;
        if p + size_of::<T>() > e {
            return None;
        }
        Some(unsafe { &*(p as *const T) })
    }
}
#[cfg(feature = "bpf")]
pub struct TcPacket(*mut aya_ebpf::bindings::__sk_buff);
#[cfg(feature = "bpf")]
impl TcPacket {
    pub unsafe fn new(c: *mut aya_ebpf::bindings::__sk_buff) -> Self {
        Self(c)
    }
}
#[cfg(feature = "bpf")]
impl Packet for TcPacket {
    #[inline(always)]
    fn header<T: Header>(&self, offset: usize) -> Option<&T> {
        let (s, e) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        let p = s + offset;
        if p + size_of::<T>() > e {
            return None;
        }
        Some(unsafe { &*(p as *const T) })
    }
}
