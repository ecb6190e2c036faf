//! What is printed: JSON of a shape that stays, tables of 80 columns on a terminal, plain text, and no panic
//! when nobody reads it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nke_tests::{Hook, IFACE, Ran, World, binaries, fail, stranger, trail, tree};
use serde_json::Value;

/// What stands in a place of a shape.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A JSON object's fields, with what stands in them: `"id number, name string"`.
fn shape(value: &Value) -> String {
    let Value::Object(fields) = value else {
        fail(format!("an object is expected: {value}"));
    };
    let fields: BTreeMap<_, _> = fields.iter().collect();
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name} {}", kind(value)));
    fields.collect::<Vec<_>>().join(", ")
}

const EXTENSION: &str = "description string, exit null, holders array, hooks array, identifier string, \
                         init null, kmid number, \
                         loads number, name string, needs array, opt_in number, path string, size number, \
                         uses number, version string";
const CHAIN: &str = "cgroup null, claims array, foreign array, hook string, ifindex number, \
                     interface string, mode string, netfilter null, netns string, nodes array, \
                     policy string";
const NODE: &str = "bytes object, enabled bool, extension string, fast_path_id null, form string, id number, kmid number, opt_in \
                    bool, packets object, position number, priority number, program string, \
                    program_id number";
const COUNTS: &str = "dropped number, go_on number, other number";

/// The output of `nke` with these words and `--json`.
#[track_caller]
fn json(world: &World, words: &[&str]) -> Value {
    world.nke(&[words, &["--json"]].concat()).json()
}

#[test]
fn extensions_and_chains_and_nodes() {
    let world = World::new();
    world.attach(Hook::Xdp, "counter", &[]);
    world.attach(Hook::Xdp, &trail::object(1), &["--no-counters"]);

    let list = json(&world, &["list"]);
    assert_eq!(shape(&list), "extensions array");
    for extension in list["extensions"].as_array().expect("it is one") {
        // Only the bundled one says who it is.
        let shape = shape(extension).replace("identifier null", "identifier string");
        assert_eq!(shape, EXTENSION);
        assert!(
            extension["hooks"]
                .as_array()
                .expect("it is one")
                .iter()
                .all(Value::is_string)
        );
    }
    let chains = json(&world, &["chain"]);
    assert_eq!(shape(&chains), "chains array");
    let chain = &chains["chains"][0];
    assert_eq!(shape(chain), CHAIN);
    let (counted, bare) = (&chain["nodes"][0], &chain["nodes"][1]);
    assert_eq!(shape(counted), NODE);
    assert_eq!(
        (shape(&counted["packets"]), shape(&counted["bytes"])),
        (COUNTS.into(), COUNTS.into())
    );
    assert_eq!(shape(bare), NODE.replace("object", "null"));
    assert_eq!(
        (&chain["hook"], &chain["mode"], &chain["policy"]),
        (&"interface/xdp".into(), &"native".into(), &"pass".into(),)
    );
    assert_eq!(
        (&bare["form"], &bare["position"]),
        (&"inline".into(), &2.into())
    );

    // Both, of whatever is asked for.
    let shown = json(&world, &["show", "counter"]);
    assert_eq!(
        shape(&shown),
        "chains array, extensions array, signers array"
    );
    assert_eq!(
        (&shown["extensions"][0], &shown["chains"][0]["nodes"][0]),
        (&list["extensions"][0], counted)
    );
    assert_eq!(
        shown["chains"][0]["nodes"].as_array().map(Vec::len),
        Some(1)
    );
    let shown = json(&world, &["show", &bare["id"].to_string()]);
    assert_eq!(shown["extensions"], Value::Array(Vec::new()));
    assert_eq!(&shown["chains"][0]["nodes"][0], bare);
}

#[test]
fn attachments_just_made() {
    let world = World::new();
    let attach = world.target(&["attach", "counter"]);
    let attached = json(&world, &attach);
    let place = "cgroup null, hook string, interface string, mode string, netfilter null, \
                 netns string";
    let mut fields: Vec<_> = NODE.split(", ").chain(place.split(", ")).collect();
    fields.sort_unstable();
    assert_eq!(shape(&attached), fields.join(", "));
    let netns = world.inside.name();
    assert_eq!(
        (&attached["interface"], &attached["netns"]),
        (&IFACE.into(), &netns.into())
    );
    assert_eq!(
        attached["packets"],
        serde_json::json!({"go_on": 0, "dropped": 0, "other": 0})
    );
}

#[test]
fn what_is_not_known_is_null() {
    let world = World::new();
    // A hook where others have a program, and nke has none.
    let pin = world.reference().join("theirs");
    let object = trail::object(9);
    Ran::of(
        Command::new("bpftool")
            .args(["prog", "load", &object])
            .arg(&pin),
    )
    .ok();
    world
        .inside
        .ip(&format!("link set {IFACE} xdp pinned {}", pin.display()));
    let chains = json(&world, &world.target(&["chain"]));
    let chain = &chains["chains"][0];
    assert_eq!(shape(chain), CHAIN.replace("mode string", "mode null"));
    let foreign = &chain["foreign"][0];
    assert_eq!(
        shape(foreign),
        "above null, before bool, how string, name string, priority null, program_id number"
    );

    // A caller's own namespace needs no name.
    let mut command = Command::new("ip");
    world.dress(&mut command);
    command
        .args(["netns", "exec", world.inside.name()])
        .arg(binaries::nke());
    let chains: Value = Ran::of(command.args(["chain", "-i", IFACE, "--json"])).json();
    let shape_inside = CHAIN
        .replace("mode string", "mode null")
        .replace("netns string", "netns null");
    assert_eq!(shape(&chains["chains"][0]), shape_inside);
}

#[test]
fn nothing_is_an_empty_list() {
    let world = World::new();
    for (words, text) in [
        (&["list"][..], r#"{"extensions":[]}"#),
        (&["chain"], r#"{"chains":[]}"#),
        (&["filter", "list"], r#"{"filters":[]}"#),
    ] {
        assert_eq!(json(&world, words).to_string(), text);
        let plain = world.nke(words).ok().stdout;
        assert_eq!(plain.lines().count(), 1, "{plain}");
    }
}

#[test]
fn rules() {
    let world = World::new();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world
        .on(&["filter", "add", "drop proto tcp to any port 22"])
        .ok();
    let filters = json(&world, &["filter", "list"]);
    assert_eq!(shape(&filters), "filters array");
    let filter = &filters["filters"][0];
    let fields = "attachment number, default string, default_hits object, evicted_sources number, \
                  gone_interfaces array, hook string, interface string, known_hits object, netns string, obscured_hits object, rules array";
    assert_eq!(shape(filter), fields);
    for hits in ["default_hits", "known_hits", "obscured_hits"] {
        assert_eq!(shape(&filter[hits]), "bytes number, packets number");
    }
    let rule = "bytes number, number number, packets number, rule string";
    assert_eq!(shape(&filter["rules"][0]), rule);
}

/// A world with names as long as they come, and counters that have run for years.
fn crowded() -> World {
    let world = World::new();
    let name = "enp129s0f1np1v2";
    world
        .inside
        .ip(&format!("link add {name} type veth peer name other"));
    let long = stranger::object("plain.c", "acme-ddos-mitigation-edge-v2", &[]);
    let target = ["-i", name, "--netns", world.inside.name()];
    for hook in Hook::ALL {
        for (nth, extension) in [&long[..], "counter", "packet-filter"].iter().enumerate() {
            if hook != Hook::Xdp && nth == 0 {
                continue;
            }
            let priority = ["-2147483648", "50", "2147483647"][nth];
            let how = ["--hook", hook.name(), "--priority", priority];
            world
                .nke(&[&["attach", extension], &target[..], &how].concat())
                .ok();
        }
    }
    for counters in pins(&world, "/counters") {
        let map = nke::sys::get(&counters).expect("it is pinned");
        let numbers: [u64; 6] = [
            8_765_432_109_876,
            98_765_432_109,
            9_876_543_210,
            12_345_678_901_234_567,
            98_765_432_109_876,
            9_876_543_210_987,
        ];
        let one: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        let mut all = vec![
            0;
            nke::sys::map::describe(&map)
                .expect("it is a map")
                .value_size as usize
        ];
        for row in all.chunks_exact_mut(64).take(nke::sys::map::cpus()) {
            row[..48].copy_from_slice(&one);
        }
        nke::sys::map::update(&map, &0u32.to_ne_bytes(), &all).expect("it has one entry");
    }
    let rules = world.directory().join("rules");
    let (from, to) = (
        "fd00:1234:5678:9abc:def0:1234:5678:9ab0/124",
        "2001:db8:aaaa:bbbb::/64",
    );
    fs::write(
        &rules,
        format!(
            "default drop\ndrop in log proto tcp from {from} port 1024-65535 to {to} port 22\n"
        ),
    )
    .expect("the directory is ours");
    let rules = rules.display().to_string();
    let hook = ["--hook", "interface/xdp"];
    world
        .nke(&[&["filter", "load", "--force", &rules], &target[..], &hook].concat())
        .ok();
    world
}

/// The pins of the state that end like this.
fn pins(world: &World, end: &str) -> Vec<PathBuf> {
    let lines = tree(&world.state()).into_iter();
    let pins = lines.filter(|line| line.ends_with(end));
    pins.map(|line| world.state().join(line)).collect()
}

#[test]
fn tables_on_a_terminal_are_of_80_columns_and_plain() {
    let world = crowded();
    let id = world.chains()[0].nodes[0].id.to_string();
    for words in [
        &["list"][..],
        &["chain"],
        &["filter", "list"],
        &["show", "packet-filter"],
        &["show", &id],
    ] {
        let text = world.seen(words);
        for line in text.lines() {
            let width = line.chars().count();
            // What is shown alone has a line for each thing, however long.
            let alone = words[0] == "show";
            assert!(width <= 80 || alone, "{width} columns:\n{text}");
            assert_eq!(
                line,
                line.trim_end(),
                "nothing behind the last column:\n{text}"
            );
            assert!(!line.chars().any(char::is_control), "it is plain:\n{text}");
        }
    }
    // Nothing of a name is lost.
    let text = world.seen(&["chain"]);
    let letters: String = text.split_whitespace().collect();
    for part in [
        "acme-ddos",
        "mitigation",
        "enp129s0f1np1v2",
        "packet-filter",
    ] {
        assert!(letters.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_number_stands_in_one_piece() {
    let world = crowded();
    let text = world.nke(&["chain"]).ok().stdout;
    for node in world.chains().iter().flat_map(|chain| &chain.nodes) {
        let (id, priority) = (node.id.to_string(), node.priority.to_string());
        let line = text
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(&id));
        let line = line.unwrap_or_else(|| fail(format!("no line of {id} in\n{text}")));
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[2], priority, "{text}");
        let totals = words[words.len() - 5..].join(" ");
        assert_eq!(totals, expected_totals(), "{text}");
    }
}

/// What the table says of the counters in a crowded world, which every CPU has.
fn expected_totals() -> String {
    let cpus = u64::try_from(nke::sys::map::cpus()).expect("not that many");
    let unit = |number: u64| {
        let number = u128::from(number) * u128::from(cpus);
        let mut scaled = (number, 0, "");
        for suffix in ["k", "M", "G", "T", "P", "E"] {
            if scaled.0 >= 1000 {
                scaled = (scaled.0 / 1000, scaled.0 % 1000, suffix);
            }
        }
        match scaled {
            (whole @ 100.., _, suffix) => format!("{whole}{suffix}"),
            (whole, rest, suffix) => format!("{whole}.{}{suffix}", rest / 100),
        }
    };
    let packets = [8_765_432_109_876, 98_765_432_109, 9_876_543_210]
        .map(unit)
        .join(" ");
    let bytes =
        (12_345_678_901_234_567_u128 + 98_765_432_109_876 + 9_876_543_210_987) * u128::from(cpus);
    let tenths = bytes * 10 / (1 << 50);
    format!("{packets} {}.{} PiB", tenths / 10, tenths % 10)
}

#[test]
fn elsewhere_a_row_is_a_line() {
    let world = crowded();
    let text = world.nke(&["chain"]).ok().stdout;
    let rows = text.lines().filter(|line| line.starts_with(" "));
    let nodes: usize = world.chains().iter().map(|chain| chain.nodes.len()).sum();
    let heads = text.lines().filter(|line| line.starts_with(" #")).count();
    assert_eq!(rows.count(), nodes + heads, "{text}");
    assert!(text.contains(" acme-ddos-mitigation-edge-v2 "), "{text}");
}

/// `nke` with these words, and its output into this file.
#[track_caller]
fn into(
    world: &World,
    words: &[&str],
    stdout: Stdio,
    stderr: Option<Stdio>,
) -> (Option<i32>, String) {
    let mut command = world.command(words);
    let stderr = stderr.unwrap_or_else(Stdio::piped);
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn();
    let output = child
        .and_then(std::process::Child::wait_with_output)
        .expect("it can be run");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A pipe whose reader has gone away.
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_goes_away_is_no_mistake() {
    let world = crowded();
    for words in [
        &["list"][..],
        &["list", "--json"],
        &["chain"],
        &["chain", "--json"],
        &["show", "counter"],
        &["filter", "list"],
        &["filter", "list", "--json"],
        &["--help"],
        &["attach", "--help"],
        &["--version"],
    ] {
        assert_eq!(
            into(&world, words, nobody(), None),
            (Some(0), String::new()),
            "{words:?}"
        );
    }
    // What was asked for is done all the same.
    let attach = world.target(&["attach", "counter"]);
    assert_eq!(
        into(&world, &attach, nobody(), None),
        (Some(0), String::new())
    );
    assert_eq!(
        world.chain(Hook::Xdp).map(|chain| chain.nodes.len()),
        Some(1)
    );

    // Nobody hears the complaint, but the exit code says it.
    for (words, code) in [
        (&["show", "nope"][..], 31),
        (&["attach"], 2),
        (&["nope"], 2),
    ] {
        let (exit, _) = into(&world, words, nobody(), Some(nobody()));
        assert_eq!(exit, Some(code), "{words:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let world = World::new();
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("it is always there")
            .into()
    };
    for words in [&["list"][..], &["chain", "--json"], &["filter", "list"]] {
        let (code, error) = into(&world, words, full(), None);
        let line = "nke: standard output: write: No space left on device (os error 28); what was \
                    asked for is done, and not all of the answer was printed\n";
        assert_eq!((code, error.as_str()), (Some(1), line), "{words:?}");
    }
    assert!(Path::new("/dev/full").exists());
}
