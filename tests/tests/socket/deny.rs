//! A denial ends the call: what stands behind in the chain is not asked, and the caller is told.

use std::{
    io,
    net::UdpSocket,
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
};

use nke_tests::{Deadline, Feature, socket};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::place::{Place, deny, deny_with, errno, inside, mark, open};

/// A call on a socket of either family; the last says that it is to be denied.
type Call = fn(&UdpSocket, bool, bool) -> io::Result<()>;

/// What a datagram socket can be denied at the hooks of both families.
const CALLS: [(&str, Call); 4] = [
    ("socket/bind", |udp, v6, _| {
        Ok(rustix::net::bind(udp, &inside(v6, 0))?)
    }),
    // Its programs cannot read the mark.
    ("socket/post-bind", |udp, v6, wrong| {
        let port = if wrong { 1111 } else { 0 };
        Ok(rustix::net::bind(udp, &inside(v6, port))?)
    }),
    ("socket/connect", |udp, v6, _| udp.connect(inside(v6, 7))),
    ("socket/sendmsg", |udp, v6, _| {
        udp.send_to(b"datagram", inside(v6, 7)).map(drop)
    }),
];

/// What three nodes count when one call was let through and one denied by the second.
const ONE_EACH: [(u64, u64); 3] = [(2, 0), (1, 1), (1, 0)];

#[test]
fn the_first_denial_ends_a_call() {
    let place = Place::new();
    for (hook, call) in CALLS {
        place.guard(hook, &deny());
        for (v6, suffix) in [(false, "4"), (true, "6")] {
            call(&place.udp(v6), v6, false).expect("nobody denies it");
            let marked = place.udp(v6);
            mark(&marked);
            assert_eq!(
                errno(call(&marked, v6, true)),
                libc::EPERM,
                "{hook}{suffix}"
            );
            let hook = format!("{hook}{suffix}");
            assert_eq!(place.tallies(&hook), ONE_EACH, "{hook}");
        }
        place.clear(hook);
    }
    assert!(!place.world.is_mounted());
}

#[test]
fn who_is_disabled_denies_nothing() {
    let place = Place::new();
    for (hook, call) in CALLS {
        place.guard(hook, &deny());
        let denied = |v6| {
            let marked = place.udp(v6);
            mark(&marked);
            call(&marked, v6, true).is_err()
        };
        assert_eq!([false, true].map(denied), [true, true], "{hook}");
        for verb in ["disable", "enable"] {
            // All hooks of the family.
            let ran = place.world.nke(&[verb, "deny"]).ok();
            assert!(ran.stdout.lines().count() >= 2, "{ran:?}");
            let enabled = verb == "enable";
            assert_eq!([false, true].map(denied), [enabled; 2], "{hook} {verb}");
        }
        place.clear(hook);
    }
}

#[test]
fn an_errno_arrives_at_the_caller() {
    let place = Place::new();
    for (hook, call) in CALLS {
        for number in [libc::EACCES, libc::ENETUNREACH] {
            place.guard(hook, &deny_with(number));
            for v6 in [false, true] {
                let marked = place.udp(v6);
                mark(&marked);
                assert_eq!(errno(call(&marked, v6, true)), number, "{hook}");
            }
            place.clear(hook);
        }
    }
}

#[test]
fn sockets_of_a_kind_are_not_made() {
    let place = Place::new();
    for (deny, number) in [
        (deny(), libc::EPERM),
        (deny_with(libc::ENOMEM), libc::ENOMEM),
    ] {
        place.guard("socket/create", &deny);
        for v6 in [false, true] {
            drop(place.udp(v6));
            let raw = place.enter(|| open(v6, SocketType::RAW));
            assert_eq!(errno(raw), number);
        }
        let twice = ONE_EACH.map(|(go_on, dropped)| (2 * go_on, 2 * dropped));
        assert_eq!(place.tallies("socket/create"), twice);
        place.clear("socket/create");
    }
    // A thread beside the cgroup is not asked.
    place.guard("socket/create", &deny());
    let outside = place.world.inside.enter(|| open(false, SocketType::RAW));
    outside.expect("it belongs to another cgroup");
    assert_eq!(place.tallies("socket/create"), [(0, 0); 3]);
}

/// The kernel asks nobody whether a socket may go.
#[test]
fn a_release_is_seen_and_happens() {
    let place = Place::new();
    place.guard("socket/release", &deny());
    for v6 in [false, true] {
        drop(place.udp(v6));
        let marked = place.udp(v6);
        rustix::net::bind(&marked, &inside(v6, 99)).expect("the port is free");
        mark(&marked);
        drop(marked);
        // A child of another test, just forked, can have it for a moment longer.
        let again = || {
            let bind = || UdpSocket::bind(inside(v6, 99));
            place.world.inside.enter(bind).is_ok()
        };
        assert!(Deadline::generous().until(again), "the port is free again");
    }
    let all = || place.tallies("socket/release") == [(4, 0), (2, 2), (2, 0)];
    assert!(Deadline::generous().until(all));
}

#[test]
fn options_are_denied() {
    let place = Place::new();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PRIORITY);
    let set = |udp: &UdpSocket| socket::set_option(udp, level, name, &5u32.to_ne_bytes());
    let get = |udp: &UdpSocket| socket::option(udp, level, name, 4);
    for (deny, number) in [(deny(), libc::EPERM), (deny_with(libc::EBUSY), libc::EBUSY)] {
        for v6 in [false, true] {
            let (free, marked) = (place.udp(v6), place.udp(v6));
            mark(&marked);
            place.guard("socket/setsockopt", &deny);
            set(&free).expect("nobody denies it");
            assert_eq!(errno(set(&marked)), number);
            assert_eq!(place.tallies("socket/setsockopt"), ONE_EACH);
            place.clear("socket/setsockopt");
            place.guard("socket/getsockopt", &deny);
            assert_eq!(get(&free).expect("nobody denies it"), 5u32.to_ne_bytes());
            assert_eq!(errno(get(&marked)), number);
            assert_eq!(place.tallies("socket/getsockopt"), ONE_EACH);
            place.clear("socket/getsockopt");
            assert_eq!(get(&marked).expect("nobody denies it"), [0; 4]);
        }
    }
}

#[test]
fn unix_sockets_are_denied() {
    if Feature::CgroupUnix.missing() {
        return;
    }
    let place = Place::new();
    let path = |name: &str| place.world.directory().join(name);
    let (stream, datagram) = (path("stream"), path("datagram"));
    let _listener = UnixListener::bind(&stream).expect("the name is free");
    let server = UnixDatagram::bind(&datagram).expect("the name is free");
    for (deny, number) in [
        (deny(), libc::EPERM),
        (deny_with(libc::EACCES), libc::EACCES),
    ] {
        for hook in ["socket/connect-unix", "socket/sendmsg-unix"] {
            place.guard(hook, &deny);
        }
        let (free, marked) = place.enter(|| {
            let unbound = || UnixDatagram::unbound().expect("nobody denies it");
            (unbound(), unbound())
        });
        mark(&marked);
        free.send_to(b"datagram", &datagram).expect("let through");
        assert_eq!(server.recv(&mut [0; 9]).expect("it is there"), 8);
        assert_eq!(errno(marked.send_to(b"datagram", &datagram)), number);
        assert_eq!(place.tallies("socket/sendmsg-unix"), ONE_EACH);

        let flags = SocketFlags::CLOEXEC;
        let unix =
            || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let made = place.enter(|| (unix(), unix()));
        let (free, marked) = (made.0.expect("let through"), made.1.expect("let through"));
        mark(&marked);
        let address = rustix::net::SocketAddrUnix::new(&stream).expect("it is short");
        rustix::net::connect(&free, &address).expect("let through");
        let denied = rustix::net::connect(&marked, &address);
        assert_eq!(errno(denied.map_err(io::Error::from)), number);
        assert_eq!(place.tallies("socket/connect-unix"), ONE_EACH);
        for hook in ["socket/connect-unix", "socket/sendmsg-unix"] {
            place.clear(hook);
        }
        place.enter(|| UnixStream::connect(&stream)).expect("free");
    }
}

/// A drop policy denies what every node lets go on; what cannot be denied has none.
#[test]
fn a_drop_policy_denies() {
    let place = Place::new();
    for (hook, v6) in [("socket/connect4", false), ("socket/connect6", true)] {
        place.nke(&["policy", "drop", "--hook", hook]).ok();
        assert_eq!(errno(place.udp(v6).connect(inside(v6, 7))), libc::EPERM);
        place.nke(&["policy", "pass", "--hook", hook]).ok();
        place.udp(v6).connect(inside(v6, 7)).expect("let through");
    }
    let error = place
        .nke(&["policy", "drop", "--hook", "socket/recvmsg4"])
        .fails("no-drop-policy");
    assert_eq!(
        error,
        "nke: socket/recvmsg4: policy: the kernel takes no other answer than to go on here; use \
         another hook\n"
    );
    assert!(!place.world.is_mounted());
}
