//! A library is upgraded under an extension that uses its maps.

use std::fs;

use nke_tests::{Hook, World, stranger};
use serde_json::Value;

use crate::{refused, upgrade};

/// A version of the library, in a directory of its own.
fn flows(world: &World, version: &str, flags: &[&str]) -> String {
    let directory = world.directory().join(version);
    fs::create_dir_all(&directory).expect("the directory is the test's");
    let path = directory.join("flows.o");
    fs::copy(stranger::object("flows.c", "flows", flags), &path).expect("it can be copied");
    let text = format!("identifier = 't.flows'\nversion = '{version}'\n");
    fs::write(path.with_extension("toml"), text).expect("it can be written");
    path.display().to_string()
}

/// A library in the chain, and behind it one that drops by its map.
fn first() -> World {
    let world = World::new();
    world.nke(&["load", &flows(&world, "1.2.0", &[])]).ok();
    let path = world.extensions().join("limit.o");
    let object = stranger::object("limit.c", "limit", &["-DEXTERN", "-DMORE"]);
    fs::copy(object, &path).expect("it can be copied");
    let needs = "[dependencies]\n't.flows' = { version = '^1', maps = ['FLOWS'] }\n";
    let text = format!("identifier = 't.limit'\nversion = '1.0.0'\n{needs}");
    fs::write(path.with_extension("toml"), text).expect("it can be written");
    world.attach(Hook::Xdp, "flows", &["--priority", "10"]);
    world.attach(Hook::Xdp, "limit", &["--priority", "20"]);
    world
}

fn need(world: &World) -> Value {
    let shown: Value = world.nke(&["show", "limit", "--json"]).json();
    shown["extensions"][0]["needs"][0].clone()
}

fn kmid(world: &World, name: &str) -> String {
    world.nke(&["query", name]).ok().stdout.trim().to_owned()
}

/// The id of the map that an extension has pinned.
fn map_id(world: &World, extension: &str) -> Value {
    let maps: Value = world.nke(&["map", "list", extension, "--json"]).json();
    let maps = maps["maps"].as_array().expect("an array").clone();
    let flows = maps.into_iter().find(|map| map["name"] == "FLOWS");
    flows.expect("it has the map")["id"].clone()
}

#[test]
fn the_dependant_goes_on_with_the_maps_that_it_has() {
    let world = first();
    let map = map_id(&world, "limit");
    let upgraded = upgrade(&world, &flows(&world, "1.3.0", &[]));
    assert_eq!(upgraded.fate("FLOWS"), "kept");
    assert_eq!(
        (map_id(&world, "flows"), map_id(&world, "limit")),
        (map.clone(), map.clone())
    );
    assert_eq!(need(&world)["version"], "1.3.0");
    assert_eq!(need(&world)["kmid"].to_string(), kmid(&world, "flows"));
    // The new version is what is held now.
    world.on(&["detach", "flows"]).ok();
    drop(world.nke(&["unload", "flows"]).fails("in-use"));
    world.attach(Hook::Xdp, "flows", &["--priority", "10"]);
    world.nke(&["rollback", "flows"]).ok();
    assert_eq!(need(&world)["version"], "1.2.0");
    assert_eq!(map_id(&world, "limit"), map);
    world.nke(&["unload", "--force", "limit"]).ok();
    world.nke(&["unload", "--force", "flows"]).ok();
    assert!(!world.is_mounted());
}

#[test]
fn what_a_dependant_cannot_do_with_is_refused() {
    let world = first();
    let error = refused(&world, &["upgrade", &flows(&world, "2.0.0", &[])]);
    assert_eq!(
        error,
        "nke: flows: upgrade: limit needs ^1, and 2.0.0 is not that; upgrade or unload limit first\n"
    );
    let other = flows(&world, "1.4.0", &["-DENTRIES=2048"]);
    let error = refused(&world, &["upgrade", &other, "--reset-maps", "FLOWS"]);
    assert_eq!(
        error,
        "nke: flows: upgrade: limit uses its map FLOWS, which is not kept; upgrade or unload limit \
         first\n"
    );
    // Without the dependant it is the user's to give up.
    world.nke(&["unload", "--force", "limit"]).ok();
    world
        .nke(&["upgrade", &other, "--reset-maps", "FLOWS"])
        .ok();
}
