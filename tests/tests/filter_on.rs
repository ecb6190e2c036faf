//! Rules for packets of one interface, on the wire.

use std::fs;

use nke_tests::{Hook, IFACE, World, udp_arrives};
use serde_json::{Value, json};

/// Where a filter sits: the words that name the place.
fn places(world: &World) -> Vec<Vec<String>> {
    let netns = world.inside.name();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let at = |hook: Hook| words(&["-i", IFACE, "--netns", netns, "--hook", hook.name()]);
    vec![
        at(Hook::Xdp),
        at(Hook::In),
        words(&["--netns", netns, "--hook", "ip/in"]),
        words(&["--netns", netns, "--hook", "ip/prerouting"]),
    ]
}

#[test]
fn a_rule_is_for_the_packets_of_its_interface() {
    let world = World::with_addresses();
    for place in places(&world) {
        let nke = |words: &[&str]| {
            let place = place.iter().map(String::as_str);
            world.nke(&words.iter().copied().chain(place).collect::<Vec<_>>())
        };
        nke(&["attach", "packet-filter"]).ok();
        for rule in [
            "drop in on lo proto udp to any port 50".to_owned(),
            format!("drop in on {IFACE} proto udp to any port 51"),
            format!("drop in on not {{ {IFACE}, lo }} proto udp to any port 52"),
            "drop in on not lo proto udp to any port 53".to_owned(),
        ] {
            nke(&["filter", "add", &rule]).ok();
        }
        let arrived = udp_arrives(&world, false, &[50, 51, 52, 53, 54]);
        assert_eq!(arrived, [true, false, true, false, true], "{place:?}");
        let before = nke(&["filter", "list"]).ok().stdout;
        assert!(before.contains(&format!("drop in on {IFACE} proto udp")));
        assert!(before.contains("on not { ") && before.contains(" on lo "));

        let told = nke(&["filter", "add", "drop on none0"]).fails("rule-no-interface");
        assert!(told.contains("there is no interface none0"), "{told}");
        assert_eq!(nke(&["filter", "list"]).ok().stdout, before);
        nke(&["detach", "packet-filter"]).ok();
    }
}

#[test]
fn a_rule_whose_interface_is_gone_is_in_nobodys_way() {
    let world = World::with_addresses();
    let netns = world.inside.name().to_owned();
    let link = ["-i", IFACE, "--netns", &netns, "--hook", "interface/in"];
    let layer = ["--netns", &netns, "--hook", "ip/in"];
    let file = world.directory().join("rules");
    let places = [
        (&link[..], "redirect to gone0 proto 98"),
        (&layer[..], "drop on gone0"),
    ];
    for (place, dead) in places {
        let nke = |words: &[&str]| world.nke(&[words, place].concat());
        let load = |rules: &str| {
            fs::write(&file, rules).expect("the directory is the world's own");
            nke(&["filter", "load", &file.display().to_string()])
        };
        let gone = || {
            let listed: Value = nke(&["filter", "list", "--json"]).json();
            listed["filters"][0]["gone_interfaces"].clone()
        };
        nke(&["attach", "packet-filter"]).ok();
        // Few rules are always written anew, many are edited in place where that can be.
        for more in [0, 20] {
            world.inside.ip("link add gone0 type veth peer name gone1");
            let more = (100..100 + more).map(|port| format!("drop proto udp to any port {port}\n"));
            let live = format!("drop in on {IFACE} proto udp to any port 51");
            let rules = format!("{dead}\n{live}\n{}", more.collect::<String>());
            load(&rules).ok();
            assert_eq!(gone(), json!([]));
            world.inside.ip("link delete gone0");

            let told = nke(&["filter", "list"]).ok().stdout;
            assert!(
                told.ends_with("rule 1: there is no interface gone0 now\n"),
                "{told}"
            );
            nke(&["filter", "add", "drop in proto udp to any port 52"]).ok();
            // It must be written anew for it.
            let on = format!("drop in on {IFACE} proto udp to any port 53");
            nke(&["filter", "add", "--at", "1", &on]).ok();
            nke(&["filter", "default", "drop", "--force"]).ok();
            nke(&["filter", "default", "pass"]).ok();
            let arrived = udp_arrives(&world, false, &[50, 51, 52, 53, 55]);
            assert_eq!(arrived, [true, false, false, false, true], "{place:?}");
            nke(&["filter", "delete", "1"]).ok();
            let is_gone = |made_again: bool| json!([{ "rule": 1, "interface": "gone0", "made_again": made_again }]);
            assert_eq!(gone(), is_gone(false));

            // What is new must name what is there.
            for refused in [nke(&["filter", "add", dead]), load(&rules)] {
                let told = refused.fails("rule-no-interface");
                assert!(told.contains("there is no interface gone0"), "{told}");
            }
            assert_eq!(gone(), is_gone(false));

            world.inside.ip("link add gone0 type veth peer name gone1");
            nke(&["filter", "add", "drop in proto udp to any port 54"]).ok();
            assert_eq!(gone(), is_gone(true));
            let told = nke(&["filter", "list"]).ok().stdout;
            let again = "rule 1: gone0 has been made since; load the rules again, or apply\n";
            assert!(told.ends_with(again), "{told}");
            load(&rules).ok();
            assert_eq!(gone(), json!([]));
            world.inside.ip("link delete gone0");
            nke(&["filter", "flush"]).ok();
        }
        nke(&["detach", "packet-filter"]).ok();
    }
}
