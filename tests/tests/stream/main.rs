//! Chains on the byte streams of TCP connections: `socket/stream-in` and `socket/stream-out`.

mod lasting;
mod peers;
mod undone;

use std::io::{self, Read as _, Write as _};

use nke_tests::{Node, World, stranger};
use serde::Deserialize;

use peers::{Connection, Peers};

const IN: &str = "socket/stream-in";
const OUT: &str = "socket/stream-out";
const BOTH: [&str; 2] = [IN, OUT];

/// A message that nodes leave their numbers in.
const TRAIL: [u8; 16] = *b"T\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// No node has left its number.
const UNSEEN: [u8; 0] = [];
/// A message that droppers drop.
const DROPPED: [u8; 16] = *b"Dropped message.";

/// `nke chain --json`, as far as it matters here.
#[derive(Deserialize)]
struct Chains {
    chains: Vec<Chain>,
}

#[derive(Debug, Deserialize)]
struct Chain {
    hook: String,
    mode: Option<String>,
    nodes: Vec<Node>,
}

/// An extension for both hooks that leaves this number; its name is `stream<number>`.
fn object(number: u8) -> String {
    let (name, id) = (format!("stream{number}"), format!("-DID={number}"));
    stranger::object("stream.c", &name, &[&id])
}

/// One that drops what begins with a D, and leaves a 9.
fn dropper() -> String {
    stranger::object("stream.c", "dropper", &["-DID=9", "-DDROPS"])
}

/// The chains of a cgroup, at all hooks.
fn chains(peers: &Peers<'_>) -> Vec<Chain> {
    let words = ["chain", "--json", "--cgroup", peers.cgroup.path()];
    peers.world.nke(&words).json::<Chains>().chains
}

impl Connection {
    /// Sends a trail message, and says which nodes it has met.
    fn trail(&mut self) -> Vec<u8> {
        self.client.write_all(&TRAIL).expect("it can be sent");
        self.arrived()
    }

    /// The trail message that the server reads next.
    fn arrived(&mut self) -> Vec<u8> {
        let mut message = TRAIL;
        self.server.read_exact(&mut message).expect("it arrives");
        let [b'T', count, seen @ ..] = message else {
            nke_tests::fail(format!("a trail message begins with T, not {message:?}"));
        };
        seen[..usize::from(count)].to_vec()
    }
}

#[test]
fn nodes_run_in_their_order() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        for (number, priority) in [(1, "20"), (2, "10"), (3, "30")] {
            let words = ["attach", &object(number), "--priority", priority];
            peers.nke(hook, &words).ok();
        }
        let mut connection = peers.connect();
        assert_eq!(connection.trail(), [2, 1, 3], "{hook}");
        peers
            .nke(hook, &["move", "stream3", "--before", "stream1"])
            .ok();
        assert_eq!(connection.trail(), [2, 3, 1], "{hook}");
        peers.nke(hook, &["replace", "stream3", &object(4)]).ok();
        assert_eq!(connection.trail(), [2, 4, 1], "{hook}");
        for name in ["stream1", "stream2", "stream4"] {
            peers.nke(hook, &["detach", name]).ok();
        }
        assert_eq!(connection.trail(), UNSEEN, "{hook}");
    }
}

#[test]
fn what_is_sent_meets_the_chain_out_and_then_the_chain_in() {
    let world = World::new();
    world.inside.sysctl("ipv6/conf/lo/disable_ipv6", "0");
    let peers = Peers::new(&world);
    for (hook, number) in [(IN, 3), (OUT, 1), (IN, 4), (OUT, 2)] {
        peers.nke(hook, &["attach", &object(number)]).ok();
    }
    for mut connection in [peers.connect(), peers.connect_v6()] {
        assert_eq!(connection.trail(), [1, 2, 3, 4]);
        // And so on the way back.
        connection.server.write_all(&TRAIL).expect("it can be sent");
        let mut message = TRAIL;
        connection
            .client
            .read_exact(&mut message)
            .expect("it arrives");
        assert_eq!(message[1..6], [4, 1, 2, 3, 4]);
    }
}

#[test]
fn counters_and_the_chain_as_it_is_shown() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        peers.nke(hook, &["attach", &dropper()]).ok();
    }
    let mut connection = peers.connect();
    for _ in 0..3 {
        connection.trail();
    }
    connection
        .client
        .write_all(&DROPPED)
        .expect_err("it is dropped");
    connection
        .server
        .write_all(b"four")
        .expect("it can be sent");
    let mut answer = [0; 4];
    connection
        .client
        .read_exact(&mut answer)
        .expect("it arrives");

    let shown = chains(&peers);
    let hooks: Vec<_> = shown.iter().map(|chain| chain.hook.as_str()).collect();
    // The program that has connections join is no chain of its own, and nobody else's.
    assert_eq!(hooks, BOTH);
    for chain in &shown {
        assert_eq!(chain.mode.as_deref(), Some("sockmap"));
        let [node] = chain.nodes.as_slice() else {
            nke_tests::fail(format!("one node was attached: {chain:?}"));
        };
        let (packets, bytes) = (node.packets.expect("counted"), node.bytes.expect("counted"));
        let dropped = u64::from(chain.hook == OUT);
        assert_eq!(
            (packets.go_on, packets.dropped, packets.other),
            (4, dropped, 0)
        );
        assert_eq!(
            (bytes.go_on, bytes.dropped, bytes.other),
            (3 * 16 + 4, dropped * 16, 0)
        );
    }
}

#[test]
fn a_drop_out_is_an_error_for_the_sender_from_then_on() {
    let world = World::new();
    let peers = Peers::new(&world);
    peers.nke(OUT, &["attach", &dropper()]).ok();
    let mut connection = peers.connect();
    assert_eq!(connection.trail(), [9]);
    for message in [DROPPED, TRAIL, TRAIL] {
        let error = connection
            .client
            .write(&message)
            .expect_err("it is dropped");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    // Nothing of it went out, and the other direction is as it was.
    connection
        .server
        .write_all(b"answer")
        .expect("it can be sent");
    let mut answer = [0; 6];
    connection
        .client
        .read_exact(&mut answer)
        .expect("it arrives");
    drop(connection.client);
    let mut rest = Vec::new();
    connection.server.read_to_end(&mut rest).expect("it ends");
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn a_drop_in_loses_just_what_is_dropped() {
    let world = World::new();
    let peers = Peers::new(&world);
    peers.nke(IN, &["attach", &dropper()]).ok();
    let mut connection = peers.connect();
    assert_eq!(connection.trail(), [9]);
    connection
        .client
        .write_all(&DROPPED)
        .expect("the sender does not know");
    assert_eq!(connection.trail(), [9]);
}

#[test]
fn a_drop_policy_lets_nothing_out() {
    let world = World::new();
    let peers = Peers::new(&world);
    peers.nke(OUT, &["policy", "drop"]).ok();
    let mut connection = peers.connect();
    let error = connection.client.write(&TRAIL).expect_err("it is dropped");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    peers.nke(OUT, &["policy", "pass"]).ok();
    assert_eq!(peers.connect().trail(), UNSEEN);
}

#[test]
fn every_section_name() {
    let world = World::new();
    let peers = Peers::new(&world);
    for (number, section) in [
        (1, "sk_skb"),
        (2, "sk_skb/verdict"),
        (3, "sk_skb/stream_verdict/x"),
    ] {
        let flags = [
            &format!("-DID={number}"),
            &format!("-DIN_SECTION=\"{section}\""),
        ];
        let object = stranger::object(
            "stream.c",
            &format!("section{number}"),
            &flags.map(|f| f.as_str()),
        );
        peers.nke(IN, &["attach", &object]).ok();
    }
    assert_eq!(peers.connect().trail(), [1, 2, 3]);
    // A parser says how long a message is: it is no filter, and no node.
    let flags = ["-DID=4", "-DIN_SECTION=\"sk_skb/stream_parser\""];
    let parser = stranger::object("stream.c", "parser", &flags);
    let said = peers.nke(IN, &["attach", &parser]).fails("no-program");
    assert!(said.contains("no program for socket/stream-in"), "{said}");
    assert_eq!(peers.connect().trail(), [1, 2, 3]);
}

#[test]
fn programs_that_tail_call_for_themselves() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        // All programs of an array are of one type: an object for each hook.
        let name = hook.replace('/', "-");
        let flags = ["-DID=7", "-DTAIL_CALLS"];
        let calls = stranger::object("stream.c", &name, &flags);
        for what in [&object(1), &calls, &object(2)] {
            peers.nke(hook, &["attach", what]).ok();
        }
        let shown = chains(&peers);
        let chain = shown.iter().find(|chain| chain.hook == hook);
        let forms = chain
            .iter()
            .flat_map(|chain| &chain.nodes)
            .map(|node| node.form.as_str());
        assert_eq!(forms.collect::<Vec<_>>(), ["inline", "stub", "inline"]);
    }
    assert_eq!(peers.connect().trail(), [1, 7, 2, 1, 7, 2]);
}

#[test]
fn the_nearest_cgroup_has_the_connection() {
    let world = World::new();
    let above = Peers::new(&world);
    let below = above.below();
    above.nke(OUT, &["attach", &object(1)]).ok();
    assert_eq!(below.connect().trail(), [1]);
    below.nke(OUT, &["attach", &object(2)]).ok();
    assert_eq!(below.connect().trail(), [2]);
    assert_eq!(above.connect().trail(), [1]);
    below.nke(IN, &["attach", &object(3)]).ok();
    assert_eq!(below.connect().trail(), [2, 3]);
    below.nke(OUT, &["detach", "stream2"]).ok();
    assert_eq!(below.connect().trail(), [1, 3]);
}
