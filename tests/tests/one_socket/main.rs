//! One socket only: an extension that a socket meets once it has opted in, by the option of
//! `include/nke.h` or by the command.

mod asked;
mod filtered;
mod lasting;

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd as _},
    time::Duration,
};

use nke::so_nke;
use nke_tests::{Cgroup, Deadline, INSIDE_V4, Ran, World, stranger};
use serde_json::Value;

pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) cgroup: Cgroup,
}

/// Denies what it can deny.
pub(crate) fn deny(name: &str) -> String {
    stranger::object("every_call.c", name, &[])
}

/// Lets everything go on.
pub(crate) fn allow(name: &str) -> String {
    stranger::object("every_call.c", name, &["-DANSWER=1"])
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            cgroup: Cgroup::new(),
            world: World::with_addresses(),
        }
    }

    pub(crate) fn udp(&self) -> UdpSocket {
        let open = || UdpSocket::bind((INSIDE_V4, 0));
        self.cgroup
            .enter(&self.world.inside, open)
            .expect("any port is free")
    }

    /// `nke attach` to a hook of the cgroup, for those that opt in.
    pub(crate) fn attach(&self, what: &str, hook: &str) -> Ran {
        let path = self.cgroup.path();
        let words = ["attach", what, "--cgroup", path, "--hook", hook, "--opt-in"];
        self.world.nke(&words)
    }

    pub(crate) fn chains(&self) -> Vec<Value> {
        let mut all: Value = self.world.nke(&["chain", "--json"]).json();
        let chains = all["chains"].take();
        chains.as_array().expect("it is one").clone()
    }

    /// How many packets or calls a node has dropped.
    pub(crate) fn dropped(&self, hook: &str) -> Option<u64> {
        let chains = self.chains();
        let chain = chains.iter().find(|chain| chain["hook"] == hook)?;
        chain.pointer("/nodes/0/packets/dropped")?.as_u64()
    }

    /// Which of these sockets a datagram reaches. It is sent to the fence, too, last.
    pub(crate) fn reached(&self, sockets: &[&UdpSocket]) -> Vec<bool> {
        let fence = self.udp();
        let sender = self.world.outside.enter(|| UdpSocket::bind("0.0.0.0:0"));
        let sender = sender.expect("any port is free");
        for socket in sockets.iter().copied().chain([&fence]) {
            let to = socket.local_addr().expect("it is bound");
            sender.send_to(b"datagram", to).expect("it goes out");
        }
        assert!(Deadline::generous().readable(&fence), "nobody opted it in");
        let now = Deadline::after(Duration::ZERO);
        let arrived = sockets.iter().map(|socket| now.readable(socket)).collect();
        for socket in sockets {
            socket.set_nonblocking(true).expect("it can be set");
            while socket.recv(&mut [0; 16]).is_ok() {}
        }
        arrived
    }

    /// The end: nothing is left, neither of chains nor of extensions.
    pub(crate) fn detached(&self, name: &str) {
        let path = self.cgroup.path();
        self.world.nke(&["detach", name, "--cgroup", path]).ok();
        self.is_empty();
    }

    pub(crate) fn is_empty(&self) {
        assert_eq!(self.chains(), [] as [Value; 0]);
        assert!(!self.world.is_mounted(), "no state is left");
    }
}

/// What setsockopt(2) answers: 0, or an errno.
pub(crate) fn answer(done: io::Result<()>) -> i32 {
    done.map_or_else(|error| error.raw_os_error().expect("the kernel's"), |()| 0)
}

pub(crate) fn opt_in(socket: impl AsFd, name: &str) -> i32 {
    answer(so_nke::opt_in(socket, name))
}

/// This process's socket, as the command takes it.
pub(crate) fn named(socket: impl AsFd) -> String {
    format!("{}:{}", std::process::id(), socket.as_fd().as_raw_fd())
}
