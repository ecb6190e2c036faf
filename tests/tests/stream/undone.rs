//! What is left when a chain, its cgroup or the command that makes it goes.

use nke_tests::{Call, Deadline, End, Objects, World, trace, tree};

use crate::{BOTH, IN, OUT, UNSEEN, chains, object, peers::Peers};

#[test]
fn nothing_is_left_once_the_connections_are_closed() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        peers.nke(hook, &["attach", &object(1)]).ok();
        peers.nke(hook, &["attach", &object(2)]).ok();
    }
    let mut connection = peers.connect();
    let objects = Objects::pinned_below(&world.state());
    assert_eq!(connection.trail(), [1, 2, 1, 2]);
    for hook in BOTH {
        peers.nke(hook, &["detach", "stream1"]).ok();
        peers.nke(hook, &["detach", "stream2"]).ok();
    }
    assert_eq!(tree(&world.state()), [] as [&str; 0]);
    assert!(!world.is_mounted());
    assert_eq!(connection.trail(), UNSEEN);
    drop(connection);
    objects.assert_gone();
}

#[test]
fn a_cgroup_that_is_removed() {
    let world = World::new();
    let peers = Peers::new(&world);
    for hook in BOTH {
        peers.nke(hook, &["attach", &object(1)]).ok();
    }
    let mut connection = peers.connect();
    let objects = Objects::pinned_below(&world.state());
    peers.cgroup.remove();
    // The kernel keeps what is attached to it for as long as sockets of it are open.
    let shown = || world.nke(&["chain"]).ok().stdout;
    assert!(shown().contains("of cgroup:["), "{}", shown());
    assert_eq!(connection.trail(), [1, 1]);
    drop(connection);
    assert!(Deadline::generous().until(|| shown() == "no chain\n"));
    assert_eq!(tree(&world.state()), [] as [&str; 0]);
    objects.assert_gone();
}

/// Kills a command at each of its calls that may change something, one after the other.
fn killed_everywhere(hook: &str, attaches: bool) {
    let world = World::new();
    let peers = Peers::new(&world);
    let cgroup = peers.cgroup.path();
    let object = object(1);
    let place = ["--cgroup", cgroup, "--hook", hook];
    let attach = [&["attach", &object], place.as_slice()].concat();
    let detach = [&["detach", "stream1"], place.as_slice()].concat();
    for kills in 0.. {
        if !attaches {
            world.nke(&attach).ok();
        }
        let mut left = kills;
        let words = if attaches { &attach } else { &detach };
        let traced = trace(&mut world.command(words), |call: &Call| {
            let counts = call.changes_the_world();
            let now = counts && left == 0;
            left -= usize::from(counts && !now);
            now
        });
        // Before the next command sweeps, and after.
        let mut early = peers.connect();
        let seen = early.trail();
        let stands = !chains(&peers).is_empty();
        let late = peers.connect().trail();
        assert_eq!(
            late.is_empty(),
            !stands,
            "{hook}, killed at {kills}: {late:?}"
        );
        assert!(
            !stands || seen == late,
            "{hook}, killed at {kills}: {seen:?} and then {late:?}"
        );
        // Whoever joined in between goes on.
        early.trail();
        if stands {
            world.nke(&detach).ok();
        }
        assert_eq!(early.trail(), UNSEEN);
        assert_eq!(tree(&world.state()), [] as [&str; 0]);
        if traced.end != End::Killed {
            assert_eq!(
                (traced.end, stands),
                (End::Exited(0), attaches),
                "{}",
                traced.stderr
            );
            assert!(kills > 5, "{kills}");
            break;
        }
    }
}

#[test]
fn a_killed_attach_in() {
    killed_everywhere(IN, true);
}

#[test]
fn a_killed_attach_out() {
    killed_everywhere(OUT, true);
}

#[test]
fn a_killed_detach_in() {
    killed_everywhere(IN, false);
}

#[test]
fn a_killed_detach_out() {
    killed_everywhere(OUT, false);
}
