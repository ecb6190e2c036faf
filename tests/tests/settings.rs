//! `nke set` and `nke get`: what an extension does is changed while it does it.

use nke_tests::{Hook, Stream, World, stranger, trail, udp_arrives};
use serde_json::{Value, json};

fn object() -> String {
    stranger::object("settings.c", "settings", &[])
}

/// A setting, as `nke get` has it.
#[track_caller]
fn get(world: &World, name: &str) -> Value {
    let got: Value = world.nke(&["get", "settings", name, "--json"]).json();
    got["settings"][0].clone()
}

#[track_caller]
fn value(world: &World, name: &str) -> Value {
    get(world, name)["value"].clone()
}

/// Which ports datagrams get through to, from outside.
#[track_caller]
fn arrive(world: &World, ports: &[u16]) -> Vec<bool> {
    // One that nothing drops says that all others had their time.
    let mut arrived = udp_arrives(world, false, &[ports, &[2000]].concat());
    arrived.pop();
    arrived
}

#[test]
fn defaults_are_the_manifests() {
    let world = World::new();
    world.nke(&["load", &object()]).ok();
    let port = get(&world, "drop-port");
    assert_eq!(
        port,
        json!({
            "name": "drop-port", "type": "u16", "value": 7, "default": 7, "source": "default",
            "live": true, "minimum": 1, "maximum": 1024, "map": ".data",
            "description": "The UDP port that is dropped",
        })
    );
    assert_eq!(value(&world, "label"), json!("none"));
    assert_eq!(value(&world, "allowed"), json!("192.0.2.1"));
    assert_eq!(value(&world, "station"), json!("02:00:00:00:00:09"));
    assert_eq!(value(&world, "gateway"), json!("::"));
    assert_eq!(value(&world, "fixed"), json!(5));
    // What the manifest says nothing of is what the object has there.
    assert_eq!(value(&world, "pattern"), json!(0x1111_1111_1111_1111_u64));
    let text = world.nke(&["get", "settings"]).ok().stdout;
    assert!(text.contains("u16 1..1024"), "{text}");
}

#[test]
fn what_is_set_is_in_force_at_once() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, &object(), &[]);
    let arrives = |port| arrive(&world, &[port])[0];
    assert_eq!((arrives(7), arrives(9), arrives(53)), (false, true, true));
    let ran = world.nke(&["set", "settings", "drop-port=53"]).ok();
    assert_eq!(ran.stdout, "set drop-port = 53\n");
    assert_eq!((arrives(7), arrives(53)), (true, false));
    let port = get(&world, "drop-port");
    assert_eq!(
        (&port["source"], &port["default"]),
        (&json!("set"), &json!(7))
    );
    world
        .nke(&["set", "settings", "drop-port=0x7", "allowed=10.1.0.1"])
        .ok();
    assert!(arrives(7), "whoever is allowed gets through");
    world.nke(&["set", "settings", "allowed=192.0.2.1"]).ok();
    assert_eq!(get(&world, "allowed")["source"], "default");
    assert!(!arrives(7));
}

#[test]
fn all_or_none_of_a_command() {
    let world = World::new();
    world.nke(&["load", &object()]).ok();
    let refused = |words: &[&str], name: &str, part: &str| {
        let error = world
            .nke(&[&["set", "settings"], words].concat())
            .fails(name);
        assert!(error.contains(part), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(value(&world, "drop-port"), json!(7), "{words:?}");
    };
    refused(
        &["drop-port=8", "drop-port=2000"],
        "value",
        "2000 is above the maximum 1024",
    );
    refused(
        &["drop-port=8", "drop-port=0"],
        "value",
        "0 is below the minimum 1",
    );
    refused(
        &["drop-port=8", "drop-port=70000"],
        "value",
        "70000 is no u16",
    );
    refused(&["drop-port=8", "pattern=x"], "value", "is no u64");
    refused(&["drop-port=8", "allowed=10.0.0"], "value", "is no ipv4");
    refused(
        &["drop-port=8", "colour=red"],
        "no-setting",
        "it has allowed, drop-port, fixed",
    );
    refused(&["drop-port=8", "fixed=6"], "map-use", "load --set");
    refused(&["drop-port=8", "label=other"], "map-use", "load --set");
    let error = world
        .nke(&["get", "settings", "colour"])
        .fails("no-setting");
    assert!(error.contains("it has allowed"), "{error}");
    let error = world.nke(&["set", "nobody", "a=1"]).fails("not-loaded");
    assert!(error.contains("nobody"), "{error}");
    let ran = world.nke(&["set", "settings", "drop-port"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    // Behind a spin lock more bytes are written at once.
    world
        .nke(&[
            "set",
            "settings",
            "gateway=fd01::1",
            "station=02:00:00:00:00:0a",
        ])
        .ok();
    assert_eq!(value(&world, "gateway"), json!("fd01::1"));
    assert_eq!(value(&world, "station"), json!("02:00:00:00:00:0a"));
}

#[test]
fn some_are_given_when_it_is_loaded() {
    let world = World::with_addresses();
    let load = |more: &[&str]| world.nke(&[&["load", &object()], more].concat());
    let error =
        load(&["--set", "fixed=6", "--set", "label=longer than it has room"]).fails("value");
    assert!(error.contains("more than 15 bytes"), "{error}");
    assert_eq!(world.list(), [], "nothing was loaded");
    load(&[
        "--set",
        "fixed=6",
        "--set",
        "label=mine",
        "--set",
        "drop-port=53",
    ])
    .ok();
    assert_eq!(
        (
            value(&world, "fixed"),
            value(&world, "label"),
            value(&world, "drop-port")
        ),
        (json!(6), json!("mine"), json!(53))
    );
    assert_eq!(
        (
            &get(&world, "fixed")["source"],
            &get(&world, "fixed")["live"]
        ),
        (&json!("set"), &json!(false))
    );
    world.attach(Hook::Xdp, "settings", &[]);
    assert_eq!(arrive(&world, &[53, 7]), [false, true]);
    // Loaded once more, it is counted, and set where that can be.
    let error = load(&["--set", "fixed=7"]).fails("map-use");
    assert!(error.contains("load --set"), "{error}");
    assert_eq!(world.list()[0].loads, 1);
    load(&["--set", "drop-port=7"]).ok();
    assert_eq!(world.list()[0].loads, 2);
    assert_eq!(arrive(&world, &[53, 7]), [true, false]);
}

#[test]
fn without_a_manifest_global_variables_are_settings() {
    let world = World::with_addresses();
    world.attach(
        Hook::Xdp,
        &stranger::object("every_map.c", "every_map", &[]),
        &[],
    );
    let arrives = || arrive(&world, &[9, 53]);
    assert_eq!(arrives(), [false, true]);
    world
        .nke(&["set", "every_map", "drop_port=53", "state=OPEN"])
        .ok();
    assert_eq!(arrives(), [true, false]);
    world.nke(&["set", "every_map", "enabled=false"]).ok();
    assert_eq!(arrives(), [true, true]);
    let got: Value = world.nke(&["get", "every_map", "state", "--json"]).json();
    let state = &got["settings"][0];
    assert_eq!(
        (&state["value"], &state["type"]),
        (&json!("OPEN"), &json!("enum state"))
    );
}

#[test]
fn a_manifest_that_names_no_variable_is_refused() {
    let world = World::new();
    let check = |settings: &str, part: &str| {
        let object = world.directory().join("odd.o");
        std::fs::copy(stranger::object("every_map.c", "every_map", &[]), &object)
            .expect("it is ours");
        std::fs::write(object.with_extension("toml"), settings).expect("it is ours");
        let error = world
            .nke(&["load", &object.display().to_string()])
            .fails("manifest");
        assert!(error.contains(part), "{error}");
    };
    check(
        "[settings.nope]\ntype = 'u16'",
        "settings names nope, and the object has no such variable",
    );
    check(
        "[settings.drop-port]\ntype = 'u32'",
        "drop-port is u32, and drop_port has 2 bytes",
    );
    check(
        "[settings.seen]\ntype = 'u64'\nmap = '.data'",
        "settings names seen",
    );
    assert_eq!(world.list(), []);
}

#[test]
fn under_traffic_nothing_is_lost_or_torn() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world.attach(Hook::Xdp, &object(), &[]);
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    let stream = Stream::inward(&world);
    for n in 0..60 {
        stream.wait(20);
        let pattern = if n % 2 == 0 {
            0x2222_2222_2222_2222_u64
        } else {
            0x1111_1111_1111_1111
        };
        world
            .nke(&[
                "set",
                "settings",
                &format!("pattern={pattern}"),
                "drop-port=9",
            ])
            .ok();
        world.nke(&["set", "settings", "gateway=fd01::2"]).ok();
    }
    stream.wait(20);
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0], "of {} sent", report.sent);
    assert!(
        report.trails.keys().all(|trail| trail == &[1, 2]),
        "{:?}",
        report.trails
    );
    let variable = |name: &str| -> Value {
        let got: Value = world
            .nke(&["map", "lookup", "settings", ".bss", name, "--json"])
            .json();
        got["value"].clone()
    };
    assert_eq!(variable("torn"), json!(0));
    assert!(
        variable("seen").as_u64() > Some(1000),
        "{}",
        variable("seen")
    );
}

#[test]
fn what_attachments_have_of_their_own_is_set_for_each() {
    let world = World::new();
    let object = world.directory().join("own.o");
    std::fs::copy(stranger::object("every_map.c", "every_map", &[]), &object).expect("it is ours");
    let manifest = "attachment-maps = ['.data']\n[settings.drop-port]\ntype = 'u16'\ndefault = 5\n";
    std::fs::write(object.with_extension("toml"), manifest).expect("it is ours");
    let object = object.display().to_string();
    let error = world
        .nke(&["load", &object, "--set", "drop-port=6"])
        .fails("map-use");
    assert!(
        error.contains("each attachment or target has its own"),
        "{error}"
    );
    let ids = [10, 20].map(|n| world.attach(Hook::Xdp, &object, &["--priority", &n.to_string()]));
    let [first, second] = ids.map(|id| id.to_string());
    let port = |id: &str| -> Value {
        let got: Value = world.nke(&["get", id, "drop-port", "--json"]).json();
        got["settings"][0]["value"].clone()
    };
    assert_eq!((port(&first), port(&second)), (json!(5), json!(5)));
    world.nke(&["set", &second, "drop-port=6"]).ok();
    assert_eq!((port(&first), port(&second)), (json!(5), json!(6)));
    let error = world
        .nke(&["set", "own", "drop-port=7"])
        .fails("many-attachments");
    assert!(error.contains("several fit"), "{error}");
}
