//! Bad input: each mistake gets one line that names the object, the stage, the cause and what to
//! do about it; the command exits with 1 (2 if it did not understand its words), and nothing has
//! changed.

mod files;
mod fuzz;
mod kernels;
mod messages;
mod names;
mod objects;
mod privilege;
mod state;

use nke_tests::{Hook, World, trail};

/// A world with a chain in it, that no mistake may touch.
fn world() -> World {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world
}

/// The command must refuse these words, on the inside's interface, with exactly this line.
#[track_caller]
fn refused(world: &World, words: &[&str], line: &str) {
    world.refuses(&world.target(words), &format!("nke: {line}\n"));
}

/// An object must be refused with exactly this line by every verb that takes one, and in a world
/// that has nothing yet as well.
#[track_caller]
fn object_refused(object: &str, line: &str) {
    let line = format!("nke: {line}\n");
    let world = world();
    world.refuses(&["load", object], &line);
    world.refuses(&world.target(&["attach", object]), &line);
    world.refuses(&world.target(&["replace", "trail1", object]), &line);
    let bare = World::new();
    bare.refuses(&bare.target(&["attach", object]), &line);
    assert!(
        !bare.is_mounted(),
        "nothing was left, so nothing is mounted"
    );
}
