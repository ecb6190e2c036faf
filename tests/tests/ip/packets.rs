//! Packets that are not plain: fragments, extension headers, large segments, errors.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use nke_tests::{
    Deadline, IFACE, Tap,
    frame::{Frame, Ip},
    tcp_exchange,
};

use crate::{
    RULES, WATCH,
    router::{HOOKS, Hits, Router, far, own},
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

/// What goes through in large segments is all there, and counted once: the data, and for each
/// packet its headers.
#[test]
fn large_segments_are_counted_byte_for_byte() {
    const DATA: usize = 4 << 20;
    let router = Router::new();
    let hooks = ["ip/prerouting", "ip/forward", "ip/postrouting"];
    for hook in hooks {
        router.filter(hook, &["pass proto tcp to any port 7"]);
    }
    for v6 in [false, true] {
        let before = hooks.map(|hook| router.hits(hook)[0]);
        let retransmitted = || retransmitted(&router);
        let again = retransmitted();
        let address = SocketAddr::new(far(v6), 7);
        let listener = router.beyond.enter(|| TcpListener::bind(address));
        let listener = listener.expect("the port is free");
        let client = router.world.outside.enter(|| TcpStream::connect(address));
        let mut client = client.expect("there is a way");
        let (server, _) = listener.accept().expect("the connection is there");
        let sent: Vec<u8> = (0..=250).cycle().take(DATA).collect();
        let data = sent.clone();
        let sender = thread::spawn(move || {
            client.write_all(&data)?;
            client.shutdown(Shutdown::Write)?;
            // The other end has seen that this was all.
            client.read(&mut [0])
        });
        server
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout can be set");
        let mut received = Vec::new();
        (&server).read_to_end(&mut received).expect("all arrives");
        drop(server);
        assert!(received == sent, "{} bytes arrived", received.len());
        assert!(sender.join().is_ok_and(|sent| sent.is_ok()));
        let again = retransmitted() - again;
        for (hook, before) in hooks.iter().zip(before) {
            let now = router.hits(hook)[0];
            let (packets, bytes) = (now.packets - before.packets, now.bytes - before.bytes);
            // TCP's header is 32 bytes with the time, and eight more in the first packet.
            let header = if v6 { 40 } else { 20 } + 32;
            let data = bytes - packets * header - 8;
            assert!(
                (0..=again * 1500).contains(&(data - DATA as u64)),
                "{hook}: {bytes} bytes in {packets} packets, {again} again"
            );
            assert!(bytes / packets > 3000, "{hook}: {packets}, {bytes} bytes");
        }
    }
}

/// How many segments TCP has sent again in the outside, which a loaded host may have it do.
fn retransmitted(router: &Router) -> u64 {
    let table = || std::fs::read_to_string("/proc/thread-self/net/snmp");
    let table = router.world.outside.enter(table).expect("it can be read");
    let mut rows = table.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (rows.next().unwrap_or(""), rows.next().unwrap_or(""));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let value = pairs.find_map(|(name, value)| (name == "RetransSegs").then_some(value));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

/// Errors about forwarded packets: those of the host beyond go through `ip/forward`, those of the
/// router itself through `ip/out`.
#[test]
fn errors_about_forwarded_packets() {
    for (hook, ttl) in [("ip/forward", 64), ("ip/out", 1)] {
        let router = Router::new();
        router.filter(hook, &["pass proto icmp", "pass proto icmp6 to fd01::1"]);
        let ask = |v6| {
            let client = router.client(v6);
            client
                .connect(SocketAddr::new(far(v6), 99))
                .expect("there is a way");
            hops(&client, v6, ttl);
            client.send(b"question").expect("it goes out");
            client
        };
        for (v6, rule) in [(false, 0), (true, 1)] {
            let client = ask(v6);
            // A datagram socket is told of a closed port, and of an end of its time only when it
            // asks; that one is counted here.
            let seen = || router.packets(hook)[rule] == 1;
            assert!(Deadline::generous().until(seen), "{hook}: no error came by");
            if ttl == 64 {
                let wait = Some(Duration::from_secs(20));
                client.set_read_timeout(wait).expect("a timeout can be set");
                let error = client.recv(&mut [0]).expect_err("nobody answers");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
        }
        router.flush(hook);
        let place = ["--netns", router.world.inside.name(), "--hook", hook];
        for rule in ["drop proto icmp", "drop proto icmp6 to fd01::1"] {
            let words = [&["filter", "add", rule][..], &place].concat();
            router.world.nke(&words).ok();
        }
        for (v6, rule) in [(false, 0), (true, 1)] {
            let client = ask(v6);
            let held = || router.packets(hook)[rule] == 1;
            assert!(Deadline::generous().until(held), "{hook}: no error came by");
            assert!(client.take_error().expect("it can be asked").is_none());
        }
    }
}

/// Gives what a socket sends so many hops.
fn hops(socket: &UdpSocket, v6: bool, ttl: u32) {
    let set = if v6 {
        rustix::net::sockopt::set_ipv6_unicast_hops(socket, u8::try_from(ttl).ok())
    } else {
        rustix::net::sockopt::set_ip_ttl(socket, ttl)
    };
    set.expect("a socket has this option");
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
