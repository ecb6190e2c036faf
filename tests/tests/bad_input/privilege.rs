//! Callers who may not do it.

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use nke_tests::{IFACE, Ran, World, binaries};

use super::world;

/// The user nobody.
const NOBODY: u32 = 65534;

#[test]
fn not_root() {
    let world = world();
    // The command may lie where others than root cannot go.
    let copy = world.directory().join("nke");
    fs::copy(binaries::nke(), &copy).expect("the directory is ours");
    let before = world.standing();
    for words in [
        &["list"][..],
        &["load", "counter"],
        &["unload", "trail1"],
        &["attach", "counter", "-i", "lo"],
        &["detach", "trail1"],
        &["move", "trail1", "--priority", "1"],
        &["replace", "trail1", "counter"],
        &["policy", "drop", "-i", "lo"],
        &["show", "trail1"],
        &["chain"],
        &["filter", "list"],
        &["filter", "add", "-i", "lo", "drop"],
        &["log"],
    ] {
        let mut command = Command::new(&copy);
        world.dress(&mut command);
        command.args(words).uid(NOBODY).gid(NOBODY);
        let error = Ran::of(&mut command).fails("not-root");
        assert_eq!(
            error,
            "nke: host: start: it takes root, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN; run it with sudo\n",
            "of {words:?}"
        );
    }
    world.assert_standing(&before);
    // Help is for everybody.
    let mut command = Command::new(&copy);
    let help = Ran::of(command.arg("--help").uid(NOBODY).gid(NOBODY)).ok();
    assert!(help.stdout.contains("Usage: nke"), "{help:?}");
}

#[test]
fn root_without_power() {
    // In a user namespace of its own, root is root only by name.
    let world = World::new();
    let mut command = Command::new("unshare");
    world.dress(&mut command);
    command
        .args(["--user", "--map-root-user"])
        .arg(binaries::nke());
    command.args(["attach", "counter", "-i", IFACE]);
    let error = Ran::of(&mut command).fails("state");
    let state = world.state().display().to_string();
    assert!(
        error.starts_with(&format!("nke: {state}: mount a bpffs: ")),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(!world.is_mounted());
}
