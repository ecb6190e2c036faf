//! The routines of extensions of which one needs the other: `init` from the provider on, `exit` back to it.

use nke_tests::{World, kernel, stranger};

use super::{manifest, names, place};

const TURNS: &str = "{ version = '*', maps = ['turns'] }";

/// An extension that writes down its routines' turns in the map that `base` has.
fn extension(world: &World, name: &str, who: u8, needs: &[(&str, &str)]) {
    let object = stranger::object("turns.c", name, &[&format!("-DWHO={who}")]);
    let manifest = manifest(&format!("t.{name}"), "1.0.0", needs);
    let manifest = format!("init = 'start'\nexit = 'finish'\n{manifest}");
    place(world, name, &object, &manifest);
}

#[test]
fn routines_run_in_the_order_of_dependencies() {
    let world = World::new();
    // By their names they would come in another order.
    extension(&world, "z-base", 1, &[]);
    extension(&world, "m-mid", 2, &[("t.z-base", TURNS)]);
    let needs = [("t.m-mid", "'*'"), ("t.z-base", TURNS)];
    extension(&world, "a-top", 3, &needs);
    world.nke(&["load", "a-top"]).ok();
    let turns = world.state().join("extensions/z-base/maps/turns");
    let came = [3, 10, 20, 30];
    assert_eq!(kernel::counts(&turns)[..4], came);
    assert_eq!(names(&world), ["z-base", "m-mid", "a-top"]);

    let kept = world.reference().join("turns");
    kernel::pin_again(&turns, &kept);
    world.nke(&["unload", "a-top"]).ok();
    assert_eq!(names(&world), [""; 0]);
    assert_eq!(kernel::counts(&kept)[..], [6, 10, 20, 30, 31, 21, 11, 0]);
}
