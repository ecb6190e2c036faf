//! Packets that come in fragments, and are put together before a chain when it asks for that.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};

use nke_tests::{
    Deadline, IFACE, Tap,
    frame::{Frame, Ip},
};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};

use crate::{
    RULES, WATCH,
    router::{Hits, Router, far, own},
};

/// Bytes of the fragments of a datagram, whose headers have eight more.
const PARTS: [usize; 2] = [512, 496];
const DATA: [u8; 1000] = [7; 1000];

/// From the outside to an address.
fn ip(v6: bool, to: std::net::IpAddr, id: u16) -> Ip {
    let from = if v6 { "fd01::1" } else { "10.1.0.1" };
    Ip {
        id,
        ..Ip::new(from, &to.to_string())
    }
}

/// Sends these fragments of a datagram to a port from the outside, in this order.
fn send(tap: &Tap, ip: &Ip, port: u16, order: &[usize]) {
    let parts = ip.udp_fragments(1000, port, &DATA, &PARTS);
    for part in order {
        tap.send(&Frame::from_outside().ip(&parts[*part]));
    }
}

/// Where datagrams to a port of an address arrive.
fn server(namespace: &nke_tests::Namespace, address: std::net::IpAddr, port: u16) -> UdpSocket {
    let bind = || UdpSocket::bind(SocketAddr::new(address, port));
    namespace.enter(bind).expect("the port is free")
}

/// The bytes of a whole datagram of each family, and of its fragments.
const WHOLE: u64 = (20 + 1008) + (40 + 1008);
const FIRST: u64 = (20 + 512) + (40 + 8 + 512);
const LATER: u64 = (20 + 496) + (40 + 8 + 496);

#[test]
fn the_whole_is_seen_once() {
    // Whether packets are put together, and what the two rules see.
    let hits = |packets, bytes| Hits { packets, bytes };
    for (hook, options, seen) in [
        ("ip/prerouting", &[][..], [hits(2, FIRST), hits(2, LATER)]),
        ("ip/prerouting", &["--defrag"], [hits(2, WHOLE), hits(0, 0)]),
        ("ip/in", &["--defrag"], [hits(2, WHOLE), hits(0, 0)]),
    ] {
        let router = Router::new();
        router.filter_with(hook, options, &WATCH);
        let tap = router.world.tap_outside();
        for v6 in [false, true] {
            let server = server(&router.world.inside, own(v6), 53);
            // The later one first: it is known what it is of when the first is there.
            send(&tap, &ip(v6, own(v6), 1), 53, &[1, 0]);
            assert!(Deadline::generous().readable(&server), "put together");
        }
        assert_eq!(router.hits(hook), seen, "{hook} {options:?}");
    }
}

#[test]
fn a_part_alone_is_never_seen() {
    let router = Router::new();
    router.filter_with("ip/prerouting", &["--defrag"], &WATCH);
    // The rest never comes; nor is a datagram one whose fragments overlap.
    let tap = router.world.tap_outside();
    for v6 in [false, true] {
        send(&tap, &ip(v6, own(v6), 1), 53, &[0]);
        send(&tap, &ip(v6, own(v6), 2), 53, &[1]);
        let overlapping = ip(v6, own(v6), 3);
        tap.send(&Frame::from_outside().ip(&overlapping.fragment(17, 0, true, &[0; 512])));
        tap.send(&Frame::from_outside().ip(&overlapping.fragment(17, 504, false, &[0; 64])));
        let server = server(&router.world.inside, own(v6), 54);
        tap.send(&Frame::from_outside().ip(&ip(v6, own(v6), 4).udp(1000, 54, &DATA)));
        assert!(Deadline::generous().readable(&server));
    }
    assert_eq!(router.packets("ip/prerouting"), [0, 2]);
}

/// What is dropped goes with all of its fragments, and what is forwarded is cut up again.
#[test]
fn forwarded_fragments() {
    for (options, seen, beyond) in [(&[][..], [1, 3], 3), (&["--defrag"], [1, 1], 2)] {
        let router = Router::new();
        router.filter_with("ip/forward", options, &RULES);
        let tap = router.world.tap_outside();
        for v6 in [false, true] {
            let arriving = Tap::open(&router.beyond, IFACE);
            let server = server(&router.beyond, far(v6), 54);
            send(&tap, &ip(v6, far(v6), 1), 53, &[0, 1]);
            send(&tap, &ip(v6, far(v6), 2), 54, &[0, 1]);
            assert!(Deadline::generous().readable(&server), "put together");
            let mut fragments = 0;
            let now = Deadline::after(std::time::Duration::ZERO);
            while let Some(frame) = arriving.receive(now) {
                let protocol = frame.get(if v6 { 20 } else { 23 });
                fragments += i32::from(protocol == Some(if v6 { &44 } else { &17 }));
            }
            assert_eq!(fragments, beyond, "{options:?}");
        }
        let seen = seen.map(|of_each| 2 * of_each);
        assert_eq!(router.packets("ip/forward"), seen, "{options:?}");
    }
}

/// The kernel puts packets together for all of a namespace, as long as anybody asks for it, at one
/// place: before it, they are in fragments still.
#[test]
fn others_see_the_whole_too() {
    let router = Router::new();
    router.filter("ip/prerouting", &WATCH);
    let tap = router.world.tap_outside();
    let mut id = 0;
    let mut seen = |hook| {
        let before: u64 = router.packets(hook).iter().sum();
        for v6 in [false, true] {
            let server = server(&router.world.inside, own(v6), 53);
            id += 1;
            send(&tap, &ip(v6, own(v6), id), 53, &[0, 1]);
            assert!(Deadline::generous().readable(&server), "put together");
        }
        router.packets(hook).iter().sum::<u64>() - before
    };
    assert_eq!(seen("ip/prerouting"), 4);
    let hook = router.at("ip/out", &["attach", "counter", "--defrag"]);
    router.world.nke(&hook).ok();
    assert_eq!(seen("ip/prerouting"), 2);
    router.detach("ip/prerouting", "packet-filter");
    let early = ["--netfilter-priority", "-401"];
    router.filter_with("ip/prerouting", &early, &WATCH);
    assert_eq!(seen("ip/prerouting"), 4);
    router.detach("ip/prerouting", "packet-filter");
    router.filter("ip/prerouting", &WATCH);
    assert_eq!(seen("ip/prerouting"), 2);
    router.detach("ip/out", "counter");
    assert_eq!(seen("ip/prerouting"), 4);
}

/// What this host sends in fragments, having cut it up itself, is put together as well.
#[test]
fn fragments_of_this_host() {
    for (options, seen) in [(&[][..], [1, 1]), (&["--defrag"], [1, 0])] {
        let router = Router::new();
        router.filter_with("ip/out", options, &WATCH);
        let server = server(&router.world.outside, "10.1.0.1".parse().expect("one"), 53);
        let open = || rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
        let socket = router.world.inside.enter(open).expect("root may");
        let to = SocketAddrV4::new([10, 1, 0, 1].into(), 0);
        let ip = Ip::new("10.1.0.2", "10.1.0.1");
        for part in ip.udp_fragments(1000, 53, &DATA, &PARTS) {
            rustix::net::sendto(&socket, &part, SendFlags::empty(), &to).expect("it goes out");
        }
        assert!(Deadline::generous().readable(&server), "put together");
        assert_eq!(router.packets("ip/out"), seen, "{options:?}");
    }
}

#[test]
fn defrag_is_shown() {
    let router = Router::new();
    router.filter_with("ip/out", &["--defrag"], &WATCH);
    let text = router.world.nke(&["chain"]).ok().stdout;
    let heading = ", netfilter priority filter - 1, defrag, policy pass\n";
    assert!(text.contains(heading), "{text}");
    assert!(router.chain("ip/out").netfilter.defrag);
}
