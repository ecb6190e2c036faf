//! TCP connections whose ends are both of a cgroup of the test's own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use nke_tests::{Cgroup, Ran, World};

/// A cgroup, in which connections are made.
pub(crate) struct Peers<'a> {
    pub(crate) world: &'a World,
    pub(crate) cgroup: Cgroup,
}

/// Both ends of a connection.
pub(crate) struct Connection {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

impl<'a> Peers<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let cgroup = Cgroup::new();
        Self { world, cgroup }
    }

    /// The same in a cgroup below this one, which must be dropped first.
    pub(crate) fn below(&self) -> Self {
        Self {
            world: self.world,
            cgroup: self.cgroup.child(),
        }
    }

    /// A new connection over the loopback interface.
    pub(crate) fn connect(&self) -> Connection {
        self.connect_at(Ipv4Addr::LOCALHOST.into())
    }

    /// The same with IPv6.
    pub(crate) fn connect_v6(&self) -> Connection {
        self.connect_at(Ipv6Addr::LOCALHOST.into())
    }

    fn connect_at(&self, address: IpAddr) -> Connection {
        let (client, server) = self.cgroup.enter(&self.world.inside, || {
            let listener = TcpListener::bind(SocketAddr::new(address, 0)).expect("a port is free");
            let port = listener.local_addr().expect("it is bound");
            let client = TcpStream::connect(port).expect("somebody listens");
            let (server, _) = listener.accept().expect("somebody has called");
            (client, server)
        });
        for end in [&client, &server] {
            let patience = Some(Duration::from_secs(20));
            end.set_read_timeout(patience)
                .and_then(|()| end.set_write_timeout(patience))
                .expect("a timeout can be set");
        }
        Connection { client, server }
    }

    /// Runs `nke` with these words for a hook of the cgroup.
    pub(crate) fn nke(&self, hook: &str, words: &[&str]) -> Ran {
        let place = ["--cgroup", self.cgroup.path(), "--hook", hook];
        self.world.nke(&[words, &place].concat())
    }
}
