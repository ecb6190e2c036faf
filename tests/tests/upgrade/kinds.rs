//! Entries of maps of every kind that can be copied, and those that cannot both be.

use nke_tests::{World, stranger};
use serde_json::Value;

use crate::{attach, here, refused, upgrade};

const MAPS: [&str; 6] = ["slots", "each", "recent", "recent_each", "routes", "pairs"];

fn version(id: u8, flags: &[&str]) -> String {
    let rules = MAPS.map(|map| format!("[maps.{map}]\nmigrate = 'members'\n"));
    let manifest = format!("version = '{id}.0.0'\n{}", rules.concat());
    let (number, text) = (format!("-DID={id}"), format!("-DMANIFEST={manifest:?}"));
    let flags = [&[number.as_str(), text.as_str()], flags].concat();
    stranger::object("migrate.c", "migrate", &flags)
}

fn map(world: &World, words: &[&str]) -> String {
    let words = [&["map", words[0], "migrate"], &words[1..]].concat();
    world.nke(&words).ok().stdout
}

fn first() -> World {
    let world = World::new();
    attach(&world, &version(1, &[]), "interface/xdp", &here(&world));
    world
}

/// What an entry has, one for each CPU where there are several.
fn values(world: &World, name: &str, key: &str) -> Vec<Value> {
    let words = ["map", "lookup", "migrate", name, key, "--json"];
    let entry: Value = world.nke(&words).json();
    let all = entry["values"].as_array().cloned();
    all.unwrap_or_else(|| vec![entry["value"].clone()])
}

#[test]
fn what_each_cpu_counted_is_copied_for_each() {
    let world = first();
    for name in ["slots", "each", "recent_each"] {
        map(&world, &["update", name, "3", "{count: 7}"]);
        map(&world, &["update", name, "3", "{count: 9}", "--cpu", "0"]);
    }
    let before = values(&world, "slots", "3");
    let upgraded = upgrade(&world, &version(2, &[]));
    for name in ["slots", "each", "recent_each"] {
        assert_eq!(upgraded.fate(name), "copied");
        let after = values(&world, name, "3");
        assert_eq!(after.len(), before.len());
        for (cpu, value) in after.iter().enumerate() {
            let count = if cpu == 0 { 9 } else { 7 };
            assert_eq!(
                *value,
                serde_json::json!({ "fresh": 0, "count": count }),
                "{name}"
            );
        }
    }
    // What was never written is not, or is zero.
    assert_eq!(values(&world, "slots", "1")[0]["count"], 0);
    let words = ["map", "lookup", "migrate", "each", "1"];
    drop(world.nke(&words).fails("no-entry"));
    world.nke(&["rollback", "migrate"]).ok();
    assert_eq!(values(&world, "slots", "3"), before);
}

#[test]
fn recent_entries_and_prefixes_are_copied() {
    let world = first();
    for key in 1..=40 {
        map(
            &world,
            &["update", "recent", &key.to_string(), "{count: 5}"],
        );
    }
    for (prefix, count) in [
        ("10.0.0.0/8", "1"),
        ("10.1.0.0/16", "2"),
        ("0.0.0.0/0", "3"),
    ] {
        map(
            &world,
            &["update", "routes", prefix, &format!("{{count: {count}}}")],
        );
    }
    let entries = |name: &str| map(&world, &["dump", name]).lines().count();
    let before = (entries("recent"), entries("routes"));
    assert_eq!(before, (40, 3));
    let upgraded = upgrade(&world, &version(2, &[]));
    assert_eq!(
        (upgraded.fate("recent"), upgraded.fate("routes")),
        ("copied", "copied")
    );
    assert_eq!((entries("recent"), entries("routes")), before);
    assert_eq!(values(&world, "recent", "17")[0]["count"], 5);
    // The longest prefix that fits, still.
    for (address, count) in [("10.1.2.3/32", 2), ("10.2.2.3/32", 1), ("192.0.2.1/32", 3)] {
        assert_eq!(
            values(&world, "routes", address)[0]["count"],
            count,
            "{address}"
        );
    }
}

#[test]
fn recent_entries_that_would_go_are_refused() {
    let world = first();
    let error = refused(&world, &["upgrade", &version(2, &["-DFEWER"])]);
    assert!(
        error.contains("map recent has changed: ") && error.contains("fewer entries"),
        "{error}"
    );
}

#[test]
fn two_keys_that_become_one_are_refused() {
    let world = first();
    map(
        &world,
        &["update", "pairs", "{one: 1, other: 1}", "{count: 5}"],
    );
    let copied = version(2, &[]);
    map(
        &world,
        &["update", "pairs", "{one: 1, other: 2}", "{count: 6}"],
    );
    let error = refused(&world, &["upgrade", &copied]);
    assert!(
        error.starts_with("nke: migrate: map pairs: copy: ")
            && error.ends_with("two entries have one key in the new version\n"),
        "{error}"
    );
    map(&world, &["delete", "pairs", "{one: 1, other: 2}"]);
    assert_eq!(upgrade(&world, &copied).fate("pairs"), "copied");
    assert_eq!(values(&world, "pairs", "{one: 1}")[0]["count"], 5);
}
