//! Rules that do something and do not decide, or run out, on the wire: `count`, `mark`, `limit`.

use std::net::UdpSocket;

use nke_tests::{Hook, IFACE, World, udp_arrives};
use serde_json::Value;

/// A command about the filter at a place.
fn filter(world: &World, place: &[&str], words: &[&str]) -> nke_tests::Ran {
    let netns = ["--netns", world.inside.name()];
    world.nke(&[words, place, &netns].concat())
}

/// How many packets each rule has counted.
#[track_caller]
fn packets(world: &World, place: &[&str]) -> Vec<u64> {
    let listed: Value = filter(world, place, &["filter", "list", "--json"]).json();
    let rules = listed["filters"][0]["rules"].as_array().expect("a list");
    let packets = rules
        .iter()
        .map(|rule| rule["packets"].as_u64().expect("a count"));
    packets.collect()
}

#[test]
fn a_mark_is_seen_at_the_hooks_behind() {
    let world = World::with_addresses();
    let near = ["-i", IFACE, "--hook", Hook::In.name()];
    let far = ["--hook", "ip/in"];
    for place in [&near[..], &far] {
        filter(&world, place, &["attach", "packet-filter"]).ok();
    }
    for rule in [
        "count in proto udp to any port { 60, 61 }",
        "mark 0x10/0xf0 in proto udp to any port 60",
        "mark 1/1 in mark 0x10/0xf0",
    ] {
        filter(&world, &near, &["filter", "add", rule]).ok();
    }
    let rule = "drop in proto udp mark 0x11";
    filter(&world, &far, &["filter", "add", rule]).ok();
    assert_eq!(
        udp_arrives(&world, false, &[60, 61, 62]),
        [false, true, true]
    );
    assert_eq!(packets(&world, &near), [1, 1, 1, 1]);
    assert_eq!(packets(&world, &far), [1]);

    let told = filter(&world, &far, &["filter", "add", "mark 1 in"]).fails("rule-not-there");
    assert!(told.contains("setting a mark"), "{told}");
}

#[test]
fn a_limit_lets_its_burst_by_at_every_hook() {
    let world = World::with_addresses();
    for place in [
        &["-i", IFACE, "--hook", "interface/xdp"][..],
        &["-i", IFACE, "--hook", "interface/in"],
        &["--hook", "ip/in"],
    ] {
        let nke = |words: &[&str]| filter(&world, place, words).ok();
        nke(&["attach", "packet-filter"]);
        nke(&[
            "filter",
            "add",
            "drop in proto udp to any port 60 limit over 1/d burst 2",
        ]);
        let passed = |times: usize| -> Vec<bool> {
            let each = (0..times).map(|_| udp_arrives(&world, false, &[60, 61])[0]);
            each.collect()
        };
        assert_eq!(passed(1), [true], "{place:?}");
        // What an edit leaves goes on from there, in place or anew.
        nke(&["filter", "add", "drop in proto udp to any port 90"]);
        assert_eq!(passed(3), [true, false, false], "{place:?}");
        assert_eq!(packets(&world, place)[0], 2, "{place:?}");
        nke(&["detach", "packet-filter"]);
    }
}

#[test]
fn who_floods_takes_nothing_from_others() {
    let world = World::with_addresses();
    let other = "10.1.0.77";
    world
        .outside
        .ip(&format!("address add {other}/24 dev {IFACE}"));
    let flood = world.outside.enter(|| UdpSocket::bind((other, 0)));
    let flood = flood.expect("the address is there");
    for place in [
        &["-i", IFACE, "--hook", "interface/xdp"][..],
        &["-i", IFACE, "--hook", "interface/in"],
        &["--hook", "ip/in"],
    ] {
        filter(&world, place, &["attach", "packet-filter"]).ok();
        let rule = "drop in proto udp to any port 60 limit over 1/d burst 2 per source";
        filter(&world, place, &["filter", "add", rule]).ok();
        let listed: Value = filter(&world, place, &["filter", "list", "--json"]).json();
        assert_eq!(listed["filters"][0]["rules"][0]["rule"], rule);
        let arrives = || udp_arrives(&world, false, &[60, 61])[0];
        assert!(arrives(), "{place:?}");
        for _ in 0..20 {
            let target = (World::inside_address(false), 60);
            flood.send_to(b"more", target).expect("it goes out");
        }
        assert_eq!([arrives(), arrives()], [true, false], "{place:?}");
        assert_eq!(packets(&world, place), [18 + 1], "{place:?}");
        filter(&world, place, &["detach", "packet-filter"]).ok();
    }
}
