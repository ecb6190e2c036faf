//! `nke save`: what it writes brings back what ran.

use nke_tests::{Cgroup, Hook, IFACE, World};

use crate::{apply, trails};

/// Attaches something of everything.
fn fill(world: &World, cgroup: &Cgroup) {
    trails(world, 1..=4);
    let netns = world.inside.name();
    world.attach(Hook::In, "trail1", &["--priority", "-7"]);
    world.attach(Hook::In, "trail2", &[]);
    world.attach(Hook::In, "trail3", &["--before", "trail2", "--no-counters"]);
    world.attach(Hook::In, "packet-filter", &["--priority", "60"]);
    world.attach(Hook::Xdp, "trail4", &["--mode", "generic"]);
    let commands = [
        "load tcplog",
        "load counter --instance b",
        "policy drop HERE --hook interface/xdp",
        "disable trail2 HERE",
        "attach counter@b NETNS --hook ip/in --netfilter-priority raw --defrag",
        "attach packet-filter NETNS --hook ip/out",
        "attach connection-guard CGROUP --hook socket/bind --opt-in",
        "attach connection-guard CGROUP --hook socket/connect",
        "policy drop CGROUP --hook socket/data-out",
    ];
    for command in commands {
        let words = command.split(' ').flat_map(|word| match word {
            "HERE" => vec!["-i", IFACE, "--netns", netns],
            "NETNS" => vec!["--netns", netns],
            "CGROUP" => vec!["--cgroup", cgroup.path()],
            word => vec![word],
        });
        world.nke(&words.collect::<Vec<_>>()).ok();
    }
    world
        .on(&[
            "filter",
            "add",
            "drop in log proto udp from 10.0.0.0/8 to any port 53",
        ])
        .ok();
    world.on(&["filter", "default", "drop", "--force"]).ok();
    let guard = [
        "guard",
        "add",
        "--cgroup",
        cgroup.path(),
        "drop connect port { 22, 23 }",
    ];
    world.nke(&guard).ok();
}

#[test]
fn what_was_saved_comes_back() {
    let (world, cgroup) = (World::new(), Cgroup::new());
    fill(&world, &cgroup);
    let saved = world.nke(&["save"]).ok().stdout;
    assert_eq!(world.nke(&["save"]).ok().stdout, saved, "byte for byte");
    world.nke(&["save", "saved.toml"]).ok();
    let file = world.directory().join("saved.toml");
    assert_eq!(
        std::fs::read_to_string(&file).expect("it is written"),
        saved
    );
    let diff = world.nke(&["diff", "--prune", "saved.toml"]);
    assert_eq!(
        (diff.code, diff.stdout.as_str()),
        (Some(0), ""),
        "{}\n{saved}",
        diff.stderr
    );

    let trail = world.trail(Hook::In);
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    assert!(!world.is_mounted(), "nothing is left");
    apply(&world, "saved.toml").ok();
    assert_eq!(world.nke(&["save"]).ok().stdout, saved);
    assert_eq!(world.trail(Hook::In), trail);
    let diff = world.nke(&["diff", "--prune", "saved.toml"]);
    assert_eq!(
        (diff.code, diff.stdout.as_str()),
        (Some(0), ""),
        "{}",
        diff.stderr
    );
}

#[test]
fn nothing_is_a_declaration_as_well() {
    let world = World::new();
    assert_eq!(world.nke(&["save"]).ok().stdout, "");
    let said = world.nke(&["save", "nowhere/a.toml"]).fails("write");
    assert!(said.contains("nowhere/a.toml: write: "), "{said}");
}
