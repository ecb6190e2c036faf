//! Settings that `nke load --set` gave constants: they go over, or the upgrade is refused.

use nke_tests::{Hook, World};
use serde_json::Value;

use crate::{attach, here, manifest, object_of, refused};

/// A version whose constant `version` is a setting.
fn object(id: u8, setting: &str) -> String {
    let text = format!(
        "{}[settings.level]\nvariable = 'version'\n{setting}",
        manifest(id)
    );
    object_of(id, &text, &[])
}

const PLAIN: &str = "type = 'u32'\ndefault = 7\n";

/// Version 1, loaded with a level of 5.
fn first() -> World {
    let world = World::new();
    world
        .nke(&["load", &object(1, PLAIN), "--set", "level=5"])
        .ok();
    attach(&world, "versions", "interface/xdp", &here(&world));
    assert_eq!(level(&world), "5 set");
    world
}

/// The value in force, and where it is from.
fn level(world: &World) -> String {
    let all: Value = world.nke(&["get", "versions", "--json"]).json();
    let setting = &all["settings"][0];
    let value = setting["value"].to_string();
    format!(
        "{} {}",
        value.trim_matches('"'),
        setting["source"].as_str().expect("a word")
    )
}

#[test]
fn what_was_set_stays_set() {
    let world = first();
    let text = world.nke(&["upgrade", &object(2, PLAIN)]).ok().stdout;
    assert!(text.ends_with("  setting kept: level = 5\n"), "{text}");
    assert_eq!(level(&world), "5 set");
    // It is in force: the program tells by its constant whether it is the default.
    world.assert_trail(Hook::Xdp, &[2]);
    let third: Value = world.nke(&["upgrade", &object(3, PLAIN), "--json"]).json();
    assert_eq!(
        third["settings"][0],
        serde_json::json!({ "name": "level", "value": 5 })
    );
    assert_eq!(level(&world), "5 set");
    world.nke(&["rollback", "versions"]).ok();
    assert_eq!(level(&world), "5 set");
}

#[test]
fn what_is_the_default_follows_the_default() {
    let world = World::new();
    attach(&world, &object(1, PLAIN), "interface/xdp", &here(&world));
    assert_eq!(level(&world), "7 default");
    let text = world
        .nke(&["upgrade", &object(2, "type = 'u32'\ndefault = 9\n")])
        .ok();
    assert!(!text.stdout.contains("setting"), "{}", text.stdout);
    assert_eq!(level(&world), "9 default");
}

#[test]
fn what_the_new_version_cannot_take_is_refused_unless_it_is_given_up() {
    let world = first();
    for (version, cause) in [
        (
            object_of(2, &manifest(2), &["-DONLY_XDP"]),
            "2.0.0 has no such setting",
        ),
        (
            object(2, "type = 'i32'\n"),
            "it was u32, and is i32 in 2.0.0",
        ),
        (
            object(2, "type = 'u32'\nmaximum = 4\n"),
            "2.0.0 does not take it: ",
        ),
    ] {
        let error = refused(&world, &["upgrade", &version]);
        assert!(
            error.starts_with(&format!(
                "nke: versions: upgrade: setting level was set to 5, and {cause}"
            )),
            "{error}"
        );
        assert!(
            error.ends_with("; --reset-settings level gives it up\n"),
            "{error}"
        );
        assert_eq!(level(&world), "5 set");
    }
    let bounded = object(2, "type = 'u32'\nmaximum = 4\ndefault = 3\n");
    let error = refused(&world, &["upgrade", &bounded, "--reset-settings", "lvl"]);
    assert!(error.contains("lvl"), "{error}");
    world
        .nke(&["upgrade", &bounded, "--reset-settings", "level"])
        .ok();
    assert_eq!(level(&world), "3 default");
    // The version before has what it had.
    world.nke(&["rollback", "versions"]).ok();
    assert_eq!(level(&world), "5 set");
}

#[test]
fn an_apply_that_upgrades_carries_them_too() {
    let world = first();
    let netns = world.inside.name();
    let declare = |object: &str, more: &str| {
        let text = format!(
            "[[attach]]\nextension = '{object}'\nhook = 'interface/xdp'\ninterface = '{}'\n\
             netns = '{netns}'\n[[load]]\nextension = '{object}'\n{more}",
            nke_tests::IFACE
        );
        std::fs::write(world.directory().join("a.toml"), text).expect("the directory is ours");
    };
    declare(&object(2, PLAIN), "");
    world.nke(&["apply", "a.toml"]).ok();
    world.assert_trail(Hook::Xdp, &[2]);
    assert_eq!(level(&world), "5 set");
    // What the new version cannot take changes nothing.
    declare(&object(3, "type = 'i32'\n"), "");
    let error = refused(&world, &["apply", "a.toml"]);
    assert!(error.contains("setting level was set to 5"), "{error}");
    // What is declared counts.
    let third = object(3, PLAIN);
    let set = format!("[[set]]\nextension = '{third}'\nsettings = {{ level = 6 }}\n");
    declare(&third, &set);
    world.nke(&["apply", "a.toml"]).ok();
    assert_eq!(level(&world), "6 set");
}
