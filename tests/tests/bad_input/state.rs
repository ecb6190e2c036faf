//! State directories that cannot be trusted or used, and bpffs that are not nke's.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
    process::{Command, Stdio},
};

use nke_tests::{Hook, Ran, World, binaries, fail, trail};

/// A command with this state directory must fail with exactly this line, and leave nothing
/// mounted there.
#[track_caller]
fn unusable(world: &World, state: &str, line: &str) {
    let device = || fs::metadata(state).map(|found| found.dev()).ok();
    let before = device();
    for words in [&["list"][..], &world.target(&["attach", "counter"])] {
        let error = world
            .nke(&[&["--state", state], words].concat())
            .fails_somehow()
            .1;
        assert_eq!(error, format!("nke: {line}\n"), "of {words:?}");
    }
    assert_eq!(device(), before, "something was mounted at {state}");
}

#[test]
fn directories_that_others_could_have_prepared() {
    let world = World::new();
    let state = world.directory().join("shared");
    fs::create_dir(&state).expect("the directory is ours");
    let path = state.display().to_string();
    let line = format!(
        "{path}: state: it is a link, or others than root can write to it; remove it, or name \
         another directory with --state"
    );
    let mode = |mode| {
        fs::set_permissions(&state, Permissions::from_mode(mode)).expect("it is ours");
    };
    for open in [0o777, 0o775, 0o757, 0o1777, 0o720] {
        mode(open);
        unusable(&world, &path, &line);
    }
    mode(0o755);
    chown(&state, Some(65534), None).expect("root may");
    unusable(&world, &path, &line);
    chown(&state, Some(0), None).expect("root may");

    let link = world.directory().join("link").display().to_string();
    symlink(&state, &link).expect("the directory is ours");
    unusable(&world, &link, &line.replace(&path, &link));
    unusable(&world, &format!("{link}/"), &line.replace(&path, &link));

    world.nke(&["--state", &path, "list"]).ok();
    // It can become unsafe later, too.
    world.on(&["attach", &trail::object(1)]).ok();
    fs::set_permissions(world.state(), Permissions::from_mode(0o777)).expect("root may");
    let ours = world.state().display().to_string();
    let error = world.nke(&["list"]).fails_somehow().1;
    assert_eq!(error, format!("nke: {}\n", line.replace(&path, &ours)));
    fs::set_permissions(world.state(), Permissions::from_mode(0o700)).expect("root may");
    world.assert_trail(Hook::Xdp, &[1]);
    assert_eq!(world.chains().len(), 1);
}

#[test]
fn paths_that_are_no_directories() {
    let world = World::new();
    let remedy = "give a directory that root can mount a bpffs on with --state";
    let file = world.directory().join("file").display().to_string();
    fs::write(&file, "").expect("the directory is ours");
    for (path, stage, cause) in [
        (file.clone(), "create", "File exists (os error 17)"),
        (
            format!("{file}/x"),
            "create",
            "Not a directory (os error 20)",
        ),
        (
            "/proc/nope".to_owned(),
            "create",
            "No such file or directory (os error 2)",
        ),
        (
            "/dev/null".to_owned(),
            "create",
            "File exists (os error 17)",
        ),
        (
            format!("/{}", "x".repeat(300)),
            "create",
            "File name too long (os error 36)",
        ),
    ] {
        unusable(
            &world,
            &path,
            &format!("{path}: {stage}: {cause}; {remedy}"),
        );
    }
}

#[test]
fn a_directory_is_made_whatever_the_umask() {
    let world = World::new();
    let state = world.directory().join("new/state");
    let run = |verb: &str| {
        let script = format!("umask 0; exec {} {verb}", binaries::nke().display());
        let mut command = Command::new("sh");
        world.dress(&mut command);
        command.env("NKE_STATE", &state);
        Ran::of(command.args(["-c", &script])).ok();
    };
    run("load counter");
    run("unload counter");
    let made = fs::metadata(&state).expect("it was made");
    assert_eq!(made.mode() & 0o022, 0, "{:o}", made.mode());
}

#[test]
fn a_command_that_changes_nothing_leaves_no_directory() {
    let world = World::new();
    let state = world.directory().join("clean");
    let text = state.display().to_string();
    let nke = |words: &[&str]| world.nke(&[&["--state", &text], words].concat());
    nke(&["list"]).ok();
    assert!(!state.exists());
    drop(nke(&["unload", "counter"]).fails("not-loaded"));
    assert!(!state.exists());
    // One that was there stays, and one that is needed.
    nke(&["load", "counter"]).ok();
    nke(&["list"]).ok();
    nke(&["unload", "counter"]).ok();
    nke(&["list"]).ok();
    assert_eq!(nke_tests::tree(&state), [""; 0]);
    assert!(state.is_dir());
}

#[test]
fn many_that_leave_no_directory_are_in_nobodys_way() {
    let world = World::new();
    let state = world.directory().join("crowded");
    let text = state.display().to_string();
    let many = |words: &[&str]| {
        let words = [&["--state", &text], words].concat();
        let children: Vec<_> = (0..8)
            .map(|_| {
                let mut command = world.command(&words);
                command.stdout(Stdio::null()).stderr(Stdio::piped());
                command.spawn().expect("the command can be run")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("it ends");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{error}");
        }
    };
    for _ in 0..10 {
        many(&["list"]);
    }
    many(&["load", "counter"]);
    let nke = |words: &[&str]| world.nke(&[&["--state", &text], words].concat()).ok();
    assert!(nke(&["list"]).stdout.contains("counter"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    let layers: Vec<_> = mounts.lines().filter(|line| line.contains(&text)).collect();
    assert_eq!(layers.len(), 1, "{layers:#?}");
    many(&["unload", "counter"]);
    // Each of them may have kept the mount busy for the others: the next command takes it away.
    nke(&["list"]);
    assert_eq!(nke_tests::tree(&state), [""; 0]);
}

#[test]
fn a_bpffs_of_others_is_not_taken_away() {
    let world = World::new();
    let others = world.reference();
    fs::set_permissions(&others, Permissions::from_mode(0o700)).expect("root may");
    let pin = others.join("theirs");
    let object = trail::object(7);
    let loaded = Command::new("bpftool")
        .args(["prog", "load", &object])
        .arg(&pin)
        .status();
    assert!(loaded.is_ok_and(|status| status.success()));
    // The whole of it, and a directory in it.
    for state in [others.clone(), others.join("nke")] {
        let state = state.display().to_string();
        let nke = |words: &[&str]| world.nke(&[&["--state", &state], words].concat()).ok();
        nke(&["list"]);
        nke(&world.target(&["attach", &trail::object(1)]));
        world.assert_trail(Hook::Xdp, &[1]);
        nke(&["detach", "trail1"]);
        assert!(pin.exists(), "their program was unpinned");
        assert_eq!(
            left(Path::new(&state)),
            [""; 0],
            "nke leaves none of its own"
        );
    }
}

/// What nke has left in a directory.
fn left(directory: &Path) -> Vec<String> {
    let lines = nke_tests::tree(directory).into_iter();
    let others = ["theirs", "nke/", "progs.debug", "maps.debug"];
    lines
        .filter(|line| !others.contains(&line.as_str()))
        .collect()
}

#[test]
fn state_that_somebody_has_broken() {
    let world = World::new();
    world.on(&["attach", &trail::object(1)]).ok();
    world.on(&["attach", "counter"]).ok();
    // What is not nke's is left alone, and in nobody's way.
    fs::create_dir_all(world.state().join("chains/interface-xdp/notes")).expect("root may");
    fs::create_dir_all(world.state().join("chains/interface-nope/1-1")).expect("root may");
    fs::create_dir(world.state().join("notes")).expect("root may");
    assert_eq!(world.list().len(), 2);
    assert_eq!(world.chains().len(), 1);

    // Whatever is missing: one line, no panic, and the packets' way is as it was.
    let pins: Vec<_> = nke_tests::tree(&world.state())
        .into_iter()
        .filter(|line| !line.ends_with('/') && !line.contains("notes") && !line.contains(".debug"))
        .map(|line| line.split(" -> ").next().unwrap_or_default().to_owned())
        .collect();
    for pin in pins {
        let world = World::new();
        world.on(&["attach", &trail::object(1)]).ok();
        world.on(&["attach", "counter"]).ok();
        // The ids are others here: take the pin at the same place of the tree.
        break_one(&world, &pin);
    }
}

/// Removes a pin like this one, and runs every reading command.
fn break_one(world: &World, like: &str) {
    let shape = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    let tree = nke_tests::tree(&world.state());
    let pin = tree
        .iter()
        .map(|line| line.split(" -> ").next().unwrap_or_default())
        .find(|line| shape(line) == shape(like));
    let pin = pin.unwrap_or_else(|| fail(format!("no {like} in {tree:?}")));
    fs::remove_file(world.state().join(pin)).expect("root may");
    for words in [
        &["list"][..],
        &["chain"],
        &["show", "counter"],
        &["filter", "list"],
    ] {
        let ran = world.nke(words);
        if ran.code != Some(0) {
            let error = ran.fails_somehow().1;
            assert_eq!(error.lines().count(), 1, "without {pin}: {error}");
        }
    }
}
