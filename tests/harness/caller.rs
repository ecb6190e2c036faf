//! A [`Caller`]: a thread in a cgroup that asks its sockets what it is told to.
//!
//! ```no_run
//! use nke_tests::{Ask, Caller, Cgroup, Namespace, Verb};
//!
//! let (cgroup, namespace) = (Cgroup::new(), Namespace::new("in"));
//! let mut caller = Caller::start(&cgroup, &namespace);
//! let address = "127.0.0.1:22".parse().unwrap();
//! assert!(!caller.is_denied(&Ask::new(Verb::Connect, 6, address)));
//! ```

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect,
        ipproto, recv, sendto, socket_with,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{Cgroup, Namespace, fail};

/// What is asked of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `connect`.
    Connect,
    /// `sendto` of a socket that is not connected.
    Send,
    /// `connect`, then `send`; what `send` says.
    SendConnected,
    /// `sendto` with `MSG_FASTOPEN`.
    FastOpen,
    /// `bind`.
    Bind,
}

/// One call of a fresh socket.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// What is asked.
    pub verb: Verb,
    /// The protocol's number: 6, 17, or 262 for multipath TCP.
    pub protocol: u32,
    /// Where to; of `bind`, where. Its family is the socket's.
    pub address: SocketAddr,
    /// Where the socket is bound first, if it is.
    pub from: Option<SocketAddr>,
}

impl Ask {
    /// A call of a socket that is not bound.
    #[must_use]
    pub const fn new(verb: Verb, protocol: u32, address: SocketAddr) -> Self {
        Self {
            verb,
            protocol,
            address,
            from: None,
        }
    }

    /// Does it, without waiting for anybody at the other end.
    fn make(&self) -> rustix::io::Result<()> {
        let family = match self.address.ip() {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let (kind, protocol) = match self.protocol {
            17 => (SocketType::DGRAM, ipproto::UDP),
            262 => (SocketType::STREAM, ipproto::MPTCP),
            _ => (SocketType::STREAM, ipproto::TCP),
        };
        let protocol: Option<Protocol> = Some(protocol);
        let socket = socket_with(family, kind, SocketFlags::NONBLOCK, protocol)?;
        if let Some(from) = self.from {
            bind(&socket, &from)?;
        }
        let send = |flags| sendto(&socket, b"x", flags, &self.address).map(drop);
        match self.verb {
            Verb::Connect => connect(&socket, &self.address),
            Verb::Bind => bind(&socket, &self.address),
            Verb::Send => send(SendFlags::empty()),
            Verb::FastOpen => send(SendFlags::from_bits_retain(0x2000_0000)),
            Verb::SendConnected => {
                connect(&socket, &self.address)?;
                rustix::net::send(&socket, b"x", SendFlags::empty()).map(drop)?;
                match recv(&socket, &mut [0; 1], RecvFlags::empty()) {
                    Err(Errno::AGAIN | Errno::CONNREFUSED) | Ok(_) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// A thread in a cgroup and a namespace. It must be dropped before its cgroup.
#[derive(Debug)]
pub struct Caller {
    asks: Option<Sender<Ask>>,
    answers: Receiver<rustix::io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    /// Starts one.
    #[must_use]
    pub fn start(cgroup: &Cgroup, namespace: &Namespace) -> Self {
        let (asks, to_do) = channel::<Ask>();
        let (done, answers) = channel();
        let threads = Path::new(cgroup.path()).join("cgroup.threads");
        let namespace = File::open(namespace.path()).expect("the namespace is there");
        let thread = thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("setns needs root");
            let own = rustix::thread::gettid().to_string();
            fs::write(threads, own).expect("the thread can move");
            for ask in to_do {
                if done.send(ask.make()).is_err() {
                    return;
                }
            }
        });
        Self {
            asks: Some(asks),
            answers,
            thread: Some(thread),
        }
    }

    /// Makes a call, and hands back what the kernel said.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn call(&mut self, ask: &Ask) -> rustix::io::Result<()> {
        let sent = self.asks.as_ref().map(|asks| asks.send(*ask).is_ok());
        match self.answers.recv() {
            Ok(answer) if sent == Some(true) => answer,
            _ => fail("the caller has ended"),
        }
    }

    /// Whether a call fails with `EPERM`, which nothing but a program of the cgroup says of it.
    pub fn is_denied(&mut self, ask: &Ask) -> bool {
        self.call(ask) == Err(Errno::PERM)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
