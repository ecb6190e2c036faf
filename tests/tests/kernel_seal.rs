//! The kernel's part of the seal. It is for good, so all of this is for a machine that may be spoilt:
//! `cargo xtask vm`. An attacker here is root, and may do anything but reboot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nke_tests::{
    Feature, Hook, Objects, Ran, World, binaries, disposable, fail, kernel, trail, tree,
};

/// Whether programs at LSM hooks are heard.
fn has_lsm() -> bool {
    let active = fs::read_to_string("/sys/kernel/security/lsm").expect("securityfs is mounted");
    active.trim().split(',').any(|lsm| lsm == "bpf")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

/// A command that must be refused by the kernel, and might well succeed without a seal.
#[track_caller]
fn refused(program: &str, words: &[&str]) {
    let ran = Ran::of(Command::new(program).args(words));
    let refused = ["not permitted", "ermission denied", "must be superuser"];
    let said = refused
        .iter()
        .any(|words| ran.stderr.contains(words) || ran.stdout.contains(words));
    if ran.code == Some(0) || !said {
        fail(format!("`{}` should be refused:\n{ran:#?}", ran.words));
    }
}

/// All that is pinned below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let within = entries.map(|entry| (entry.path(), entry.file_type().expect("it is there")));
    let within = within.map(|(path, kind)| match kind {
        kind if kind.is_dir() => files(&path),
        kind if kind.is_file() => vec![path],
        _ => vec![],
    });
    within.flatten().collect()
}

#[track_caller]
fn succeeds(program: &str, words: &[&str]) {
    let _: Ran = Ran::of(Command::new(program).args(words)).ok();
}

/// Somebody else's tool loads somebody else's object.
fn load(world: &World, name: &str) -> (String, PathBuf) {
    let pins = world.reference().join(name);
    (trail::object(9), pins)
}

#[test]
fn without_it_nke_alone_refuses() {
    if !disposable() || has_lsm() {
        return;
    }
    let world = World::new();
    let sealed = world.nke(&["seal", "1", "--yes"]).ok();
    let line = "nke: seal: only nke itself refuses: ";
    assert!(sealed.stderr.starts_with(line), "{}", sealed.stderr);
    assert_eq!(sealed.stderr.lines().count(), 1, "{}", sealed.stderr);
    assert!(
        sealed
            .stdout
            .contains("only nke itself refuses, not the kernel")
    );
    let shown: serde_json::Value = world.nke(&["seal", "--json"]).json();
    assert_eq!((&shown["level"], &shown["kernel"]), (&1.into(), &0.into()));
    let (object, pins) = load(&world, "others");
    succeeds("bpftool", &["prog", "loadall", &object, path(&pins)]);
}

#[test]
fn it_refuses_others_level_by_level() {
    if !disposable() || !has_lsm() {
        return;
    }
    let world = World::new();
    world.on(&["attach", &trail::object(1)]).ok();
    world.nke(&["load", &trail::object(2)]).ok();
    // All of this works on an open host, or its refusal would prove nothing.
    let (object, pins) = load(&world, "before");
    succeeds("bpftool", &["prog", "loadall", &object, path(&pins)]);

    let sealed = world.nke(&["seal", "1", "--yes"]).ok();
    assert_eq!(sealed.stderr, "");
    assert!(
        sealed
            .stdout
            .contains("the kernel refuses others too, at level 1"),
        "{}",
        sealed.stdout
    );
    no_new_code(&world);
    nothing_undoes_it(&world);
    the_command_is_safe(&world);

    let tc = !Feature::Tcx.here();
    world.at(Hook::In, &["attach", "trail2"]).ok();
    let sealed = world.nke(&["seal", "2", "--yes"]).ok();
    assert_eq!(sealed.stderr, "");
    assert!(
        sealed
            .stdout
            .contains("the kernel refuses others too, at level 2"),
        "{}",
        sealed.stdout
    );
    no_change(&world, tc);
    nothing_undoes_it(&world);
    the_command_is_safe(&world);
    what_vanishes_is_no_trouble(&world);
}

/// Level 1: nke goes on placing what is loaded, and nobody loads anything else.
fn no_new_code(world: &World) {
    let (object, pins) = load(world, "after");
    refused("bpftool", &["prog", "loadall", &object, path(&pins)]);
    world.on(&["attach", "trail2"]).ok();
    world.assert_trail(Hook::Xdp, &[1, 2]);
    world.on(&["detach", "trail2"]).ok();
    world.assert_trail(Hook::Xdp, &[1]);
    let error = world.nke(&["load", &trail::object(3)]).fails("sealed");
    assert!(error.contains("level 1"), "{error}");
    // The record of the seal is only a hint.
    fs::remove_file("/run/nke.sealed-1").expect("root can");
    let _: String = world.nke(&["load", &trail::object(3)]).fails("sealed");
    let _: String = world.nke(&["seal", "0"]).fails("sealed");
    let shown: serde_json::Value = world.nke(&["seal", "--json"]).json();
    assert_eq!((&shown["level"], &shown["kernel"]), (&1.into(), &1.into()));
}

/// The state, with the seal's own pins in it, is there to stay.
fn nothing_undoes_it(world: &World) {
    let before = tree(&world.state());
    let state = world.state();
    let (state, seal) = (path(&state), world.state().join("seal"));
    for pin in fs::read_dir(seal.join("1"))
        .expect("the pins are there")
        .flatten()
    {
        refused("rm", &[path(&pin.path())]);
    }
    refused("rm", &["-r", path(&world.state().join("chains"))]);
    refused("mv", &[path(&seal), path(&world.state().join("gone"))]);
    refused("mkdir", &[path(&world.state().join("extensions/mine"))]);
    refused(
        "ln",
        &[
            "-s",
            "{}",
            path(&world.state().join("extensions/trail2/mine")),
        ],
    );
    refused("umount", &[state]);
    refused("umount", &["-l", state]);
    // What carries it, here and by way of a peer.
    let carrier = std::env::temp_dir();
    let carrier = path(&carrier);
    refused("umount", &["-l", carrier]);
    let peer = ["-m", "--propagation", "shared", "umount", "-l", carrier];
    refused("unshare", &peer);
    refused("mount", &["-t", "tmpfs", "none", state]);
    let within = world.state().join("extensions");
    refused("mount", &["--bind", "/proc", path(&within)]);
    fs::create_dir_all("/mnt/aside").expect("root can");
    refused("mount", &["--move", carrier, "/mnt/aside"]);
    // Others mount and unmount as ever.
    succeeds("mount", &["-t", "tmpfs", "none", "/mnt/aside"]);
    succeeds("umount", &["/mnt/aside"]);
    assert_eq!(tree(&world.state()), before);
    world.assert_trail(Hook::Xdp, &[1]);
}

/// Nobody gets into the process that is trusted, or passes for it.
fn the_command_is_safe(world: &World) {
    let nke = path(binaries::nke());
    refused("sh", &["-c", &format!("echo more >> {nke}")]);
    refused("rm", &[nke]);
    let (evil, copy) = (
        world.directory().join("evil"),
        world.directory().join("nke"),
    );
    fs::write(&evil, "#!/bin/sh\n").expect("the directory is ours");
    refused("mv", &[path(&evil), nke]);
    refused("strace", &["-f", nke, "list"]);
    fs::copy(nke, &copy).expect("the directory is ours");
    let state = world.state();
    let words = ["--state", path(&state), "unload", "trail2"];
    let ran = Ran::of(Command::new(copy).args(words));
    let sealed = Ran::of(Command::new(nke).args(["seal", "--json"])).json::<serde_json::Value>();
    // At level 2 that is what is said first.
    let name = if sealed["level"] == 2 {
        "sealed"
    } else {
        "sealed-out"
    };
    let _: String = ran.fails(name);
    let other = world.directory().join("other");
    let words = ["--state", path(&other), "list"];
    let _: String = Ran::of(Command::new(nke).args(words)).fails("sealed-out");
}

/// Level 2: nobody changes what programs run, by whatever handle.
fn no_change(world: &World, clsact: bool) {
    let objects = Objects::pinned_below(&world.state());
    let chains = world.state().join("chains");
    let below = |name: &str| {
        files(&chains)
            .into_iter()
            .filter(|path| path.ends_with(name))
            .collect::<Vec<_>>()
    };
    let links = below("link");
    assert!(!links.is_empty(), "no chain has a link");
    for link in links {
        refused("bpftool", &["link", "detach", "pinned", path(&link)]);
    }
    let pointers = below("next");
    assert!(pointers.len() >= 4, "{pointers:?}");
    for next in pointers {
        let id = kernel::pinned_id(&next).expect("it is pinned").to_string();
        let key = ["key", "0", "0", "0", "0"];
        refused(
            "bpftool",
            &[&["map", "delete", "pinned", path(&next)][..], &key].concat(),
        );
        refused(
            "bpftool",
            &[&["map", "delete", "id", &id][..], &key].concat(),
        );
    }
    let netns = world.inside.name();
    let before = world.reference().join("before/trail_xdp");
    let foreign = [
        "-n",
        netns,
        "link",
        "set",
        "eth0",
        "xdpgeneric",
        "pinned",
        path(&before),
    ];
    let ran = Ran::of(Command::new("ip").args(foreign));
    assert_ne!(ran.code, Some(0), "{ran:?}");
    if clsact {
        refused(
            "tc",
            &["-n", netns, "qdisc", "del", "dev", "eth0", "clsact"],
        );
        refused(
            "tc",
            &["-n", netns, "filter", "del", "dev", "eth0", "ingress"],
        );
    }
    refused("tc", &["-n", netns, "qdisc", "add", "dev", "lo", "clsact"]);
    // What is not a chain's is free.
    succeeds(
        "tc",
        &["-n", netns, "qdisc", "add", "dev", "lo", "root", "pfifo"],
    );
    let _: String = world.on(&["detach", "trail1"]).fails("sealed");
    let _: String = world.nke(&["seal", "1", "--yes"]).fails("sealed");
    for words in [
        &["list"][..],
        &["chain"],
        &["show", "trail1"],
        &["seal"],
        &["map", "--help"],
    ] {
        world.nke(words).ok();
    }
    assert_eq!(objects.alive(), objects);
    world.assert_trail(Hook::Xdp, &[1]);
}

/// An interface can go; nke then shows what is left.
fn what_vanishes_is_no_trouble(world: &World) {
    world.inside.ip("link del eth0");
    assert_eq!(world.nke(&["chain"]).ok().stderr, "");
    assert_eq!(world.nke(&["list"]).ok().stderr, "");
}
