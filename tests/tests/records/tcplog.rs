//! `tcplog`: what it says of a connection is what the connection's own ends counted.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nke_tests::{Deadline, INSIDE_V4, OUTSIDE_V4};
use rustix::net::sockopt;
use serde_json::{Value, json};

use crate::{CLOSED, Log, Place, any_port, overflow};

/// The records of both ends of one connection: the client's, the server's.
fn both(log: &mut Log) -> (Value, Value) {
    let (first, second) = (log.record(), log.record());
    if first["role"] == "client" {
        (first, second)
    } else {
        (second, first)
    }
}

fn command() -> String {
    let name = std::fs::read_to_string("/proc/thread-self/comm").expect("/proc is mounted");
    name.trim_end().to_owned()
}

fn cookie(socket: impl AsFd) -> u64 {
    sockopt::socket_cookie(socket).expect("a socket has a number")
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(&vec![7; bytes]).expect("it is read"));
        to.read_exact(&mut vec![0; bytes]).expect("it is written");
    });
}

/// The record's addresses are those of these two ends.
#[track_caller]
fn has_addresses(record: &Value, local: SocketAddr, remote: SocketAddr) {
    assert_eq!(record["local_address"], json!(local.ip()), "{record}");
    assert_eq!(record["local_port"], json!(local.port()), "{record}");
    assert_eq!(record["remote_address"], json!(remote.ip()), "{record}");
    assert_eq!(record["remote_port"], json!(remote.port()), "{record}");
}

/// Carries `there` bytes from the client to the server, `back` bytes back, and closes one end first.
fn agrees(v6: bool, there: usize, back: usize, client_first: bool) {
    let place = Place::with("tcplog");
    let listener = place.listener(v6);
    let name = place.enter(command);
    let before = Instant::now();
    let (mut client, mut server) = place.connection(&listener);
    let connected = Instant::now();
    let (near, far) = (client.local_addr(), server.local_addr());
    let (near, far) = (near.expect("it is bound"), far.expect("it is bound"));
    let cookies = (cookie(&client), cookie(&server));
    carry(&mut client, &mut server, there);
    carry(&mut server, &mut client, back);
    let (first, mut second) = if client_first {
        (client, server)
    } else {
        (server, client)
    };
    let at_least = connected.elapsed();
    drop(first);
    // The other end has seen the FIN before it closes.
    assert_eq!(second.read(&mut [0]).expect("it is closed"), 0);
    drop(second);

    let mut log = place.log("tcplog");
    let (ours, theirs) = both(&mut log);
    let at_most = before.elapsed();
    has_addresses(&ours, near, far);
    has_addresses(&theirs, far, near);
    let order = [
        ("closed-by-us", "closed-by-peer"),
        ("closed-by-peer", "closed-by-us"),
    ];
    let (our_end, their_end) = order[usize::from(!client_first)];
    for (record, role, end, cookie, sent, received) in [
        (&ours, "client", our_end, cookies.0, there, back),
        (&theirs, "server", their_end, cookies.1, back, there),
    ] {
        assert_eq!(record["record"], "connection", "{record}");
        assert_eq!(record["extension"], "tcplog", "{record}");
        assert_eq!(record["role"], role, "{record}");
        assert_eq!(record["end"], end, "{record}");
        assert_eq!(record["error"], Value::Null, "{record}");
        assert_eq!(record["cookie"], json!(cookie), "{record}");
        assert_eq!(record["sent"], json!(sent), "{record}");
        assert_eq!(record["received"], json!(received), "{record}");
        assert_eq!(record["pid"], json!(std::process::id()), "{record}");
        assert_eq!(record["uid"], 0, "{record}");
        assert_eq!(record["command"], json!(name), "{record}");
        assert_eq!(record["cgroup"], json!(place.id()), "{record}");
        let took = Duration::from_nanos(record["duration_ns"].as_u64().expect("a number"));
        assert!(
            (at_least..=at_most).contains(&took),
            "{took:?} of {at_least:?}..{at_most:?}"
        );
        let rtt = Duration::from_micros(record["rtt_us"].as_u64().expect("a number"));
        assert!(rtt <= at_most, "{record}");
    }
    assert_eq!(log.end(), [] as [Value; 0], "one record for each end");
}

#[test]
fn figures_agree_v4() {
    agrees(false, 100_001, 3, true);
}

#[test]
fn figures_agree_v6() {
    agrees(true, 5, 700_002, true);
}

#[test]
fn figures_agree_when_the_peer_closes_first() {
    agrees(false, 0, 1, false);
}

#[test]
fn a_half_closed_connection_was_closed_by_who_began() {
    let place = Place::with("tcplog");
    let listener = place.listener(true);
    let (mut client, mut server) = place.connection(&listener);
    client.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(server.read(&mut [0]).expect("it is closed"), 0);
    server.write_all(b"answer").expect("the other way is open");
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it comes");
    drop(client);
    let (ours, theirs) = both(&mut place.log("tcplog"));
    assert_eq!(
        (&ours["end"], &ours["received"], &ours["sent"]),
        (&json!("closed-by-us"), &json!(6), &json!(0))
    );
    assert_eq!(
        (&theirs["end"], &theirs["sent"], &theirs["received"]),
        (&json!("closed-by-peer"), &json!(6), &json!(0))
    );
}

#[test]
fn a_reset_is_told_from_a_close_and_by_whom() {
    let place = Place::with("tcplog");
    let listener = place.listener(false);
    let (mut client, server) = place.connection(&listener);
    client.write_all(b"lost").expect("it is connected");
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket has it");
    drop(client);
    let (ours, theirs) = both(&mut place.log("tcplog"));
    assert_eq!(ours["end"], "reset-by-us");
    assert_eq!(theirs["end"], "reset-by-peer");
    assert_eq!(theirs["error"], "connection reset by peer");
    assert_eq!(theirs["received"], 4, "read or not");
    drop(server);
}

#[test]
fn a_refused_connection_was_none() {
    let place = Place::with("tcplog");
    place
        .enter(|| TcpStream::connect((INSIDE_V4, CLOSED)))
        .expect_err("nobody listens");
    let mut log = place.log("tcplog");
    let record = log.record();
    assert_eq!(record["end"], "refused", "{record}");
    assert_eq!(record["role"], "client");
    assert_eq!(
        (&record["sent"], &record["received"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(log.end(), [] as [Value; 0]);
}

#[test]
fn who_does_not_answer_any_more_has_timed_out() {
    let place = Place::with("tcplog");
    let address = SocketAddr::from((OUTSIDE_V4, 7000));
    let outside = &place.world.outside;
    let listener = outside
        .enter(|| TcpListener::bind(address))
        .expect("it is free");
    let mut client = place
        .enter(|| TcpStream::connect(address))
        .expect("it listens");
    let (server, _) = listener.accept().expect("it is there");
    sockopt::set_tcp_user_timeout(&client, 300).expect("TCP has it");
    outside.ip("address flush dev eth0");
    client.write_all(b"anybody?").expect("it fits the buffer");
    assert!(Deadline::generous().readable(&client), "it gives up");
    let mut log = place.log("tcplog");
    let record = log.record();
    assert_eq!(record["end"], "timeout", "{record}");
    assert_eq!(
        (&record["sent"], &record["received"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        log.end(),
        [] as [Value; 0],
        "the other end is not the cgroup's"
    );
    drop((client, server));
}

#[test]
fn an_accepted_connection_is_nobodys_until_somebody_shows() {
    let place = Place::with("tcplog");
    let listener = place.listener(false);
    let address = listener.local_addr().expect("it is bound");
    let (client, server) = place.enter(|| {
        let client = TcpStream::connect(address).expect("somebody listens");
        // Without asking who it is.
        let server = rustix::net::accept(&listener).expect("it is there");
        (client, server)
    });
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket has it");
    drop(client);
    let (_, theirs) = both(&mut place.log("tcplog"));
    assert_eq!(theirs["end"], "reset-by-peer");
    for key in ["pid", "uid", "command"] {
        assert_eq!(theirs[key], Value::Null, "{theirs}");
    }
    assert_eq!(theirs["cgroup"], json!(place.id()), "it is the listener's");
    drop(server);
}

#[test]
fn others_sockets_are_not_its_business() {
    let place = Place::with("tcplog");
    let world = &place.world;
    let listener = world.inside.enter(|| TcpListener::bind(any_port(false)));
    let listener = listener.expect("any port is free");
    let address = listener.local_addr().expect("it is bound");
    drop(
        world
            .inside
            .enter(|| TcpStream::connect(address))
            .expect("it listens"),
    );
    // One of the cgroup's own ends the waiting.
    let own = place.listener(false);
    drop(place.connection(&own));
    let mut log = place.log("tcplog");
    let (ours, _) = both(&mut log);
    assert_eq!(
        ours["remote_port"],
        json!(own.local_addr().expect("bound").port())
    );
    assert_eq!(log.end(), [] as [Value; 0]);
}

#[test]
fn what_does_not_fit_is_counted_and_told() {
    let place = Place::with("tcplog");
    let listener = place.listener(false);
    let address = listener.local_addr().expect("it is bound");
    place.enter(|| {
        for _ in 0..1500 {
            let client = TcpStream::connect(address).expect("somebody listens");
            let (server, _) = listener.accept().expect("it is there");
            // No TIME_WAIT, which takes a port.
            sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket has it");
            drop((client, server));
        }
    });
    overflow(&place, "tcplog", 3000);
}

#[test]
fn a_line_can_be_read() {
    let place = Place::with("tcplog");
    let mut log = Log::start(&place.world, &["tcplog"]);
    let listener = place.listener(false);
    let port = listener.local_addr().expect("it is bound").port();
    let (mut client, server) = place.connection(&listener);
    client.write_all(b"hello").expect("it is connected");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut text = String::new();
    (&server).read_to_string(&mut text).expect("it comes");
    drop(server);
    let line = log.line() + &log.line();
    let who = format!("[{}] 10.1.0.2:", std::process::id());
    for part in [
        who.as_str(),
        &format!(" -> 10.1.0.2:{port}, sent 5 B, received 0 B, "),
    ] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    assert!(line.contains(", closed-by-us\n"), "{line}");
}
