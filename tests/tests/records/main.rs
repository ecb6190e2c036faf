//! Records of sockets: `tcplog` and `socket-events`, read by `nke log --json`.
//!
//! A ring buffer keeps records until they are read, so that a reader may start behind the traffic.

mod existing;
mod socket_events;
mod tcplog;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::{Child, ChildStdout, Stdio},
};

use nke_tests::{Cgroup, Deadline, INSIDE_V4, INSIDE_V6, World, fail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `nke log`; dropping it ends it.
struct Log {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Log {
    fn start(world: &World, words: &[&str]) -> Self {
        let mut command = world.command(&[&["log"], words].concat());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command can be run");
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Self { child, output }
    }

    /// The next line.
    #[track_caller]
    fn line(&mut self) -> String {
        if self.output.buffer().is_empty() && !Deadline::generous().readable(self.output.get_ref())
        {
            fail("no line comes");
        }
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("a line can be read");
        line
    }

    /// The next record.
    #[track_caller]
    fn record(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| fail(format!("{error}: {line}")))
    }

    /// Interrupts it; what it still had to say.
    fn end(mut self) -> Vec<Value> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        let lines = self.output.by_ref().lines();
        let values = lines
            .map(|line| serde_json::from_str(&line.expect("it is text")).expect("it is JSON"))
            .collect();
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0));
        values
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A world with a cgroup that an extension is attached to.
struct Place {
    // The attachments go first, then the cgroup can.
    world: World,
    cgroup: Cgroup,
}

impl Place {
    fn new() -> Self {
        Self {
            world: World::with_addresses(),
            cgroup: Cgroup::new(),
        }
    }

    fn with(extension: &str) -> Self {
        let place = Self::new();
        place.attach(extension);
        place
    }

    fn attach(&self, extension: &str) {
        let words = ["attach", extension, "--cgroup", self.cgroup.path()];
        self.world.nke(&words).ok();
    }

    fn log(&self, extension: &str) -> Log {
        Log::start(&self.world, &[extension, "--json"])
    }

    /// The kernel's number of the cgroup.
    fn id(&self) -> u64 {
        let metadata = std::fs::metadata(self.cgroup.path());
        metadata.expect("the cgroup is there").ino()
    }

    /// Does something in the cgroup, inside.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.cgroup.enter(&self.world.inside, work)
    }

    /// A listener of the cgroup.
    fn listener(&self, v6: bool) -> TcpListener {
        self.enter(|| TcpListener::bind(any_port(v6)))
            .expect("any port is free")
    }

    /// Both ends of a connection within the cgroup: who connected, and who accepted and asked for
    /// the peer's address.
    fn connection(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let address = listener.local_addr().expect("it is bound");
        self.enter(|| {
            let client = TcpStream::connect(address).expect("somebody listens");
            let (server, _) = listener.accept().expect("it is there");
            (client, server)
        })
    }
}

fn any_port(v6: bool) -> SocketAddr {
    if v6 {
        (INSIDE_V6, 0).into()
    } else {
        (INSIDE_V4, 0).into()
    }
}

/// Reads until as many records as these are there or counted as lost, and told to be.
#[track_caller]
fn overflow(place: &Place, extension: &str, records: u64) {
    let mut log = place.log(extension);
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < records {
        let record = log.record();
        if record["record"] == "lost" {
            lost += record["lost"].as_u64().expect("a number");
            assert_eq!(record["total"], lost, "{record}");
        } else {
            seen += 1;
        }
    }
    assert_eq!(seen + lost, records);
    assert!(seen > 1000, "a ring has room for more than {seen}");
    assert!(lost > 100, "only {lost}: the ring was not full");
    // What comes now is heard again.
    drop(place.enter(|| TcpStream::connect((INSIDE_V4, CLOSED))));
    assert_ne!(log.record()["record"], "lost");
}

/// A port where nobody listens.
const CLOSED: u16 = 1;

#[test]
fn one_command_attaches_to_all_hooks_or_none() {
    let place = Place::with("tcplog");
    let chains = place.world.chains();
    let hooks: Vec<_> = chains.iter().map(|chain| chain.hook.as_str()).collect();
    for hook in [
        "socket/connect4",
        "socket/connect6",
        "socket/getpeername4",
        "socket/getpeername6",
        "socket/events",
        "socket/release",
    ] {
        assert!(hooks.contains(&hook), "{hook} of {hooks:?}");
    }
    assert_eq!(hooks.len(), 6, "{hooks:?}");
    let words = ["detach", "tcplog", "--cgroup", place.cgroup.path()];
    place.world.nke(&words).ok();
    assert_eq!(place.world.chains().len(), 0);
    // One hook by name is just that one, and then all of them is too many.
    let one = [
        &["attach", "tcplog", "--hook", "socket/release"],
        &words[2..],
    ]
    .concat();
    place.world.nke(&one).ok();
    assert_eq!(place.world.chains().len(), 1);
}
