//! One socket only: an extension that a socket meets once it has opted in, by the option of
//! `include/nke.h` or by the command.

use std::{
    fs::File,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};

use nke::{
    so_nke::{self, NAME_LEN, SO_NKE, SOL_NKE},
    sys::socket::set_option,
};
use nke_tests::{Cgroup, Deadline, End, INSIDE_V4, Ran, World, stranger, trace};
use serde_json::Value;

struct Place {
    world: World,
    cgroup: Cgroup,
}

/// Denies what it can deny.
fn deny(name: &str) -> String {
    stranger::object("every_call.c", name, &[])
}

/// Lets everything go on.
fn allow(name: &str) -> String {
    stranger::object("every_call.c", name, &["-DANSWER=1"])
}

impl Place {
    fn new() -> Self {
        Self {
            cgroup: Cgroup::new(),
            world: World::with_addresses(),
        }
    }

    fn udp(&self) -> UdpSocket {
        let open = || UdpSocket::bind((INSIDE_V4, 0));
        self.cgroup
            .enter(&self.world.inside, open)
            .expect("any port is free")
    }

    /// `nke attach` to a hook of the cgroup, for those that opt in.
    fn attach(&self, what: &str, hook: &str) -> Ran {
        let path = self.cgroup.path();
        let words = ["attach", what, "--cgroup", path, "--hook", hook, "--opt-in"];
        self.world.nke(&words)
    }

    fn chains(&self) -> Vec<Value> {
        let mut all: Value = self.world.nke(&["chain", "--json"]).json();
        let chains = all["chains"].take();
        chains.as_array().expect("it is one").clone()
    }

    /// How many packets or calls a node has dropped.
    fn dropped(&self, hook: &str) -> Option<u64> {
        let chains = self.chains();
        let chain = chains.iter().find(|chain| chain["hook"] == hook)?;
        chain.pointer("/nodes/0/packets/dropped")?.as_u64()
    }

    /// Which of these sockets a datagram reaches. It is sent to the fence, too, last.
    fn reached(&self, sockets: &[&UdpSocket]) -> Vec<bool> {
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
    fn detached(&self, name: &str) {
        let path = self.cgroup.path();
        self.world.nke(&["detach", name, "--cgroup", path]).ok();
        self.is_empty();
    }

    fn is_empty(&self) {
        assert_eq!(self.chains(), [] as [Value; 0]);
        assert!(!self.world.is_mounted(), "no state is left");
    }
}

/// What setsockopt(2) answers: 0, or an errno.
fn answer(done: io::Result<()>) -> i32 {
    done.map_or_else(|error| error.raw_os_error().expect("the kernel's"), |()| 0)
}

fn opt_in(socket: impl AsFd, name: &str) -> i32 {
    answer(so_nke::opt_in(socket, name))
}

/// This process's socket, as the command takes it.
fn named(socket: impl AsFd) -> String {
    format!("{}:{}", std::process::id(), socket.as_fd().as_raw_fd())
}

#[test]
fn only_the_socket_that_opted_in_is_filtered() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    place.attach(&deny("deny"), "socket/data-in").ok();
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    assert_eq!(
        place.dropped("socket/data-in"),
        Some(1),
        "others are not counted"
    );
    place.detached("deny");
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);

    // The mark went with the attachment.
    place.attach(&deny("deny"), "socket/data-in").ok();
    assert_eq!(place.reached(&[&own]), [true]);
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own]), [false]);
    drop(own);
    place.detached("deny");
}

#[test]
fn disabled_it_filters_no_socket_and_enabled_the_same() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    place.attach(&deny("deny"), "socket/data-in").ok();
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    place.world.nke(&["disable", "deny"]).ok();
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);
    assert_eq!(place.dropped("socket/data-in"), Some(1));
    // Its marks are there still.
    place.world.nke(&["enable", "deny"]).ok();
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    assert_eq!(place.dropped("socket/data-in"), Some(2));
    place.detached("deny");
}

#[test]
fn connections_of_tcp() {
    let place = Place::new();
    let listener = place
        .cgroup
        .enter(&place.world.inside, || TcpListener::bind((INSIDE_V4, 0)))
        .expect("any port is free");
    let to: SocketAddr = listener.local_addr().expect("it is bound");
    let connect = || {
        let client = place.world.outside.enter(|| TcpStream::connect(to));
        let (server, _) = listener.accept().expect("the connection is there");
        (client.expect("it is let through"), server)
    };
    place.attach(&deny("deny"), "socket/data-in").ok();
    place.attach(&allow("other"), "socket/events").ok();
    assert_eq!(opt_in(&listener, "other"), 0);
    let (mut far, own) = connect();
    let (mut beside, sibling) = connect();
    assert_eq!(opt_in(&own, "deny"), 0);
    far.write_all(b"dropped").expect("it goes into the buffer");
    beside.write_all(b"let through").expect("it goes out");
    assert!(Deadline::generous().readable(&sibling));
    let seen = || place.dropped("socket/data-in") >= Some(1);
    assert!(Deadline::generous().until(seen));
    assert!(!Deadline::after(Duration::ZERO).readable(&own));
    assert_eq!(
        opt_in(&own, "other"),
        0,
        "its listener's mark is not its own"
    );
    let path = place.cgroup.path();
    place.world.nke(&["detach", "other", "--cgroup", path]).ok();
    place.detached("deny");
    assert!(Deadline::generous().readable(&own), "it is sent again");
}

#[test]
fn calls_of_the_socket_and_its_options() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    for hook in ["socket/connect", "socket/setsockopt"] {
        place.attach(&deny("deny"), hook).ok();
    }
    assert_eq!(opt_in(&own, "deny"), 0);
    let far = SocketAddr::from((INSIDE_V4, 9));
    assert_eq!(answer(own.connect(far)), libc::EPERM);
    assert_eq!(answer(sibling.connect(far)), 0);
    assert_eq!(answer(own.set_broadcast(true)), libc::EPERM);
    assert_eq!(answer(sibling.set_broadcast(true)), 0);
    // Its own option is one of those.
    assert_eq!(opt_in(&own, "deny"), libc::EPERM);
}

#[test]
fn every_errno() {
    let place = Place::new();
    let own = place.udp();
    let raw = |name: i32, value: &[u8]| answer(set_option(&own, SOL_NKE, name, value));
    assert_eq!(opt_in(&own, "deny"), libc::ENOPROTOOPT, "nobody is at work");
    place.attach(&deny("deny"), "socket/data-in").ok();
    place.attach(&allow("other"), "socket/data-in").ok();
    for name in ["nope", "den", "denyx", "Deny", "", "*", &"x".repeat(63)] {
        assert_eq!(opt_in(&own, name), libc::EINVAL, "{name:?}");
    }
    let value = |length: usize| {
        let mut value = b"deny".to_vec();
        value.resize(length, 0);
        value
    };
    for length in [0, 1, 4, 5, NAME_LEN - 1] {
        let mut short = value(5);
        short.truncate(length);
        assert_eq!(raw(SO_NKE, &short), libc::EINVAL, "{length} bytes");
    }
    assert_eq!(raw(SO_NKE, &value(NAME_LEN - 1)), libc::EINVAL);
    assert_eq!(raw(SO_NKE, &[b'd'; NAME_LEN]), libc::EINVAL, "no end");
    assert_eq!(raw(SO_NKE + 1, &value(NAME_LEN)), libc::ENOPROTOOPT);
    assert_eq!(place.reached(&[&own]), [true], "none of that was taken");

    // Longer is enough, and far longer than a page too.
    assert_eq!(raw(SO_NKE, &value(10_000)), 0);
    assert_eq!(place.reached(&[&own]), [false]);
    assert_eq!(raw(SO_NKE, &value(NAME_LEN)), libc::EEXIST);
    assert_eq!(opt_in(&own, "other"), 0);
    assert_eq!(opt_in(&own, "other"), libc::EEXIST);
    assert_eq!(opt_in(&own, "nope"), libc::EINVAL);
    own.set_broadcast(true)
        .expect("other options are the kernel's");
}

#[test]
fn from_outside_and_back() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    let socket = named(&own);
    let ask = |words: &[&str]| place.world.nke(&[words, &["--socket", &socket]].concat());
    let error = ask(&["detach", "deny"]).fails("no-attachment");
    assert!(
        error.contains("none such that sockets opt in for"),
        "{error}"
    );
    let error = ask(&["attach", "deny"]).fails("socket");
    assert!(
        error.contains(&format!("socket {socket}: opt in for deny: ")),
        "{error}"
    );
    assert!(error.ends_with("attach the extension with --opt-in to the cgroup of the socket, or to one above it, first\n"), "{error}");

    place.attach(&deny("deny"), "socket/data-in").ok();
    let text = ask(&["attach", "deny"]).ok().stdout;
    assert_eq!(text, format!("opted socket {socket} in for deny\n"));
    assert_eq!(opt_in(&own, "deny"), libc::EEXIST);
    assert!(
        ask(&["attach", "deny"])
            .fails("socket")
            .ends_with("it has opted in already\n")
    );
    assert!(
        ask(&["attach", "nope"])
            .fails("socket")
            .contains("Invalid argument")
    );
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);

    let text = ask(&["detach", "deny"]).ok().stdout;
    assert_eq!(text, format!("opted socket {socket} out of deny\n"));
    assert_eq!(place.reached(&[&own]), [true]);
    assert!(
        ask(&["detach", "deny"])
            .fails("socket")
            .ends_with("it has not opted in\n")
    );
    assert_eq!(opt_in(&own, "deny"), 0, "and in again");
}

#[test]
fn sockets_that_are_none() {
    let place = Place::new();
    place.attach(&deny("deny"), "socket/data-in").ok();
    let before = nke_tests::tree(&place.world.state());
    let fails = |socket: &str, name: &str, cause: &str| {
        for verb in ["attach", "detach"] {
            let error = place
                .world
                .nke(&[verb, "deny", "--socket", socket])
                .fails(name);
            assert!(error.contains(cause), "{error}");
        }
    };
    let file = File::open("/dev/null").expect("it is there");
    fails(&named(&file), "socket", "the descriptor is no socket");
    // Another process, whose descriptors no other test changes.
    let waits = Command::new("cat").stdin(Stdio::piped()).spawn();
    let mut waits = waits.expect("it runs");
    let closed = format!("{}:777", waits.id());
    fails(&closed, "socket", "the process has no such descriptor");
    drop(waits.stdin.take());
    waits.wait().expect("it ends");
    fails(&closed, "socket", "there is no such process");
    fails("0:3", "socket", "there is no such process");
    for typed in ["3", "1:", ":1", "1:x", "1:2:3", "1:99999999999"] {
        fails(typed, "usage", "a socket is PID:FD");
    }
    let path = place.cgroup.path();
    let both = ["attach", "deny", "--socket", &closed, "--cgroup", path];
    assert!(
        place
            .world
            .nke(&both)
            .fails("usage")
            .contains("cannot be used with")
    );

    // Of another cgroup, where nobody claims the option.
    let elsewhere = Cgroup::new();
    let open = || UdpSocket::bind((INSIDE_V4, 0));
    let other = elsewhere.enter(&place.world.inside, open).expect("free");
    let error = place
        .world
        .nke(&["attach", "deny", "--socket", &named(&other)]);
    assert!(error.fails("socket").contains("Protocol not available"));
    assert_eq!(
        nke_tests::tree(&place.world.state()),
        before,
        "nothing is changed"
    );
    drop(other);
}

#[test]
fn every_hook_takes_a_guard() {
    let place = Place::new();
    let own = place.udp();
    let all = allow("all");
    let hooks = [
        "data-in",
        "data-out",
        "release",
        "post-bind",
        "bind",
        "connect",
        "sendmsg",
        "recvmsg4",
        "getpeername4",
        "getsockname4",
        "setsockopt",
        "getsockopt",
        "events",
        "stream-out",
    ];
    for hook in hooks {
        place.attach(&all, &format!("socket/{hook}")).ok();
    }
    assert_eq!(opt_in(&own, "all"), 0);
    own.connect(own.local_addr().expect("it is bound"))
        .expect("let through");
    own.send(b"to itself").expect("let through");
    assert_eq!(own.recv(&mut [0; 16]).expect("let through"), 9);
    for hook in ["socket/create", "socket/stream-in"] {
        let error = place.attach(&all, hook).fails("no-opt-in");
        let words = format!("nke: {hook}: attach: no socket can have opted in here; ");
        assert!(error.starts_with(&words), "{error}");
    }
    let netns = place.world.inside.name();
    let words = [
        "attach",
        &all,
        "--netns",
        netns,
        "--hook",
        "socket/lookup",
        "--opt-in",
    ];
    let error = place.world.nke(&words).fails("no-opt-in");
    assert!(
        error.contains("socket/lookup: attach: no socket can have opted in here"),
        "{error}"
    );
}

#[test]
fn a_body_that_is_called_whole() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    let object = stranger::object("every_call.c", "long", &["-DLONG"]);
    place.attach(&object, "socket/data-in").ok();
    assert_eq!(
        place.chains()[0].pointer("/nodes/0/form"),
        Some(&"stub".into())
    );
    assert_eq!(opt_in(&own, "long"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
}

#[test]
fn it_is_shown() {
    let place = Place::new();
    place.attach(&deny("deny"), "socket/data-in").ok();
    let text = place.world.nke(&["chain"]).ok().stdout;
    assert!(text.contains(" deny (opt-in) "), "{text}");
    assert!(
        text.contains("    sockets opt in here for deny\n"),
        "{text}"
    );
    let text = place.world.nke(&["list"]).ok().stdout;
    assert!(text.contains(" deny (opt-in) "), "{text}");
    let text = place.world.nke(&["show", "deny"]).ok().stdout;
    assert!(text.contains("only those that opt in"), "{text}");
}

#[test]
fn marks_outlive_what_is_done_to_the_attachment() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    place.attach(&deny("deny"), "socket/data-in").ok();
    place.attach(&allow("first"), "socket/data-in").ok();
    assert_eq!(opt_in(&own, "deny"), 0);
    place.world.nke(&["move", "deny", "--after", "first"]).ok();
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    // Another extension in its place is another name to opt in by.
    place.world.nke(&["replace", "deny", &deny("second")]).ok();
    assert_eq!(opt_in(&own, "deny"), libc::EINVAL);
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);
    assert_eq!(opt_in(&own, "second"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    place.world.nke(&["detach", "first"]).ok();
    assert_eq!(opt_in(&own, "first"), libc::EINVAL);
    place.detached("second");
}

#[test]
fn a_drop_policy_refuses_and_marks_nothing() {
    let place = Place::new();
    let own = place.udp();
    let policy = |policy: &str| {
        let path = place.cgroup.path();
        let words = [
            "policy",
            policy,
            "--cgroup",
            path,
            "--hook",
            "socket/setsockopt",
        ];
        place.world.nke(&words).ok();
    };
    place.attach(&deny("deny"), "socket/data-in").ok();
    policy("drop");
    assert_eq!(opt_in(&own, "deny"), libc::EPERM);
    assert_eq!(place.reached(&[&own]), [true]);
    policy("pass");
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own]), [false]);
    place.detached("deny");
}

#[test]
fn a_cgroup_in_a_cgroup() {
    let place = Place::new();
    let child = place.cgroup.child();
    let open = || UdpSocket::bind((INSIDE_V4, 0));
    let own = child
        .enter(&place.world.inside, open)
        .expect("any port is free");
    place.attach(&deny("deny"), "socket/data-in").ok();
    let below = [
        "attach",
        &allow("below"),
        "--cgroup",
        child.path(),
        "--opt-in",
    ];
    place
        .world
        .nke(&[&below[..], &["--hook", "socket/data-in"]].concat())
        .ok();
    // Each answers for its own, and neither spoils the other's answer.
    assert_eq!(opt_in(&own, "nope"), libc::EINVAL);
    assert_eq!(opt_in(&own, "below"), 0);
    assert_eq!(opt_in(&own, "below"), libc::EEXIST);
    assert_eq!(place.reached(&[&own]), [true]);
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(opt_in(&own, "deny"), libc::EEXIST);
    assert_eq!(place.reached(&[&own]), [false]);
    drop(own);
    place.world.nke(&["detach", "below"]).ok();
    place.detached("deny");
    drop(child);
}

/// The command holds the socket from when it has opened it: what its process does then neither stops the
/// command nor misleads it to another file, and leaves nothing behind.
#[test]
fn sockets_that_are_closed_on_the_way() {
    let place = Place::new();
    place.attach(&deny("deny"), "socket/data-in").ok();
    let before = nke_tests::tree(&place.world.state());
    let ask = |socket: &str, at: i64, close: &mut dyn FnMut()| {
        let words = ["attach", "deny", "--socket", socket];
        let mut closed = false;
        let traced = trace(&mut place.world.command(&words), |call| {
            if call.number() == at && !closed {
                closed = true;
                close();
            }
            false
        });
        assert!(closed, "the command makes the call {at}");
        traced
    };
    // Before it is opened: its number is another file's by then. (It is not just closed here, for
    // another test could be given the number.)
    let socket = place.udp();
    let name = named(&socket);
    let other = File::open("/dev/null").expect("it is there");
    let mut descriptor = OwnedFd::from(socket);
    let mut replace = || rustix::io::dup2(&other, &mut descriptor).expect("both are open");
    let replaced = ask(&name, libc::SYS_pidfd_getfd, &mut replace);
    assert_ne!(replaced.end, End::Exited(0));
    let said = replaced.stderr;
    assert!(said.contains("the descriptor is no socket"), "{said}");
    // Between that and the option.
    let mut socket = Some(place.udp());
    let name = named(socket.as_ref().expect("it is open"));
    let late = ask(&name, libc::SYS_setsockopt, &mut || drop(socket.take()));
    assert_eq!(late.end, End::Exited(0), "{}", late.stderr);
    assert_eq!(nke_tests::tree(&place.world.state()), before);
    place.detached("deny");
}

#[test]
fn killed_on_the_way_out_it_is_all_or_nothing() {
    let place = Place::new();
    let own = place.udp();
    let deny = deny("deny");
    let words = ["detach", "deny", "--cgroup", place.cgroup.path()];
    let attach = || {
        place.attach(&deny, "socket/data-in").ok();
        assert_eq!(opt_in(&own, "deny"), 0);
    };
    attach();
    for nth in 0.. {
        let mut left = nth;
        let killed = trace(&mut place.world.command(&words), |call| {
            let counts = call.changes_the_world();
            let here = counts && left == 0;
            left -= i32::from(counts);
            here
        });
        // What the socket meets is settled before the next command looks.
        let filtered = place.reached(&[&own]) == [false];
        match (place.chains().len(), filtered) {
            (2, true) => assert_eq!(opt_in(&own, "deny"), libc::EEXIST),
            (0, false) => {
                assert_eq!(opt_in(&own, "deny"), libc::ENOPROTOOPT);
                place.is_empty();
                attach();
            }
            other => nke_tests::fail(format!("{other:?}, killed at {nth}")),
        }
        if killed.end == End::Exited(0) {
            assert!(nth > 5, "only {nth} calls change something");
            return;
        }
        assert_eq!(killed.end, End::Killed, "{}", killed.stderr);
    }
}

/// A claim without an attachment is nobody's: the next command takes it away.
#[test]
fn killed_on_the_way_it_is_all_or_nothing() {
    let place = Place::new();
    let own = place.udp();
    let (path, deny) = (place.cgroup.path(), deny("deny"));
    let words = ["attach", &deny, "--cgroup", path, "--opt-in"];
    let words = [&words[..], &["--hook", "socket/data-in"]].concat();
    for nth in 0.. {
        let mut left = nth;
        let killed = trace(&mut place.world.command(&words), |call| {
            let counts = call.changes_the_world();
            let here = counts && left == 0;
            left -= i32::from(counts);
            here
        });
        match place.chains().len() {
            0 => {
                assert_eq!(opt_in(&own, "deny"), libc::ENOPROTOOPT);
                place.is_empty();
            }
            2 => {
                assert_eq!(opt_in(&own, "deny"), 0);
                place.detached("deny");
            }
            chains => nke_tests::fail(format!("{chains} chains, killed at {nth}")),
        }
        if killed.end == End::Exited(0) {
            return;
        }
        assert_eq!(killed.end, End::Killed, "{}", killed.stderr);
    }
}
