//! An unload that fails, or is killed, after the exit program has agreed: the extension works on, is
//! told so by the event RESUME, and can be unloaded again.

use std::{fs, path::PathBuf};

use nke_tests::{Call, End, Hook, World, kernel, stranger, trace, trace_failing};

/// What `routine.c` counts.
const UNLOAD: usize = 1;
const RESUME: usize = 2;
const PACKETS: usize = 6;

/// A world where it is loaded, and attached at two hooks or at none.
fn loaded(attached: bool) -> World {
    let world = World::new();
    let path = world.extensions().join("routine.o");
    let object = stranger::object("routine.c", "routine", &[]);
    fs::copy(object, &path).expect("it can be copied");
    let manifest = "init = 'start'\nexit = 'finish'\n";
    fs::write(path.with_extension("toml"), manifest).expect("it can be written");
    world.attach(Hook::In, &nke_tests::trail::object(1), &[]);
    load(&world, attached);
    world
}

fn load(world: &World, attached: bool) {
    world.nke(&["load", "routine"]).ok();
    if attached {
        world.attach(Hook::Xdp, "routine", &[]);
    }
}

fn events(world: &World) -> PathBuf {
    world.state().join("extensions/routine/maps/events")
}

/// Has a call of the command fail, or kills it there; each in turn, until it comes to its end before
/// that. How often RESUME was seen.
fn each_call(
    attached: bool,
    run: impl Fn(&mut std::process::Command, &mut dyn FnMut(&Call) -> bool) -> End,
) -> u64 {
    let world = loaded(attached);
    let words = ["unload", "--wait", "routine"];
    let mut resumed = 0;
    for nth in 0.. {
        let (mut left, mut at) = (nth, None);
        let mut choose = |call: &Call| {
            if left < 0 || !call.changes_the_world() {
                return false;
            }
            left -= 1;
            at = Some(*call);
            left < 0
        };
        let end = run(&mut world.command(&words), &mut choose);
        // The next command completes it or undoes it.
        let stays = world.list().iter().any(|it| it.name == "routine");
        if stays {
            let counts = || kernel::counts(&events(&world));
            let before = counts();
            drop(world.trail(Hook::Xdp));
            let meets = u64::from(attached);
            assert_eq!(counts()[PACKETS], before[PACKETS] + meets, "{at:?}");
            assert_eq!(world.chains().len(), 1 + usize::from(attached), "{at:?}");
            let (agreed, told) = (before[UNLOAD], before[RESUME]);
            match end {
                End::Exited(_) => assert_eq!(told, agreed, "whoever agreed is told: {at:?}"),
                End::Killed => assert!(told <= agreed, "{at:?}"),
            }
            resumed += told;
            world.nke(&words).ok();
        }
        if let End::Exited(code) = end {
            assert_eq!(code != 0, stays, "{at:?}");
        }
        assert_eq!(world.list().len(), 1);
        load(&world, attached);
        if left >= 0 {
            assert!(nth > 5, "it makes more calls than {nth}");
            return resumed;
        }
    }
    resumed
}

#[test]
fn one_of_whose_calls_fails() {
    let resumed = each_call(true, |command, choose| trace_failing(command, choose).end);
    assert!(resumed > 0, "it is told");
}

#[test]
fn one_of_whose_calls_fails_with_no_attachment() {
    each_call(false, |command, choose| trace_failing(command, choose).end);
}

#[test]
fn killed_before_an_attachment_has_gone() {
    let resumed = each_call(true, |command, choose| trace(command, choose).end);
    assert!(resumed > 0, "the next command tells it");
}
