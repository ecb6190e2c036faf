//! `nke filter` does not cut the connection that it was typed over, unless it is told to.

use std::net::{SocketAddr, TcpListener, TcpStream};

use nke_tests::{Hook, Ran, World};

/// A connection from outside to inside that stands, as ssh(1) would tell of it.
struct Session {
    _ends: [TcpStream; 2],
    peer: SocketAddr,
    local: SocketAddr,
}

impl Session {
    fn open(world: &World, v6: bool) -> Self {
        let address = SocketAddr::new(World::inside_address(v6), 0);
        let listener = world.inside.enter(|| TcpListener::bind(address));
        let listener = listener.expect("any port is free");
        let local = listener.local_addr().expect("it is bound");
        let client = world.outside.enter(|| TcpStream::connect(local));
        let (server, peer) = listener.accept().expect("it is connected");
        Self {
            _ends: [client.expect("the wire is there"), server],
            peer,
            local,
        }
    }

    /// Runs a command as one typed at its far end.
    fn run(&self, world: &World, words: &[&str]) -> Ran {
        let (peer, local) = (self.peer, self.local);
        let word = format!(
            "{} {} {} {}",
            peer.ip(),
            peer.port(),
            local.ip(),
            local.port()
        );
        let words = world.target(words);
        let mut command = world.command(&words);
        command.env("SSH_CONNECTION", word);
        world.inside.enter(|| Ran::of(&mut command))
    }
}

#[test]
fn a_default_of_drop_lets_the_connection_live() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    // Both stand before there is a rule: later none could be made.
    let sessions = [false, true].map(|v6| Session::open(&world, v6));
    for session in sessions {
        let (far, near) = (session.peer.ip(), session.local);
        let (here, port) = (near.ip(), near.port());
        let rules = [
            (
                "interface/in",
                format!("pass proto tcp from {far} to {here} port {port}"),
            ),
            (
                "interface/out",
                format!("pass proto tcp from {here} port {port} to {far}"),
            ),
        ];
        for (hook, rule) in rules {
            let drop = ["filter", "default", "--hook", hook, "drop"];
            let said = session.run(&world, &drop).ok().stderr;
            assert!(said.contains(&format!("added `{rule}`")), "{said}");
        }
    }
}

#[test]
fn a_rule_that_would_cut_the_connection_is_refused() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let session = Session::open(&world, false);
    let rule = format!("drop in proto tcp to any port {}", session.local.port());
    let told = session
        .run(&world, &["filter", "add", &rule])
        .fails("lock-out");
    assert!(told.contains(&format!("rule 1: {rule}")), "{told}");
    session
        .run(&world, &["filter", "add", "--force", &rule])
        .ok();
    // It is cut already: what comes now is not to blame.
    session
        .run(&world, &["filter", "add", "drop proto udp"])
        .ok();
    // Who has no such connection is not asked.
    world.on(&["filter", "flush"]).ok();
    world.on(&["filter", "add", &rule]).ok();
}
