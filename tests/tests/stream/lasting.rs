//! No byte is lost or changed, whatever becomes of the chain meanwhile.

use std::{
    io::{Read as _, Write as _},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use nke_tests::{Deadline, World};

use crate::{
    BOTH, IN, OUT, TRAIL, UNSEEN, object,
    peers::{Connection, Peers},
};

/// What is sent at once. No piece of it looks like a trail message, wherever it is cut.
const BLOCK: usize = 1 << 16;

/// The byte at a place of the stream: a period that is no power of two, and no T in it.
fn byte(at: u64) -> u8 {
    u8::try_from(at % 241)
        .map(|byte| if byte == b'T' { 0 } else { byte })
        .unwrap_or_default()
}

fn block(from: u64) -> Vec<u8> {
    (from..from + BLOCK as u64).map(byte).collect()
}

/// Says stop when it is dropped, also by a test that fails.
struct StopsLater<'a>(&'a AtomicBool);

impl Drop for StopsLater<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends and reads, comparing each byte, for as long as `work` takes; how many bytes went through.
fn while_bytes_flow(connection: Connection, work: impl FnOnce(&AtomicU64)) -> u64 {
    let Connection {
        mut client,
        mut server,
    } = connection;
    let (stop, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    let (stop, arrived) = (&stop, &arrived);
    thread::scope(|scope| {
        // Each has its end, so that one that fails ends the other.
        let sender = scope.spawn(move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                client.write_all(&block(sent)).expect("it can be sent");
                sent += BLOCK as u64;
            }
            drop(client);
            sent
        });
        let reader = scope.spawn(move || {
            let (mut buffer, mut got) = (vec![0; BLOCK], 0);
            loop {
                let length = server.read(&mut buffer).expect("it arrives");
                if length == 0 {
                    return got;
                }
                let expected = (got..).map(byte);
                if let Some(at) = buffer[..length]
                    .iter()
                    .zip(expected)
                    .position(|(is, should)| *is != should)
                {
                    nke_tests::fail(format!("wrong at {got} + {at}"));
                }
                got += length as u64;
                arrived.store(got, Ordering::Relaxed);
            }
        });
        let stops = StopsLater(stop);
        work(arrived);
        drop(stops);
        let sent = sender.join().expect("the sender does not panic");
        assert_eq!(reader.join().expect("the reader does not panic"), sent);
        sent
    })
}

/// Waits until so many more bytes have come through.
fn wait(arrived: &AtomicU64, more: u64) {
    let goal = arrived.load(Ordering::Relaxed) + more;
    let done = Deadline::generous().until(|| arrived.load(Ordering::Relaxed) >= goal);
    assert!(done, "the stream stands still");
}

#[test]
fn under_edits() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        peers.nke(hook, &["attach", &object(1)]).ok();
    }
    let through = while_bytes_flow(peers.connect(), |arrived| {
        for _ in 0..4 {
            for hook in BOTH {
                wait(arrived, 1 << 18);
                peers
                    .nke(hook, &["attach", &object(2), "--before", "stream1"])
                    .ok();
                peers.nke(hook, &["replace", "stream2", &object(3)]).ok();
                peers
                    .nke(hook, &["move", "stream3", "--after", "stream1"])
                    .ok();
                peers.nke(hook, &["detach", "stream3"]).ok();
            }
        }
    });
    assert!(through > 1 << 21, "{through}");
}

#[test]
fn under_a_chain_that_comes_and_goes() {
    let world = World::new();
    let peers = Peers::new(&world);
    for _ in 0..3 {
        for hook in BOTH {
            peers.nke(hook, &["attach", &object(1)]).ok();
        }
        while_bytes_flow(peers.connect(), |arrived| {
            for hook in BOTH {
                wait(arrived, 1 << 18);
                peers.nke(hook, &["detach", "stream1"]).ok();
                wait(arrived, 1 << 18);
            }
        });
    }
}

#[test]
fn what_is_not_yet_read_when_the_chain_goes() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        peers.nke(hook, &["attach", &object(1)]).ok();
        let mut connection = peers.connect();
        connection.client.write_all(&TRAIL).expect("it can be sent");
        assert!(Deadline::generous().readable(&connection.server));
        peers.nke(hook, &["detach", "stream1"]).ok();
        assert_eq!(connection.arrived(), [1], "{hook}");
        assert_eq!(connection.trail(), UNSEEN, "{hook}");
    }
}

#[test]
fn only_connections_made_since_are_seen() {
    let world = World::new();
    let peers = Peers::new(&world);
    let mut before = peers.connect();
    for hook in BOTH {
        peers.nke(hook, &["attach", &object(1)]).ok();
    }
    assert_eq!(before.trail(), UNSEEN);
    assert_eq!(peers.connect().trail(), [1, 1]);
    // A chain that is made anew is another one.
    let mut first = peers.connect();
    peers.nke(OUT, &["detach", "stream1"]).ok();
    peers.nke(OUT, &["attach", &object(2)]).ok();
    assert_eq!(first.trail(), [1]);
    assert_eq!(peers.connect().trail(), [2, 1]);
    peers.nke(IN, &["detach", "stream1"]).ok();
    assert_eq!(first.trail(), UNSEEN);
}
