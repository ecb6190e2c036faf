//! `--confirm` and `nke confirm`: what is not confirmed goes back by itself.

use std::{fs, os::unix::process::CommandExt as _, path::Path};

use nke_tests::{Deadline, Hook, IFACE, Ran, World, stranger, trail, tree};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// So long that a test which waits for it fails.
const LONG: &str = "60";

/// The object of a version of the extension.
fn version(id: u8) -> String {
    let manifest = format!("version = '{id}.0.0'\nattachment-maps = ['mine']\n");
    let (number, text) = (format!("-DID={id}"), format!("-DMANIFEST={manifest:?}"));
    stranger::object("versions.c", "versions", &[&number, &text])
}

/// A world with version 1 attached.
fn first() -> World {
    let world = World::new();
    world.attach(Hook::Xdp, &version(1), &[]);
    world
}

/// A world with a declaration of trail 2, where trail 1 runs.
fn declared() -> World {
    let world = World::new();
    for number in 1..=3 {
        let name = world.extensions().join(format!("trail{number}.o"));
        fs::copy(trail::object(number), name).expect("the directory is the test's");
    }
    let netns = world.inside.name();
    let text = format!(
        "[[attach]]\nextension = 'trail2'\nhook = 'interface/in'\ninterface = '{IFACE}'\nnetns = '{netns}'\n\
         [[load]]\nextension = 'trail3'\n"
    );
    fs::write(world.directory().join("two.toml"), text).expect("the directory is the test's");
    world.attach(Hook::In, "trail1", &[]);
    world
}

fn upgrade(world: &World, id: u8, seconds: &str) -> Ran {
    world.nke(&["upgrade", &version(id), "--confirm", seconds])
}

fn apply(world: &World, seconds: &str) -> Ran {
    world.nke(&["apply", "two.toml", "--confirm", seconds])
}

/// Where the state keeps what waits.
fn record(world: &World) -> std::path::PathBuf {
    world.state().join("confirm")
}

/// Waits, without any command that could go back in the timer's place.
#[track_caller]
fn gone_back(world: &World) {
    let gone = Deadline::generous().until(|| !record(world).exists());
    assert!(gone, "{:#?}", tree(&world.state()));
}

/// The processes that sleep for this world.
fn timers(world: &World) -> Vec<Pid> {
    let state = world.state();
    let mine = |process: &Path| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.contains(&b"confirm-timer".as_slice())
            && words.contains(&state.as_os_str().as_encoded_bytes())
    };
    let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
    let found = processes.filter(|process| mine(&process.path()));
    let pid = |name: &str| Pid::from_raw(name.parse().ok()?);
    found
        .filter_map(|it| pid(it.file_name().to_str()?))
        .collect()
}

/// Ends the one that sleeps for this world.
#[track_caller]
fn end_timer(world: &World) {
    let [timer] = timers(world)[..] else {
        nke_tests::fail(format!("one timer: {:?}", timers(world)));
    };
    kill_process(timer, Signal::KILL).expect("it is there");
    assert!(Deadline::generous().until(|| timers(world).is_empty()));
}

fn id_of(printed: &Value) -> String {
    printed["confirm"]["id"]
        .as_u64()
        .expect("an id")
        .to_string()
}

#[test]
fn an_upgrade_that_is_confirmed_stays() {
    let world = first();
    let text = upgrade(&world, 2, LONG).ok().stdout;
    assert!(
        text.contains("goes back in 60 s, unless `nke confirm "),
        "{text}"
    );
    assert!(record(&world).exists());
    let text = world.nke(&["confirm"]).ok().stdout;
    assert!(
        text.starts_with("confirmed: upgrade of versions ("),
        "{text}"
    );
    world.assert_trail(Hook::Xdp, &[2]);
    assert!(!record(&world).exists());
    drop(world.nke(&["confirm"]).fails("nothing-pending"));
    // The version before is still there to go back to by hand.
    world.nke(&["rollback", "versions"]).ok();
    end_timer(&world);
}

#[test]
fn an_upgrade_that_is_not_confirmed_goes_back() {
    let world = first();
    let (list, files) = (world.list(), tree(&world.state()).len());
    upgrade(&world, 2, "1").ok();
    gone_back(&world);
    world.assert_trail(Hook::Xdp, &[1]);
    assert_eq!(world.list(), list);
    assert_eq!(tree(&world.state()).len(), files, "nothing is left over");
    assert!(Deadline::generous().until(|| timers(&world).is_empty()));
    drop(world.nke(&["confirm"]).fails("nothing-pending"));
}

#[test]
fn it_goes_back_when_its_whole_session_is_killed() {
    let world = first();
    let object = version(2);
    let nke = world.command(&["upgrade", &object, "--confirm", "1"]);
    let mut shell = std::process::Command::new("setsid");
    world.dress(&mut shell);
    let line = format!(
        "{} upgrade {object} --confirm 1 && kill -HUP 0; kill -KILL 0",
        nke.get_program().display()
    );
    shell.args(["--wait", "sh", "-c", &line]).process_group(0);
    let ran = Ran::of(&mut shell);
    assert!(ran.stdout.contains("goes back in"), "{ran:#?}");
    // A terminal that hangs up is another way to say so.
    for timer in timers(&world) {
        // It may have gone back already.
        let _: rustix::io::Result<()> = kill_process(timer, Signal::HUP);
    }
    gone_back(&world);
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn without_its_timer_it_goes_back_with_the_next_command() {
    let world = first();
    upgrade(&world, 2, "3").ok();
    end_timer(&world);
    assert!(record(&world).exists(), "nobody has gone back");
    // Commands that come too early leave it alone.
    let gone = Deadline::generous().until(|| world.list().is_empty() || !record(&world).exists());
    assert!(gone);
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn a_second_change_is_refused_until_the_first_is_decided() {
    let world = first();
    let printed: Value = world
        .nke(&["upgrade", &version(2), "--confirm", LONG, "--json"])
        .json();
    let before = tree(&world.state());
    let text = upgrade(&world, 3, LONG).fails("unconfirmed");
    assert!(
        text.contains("upgrade of versions: upgrade: it is not confirmed yet"),
        "{text}"
    );
    drop(world.nke(&["upgrade", &version(3)]).fails("unconfirmed"));
    fs::write(world.directory().join("none.toml"), "").expect("the directory is the test's");
    drop(world.nke(&["apply", "none.toml"]).fails("unconfirmed"));
    drop(world.nke(&["confirm", "1"]).fails("nothing-pending"));
    assert_eq!(tree(&world.state()), before);
    world.nke(&["confirm", &id_of(&printed)]).ok();
    world.nke(&["upgrade", &version(3)]).ok();
    world.assert_trail(Hook::Xdp, &[3]);
    end_timer(&world);
}

#[test]
fn what_fails_or_changes_nothing_does_not_wait() {
    let world = first();
    let before = tree(&world.state());
    upgrade(&world, 1, "1").ok();
    drop(
        world
            .nke(&["upgrade", "./nothing.o", "--confirm", "1"])
            .fails_somehow(),
    );
    drop(
        world
            .nke(&["upgrade", &version(2), "--confirm", "0"])
            .fails("usage"),
    );
    drop(upgrade(&world, 0, "1").fails("not-newer"));
    assert_eq!(tree(&world.state()), before);
    drop(world.nke(&["confirm"]).fails("nothing-pending"));
    assert!(Deadline::generous().until(|| timers(&world).is_empty()));
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn an_apply_that_is_confirmed_stays() {
    let world = declared();
    apply(&world, LONG).ok();
    world.assert_trail(Hook::In, &[2]);
    let text = world.nke(&["confirm"]).ok().stdout;
    assert!(text.starts_with("confirmed: apply ("), "{text}");
    assert!(!record(&world).exists());
    world.assert_trail(Hook::In, &[2]);
    end_timer(&world);
}

#[test]
fn an_apply_that_is_not_confirmed_goes_back() {
    let world = declared();
    let saved = world.nke(&["save"]).ok().stdout;
    let text = apply(&world, "1").ok().stdout;
    assert!(text.contains("goes back in 1 s"), "{text}");
    gone_back(&world);
    world.assert_trail(Hook::In, &[1]);
    assert_eq!(world.nke(&["save"]).ok().stdout, saved);
    assert!(
        !world.list().iter().any(|it| it.name == "trail3"),
        "nothing holds it"
    );
}

#[test]
fn an_apply_to_nothing_goes_back_to_nothing() {
    let world = declared();
    world.nke(&["detach", "trail1"]).ok();
    assert!(!world.is_mounted());
    apply(&world, "1").ok();
    assert!(Deadline::generous().until(|| !world.is_mounted()));
}
