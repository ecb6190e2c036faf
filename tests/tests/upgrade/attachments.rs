//! Attachments of every sort, and copies: they are what they were, made of another version.

use std::net::UdpSocket;

use nke_tests::{Cgroup, Deadline, Hook, INSIDE_V4, World, stranger};

use crate::{attach, here, object, seen, upgrade};

#[test]
fn one_that_is_switched_off_stays_so() {
    let world = World::new();
    let off = attach(&world, &object(1), "interface/xdp", &here(&world)).to_string();
    attach(&world, "versions", "interface/in", &here(&world));
    world.nke(&["disable", &off]).ok();
    world.assert_trail(Hook::Xdp, &[]);
    let upgraded = upgrade(&world, &object(2));
    assert_eq!((upgraded.attachments, upgraded.chains), (2, 2));
    world.assert_trail(Hook::Xdp, &[]);
    world.assert_trail(Hook::In, &[2]);
    assert_eq!(seen(&world)[..3], [0, 0, 1]);
    // Switched on, it is the new version.
    world.nke(&["enable", &off]).ok();
    world.assert_trail(Hook::Xdp, &[2]);
    world.nke(&["disable", &off]).ok();
    world.nke(&["rollback", "versions"]).ok();
    world.assert_trail(Hook::Xdp, &[]);
    world.nke(&["enable", &off]).ok();
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn a_copy_is_upgraded_by_its_own_name() {
    let world = World::new();
    world.nke(&["load", &object(1)]).ok();
    world.nke(&["load", &object(1), "--instance", "lab"]).ok();
    attach(&world, "versions", "interface/xdp", &here(&world));
    attach(&world, "versions@lab", "interface/in", &here(&world));
    let versions = |world: &World| {
        let list = world.nke(&["list", "--json"]).json::<serde_json::Value>();
        let all = list["extensions"].as_array().expect("an array").iter();
        let each = all.map(|e| format!("{} {}", e["name"], e["version"]).replace('"', ""));
        let mut all: Vec<_> = each.collect();
        all.sort();
        all
    };
    crate::install(&world, &object(2));
    let text = world.nke(&["upgrade", "versions@lab"]).ok().stdout;
    assert!(
        text.starts_with("upgraded versions@lab from 1.0.0 to 2.0.0 "),
        "{text}"
    );
    assert_eq!(versions(&world), ["versions 1.0.0", "versions@lab 2.0.0"]);
    world.assert_trail(Hook::Xdp, &[1]);
    world.assert_trail(Hook::In, &[2]);
    // The other has its own way, forward and back.
    world.nke(&["upgrade", "versions"]).ok();
    world.nke(&["rollback", "versions@lab"]).ok();
    assert_eq!(versions(&world), ["versions 2.0.0", "versions@lab 1.0.0"]);
    world.assert_trail(Hook::Xdp, &[2]);
    world.assert_trail(Hook::In, &[1]);
    // Each has counted into its own map.
    assert_eq!(seen(&world)[..3], [0, 1, 1]);
}

/// `every_call.c`: version 1 lets everything go on, the next one denies.
fn calls(flags: &[&str]) -> String {
    stranger::object("every_call.c", "calls", flags)
}

#[test]
fn sockets_that_opted_in_have_opted_in_for_the_next_version() {
    let (world, cgroup) = (World::with_addresses(), Cgroup::new());
    let open = || UdpSocket::bind((INSIDE_V4, 0));
    let udp = || cgroup.enter(&world.inside, open).expect("any port is free");
    let (own, other, fence) = (udp(), udp(), udp());
    let (path, first) = (cgroup.path(), calls(&["-DANSWER=1"]));
    let hook = ["--hook", "socket/data-in", "--opt-in"];
    let words = [&["attach", &first, "--cgroup", path], &hook[..]].concat();
    world.nke(&words).ok();
    nke::so_nke::opt_in(&own, "calls").expect("it is claimed");
    let sender = world.outside.enter(|| UdpSocket::bind("0.0.0.0:0"));
    let sender = sender.expect("any port is free");
    let reached = || {
        for socket in [&own, &other, &fence] {
            let to = socket.local_addr().expect("it is bound");
            sender.send_to(b"datagram", to).expect("it goes out");
        }
        assert!(Deadline::generous().readable(&fence), "it never opted in");
        let now = Deadline::after(std::time::Duration::ZERO);
        let arrived = [&own, &other].map(|socket| now.readable(socket));
        for socket in [&own, &other, &fence] {
            socket.set_nonblocking(true).expect("it can be set");
            while socket.recv(&mut [0; 16]).is_ok() {}
        }
        arrived
    };
    assert_eq!(reached(), [true, true]);
    world.nke(&["upgrade", "--force", &calls(&[])]).ok();
    assert_eq!(reached(), [false, true]);
    let late = nke::so_nke::opt_in(&other, "calls");
    assert!(late.is_ok(), "it can be opted in for: {late:?}");
    assert_eq!(reached(), [false, false]);
    world.nke(&["rollback", "calls"]).ok();
    assert_eq!(reached(), [true, true]);
}
