//! `socket-events`: what happens to a socket, in order, and whose it is.

use std::{
    io::Read as _,
    net::{TcpStream, UdpSocket},
    os::fd::AsFd,
    time::Duration,
};

use nke_tests::INSIDE_V4;
use rustix::net::sockopt;
use serde_json::{Value, json};

use crate::{CLOSED, Place, any_port, overflow};

fn cookie(socket: impl AsFd) -> Value {
    json!(sockopt::socket_cookie(socket).expect("a socket has a number"))
}

/// The names of the events of one socket, in order.
fn of<'a>(events: &'a [Value], cookie: &Value) -> Vec<&'a str> {
    let own = events.iter().filter(|event| event["cookie"] == *cookie);
    own.map(|event| event["event"].as_str().expect("a name"))
        .collect()
}

/// So many events.
fn events(place: &Place, count: usize) -> Vec<Value> {
    let mut log = place.log("socket-events");
    let events = (0..count).map(|_| log.record()).collect();
    assert_eq!(log.end(), [] as [Value; 0], "behind {events:#?}");
    events
}

fn tcp(v6: bool) {
    let place = Place::with("socket-events");
    let listener = place.listener(v6);
    let (client, mut server) = place.connection(&listener);
    let (ours, theirs, listening) = (cookie(&client), cookie(&server), cookie(&listener));
    let (near, far) = (client.local_addr(), server.local_addr());
    let (near, far) = (near.expect("it is bound"), far.expect("it is bound"));
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("it is closed"), 0);
    drop(server);
    drop(listener);
    let events = events(&place, 15);
    assert_eq!(
        of(&events, &ours),
        [
            "connecting",
            "connected",
            "closing",
            "cannot-send-more",
            "disconnecting",
            "cannot-receive-more",
            "disconnected"
        ]
    );
    assert_eq!(
        of(&events, &theirs),
        [
            "connected",
            "cannot-receive-more",
            "closing",
            "cannot-send-more",
            "disconnecting",
            "disconnected"
        ]
    );
    assert_eq!(of(&events, &listening), ["bound", "closing"]);
    for event in events.iter().filter(|event| event["cookie"] != listening) {
        let (local, remote) = if event["cookie"] == ours {
            (near, far)
        } else {
            (far, near)
        };
        assert_eq!(event["local_address"], json!(local.ip()), "{event}");
        assert_eq!(event["local_port"], json!(local.port()), "{event}");
        assert_eq!(event["remote_address"], json!(remote.ip()), "{event}");
        assert_eq!(event["remote_port"], json!(remote.port()), "{event}");
        assert_eq!(event["protocol"], "tcp", "{event}");
        assert_eq!(event["cgroup"], json!(place.id()), "{event}");
        assert_eq!(event["error"], Value::Null, "{event}");
        // Nobody has accepted it yet.
        let unknown = event["event"] == "connected" && event["cookie"] == theirs;
        let pid = (!unknown).then(std::process::id);
        assert_eq!(event["pid"], json!(pid), "{event}");
    }
}

#[test]
fn a_tcp_sockets_life_in_order_v4() {
    tcp(false);
}

#[test]
fn a_tcp_sockets_life_in_order_v6() {
    tcp(true);
}

#[test]
fn a_udp_sockets_calls_are_events() {
    for v6 in [false, true] {
        let place = Place::with("socket-events");
        let socket = place.enter(|| {
            let socket = UdpSocket::bind(any_port(v6)).expect("any port is free");
            let mut other = any_port(v6);
            other.set_port(9);
            socket.connect(other).expect("there is a way");
            socket
        });
        let (own, cookie) = (socket.local_addr().expect("it is bound"), cookie(&socket));
        drop(socket);
        let events = events(&place, 3);
        assert_eq!(of(&events, &cookie), ["bound", "connecting", "closing"]);
        for (event, remote) in events.iter().zip([Value::Null, json!(9), json!(9)]) {
            assert_eq!(event["protocol"], "udp", "{event}");
            assert_eq!(event["pid"], json!(std::process::id()), "{event}");
            assert_eq!(event["local_port"], json!(own.port()), "{event}");
            assert_eq!(event["local_address"], json!(own.ip()), "{event}");
            assert_eq!(event["remote_port"], remote, "{event}");
        }
    }
}

#[test]
fn a_broken_connection_says_why() {
    let place = Place::with("socket-events");
    place
        .enter(|| TcpStream::connect((INSIDE_V4, CLOSED)))
        .expect_err("nobody listens");
    let listener = place.listener(false);
    let (client, mut server) = place.connection(&listener);
    let theirs = cookie(&server);
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("a socket has it");
    drop(client);
    server.read(&mut [0]).expect_err("it is reset");
    drop(server);
    let mut log = place.log("socket-events");
    let mut disconnected = || loop {
        let event = log.record();
        if event["event"] == "disconnected" {
            return event;
        }
    };
    assert_eq!(disconnected()["error"], "connection refused");
    let (ours, reset) = (disconnected(), disconnected());
    assert_eq!(ours["error"], Value::Null, "{ours}");
    assert_eq!(reset["error"], "connection reset by peer");
    assert_eq!(reset["cookie"], theirs);
}

#[test]
fn an_object_has_these_keys() {
    let place = Place::with("socket-events");
    drop(place.enter(|| UdpSocket::bind(any_port(true))));
    let mut log = place.log("socket-events");
    let record = log.record();
    let keys: Vec<_> = record.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "cgroup",
            "command",
            "cookie",
            "error",
            "event",
            "extension",
            "local_address",
            "local_port",
            "pid",
            "protocol",
            "record",
            "remote_address",
            "remote_port",
            "state",
            "time",
            "uid"
        ]
    );
    assert_eq!(
        record["time"].as_str().map(str::len),
        Some("2026-01-02T03:04:05.678Z".len())
    );
}

#[test]
fn what_does_not_fit_is_counted_and_told() {
    let place = Place::with("socket-events");
    place.enter(|| {
        for _ in 0..2000 {
            drop(UdpSocket::bind(any_port(false)).expect("any port is free"));
        }
    });
    overflow(&place, "socket-events", 4000);
}
