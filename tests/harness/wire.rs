//! The ends of the wire: exact frames in and out, through packet sockets.

use std::os::fd::{AsFd, OwnedFd};

use crate::{Deadline, Namespace, fail, sys::packet};

/// A packet socket on one interface: what it sends goes out as it is, and it receives what comes
/// in. VLAN tags are where they are on the wire.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// A socket on an interface of a namespace.
    #[must_use]
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        Self::open_for(namespace, interface, packet::ALL)
    }

    /// A socket for frames of one Ethernet type, which sees those that came in only when traffic
    /// control has let them in.
    #[must_use]
    pub fn open_for(namespace: &Namespace, interface: &str, kind: u16) -> Self {
        let ifindex = namespace.ifindex(interface);
        let socket = namespace.enter(|| packet::open(ifindex, kind));
        Self {
            socket: socket.expect("a packet socket can be opened"),
        }
    }

    /// A socket for sending, whose frames lie in pieces in the kernel: the link header by itself,
    /// and everything behind it, IP header included, in pages that a program cannot look into.
    #[must_use]
    pub fn scattering(namespace: &Namespace, interface: &str) -> Self {
        let tap = Self::open(namespace, interface);
        packet::expect_headers(&tap.socket).expect("a packet socket has this option");
        tap
    }

    /// Sends one frame of at least a page from a [scattering](Self::scattering) socket.
    pub fn scatter(&self, frame: &[u8]) {
        let page = rustix::param::page_size();
        assert!(frame.len() >= page, "the kernel keeps less together");
        self.send(&[&packet::SCATTER, frame].concat());
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) {
        match rustix::net::send(&self.socket, frame, rustix::net::SendFlags::empty()) {
            Ok(sent) => assert_eq!(sent, frame.len()),
            // So the kernel tells a sender that a filter on the way out has dropped it.
            Err(rustix::io::Errno::NOBUFS) => {}
            Err(error) => fail(format!("the wire does not take the frame: {error}")),
        }
    }

    /// The next frame, or none when the deadline came first.
    #[must_use]
    pub fn receive(&self, deadline: Deadline) -> Option<Vec<u8>> {
        if !deadline.readable(&self.socket) {
            return None;
        }
        Some(packet::receive(self.socket.as_fd()).expect("a frame is there"))
    }

    /// Waits for the first frame that satisfies a condition, and passes over others.
    #[track_caller]
    #[must_use]
    pub fn expect(&self, what: &str, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Deadline::generous();
        loop {
            match self.receive(deadline) {
                Some(frame) if wanted(&frame) => return frame,
                Some(_) => {}
                None => fail(format!("never came: {what}")),
            }
        }
    }

    /// Sends frames, and then one that is known to come through; says which arrived at the other
    /// end, byte for byte. The wire keeps order, so what has not come by then was dropped.
    #[track_caller]
    #[must_use]
    pub fn survivors(&self, to: &Self, frames: &[Vec<u8>], marker: &[u8]) -> Vec<bool> {
        for frame in frames {
            self.send(frame);
        }
        self.send(marker);
        let mut arrived = Vec::new();
        drop(to.expect("the marker behind the frames", |frame| {
            arrived.push(frame.to_vec());
            frame == marker
        }));
        frames.iter().map(|frame| arrived.contains(frame)).collect()
    }
}
