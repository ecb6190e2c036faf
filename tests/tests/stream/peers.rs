//! TCP connections of a process in a cgroup of the test's own.
//!
//! A socket belongs to the cgroup of the process that made it. So a child makes the connections,
//! both ends, and the test takes them over (`pidfd_getfd`) and lets the child forget them.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nke_tests::{Namespace, Ran, World, fail};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Tells the child what it is.
const CHILD: &str = "NKE_TEST_CHILD_MAKES_CONNECTIONS";
/// What the child's answers begin with: the test harness prints lines of its own.
const ANSWER: &str = "ends ";

/// A cgroup, with a child in it that makes connections; dropping it takes both away.
pub(crate) struct Peers {
    cgroup: PathBuf,
    child: Child,
    answers: BufReader<ChildStdout>,
}

/// Both ends of a connection.
pub(crate) struct Connection {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

/// Where cgroups of version 2 are.
fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts can be read");
    let mut roots = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    let path = roots.find_map(|line| line.split(' ').nth(4));
    path.map(PathBuf::from)
        .unwrap_or_else(|| fail("no cgroup2 is mounted"))
}

impl Peers {
    /// A new cgroup below the root.
    pub(crate) fn new(netns: &Namespace) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nke-t{}-{number}-stream", std::process::id());
        Self::at(root().join(name), netns)
    }

    /// A new cgroup below this one. A cgroup with children of its own may have processes as well,
    /// as long as it controls nothing.
    pub(crate) fn below(&self, netns: &Namespace) -> Self {
        Self::at(self.cgroup.join("below"), netns)
    }

    fn at(cgroup: PathBuf, netns: &Namespace) -> Self {
        fs::create_dir(&cgroup).expect("cgroups can be made");
        let itself = std::env::current_exe().expect("a test is a program");
        let mut command = Command::new(itself);
        command
            .args(["--exact", "--nocapture", "peers::the_child"])
            .env(CHILD, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = netns.enter(|| command.spawn());
        let mut child = child.expect("a test can be run again");
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string())
            .expect("the child can be put into a cgroup");
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Self {
            cgroup,
            child,
            answers,
        }
    }

    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A new connection over the loopback interface, both of whose ends are of the cgroup.
    pub(crate) fn connect(&mut self) -> Connection {
        self.connect_at(Ipv4Addr::LOCALHOST.to_string())
    }

    /// The same with IPv6.
    pub(crate) fn connect_v6(&mut self) -> Connection {
        self.connect_at(Ipv6Addr::LOCALHOST.to_string())
    }

    fn connect_at(&mut self, address: String) -> Connection {
        self.ask(&address);
        let answer = loop {
            let mut line = String::new();
            let length = self.answers.read_line(&mut line).expect("a line");
            assert_ne!(length, 0, "the child lives");
            // The first answer comes behind a word of the test harness.
            if let Some((_, answer)) = line.split_once(ANSWER) {
                break answer.trim_end().to_owned();
            }
        };
        let pid = Pid::from_child(&self.child);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("the child lives");
        let mut ends = answer.split(' ').map(|fd| {
            let fd = fd.parse().expect("a descriptor's number");
            let end = pidfd_getfd(&process, fd, PidfdGetfdFlags::empty());
            let end = TcpStream::from(end.expect("the child has it"));
            end.set_read_timeout(Some(Duration::from_secs(20)))
                .expect("a timeout can be set");
            end
        });
        let connection = Connection {
            client: ends.next().expect("two ends"),
            server: ends.next().expect("two ends"),
        };
        self.ask("forget them");
        connection
    }

    fn ask(&mut self, line: &str) {
        let pipe = self.child.stdin.as_mut().expect("it is a pipe");
        writeln!(pipe, "{line}").expect("the child lives");
    }

    /// Runs `nke` with these words for a hook of the cgroup.
    pub(crate) fn nke(&self, world: &World, hook: &str, words: &[&str]) -> Ran {
        let cgroup = self.cgroup.display().to_string();
        world.nke(&[words, &["--cgroup", &cgroup, "--hook", hook]].concat())
    }

    /// Ends the child and removes the cgroup; the sockets that the test has stay.
    pub(crate) fn remove(&mut self) {
        // Both fail when they have been done already.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir(&self.cgroup));
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes connections for the test that has started it: one for each address that it reads, until
/// there is no more to read. By itself this is no test.
#[test]
fn the_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut lines = io::stdin().lines();
    while let Some(Ok(line)) = lines.next() {
        let address: std::net::IpAddr = line.parse().expect("an address");
        let listener = TcpListener::bind(SocketAddr::new(address, 0)).expect("any port is free");
        let port = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(port).expect("somebody listens");
        let (server, _) = listener.accept().expect("somebody has called");
        let ends = [client, server].map(OwnedFd::from);
        let [client, server] = ends.each_ref().map(|end| end.as_raw_fd());
        println!("{ANSWER}{client} {server}");
        assert!(lines.next().is_some(), "the test takes them");
    }
}
