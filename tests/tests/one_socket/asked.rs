//! Opting in and out: the option's answers, the command from outside, cgroups within cgroups.

use std::{
    fs::File,
    net::UdpSocket,
    process::{Command, Stdio},
};

use nke::{
    so_nke::{NAME_LEN, SO_NKE, SOL_NKE},
    sys::socket::set_option,
};
use nke_tests::{Cgroup, INSIDE_V4};

use crate::{Place, allow, answer, deny, named, opt_in};

#[test]
fn every_errno() {
    let place = Place::new();
    let own = place.udp();
    let raw = |name: i32, value: &[u8]| answer(set_option(&own, SOL_NKE, name, value));
    assert_eq!(opt_in(&own, "deny"), libc::ENOPROTOOPT, "nobody is at work");
    place.attach(&deny("deny"), "socket/data-in").ok();
    place.attach(&allow("other"), "socket/data-in").ok();
    for name in ["nope", "den", "denyx", "Deny", "", "*", &"x".repeat(63)] {
        assert_eq!(opt_in(&own, name), libc::EINVAL, "{name:?}");
    }
    let value = |length: usize| {
        let mut value = b"deny".to_vec();
        value.resize(length, 0);
        value
    };
    for length in [0, 1, 4, 5, NAME_LEN - 1] {
        let mut short = value(5);
        short.truncate(length);
        assert_eq!(raw(SO_NKE, &short), libc::EINVAL, "{length} bytes");
    }
    assert_eq!(raw(SO_NKE, &value(NAME_LEN - 1)), libc::EINVAL);
    assert_eq!(raw(SO_NKE, &[b'd'; NAME_LEN]), libc::EINVAL, "no end");
    assert_eq!(raw(SO_NKE + 1, &value(NAME_LEN)), libc::ENOPROTOOPT);
    assert_eq!(place.reached(&[&own]), [true], "none of that was taken");

    // Longer is enough, and far longer than a page too.
    assert_eq!(raw(SO_NKE, &value(10_000)), 0);
    assert_eq!(place.reached(&[&own]), [false]);
    assert_eq!(raw(SO_NKE, &value(NAME_LEN)), libc::EEXIST);
    assert_eq!(opt_in(&own, "other"), 0);
    assert_eq!(opt_in(&own, "other"), libc::EEXIST);
    assert_eq!(opt_in(&own, "nope"), libc::EINVAL);
    own.set_broadcast(true)
        .expect("other options are the kernel's");
}

#[test]
fn from_outside_and_back() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    let socket = named(&own);
    let ask = |words: &[&str]| place.world.nke(&[words, &["--socket", &socket]].concat());
    let error = ask(&["detach", "deny"]).fails("no-attachment");
    assert!(
        error.contains("none such that sockets opt in for"),
        "{error}"
    );
    let error = ask(&["attach", "deny"]).fails("socket");
    assert!(
        error.contains(&format!("socket {socket}: opt in for deny: ")),
        "{error}"
    );
    assert!(error.ends_with("attach the extension with --opt-in to the cgroup of the socket, or to one above it, first\n"), "{error}");

    place.attach(&deny("deny"), "socket/data-in").ok();
    let text = ask(&["attach", "deny"]).ok().stdout;
    assert_eq!(text, format!("opted socket {socket} in for deny\n"));
    assert_eq!(opt_in(&own, "deny"), libc::EEXIST);
    assert!(
        ask(&["attach", "deny"])
            .fails("socket")
            .ends_with("it has opted in already\n")
    );
    assert!(
        ask(&["attach", "nope"])
            .fails("socket")
            .contains("Invalid argument")
    );
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);

    let text = ask(&["detach", "deny"]).ok().stdout;
    assert_eq!(text, format!("opted socket {socket} out of deny\n"));
    assert_eq!(place.reached(&[&own]), [true]);
    assert!(
        ask(&["detach", "deny"])
            .fails("socket")
            .ends_with("it has not opted in\n")
    );
    assert_eq!(opt_in(&own, "deny"), 0, "and in again");
}

#[test]
fn sockets_that_are_none() {
    let place = Place::new();
    place.attach(&deny("deny"), "socket/data-in").ok();
    let before = nke_tests::tree(&place.world.state());
    let fails = |socket: &str, name: &str, cause: &str| {
        for verb in ["attach", "detach"] {
            let error = place
                .world
                .nke(&[verb, "deny", "--socket", socket])
                .fails(name);
            assert!(error.contains(cause), "{error}");
        }
    };
    let file = File::open("/dev/null").expect("it is there");
    fails(&named(&file), "socket", "the descriptor is no socket");
    // Another process, whose descriptors no other test changes.
    let waits = Command::new("cat").stdin(Stdio::piped()).spawn();
    let mut waits = waits.expect("it runs");
    let closed = format!("{}:777", waits.id());
    fails(&closed, "socket", "the process has no such descriptor");
    drop(waits.stdin.take());
    waits.wait().expect("it ends");
    fails(&closed, "socket", "there is no such process");
    fails("0:3", "socket", "there is no such process");
    for typed in ["3", "1:", ":1", "1:x", "1:2:3", "1:99999999999"] {
        fails(typed, "usage", "a socket is PID:FD");
    }
    let path = place.cgroup.path();
    let both = ["attach", "deny", "--socket", &closed, "--cgroup", path];
    assert!(
        place
            .world
            .nke(&both)
            .fails("usage")
            .contains("cannot be used with")
    );

    // Of another cgroup, where nobody claims the option.
    let elsewhere = Cgroup::new();
    let open = || UdpSocket::bind((INSIDE_V4, 0));
    let other = elsewhere.enter(&place.world.inside, open).expect("free");
    let error = place
        .world
        .nke(&["attach", "deny", "--socket", &named(&other)]);
    assert!(error.fails("socket").contains("Protocol not available"));
    assert_eq!(
        nke_tests::tree(&place.world.state()),
        before,
        "nothing is changed"
    );
    drop(other);
}

#[test]
fn a_cgroup_in_a_cgroup() {
    let place = Place::new();
    let child = place.cgroup.child();
    let open = || UdpSocket::bind((INSIDE_V4, 0));
    let own = child
        .enter(&place.world.inside, open)
        .expect("any port is free");
    place.attach(&deny("deny"), "socket/data-in").ok();
    let below = [
        "attach",
        &allow("below"),
        "--cgroup",
        child.path(),
        "--opt-in",
    ];
    place
        .world
        .nke(&[&below[..], &["--hook", "socket/data-in"]].concat())
        .ok();
    // Each answers for its own, and neither spoils the other's answer.
    assert_eq!(opt_in(&own, "nope"), libc::EINVAL);
    assert_eq!(opt_in(&own, "below"), 0);
    assert_eq!(opt_in(&own, "below"), libc::EEXIST);
    assert_eq!(place.reached(&[&own]), [true]);
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(opt_in(&own, "deny"), libc::EEXIST);
    assert_eq!(place.reached(&[&own]), [false]);
    drop(own);
    place.world.nke(&["detach", "below"]).ok();
    place.detached("deny");
    drop(child);
}
