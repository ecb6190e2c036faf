//! Packets that are not plain: fragments, extension headers, large segments, errors.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use nke_tests::{
    Deadline, IFACE, Tap,
    frame::{Frame, Ip},
    tcp_exchange,
};

use crate::{
    RULES, WATCH,
    router::{HOOKS, Hits, Router, own},
};

/// From the outside to the router.
fn inwards(v6: bool) -> Ip {
    if v6 {
        Ip::new("fd01::1", "fd01::2")
    } else {
        Ip::new("10.1.0.1", "10.1.0.2")
    }
}

#[test]
fn fragments_are_seen_as_the_kernel_has_them() {
    let router = Router::new();
    let rules = ["pass proto udp to any port 53", "pass proto udp"];
    router.filter("ip/prerouting", &rules);
    router.filter("ip/in", &rules);
    let tap = router.world.tap_outside();
    for v6 in [false, true] {
        let server = router
            .world
            .inside
            .enter(|| UdpSocket::bind(SocketAddr::new(own(v6), 53)))
            .expect("the port is free");
        for part in inwards(v6).udp_fragments(1000, 53, &[7; 1000], &[512, 496]) {
            tap.send(&Frame::from_outside().ip(&part));
        }
        assert!(Deadline::generous().readable(&server), "put together");
    }
    // The first fragment of each carries the ports.
    assert_eq!(router.packets("ip/prerouting"), [2, 2]);
    // IPv4 is put together before the hook, IPv6 behind it.
    let hits = router.hits("ip/in");
    let bytes = (20 + 1008) + (40 + 8 + 512);
    assert_eq!(hits[0], Hits { packets: 2, bytes });
    assert_eq!(hits[1].packets, 1);
}

#[test]
fn extension_headers_are_looked_behind() {
    let router = Router::new();
    router.filter("ip/in", &RULES);
    let tap = router.world.tap_outside();
    let ip = inwards(true);
    let server = router
        .world
        .inside
        .enter(|| UdpSocket::bind(SocketAddr::new(own(true), 54)))
        .expect("the port is free");
    // Destination options of padding only, so many, and then the datagram.
    for (port, headers) in [(53, 1), (53, 8), (54, 9), (54, 2)] {
        let datagram = &ip.udp(1000, port, b"datagram")[40..];
        let mut payload = Vec::new();
        for n in 1..=headers {
            let next = if n == headers { 17 } else { 60 };
            payload.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        payload.extend(datagram);
        tap.send(&Frame::from_outside().ip(&ip.packet(60, &payload)));
    }
    assert!(
        Deadline::generous().readable(&server),
        "the last is to come"
    );
    assert_eq!(router.packets("ip/in"), [2, 1]);
    assert_eq!(router.obscured("ip/in"), 1);
}

#[test]
fn large_segments_are_one_packet() {
    let router = Router::new();
    for hook in HOOKS {
        router.filter(hook, &["pass proto tcp from any port 7", "pass proto tcp"]);
    }
    for v6 in [false, true] {
        let wait = Duration::from_secs(20);
        assert!(tcp_exchange(&router.world, v6, 7, wait));
    }
    for hook in ["ip/out", "ip/postrouting"] {
        let Hits { packets, bytes } = router.hits(hook)[0];
        assert!(bytes > 2 << 20, "{hook}: {bytes} bytes");
        assert!(bytes / packets > 3000, "{hook}: {packets}, {bytes} bytes");
    }
    let Hits { packets, bytes } = router.hits("ip/in")[1];
    assert!(bytes > 2 << 20 && packets > 0, "{packets}, {bytes} bytes");
    assert_eq!(router.packets("ip/forward"), [0, 0]);
}

#[test]
fn errors_can_be_kept_back() {
    let router = Router::new();
    router.filter(
        "ip/out",
        &["drop proto icmp", "drop proto icmp6 to fd01::1"],
    );
    for (v6, rule) in [(false, 0), (true, 1)] {
        let client = router.client(v6);
        client
            .connect(SocketAddr::new(own(v6), 99))
            .expect("it has an address");
        client.send(b"question").expect("it goes out");
        let held = || router.packets("ip/out")[rule] == 1;
        assert!(Deadline::generous().until(held), "no error was written");
        assert!(client.take_error().expect("it can be asked").is_none());
    }
    router.flush("ip/out");
    for v6 in [false, true] {
        let client = router.client(v6);
        client
            .connect(SocketAddr::new(own(v6), 99))
            .expect("it has an address");
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        client.send(b"question").expect("it goes out");
        let error = client.recv(&mut [0]).expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn watching_changes_nothing() {
    let router = Router::new();
    for hook in HOOKS {
        router.filter(hook, &WATCH);
    }
    for v6 in [false, true] {
        let arrived = router.arrive(&router.world.inside, own(v6), &[53, 54]);
        assert_eq!(arrived, [true, true]);
    }
}

/// The IP header is in one piece by then, the kernel sees to that; all behind it is not.
#[test]
fn headers_in_other_pages_are_looked_at() {
    let router = Router::new();
    for end in [&router.world.inside, &router.world.outside] {
        end.ip(&format!("link set {IFACE} mtu 9000"));
    }
    router.filter("ip/prerouting", &RULES);
    router.filter("ip/in", &WATCH);
    let tap = Tap::scattering(&router.world.outside, IFACE);
    let data = [0; 5000];
    let options = |ip: Ip| {
        let datagram = &ip.udp(1000, 53, &data)[40..];
        let options = [[60, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0]].concat();
        ip.packet(60, &[&options, datagram].concat())
    };
    for packet in [
        inwards(false).udp(1000, 53, &data),
        inwards(true).udp(1000, 53, &data),
        options(inwards(true)),
        // The last comes through, so that all are counted when it has.
        inwards(false).udp(1000, 54, &data),
    ] {
        tap.scatter(&Frame::from_outside().ip(&packet));
    }
    let through = || router.packets("ip/in") == [0, 1];
    assert!(Deadline::generous().until(through));
    assert_eq!(router.packets("ip/prerouting"), [3, 1]);
}
