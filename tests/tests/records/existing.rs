//! Sockets that are there before an extension is attached to their cgroup.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    sync::atomic::{AtomicBool, Ordering},
};

use nke_tests::{Cgroup, OUTSIDE_V4, stranger};
use rustix::net::sockopt;
use serde_json::{Value, json};

use crate::{Log, Place, any_port};

fn cookie(socket: impl AsFd) -> u64 {
    sockopt::socket_cookie(socket).expect("a socket has a number")
}

/// What is to be said of a socket.
struct Expected {
    state: &'static str,
    protocol: &'static str,
    cgroup: u64,
    local: SocketAddr,
    remote: Option<SocketAddr>,
}

#[track_caller]
fn is_said(event: &Value, expected: &Expected) {
    let Expected {
        state,
        protocol,
        cgroup,
        local,
        remote,
    } = expected;
    assert_eq!(event["event"], "existing", "{event}");
    assert_eq!(event["state"], *state, "{event}");
    assert_eq!(event["protocol"], *protocol, "{event}");
    assert_eq!(event["cgroup"], json!(cgroup), "{event}");
    assert_eq!(event["local_address"], json!(local.ip()), "{event}");
    assert_eq!(event["local_port"], json!(local.port()), "{event}");
    if let Some(remote) = remote {
        assert_eq!(event["remote_address"], json!(remote.ip()), "{event}");
    }
    let port = remote.map_or(0, |remote| remote.port());
    assert_eq!(event["remote_port"].as_u64().unwrap_or(0), u64::from(port));
    assert_eq!(event["pid"], Value::Null, "nobody has said whose: {event}");
    assert_eq!(event["error"], Value::Null, "{event}");
}

fn id(cgroup: &Cgroup) -> u64 {
    let metadata = std::fs::metadata(cgroup.path());
    metadata.expect("the cgroup is there").ino()
}

/// Sockets of the cgroup, of one below it and of one beside it.
fn each_is_told_of_once(v6: bool) {
    let place = Place::new();
    let (below, beside) = (place.cgroup.child(), Cgroup::new());
    let inside = &place.world.inside;
    let listener = place.listener(v6);
    let (client, server) = place.connection(&listener);
    let bind = || UdpSocket::bind(any_port(v6)).expect("any port is free");
    let (udp, others) = (below.enter(inside, bind), beside.enter(inside, bind));
    let mut far = any_port(v6);
    far.set_port(9);
    let connected = place.enter(|| {
        let socket = bind();
        socket.connect(far).expect("there is a way");
        socket
    });
    place.attach("socket-events");

    let mut expected = BTreeMap::new();
    let tcp = [
        (cookie(&listener), "listening", listener.local_addr(), None),
        (
            cookie(&client),
            "established",
            client.local_addr(),
            client.peer_addr().ok(),
        ),
        (
            cookie(&server),
            "established",
            server.local_addr(),
            server.peer_addr().ok(),
        ),
    ];
    let udp_ones = [
        (
            cookie(&connected),
            "established",
            connected.local_addr(),
            Some(far),
        ),
        (cookie(&udp), "unconnected", udp.local_addr(), None),
    ];
    let all = tcp.map(|s| ("tcp", s)).into_iter();
    for (protocol, (cookie, state, local, remote)) in all.chain(udp_ones.map(|s| ("udp", s))) {
        let cgroup = if cookie == self::cookie(&udp) {
            id(&below)
        } else {
            place.id()
        };
        let one = Expected {
            state,
            protocol,
            cgroup,
            local: local.expect("it is bound"),
            remote,
        };
        expected.insert(cookie, one);
    }
    let mut log = place.log("socket-events");
    for _ in 0..5 {
        let event = log.record();
        let cookie = event["cookie"].as_u64().expect("a number");
        let expected = expected.remove(&cookie);
        is_said(&event, &expected.expect("one of these, and once"));
    }
    is_not_told_of_again(&place, &below, &mut log, v6);
    drop((others, udp));
}

/// Attached to the cgroup below as well, it has seen the sockets there already.
fn is_not_told_of_again(place: &Place, below: &Cgroup, log: &mut Log, v6: bool) {
    let words = ["attach", "socket-events", "--cgroup", below.path()];
    place.world.nke(&words).ok();
    let bind = || UdpSocket::bind(any_port(v6)).expect("any port is free");
    let also = below.enter(&place.world.inside, bind);
    let event = log.record();
    assert_eq!(event["event"], "bound", "{event}");
    assert_eq!(event["cookie"], json!(cookie(&also)), "{event}");
    assert_eq!(event["state"], Value::Null, "{event}");
}

#[test]
fn each_is_told_of_once_v4() {
    each_is_told_of_once(false);
}

#[test]
fn each_is_told_of_once_v6() {
    each_is_told_of_once(true);
}

/// What happens to them later is told as of any other.
#[test]
fn their_end_is_told() {
    let place = Place::new();
    let listener = place.listener(false);
    let (client, mut server) = place.connection(&listener);
    let theirs = cookie(&server);
    place.attach("socket-events");
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("it is closed"), 0);
    drop(server);
    let mut log = place.log("socket-events");
    let mut events = Vec::new();
    while events.last().is_none_or(|last| last != "disconnected") {
        let event = log.record();
        if event["cookie"] == json!(theirs) {
            events.push(event["event"].as_str().expect("a name").to_owned());
        }
    }
    let expected = [
        "existing",
        "cannot-receive-more",
        "closing",
        "cannot-send-more",
        "disconnecting",
        "disconnected",
    ];
    assert_eq!(events, expected);
}

/// A socket belongs to the namespace where it was opened, wherever its cgroup's processes are now.
#[test]
fn they_are_found_in_every_namespace() {
    let place = Place::new();
    let bind = || UdpSocket::bind((OUTSIDE_V4, 0)).expect("any port is free");
    let outside = place.cgroup.enter(&place.world.outside, bind);
    let inside = place.enter(|| UdpSocket::bind(any_port(false)).expect("any port is free"));
    place.attach("socket-events");
    let mut log = place.log("socket-events");
    let mut seen = [log.record(), log.record()].map(|event| event["cookie"].as_u64());
    seen.sort_unstable();
    let mut both = [Some(cookie(&outside)), Some(cookie(&inside))];
    both.sort_unstable();
    assert_eq!(seen, both);
}

/// Sockets that are made in the moment of the attachment are told of, as new or as existing, and no
/// such record comes behind another of the same socket.
#[test]
fn none_is_missed_in_between() {
    let place = Place::new();
    let attached = AtomicBool::new(false);
    let sockets: Vec<UdpSocket> = std::thread::scope(|scope| {
        let maker = scope.spawn(|| {
            place.enter(|| {
                let mut made = Vec::new();
                while !attached.load(Ordering::Acquire) && made.len() < 2000 {
                    made.push(UdpSocket::bind(any_port(false)).expect("any port is free"));
                }
                made
            })
        });
        place.attach("socket-events");
        attached.store(true, Ordering::Release);
        maker.join().expect("it does not panic")
    });
    let mut log = place.log("socket-events");
    let mut told: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let missing = |told: &BTreeMap<u64, Vec<String>>| {
        let made = sockets.iter();
        made.filter(|s| !told.contains_key(&cookie(s))).count()
    };
    while missing(&told) > 0 {
        let event = log.record();
        assert_eq!(event["record"], "event", "nothing is lost: {event}");
        let of = told.entry(event["cookie"].as_u64().expect("a number"));
        let name = event["event"].as_str().expect("a name");
        of.or_default().push(name.to_owned());
    }
    for events in told.values() {
        let first = events.iter().skip(1).all(|event| event != "existing");
        assert!(first, "{events:?}");
    }
}

/// Both ends' records of a connection that has carried bytes before `tcplog` came, and carries more.
fn older(v6: bool, shut_before: bool) {
    const BEFORE: usize = 100_000;
    const LATER: usize = 4321;
    let place = Place::new();
    let listener: TcpListener = place.listener(v6);
    let (mut client, mut server): (TcpStream, TcpStream) = place.connection(&listener);
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(&[7; BEFORE]).expect("it is read"));
        server
            .read_exact(&mut vec![0; BEFORE])
            .expect("it is written");
    });
    if shut_before {
        client.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(server.read(&mut [0]).expect("it is closed"), 0);
    }
    place.attach("tcplog");
    server.write_all(&[7; LATER]).expect("it is read");
    client.read_exact(&mut [0; LATER]).expect("it is written");
    let (near, far) = (client.local_addr(), server.local_addr());
    let (near, far) = (near.expect("it is bound"), far.expect("it is bound"));
    let cookies = [cookie(&client), cookie(&server)];
    drop(client);
    if !shut_before {
        assert_eq!(server.read(&mut [0]).expect("it is closed"), 0);
    }
    drop(server);
    let mut log = place.log("tcplog");
    let mut records = [log.record(), log.record()];
    records.sort_by_key(|record| record["role"].as_str().map(str::to_owned));
    let ends = [
        ("client", near, BEFORE, LATER, "closed-by-us"),
        ("server", far, LATER, BEFORE, "closed-by-peer"),
    ];
    for ((record, cookie), (role, local, sent, received, end)) in
        records.iter().zip(cookies).zip(ends)
    {
        assert_eq!(record["role"], role, "{record}");
        assert_eq!(record["cookie"], json!(cookie), "{record}");
        assert_eq!(record["local_port"], json!(local.port()), "{record}");
        assert_eq!(record["sent"], json!(sent), "{record}");
        assert_eq!(record["received"], json!(received), "{record}");
        assert_eq!(record["end"], end, "{record}");
        assert_eq!(record["duration_ns"], Value::Null, "{record}");
    }
    assert_eq!(log.end(), [] as [Value; 0]);
}

#[test]
fn an_older_connection_has_a_record_v4() {
    older(false, false);
}

#[test]
fn an_older_connection_has_a_record_v6() {
    older(true, false);
}

#[test]
fn an_older_connection_that_is_half_closed() {
    older(false, true);
}

/// An extension that cannot be shown what is there is not attached.
#[test]
fn what_cannot_be_shown_is_not_attached() {
    let place = Place::new();
    let cases = [
        (
            "nothing",
            &["-DOVER=\"nothing\""][..],
            "no bpf_iter_nothing",
        ),
        ("refused", &["-DOVER=\"tcp\"", "-DBAD"], "refused"),
    ];
    for (name, flags, why) in cases {
        let object = stranger::object("existing.c", name, flags);
        let words = ["attach", &object, "--cgroup", place.cgroup.path()];
        let (_, error) = place.world.nke(&words).fails_somehow();
        assert!(error.contains(why), "{error}");
        assert!(!place.world.is_mounted(), "nothing is left");
    }
}

/// A stranger's iterator is run, and knows which cgroup for: here over AF_UNIX sockets, of which this
/// test has some.
#[test]
fn a_strangers_iterator_is_run() {
    let place = Place::new();
    let pair = place.enter(|| UnixStream::pair().expect("it needs nobody"));
    let object = stranger::object("existing.c", "unix", &["-DOVER=\"unix\""]);
    place.attach(&object);
    let map = place.world.state().join("extensions/unix/maps/seen");
    let map = nke::sys::get(&map).expect("it is pinned there");
    let value = |nth: u32| {
        let mut value = [0; 8];
        nke::sys::map::lookup(&map, &nth.to_ne_bytes(), &mut value).expect("an array has all");
        u64::from_ne_bytes(value)
    };
    assert!(value(0) >= 2, "{}", value(0));
    assert_eq!(value(1), place.id());
    drop(pair);
}
