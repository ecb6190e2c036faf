//! Settings in declarations: checked with all else, in force with it, and saved.

use nke_tests::{Hook, World, stranger};
use serde_json::{Value, json};

use crate::{apply, assert_nothing_to_change, declare};

/// A world in which `settings` is found by its name.
fn world() -> World {
    let world = World::new();
    let object = stranger::object("settings.c", "settings", &[]);
    let file = world.extensions().join("settings.o");
    std::fs::copy(object, file).expect("the directory is the test's");
    world
}

fn value(world: &World, name: &str) -> Value {
    let got: Value = world.nke(&["get", "settings", name, "--json"]).json();
    got["settings"][0]["value"].clone()
}

const ATTACH: &str = "[[attach]]\nextension = \"settings\"\nhook = \"interface/xdp\"\nHERE\n";

#[test]
fn settings_come_with_their_extension() {
    let world = world();
    let values = "drop-port = 0x35, fixed = 6, label = \"a \\\"b\\\"\", allowed = \"10.0.0.9\"";
    let set = format!("{ATTACH}[[set]]\nextension = \"settings\"\nsettings = {{ {values} }}\n");
    declare(&world, "a.toml", &set);
    let diff = world.nke(&["diff", "a.toml"]);
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    assert!(
        diff.stdout.contains("@@ settings of settings @@\n")
            && diff.stdout.contains("-drop-port = 7\n")
            && diff.stdout.contains("+drop-port = 53\n"),
        "{}",
        diff.stdout
    );
    let told = apply(&world, "a.toml").ok().stdout;
    assert!(told.contains("set settings: fixed = 6\n"), "{told}");
    assert_eq!(value(&world, "drop-port"), json!(53));
    // This one can only be set as it is loaded.
    assert_eq!(value(&world, "fixed"), json!(6));
    assert_eq!(value(&world, "label"), json!("a \"b\""));
    assert_eq!(value(&world, "allowed"), json!("10.0.0.9"));
    assert_nothing_to_change(&world, "a.toml");

    // What is loaded changes in place, and what is not named stays.
    let id = world.chain(Hook::Xdp).expect("a chain").node("settings").id;
    let other = format!("{ATTACH}[[set]]\nextension = \"settings\"\n[set.settings]\ndrop-port = 7");
    declare(&world, "b.toml", &other);
    let plan = world.nke(&["diff", "--json", "b.toml"]).stdout;
    let plan: Value = serde_json::from_str(&plan).expect("it is JSON");
    assert_eq!(
        plan["settings"],
        json!([{"extension": "settings", "setting": "drop-port", "running": 53, "wanted": 7}])
    );
    let told = apply(&world, "b.toml").ok().stdout;
    assert_eq!(told, "set settings: drop-port = 7\n");
    assert_eq!(value(&world, "drop-port"), json!(7));
    assert_eq!(value(&world, "allowed"), json!("10.0.0.9"));
    assert_eq!(
        world.chain(Hook::Xdp).expect("a chain").node("settings").id,
        id
    );
    assert_nothing_to_change(&world, "b.toml");
}

#[test]
fn a_wrong_setting_changes_nothing() {
    let world = world();
    let refused = |settings: &str, line: usize, part: &str| {
        let text = format!("[[load]]\nextension = \"settings\"\n[[set]]\n{settings}");
        declare(&world, "a.toml", &text);
        let said = apply(&world, "a.toml").fails("declaration");
        assert!(said.contains(&format!("a.toml:{line}: ")), "{said}");
        assert!(said.contains(part), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let all = || {
        let head = "extension = \"settings\"\n[set.settings]\ndrop-port = 9\n";
        refused(&format!("{head}colour = 'red'"), 7, "it has allowed");
        refused(&format!("{head}allowed = true"), 7, "is no ipv4");
        refused(&format!("{head}pattern = -1"), 7, "settings.pattern");
        refused(&format!("{head}pattern = [1]"), 7, "settings.pattern");
        let twice = "\n[[set]]\nextension = 'settings'\nsettings = { drop-port = 10 }";
        refused(&format!("{head}{twice}"), 10, "another value");
        refused("extension = 'settings'", 3, "it sets nothing");
        refused("extension = 'settings'\nsettings = 3", 5, "SETTING = VALUE");
        let high = "extension = 'settings'\nsettings = { drop-port = 2000 }";
        refused(high, 5, "2000 is above the maximum 1024");
        let stranger = "extension = 'counter'\nsettings = {}";
        refused(stranger, 3, "counter is not loaded");
    };
    all();
    assert!(!world.is_mounted(), "nothing is loaded");
    world.nke(&["load", "settings"]).ok();
    all();
    let frozen = "extension = 'settings'\nsettings = { drop-port = 9, fixed = 6 }";
    refused(frozen, 5, "load --set");
    assert_eq!(value(&world, "drop-port"), json!(7));
    assert_eq!(value(&world, "fixed"), json!(5));
}

#[test]
fn settings_of_what_waits_wait() {
    let world = world();
    let text = format!(
        "{}[[set]]\nextension = \"settings\"\nsettings = {{ drop-port = 9 }}\n",
        ATTACH.replace("HERE", "interface = \"nowhere0\"\nNETNS")
    );
    declare(&world, "a.toml", &text);
    let told = apply(&world, "a.toml").ok().stdout;
    assert!(
        told.contains("waiting for extension settings: its settings"),
        "{told}"
    );
    assert!(!world.is_mounted(), "nothing is loaded");
}

#[test]
fn settings_that_were_saved_come_back() {
    let world = world();
    let load = ["load", "settings", "--set", "fixed=8", "--set", "label=one"];
    world.nke(&load).ok();
    world.nke(&["set", "settings", "drop-port=1000"]).ok();
    world.nke(&["load", "settings", "--instance", "b"]).ok();
    let saved = world.nke(&["save"]).ok().stdout;
    let set = "[[set]]\nextension = \"settings\"\n\
               settings = { drop-port = 1000, fixed = 8, label = \"one\" }\n";
    assert!(saved.ends_with(set), "{saved}");
    assert_eq!(saved.matches("[[set]]").count(), 1, "b has its defaults");
    world.nke(&["save", "saved.toml"]).ok();
    assert_nothing_to_change(&world, "saved.toml");
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    assert!(!world.is_mounted(), "nothing is left");
    apply(&world, "saved.toml").ok();
    assert_eq!(world.nke(&["save"]).ok().stdout, saved);
    assert_eq!(value(&world, "fixed"), json!(8));
}
