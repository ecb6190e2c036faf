//! Traffic that can be reckoned with: every datagram says in which act it was sent.
//!
//! One thread sends, in turn, a datagram of each flow; one receives. An act ends with a fence: the
//! flow that nothing ever drops has arrived from the *next* act. The cable keeps order, and the
//! receiver counts what waits in the other flows' sockets before it counts the fence; so whatever
//! was sent in the act before has by then been counted, or dropped, and no act's numbers depend on time. Commands run in acts of their own, in which a datagram may
//! meet the old or the new chain; so acts alternate: change, steady, change, steady, ….
//!
//! Beside that one TCP connection goes back and forth: it must survive everything.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::sockopt;

use super::stage::{RECEIVER, RECEIVER_ADDRESS, SENDER, SENDER_ADDRESS, inside};

/// A stream of datagrams.
pub(super) struct Flow {
    pub(super) name: &'static str,
    pub(super) port: u16,
}

/// The flows. Nothing ever drops the last one: it is the fence.
pub(super) const FLOWS: [Flow; 4] = [
    Flow {
        name: "video",
        port: 5001,
    },
    Flow {
        name: "game",
        port: 5002,
    },
    Flow {
        name: "backup",
        port: 5003,
    },
    Flow {
        name: "voice",
        port: 5004,
    },
];
const FENCE: usize = FLOWS.len() - 1;
const SSH: u16 = 22;
/// At most so many acts.
const ACTS: usize = 32;
/// So many datagrams of each flow make an act.
const ENOUGH: u64 = 400;
/// So many datagrams of the next act end one: a sender that moves to another CPU can overtake itself.
const FENCES: u64 = 4;
/// Between two rounds of datagrams.
const PAUSE: Duration = Duration::from_micros(400);
/// After so long without progress something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 8 << 20;

/// What was sent and what arrived, by flow and act.
#[derive(Default)]
struct Counts {
    sent: [[AtomicU64; ACTS]; FLOWS.len()],
    arrived: [[AtomicU64; ACTS]; FLOWS.len()],
    answers: AtomicU64,
    act: AtomicUsize,
    stop: AtomicBool,
}

/// The running traffic. Ends with this value.
pub(super) struct Traffic {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Set by Ctrl-C.
    interrupted: Arc<AtomicBool>,
}

/// What became of the flows' datagrams in some acts: sent and arrived.
pub(super) type Tally = [(u64, u64); FLOWS.len()];

impl Traffic {
    /// Starts, in act 0.
    pub(super) fn start(interrupted: &Arc<AtomicBool>) -> Result<Self> {
        let mut traffic = Self {
            counts: Arc::default(),
            threads: Vec::new(),
            interrupted: Arc::clone(interrupted),
        };
        let receivers = inside(RECEIVER.0, || {
            FLOWS.iter().map(receiver).collect::<Result<Vec<_>>>()
        })?;
        let sender = inside(SENDER.0, || {
            UdpSocket::bind((SENDER_ADDRESS, 0)).context("cannot make a sender")
        })?;
        let listener = inside(RECEIVER.0, || {
            TcpListener::bind((RECEIVER_ADDRESS, SSH)).context("cannot listen")
        })?;
        let stream = inside(SENDER.0, || {
            let address = SocketAddr::from((RECEIVER_ADDRESS, SSH));
            TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")
        })?;
        let (peer, _) = listener.accept().context("cannot accept")?;
        traffic.spawn(move |counts| receive(counts, &receivers));
        traffic.spawn(move |counts| send(counts, &sender));
        traffic.spawn(move |counts| echo(counts, peer));
        traffic.spawn(move |counts| converse(counts, stream));
        Ok(traffic)
    }

    fn spawn(&mut self, work: impl FnOnce(&Counts) -> Result<()> + Send + 'static) {
        let counts = Arc::clone(&self.counts);
        self.threads.push(thread::spawn(move || work(&counts)));
    }

    /// The act that is on.
    pub(super) fn act(&self) -> usize {
        self.counts.act.load(Ordering::SeqCst)
    }

    /// Plays a steady act and returns its number. On return another act of changes is on.
    pub(super) fn steady(&self) -> Result<usize> {
        self.fence()?;
        let act = self.act();
        self.wait("the traffic to flow", || {
            FLOWS
                .iter()
                .enumerate()
                .all(|(flow, _)| self.counts.sent(flow, act) >= ENOUGH)
        })?;
        self.fence()?;
        Ok(act)
    }

    /// Turns to the next act, and waits until all of the act before is accounted for.
    pub(super) fn fence(&self) -> Result<()> {
        let next = self.act() + 1;
        ensure!(next < ACTS, "the demo has more acts than it has room for");
        let answers = self.counts.answers.load(Ordering::SeqCst);
        self.counts.act.store(next, Ordering::SeqCst);
        self.wait(
            "the flow `voice` and the TCP connection, which nothing may stop",
            || {
                self.counts.arrived(FENCE, next) >= FENCES
                    && self.counts.answers.load(Ordering::SeqCst) > answers
            },
        )
    }

    fn wait(&self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let began = Instant::now();
        while !ready() {
            self.check()?;
            ensure!(began.elapsed() < PATIENCE, "waited in vain for {what}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Fails if a thread has ended, or the user wants out.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::SeqCst), "interrupted");
        ensure!(
            !self.threads.iter().any(JoinHandle::is_finished),
            "the traffic broke off"
        );
        Ok(())
    }

    /// What became of the datagrams of some acts.
    pub(super) fn tally(&self, acts: impl IntoIterator<Item = usize>) -> Tally {
        let mut tally = Tally::default();
        for act in acts {
            for (flow, (sent, arrived)) in tally.iter_mut().enumerate() {
                *sent += self.counts.sent(flow, act);
                *arrived += self.counts.arrived(flow, act);
            }
        }
        tally
    }

    /// How often the TCP connection went there and back.
    pub(super) fn answers(&self) -> u64 {
        self.counts.answers.load(Ordering::SeqCst)
    }

    /// Stops the traffic; a thread that failed has its say.
    pub(super) fn stop(mut self) -> Result<()> {
        self.counts.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the traffic died"),
            }
        }
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // Its error, if any, has been told, or is a consequence of the one that was.
            drop(thread.join());
        }
    }
}

impl Counts {
    fn sent(&self, flow: usize, act: usize) -> u64 {
        self.sent[flow][act].load(Ordering::SeqCst)
    }

    fn arrived(&self, flow: usize, act: usize) -> u64 {
        self.arrived[flow][act].load(Ordering::SeqCst)
    }

    /// Counts a datagram of an act that arrived.
    fn count(&self, flow: usize, act: usize) -> Result<()> {
        let cell = self.arrived[flow].get(act);
        let cell = cell.context("a datagram from nowhere")?;
        cell.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn receiver(flow: &Flow) -> Result<UdpSocket> {
    let socket =
        UdpSocket::bind((RECEIVER_ADDRESS, flow.port)).context("cannot make a receiver")?;
    // A busy machine must not make the receiver lose what the chain let through.
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).context("cannot set a buffer")?;
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .context("cannot set a timeout")?;
    Ok(socket)
}

fn send(counts: &Counts, socket: &UdpSocket) -> Result<()> {
    while !counts.stopped() {
        let act = counts.act.load(Ordering::SeqCst);
        let message = u64::try_from(act)?.to_be_bytes();
        for (flow, Flow { port, .. }) in FLOWS.iter().enumerate() {
            let sent = socket.send_to(&message, (RECEIVER_ADDRESS, *port));
            sent.context("cannot send a datagram")?;
            counts.sent[flow][act].fetch_add(1, Ordering::SeqCst);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn receive(counts: &Counts, sockets: &[UdpSocket]) -> Result<()> {
    let (fence, others) = sockets.split_last().context("no flow to receive")?;
    for socket in others {
        let set = socket.set_nonblocking(true);
        set.context("cannot make a socket nonblocking")?;
    }
    while !counts.stopped() {
        let Some(act) = next_act(fence)? else {
            continue;
        };
        for (flow, socket) in others.iter().enumerate() {
            while let Some(act) = next_act(socket)? {
                counts.count(flow, act)?;
            }
        }
        counts.count(FENCE, act)?;
    }
    Ok(())
}

/// The act of the next datagram, if one comes.
fn next_act(socket: &UdpSocket) -> Result<Option<usize>> {
    let mut message = [0; 8];
    match socket.recv(&mut message) {
        Ok(_) => Ok(Some(usize::try_from(u64::from_be_bytes(message))?)),
        Err(error) if is_timeout(&error) => Ok(None),
        Err(error) => Err(error).context("cannot receive"),
    }
}

/// One end of the connection: sends back what comes.
fn echo(_: &Counts, mut stream: TcpStream) -> Result<()> {
    let mut message = [0; 8];
    loop {
        match stream.read(&mut message) {
            // The other end has stopped.
            Ok(0) => return Ok(()),
            Ok(length) => stream
                .write_all(&message[..length])
                .context("cannot answer")?,
            Err(error) => return Err(error).context("the TCP connection broke"),
        }
    }
}

/// The other end: asks, and wants its answer.
fn converse(counts: &Counts, mut stream: TcpStream) -> Result<()> {
    stream
        .set_read_timeout(Some(PATIENCE))
        .context("cannot set a timeout")?;
    let mut message = [0; 8];
    while !counts.stopped() {
        stream.write_all(&message).context("cannot ask")?;
        stream
            .read_exact(&mut message)
            .context("the TCP connection broke")?;
        counts.answers.fetch_add(1, Ordering::SeqCst);
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
