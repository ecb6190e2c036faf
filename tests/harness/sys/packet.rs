//! Packet sockets: frames as they are on the wire, with the VLAN tag that the kernel strips.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// All protocols: such a socket sees a packet before traffic control does.
pub(crate) const ALL: u16 = libc::ETH_P_ALL as u16;

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn set(fd: &OwnedFd, level: i32, option: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an int that outlives the call, and its length is given.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

/// A packet socket on an interface of the calling thread's namespace, for an Ethernet type, or
/// for [`ALL`]. One for a certain type sees a packet when traffic control has let it in.
///
/// It never sees what is sent from its own side, so a sender is no echo to itself.
pub(crate) fn open(ifindex: u32, kind_of_frame: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the answer is checked.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    check(fd)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20)?;

    // SAFETY: `sockaddr_ll` is made of plain integers, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = kind_of_frame.to_be();
    address.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the address outlives the call, and its length is given.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    Ok(fd)
}

/// Has every frame that is sent begin with a [`virtio header`](SCATTER).
pub(crate) fn expect_headers(fd: &OwnedFd) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)
}

/// A `struct virtio_net_hdr` that asks for just the 14 bytes of a link header in one piece. The
/// kernel heeds it for frames of a page and more: all else lies in pages of its own then.
pub(crate) const SCATTER: [u8; 10] = {
    let [low, high] = 14u16.to_ne_bytes();
    [0, 0, low, high, 0, 0, 0, 0, 0, 0]
};

/// The next frame, waiting for it; a stripped VLAN tag is put back where it was.
pub(crate) fn receive(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut frame = vec![0u8; 65536];
    let mut control = [0u64; 16];
    let mut part = libc::iovec {
        iov_base: frame.as_mut_ptr().cast(),
        iov_len: frame.len(),
    };
    // SAFETY: `msghdr` is integers and pointers, for which all zeroes is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the message's buffers outlive the call and their lengths are given.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    let Ok(length) = usize::try_from(length) else {
        return Err(io::Error::last_os_error());
    };
    frame.truncate(length);
    if let Some(tag) = stripped_tag(&message) {
        frame.splice(12..12, tag);
    }
    Ok(frame)
}

fn stripped_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel has filled in the control buffer, which is aligned for its headers.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points at a header inside the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: a header of this type is followed by a `tpacket_auxdata`.
            let data: libc::tpacket_auxdata =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                return None;
            }
            let [a, b] = data.tp_vlan_tpid.to_be_bytes();
            let [c, d] = data.tp_vlan_tci.to_be_bytes();
            return Some([a, b, c, d]);
        }
        // SAFETY: both pointers are what the kernel and the macro have given us.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Switches generic receive offload on or off, for an interface of the calling thread's
/// namespace. A veth peer takes XDP frames only when it has XDP itself or this.
pub(crate) fn set_gro(interface: &str, on: bool) -> io::Result<()> {
    const ETHTOOL_SGRO: u32 = 0x2c;
    set_feature(interface, ETHTOOL_SGRO, on)
}

/// Switches alike whether the interface sums up what it sends, or the kernel before it does.
pub(crate) fn set_checksums(interface: &str, on: bool) -> io::Result<()> {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    set_feature(interface, ETHTOOL_STXCSUM, on)
}

fn set_feature(interface: &str, command: u32, on: bool) -> io::Result<()> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    // SAFETY: no pointers; the answer is checked.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut value = Value {
        command,
        data: u32::from(on),
    };
    // SAFETY: `ifreq` is integers and pointers, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value that it points to outlive the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })
}
