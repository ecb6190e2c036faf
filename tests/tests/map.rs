//! `nke map`: maps of extensions that know nothing of nke, by their types.

use std::{io::Read as _, process::Stdio};

use nke_tests::{Hook, World, stranger};
use serde_json::{Value, json};

fn loaded() -> World {
    let world = World::new();
    let object = stranger::object("every_map.c", "every_map", &[]);
    world.nke(&["load", &object]).ok();
    world
}

fn map(world: &World, words: &[&str]) -> nke_tests::Ran {
    let [verb, rest @ ..] = words else {
        return world.nke(&["map"]);
    };
    world.nke(&[&["map", verb, "every_map"], rest].concat())
}

/// What it prints, in lines.
#[track_caller]
fn told(world: &World, words: &[&str]) -> Vec<String> {
    let text = map(world, words).ok().stdout;
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn refused(world: &World, words: &[&str], name: &str, part: &str) {
    let error = map(world, words).fails(name);
    assert!(error.contains(part), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

const FLOW: &str = "{source: 10.0.0.1, ports: [80, 443]}";
const ABOUT: &str = "{state: SHUT, name: \"eth0\", low: 5, high: 3, number: 7, bytes: [7, 0, 0, 0], \
                     pointer: 0x10, address: fd01::1}";

#[test]
fn what_is_printed_can_be_typed() {
    let world = loaded();
    map(&world, &["update", "flows", FLOW, ABOUT]).ok();
    let line = format!("{FLOW} => {ABOUT}");
    assert_eq!(told(&world, &["dump", "flows"]), [line.as_str()]);
    assert_eq!(told(&world, &["lookup", "flows", FLOW]), [line.as_str()]);
    let dump: Value = map(&world, &["dump", "flows", "--json"]).json();
    let [entry] = dump["entries"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    else {
        panic!("one entry is there: {dump}");
    };
    assert_eq!(
        (&dump["complete"], &entry["key"]["source"]),
        (&json!(true), &json!("10.0.0.1"))
    );
    let [key, value] = ["key", "value"].map(|part| entry[part].to_string());
    map(&world, &["delete", "flows", &key]).ok();
    assert_eq!(told(&world, &["dump", "flows"]), [] as [String; 0]);
    map(&world, &["update", "flows", &key, &value]).ok();
    assert_eq!(told(&world, &["dump", "flows"]), [line]);
    // What is left out is zero, and one member of a union is enough.
    map(&world, &["update", "flows", "{}", "{bytes: [1, 1]}"]).ok();
    let lookup: Value = map(&world, &["lookup", "flows", "{}", "--json"]).json();
    assert_eq!(
        (&lookup["value"]["number"], &lookup["value"]["state"]),
        (&json!(257), &json!("OPEN"))
    );
}

#[test]
fn kinds_of_maps() {
    let world = loaded();
    map(&world, &["update", "list", "3", "18446744073709551615"]).ok();
    assert_eq!(
        told(&world, &["dump", "list"])[2..],
        ["2 => 0", "3 => 18446744073709551615"]
    );
    map(&world, &["update", "nets", "10.0.0.0/8", "5"]).ok();
    assert_eq!(told(&world, &["dump", "nets"]), ["10.0.0.0/8 => 5"]);
    assert_eq!(
        told(&world, &["lookup", "nets", "10.9.9.9"]),
        ["10.9.9.9/32 => 5"]
    );
    map(&world, &["update", "recent", "1", "2"]).ok();
    assert_eq!(told(&world, &["dump", "recent"]), ["1 => 2"]);
    map(&world, &["update", "pairs", "0", "{pair: [5, 6]}"]).ok();
    assert_eq!(
        told(&world, &["dump", "pairs"]),
        ["0 => {lock: {val: 0}, pair: [5, 6]}"]
    );
    // A queue: pushed, seen, popped.
    for n in ["4", "5"] {
        map(&world, &["update", "line", n]).ok();
    }
    assert_eq!(told(&world, &["lookup", "line"]), ["4"]);
    assert_eq!(told(&world, &["delete", "line"]), ["4"]);
    assert_eq!(told(&world, &["delete", "line"]), ["5"]);
    refused(&world, &["delete", "line"], "no-entry", "it is empty");
    // Maps in maps are shown by their ids.
    let inner: Value = map(&world, &["list", "--json"]).json();
    let maps = inner["maps"].as_array().expect("maps are listed");
    assert_eq!(maps.len(), 15, "{inner}");
    let outer = told(&world, &["dump", "outer"]);
    assert!(
        outer.len() == 1 && outer[0].starts_with("1 => "),
        "{outer:?}"
    );
}

#[test]
fn each_cpu_has_a_value() {
    let world = loaded();
    let cpus = told(&world, &["lookup", "each", "0"]).len();
    map(&world, &["update", "each", "1", "7"]).ok();
    let values = |key: &str| -> Vec<Value> {
        let entry: Value = map(&world, &["lookup", "each", key, "--json"]).json();
        entry["values"]
            .as_array()
            .expect("each has a value")
            .clone()
    };
    assert_eq!(values("1"), vec![json!(7); cpus]);
    map(&world, &["update", "each", "1", "9", "--cpu", "0"]).ok();
    let mut expected = vec![json!(7); cpus];
    expected[0] = json!(9);
    assert_eq!(values("1"), expected);
    assert_eq!(values("0"), vec![json!(0); cpus]);
    assert_eq!(told(&world, &["lookup", "each", "1"])[0], "1 cpu 0 => 9");
    map(&world, &["update", "each_hash", "5", "6"]).ok();
    assert_eq!(told(&world, &["dump", "each_hash"]).len(), cpus);
    let none = cpus.to_string();
    refused(
        &world,
        &["update", "each", "1", "9", "--cpu", &none],
        "map-use",
        "there is no such CPU",
    );
    refused(
        &world,
        &["update", "list", "1", "9", "--cpu", "0"],
        "map-use",
        "no value for each CPU",
    );
}

#[test]
fn variables_have_names() {
    let world = loaded();
    assert_eq!(
        told(&world, &["dump", ".data"]),
        [
            "drop_port = 9",
            "enabled = true",
            "below = -3",
            "state = SHUT",
            "label = \"first\""
        ]
    );
    map(&world, &["update", ".data", "below", "-7"]).ok();
    map(&world, &["update", ".data", "state", "OPEN"]).ok();
    assert_eq!(told(&world, &["lookup", ".data", "below"]), ["below = -7"]);
    assert_eq!(
        told(&world, &["lookup", ".data", "state"]),
        ["state = OPEN"]
    );
    refused(
        &world,
        &["update", ".data", "label", "other"],
        "map-use",
        "could see half of them",
    );
    refused(
        &world,
        &["update", ".data", "enabled", "2000"],
        "value",
        "does not fit _Bool",
    );
    refused(
        &world,
        &["update", ".data", "nope", "1"],
        "no-map",
        "it has drop_port, enabled, below",
    );
    refused(
        &world,
        &["update", ".rodata", "limit", "1"],
        "map-use",
        "it is frozen",
    );
    refused(
        &world,
        &["delete", ".data", "below"],
        "map-use",
        "variables, which stay",
    );
    assert_eq!(told(&world, &["dump", ".rodata"]), ["limit = 5"]);
}

#[test]
fn what_cannot_be_read_is_told_why() {
    let world = loaded();
    for verb in ["dump", "lookup", "delete"] {
        let key: &[&str] = if verb == "dump" { &[] } else { &["1"] };
        refused(
            &world,
            &[&[verb, "ring"], key].concat(),
            "map-use",
            "its records are read once",
        );
        refused(
            &world,
            &[&[verb, "sockets"], key].concat(),
            "map-use",
            "only who holds one open",
        );
    }
    refused(&world, &["dump", "line"], "map-use", "use lookup");
    refused(
        &world,
        &["update", "outer", "0", "1"],
        "map-use",
        "cannot be typed",
    );
    refused(
        &world,
        &["delete", "list", "1"],
        "map-use",
        "the entries of an array stay",
    );
    refused(
        &world,
        &["update", "list", "4", "1"],
        "kernel",
        "no entry of this number",
    );
    refused(
        &world,
        &["update", "list", "x", "1"],
        "value",
        "x is no u32",
    );
    refused(
        &world,
        &["update", "list", "1", "-1"],
        "value",
        "-1 does not fit u64",
    );
    refused(
        &world,
        &["lookup", "flows", FLOW],
        "no-entry",
        "it has no entry {source",
    );
    refused(&world, &["lookup", "flows"], "map-use", "say which entry");
    refused(
        &world,
        &["lookup", "nope", "1"],
        "no-map",
        "it has .bss, .data, .rodata, each and 11 more",
    );
    let error = world
        .nke(&["map", "dump", "nobody", "x"])
        .fails("not-loaded");
    assert!(
        error.contains("extension nobody: find map: it is not loaded"),
        "{error}"
    );
}

#[test]
fn without_types_there_are_bytes() {
    let world = World::new();
    let object = stranger::object_without_btf("data.c", "data", &[]);
    world.nke(&["load", &object]).ok();
    let maps: Value = world.nke(&["map", "list", "data", "--json"]).json();
    let maps = maps["maps"].as_array().expect("maps are listed");
    assert!(!maps.is_empty());
    for map in maps {
        let name = map["name"].as_str().expect("maps have names");
        let dump = world.nke(&["map", "dump", "data", name]).ok().stdout;
        assert!(
            dump.lines()
                .all(|line| line.contains("= 0x") || line.contains("=> 0x")),
            "{dump}"
        );
    }
}

#[test]
fn attachments_have_their_own() {
    let world = World::new();
    world.attach(Hook::In, "packet-filter", &[]);
    let id = world.attach(Hook::Out, "packet-filter", &[]);
    world.at(Hook::Out, &["filter", "add", "drop"]).ok();
    let error = world
        .nke(&["map", "dump", "packet-filter", "RULES"])
        .fails("many-attachments");
    assert!(error.contains("several fit"), "{error}");
    let [by_id, by_hook] = [
        world.nke(&["map", "dump", &id.to_string(), "RULES"]),
        world.at(Hook::Out, &["map", "dump", "packet-filter", "RULES"]),
    ];
    let (by_id, by_hook) = (by_id.ok().stdout, by_hook.ok().stdout);
    assert_eq!(by_id, by_hook);
    assert!(by_id.starts_with("0 => "), "{by_id}");
    let listed: Value = world
        .nke(&["map", "list", "packet-filter", "--json"])
        .json();
    let all = listed["maps"].as_array().expect("maps are listed").iter();
    let rules: Vec<_> = all.filter(|map| map["name"] == "RULES").collect();
    assert_eq!(rules.len(), 2, "{listed}");
    assert!(
        rules.iter().any(|map| map["attachments"] == json!([id])),
        "{listed}"
    );
}

#[test]
fn a_large_map_is_printed_whole() {
    const MANY: usize = 20_000;
    let world = loaded();
    let keys = world.directory().join("keys");
    // By the kernel's own hands: bpftool takes as many lines at once.
    let pin = world.state().join("extensions/every_map/maps/flows");
    let line = |n: usize| {
        let key: Vec<_> = (n as u64).to_ne_bytes().iter().map(u8::to_string).collect();
        let value = vec!["0"; 48].join(" ");
        format!(
            "map update pinned {} key {} value {value}\n",
            pin.display(),
            key.join(" ")
        )
    };
    std::fs::write(&keys, (0..MANY).map(line).collect::<String>()).expect("the file is ours");
    let keys = keys.display().to_string();
    nke_tests::Ran::of(std::process::Command::new("bpftool").args(["batch", "file", &keys])).ok();
    assert_eq!(told(&world, &["dump", "flows"]).len(), MANY);
    let dump: Value = map(&world, &["dump", "flows", "--json"]).json();
    assert_eq!(dump["entries"].as_array().map(Vec::len), Some(MANY));
    // A reader that goes away is no mistake, and has the lock to nobody's harm.
    let mut command = world.command(&["map", "dump", "every_map", "flows"]);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut dumping = piped.spawn().expect("nke starts");
    let mut first = [0; 64];
    let mut output = dumping.stdout.take().expect("it is piped");
    output.read_exact(&mut first).expect("it prints");
    map(&world, &["update", "list", "0", "1"]).ok();
    drop(output);
    let ended = dumping.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stderr, b"");
}

#[test]
fn a_map_that_changes_meanwhile_comes_to_an_end() {
    let world = loaded();
    let maps = world.state().join("extensions/every_map/maps");
    // Prefixes come and go; the kernel walks them from key to key.
    let line = |n: u32| {
        let [a, b, c, d] = (n % 60).to_be_bytes().map(|byte| byte.to_string());
        let key = format!(
            "pinned {} key 32 0 0 0 {a} {b} {c} {d}",
            maps.join("nets").display()
        );
        match n / 60 % 2 {
            0 => format!("map update {key} value 1 0 0 0\n"),
            _ => format!("map delete {key}\n"),
        }
    };
    let lines = world.directory().join("lines");
    std::fs::write(&lines, (0..60_000).map(line).collect::<String>()).expect("the file is ours");
    let mut churn = std::process::Command::new("bpftool")
        .args(["batch", "file", &lines.display().to_string()])
        .stdout(Stdio::null())
        .spawn()
        .expect("bpftool is there");
    let mut dumps = 0;
    while churn.try_wait().expect("it is ours").is_none() {
        let entries = told(&world, &["dump", "nets"]);
        assert!(entries.len() <= 64, "{}", entries.len());
        dumps += 1;
    }
    assert!(dumps > 0, "the map was read while it changed");
    assert!(churn.wait().expect("it has ended").success());
}
