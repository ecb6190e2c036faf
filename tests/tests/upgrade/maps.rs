//! What becomes of maps.

use nke_tests::{Hook, World};

use crate::{attach, here, manifest, object, object_of, refused, seen, upgrade};

/// What version 2 says where it copies the entries of a map that has changed.
fn migrating() -> String {
    format!("{}[maps.flows]\nmigrate = 'members'\n", manifest(2))
}

/// An entry of `flows`, as nke prints it.
fn flow(world: &World, key: &str) -> String {
    let ran = world.nke(&["map", "lookup", "versions", "flows", key, "--json"]);
    ran.ok().stdout
}

#[test]
fn unchanged_ones_are_kept_with_their_contents() {
    let world = World::new();
    let id = attach(&world, &object(1), "interface/xdp", &here(&world));
    world.assert_trail(Hook::Xdp, &[1]);
    let upgraded = upgrade(&world, &object(2));
    for map in ["seen", "flows", "mine", "ours", ".bss"] {
        assert_eq!(upgraded.fate(map), "kept", "{map}: {upgraded:?}");
    }
    assert_eq!(upgraded.fate(".rodata"), "new");
    world.assert_trail(Hook::Xdp, &[2]);
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

#[test]
fn the_same_sizes_with_other_members_are_another_layout() {
    let world = World::new();
    attach(&world, &object(1), "interface/xdp", &here(&world));
    let narrower = object_of(2, &manifest(2), &["-DMEMBERS=3"]);
    let error = refused(&world, &["upgrade", &narrower]);
    assert!(
        error.contains("map flows has changed: value.last: "),
        "{error}"
    );
    let narrower = object_of(2, &migrating(), &["-DMEMBERS=3"]);
    let error = refused(&world, &["upgrade", &narrower]);
    assert!(
        error.contains("last: its numbers would lose something"),
        "{error}"
    );
}

#[test]
fn changed_ones_are_copied_member_by_member_where_the_version_says_so() {
    let world = World::new();
    attach(&world, &object(1), "interface/xdp", &here(&world));
    world.assert_trail(Hook::Xdp, &[1]);
    world.assert_trail(Hook::Xdp, &[1]);
    let before = flow(&world, "1");
    let new = object_of(2, &migrating(), &["-DMEMBERS=2", "-DENTRIES=512"]);
    let upgraded = upgrade(&world, &new);
    assert_eq!(upgraded.fate("flows"), "copied");
    assert_eq!(upgraded.fate("seen"), "kept");
    let after = flow(&world, "1");
    for part in ["\"packets\":2", "\"fresh\":0", "\"last\":1", "[1,2,0]"] {
        let plain: String = after.split_whitespace().collect();
        assert!(plain.contains(part), "{part} of {plain}");
    }
    // The new version goes on with it, and the old one finds its own again.
    world.assert_trail(Hook::Xdp, &[2]);
    assert!(
        flow(&world, "1")
            .split_whitespace()
            .collect::<String>()
            .contains("\"packets\":3")
    );
    world.nke(&["rollback", "versions"]).ok();
    assert_eq!(flow(&world, "1"), before);
    assert_eq!(seen(&world)[..3], [0, 2, 1]);
}

#[test]
fn what_does_not_fit_fails_as_a_whole() {
    let world = World::new();
    attach(&world, &object(1), "interface/xdp", &here(&world));
    for key in 1..=9 {
        let key = key.to_string();
        world
            .nke(&["map", "update", "versions", "flows", &key, "{packets: 5}"])
            .ok();
    }
    let new = object_of(2, &migrating(), &["-DENTRIES=4"]);
    let error = refused(&world, &["upgrade", &new]);
    assert!(error.contains("map flows: copy: "), "{error}");
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn an_attachments_own_maps_come_back_with_the_version_that_understands_them() {
    let world = World::new();
    let id = attach(&world, &object(1), "interface/xdp", &here(&world));
    world.assert_trail(Hook::Xdp, &[1]);
    // Version 2 has one for all.
    let shared = object_of(2, "version = '2.0.0'\ntarget-maps = ['ours']\n", &[]);
    let error = refused(&world, &["upgrade", &shared]);
    assert!(
        error.contains("map mine has changed: it was each attachment's own"),
        "{error}"
    );
    world
        .nke(&["upgrade", &shared, "--reset-maps", "mine"])
        .ok();
    world.assert_trail(Hook::Xdp, &[2]);
    world.nke(&["rollback", "versions"]).ok();
    world.assert_trail(Hook::Xdp, &[1]);
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    let node = world.state().join(format!(
        "chains/interface-xdp/{}-{}/nodes/{}/maps/mine",
        world.inside.inode(),
        world.inside.ifindex(nke_tests::IFACE),
        chain.nodes[0].program_id
    ));
    assert_eq!(nke_tests::kernel::counts(&node)[0], 2, "of {id}");
}
