//! What opting in does: who meets the extension, at which hooks, and what it can do there.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use nke_tests::{Deadline, INSIDE_V4, stranger};

use crate::{Place, allow, answer, deny, opt_in};

#[test]
fn only_the_socket_that_opted_in_is_filtered() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    place.attach(&deny("deny"), "socket/data-in").ok();
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    assert_eq!(
        place.dropped("socket/data-in"),
        Some(1),
        "others are not counted"
    );
    place.detached("deny");
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);

    // The mark went with the attachment.
    place.attach(&deny("deny"), "socket/data-in").ok();
    assert_eq!(place.reached(&[&own]), [true]);
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own]), [false]);
    drop(own);
    place.detached("deny");
}

#[test]
fn disabled_it_filters_no_socket_and_enabled_the_same() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    place.attach(&deny("deny"), "socket/data-in").ok();
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    place.world.nke(&["disable", "deny"]).ok();
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);
    assert_eq!(place.dropped("socket/data-in"), Some(1));
    // Its marks are there still.
    place.world.nke(&["enable", "deny"]).ok();
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    assert_eq!(place.dropped("socket/data-in"), Some(2));
    place.detached("deny");
}

#[test]
fn connections_of_tcp() {
    let place = Place::new();
    let listener = place
        .cgroup
        .enter(&place.world.inside, || TcpListener::bind((INSIDE_V4, 0)))
        .expect("any port is free");
    let to: SocketAddr = listener.local_addr().expect("it is bound");
    let connect = || {
        let client = place.world.outside.enter(|| TcpStream::connect(to));
        let (server, _) = listener.accept().expect("the connection is there");
        (client.expect("it is let through"), server)
    };
    place.attach(&deny("deny"), "socket/data-in").ok();
    place.attach(&allow("other"), "socket/events").ok();
    assert_eq!(opt_in(&listener, "other"), 0);
    let (mut far, own) = connect();
    let (mut beside, sibling) = connect();
    assert_eq!(opt_in(&own, "deny"), 0);
    far.write_all(b"dropped").expect("it goes into the buffer");
    beside.write_all(b"let through").expect("it goes out");
    assert!(Deadline::generous().readable(&sibling));
    let seen = || place.dropped("socket/data-in") >= Some(1);
    assert!(Deadline::generous().until(seen));
    assert!(!Deadline::after(Duration::ZERO).readable(&own));
    assert_eq!(
        opt_in(&own, "other"),
        0,
        "its listener's mark is not its own"
    );
    let path = place.cgroup.path();
    place.world.nke(&["detach", "other", "--cgroup", path]).ok();
    place.detached("deny");
    assert!(Deadline::generous().readable(&own), "it is sent again");
}

#[test]
fn calls_of_the_socket_and_its_options() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    for hook in ["socket/connect", "socket/setsockopt"] {
        place.attach(&deny("deny"), hook).ok();
    }
    assert_eq!(opt_in(&own, "deny"), 0);
    let far = SocketAddr::from((INSIDE_V4, 9));
    assert_eq!(answer(own.connect(far)), libc::EPERM);
    assert_eq!(answer(sibling.connect(far)), 0);
    assert_eq!(answer(own.set_broadcast(true)), libc::EPERM);
    assert_eq!(answer(sibling.set_broadcast(true)), 0);
    // Its own option is one of those.
    assert_eq!(opt_in(&own, "deny"), libc::EPERM);
}

#[test]
fn every_hook_takes_a_guard() {
    let place = Place::new();
    let own = place.udp();
    let all = allow("all");
    let hooks = [
        "data-in",
        "data-out",
        "release",
        "post-bind",
        "bind",
        "connect",
        "sendmsg",
        "recvmsg4",
        "getpeername4",
        "getsockname4",
        "setsockopt",
        "getsockopt",
        "events",
        "stream-out",
    ];
    for hook in hooks {
        place.attach(&all, &format!("socket/{hook}")).ok();
    }
    assert_eq!(opt_in(&own, "all"), 0);
    own.connect(own.local_addr().expect("it is bound"))
        .expect("let through");
    own.send(b"to itself").expect("let through");
    assert_eq!(own.recv(&mut [0; 16]).expect("let through"), 9);
    for hook in ["socket/create", "socket/stream-in"] {
        let error = place.attach(&all, hook).fails("no-opt-in");
        let words = format!("nke: {hook}: attach: no socket can have opted in here; ");
        assert!(error.starts_with(&words), "{error}");
    }
    let netns = place.world.inside.name();
    let words = [
        "attach",
        &all,
        "--netns",
        netns,
        "--hook",
        "socket/lookup",
        "--opt-in",
    ];
    let error = place.world.nke(&words).fails("no-opt-in");
    assert!(
        error.contains("socket/lookup: attach: no socket can have opted in here"),
        "{error}"
    );
}

#[test]
fn a_body_that_is_called_whole() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    let object = stranger::object("every_call.c", "long", &["-DLONG"]);
    place.attach(&object, "socket/data-in").ok();
    assert_eq!(
        place.chains()[0].pointer("/nodes/0/form"),
        Some(&"stub".into())
    );
    assert_eq!(opt_in(&own, "long"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
}
