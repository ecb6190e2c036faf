//! What a mark outlives, and what is left when something comes in between.

use std::{fs::File, os::fd::OwnedFd};

use nke_tests::{End, trace};

use crate::{Place, allow, deny, named, opt_in};

#[test]
fn it_is_shown() {
    let place = Place::new();
    place.attach(&deny("deny"), "socket/data-in").ok();
    let text = place.world.nke(&["chain"]).ok().stdout;
    assert!(text.contains(" deny (opt-in) "), "{text}");
    assert!(
        text.contains("    sockets opt in here for deny\n"),
        "{text}"
    );
    let text = place.world.nke(&["list"]).ok().stdout;
    assert!(text.contains(" deny (opt-in) "), "{text}");
    let text = place.world.nke(&["show", "deny"]).ok().stdout;
    assert!(text.contains("only those that opt in"), "{text}");
}

#[test]
fn marks_outlive_what_is_done_to_the_attachment() {
    let place = Place::new();
    let (own, sibling) = (place.udp(), place.udp());
    place.attach(&deny("deny"), "socket/data-in").ok();
    place.attach(&allow("first"), "socket/data-in").ok();
    assert_eq!(opt_in(&own, "deny"), 0);
    place.world.nke(&["move", "deny", "--after", "first"]).ok();
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    // Another extension in its place is another name to opt in by.
    place.world.nke(&["replace", "deny", &deny("second")]).ok();
    assert_eq!(opt_in(&own, "deny"), libc::EINVAL);
    assert_eq!(place.reached(&[&own, &sibling]), [true, true]);
    assert_eq!(opt_in(&own, "second"), 0);
    assert_eq!(place.reached(&[&own, &sibling]), [false, true]);
    place.world.nke(&["detach", "first"]).ok();
    assert_eq!(opt_in(&own, "first"), libc::EINVAL);
    place.detached("second");
}

#[test]
fn a_drop_policy_refuses_and_marks_nothing() {
    let place = Place::new();
    let own = place.udp();
    let policy = |policy: &str| {
        let path = place.cgroup.path();
        let words = [
            "policy",
            policy,
            "--cgroup",
            path,
            "--hook",
            "socket/setsockopt",
        ];
        place.world.nke(&words).ok();
    };
    place.attach(&deny("deny"), "socket/data-in").ok();
    policy("drop");
    assert_eq!(opt_in(&own, "deny"), libc::EPERM);
    assert_eq!(place.reached(&[&own]), [true]);
    policy("pass");
    assert_eq!(opt_in(&own, "deny"), 0);
    assert_eq!(place.reached(&[&own]), [false]);
    place.detached("deny");
}

/// The command holds the socket from when it has opened it: what its process does then neither stops the
/// command nor misleads it to another file, and leaves nothing behind.
#[test]
fn sockets_that_are_closed_on_the_way() {
    let place = Place::new();
    place.attach(&deny("deny"), "socket/data-in").ok();
    let before = nke_tests::tree(&place.world.state());
    let ask = |socket: &str, at: i64, close: &mut dyn FnMut()| {
        let words = ["attach", "deny", "--socket", socket];
        let mut closed = false;
        let traced = trace(&mut place.world.command(&words), |call| {
            if call.number() == at && !closed {
                closed = true;
                close();
            }
            false
        });
        assert!(closed, "the command makes the call {at}");
        traced
    };
    // Before it is opened: its number is another file's by then. (It is not just closed here, for
    // another test could be given the number.)
    let socket = place.udp();
    let name = named(&socket);
    let other = File::open("/dev/null").expect("it is there");
    let mut descriptor = OwnedFd::from(socket);
    let mut replace = || rustix::io::dup2(&other, &mut descriptor).expect("both are open");
    let replaced = ask(&name, libc::SYS_pidfd_getfd, &mut replace);
    assert_ne!(replaced.end, End::Exited(0));
    let said = replaced.stderr;
    assert!(said.contains("the descriptor is no socket"), "{said}");
    // Between that and the option.
    let mut socket = Some(place.udp());
    let name = named(socket.as_ref().expect("it is open"));
    let late = ask(&name, libc::SYS_setsockopt, &mut || drop(socket.take()));
    assert_eq!(late.end, End::Exited(0), "{}", late.stderr);
    assert_eq!(nke_tests::tree(&place.world.state()), before);
    place.detached("deny");
}

#[test]
fn killed_on_the_way_out_it_is_all_or_nothing() {
    let place = Place::new();
    let own = place.udp();
    let deny = deny("deny");
    let words = ["detach", "deny", "--cgroup", place.cgroup.path()];
    let attach = || {
        place.attach(&deny, "socket/data-in").ok();
        assert_eq!(opt_in(&own, "deny"), 0);
    };
    attach();
    for nth in 0.. {
        let mut left = nth;
        let killed = trace(&mut place.world.command(&words), |call| {
            let counts = call.changes_the_world();
            let here = counts && left == 0;
            left -= i32::from(counts);
            here
        });
        // What the socket meets is settled before the next command looks.
        let filtered = place.reached(&[&own]) == [false];
        match (place.chains().len(), filtered) {
            (2, true) => assert_eq!(opt_in(&own, "deny"), libc::EEXIST),
            (0, false) => {
                assert_eq!(opt_in(&own, "deny"), libc::ENOPROTOOPT);
                place.is_empty();
                attach();
            }
            other => nke_tests::fail(format!("{other:?}, killed at {nth}")),
        }
        if killed.end == End::Exited(0) {
            assert!(nth > 5, "only {nth} calls change something");
            return;
        }
        assert_eq!(killed.end, End::Killed, "{}", killed.stderr);
    }
}

/// A claim without an attachment is nobody's: the next command takes it away.
#[test]
fn killed_on_the_way_it_is_all_or_nothing() {
    let place = Place::new();
    let own = place.udp();
    let (path, deny) = (place.cgroup.path(), deny("deny"));
    let words = ["attach", &deny, "--cgroup", path, "--opt-in"];
    let words = [&words[..], &["--hook", "socket/data-in"]].concat();
    for nth in 0.. {
        let mut left = nth;
        let killed = trace(&mut place.world.command(&words), |call| {
            let counts = call.changes_the_world();
            let here = counts && left == 0;
            left -= i32::from(counts);
            here
        });
        match place.chains().len() {
            0 => {
                assert_eq!(opt_in(&own, "deny"), libc::ENOPROTOOPT);
                place.is_empty();
            }
            2 => {
                assert_eq!(opt_in(&own, "deny"), 0);
                place.detached("deny");
            }
            chains => nke_tests::fail(format!("{chains} chains, killed at {nth}")),
        }
        if killed.end == End::Exited(0) {
            return;
        }
        assert_eq!(killed.end, End::Killed, "{}", killed.stderr);
    }
}
