//! `nke guard`: what a cgroup may ask of its sockets, tried by a thread in one.

mod edits;
mod guard;
mod random;
mod sets;

use nke_tests::{Ask, INSIDE_V4, Verb, fail};

use guard::Guard;

const TCP: u32 = 6;
const UDP: u32 = 17;
const MULTIPATH_TCP: u32 = 262;

fn ask(verb: Verb, protocol: u32, address: &str) -> Ask {
    let address = address.parse();
    let address = address.unwrap_or_else(|error| fail(format!("no address: {error}")));
    Ask::new(verb, protocol, address)
}

/// With one rule in force, which calls are denied and which are not.
#[track_caller]
fn check(rule: &str, denied: &[(Verb, u32, &str)], allowed: &[(Verb, u32, &str)]) {
    let mut guard = Guard::attach();
    guard.run(&["add", rule]).ok();
    for (asked, expected) in [(denied, true), (allowed, false)] {
        for &(verb, protocol, address) in asked {
            let ask = ask(verb, protocol, address);
            let found = guard.caller.call(&ask);
            assert_eq!(
                guard.caller.is_denied(&ask),
                expected,
                "{ask:?} by `{rule}`: {found:?}"
            );
        }
    }
}

use Verb::{Bind, Connect, FastOpen, Send, SendConnected};

#[test]
fn tcp_is_denied_by_destination() {
    check(
        "drop out proto tcp to 127.0.0.0/8 port { 22, 100-200 }",
        &[
            (Connect, TCP, "127.0.0.1:22"),
            (Connect, TCP, "127.9.9.9:22"),
            (Connect, TCP, "127.0.0.1:100"),
            (Connect, TCP, "127.0.0.1:200"),
            (FastOpen, TCP, "127.0.0.1:22"),
            // The same place by other names.
            (Connect, TCP, "[::ffff:127.0.0.1]:22"),
            (Connect, TCP, "0.0.0.0:22"),
            (Connect, TCP, "[::ffff:0.0.0.0]:22"),
        ],
        &[
            (Connect, TCP, "127.0.0.1:21"),
            (Connect, TCP, "127.0.0.1:201"),
            (Connect, TCP, "10.1.0.1:22"),
            (Connect, TCP, "[::1]:22"),
            (Connect, TCP, "[::7f00:1]:22"),
            (Connect, UDP, "127.0.0.1:22"),
            (Send, UDP, "127.0.0.1:22"),
            (Bind, TCP, "127.0.0.1:22"),
        ],
    );
}

#[test]
fn multipath_tcp_is_tcp() {
    let mut guard = Guard::attach();
    let ask = ask(Connect, MULTIPATH_TCP, "127.0.0.1:22");
    let before = guard.caller.call(&ask);
    // Kernels without it say so when the socket is made.
    if before.is_err_and(|error| error.raw_os_error() == 93) {
        return;
    }
    guard.run(&["add", "drop connect proto tcp port 22"]).ok();
    assert!(guard.caller.is_denied(&ask));
}

#[test]
fn udp_is_denied_connected_and_not() {
    check(
        "drop out proto udp to any port 53",
        &[
            (Send, UDP, "127.0.0.1:53"),
            (Send, UDP, "10.1.0.1:53"),
            (Send, UDP, "[::1]:53"),
            (Send, UDP, "[::ffff:10.1.0.1]:53"),
            (SendConnected, UDP, "127.0.0.1:53"),
            (Connect, UDP, "[::1]:53"),
        ],
        &[
            (Send, UDP, "127.0.0.1:54"),
            (SendConnected, UDP, "127.0.0.1:54"),
            (Connect, TCP, "127.0.0.1:53"),
            (Bind, UDP, "127.0.0.1:53"),
        ],
    );
    // A connected socket's sendmsg has no address, and is not asked about.
    check(
        "drop sendmsg",
        &[(Send, UDP, "127.0.0.1:54")],
        &[(SendConnected, UDP, "127.0.0.1:54")],
    );
    check(
        "drop connect",
        &[(SendConnected, UDP, "127.0.0.1:54")],
        &[(Send, UDP, "127.0.0.1:54"), (Bind, UDP, "127.0.0.1:54")],
    );
}

#[test]
fn ipv6_is_denied_by_prefix() {
    check(
        "drop out to fd01::/64",
        &[
            (Connect, TCP, "[fd01::1]:7"),
            (Send, UDP, "[fd01::ffff:1]:7"),
        ],
        &[
            (Connect, TCP, "[fd02::1]:7"),
            (Connect, TCP, "127.0.0.1:7"),
            (Bind, TCP, "[fd01::2]:7"),
        ],
    );
    check(
        "drop connect to ::1",
        &[(Connect, TCP, "[::1]:7"), (Connect, TCP, "[::]:7")],
        &[(Connect, TCP, "[::2]:7"), (Connect, TCP, "0.0.0.0:7")],
    );
    check(
        "drop inet6",
        &[(Connect, TCP, "[fd01::1]:7"), (Bind, UDP, "[::]:7")],
        &[
            (Connect, TCP, "10.1.0.1:7"),
            (Connect, TCP, "[::ffff:10.1.0.1]:7"),
        ],
    );
}

#[test]
fn bind_is_denied_by_local_address() {
    check(
        "drop bind port 8080",
        &[
            (Bind, TCP, "127.0.0.1:8080"),
            (Bind, UDP, "0.0.0.0:8080"),
            (Bind, TCP, "[::]:8080"),
        ],
        &[
            (Bind, TCP, "127.0.0.1:8081"),
            (Connect, TCP, "127.0.0.1:8080"),
        ],
    );
    check(
        "drop bind proto tcp to 127.0.0.0/8",
        &[
            (Bind, TCP, "127.0.0.1:8080"),
            (Bind, TCP, "[::ffff:127.0.0.1]:8080"),
        ],
        // Every address is its own: binding says what it says.
        &[(Bind, TCP, "0.0.0.0:8080"), (Bind, UDP, "127.0.0.1:8080")],
    );
}

#[test]
fn nobody_is_the_address_that_the_socket_has() {
    let mut guard = Guard::attach();
    let rule = format!("drop out to {INSIDE_V4}");
    guard.run(&["add", &rule]).ok();
    let bound = |verb, protocol, from: &str, to: &str| Ask {
        from: Some(from.parse().expect("an address")),
        ..ask(verb, protocol, to)
    };
    let own = format!("{INSIDE_V4}:0");
    let mapped = format!("[::ffff:{INSIDE_V4}]:0");
    for ask in [
        bound(Connect, TCP, &own, "0.0.0.0:7"),
        bound(Send, UDP, &own, "0.0.0.0:7"),
        bound(Connect, TCP, &mapped, "[::ffff:0.0.0.0]:7"),
    ] {
        assert!(guard.caller.is_denied(&ask), "{ask:?}");
    }
    guard.run(&["flush"]).ok();
    guard.run(&["add", "drop out to 127.0.0.1"]).ok();
    // The kernel makes loopback of it, whatever mapped address the socket has.
    let ask = bound(Connect, TCP, &mapped, "[::]:7");
    assert!(guard.caller.is_denied(&ask), "{ask:?}");
}

#[test]
fn the_first_match_decides_and_is_counted() {
    let mut guard = Guard::attach();
    guard
        .load(
            "pass out to 127.0.0.0/8 port 80\n\
             pass bind port 0\n\
             drop out to 127.0.0.1\n\
             default drop\n",
        )
        .ok();
    for (verb, protocol, address, denied) in [
        (Connect, TCP, "127.0.0.1:80", false),
        (Send, UDP, "127.0.0.1:80", false),
        (Connect, TCP, "127.0.0.1:81", true),
        (Bind, TCP, "127.0.0.1:0", false),
        (Bind, TCP, "127.0.0.1:8080", true),
        (Connect, TCP, "[::1]:80", true),
    ] {
        let ask = ask(verb, protocol, address);
        assert_eq!(guard.caller.is_denied(&ask), denied, "{ask:?}");
    }
    let list = guard.list();
    assert_eq!((list.default.as_str(), list.default_calls), ("drop", 2));
    let found: Vec<_> = list.rules.iter().map(|r| (r.number, r.calls)).collect();
    assert_eq!(found, [(1, 2), (2, 1), (3, 1)]);
    let text = guard.world.nke(&["guard", "list"]).ok().stdout;
    assert!(
        text.contains(" 1      2  pass out to 127.0.0.0/8 port 80"),
        "{text}"
    );
    assert!(text.contains(" -      2  default drop"), "{text}");
}
