//! Extensions that need others: what is loaded with them, in which order, in which versions, and
//! when it goes again.

mod libs;
mod maps;
mod turns;
mod versions;

use std::{fs, path::PathBuf};

use nke_tests::{Hook, World, trail};
use serde_json::Value;

/// Puts an extension on the search path: a `trail` program with a manifest beside it.
fn put(world: &World, name: &str, number: u8, manifest: &str) -> PathBuf {
    place(world, name, &trail::object(number), manifest)
}

/// Puts an object on the search path, with a manifest beside it.
fn place(world: &World, name: &str, object: &str, manifest: &str) -> PathBuf {
    let path = world.extensions().join(format!("{name}.o"));
    fs::copy(object, &path).expect("the object can be copied");
    fs::write(path.with_extension("toml"), manifest).expect("the manifest can be written");
    path
}

/// A manifest with an identifier, a version and dependencies.
fn manifest(identifier: &str, version: &str, needs: &[(&str, &str)]) -> String {
    let needs = needs
        .iter()
        .map(|(who, range)| format!("{who:?} = {range}\n"));
    let needs: String = needs.collect();
    format!("identifier = '{identifier}'\nversion = '{version}'\n[dependencies]\n{needs}")
}

/// Names, load counts and use counts of what is loaded, in the order in which it was.
fn loaded(world: &World) -> Vec<(String, u32, u32)> {
    let list = world.list().into_iter();
    list.map(|e| (e.name, e.loads, e.uses)).collect()
}

fn names(world: &World) -> Vec<String> {
    world.list().into_iter().map(|e| e.name).collect()
}

/// `nke show` of one extension.
fn show(world: &World, name: &str) -> Value {
    let mut shown: Value = world.nke(&["show", name, "--json"]).json();
    shown["extensions"][0].take()
}

/// A chain of three: top needs mid and base, mid needs base.
fn three(world: &World) {
    put(world, "base", 1, &manifest("t.base", "1.2.0", &[]));
    put(
        world,
        "mid",
        2,
        &manifest("t.mid", "1.0.0", &[("t.base", "'^1'")]),
    );
    let needs = [("t.base", "'>=1.1, <2'"), ("t.mid", "'*'")];
    put(world, "top", 3, &manifest("t.top", "1.0.0", &needs));
}

#[test]
fn providers_are_loaded_first_and_go_last() {
    let world = World::new();
    three(&world);
    world.nke(&["load", "top"]).ok();
    let expected = [("base", 0, 2), ("mid", 0, 1), ("top", 1, 0)];
    let expected = expected.map(|(name, loads, uses)| (name.to_owned(), loads, uses));
    assert_eq!(loaded(&world), expected);

    let top = show(&world, "top");
    assert_eq!(top["needs"][0]["name"], "base");
    assert_eq!(top["needs"][0]["range"], ">=1.1, <2");
    assert_eq!(top["needs"][1]["identifier"], "t.mid");
    let base = show(&world, "base");
    assert_eq!(base["holders"][0]["kind"], "dependant");
    assert_eq!(base["holders"][0]["name"], "mid");
    assert_eq!(base["holders"][1]["name"], "top");
    let text = world.nke(&["list"]).ok().stdout;
    assert!(text.contains("NEEDS"), "{text}");
    let text = world.nke(&["show", "top"]).ok().stdout;
    assert!(
        text.contains("(t.base 1.2.0, any of >=1.1, <2 will do)"),
        "{text}"
    );

    world.nke(&["unload", "top"]).ok();
    assert_eq!(names(&world), [""; 0]);
    assert!(!world.is_mounted());
}

#[test]
fn what_is_needed_is_not_unloaded_and_its_dependants_are_named() {
    let world = World::new();
    three(&world);
    world.nke(&["load", "base", "top"]).ok();
    let (mid, top) = (
        show(&world, "mid")["kmid"].clone(),
        show(&world, "top")["kmid"].clone(),
    );
    let before = world.list();
    let error = world.nke(&["unload", "base"]).fails("in-use");
    assert!(
        error.contains(&format!("extension mid {mid}, extension top {top}")),
        "{error}"
    );
    // Nobody asked for it by name, so there is nothing to take back either.
    let error = world.nke(&["unload", "mid"]).fails("in-use");
    assert!(error.contains(&format!("extension top {top}")), "{error}");
    let error = world.nke(&["unload", "mid", "--force"]).fails("in-use");
    assert!(error.contains(&format!("extension top {top}")), "{error}");
    assert_eq!(world.list(), before);

    // What was asked for by name outlives those that need it.
    world.nke(&["unload", "top"]).ok();
    assert_eq!(loaded(&world), [("base".to_owned(), 1, 0)]);
}

#[test]
fn one_instance_is_shared_and_goes_with_the_last() {
    let world = World::new();
    put(&world, "base", 1, &manifest("t.base", "1.2.0", &[]));
    for (name, number) in [("one", 2), ("two", 3)] {
        put(
            &world,
            name,
            number,
            &manifest(&format!("t.{name}"), "1.0.0", &[("t.base", "'^1'")]),
        );
    }
    world.nke(&["load", "one"]).ok();
    let kmid = show(&world, "base")["kmid"].clone();
    world.nke(&["load", "two"]).ok();
    let base = show(&world, "base");
    assert_eq!((&base["kmid"], &base["uses"]), (&kmid, &Value::from(2)));
    world.nke(&["unload", "one"]).ok();
    let base = show(&world, "base");
    assert_eq!((&base["kmid"], &base["uses"]), (&kmid, &Value::from(1)));
    world.nke(&["unload", "two"]).ok();
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn attaching_loads_and_detaching_releases() {
    let world = World::new();
    three(&world);
    world.on(&["attach", "top"]).ok();
    assert_eq!(names(&world), ["base", "mid", "top"]);
    world.assert_trail(Hook::Xdp, &[3]);
    world.on(&["attach", "base"]).ok();
    world.on(&["detach", "top"]).ok();
    assert_eq!(loaded(&world), [("base".to_owned(), 0, 1)]);
    world.on(&["detach", "base"]).ok();
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn a_replacement_brings_what_it_needs() {
    let world = World::new();
    three(&world);
    world.on(&["attach", "base"]).ok();
    world.on(&["replace", "base", "top"]).ok();
    assert_eq!(names(&world), ["base", "mid", "top"]);
    put(&world, "lone", 9, "identifier = 't.lone'");
    world.on(&["replace", "top", "lone"]).ok();
    assert_eq!(names(&world), ["lone"]);
    world.assert_trail(Hook::Xdp, &[9]);
}

#[test]
fn what_others_need_is_not_replaced_by_another_of_its_name() {
    let world = World::new();
    three(&world);
    world.nke(&["load", "top"]).ok();
    world.on(&["attach", "base"]).ok();
    let other = world.directory().join("base.o");
    fs::copy(trail::object(7), &other).expect("it can be copied");
    let other = other.display().to_string();
    let before = (world.list(), world.chains());
    let _error = world.on(&["replace", "base", &other]).fails("name-clash");
    assert_eq!((world.list(), world.chains()), before);
    // Nobody else needs it any more.
    world.nke(&["unload", "top"]).ok();
    world.on(&["replace", "base", &other]).ok();
    world.assert_trail(Hook::Xdp, &[7]);
}

#[test]
fn what_fails_leaves_nothing_of_its_providers() {
    let world = World::new();
    three(&world);
    // Its manifest names a map that the provider does not have.
    let needs = [("t.base", "{ maps = ['facts'] }"), ("t.mid", "'*'")];
    let object = nke_tests::stranger::object("maps.c", "maps", &[]);
    let text = manifest("t.bad", "1.0.0", &needs).replace("facts", "hash");
    place(&world, "bad", &object, &text);
    let error = world.nke(&["load", "bad"]).fails("not-shared");
    assert!(
        error.contains("map hash: extension base does not provide it: it has no such map"),
        "{error}"
    );
    assert_eq!(names(&world), [""; 0]);
    assert!(!world.is_mounted());
    // What was there before stays.
    world.nke(&["load", "mid"]).ok();
    let before = world.list();
    let _error = world.nke(&["load", "bad"]).fails("not-shared");
    let _error = world.on(&["attach", "bad"]).fails("not-shared");
    assert_eq!(world.list(), before);
}
