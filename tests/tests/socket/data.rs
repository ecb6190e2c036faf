//! Packets and events of a cgroup's sockets, and which socket a packet is for.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nke_tests::{Deadline, OUTSIDE_V4, OUTSIDE_V6, stranger};

use crate::place::{Place, deny, errno, inside, mark, trail, watch};

/// An address outside.
fn outside(v6: bool, port: u16) -> SocketAddr {
    let address = if v6 {
        IpAddr::from(OUTSIDE_V6)
    } else {
        OUTSIDE_V4.into()
    };
    SocketAddr::new(address, port)
}

/// Bytes of a datagram of eight, with its headers.
const fn bytes(v6: bool) -> u64 {
    if v6 { 56 } else { 36 }
}

#[test]
fn received_packets_are_dropped() {
    let place = Place::new();
    place.guard("socket/data-in", &deny());
    for v6 in [false, true] {
        let (free, marked) = (place.udp(v6), place.udp(v6));
        rustix::net::bind(&free, &inside(v6, 54)).expect("the port is free");
        rustix::net::bind(&marked, &inside(v6, 53)).expect("the port is free");
        mark(&marked);
        let sender = place
            .world
            .outside
            .enter(|| UdpSocket::bind(outside(v6, 9)));
        let sender = sender.expect("the port is free");
        for port in [53, 54] {
            let sent = sender.send_to(b"datagram", inside(v6, port));
            sent.expect("it goes out");
        }
        assert!(Deadline::generous().readable(&free), "the last is to come");
        assert!(!Deadline::after(Duration::ZERO).readable(&marked));
    }
    let both = bytes(false) + bytes(true);
    assert_eq!(place.tallies("socket/data-in"), [(4, 0), (2, 2), (2, 0)]);
    let nodes = place.chain("socket/data-in").nodes;
    let counted = nodes[1].bytes.expect("it counts");
    assert_eq!((counted.go_on, counted.dropped), (both, both));
}

#[test]
fn sent_packets_are_dropped_and_the_sender_is_told() {
    let place = Place::new();
    place.guard("socket/data-out", &deny());
    for v6 in [false, true] {
        let server = place
            .world
            .outside
            .enter(|| UdpSocket::bind(outside(v6, 54)));
        let server = server.expect("the port is free");
        let (free, marked) = (place.udp(v6), place.udp(v6));
        mark(&marked);
        let denied = marked.send_to(b"datagram", outside(v6, 54));
        assert_eq!(errno(denied), libc::EPERM);
        let sent = free.send_to(b"datagram", outside(v6, 54));
        assert_eq!(sent.expect("it goes out"), 8);
        assert!(Deadline::generous().readable(&server));
    }
    let both = bytes(false) + bytes(true);
    assert_eq!(place.tallies("socket/data-out"), [(4, 0), (2, 2), (2, 0)]);
    let nodes = place.chain("socket/data-out").nodes;
    let counted = nodes[1].bytes.expect("it counts");
    assert_eq!((counted.go_on, counted.dropped), (both, both));
}

/// A connection from the cgroup to the outside, from its start to its end.
fn connection(place: &Place, v6: bool) {
    let listen = || TcpListener::bind(outside(v6, 7));
    let listener = place.world.outside.enter(listen).expect("the port is free");
    let client = place.enter(|| TcpStream::connect(outside(v6, 7)));
    let mut client = client.expect("somebody listens there");
    drop(listener.accept().expect("the connection is there"));
    assert_eq!(client.read(&mut [0]).expect("its end"), 0);
}

/// The first asks for changes of state, and the second behind it takes that back.
#[test]
fn events_of_connections() {
    let place = Place::new();
    place.attach("socket/events", &trail(1));
    place.attach("socket/events", &trail(2));
    let events = || {
        let tallies = place.tallies("socket/events");
        assert_eq!(tallies[0], tallies[1], "everybody sees every event");
        assert_eq!(tallies[0].1, 0);
        tallies[0].0
    };
    connection(&place, false);
    let few = events();
    assert!(few > 0);
    connection(&place, true);
    assert_eq!(events(), 2 * few, "one attach serves both families");
    place.nke(&["move", "trail2", "--before", "trail1"]).ok();
    connection(&place, false);
    let more = || events() > 3 * few;
    assert!(Deadline::generous().until(more));
}

#[test]
fn the_socket_that_a_packet_is_for() {
    let place = Place::new();
    let netns = place.world.inside.name();
    let hook = ["--hook", "socket/lookup", "--netns", netns];
    for what in [watch("first"), deny(), watch("last")] {
        let words = [&["attach", &what][..], &hook].concat();
        place.world.nke(&words).ok();
    }
    for v6 in [false, true] {
        let listen = |port| move || TcpListener::bind(inside(v6, port));
        let kept = place.world.inside.enter(listen(1111));
        let _kept = kept.expect("the port is free");
        let free = place.world.inside.enter(listen(1112));
        let _free = free.expect("the port is free");
        let connect = |port| {
            let connect = move || TcpStream::connect(inside(v6, port));
            place.world.outside.enter(connect)
        };
        assert_eq!(errno(connect(1111)), libc::ECONNREFUSED);
        connect(1112).expect("somebody listens there");
    }
    #[derive(serde::Deserialize)]
    struct Chains {
        chains: Vec<crate::place::Chain>,
    }
    let shown = [&["chain", "--json"][..], &hook].concat();
    let chains = place.world.nke(&shown).json::<Chains>().chains;
    let counts = chains[0].nodes.iter().map(|node| {
        let packets = node.packets.expect("it counts");
        (packets.go_on, packets.dropped)
    });
    assert_eq!(counts.collect::<Vec<_>>(), [(4, 0), (2, 2), (2, 0)]);
}

/// A node's choice of a socket stands when those behind it let go on, and not when one of them drops.
#[test]
fn a_node_chooses_the_socket() {
    let place = Place::new();
    let netns = place.world.inside.name();
    let hook = ["--hook", "socket/lookup", "--netns", netns];
    let attach = |what: &str| {
        drop(
            place
                .world
                .nke(&[&["attach", what][..], &hook].concat())
                .ok(),
        )
    };
    let assign = stranger::object("assign.c", "assign", &[]);
    for what in [&watch("first"), &assign, &watch("last")] {
        attach(what);
    }
    let map = place.world.state().join("extensions/assign/maps/chosen");
    let map = nke::sys::get(&map).expect("it is pinned there");
    let connect = |to: SocketAddr| place.world.outside.enter(|| TcpStream::connect(to));
    for v6 in [false, true] {
        let listen = || TcpListener::bind(inside(v6, 1114));
        let listener = place.world.inside.enter(listen).expect("the port is free");
        let socket = i64::from(listener.as_raw_fd()).to_ne_bytes();
        nke::sys::map::update(&map, &0u32.to_ne_bytes(), &socket).expect("it listens");
        for port in [1111, 1113] {
            let client = connect(inside(v6, port)).expect("it is given to the listener");
            let (server, from) = listener.accept().expect("it is there");
            assert_eq!(from, client.local_addr().expect("connected"));
            assert_eq!(server.local_addr().expect("connected"), inside(v6, port));
        }
    }
    attach(&deny());
    let listen = || TcpListener::bind(inside(false, 1114));
    let listener = place.world.inside.enter(listen).expect("the port is free");
    let socket = i64::from(listener.as_raw_fd()).to_ne_bytes();
    nke::sys::map::update(&map, &0u32.to_ne_bytes(), &socket).expect("it listens");
    assert_eq!(errno(connect(inside(false, 1111))), libc::ECONNREFUSED);
    connect(inside(false, 1113)).expect("nobody denies it");
    listener.accept().expect("it is there");
}
