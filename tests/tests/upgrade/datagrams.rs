//! UDP datagrams from the outside to a socket inside, each accounted for.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nke_tests::{Cgroup, Deadline, INSIDE_V4, World};

/// How many may be on their way.
const WINDOW: u64 = 32;

/// A stream of datagrams, until it is stopped.
pub(crate) struct Datagrams {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    thread: Option<JoinHandle<(u64, u64)>>,
}

impl Datagrams {
    /// Starts one to a socket of a cgroup's.
    pub(crate) fn start(world: &World, cgroup: &Cgroup) -> Self {
        let address = SocketAddr::new(INSIDE_V4.into(), 4444);
        let to = cgroup.enter(&world.inside, || UdpSocket::bind(address));
        let to = to.expect("the port is free");
        let from = world.outside.enter(|| UdpSocket::bind("0.0.0.0:0"));
        let from = from.expect("any port is free");
        from.connect(address).expect("the address is there");
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, arrived) = (Arc::clone(&stop), Arc::clone(&arrived));
            move || flow(&stop, &arrived, &from, &to)
        });
        Self {
            stop,
            arrived,
            thread: Some(thread),
        }
    }

    /// Waits until this many more have come through.
    #[track_caller]
    pub(crate) fn wait(&self, packets: u64) {
        let goal = self.arrived.load(Ordering::Relaxed) + packets;
        let done = || self.arrived.load(Ordering::Relaxed) >= goal;
        assert!(Deadline::generous().until(done), "the stream stands still");
    }

    /// Stops it: how many were sent, and how many of these arrived.
    pub(crate) fn stop(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("the stream does not panic")
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn flow(stop: &AtomicBool, arrived: &AtomicU64, from: &UdpSocket, to: &UdpSocket) -> (u64, u64) {
    to.set_read_timeout(Some(Duration::from_secs(3)))
        .expect("a timeout can be set");
    let (mut sent, mut received) = (0, 0);
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        while !stopping && sent - received < WINDOW {
            from.send(b"x").expect("it goes out");
            sent += 1;
        }
        if received == sent || to.recv(&mut [0; 8]).is_err() {
            return (sent, received);
        }
        received += 1;
        arrived.store(received, Ordering::Relaxed);
    }
}
