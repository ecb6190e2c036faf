//! Rules for packets of one interface, on the wire.

use nke_tests::{Hook, IFACE, World, udp_arrives};

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
