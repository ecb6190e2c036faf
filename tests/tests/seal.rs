//! The seal: levels of it, and that nothing gets round it. Every command here sees a `/run` of the
//! test's own, and nke alone is to refuse: the machine itself is never sealed.

use std::{ffi::OsStr, fs, process::Command};

use nke_tests::{End, Hook, Ran, Traced, World, binaries, trace, trail};

const SEALED: &str = "nke: host: seal: it is sealed at level";

/// A world whose commands see a directory of the test's own at `/run`.
struct Host {
    world: World,
}

impl Host {
    fn new() -> Self {
        let world = World::new();
        fs::create_dir_all(world.directory().join("run/netns")).expect("the directory is ours");
        Self { world }
    }

    /// A command in a mount namespace of its own.
    fn command(&self, program: &OsStr, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        self.world.dress(&mut command);
        // Network namespaces have their names in /run.
        let script = "mount --rbind /run/netns run/netns && mount --rbind run /run && exec \"$@\"";
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(program).args(words);
        let verb = words.iter().position(|word| *word == "seal");
        let level = verb.and_then(|verb| words.get(verb + 1));
        if level.is_some_and(|level| level.parse::<u8>().is_ok()) {
            command.arg("--nke-only");
        }
        command
    }

    fn nke(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.command(binaries::nke().as_ref(), words))
    }

    fn on(&self, words: &[&str]) -> Ran {
        self.nke(&self.world.target(words))
    }

    /// Every verb that changes something, refused.
    fn refuses_all(&self, words: &[&[&str]]) {
        let before = self.world.standing();
        for words in words {
            let error = self.nke(words).fails("sealed");
            assert!(error.starts_with(SEALED), "{words:?}: {error}");
        }
        self.world.assert_standing(&before);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What leaked out of the namespace would have sealed the machine.
        for level in ["1", "2"] {
            let path = format!("/run/nke.sealed-{level}");
            assert!(!fs::exists(&path).unwrap_or(true), "{path} leaked");
        }
    }
}

#[test]
fn an_open_host() {
    let host = Host::new();
    let shown = host.nke(&["seal"]).ok().stdout;
    assert_eq!(shown, "seal level 0: everything can change\n");
    host.nke(&["seal", "0"]).ok();
    host.on(&["attach", &trail::object(1)]).ok();
    host.world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn it_is_confirmed_or_not_done() {
    let host = Host::new();
    let said = host.nke(&["seal", "1"]).fails("not-confirmed");
    assert!(said.contains("Nothing but a reboot lifts it"), "{said}");
    let shown: serde_json::Value = host.nke(&["seal", "--json"]).json();
    assert_eq!(shown["level"], 0);
    let _: String = host.nke(&["seal", "3", "--yes"]).fails("usage");
    let _: String = host.nke(&["seal", "--yes"]).fails("usage");
}

#[test]
fn level_1_takes_no_new_code() {
    let host = Host::new();
    let (loaded, new) = (trail::object(1), trail::object(2));
    host.on(&["attach", &loaded]).ok();
    let newer = host.world.directory().join("trail1.o");
    fs::copy(&new, &newer).expect("it can be copied");
    let newer = newer.to_str().expect("a path of ours");
    let shown = host.nke(&["seal", "1", "--yes"]).ok().stdout;
    assert!(shown.starts_with("seal level 1: "), "{shown}");
    host.refuses_all(&[
        &["load", &new],
        &host.world.target(&["attach", &new]),
        &host.world.target(&["replace", "trail1", &new]),
        &["upgrade", "--force", newer],
        &["seal", "0"],
    ]);
    // What is loaded can still be moved about, and taken away.
    host.nke(&["load", "trail1"]).ok();
    host.on(&["attach", "trail1", "--hook", "interface/out"])
        .ok();
    host.on(&["detach", "trail1", "--hook", "interface/xdp"])
        .ok();
    host.nke(&["seal", "1"]).ok();
}

#[test]
fn level_2_takes_no_change_at_all() {
    let host = Host::new();
    let (loaded, new) = (trail::object(1), trail::object(2));
    host.on(&["attach", &loaded]).ok();
    host.on(&["attach", "packet-filter", "--hook", "interface/in"])
        .ok();
    host.nke(&["seal", "2", "--yes"]).ok();
    host.refuses_all(&[
        &["load", &new],
        &["load", "trail1"],
        &["unload", "trail1"],
        &host.world.target(&["attach", &new]),
        &["detach", "trail1"],
        &["move", "trail1", "--priority", "1"],
        &["replace", "trail1", &new],
        &host
            .world
            .target(&["policy", "drop", "--hook", "interface/xdp"]),
        &host.world.target(&["filter", "add", "drop"]),
        &["seal", "1", "--yes"],
        &["seal", "0"],
    ]);
    // Looking is allowed, and it goes on filtering.
    for words in [
        &["list"][..],
        &["chain"],
        &["show", "trail1"],
        &["filter", "list"],
        &["seal"],
    ] {
        host.nke(words).ok();
    }
    host.world.assert_trail(Hook::Xdp, &[1]);
}

/// FreeBSD's securelevel is the kernel's; a level that each state directory had would be left by
/// naming another.
#[test]
fn another_state_directory_is_no_way_round() {
    let host = Host::new();
    host.nke(&["seal", "2", "--yes"]).ok();
    let other = host.world.directory().join("other");
    let other = other.to_str().expect("a path of ours");
    let words = ["--state", other, "load", &trail::object(1)];
    let error = host.nke(&words).fails("sealed");
    assert!(error.starts_with(SEALED), "{error}");
}

/// A host whose trail1 was upgraded, and that waits to be confirmed.
fn undecided() -> Host {
    let host = Host::new();
    host.on(&["attach", &trail::object(1)]).ok();
    let newer = host.world.directory().join("trail1.o");
    fs::copy(trail::object(2), &newer).expect("it can be copied");
    let newer = newer.to_str().expect("a path of ours");
    host.nke(&["upgrade", "--force", newer, "--confirm", "600"])
        .ok();
    host
}

/// Sealed, it could neither go back nor be confirmed.
#[test]
fn what_waits_for_its_confirmation_is_decided_first() {
    let host = undecided();
    for level in ["1", "2"] {
        let error = host.nke(&["seal", level, "--yes"]).fails("unconfirmed");
        assert!(
            error.starts_with("nke: upgrade of trail1: seal: it is not confirmed yet; "),
            "{error}"
        );
    }
    host.nke(&["seal", "0"]).ok();
    host.nke(&["confirm"]).ok();
    host.nke(&["seal", "2", "--yes"]).ok();
    host.world.assert_trail(Hook::Xdp, &[2]);
}

/// The seal is the host's, and who sealed it was looking at another state.
#[test]
fn what_waits_elsewhere_stays_as_it_is() {
    let host = undecided();
    host.world.kill_timer();
    let other = host.world.directory().join("other");
    let other = other.to_str().expect("a path of ours");
    host.nke(&["--state", other, "seal", "2", "--yes"]).ok();
    host.world.set_deadline(0);
    for words in [&["confirm"][..], &["rollback", "trail1"]] {
        let error = host.nke(words).fails("sealed");
        assert!(error.starts_with(SEALED), "{error}");
    }
    let text = host.nke(&["list"]).ok().stdout;
    let told =
        "upgrade of trail1 is not confirmed, and stays: the host is sealed against every change\n";
    assert!(text.ends_with(told), "{text}");
    let shown: serde_json::Value = host.nke(&["show", "trail1", "--json"]).json();
    assert_eq!(shown["confirm"]["state"], "sealed");
    assert!(host.world.timers().is_empty(), "it is no use to sleep");
    host.world.assert_trail(Hook::Xdp, &[2]);
}

/// The record of a level is made whole by one system call: a killed command leaves it or none.
#[test]
fn killed_at_each_step() {
    let host = Host::new();
    let level = || host.nke(&["seal", "--json"]).json::<serde_json::Value>()["level"].clone();
    let changes = |traced: &Traced| {
        let calls = traced.calls.iter();
        calls.filter(|call| call.changes_the_world()).count()
    };
    // What it takes to get into the mount namespace is not to be killed.
    let before = trace(&mut host.command("true".as_ref(), &[]), |_| false);
    for step in changes(&before).. {
        let mut calls = 0;
        let mut command = host.command(binaries::nke().as_ref(), &["seal", "1", "--yes"]);
        let traced = trace(&mut command, |call| {
            calls += usize::from(call.changes_the_world());
            calls > step
        });
        match traced.end {
            End::Killed => assert!(level() == 0 || level() == 1, "{}", level()),
            End::Exited(code) => {
                assert_eq!((code, level()), (0, 1.into()), "{}", traced.stderr);
                assert!(step > changes(&before) + 1, "no step was tried");
                return;
            }
        }
    }
}
