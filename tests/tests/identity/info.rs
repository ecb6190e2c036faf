//! `nke info`: what an extension is and needs, by anybody, without loading it.

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use nke_tests::{Ran, World, binaries, stranger};
use serde_json::Value;

fn info(world: &World, extension: &str) -> Value {
    let info = world.nke(&["info", extension, "--json"]).json();
    assert!(!world.is_mounted(), "nothing is loaded");
    info
}

/// The names of what is needed of a kind.
fn names(info: &Value, kind: &str) -> Vec<String> {
    let needs = info["needs"][kind].as_array().expect("an array");
    let name = |need: &Value| need["name"].as_str().expect("a string").to_owned();
    needs.iter().map(name).collect()
}

#[test]
fn the_bundled_ones_say_who_they_are() {
    let world = World::new();
    for name in [
        "counter",
        "packet-filter",
        "connection-guard",
        "tcplog",
        "socket-events",
    ] {
        let info = info(&world, name);
        let manifest = &info["manifest"];
        assert_eq!(info["name"], name);
        assert_eq!(manifest["identifier"], format!("io.github.nke-rs.{name}"));
        assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(manifest["license"], "MIT OR Apache-2.0");
        assert_eq!(info["object_license"], "Dual MIT/GPL");
        assert_ne!(manifest["description"], "");
        assert_ne!(manifest["hooks"], Value::Array(Vec::new()));
        assert!(
            info["path"]
                .as_str()
                .is_some_and(|path| path.starts_with('/'))
        );
        let text = world.nke(&["info", name]).ok().stdout;
        assert!(
            text.contains(&format!("  identifier   io.github.nke-rs.{name}\n")),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 200), "{text}");
    }
}

#[test]
fn what_an_object_needs_is_worked_out_from_it() {
    let world = World::new();
    let counter = info(&world, "counter");
    assert!(names(&counter, "helpers").contains(&"bpf_map_lookup_elem".to_owned()));
    assert_eq!(names(&counter, "map_types"), ["percpu_array"]);
    assert_eq!(
        names(&counter, "program_types"),
        ["sched_cls", "netfilter", "xdp"]
    );
    assert!(names(&counter, "kfuncs").contains(&"bpf_dynptr_from_skb".to_owned()));
    // One of its programs needs no more than the interface has.
    assert_eq!(counter["needs"]["kernel"], "5.9");
    let programs = counter["needs"]["programs"].as_array().expect("an array");
    let of = |name: &str| programs.iter().find(|program| program["program"] == name);
    let ip = of("counter_ip").expect("it serves the ip hooks");
    assert_eq!(
        (&ip["type"], &ip["since"]),
        (&"netfilter".into(), &"6.5".into())
    );
    let here = |kind: &str| {
        let needs = counter["needs"][kind].as_array().expect("an array");
        needs.iter().all(|need| need["here"] == true)
    };
    assert!(here("helpers") && here("map_types") && here("program_types") && here("kfuncs"));

    let tcplog = info(&world, "tcplog");
    assert!(names(&tcplog, "map_types").contains(&"ringbuf".to_owned()));
    assert!(
        names(&tcplog, "helpers").contains(&"bpf_ringbuf_output".to_owned())
            || names(&tcplog, "helpers").contains(&"bpf_ringbuf_reserve".to_owned())
    );
    assert!(
        !names(&tcplog, "types").is_empty(),
        "it reads the kernel's structures"
    );
}

#[test]
fn strangers_too() {
    let world = World::new();
    let core = info(&world, &stranger::object("core.c", "core", &[]));
    assert!(!names(&core, "types").is_empty(), "{core}");
    let kfuncs = info(&world, &stranger::object("kfuncs.c", "kfuncs", &[]));
    assert!(!names(&kfuncs, "kfuncs").is_empty(), "{kfuncs}");

    // What this kernel lacks is told, and no error.
    let absent = stranger::object("bad.c", "absent", &["-DABSENT"]);
    let absent = info(&world, &absent);
    let need = &absent["needs"]["types"][0];
    assert_eq!(need["name"], "net_device.no_kernel_has_this");
    assert_eq!(
        (&need["here"], &need["optional"]),
        (&false.into(), &false.into())
    );
    let undefined = stranger::object("bad.c", "undefined", &["-DUNDEFINED"]);
    let text = world.nke(&["info", &undefined]).ok().stdout;
    let line = text
        .lines()
        .find(|line| line.contains("nke_no_kernel_has_this"));
    assert!(line.is_some_and(|line| line.ends_with(" no")), "{text}");
}

#[test]
fn anybody_can_ask() {
    const NOBODY: u32 = 65534;
    let world = World::new();
    let copy = world.directory().join("nke");
    fs::copy(binaries::nke(), &copy).expect("the directory is ours");
    let object = world.directory().join("counter.o");
    fs::copy(binaries::extensions().join("counter.o"), &object).expect("the directory is ours");
    let mut command = Command::new(&copy);
    world.dress(&mut command);
    command
        .args(["info", "./counter.o"])
        .uid(NOBODY)
        .gid(NOBODY);
    let text = Ran::of(&mut command).ok().stdout;
    assert!(text.starts_with("extension counter\n"), "{text}");
    assert!(!world.is_mounted());
}

#[test]
fn what_is_no_extension_is_refused() {
    let world = World::new();
    let error = world.nke(&["info", "/etc/passwd"]).fails("not-an-object");
    assert!(error.contains("it is not an ELF file"), "{error}");
    let error = world.nke(&["info", "no-such-thing"]).fails("no-extension");
    assert!(error.contains("there is no no-such-thing.o in "), "{error}");
    let object = stranger::object("bad.c", "misspelt", &["-DMANIFEST=\"colour = 'red'\""]);
    let error = world.nke(&["info", &object]).fails("manifest");
    assert!(error.contains("unknown field `colour`"), "{error}");
}
