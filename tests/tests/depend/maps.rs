//! A dependant uses its provider's map: real packets, counted by one and dropped by the other.

use std::{fs, net::UdpSocket, path::Path, time::Duration};

use nke_tests::{Deadline, INSIDE_V4, World, stranger};

use super::{manifest, names, place, show};

const FLOWS: &str = "{ version = '^1', maps = ['FLOWS'] }";

fn flows(world: &World, flags: &[&str]) {
    let object = stranger::object("flows.c", "flows", flags);
    place(world, "flows", &object, &manifest("t.flows", "1.2.0", &[]));
}

fn limit(world: &World, flags: &[&str], needs: &[(&str, &str)]) {
    let object = stranger::object("limit.c", "limit", flags);
    place(
        world,
        "limit",
        &object,
        &manifest("t.limit", "1.0.0", needs),
    );
}

/// Sends datagrams of one flow to a port inside; how many arrive. What comes behind them, of another
/// flow, says when all have been judged.
fn arrive(world: &World, port: u16, datagrams: usize) -> usize {
    let bind = |port| UdpSocket::bind((INSIDE_V4, port)).expect("the port is free");
    let (server, last) = world.inside.enter(|| (bind(port), bind(port + 1)));
    let outside = || UdpSocket::bind("0.0.0.0:0").expect("any port is free");
    let (client, other) = world.outside.enter(|| (outside(), outside()));
    for _ in 0..datagrams {
        client
            .send_to(b"datagram", (INSIDE_V4, port))
            .expect("it goes out");
    }
    other
        .send_to(b"last", (INSIDE_V4, port + 1))
        .expect("it goes out");
    assert!(
        Deadline::generous().readable(&last),
        "the last comes through"
    );
    let now = Deadline::after(Duration::ZERO);
    let mut buffer = [0; 16];
    let mut arrived = 0;
    while now.readable(&server) && server.recv(&mut buffer).is_ok() {
        arrived += 1;
    }
    arrived
}

/// The id of the map that is pinned with an extension.
fn map_id(world: &World, extension: &str, map: &str) -> u32 {
    let pin = world
        .state()
        .join("extensions")
        .join(extension)
        .join("maps")
        .join(map);
    let mut show = std::process::Command::new("bpftool");
    show.args(["--json", "map", "show", "pinned"]).arg(pin);
    let shown: serde_json::Value = nke_tests::Ran::of(&mut show).json();
    let id = shown["id"].as_u64().expect("a map has an id");
    u32::try_from(id).expect("an id has 32 bits")
}

/// The third packet of a flow is the last that comes through, whoever comes after.
#[track_caller]
fn limits(world: &World) {
    world.on(&["attach", "flows", "--priority", "10"]).ok();
    world.on(&["attach", "limit", "--priority", "20"]).ok();
    assert_eq!(
        map_id(world, "flows", "FLOWS"),
        map_id(world, "limit", "FLOWS")
    );
    assert_eq!(arrive(world, 4000, 10), 3);
    assert_eq!(arrive(world, 4010, 2), 2);
    assert_eq!(show(world, "limit")["needs"][0]["maps"][0], "FLOWS");
    // The flows stay counted as long as anybody needs them.
    world.on(&["detach", "flows"]).ok();
    assert_eq!(names(world), ["flows", "limit"]);
    assert_eq!(arrive(world, 4020, 10), 10);
    world.on(&["detach", "limit"]).ok();
    assert!(!world.is_mounted());
}

#[test]
fn a_dependant_defines_the_map() {
    let world = World::with_addresses();
    flows(&world, &[]);
    limit(&world, &[], &[("t.flows", FLOWS)]);
    limits(&world);
}

#[test]
fn a_dependant_only_names_the_map() {
    let world = World::with_addresses();
    flows(&world, &[]);
    limit(&world, &["-DEXTERN"], &[("t.flows", FLOWS)]);
    limits(&world);
}

#[test]
fn a_dependant_has_maps_of_its_own_beside() {
    for flags in [&["-DMORE"][..], &["-DMORE", "-DEXTERN"]] {
        let world = World::with_addresses();
        flows(&world, &[]);
        limit(&world, flags, &[("t.flows", FLOWS)]);
        limits(&world);
    }
}

#[test]
fn a_map_is_not_shared_unless_it_is_declared() {
    let world = World::with_addresses();
    flows(&world, &[]);
    limit(&world, &[], &[("t.flows", "'^1'")]);
    world.on(&["attach", "flows", "--priority", "10"]).ok();
    world.on(&["attach", "limit", "--priority", "20"]).ok();
    assert_ne!(
        map_id(&world, "flows", "FLOWS"),
        map_id(&world, "limit", "FLOWS")
    );
    assert_eq!(arrive(&world, 4000, 10), 10);
}

/// What the dependant takes the map for, given by flags, is refused with these words.
#[track_caller]
fn differs(flags: &[&str], words: &str) {
    for how in [None, Some("-DEXTERN")] {
        let flags: Vec<_> = flags.iter().copied().chain(how).collect();
        let world = World::new();
        flows(&world, &[]);
        limit(&world, &flags, &[("t.flows", FLOWS)]);
        let error = world.nke(&["load", "limit"]).fails("map-mismatch");
        let expected = format!(
            "nke: limit: map FLOWS: it is not what extension flows has: {words}; define it as that \
             does\n"
        );
        assert_eq!(error, expected);
        assert!(!world.is_mounted());
    }
}

#[test]
fn a_map_of_another_shape_is_refused() {
    differs(
        &["-DTYPE=BPF_MAP_TYPE_LRU_HASH"],
        "its map type is 9 here, and 1 there",
    );
    differs(
        &["-DENTRIES=512"],
        "its max_entries is 512 here, and 1024 there",
    );
    differs(
        &["-DKEY=u64"],
        "the size of its key is 8 here, and 12 there",
    );
    differs(
        &["-DVALUE=u32"],
        "the size of its value is 4 here, and 16 there",
    );
}

#[test]
fn a_map_of_another_layout_is_refused() {
    let words = "its key is destination at byte 0 here, and source at byte 0 there";
    differs(&["-DKEY=struct reversed"], words);
}

#[test]
fn one_that_leaves_the_entries_open_takes_what_there_is() {
    let world = World::with_addresses();
    flows(&world, &[]);
    limit(&world, &["-DENTRIES=0", "-DEXTERN"], &[("t.flows", FLOWS)]);
    limits(&world);
}

#[test]
fn an_undeclared_dependency_is_named_with_the_line_to_add() {
    let world = World::with_addresses();
    limit(&world, &["-DEXTERN"], &[]);
    let error = world.nke(&["load", "limit"]).fails("undeclared");
    assert!(
        error.ends_with("no extension that is loaded or on the search path has such a map\n"),
        "{error}"
    );
    flows(&world, &[]);
    let error = world.nke(&["load", "limit"]).fails("undeclared");
    let line = r#""t.flows" = { version = "^1.2.0", maps = ["FLOWS"] }"#;
    assert_eq!(
        error,
        format!(
            "nke: limit: map FLOWS: it is another extension's, and no dependency names it; add to \
             the manifest, under [dependencies]: {line}\n"
        )
    );
    assert!(!world.is_mounted());
    // Pasted, it does.
    let path = world.extensions().join("limit.toml");
    let text = fs::read_to_string(&path).expect("the manifest is there");
    fs::write(&path, format!("{text}{line}\n")).expect("it can be written");
    limits(&world);
}

/// FreeBSD: "B needs A but not compiled so: load fails though A is present" (kld(4), BUGS).
#[test]
fn what_the_manifest_lacks_is_supplied_for_once() {
    let world = World::with_addresses();
    flows(&world, &[]);
    limit(&world, &["-DEXTERN"], &[]);
    world.on(&["attach", "flows", "--priority", "10"]).ok();
    let error = world.on(&["attach", "limit"]).fails("undeclared");
    assert!(error.contains("t.flows"), "{error}");
    world
        .on(&["attach", "limit", "--priority", "20", "--with", "flows"])
        .ok();
    assert_eq!(arrive(&world, 4000, 10), 3);
    let need = &show(&world, "limit")["needs"][0];
    assert_eq!(
        (need["name"].as_str(), need["range"].is_null()),
        (Some("flows"), true)
    );
    world.on(&["detach", "flows"]).ok();
    assert_eq!(names(&world), ["flows", "limit"]);
    world.on(&["detach", "limit"]).ok();
    // Not loaded yet, it is loaded; and without an identifier too.
    place(
        &world,
        "flows",
        &stranger::object("flows.c", "flows", &[]),
        "",
    );
    world.nke(&["load", "limit", "--with", "flows"]).ok();
    assert_eq!(names(&world), ["flows", "limit"]);
    world.nke(&["unload", "limit"]).ok();
    assert!(!world.is_mounted());
    // What does not have the map does not help.
    let error = world
        .nke(&["load", "limit", "--with", "counter"])
        .fails("undeclared");
    assert!(
        error.contains("flows has no identifier, and is had by --with flows only"),
        "{error}"
    );
    assert!(!world.is_mounted());
}

#[test]
fn maps_that_each_attachment_has_cannot_be_shared() {
    for key in ["attachment-maps", "target-maps"] {
        let world = World::new();
        let object = stranger::object("flows.c", "flows", &[]);
        let text = format!("{key} = ['FLOWS']\n{}", manifest("t.flows", "1.2.0", &[]));
        place(&world, "flows", &object, &text);
        limit(&world, &[], &[("t.flows", FLOWS)]);
        let error = world.nke(&["load", "limit"]).fails("not-shared");
        assert!(
            error.contains(
                "map FLOWS: extension flows does not provide it: every attachment or target has one \
                 of its own, and that cannot be shared"
            ),
            "{error}"
        );
        assert!(!world.is_mounted());
    }
}

#[test]
fn a_map_is_handed_on() {
    // Between the two stands one that shares the map itself.
    let world = World::with_addresses();
    flows(&world, &[]);
    let between = stranger::object("limit.c", "between", &["-DEXTERN"]);
    place(
        &world,
        "between",
        &between,
        &manifest("t.between", "1.0.0", &[("t.flows", FLOWS)]),
    );
    limit(&world, &["-DEXTERN"], &[("t.between", FLOWS)]);
    world.nke(&["load", "limit"]).ok();
    assert_eq!(
        map_id(&world, "flows", "FLOWS"),
        map_id(&world, "limit", "FLOWS")
    );
    assert_eq!(names(&world), ["flows", "between", "limit"]);
}

/// The bundled `counter` counts by protocol into its map COUNTS; this is the same map in C.
fn tally(world: &World, needs: &[(&str, &str)], flags: &[&str]) {
    let object = stranger::object("tally.c", "tally", flags);
    place(
        world,
        "tally",
        &object,
        &manifest("t.tally", "1.0.0", needs),
    );
}

/// The bundled `counter` without its own manifest, and with another beside it.
fn rust_counter(world: &World, manifest: &str) {
    let bundled = nke_tests::binaries::extensions().join("counter.o");
    let mut bytes = fs::read(bundled).expect("the bundled counter is built");
    // Both the file and its types know the section by name, and this one means nothing.
    let section = b".nke\0";
    for at in 0..bytes.len() - section.len() {
        if bytes[at..].starts_with(section) {
            bytes[at + 3] = b'x';
        }
    }
    let path = world.directory().join("counter.o");
    fs::write(&path, bytes).expect("it can be written");
    place(world, "counting", path.to_str().expect("UTF-8"), manifest);
}

/// How many UDP packets are counted in a map COUNTS.
fn counted(pin: &Path) -> u64 {
    let mut dump = std::process::Command::new("bpftool");
    dump.args(["--json", "map", "lookup", "pinned"]).arg(pin);
    dump.args(["key", "17", "0", "0", "0"]);
    let found: serde_json::Value = nke_tests::Ran::of(&mut dump).json();
    let values = found["formatted"]["values"].as_array();
    let values = values.expect("a value for each CPU").iter();
    values
        .map(|of| of["value"]["packets"].as_u64().unwrap_or_default())
        .sum()
}

#[test]
fn a_rust_extension_uses_the_map_of_one_in_c() {
    let world = World::with_addresses();
    tally(&world, &[], &[]);
    let needs = [("t.tally", "{ maps = ['COUNTS'] }")];
    rust_counter(&world, &manifest("t.counting", "1.0.0", &needs));
    world.on(&["attach", "counting"]).ok();
    assert_eq!(arrive(&world, 4000, 5), 5);
    let pin = world.state().join("extensions/tally/maps/COUNTS");
    assert_eq!(counted(&pin), 6);
}

#[test]
fn an_extension_in_c_uses_the_map_of_one_in_rust() {
    let world = World::with_addresses();
    rust_counter(&world, &manifest("t.counting", "1.0.0", &[]));
    let needs = [("t.counting", "{ maps = ['COUNTS'] }")];
    tally(&world, &needs, &["-DEXTERN", "-DLIMIT=3"]);
    world.on(&["attach", "counting", "--priority", "10"]).ok();
    world.on(&["attach", "tally", "--priority", "20"]).ok();
    let pin = world.state().join("extensions/tally/maps/COUNTS");
    assert_eq!(counted(&pin), 0);
    let bind = |port| UdpSocket::bind((INSIDE_V4, port)).expect("the port is free");
    let server = world.inside.enter(|| bind(4000));
    let client = world
        .outside
        .enter(|| UdpSocket::bind("0.0.0.0:0").expect("any port"));
    for _ in 0..3 {
        client
            .send_to(b"datagram", (INSIDE_V4, 4000))
            .expect("it goes out");
        assert!(
            Deadline::generous().readable(&server),
            "the first three come through"
        );
        server.recv(&mut [0; 16]).expect("it is there");
    }
    for _ in 0..5 {
        client
            .send_to(b"datagram", (INSIDE_V4, 4000))
            .expect("it goes out");
    }
    let chain = || {
        world
            .chain(nke_tests::Hook::Xdp)
            .expect("the chain is there")
    };
    let deadline = Deadline::generous();
    while chain()
        .node("tally")
        .packets
        .as_ref()
        .is_some_and(|packets| packets.dropped < 5)
    {
        assert!(!deadline.passed(), "five are dropped: {:#?}", chain());
    }
    assert!(!Deadline::after(Duration::ZERO).readable(&server));
    assert_eq!(counted(&pin), 8);
}

#[test]
fn a_check_is_given_what_a_load_is() {
    let world = World::new();
    flows(&world, &[]);
    limit(&world, &["-DEXTERN"], &[]);
    let said = world.nke(&["check", "limit"]).stdout;
    let line = "\"t.flows\" = { version = \"^1.2.0\", maps = [\"FLOWS\"] }";
    assert!(said.contains(line), "{said}");
    world.nke(&["check", "limit", "--with", "flows"]).ok();
    // Another layout, and a map that every attachment has of its own, do not help.
    let other = stranger::object("flows.c", "flows", &["-DKEY=u64"]);
    let said = world.nke(&["check", "limit", "--with", &other]).stdout;
    assert!(said.contains("dependencies FAILED"), "{said}");
    let said = world.nke(&["check", "limit", "--with", "nowhere"]).stdout;
    assert!(said.contains("dependencies FAILED"), "{said}");

    // What lies beside the file is found by load and check alike, behind the search path.
    let aside = world.directory().join("aside");
    fs::create_dir(&aside).expect("the directory is the test's");
    limit(&world, &["-DEXTERN"], &[("t.flows", FLOWS)]);
    for name in ["limit.o", "limit.toml", "flows.o", "flows.toml"] {
        fs::rename(world.extensions().join(name), aside.join(name)).expect("it is there");
    }
    world.nke(&["check", "aside/limit.o"]).ok();
    world.nke(&["libs", "aside/limit.o"]).ok();
    world.nke(&["load", "./aside/limit.o"]).ok();
    assert_eq!(names(&world), ["flows", "limit"]);
    world.nke(&["unload", "limit"]).ok();
    fs::remove_file(aside.join("flows.o")).expect("it is there");
    drop(world.nke(&["load", "./aside/limit.o"]).fails("no-provider"));
    let ran = world.nke(&["check", "aside/limit.o"]);
    assert!(ran.exited_with("check-failed"), "{ran:?}");
}
