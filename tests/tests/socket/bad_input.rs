//! What is no cgroup, or was one: one line that says so, and nothing is changed.

use std::{fs, os::unix::fs::MetadataExt as _};

use nke_tests::{Cgroup, Deadline, Objects, stranger, trail};

use crate::place::{Place, deny, errno, inside, mark, watch};

#[test]
fn places_that_are_no_cgroup() {
    let place = Place::new();
    place.attach("socket/connect", &watch("stands"));
    let plain = place.world.directory().display().to_string();
    let file = format!("{plain}/file");
    fs::write(&file, "").expect("the directory is ours");
    let control = format!("{}/cgroup.procs", place.cgroup.path());
    let missing = format!("{}/missing", place.cgroup.path());
    let older = cgroup_of_version_1();
    let mut cases = vec![
        (plain.as_str(), "it is not a cgroup"),
        (&file, "it is not a cgroup"),
        ("/dev/null", "it is not a cgroup"),
        ("/proc/self/ns/cgroup", "it is not a cgroup"),
        (&control, "it is a file of a cgroup, not the cgroup"),
        (&missing, "No such file or directory (os error 2)"),
    ];
    if let Some(older) = &older {
        cases.push((older, "it is of cgroup version 1"));
    }
    let deny = deny();
    for (path, cause) in cases {
        let line = format!(
            "nke: cgroup {path}: open: {cause}; give the directory of a cgroup of version 2\n"
        );
        for words in [
            &["attach", &deny, "--hook", "socket/connect"][..],
            &["detach", "stands", "--hook", "socket/connect"],
            &["move", "stands", "--priority", "7"],
            &["replace", "stands", &deny, "--hook", "socket/connect4"],
            &["policy", "drop", "--hook", "socket/connect4"],
            &["chain"],
        ] {
            let words = [words, &["--cgroup", path]].concat();
            place.world.refuses(&words, &line);
        }
    }
    assert_eq!(place.tallies("socket/connect4"), [(0, 0)]);
}

/// A hierarchy of the first version, where the host has one.
fn cgroup_of_version_1() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup "))?;
    mount.split(' ').nth(4).map(str::to_owned)
}

#[test]
fn extensions_without_a_program_for_it() {
    let place = Place::new();
    let cgroup = place.cgroup.path();
    let xdp = trail::object(1);
    let words = ["attach", &xdp, "--cgroup", cgroup];
    let error = place.world.nke(&words).fails("no-program");
    assert_eq!(
        error,
        "nke: trail1: attach: it has no program for a cgroup; it has trail_xdp (xdp), trail_tc \
         (tc); name an interface with -i\n"
    );
    let hook = [&words[..], &["--hook", "socket/connect"]].concat();
    let error = place.world.nke(&hook).fails("no-program");
    assert_eq!(
        error,
        "nke: trail1: attach: it has no program for socket/connect4; it has trail_xdp (xdp), \
         trail_tc (tc); name an interface with -i\n"
    );
    // The other way round.
    let theirs = stranger::object("undo.c", "theirs", &[]);
    let error = place.world.on(&["attach", &theirs]).fails("no-program");
    assert_eq!(
        error,
        "nke: theirs: attach: it has no program for an interface; it has theirs4 \
         (cgroup/connect4), theirs6 (cgroup/connect6); name a cgroup with --cgroup\n"
    );
    // A hook of another layer.
    let words = ["attach", &deny(), "--hook", "ip/in", "--cgroup", cgroup];
    let error = place.world.nke(&words).fails("no-program");
    assert!(error.contains("it has no program for ip/in"), "{error}");
    assert!(!place.world.is_mounted());
}

/// Values of such maps are kept with the program that is attached, which no node is.
#[test]
fn cgroup_storage_of_the_old_kind() {
    let place = Place::new();
    for kind in ["CGROUP_STORAGE", "PERCPU_CGROUP_STORAGE"] {
        let flag = format!("-DSTORAGE=BPF_MAP_TYPE_{kind}");
        let object = stranger::object("storage.c", "storage", &[&flag]);
        for words in [
            &["load", &object][..],
            &["attach", &object, "--cgroup", place.cgroup.path()],
        ] {
            let line = "nke: storage: load: map store is cgroup storage of the old kind, which \
                        chains cannot have; use BPF_MAP_TYPE_CGRP_STORAGE (Linux 6.2) or \
                        BPF_MAP_TYPE_SK_STORAGE\n";
            place.world.refuses(words, line);
        }
    }
    assert!(!place.world.is_mounted());
}

#[test]
fn a_cgroup_that_is_removed_leaves_nothing() {
    let place = Place::new();
    for hook in ["socket/connect", "socket/create", "socket/data-out"] {
        place.guard(hook, &deny());
    }
    drop(place.udp(false));
    let objects = Objects::pinned_below(&place.world.state());
    let path = place.cgroup.path();
    place.cgroup.remove();
    let line = format!(
        "nke: cgroup {path}: open: No such file or directory (os error 2); give the directory of \
         a cgroup of version 2\n"
    );
    let detach = ["detach", "deny", "--hook", "socket/connect"];
    assert_eq!(place.nke(&detach).fails_somehow().1, line);
    // The kernel takes the links off a moment later.
    let gone = || place.world.list().is_empty();
    assert!(Deadline::generous().until(gone));
    assert!(!place.world.is_mounted());
    objects.assert_gone();
}

/// Its sockets keep a removed cgroup, and their chains with them.
#[test]
fn a_removed_cgroup_lasts_as_long_as_its_sockets() {
    let place = Place::new();
    place.guard("socket/connect4", &deny());
    let objects = Objects::pinned_below(&place.world.state());
    let (free, marked) = (place.udp(false), place.udp(false));
    mark(&marked);
    let id = fs::metadata(place.cgroup.path())
        .expect("it is there")
        .ino();
    place.cgroup.remove();
    free.connect(inside(false, 7)).expect("let through");
    assert_eq!(errno(marked.connect(inside(false, 7))), libc::EPERM);
    let text = place.world.nke(&["chain"]).ok().stdout;
    let heading = format!("socket/connect4 of cgroup:[{id}], cgroup, policy pass\n");
    assert!(text.starts_with(&heading), "{text}");
    place.world.nke(&["detach", "first"]).ok();
    assert_eq!(errno(marked.connect(inside(false, 7))), libc::EPERM);
    drop((free, marked));
    let gone = || place.world.chains().is_empty();
    assert!(Deadline::generous().until(gone));
    assert!(!place.world.is_mounted());
    objects.assert_gone();
}

/// A new cgroup with an old path is another cgroup.
#[test]
fn a_cgroup_that_was_made_again_is_another() {
    let place = Place::new();
    let parent = &place.cgroup;
    let child = parent.child();
    let path = child.path().to_owned();
    let attach = [
        "attach",
        &watch("first"),
        "--hook",
        "socket/create",
        "--cgroup",
        &path,
    ];
    place.world.nke(&attach).ok();
    drop(child);
    let child = parent.child();
    assert_eq!(child.path(), path);
    let text = place.world.nke(&["chain", "--cgroup", &path]).ok().stdout;
    assert_eq!(text, "no chain\n");
    place.world.nke(&attach).ok();
    drop(child.enter(&place.world.inside, || {
        std::net::UdpSocket::bind("127.0.0.1:0")
    }));
    let text = place.world.nke(&["chain", "--cgroup", &path]).ok().stdout;
    assert!(text.contains("socket/create of"), "{text}");
    place
        .world
        .nke(&["detach", "first", "--cgroup", &path])
        .ok();
    drop(child);
}

/// What one cgroup's sockets do is no concern of another's.
#[test]
fn a_cgroup_beside_is_not_touched() {
    let place = Place::new();
    place.guard("socket/create", &deny());
    let beside = Cgroup::new();
    let udp = || std::net::UdpSocket::bind("127.0.0.1:0");
    beside.enter(&place.world.inside, udp).expect("free");
    assert_eq!(place.tallies("socket/create"), [(0, 0); 3]);
    place.enter(udp).expect("let through");
    assert_eq!(place.tallies("socket/create"), [(1, 0); 3]);
}
