//! Which version is taken, and what is said when none will do. Both bounds of a range count, which
//! the ancestor's manual promises and its code forgot (OSKext.cpp compares with one only).

use nke_tests::World;

use super::{manifest, names, place, put, show};

/// Several versions of one extension, and one that needs it.
fn versions(world: &World, all: &[&str], range: &str) {
    for version in all {
        let name = format!("base-{}", version.replace('.', "-"));
        put(world, &name, 1, &manifest("t.base", version, &[]));
    }
    put(
        world,
        "top",
        2,
        &manifest("t.top", "1.0.0", &[("t.base", range)]),
    );
}

fn taken(all: &[&str], range: &str) -> String {
    let world = World::new();
    versions(&world, all, range);
    world.nke(&["load", "top"]).ok();
    show(&world, "top")["needs"][0]["version"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_highest_version_that_will_do_is_taken() {
    let all = ["1.0.0", "1.9.0", "1.10.0", "2.0.0"];
    assert_eq!(taken(&all, "'^1'"), "1.10.0");
    assert_eq!(taken(&all, "'>=1, <1.10'"), "1.9.0");
    assert_eq!(taken(&all, "'*'"), "2.0.0");
}

#[test]
fn both_bounds_count() {
    for (range, there) in [("'>=1.2, <2'", "1.1.0"), ("'>=1.2, <2'", "2.0.0")] {
        let world = World::new();
        versions(&world, &[there], range);
        let error = world.nke(&["load", "top"]).fails("no-provider");
        let path = world
            .extensions()
            .join(format!("base-{}.o", there.replace('.', "-")));
        assert_eq!(
            error,
            format!(
                "nke: top: dependencies: t.base: top needs >=1.2, <2, and there is {there} in {}; \
                 put one that will do on the search path\n",
                path.display()
            )
        );
        assert!(!world.is_mounted());
    }
}

#[test]
fn a_newer_one_that_is_compatible_will_do() {
    let world = World::new();
    versions(&world, &[], "'>=1.2, <2'");
    let text = format!(
        "compatible-since = '1.5.0'\n{}",
        manifest("t.base", "3.0.0", &[])
    );
    put(&world, "base", 1, &text);
    world.nke(&["load", "top"]).ok();
    assert_eq!(names(&world), ["base", "top"]);
    // So will the loaded one, of which only its record is read.
    put(
        &world,
        "other",
        3,
        &manifest("t.other", "1.0.0", &[("t.base", "'~1.5'")]),
    );
    world.nke(&["load", "other"]).ok();
    put(
        &world,
        "old",
        4,
        &manifest("t.old", "1.0.0", &[("t.base", "'~1.4'")]),
    );
    let error = world.nke(&["load", "old"]).fails("provider-version");
    assert!(
        error.contains("old needs ~1.4, and base 3.0.0 is loaded"),
        "{error}"
    );
}

#[test]
fn the_loaded_one_is_taken_or_nothing_is() {
    let world = World::new();
    versions(&world, &["1.0.0", "2.0.0"], "'*'");
    world.nke(&["load", "base-1-0-0", "top"]).ok();
    assert_eq!(show(&world, "top")["needs"][0]["version"], "1.0.0");
    put(
        &world,
        "picky",
        3,
        &manifest("t.picky", "1.0.0", &[("t.base", "'^2'")]),
    );
    let before = world.list();
    let error = world.nke(&["load", "picky"]).fails("provider-version");
    assert_eq!(
        error,
        "nke: picky: dependencies: t.base: picky needs ^2, and base-1-0-0 1.0.0 is loaded; upgrade \
         or unload it first\n"
    );
    assert_eq!(world.list(), before);
}

#[test]
fn a_conflict_names_both_ranges() {
    let world = World::new();
    versions(&world, &["1.0.0", "2.0.0"], "'^1'");
    let needs = [("t.base", "'^2'"), ("t.top", "'*'")];
    put(&world, "peak", 3, &manifest("t.peak", "1.0.0", &needs));
    let error = world.nke(&["load", "peak"]).fails("dependency-conflict");
    assert!(
        error.contains("t.base: peak needs ^2, top needs ^1, and no one version will do for all"),
        "{error}"
    );
    assert!(!world.is_mounted());
}

#[test]
fn cycles_are_named() {
    let world = World::new();
    put(
        &world,
        "one",
        1,
        &manifest("t.one", "1.0.0", &[("t.two", "'*'")]),
    );
    put(
        &world,
        "two",
        2,
        &manifest("t.two", "1.0.0", &[("t.one", "'*'")]),
    );
    let error = world.nke(&["load", "one"]).fails("dependency-cycle");
    assert!(
        error.contains("one -> two -> one need each other"),
        "{error}"
    );
    assert!(!world.is_mounted());
}

#[test]
fn what_is_not_there_is_named() {
    let world = World::new();
    put(
        &world,
        "top",
        1,
        &manifest("t.top", "1.0.0", &[("t.base", "'^1'")]),
    );
    let error = world.nke(&["load", "top"]).fails("no-provider");
    assert!(
        error.contains("t.base: top needs ^1, and none is loaded"),
        "{error}"
    );
    // A file that is broken does not stand in the way, and an identifier is compared whole.
    std::fs::write(world.extensions().join("broken.o"), "\x7fELF").expect("it can be written");
    put(&world, "longer", 2, &manifest("t.base2", "1.0.0", &[]));
    put(&world, "shorter", 2, &manifest("t.bas", "1.0.0", &[]));
    let error = world.nke(&["load", "top"]).fails("no-provider");
    assert!(
        error.contains("t.base: top needs ^1, and none is loaded"),
        "{error}"
    );
    put(&world, "base", 2, &manifest("t.base", "1.0.0", &[]));
    world.nke(&["load", "top"]).ok();
}

#[test]
fn what_others_can_write_to_is_not_taken_and_said_to_be_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    versions(&world, &["1.2.0"], "'^1'");
    let path = world.extensions().join("base-1-2-0.o");
    let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
    allow(0o666).expect("the mode can be changed");
    let error = world.nke(&["load", "top"]).fails("untrusted");
    assert!(error.contains("base-1-2-0.o"), "{error}");
    assert!(!world.is_mounted());
    allow(0o644).expect("the mode can be changed");
    world.nke(&["load", "top"]).ok();
}

#[test]
fn another_of_the_providers_name_is_in_its_way() {
    let world = World::new();
    let elsewhere = nke_tests::trail::object(7);
    let path = world.directory().join("base.o");
    std::fs::copy(elsewhere, &path).expect("it can be copied");
    world.nke(&["load", &path.display().to_string()]).ok();
    place(
        &world,
        "base",
        &nke_tests::trail::object(1),
        &manifest("t.base", "1.0.0", &[]),
    );
    put(
        &world,
        "top",
        2,
        &manifest("t.top", "1.0.0", &[("t.base", "'^1'")]),
    );
    let before = world.list();
    let error = world.nke(&["load", "top"]).fails("name-clash");
    assert!(
        error.contains("extension base: load: another object of this name"),
        "{error}"
    );
    assert_eq!(world.list(), before);
}
