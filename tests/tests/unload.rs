//! Who holds an extension, and its end: counts, copies, draining, and the programs that are run
//! when it comes and goes.

use std::{fs, path::PathBuf};

use nke_tests::{Extension, Hook, IFACE, Ran, World, binaries, kernel, stranger, trail};
use serde_json::Value;

/// What `routine.c` counts.
const LOAD: usize = 0;
const UNLOAD: usize = 1;
const FORCE: usize = 3;
const PACKETS: usize = 6;
/// Where it has the answer of its exit program.
const VETO: u32 = 7;

const EBUSY: u64 = 16;

/// Puts `routine.c` on the search path, with routines.
fn routine(world: &World, flags: &[&str]) -> PathBuf {
    let path = world.extensions().join("routine.o");
    fs::copy(stranger::object("routine.c", "routine", flags), &path).expect("it can be copied");
    let manifest = "init = 'start'\nexit = 'finish'\n";
    fs::write(path.with_extension("toml"), manifest).expect("it can be written");
    path
}

fn events(world: &World, at: usize) -> u64 {
    kernel::counts(&events_of(world, "routine"))[at]
}

/// Has the exit program answer so.
fn veto(world: &World, errno: u64) {
    kernel::set_count(&events_of(world, "routine"), VETO, errno);
}

fn events_of(world: &World, name: &str) -> PathBuf {
    world.state().join(format!("extensions/{name}/maps/events"))
}

fn only(world: &World) -> Extension {
    let mut list = world.list();
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

/// `nke show --json` of an extension.
fn shown(world: &World, name: &str) -> Value {
    let all: Value = world.nke(&["show", name, "--json"]).json();
    all["extensions"][0].clone()
}

#[test]
fn every_holder_is_named() {
    let world = World::new();
    let load = |user: &str| {
        let mut command = world.command(&["load", &trail::object(1)]);
        let _: Ran = Ran::of(command.env("SUDO_USER", user)).ok();
    };
    load("ann");
    load("ann");
    load("bob");
    // What is no user's name is not believed: then it is whoever runs the command.
    load("\u{1b}[31m");
    let id = world.attach(Hook::Xdp, "trail1", &[]);
    let users = ["ann (2 loads)", "bob (1 load)", "root (1 load)"];
    let netns = world.inside.name();
    let place = format!("{IFACE} in {netns}");
    let text = world.nke(&["show", "trail1"]).ok().stdout;
    for holder in users {
        assert!(text.contains(&format!("held by      {holder}\n")), "{text}");
    }
    let held = format!("held by      {id} (interface/xdp of {place})\n");
    assert!(text.contains(&held), "{text}");
    let extension = shown(&world, "trail1");
    let first = serde_json::json!({ "kind": "user", "name": "ann", "loads": 2 });
    let last = serde_json::json!(
        { "kind": "attachment", "id": id, "hook": "interface/xdp", "place": place }
    );
    let holders = extension["holders"].as_array().expect("an array");
    assert_eq!(
        (holders.first(), holders.last()),
        (Some(&first), Some(&last))
    );

    // Each takes his own request back first, and then another's.
    let released = world.nke(&["unload", "trail1"]).ok().stdout;
    let rest = format!("ann (2 loads), bob (1 load), {id} (interface/xdp of {place})");
    assert_eq!(released, format!("released trail1, still held by {rest}\n"));
    world.nke(&["unload", "trail1"]).ok();
    world.nke(&["unload", "trail1"]).ok();
    assert_eq!((only(&world).loads, only(&world).uses), (1, 1));
    let _: String = world.nke(&["unload", "trail1"]).fails("in-use");
    assert_eq!((only(&world).loads, only(&world).uses), (1, 1));
}

/// kldunload of what is held more than once says that it is done, and it is not.
#[test]
fn success_without_removal_is_told() {
    let world = World::new();
    let object = trail::object(1);
    world.nke(&["load", &object, &object]).ok();
    let said = world.nke(&["unload", "trail1"]).ok().stdout;
    assert_eq!(said, "released trail1, still held by root (1 load)\n");
    world.nke(&["query", "trail1"]).ok();
    assert_eq!(
        world.nke(&["unload", "trail1"]).ok().stdout,
        "unloaded trail1\n"
    );
    let _: String = world.nke(&["query", "trail1"]).fails("not-loaded");
}

/// loadext answers NULL for an error as for what is not loaded.
#[test]
fn not_loaded_is_told_from_an_error() {
    let world = World::new();
    world.nke(&["load", &trail::object(1)]).ok();
    let kmid = only(&world).kmid.to_string();
    for which in ["trail1", &kmid] {
        assert_eq!(
            world.nke(&["query", which]).ok().stdout,
            format!("{kmid}\n")
        );
    }
    let answer: Value = world.nke(&["query", "trail1", "--json"]).json();
    assert_eq!((&answer["loads"], &answer["uses"]), (&1.into(), &0.into()));
    let _: String = world.nke(&["query", "trail2"]).fails("not-loaded");
    let mut elsewhere = world.command(&["query", "trail1"]);
    let nowhere = world.directory().join("link");
    std::os::unix::fs::symlink("/", &nowhere).expect("it is a fresh world");
    let _: String = Ran::of(elsewhere.env("NKE_STATE", &nowhere)).fails("unsafe-state");
    world.nke(&["unload", "trail1"]).ok();
}

#[test]
fn of_several_all_are_tried() {
    let world = World::new();
    let [one, two] = [1, 2].map(trail::object);
    let ran = world.nke(&["load", &one, "nothing", "/dev/null", &two]);
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(
        lines[0].starts_with("nke: extension nothing: find: "),
        "{ran:?}"
    );
    assert!(lines[1].starts_with("nke: /dev/null: read: "), "{ran:?}");
    // The exit code is the first failure's.
    let only: String = world.nke(&["load", "nothing"]).fails("no-extension");
    let code = world.nke(&["load", "nothing"]).code;
    assert_eq!((ran.code, lines[0]), (code, only.trim_end()));
    let names = |world: &World| world.list().into_iter().map(|e| (e.name, e.loads));
    let both = ["trail1", "trail2"].map(|name| (name.to_owned(), 1));
    assert_eq!(names(&world).collect::<Vec<_>>(), both);

    let ran = world.nke(&["load", "-n", &one, "trail2"]).ok();
    assert!(ran.stdout.starts_with("found trail1 "), "{ran:?}");
    assert_eq!(names(&world).collect::<Vec<_>>(), both);
    assert_eq!(world.nke(&["load", "-q", "-n", &one]).ok().stdout, "");
    let _: String = world
        .nke(&["load", "-q", "-n", "nothing"])
        .fails("no-extension");
}

#[test]
fn a_copy_has_maps_of_its_own() {
    let world = World::new();
    routine(&world, &[]);
    world.nke(&["load", "routine"]).ok();
    world.nke(&["load", "routine", "--instance", "lab"]).ok();
    world.nke(&["load", "routine@lab"]).ok();
    let loads: Vec<_> = world
        .list()
        .into_iter()
        .map(|e| (e.name, e.loads))
        .collect();
    assert_eq!(
        loads,
        [("routine".to_owned(), 1), ("routine@lab".to_owned(), 2)]
    );
    let kmids: Vec<_> = world.list().iter().map(|e| e.kmid).collect();
    let queried = world.nke(&["query", "routine@lab"]).ok().stdout;
    assert_eq!(queried, format!("{}\n", kmids[1]));

    // Attached in front of each other, each counts in its own map.
    world.attach(Hook::Xdp, "routine@lab", &[]);
    assert_eq!(world.trail(Hook::Xdp).answer, Hook::Xdp.pass());
    world.attach(Hook::Xdp, "routine", &[]);
    assert_eq!(world.trail(Hook::Xdp).answer, Hook::Xdp.pass());
    let copy = kernel::counts(&events_of(&world, "routine@lab"));
    assert_eq!((events(&world, PACKETS), copy[PACKETS]), (1, 2));
    let _: String = world.nke(&["unload", "routine"]).fails("in-use");
    world.on(&["detach", "routine"]).ok();
    world.nke(&["unload", "routine"]).ok();
    world.on(&["detach", "routine@lab"]).ok();
    world.nke(&["unload", "routine@lab"]).ok();
    assert_eq!(
        world.nke(&["unload", "routine@lab"]).ok().stdout,
        "unloaded routine@lab\n"
    );
    assert_eq!(world.list(), []);
    for bad in ["a/b", "", "a@b"] {
        let _: String = world
            .nke(&["load", "routine", "--instance", bad])
            .fails("usage");
    }
}

#[test]
fn a_copy_of_a_filter_has_rules_of_its_own() {
    let world = World::new();
    world
        .nke(&["load", "packet-filter", "--instance", "guest"])
        .ok();
    world.attach(Hook::In, "packet-filter@guest", &[]);
    let rule = "drop in proto udp from any to any port 53";
    world.nke(&world.target(&["filter", "add", rule])).ok();
    let listed = world.nke(&["filter", "list"]).ok().stdout;
    assert!(
        listed.contains("drop in proto udp to any port 53"),
        "{listed}"
    );
    world
        .nke(&["unload", "--force", "packet-filter@guest"])
        .ok();
}

#[test]
fn waiting_returns_when_the_kernel_has_freed_all_of_it() {
    let world = World::new();
    world.nke(&["load", &trail::object(1)]).ok();
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    let others = world.objects();
    let ids = [Hook::Xdp, Hook::In].map(|hook| world.attach(hook, "trail1", &[]));
    let all = world.objects();
    let ran = world.nke(&["unload", "--wait", "trail1"]).ok();
    // At once, and not some grace periods later.
    let left = all.alive().without(&others.alive());
    assert_eq!(left.count(), 0, "{left:?} of {all:?}");
    let netns = world.inside.name();
    let gone = format!(
        "detached {} (interface/xdp of {IFACE} in {netns})\n\
         detached {} (interface/in of {IFACE} in {netns})\nunloaded trail1\n",
        ids[0], ids[1]
    );
    assert_eq!(ran.stdout, gone);
    world.assert_trail(Hook::Xdp, &[2]);
    assert_eq!(only(&world).name, "trail2");
}

#[test]
fn force_takes_attachments_away_but_nobody_elses_request() {
    let world = World::new();
    let object = trail::object(1);
    world.nke(&["load", &object, &object]).ok();
    world.attach(Hook::Xdp, "trail1", &[]);
    let ran = world.nke(&["unload", "--force", "trail1"]).ok();
    assert!(
        ran.stdout
            .starts_with("released trail1, still held by root (1 load), "),
        "{ran:?}"
    );
    world.assert_trail(Hook::Xdp, &[1]);
    world.nke(&["unload", "--force", "trail1"]).ok();
    assert_eq!((world.list(), world.chains()), (vec![], vec![]));
    // What was loaded by its attachment alone goes the same way.
    world.attach(Hook::Xdp, &object, &[]);
    let _: String = world.nke(&["unload", "trail1"]).fails("in-use");
    world.nke(&["unload", "--wait", "trail1"]).ok();
    assert_eq!((world.list(), world.chains()), (vec![], vec![]));
}

#[test]
fn routines_are_run_and_their_answers_shown() {
    let world = World::new();
    let path = routine(&world, &[]);
    world.nke(&["load", "routine"]).ok();
    assert_eq!((events(&world, LOAD), events(&world, UNLOAD)), (1, 0));
    let text = world.nke(&["show", "routine"]).ok().stdout;
    assert!(
        text.contains("  init         start, answered 0 (well)\n"),
        "{text}"
    );
    assert!(
        text.contains("  exit         finish, not run yet\n"),
        "{text}"
    );
    // Only once, however often it is asked for.
    world.nke(&["load", "routine"]).ok();
    world.attach(Hook::Xdp, "routine", &[]);
    assert_eq!(events(&world, LOAD), 1);
    world.on(&["detach", "routine"]).ok();
    world.nke(&["unload", "routine"]).ok();
    assert_eq!(events(&world, UNLOAD), 0);
    let kept = world.reference().join("events");
    kernel::pin_again(&events_of(&world, "routine"), &kept);
    world.nke(&["unload", "routine"]).ok();
    assert_eq!(kernel::counts(&kept)[UNLOAD], 1);
    assert_eq!(world.list(), []);
    drop(path);
}

#[test]
fn a_failing_init_leaves_nothing() {
    let world = World::new();
    routine(&world, &["-DANSWER=-22"]);
    for verb in [
        &["load", "routine"][..],
        &world.target(&["attach", "routine"]),
    ] {
        let said = world.nke(verb).fails("init-failed");
        assert_eq!(
            said,
            "nke: extension routine: load: its init program start answered -22 (Invalid argument); \
             nothing of it is loaded, and its author says what the answer means\n"
        );
        assert_eq!((world.list(), world.chains()), (vec![], vec![]));
        assert_eq!(nke_tests::tree(&world.state()), [] as [&str; 0]);
    }
}

/// A kld that has had its veto is not told so, and stays quiesced.
#[test]
fn a_veto_changes_nothing() {
    let world = World::new();
    routine(&world, &[]);
    world.nke(&["load", "routine"]).ok();
    let id = world.attach(Hook::Xdp, "routine", &[]);
    veto(&world, EBUSY);
    let chains = world.chains();
    for how in [
        &["unload", "--wait", "routine"][..],
        &["unload", "--wait", "routine"],
    ] {
        let said = world.nke(how).fails("exit-vetoed");
        assert_eq!(
            said,
            "nke: extension routine: unload: its exit program finish answered -16 (Device or \
             resource busy); it stays loaded and works on, --force unloads it in spite of that\n"
        );
        assert_eq!(world.chains(), chains);
        assert_eq!((only(&world).loads, only(&world).uses), (1, 1));
    }
    // It works: packets meet it, and it can be attached elsewhere.
    let before = events(&world, PACKETS);
    assert_eq!(world.trail(Hook::Xdp).answer, Hook::Xdp.pass());
    assert_eq!(events(&world, PACKETS), before + 1);
    assert_eq!(shown(&world, "routine")["exit"]["answer"], -16);
    world.nke(&["detach", &id.to_string()]).ok();
    world.attach(Hook::Xdp, "routine", &[]);
    assert_eq!((events(&world, UNLOAD), events(&world, FORCE)), (2, 0));

    let kept = world.reference().join("events");
    kernel::pin_again(&events_of(&world, "routine"), &kept);
    let ran = world.nke(&["unload", "--force", "routine"]).ok();
    let last = ran.stdout.lines().last();
    assert_eq!(
        last,
        Some("unloaded routine, though its exit program answered -16")
    );
    assert_eq!(kernel::counts(&kept)[FORCE], 1);
    assert_eq!((world.list(), world.chains()), (vec![], vec![]));
}

#[test]
fn a_veto_holds_what_nobody_else_does() {
    let world = World::new();
    routine(&world, &[]);
    let id = world.attach(Hook::Xdp, "routine", &[]);
    veto(&world, EBUSY);
    world.nke(&["detach", &id.to_string()]).ok();
    let holders = &shown(&world, "routine")["holders"];
    assert_eq!(
        *holders,
        serde_json::json!([{ "kind": "exit", "answer": -16 }])
    );
    // It was asked once, and not by every command since.
    assert_eq!(events(&world, UNLOAD), 1);
    let _: String = world.nke(&["unload", "routine"]).fails("exit-vetoed");
    veto(&world, 0);
    world.nke(&["unload", "routine"]).ok();
    assert_eq!(world.list(), []);
}

#[test]
fn loading_and_unloading_leaves_nothing_behind() {
    const ROUNDS: usize = 500;
    let world = World::new();
    let path = routine(&world, &[]).display().to_string();
    // Something that stays, so that the state does.
    world.nke(&["load", &trail::object(1)]).ok();
    let round = || {
        world.nke(&["load", "-q", &path]).ok();
        world.nke(&["unload", "-q", "routine"]).ok();
    };
    round();
    let (before, files) = (world.objects(), nke_tests::tree(&world.state()));
    for _ in 0..ROUNDS {
        round();
    }
    assert_eq!(world.objects(), before);
    assert_eq!(nke_tests::tree(&world.state()), files);
}

/// What the routines of the SDK's example have noted: the last event, and one more.
fn noted(world: &World, routine: &str) -> u64 {
    let lookup = ["map", "lookup", "routines", "NOTED", routine, "--json"];
    let entry: Value = world.nke(&lookup).json();
    entry["value"].as_u64().expect("it is a number")
}

#[test]
fn routines_in_rust() {
    let world = World::new();
    let object = binaries::extensions().join("examples/routines.o");
    let object = object.to_str().expect("it is plain text");
    world.nke(&["load", object]).ok();
    assert_eq!(noted(&world, "0"), LOAD as u64 + 1);
    assert_eq!(noted(&world, "1"), 0, "it has not been asked to go");

    world.nke(&["set", "routines", "stay=true"]).ok();
    let refused = world.nke(&["unload", "routines"]).fails("exit-vetoed");
    assert!(refused.contains("finish answered -16"), "{refused}");
    assert_eq!(noted(&world, "1"), UNLOAD as u64 + 1);
    assert_eq!(only(&world).name, "routines");

    world.nke(&["set", "routines", "stay=false"]).ok();
    world.nke(&["unload", "routines"]).ok();
    assert!(world.list().is_empty());
}
