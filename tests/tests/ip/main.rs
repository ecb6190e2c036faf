//! The hooks of the IP layer: packets that are forwarded, that come in, that go out.

mod defrag;
mod packets;
mod priority;
mod refused;
mod router;
mod way;

use std::{
    io::{BufRead as _, BufReader, ErrorKind},
    net::{SocketAddr, UdpSocket},
    process::Stdio,
};

use nke_tests::{Deadline, IFACE, Node, Objects, stranger};
use router::{FILTER, HOOKS, Router, far, own};

/// Telling apart what is sent to port 53, and other datagrams.
const RULES: [&str; 2] = ["drop proto udp to any port 53", "pass proto udp"];

/// The same, and nothing is dropped.
const WATCH: [&str; 2] = ["pass proto udp to any port 53", "pass proto udp"];

#[test]
fn a_forwarded_packet_is_dropped_once() {
    let router = Router::new();
    for hook in HOOKS {
        let rules = if hook == "ip/forward" { RULES } else { WATCH };
        router.filter(hook, &rules);
        router.attach(hook, "counter");
    }
    for v6 in [false, true] {
        let arrived = router.arrive(&router.beyond, far(v6), &[53, 54]);
        assert_eq!(arrived, [false, true]);
    }
    assert_eq!(router.packets("ip/prerouting"), [2, 2]);
    assert_eq!(router.packets("ip/in"), [0, 0]);
    assert_eq!(router.packets("ip/forward"), [2, 2]);
    assert_eq!(router.packets("ip/out"), [0, 0]);
    assert_eq!(router.packets("ip/postrouting"), [0, 2]);
    let chain = router.chain("ip/forward");
    let [filter, counter] = &chain.nodes[..] else {
        panic!("two were attached: {chain:?}")
    };
    let (packets, bytes) = (filter.packets, filter.bytes);
    let (packets, bytes) = (packets.expect("it counts"), bytes.expect("it counts"));
    assert_eq!((packets.dropped, packets.go_on), (2, 2));
    // Headers of 28 and of 48 bytes, and eight bytes of data.
    assert_eq!((bytes.dropped, bytes.go_on), (92, 92));
    assert_eq!(counter.packets.map(|packets| packets.go_on), Some(2));
}

/// Whichever hook drops, of all extensions one counts a drop, and those behind it see nothing.
#[test]
fn wherever_it_is_dropped_it_is_once() {
    let router = Router::new();
    // Of its own accord IPv6 sends packets as well, and the counters would have them.
    for end in [&router.world.inside, &router.world.outside, &router.beyond] {
        end.sysctl("ipv6/conf/all/disable_ipv6", "1");
    }
    for hook in HOOKS {
        router.attach(hook, "counter");
        router.filter(hook, &[]);
        router.attach(hook, "counter");
    }
    let all = || HOOKS.map(|hook| router.chain(hook).nodes);
    let ways: [(&str, [usize; 5]); 3] = [
        ("forwarded", [1, 0, 1, 0, 1]),
        ("in", [1, 1, 0, 0, 0]),
        ("out", [0, 0, 0, 1, 1]),
    ];
    for (way, path) in ways {
        let met: Vec<_> = (0..5).filter(|at| path[*at] == 1).collect();
        for at in &met {
            let place = ["--netns", router.world.inside.name(), "--hook", HOOKS[*at]];
            let words = [&["filter", "add", RULES[0]][..], &place].concat();
            router.world.nke(&words).ok();
            let before = all();
            let ports = [53, 54];
            let inside = &router.world.inside;
            let arrived = match way {
                "forwarded" => router.arrive(&router.beyond, far(false), &ports),
                "in" => router.arrive(inside, own(false), &ports),
                _ => router.arrive_from(inside, &router.beyond, far(false), &ports),
            };
            assert_eq!(arrived, [false, true]);
            for (hook, (before, after)) in before.iter().zip(all()).enumerate() {
                let seen: Vec<_> = before.iter().zip(&after).map(grown).collect();
                let expected = match () {
                    () if hook == *at => [(2, 0), (1, 1), (1, 0)],
                    () if met.contains(&hook) && hook < *at => [(2, 0); 3],
                    () if met.contains(&hook) => [(1, 0); 3],
                    () => [(0, 0); 3],
                };
                assert_eq!(seen, expected, "{way}, dropped at {}: {hook}", HOOKS[*at]);
            }
            router.flush(HOOKS[*at]);
        }
    }
}

/// What a node has let go on, and dropped, since it was looked at.
fn grown((before, after): (&Node, &Node)) -> (u64, u64) {
    let packets = |node: &Node| node.packets.expect("it counts");
    let (before, after) = (packets(before), packets(after));
    (after.go_on - before.go_on, after.dropped - before.dropped)
}

#[test]
fn directions_are_those_of_the_hook() {
    let router = Router::new();
    let both = ["pass in proto udp", "pass out proto udp"];
    router.filter("ip/forward", &both);
    router.filter("ip/in", &both[..1]);
    for hook in ["ip/in", "ip/prerouting"] {
        if hook == "ip/prerouting" {
            router.filter(hook, &[]);
        }
        let place = ["--netns", router.world.inside.name(), "--hook", hook];
        let words = [&["filter", "add", "drop out"][..], &place].concat();
        let error = router.world.nke(&words).fails("rule-never-matches");
        assert!(error.contains("can never match"), "{error}");
        assert!(error.contains("ip/out"), "{error}");
    }
    // What is forwarded goes both ways: the first rule matches it.
    assert_eq!(router.arrive(&router.beyond, far(false), &[54]), [true]);
    assert_eq!(router.packets("ip/forward"), [1, 0]);
    router.flush("ip/forward");
    let inside = router.world.inside.name();
    let place = ["--netns", inside, "--hook", "ip/forward"];
    let words = [&["filter", "add", both[1]][..], &place].concat();
    router.world.nke(&words).ok();
    assert_eq!(router.arrive(&router.beyond, far(true), &[54]), [true]);
    assert_eq!(router.packets("ip/forward"), [1]);
}

#[test]
fn what_comes_in_and_what_goes_out() {
    let router = Router::new();
    for hook in HOOKS {
        let rules = match hook {
            "ip/in" | "ip/out" => RULES,
            _ => WATCH,
        };
        router.filter(hook, &rules);
    }
    for v6 in [false, true] {
        let arrived = router.arrive(&router.world.inside, own(v6), &[53, 54]);
        assert_eq!(arrived, [false, true]);
    }
    let all = || HOOKS.map(|hook| router.packets(hook));
    assert_eq!(all(), [[2, 2], [2, 2], [0, 0], [0, 0], [0, 0]]);
    for v6 in [false, true] {
        let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
        let socket = router.world.inside.enter(|| UdpSocket::bind(any));
        let socket = socket.expect("any port is free");
        let server = router
            .beyond
            .enter(|| UdpSocket::bind(SocketAddr::new(far(v6), 54)))
            .expect("the port is free");
        let to = |port| SocketAddr::new(far(v6), port);
        // The sender is told.
        let error = socket.send_to(b"datagram", to(53)).expect_err("dropped");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        socket.send_to(b"datagram", to(54)).expect("it goes out");
        assert!(Deadline::generous().readable(&server));
    }
    assert_eq!(all(), [[2, 2], [2, 2], [0, 0], [2, 2], [0, 2]]);
}

#[test]
fn rules_of_nftables_before_and_after() {
    let router = Router::new();
    let rules = "table inet t {
        chain before { type filter hook input priority -10; udp dport 50 counter drop; }
        chain after { type filter hook input priority 10;
            udp dport 60 counter drop; udp dport { 53, 54 } counter; }
    }";
    router.nft(&[rules]);
    router.filter("ip/in", &RULES);
    let arrived = router.arrive(&router.world.inside, own(false), &[50, 53, 60, 54]);
    assert_eq!(arrived, [false, false, false, true]);
    // The first is not seen any more, the second is not seen behind.
    assert_eq!(router.packets("ip/in"), [1, 2]);
    assert_eq!(router.nft_packets(), [1, 1, 1]);
    router.detach("ip/in", FILTER);
    let arrived = router.arrive(&router.world.inside, own(false), &[50, 53, 60, 54]);
    assert_eq!(arrived, [false, true, false, true]);
    assert_eq!(router.nft_packets(), [2, 2, 3]);
}

#[test]
fn a_removed_namespace_leaves_nothing() {
    let router = Router::new();
    for hook in HOOKS {
        router.filter(hook, &RULES);
        router.attach(hook, "counter");
    }
    let objects = Objects::pinned_below(&router.world.state());
    let Router { world, beyond } = router;
    world
        .outside
        .ip(&format!("netns del {}", world.inside.name()));
    assert_eq!(world.chains(), []);
    assert_eq!(world.list(), []);
    assert!(!world.is_mounted());
    objects.assert_gone();
    drop(beyond);
}

#[test]
fn a_stranger_in_the_chain() {
    let router = Router::new();
    let stranger = stranger::object("netfilter.c", "no-names", &[]);
    for hook in ["ip/in", "ip/forward"] {
        router.filter(hook, &WATCH);
        router.attach(hook, &stranger);
        router.attach(hook, "counter");
    }
    for v6 in [false, true] {
        let arrived = router.arrive(&router.world.inside, own(v6), &[53, 54]);
        assert_eq!(arrived, [false, true]);
        let arrived = router.arrive(&router.beyond, far(v6), &[53, 54]);
        assert_eq!(arrived, [false, true]);
    }
    for hook in ["ip/in", "ip/forward"] {
        let chain = router.chain(hook);
        assert_eq!(chain.hook, hook);
        let names: Vec<_> = chain.nodes.iter().map(|node| &node.extension).collect();
        assert_eq!(names, [FILTER, "no-names", "counter"]);
        assert_eq!(router.packets(hook), [2, 2]);
        let dropped = |n: usize| chain.nodes[n].packets.map(|packets| packets.dropped);
        assert_eq!(
            [dropped(0), dropped(1), dropped(2)].map(Option::unwrap_or_default),
            [0, 2, 0]
        );
    }
}

#[test]
fn lines_say_which_way() {
    let router = Router::new();
    for hook in ["ip/prerouting", "ip/forward", "ip/postrouting"] {
        router.filter(hook, &["pass log proto udp to any port 54"]);
    }
    for v6 in [false, true] {
        assert_eq!(router.arrive(&router.beyond, far(v6), &[54]), [true]);
    }
    let mut command = router.world.command(&["log", FILTER]);
    let mut log = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("nke can be run");
    let lines = BufReader::new(log.stdout.take().expect("it was asked for")).lines();
    let lines = lines.map_while(Result::ok);
    let found: Vec<_> = lines
        .filter(|line| line.contains("rule 1"))
        .take(6)
        .collect();
    log.kill().expect("it runs");
    log.wait().expect("it ends");
    for (way, bytes) in [
        ("in", 36),
        ("forward", 36),
        ("out", 36),
        ("in", 56),
        ("forward", 56),
        ("out", 56),
    ] {
        let start = format!("rule 1: pass {way} proto 17 from ");
        let end = format!(" port 54, {bytes} bytes, on {IFACE}");
        let is_it = |line: &&String| line.contains(&start) && line.ends_with(&end);
        assert_eq!(found.iter().filter(is_it).count(), 1, "{way}: {found:#?}");
    }
}
