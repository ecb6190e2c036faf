//! What programs make of a call: connections elsewhere, options of their own.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream},
    },
};

use nke_tests::{Feature, OUTSIDE_V4, OUTSIDE_V6, socket, stranger};

use crate::place::{Place, errno, inside, trail, watch};

#[test]
fn a_connection_goes_elsewhere_and_keeps_its_name() {
    let place = Place::new();
    let elsewhere = stranger::object("elsewhere.c", "elsewhere", &[]);
    for hook in ["socket/connect", "socket/getpeername"] {
        place.attach(hook, &watch("looks-on"));
        place.attach(hook, &elsewhere);
        place.attach(hook, &watch("looks-on-too"));
    }
    for (v6, asked) in [(false, "192.0.2.1:99"), (true, "[2001:db8::1]:99")] {
        let server = if v6 {
            IpAddr::from(OUTSIDE_V6)
        } else {
            OUTSIDE_V4.into()
        };
        let listen = || TcpListener::bind(SocketAddr::new(server, 7));
        let listener = place.world.outside.enter(listen).expect("the port is free");
        let client = place.enter(|| TcpStream::connect(asked));
        let client = client.expect("somebody listens there");
        let (_, from) = listener.accept().expect("the connection is there");
        assert_eq!(from, client.local_addr().expect("connected"));
        let peer = client.peer_addr().expect("connected").to_string();
        assert_eq!(peer, asked);
    }
    for hook in ["connect4", "connect6", "getpeername4", "getpeername6"] {
        assert_eq!(place.tallies(&format!("socket/{hook}")), [(1, 0); 3]);
    }
}

/// The level of the private option that the strangers take.
const PRIVATE: i32 = 20043;

#[test]
fn options_of_ones_own() {
    let place = Place::new();
    for v6 in [false, true] {
        let udp = place.udp(v6);
        let set = || socket::set_option(&udp, PRIVATE, 1, &[0; 4]);
        let get = || socket::option(&udp, PRIVATE, 1, 4);
        let unknown = [libc::ENOPROTOOPT, libc::EOPNOTSUPP];
        assert!(unknown.contains(&errno(set())));
        assert!(unknown.contains(&errno(get())));
        for hook in ["socket/setsockopt", "socket/getsockopt"] {
            place.attach(hook, &watch("looks-on"));
            place.attach(hook, &trail(1));
            place.attach(hook, &trail(2));
        }
        set().expect("the kernel never sees it");
        assert_eq!(get().expect("it has a value now"), 12u32.to_ne_bytes());
        for hook in ["socket/setsockopt", "socket/getsockopt"] {
            assert_eq!(place.tallies(hook), [(1, 0); 3]);
            place.clear(hook);
        }
        assert!(unknown.contains(&errno(set())));
    }
}

#[test]
fn a_unix_connection_goes_elsewhere() {
    if Feature::CgroupUnix.missing() {
        return;
    }
    let place = Place::new();
    let name = format!("nke-{}", std::process::id());
    let flag = format!("-DNAME=\"{name}\"");
    let object = stranger::object("unix.c", "unix", &[&flag]);
    place.attach("socket/connect", &object);
    let address = UnixAddr::from_abstract_name(name).expect("it is short");
    let listen = || UnixListener::bind_addr(&address);
    // Abstract names are the network namespace's.
    let listener = place.world.inside.enter(listen).expect("the name is free");
    let nowhere = place.world.directory().join("nowhere");
    place
        .enter(|| UnixStream::connect(&nowhere))
        .expect("somebody listens there");
    listener.accept().expect("the connection is there");
    assert_eq!(place.tallies("socket/connect-unix"), [(1, 0)]);
}

/// Whoever asks for an address is told another: of a datagram's sender, of a peer, of its own.
#[test]
fn unix_addresses_are_rewritten() {
    if Feature::CgroupUnix.missing() {
        return;
    }
    let place = Place::new();
    let name = format!("nke-told-{}", std::process::id());
    let flag = format!("-DNAME=\"{name}\"");
    let object = stranger::object("unix.c", "unix", &[&flag]);
    let hooks = ["recvmsg", "getpeername", "getsockname"].map(|call| format!("socket/{call}-unix"));
    for hook in &hooks {
        place.attach(hook, &watch("looks-on"));
        place.attach(hook, &object);
        place.attach(hook, &watch("looks-on-too"));
    }
    let path = |name: &str| place.world.directory().join(name);
    let (own, other) = (path("own"), path("other"));
    let receiver = place.enter(|| UnixDatagram::bind(&own));
    let receiver = receiver.expect("the name is free");
    // The kernel asks the cgroup of the peer, whose name it is, and not that of who asks for it.
    let sender = place.enter(|| UnixDatagram::bind(&other));
    let sender = sender.expect("the name is free");
    sender.send_to(b"datagram", &own).expect("it goes out");
    let told = |address: &UnixAddr| address.as_abstract_name() == Some(name.as_bytes());
    let (length, from) = receiver.recv_from(&mut [0; 9]).expect("it is there");
    assert_eq!(length, 8);
    assert!(told(&from), "{from:?}");
    receiver.connect(&other).expect("nobody is asked");
    let peer = receiver.peer_addr().expect("connected");
    assert!(told(&peer), "{peer:?}");
    let address = receiver.local_addr().expect("bound");
    assert!(told(&address), "{address:?}");
    for hook in &hooks {
        assert_eq!(place.tallies(hook), [(1, 0); 3], "{hook}");
        place.clear(hook);
    }
    let peer = receiver.peer_addr().expect("connected");
    assert_eq!(peer.as_pathname(), Some(other.as_path()));
}

/// Programs of one extension share what they keep with a socket.
#[test]
fn values_are_kept_with_a_socket() {
    let place = Place::new();
    let object = stranger::object("storage.c", "storage", &["-DSOCKET"]);
    for hook in ["socket/create", "socket/connect"] {
        place.attach(hook, &object);
    }
    for _ in 0..2 {
        let udp = place.udp(false);
        for _ in 0..2 {
            udp.connect(inside(false, 7)).expect("let through");
        }
        assert_eq!(errno(udp.connect(inside(false, 7))), libc::EPERM);
    }
    assert_eq!(place.tallies("socket/create"), [(2, 0)]);
    assert_eq!(place.tallies("socket/connect4"), [(4, 2)]);
}
