//! Init and exit programs: the new version's init runs before it is in force, and no exit does.

use std::{fs, path::PathBuf};

use nke_tests::{Hook, World, kernel, stranger};
use serde_json::Value;

use crate::{attach, here, refused, upgrade};

const LOAD: usize = 0;
const UNLOAD: usize = 1;
const RESUME: usize = 2;
const PACKETS: usize = 6;

/// A version of `routine.c`; with `routines`, its manifest names both.
fn version(world: &World, id: u8, routines: bool, flags: &[&str]) -> String {
    let directory = world.directory().join(format!("v{id}"));
    fs::create_dir_all(&directory).expect("the directory is the test's");
    let path = directory.join("routine.o");
    fs::copy(stranger::object("routine.c", "routine", flags), &path).expect("it can be copied");
    let named = if routines {
        "init = 'start'\nexit = 'finish'\n"
    } else {
        ""
    };
    let text = format!("version = '{id}.0.0'\n{named}");
    fs::write(path.with_extension("toml"), text).expect("it can be written");
    path.display().to_string()
}

fn events_of(world: &World) -> PathBuf {
    world.state().join("extensions/routine/maps/events")
}

/// How often the programs were run to load, unload and resume.
fn events(world: &World) -> [u64; 3] {
    let all = kernel::counts(&events_of(world));
    [all[LOAD], all[UNLOAD], all[RESUME]]
}

fn packets(world: &World) -> u64 {
    assert_eq!(world.trail(Hook::Xdp).answer, Hook::Xdp.pass());
    kernel::counts(&events_of(world))[PACKETS]
}

#[test]
fn the_new_ones_init_runs_and_no_exit_does() {
    let world = World::new();
    attach(
        &world,
        &version(&world, 1, true, &[]),
        "interface/xdp",
        &here(&world),
    );
    assert_eq!(events(&world), [1, 0, 0]);
    let upgraded = upgrade(&world, &version(&world, 2, true, &[]));
    assert_eq!(upgraded.fate("events"), "kept");
    assert_eq!(events(&world), [2, 0, 0]);
    assert_eq!(packets(&world), 1);
    // Back to what has had its init, and whose exit never ran.
    world.nke(&["rollback", "routine"]).ok();
    assert_eq!(events(&world), [2, 0, 0]);
    upgrade(&world, &version(&world, 2, true, &[]));
    assert_eq!(events(&world), [3, 0, 0]);
    // The end is that of the version in force, and of no other.
    let kept = world.reference().join("events");
    kernel::pin_again(&events_of(&world), &kept);
    world.nke(&["unload", "--wait", "routine"]).ok();
    let all = kernel::counts(&kept);
    assert_eq!([all[LOAD], all[UNLOAD], all[RESUME]], [3, 1, 0]);
    assert!(!world.is_mounted());
}

#[test]
fn a_failing_init_leaves_the_old_version_everywhere() {
    let world = World::new();
    let first = version(&world, 1, true, &[]);
    attach(&world, &first, "interface/xdp", &here(&world));
    world.nke(&["load", &first]).ok();
    let objects = world.objects().alive();
    let failing = version(&world, 2, true, &["-DANSWER=-22"]);
    let error = refused(&world, &["upgrade", &failing]);
    assert!(
        error.contains("its init program start answered -22 (Invalid argument)"),
        "{error}"
    );
    assert_eq!(objects, world.objects().alive());
    // It has run, with maps that both have; the old version's exit has not.
    assert_eq!(events(&world), [2, 0, 0]);
    assert_eq!(packets(&world), 1);
    let shown: Value = world.nke(&["show", "routine", "--json"]).json();
    let extension = &shown["extensions"][0];
    assert_eq!(extension["version"], "1.0.0");
    assert_eq!(extension["init"]["answer"], 0);
    drop(world.nke(&["rollback", "routine"]).fails("no-previous"));
}

#[test]
fn versions_may_begin_and_cease_to_have_them() {
    let world = World::new();
    let routine = |id, routines| version(&world, id, routines, &[]);
    attach(&world, &routine(1, false), "interface/xdp", &here(&world));
    assert_eq!(events(&world), [0, 0, 0]);
    upgrade(&world, &routine(2, true));
    assert_eq!(events(&world), [1, 0, 0]);
    upgrade(&world, &routine(3, false));
    let kept = world.reference().join("events");
    kernel::pin_again(&events_of(&world), &kept);
    world.nke(&["unload", "--wait", "routine"]).ok();
    let all = kernel::counts(&kept);
    assert_eq!((all[LOAD], all[UNLOAD]), (1, 0));
}
