//! What becomes of maps.

use nke_tests::World;

use crate::{attach, here, manifest, object, object_of, refused, seen, upgrade};

#[test]
fn unchanged_ones_are_kept_with_their_contents() {
    let world = World::new();
    let id = attach(&world, &object(1), "interface/xdp", &here(&world));
    world.assert_trail(nke_tests::Hook::Xdp, &[1]);
    let upgraded = upgrade(&world, &object(2));
    for map in ["seen", "flows", "mine", "ours", ".bss"] {
        assert_eq!(upgraded.fate(map), "kept", "{map}: {upgraded:?}");
    }
    assert_eq!(upgraded.fate(".rodata"), "new");
    world.assert_trail(nke_tests::Hook::Xdp, &[2]);
    assert_eq!(seen(&world)[..3], [0, 1, 1]);
    assert!(id > 0);
}

#[test]
fn changed_ones_are_refused_unless_they_are_given_up() {
    let world = World::new();
    attach(&world, &object(1), "interface/xdp", &here(&world));
    let larger = object_of(2, &manifest(2), &["-DENTRIES=512"]);
    assert_eq!(
        refused(&world, &["upgrade", &larger]),
        "nke: versions: upgrade: map flows has changed: its number of entries was 256, and is now 512; \
         give its contents up with --reset-maps flows, or have the new version say `migrate` in \
         [maps.\"flows\"]\n"
    );
    assert!(refused(&world, &["upgrade", &larger, "--reset-maps", "none"]).contains("no map none"));
    world
        .nke(&["upgrade", &larger, "--reset-maps", "flows"])
        .ok();
}
