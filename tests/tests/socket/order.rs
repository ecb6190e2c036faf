//! A chain runs in the order that was asked for: each node writes its digit behind a number of the
//! call, and the number says who ran, once, and in which order.

use std::net::UdpSocket;

use nke_tests::{Deadline, Feature, socket, stranger};

use crate::place::{Place, inside, watch};

/// What the kernel and the caller see of port or value `n` behind nodes 1, 2 and 3.
const fn behind(n: u16) -> u16 {
    n * 1000 + 123
}

#[test]
fn bind_and_connect_and_sendmsg_write_where_to() {
    let place = Place::new();
    let hooks = ["socket/bind", "socket/connect", "socket/sendmsg"];
    for hook in hooks {
        place.trails(hook);
        let families: Vec<_> = place.chains(hook).into_iter().map(|c| c.hook).collect();
        let unix = Feature::CgroupUnix.here() && hook != "socket/bind";
        let all = [
            format!("{hook}4"),
            format!("{hook}6"),
            format!("{hook}-unix"),
        ];
        assert_eq!(families, all[..2 + usize::from(unix)]);
    }
    for v6 in [false, true] {
        let server = place
            .world
            .inside
            .enter(|| UdpSocket::bind(inside(v6, behind(6))));
        let server = server.expect("the port is free");
        let udp = place.udp(v6);
        rustix::net::bind(&udp, &inside(v6, 5)).expect("the port is free");
        assert_eq!(udp.local_addr().expect("bound"), inside(v6, behind(5)));
        udp.send_to(b"datagram", inside(v6, 6))
            .expect("it goes out");
        assert!(Deadline::generous().readable(&server));
        udp.connect(inside(v6, 4)).expect("let through");
        assert_eq!(udp.peer_addr().expect("connected"), inside(v6, behind(4)));
    }
    for hook in hooks {
        for suffix in ["4", "6"] {
            assert_eq!(place.tallies(&format!("{hook}{suffix}")), [(1, 0); 3]);
        }
    }
}

#[test]
fn answers_are_rewritten() {
    let place = Place::new();
    let hooks = ["socket/recvmsg", "socket/getpeername", "socket/getsockname"];
    for hook in hooks {
        place.trails(hook);
    }
    for v6 in [false, true] {
        let client = place.world.inside.enter(|| UdpSocket::bind(inside(v6, 6)));
        let client = client.expect("the port is free");
        let udp = place.udp(v6);
        rustix::net::bind(&udp, &inside(v6, 5)).expect("the port is free");
        assert_eq!(udp.local_addr().expect("bound"), inside(v6, behind(5)));
        client
            .send_to(b"datagram", inside(v6, 5))
            .expect("it goes out");
        assert!(Deadline::generous().readable(&udp));
        let (_, from) = udp.recv_from(&mut [0; 9]).expect("it is there");
        assert_eq!(from, inside(v6, behind(6)));
        udp.connect(inside(v6, 4)).expect("nobody is asked");
        assert_eq!(udp.peer_addr().expect("connected"), inside(v6, behind(4)));
    }
    for hook in hooks {
        for suffix in ["4", "6"] {
            assert_eq!(place.tallies(&format!("{hook}{suffix}")), [(1, 0); 3]);
        }
    }
}

#[test]
fn options_are_rewritten() {
    let place = Place::new();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PRIORITY);
    let set = |udp: &UdpSocket, value: u32| {
        socket::set_option(udp, level, name, &value.to_ne_bytes()).expect("let through");
    };
    let get = |udp: &UdpSocket| socket::option(udp, level, name, 4).expect("let through");
    for v6 in [false, true] {
        let udp = place.udp(v6);
        place.trails("socket/setsockopt");
        set(&udp, 2);
        assert_eq!(place.tallies("socket/setsockopt"), [(1, 0); 3]);
        place.clear("socket/setsockopt");
        assert_eq!(get(&udp), u32::from(behind(2)).to_ne_bytes());
        set(&udp, 3);
        place.trails("socket/getsockopt");
        assert_eq!(get(&udp), u32::from(behind(3)).to_ne_bytes());
        assert_eq!(place.tallies("socket/getsockopt"), [(1, 0); 3]);
        place.clear("socket/getsockopt");
        assert_eq!(get(&udp), 3u32.to_ne_bytes());
    }
}

#[test]
fn a_chain_can_be_put_in_another_order() {
    let place = Place::new();
    place.trails("socket/connect");
    let port = |v6| {
        let udp = place.udp(v6);
        udp.connect(inside(v6, 4)).expect("let through");
        udp.peer_addr().expect("connected").port()
    };
    let at = |hook| move |words: &[&'static str]| [words, &["--hook", hook]].concat();
    let (v4, v6) = (at("socket/connect4"), at("socket/connect6"));
    place
        .nke(&v4(&["move", "trail3", "--before", "trail1"]))
        .ok();
    assert_eq!([port(false), port(true)], [4312, 4123]);
    place
        .nke(&v6(&["move", "trail1", "--after", "trail3"]))
        .ok();
    place.nke(&v4(&["detach", "trail1"])).ok();
    assert_eq!([port(false), port(true)], [432, 4231]);
    let looks_on = watch("looks-on");
    place
        .nke(&["replace", "trail3", &looks_on, "--hook", "socket/connect4"])
        .ok();
    assert_eq!([port(false), port(true)], [42, 4231]);
    // All of a family go together.
    place
        .nke(&["detach", "trail2", "--hook", "socket/connect"])
        .ok();
    assert_eq!([port(false), port(true)], [4, 431]);
}

/// The verifier knows what such a body answers only from what the stub makes of it.
#[test]
fn bodies_with_tail_calls_of_their_own() {
    let place = Place::new();
    let hooks = ["socket/connect4", "socket/data-out", "socket/data-in"];
    for hook in hooks {
        place.attach(hook, &stranger::object("jumps.c", "jumps", &[]));
        place.attach(hook, &watch("last"));
        let forms = place.chain(hook).nodes.into_iter().map(|node| node.form);
        assert_eq!(forms.collect::<Vec<_>>(), ["stub", "inline"]);
    }
    let (server, client) = (place.udp(false), place.udp(false));
    rustix::net::bind(&server, &inside(false, 54)).expect("the port is free");
    client.connect(inside(false, 54)).expect("let through");
    client.send(b"datagram").expect("it goes out");
    assert!(Deadline::generous().readable(&server));
    for hook in hooks {
        assert_eq!(place.tallies(hook), [(1, 0); 2], "{hook}");
    }
}
