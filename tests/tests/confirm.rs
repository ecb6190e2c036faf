//! `--confirm` and `nke confirm`: what is not confirmed goes back by itself.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    time::{Duration, Instant},
};

use nke_tests::{Deadline, Hook, IFACE, Ran, World, stranger, trail, tree};
use rustix::process::{Signal, kill_process};
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

/// Waits, without any command that could go back in the timer's place.
#[track_caller]
fn gone_back(world: &World) {
    let gone = Deadline::generous().until(|| !world.pending().exists());
    assert!(gone, "{:#?}", tree(&world.state()));
}

/// What `list` and `show` say of the change, which must be the same.
#[track_caller]
fn waiting(world: &World) -> Value {
    let [list, show]: [Value; 2] = [&["list", "--json"][..], &["show", "versions", "--json"]]
        .map(|words| world.nke(words).json());
    for key in ["id", "what", "state", "failed"] {
        assert_eq!(list["confirm"][key], show["confirm"][key]);
    }
    list["confirm"].clone()
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
    assert!(world.pending().exists());
    let text = world.nke(&["confirm"]).ok().stdout;
    assert!(
        text.starts_with("confirmed: upgrade of versions ("),
        "{text}"
    );
    world.assert_trail(Hook::Xdp, &[2]);
    assert!(!world.pending().exists());
    drop(world.nke(&["confirm"]).fails("nothing-pending"));
    world.assert_no_timer();
    // The version before is still there to go back to by hand.
    world.nke(&["rollback", "versions"]).ok();
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
    assert!(Deadline::generous().until(|| world.timers().is_empty()));
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
    for timer in world.timers() {
        // It may have gone back already.
        let _: rustix::io::Result<()> = kill_process(timer, Signal::HUP);
    }
    gone_back(&world);
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn without_its_timer_it_goes_back_with_the_next_command() {
    let world = first();
    upgrade(&world, 2, "1").ok();
    // It is there, and will do nothing.
    let timer = world.timer();
    kill_process(timer, Signal::STOP).expect("it is there");
    assert!(world.pending().exists(), "nobody has gone back");
    // Commands that come too early leave it alone, and start no other.
    let gone = Deadline::generous().until(|| {
        assert_eq!(world.timers(), [timer]);
        world.list().is_empty() || !world.pending().exists()
    });
    assert!(gone);
    world.assert_trail(Hook::Xdp, &[1]);
    kill_process(timer, Signal::CONT).expect("it is there");
    world.assert_no_timer();
}

#[test]
fn a_timer_that_was_killed_is_started_again_by_the_next_command() {
    let looks: [&[&str]; 4] = [
        &["list"],
        &["map", "list", "versions"],
        &["save"],
        &["disable", "versions"],
    ];
    let world = first();
    upgrade(&world, 2, LONG).ok();
    for words in looks {
        let before = world.timer();
        world.kill_timer();
        world.nke(words).ok();
        let again = world.timer();
        assert_ne!(again, before, "{words:?}");
        world.nke(words).ok();
        assert_eq!(world.timer(), again, "{words:?}: one is enough");
    }
    // It is as good as the first.
    world.kill_timer();
    let due = Instant::now() + Duration::from_secs(2);
    world.set_deadline(2);
    drop(world.list());
    gone_back(&world);
    assert!(Instant::now() >= due, "not before its time");
    world.nke(&["enable", "versions"]).ok();
    world.assert_trail(Hook::Xdp, &[1]);
    world.assert_no_timer();
}

#[test]
fn what_waits_is_shown() {
    let world = first();
    assert!(waiting(&world).is_null());
    let said: Value = world
        .nke(&["upgrade", &version(2), "--confirm", LONG, "--json"])
        .json();
    let id = id_of(&said);
    for words in [&["list"][..], &["show", "versions"]] {
        let text = world.nke(words).ok().stdout;
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("upgrade of versions waits: it goes back in "),
            "{text}"
        );
        assert!(
            last.ends_with(&format!(" s, unless `nke confirm {id}` is given")),
            "{text}"
        );
    }
    let shown = waiting(&world);
    assert_eq!(shown["id"].to_string(), id);
    assert_eq!(shown["what"], "upgrade of versions");
    assert_eq!(
        (&shown["state"], &shown["failed"]),
        (&"waiting".into(), &Value::Null)
    );
    let seconds = shown["seconds"].as_f64().expect("a number");
    assert!(seconds > 0.0 && seconds <= 60.0, "{seconds}");
    world.nke(&["confirm"]).ok();
    assert!(waiting(&world).is_null());
    assert!(!world.nke(&["list"]).ok().stdout.contains("waits"));
}

/// A version that needs another one of `versions`.
fn dependant(world: &World, range: &str) -> String {
    let path = world.directory().join("needy.o");
    fs::copy(trail::object(4), &path).expect("the directory is the test's");
    let text = format!("[dependencies]\n't.versions' = '{range}'\n");
    fs::write(path.with_extension("toml"), text).expect("the directory is the test's");
    path.display().to_string()
}

/// The object of a version with an identifier.
fn identified(id: u8) -> String {
    let manifest = format!("identifier = 't.versions'\nversion = '{id}.0.0'\n");
    let (number, text) = (format!("-DID={id}"), format!("-DMANIFEST={manifest:?}"));
    stranger::object("versions.c", "versions", &[&number, &text])
}

/// It cannot go back, since somebody has come to need the new version.
fn stuck() -> World {
    let world = World::new();
    world.attach(Hook::Xdp, &identified(1), &[]);
    world
        .nke(&["upgrade", &identified(2), "--confirm", "1"])
        .ok();
    world.nke(&["load", &dependant(&world, "^2")]).ok();
    // The timer tries, and ends.
    world.assert_no_timer();
    world.assert_trail(Hook::Xdp, &[2]);
    world
}

const REASON: &str =
    "versions: upgrade: needy needs ^2, and 1.0.0 is not that; upgrade or unload needy first";

#[test]
fn what_cannot_go_back_is_told_and_goes_back_when_it_can() {
    let world = stuck();
    let id = waiting(&world)["id"].to_string();
    for words in [&["list"][..], &["show", "versions"]] {
        let text = world.nke(words).ok().stdout;
        let told = format!(
            "upgrade of versions could not go back: {REASON}; each command tries again, and \
             `nke confirm {id}` keeps it\n"
        );
        assert!(text.ends_with(&told), "{text}");
    }
    let shown = waiting(&world);
    assert_eq!(
        (&shown["state"], &shown["failed"]),
        (&"failed".into(), &REASON.into())
    );
    assert_eq!(shown["seconds"], 0.0);
    assert!(world.timers().is_empty(), "it is no use to sleep");
    drop(world.nke(&["upgrade", &identified(3)]).fails("unconfirmed"));
    world.nke(&["unload", "needy"]).ok();
    drop(world.list());
    world.assert_trail(Hook::Xdp, &[1]);
    assert!(!world.pending().exists());
}

#[test]
fn what_cannot_go_back_can_still_be_confirmed() {
    let world = stuck();
    let said = world.nke(&["confirm"]).ok().stdout;
    assert!(
        said.starts_with("confirmed: upgrade of versions ("),
        "{said}"
    );
    assert!(
        said.ends_with(&format!("  could not go back: {REASON}\n")),
        "{said}"
    );
    world.nke(&["unload", "needy"]).ok();
    assert!(waiting(&world).is_null());
    world.assert_trail(Hook::Xdp, &[2]);
}

#[test]
fn an_apply_whose_files_are_gone_says_so_and_goes_back_once_they_are_there() {
    let world = declared();
    let file = world.extensions().join("trail1.o");
    apply(&world, LONG).ok();
    // It unloaded trail1, which has to be read again.
    world.kill_timer();
    fs::rename(&file, file.with_extension("away")).expect("it is there");
    world.set_deadline(0);
    let shown: Value = world.nke(&["list", "--json"]).json();
    assert_eq!(shown["confirm"]["state"], "failed");
    let reason = shown["confirm"]["failed"].as_str().expect("a reason");
    assert!(reason.contains("trail1"), "{reason}");
    world.assert_trail(Hook::In, &[2]);
    fs::rename(file.with_extension("away"), &file).expect("it is there");
    drop(world.list());
    world.assert_trail(Hook::In, &[1]);
    assert!(!world.pending().exists());
}

/// Whoever takes the version before away has decided it.
#[test]
fn where_there_is_no_way_back_any_more_nothing_waits() {
    let world = first();
    upgrade(&world, 2, LONG).ok();
    world.nke(&["rollback", "versions"]).ok();
    assert!(waiting(&world).is_null());
    world.assert_no_timer();
    upgrade(&world, 2, LONG).ok();
    world.nke(&["unload", "--force", "versions"]).ok();
    drop(world.nke(&["confirm"]).fails("nothing-pending"));
    world.assert_no_timer();
    assert!(!world.is_mounted());
}

#[test]
fn an_apply_without_a_way_back_is_refused() {
    let world = declared();
    // No name leads to a file that was moved.
    let file = world.directory().join("moved.o");
    fs::copy(trail::object(5), &file).expect("the directory is the test's");
    world.attach(Hook::In, "./moved.o", &[]);
    fs::remove_file(&file).expect("it is there");
    let before = tree(&world.state());
    let error = apply(&world, LONG).fails("no-way-back");
    assert!(error.contains("moved"), "{error}");
    assert_eq!(tree(&world.state()), before);
    world.assert_no_timer();
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
    world.assert_no_timer();
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
    assert!(Deadline::generous().until(|| world.timers().is_empty()));
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn an_apply_that_is_confirmed_stays() {
    let world = declared();
    apply(&world, LONG).ok();
    world.assert_trail(Hook::In, &[2]);
    let text = world.nke(&["confirm"]).ok().stdout;
    assert!(text.starts_with("confirmed: apply ("), "{text}");
    assert!(!world.pending().exists());
    world.assert_trail(Hook::In, &[2]);
    world.assert_no_timer();
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

/// A declaration of a filter with these rules on the interface.
fn filter(world: &World, file: &str, rules: &str) {
    let netns = world.inside.name();
    let text = format!(
        "[[attach]]\nextension = 'packet-filter'\nhook = 'interface/in'\ninterface = '{IFACE}'\nnetns = '{netns}'\n\
         rules = '''\n{rules}\n'''\n"
    );
    fs::write(world.directory().join(file), text).expect("the directory is the test's");
}

#[test]
fn an_apply_goes_back_to_rules_whose_interface_is_gone() {
    // Rules that stay with their attachment, and rules of one that comes again.
    for comes_again in [false, true] {
        let world = World::new();
        world.inside.ip("link add gone0 type veth peer name gone1");
        let before = "redirect to gone0 in proto 98\ndrop in on gone0 proto 99\ndrop in proto 97";
        filter(&world, "before.toml", before);
        world.nke(&["apply", "before.toml"]).ok();
        let rules = || {
            let listed: Value = world.on(&["filter", "list", "--json"]).json();
            let rules = listed["filters"][0]["rules"].as_array().cloned();
            let text = |rule: &Value| rule["rule"].as_str().unwrap_or_default().to_owned();
            rules
                .unwrap_or_default()
                .iter()
                .map(text)
                .collect::<Vec<_>>()
        };
        let old = rules();
        assert_eq!(old.len(), 3, "{old:?}");
        if comes_again {
            let netns = world.inside.name();
            let text = format!(
                "[[policy]]\nhook = 'interface/in'\ninterface = '{IFACE}'\nnetns = '{netns}'\npolicy = 'drop'\n"
            );
            fs::write(world.directory().join("after.toml"), text).expect("it is the test's");
        } else {
            filter(&world, "after.toml", "drop in");
        }
        world.nke(&["apply", "after.toml", "--confirm", "2"]).ok();
        world.inside.ip("link del gone0");
        gone_back(&world);
        assert_eq!(rules(), old);
        // They mean nobody, and that is said.
        let listed = world.on(&["filter", "list"]).ok().stdout;
        let told = "there is no interface gone0 now\n";
        assert_eq!(listed.matches(told).count(), 2, "{listed}");
    }
}

#[test]
fn an_apply_means_the_interface_that_there_is_now() {
    let world = World::new();
    let make = || world.inside.ip("link add gone0 type veth peer name gone1");
    make();
    filter(&world, "rules.toml", "drop in on gone0 proto 99");
    world.nke(&["apply", "rules.toml"]).ok();
    drop(world.nke(&["diff", "rules.toml"]).ok());
    world.inside.ip("link del gone0");
    make();
    let told = || world.on(&["filter", "list"]).ok().stdout;
    assert!(told().contains("gone0 has been made since"), "{}", told());
    assert_eq!(world.nke(&["diff", "rules.toml"]).code, Some(1));
    world.nke(&["apply", "rules.toml"]).ok();
    assert!(!told().contains("gone0 has been made since"), "{}", told());
    drop(world.nke(&["diff", "rules.toml"]).ok());
}
