//! `nke libs`: what an object needs, and who provides it.

use nke_tests::{World, stranger};
use serde_json::Value;

use super::{manifest, place, put};

const LIMIT: &str = "limit.c";

fn undeclared(world: &World) {
    let object = stranger::object(LIMIT, "limit", &["-DEXTERN"]);
    place(world, "limit", &object, &manifest("t.limit", "1.0.0", &[]));
}

fn flows(world: &World, name: &str, identifier: &str, version: &str) {
    let object = stranger::object("flows.c", "flows", &[]);
    place(world, name, &object, &manifest(identifier, version, &[]));
}

/// Runs `nke libs limit`: its exit code and what it prints.
fn libs(world: &World) -> (Option<i32>, String) {
    let ran = world.nke(&["libs", "limit"]);
    assert_eq!(ran.stderr, "");
    (ran.code, ran.stdout)
}

#[test]
fn what_is_found_once_is_shown_with_the_line_to_add() {
    let world = World::new();
    undeclared(&world);
    flows(&world, "flows", "t.flows", "1.2.0");
    let at = |name: &str| {
        world
            .extensions()
            .join(format!("{name}.o"))
            .display()
            .to_string()
    };
    let (code, text) = libs(&world);
    assert_eq!(
        text,
        format!(
            "{}\n  map FLOWS, not declared: t.flows 1.2.0 ({})\n[dependencies]\n\"t.flows\" = {{ \
             version = \"^1.2.0\", maps = [\"FLOWS\"] }}\n",
            at("limit"),
            at("flows")
        )
    );
    assert_eq!(code, Some(0));
    // Nothing was loaded for it.
    assert!(!world.is_mounted());
    // Of several versions the highest is meant, and what is loaded before all.
    flows(&world, "newer", "t.flows", "1.3.0");
    assert!(libs(&world).1.contains("t.flows 1.3.0"));
    world.nke(&["load", "flows"]).ok();
    let (code, text) = libs(&world);
    assert!(
        text.contains("t.flows 1.2.0") && text.contains("loaded as flows"),
        "{text}"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn what_nobody_has_is_undefined() {
    let world = World::new();
    undeclared(&world);
    let (code, text) = libs(&world);
    assert!(
        text.contains("  map FLOWS, not declared: nobody\n"),
        "{text}"
    );
    assert_eq!(code, Some(1));
    let json = world.nke(&["libs", "limit", "--json"]);
    assert_eq!(json.code, Some(1));
    let json: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!(json["needs"][0]["kind"], "map");
    assert_eq!(json["needs"][0]["providers"], Value::Array(Vec::new()));
}

#[test]
fn what_several_have_is_shown_with_all() {
    let world = World::new();
    undeclared(&world);
    flows(&world, "flows", "t.flows", "1.2.0");
    flows(&world, "others", "t.others", "0.1.0");
    let (code, text) = libs(&world);
    assert!(
        text.contains("t.flows 1.2.0") && text.contains("t.others 0.1.0"),
        "{text}"
    );
    assert_eq!(code, Some(2));
}

/// kextlibs: "is a plain string match" (its BUGS): what has the name in it was taken for what has
/// the name.
#[test]
fn names_are_compared_whole() {
    let world = World::new();
    undeclared(&world);
    let object = stranger::object("flows.c", "longer", &["-DFLOWS=FLOWS_OF_ALL"]);
    place(
        &world,
        "longer",
        &object,
        &manifest("t.longer", "1.0.0", &[]),
    );
    let object = stranger::object("flows.c", "shorter", &["-DFLOWS=FLOW"]);
    place(
        &world,
        "shorter",
        &object,
        &manifest("t.shorter", "1.0.0", &[]),
    );
    assert_eq!(libs(&world).0, Some(1));
    // Nor is one of the name that is laid out otherwise what is needed.
    let object = stranger::object("flows.c", "other", &["-DENTRIES=7"]);
    place(&world, "other", &object, &manifest("t.other", "1.0.0", &[]));
    assert_eq!(libs(&world).0, Some(1));
    flows(&world, "flows", "t.flows", "1.2.0");
    assert_eq!(libs(&world).0, Some(0));
}

#[test]
fn declared_dependencies_are_looked_for_too() {
    let world = World::new();
    let object = stranger::object(LIMIT, "limit", &[]);
    let needs = [
        ("t.flows", "{ version = '^1', maps = ['FLOWS'] }"),
        ("t.base", "'>=2'"),
    ];
    place(
        &world,
        "limit",
        &object,
        &manifest("t.limit", "1.0.0", &needs),
    );
    flows(&world, "flows", "t.flows", "1.2.0");
    put(&world, "base", 1, &manifest("t.base", "1.9.0", &[]));
    let (code, text) = libs(&world);
    assert!(text.contains("extension t.base >=2: nobody"), "{text}");
    assert!(
        text.contains("extension t.flows ^1: t.flows 1.2.0"),
        "{text}"
    );
    assert!(text.contains("map FLOWS: t.flows 1.2.0"), "{text}");
    assert_eq!(code, Some(1));
    put(&world, "base", 1, &manifest("t.base", "2.0.0", &[]));
    assert_eq!(libs(&world).0, Some(0));
}

#[test]
fn the_kernels_symbols_are_the_kernels() {
    let world = World::new();
    let ran = world.nke(&["libs", &stranger::object("kfuncs.c", "kfuncs", &[])]);
    assert!(
        ran.stdout
            .contains("kernel symbol bpf_dynptr_from_xdp: kernel"),
        "{ran:#?}"
    );
    assert_eq!(ran.code, Some(0));
    let missing = world.nke(&["libs", "no-such-thing"]);
    assert_eq!(missing.code, Some(15));
}
