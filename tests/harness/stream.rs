//! Live traffic over the wire, with every packet accounted for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Deadline, IFACE, Tap, World, fail, trail};

/// How many packets may be on their way: fewer than any queue on it holds, so that none is lost
/// but by the chain.
const WINDOW: u64 = 64;

/// A stream of trail frames from one end of the wire to the other, until it is stopped.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Report>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    arrived: Mutex<u64>,
    progress: Condvar,
}

/// What became of a stream's packets.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many were sent.
    pub sent: u64,
    /// The sequence numbers of those that never came.
    pub lost: Vec<u64>,
    /// How often each trail was seen.
    pub trails: BTreeMap<Vec<u8>, u64>,
}

impl Stream {
    /// Starts a stream from the outside to the inside, behind both hooks there.
    #[must_use]
    pub fn inward(world: &World) -> Self {
        let behind = Tap::open_for(&world.inside, IFACE, trail::KIND);
        Self::start(world.tap_outside(), behind, trail::frame)
    }

    /// Starts a stream from the inside to the outside.
    #[must_use]
    pub fn outward(world: &World) -> Self {
        Self::start(world.tap_inside(), world.tap_outside(), trail::frame_out)
    }

    fn start(from: Tap, to: Tap, make: fn(u64) -> Vec<u8>) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || flow(&shared, &from, &to, make)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Waits until this many more packets have come through.
    #[track_caller]
    pub fn wait(&self, packets: u64) {
        let guard = self
            .shared
            .arrived
            .lock()
            .expect("the stream's thread does not panic");
        let goal = *guard + packets;
        let (guard, late) = self
            .shared
            .progress
            .wait_timeout_while(guard, Duration::from_secs(20), |arrived| *arrived < goal)
            .expect("the stream's thread does not panic");
        if late.timed_out() {
            fail(format!("the stream stands still at {}", *guard));
        }
    }

    /// Stops the stream, waits for what is on its way, and reports.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("stopped once");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn flow(shared: &Shared, from: &Tap, to: &Tap, make: fn(u64) -> Vec<u8>) -> Report {
    let mut report = Report::default();
    let mut expected = 0;
    loop {
        let stopping = shared.stop.load(Ordering::Relaxed);
        while !stopping && report.sent - expected < WINDOW {
            from.send(&make(report.sent));
            report.sent += 1;
        }
        if stopping && expected == report.sent {
            return report;
        }
        // The wire keeps order: a number that was passed over is lost, and so is everything on
        // its way when nothing comes for this long.
        let Some(frame) = to.receive(Deadline::after(Duration::from_secs(3))) else {
            report.lost.extend(expected..report.sent);
            expected = report.sent;
            continue;
        };
        let Some((sequence, seen)) = trail::read(&frame) else {
            continue;
        };
        report.lost.extend(expected..sequence);
        expected = sequence + 1;
        *report.trails.entry(seen).or_default() += 1;
        *shared.arrived.lock().expect("nobody panics with it") += 1;
        shared.progress.notify_all();
    }
}
