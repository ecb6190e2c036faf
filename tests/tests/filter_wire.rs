//! The packet filter on the wire: frames of every kind at every hook, and rules that change while
//! packets come.

use std::{fs, thread};

use nke_tests::{
    Deadline, Hook, IFACE, Tap, World,
    frame::{Frame, Ip},
    tcp_exchange, trail, udp_arrives,
};
use serde_json::Value;

/// Packets that each rule has decided about, then those of the default.
#[track_caller]
fn hits(world: &World, hook: Hook) -> Vec<u64> {
    let all: Value = world.at(hook, &["filter", "list", "--json"]).json();
    let filter = &all["filters"][0];
    let rules = filter["rules"].as_array().expect("a list").iter();
    let packets = rules
        .map(|rule| &rule["packets"])
        .chain([&filter["default_hits"]["packets"]]);
    packets
        .map(|number| number.as_u64().expect("a count"))
        .collect()
}

/// Puts rules in the place of all.
#[track_caller]
fn load(world: &World, hook: Hook, rules: &str) {
    let file = world.directory().join("rules");
    fs::write(&file, rules).expect("the directory is ours");
    let file = file.display().to_string();
    world.at(hook, &["filter", "load", "--force", &file]).ok();
}

fn frame(hook: Hook) -> Frame {
    if hook == Hook::Out {
        Frame::from_inside()
    } else {
        Frame::from_outside()
    }
}

/// What a rule about UDP to port 53 of a network is to be shown, and whether it matches.
fn kinds(hook: Hook) -> Vec<(&'static str, Vec<u8>, bool)> {
    let frame = || frame(hook);
    let (v4, v6) = (
        Ip::new("10.1.0.1", "10.1.0.2"),
        Ip::new("fd01::1", "fd01::2"),
    );
    let other = Ip::new("10.2.0.1", "10.1.0.2");
    let mut options = v4.clone();
    options.extensions.push((0, vec![1; 8]));
    // Hop-by-hop options: their length in units of eight bytes behind the first, and padding.
    let mut hop_by_hop = v6.clone();
    hop_by_hop.extensions.push((0, vec![0, 1, 4, 0, 0, 0, 0]));
    let v4_parts = v4.udp_fragments(7, 53, &[0; 40], &[24, 24]);
    let v6_parts = v6.udp_fragments(7, 53, &[0; 40], &[24, 24]);
    vec![
        ("IPv4", frame().ip(&v4.udp(7, 53, b"query")), true),
        ("IPv6", frame().ip(&v6.udp(7, 53, b"query")), true),
        ("another port", frame().ip(&v4.udp(53, 7, b"query")), false),
        (
            "another network",
            frame().ip(&other.udp(7, 53, b"query")),
            false,
        ),
        ("another protocol", frame().ip(&v4.tcp(7, 53, 2)), false),
        ("no ports", frame().ip(&v6.echo()), false),
        ("a VLAN", frame().vlan(7).ip(&v4.udp(7, 53, b"query")), true),
        (
            "a VLAN of IPv6",
            frame().vlan(7).ip(&v6.udp(7, 53, b"query")),
            true,
        ),
        (
            "a VLAN in a VLAN",
            frame().tag(0x88a8, 9).vlan(7).ip(&v4.udp(7, 53, b"")),
            true,
        ),
        (
            "a VLAN, another port",
            frame().vlan(7).ip(&v4.udp(7, 54, b"query")),
            false,
        ),
        ("options", frame().ip(&options.udp(7, 53, b"query")), true),
        (
            "hop-by-hop options",
            frame().ip(&hop_by_hop.udp(7, 53, b"query")),
            true,
        ),
        ("a first fragment", frame().ip(&v4_parts[0]), true),
        ("a later fragment", frame().ip(&v4_parts[1]), false),
        ("a first fragment of IPv6", frame().ip(&v6_parts[0]), true),
        ("a later fragment of IPv6", frame().ip(&v6_parts[1]), false),
        ("no IP", frame().of(0x88b6, &[0; 46]), false),
    ]
}

const RULES: &str = "drop proto udp from 10.1.0.0/16 to any port 53\n\
                     drop proto udp from fd01::/64 to any port 53\n";

#[test]
fn frames_of_every_kind_at_every_hook() {
    for hook in Hook::ALL {
        let world = World::new();
        world.attach(hook, "packet-filter", &[]);
        load(&world, hook, RULES);
        let kinds = kinds(hook);
        let frames: Vec<_> = kinds.iter().map(|(_, frame, _)| frame.clone()).collect();
        let marker = if hook == Hook::Out {
            trail::frame_out(1)
        } else {
            trail::frame(1)
        };
        let (from, to) = match hook {
            Hook::Xdp => (world.tap_outside(), world.tap_inside()),
            Hook::Out => (world.tap_inside(), world.tap_outside()),
            // Seen behind traffic control is only what has the type that is asked for.
            Hook::In => (
                world.tap_outside(),
                Tap::open_for(&world.inside, IFACE, trail::KIND),
            ),
        };
        let survived = from.survivors(&to, &frames, &marker);
        for ((kind, _, dropped), survived) in kinds.iter().zip(survived) {
            assert!(
                hook == Hook::In || survived != *dropped,
                "{kind} at {}",
                hook.name()
            );
        }
        // The counts say the same, and at every hook.
        let dropped = u64::try_from(kinds.iter().filter(|(_, _, dropped)| *dropped).count());
        let dropped = dropped.expect("a few");
        let all = u64::try_from(kinds.len()).expect("a few");
        let counted = hits(&world, hook);
        assert_eq!(
            counted[0] + counted[1],
            dropped,
            "{counted:?} at {}",
            hook.name()
        );
        assert_eq!(counted[2], all - dropped + 1, "and the marker: {counted:?}");
        let chain = world.chain(hook).expect("it is attached");
        let packets = chain.nodes[0].packets.expect("it counts");
        assert_eq!(
            (packets.dropped, packets.go_on),
            (dropped, all - dropped + 1)
        );
    }
}

#[test]
fn a_default_of_drop_lets_only_through_what_a_rule_passes() {
    for hook in [Hook::Xdp, Hook::Out] {
        let world = World::new();
        world.attach(hook, "packet-filter", &[]);
        let pass = RULES.replace("drop", "pass");
        load(
            &world,
            hook,
            &format!("default drop\npass proto udp to any port 9\n{pass}"),
        );
        let kinds = kinds(hook);
        let frames: Vec<_> = kinds.iter().map(|(_, frame, _)| frame.clone()).collect();
        let marker = Ip::new("10.9.0.1", "10.9.0.2").udp(1, 9, b"marker");
        let (from, to) = if hook == Hook::Out {
            (world.tap_inside(), world.tap_outside())
        } else {
            (world.tap_outside(), world.tap_inside())
        };
        let survived = from.survivors(&to, &frames, &frame(hook).ip(&marker));
        for ((kind, _, matches), survived) in kinds.iter().zip(survived) {
            assert_eq!(survived, *matches, "{kind} at {}", hook.name());
        }
    }
}

#[test]
fn what_leaves_is_filtered_by_rules_for_the_way_out() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    let port = std::time::Duration::from_secs(10);
    assert!(tcp_exchange(&world, false, 80, port));
    // Requests come in, and their answers do not go out.
    world
        .on(&[
            "filter",
            "add",
            "drop out proto tcp from any port 80 to any",
        ])
        .ok();
    let moment = std::time::Duration::from_millis(300);
    assert!(!tcp_exchange(&world, false, 80, moment));
    assert!(hits(&world, Hook::Out)[0] >= 1);
    assert_eq!(
        hits(&world, Hook::Xdp).len(),
        1,
        "it belongs to the way out"
    );
    world.at(Hook::Out, &["filter", "delete", "1"]).ok();
    assert!(tcp_exchange(&world, false, 80, port));
    assert!(tcp_exchange(&world, true, 80, port));
}

#[test]
fn a_live_conversation_stops_and_goes_on() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let there = |ports: &[u16]| udp_arrives(&world, false, ports);
    for _ in 0..3 {
        assert_eq!(there(&[53, 54]), [true, true]);
        world
            .on(&["filter", "add", "drop proto udp to any port 53"])
            .ok();
        assert_eq!(there(&[53, 54]), [false, true]);
        world
            .on(&["filter", "add", "--at", "1", "pass proto udp from 10.1.0.1"])
            .ok();
        assert_eq!(there(&[53, 54]), [true, true]);
        world.on(&["filter", "flush"]).ok();
    }
}

/// Two rule sets that agree on what to drop and what to pass, each for reasons of its own.
const ONE: &str = "drop proto udp to any port 53\npass\n";
const OTHER: &str = "default drop\npass proto udp to any port 54\npass inet6\n\
                     pass proto udp from any port 7 to any port 55-60\n";

#[test]
fn no_packet_slips_between_two_rule_sets() {
    for hook in [Hook::Xdp, Hook::Out] {
        let world = World::new();
        world.attach(hook, "packet-filter", &[]);
        load(&world, hook, ONE);
        let (from, to) = if hook == Hook::Out {
            (world.tap_inside(), world.tap_outside())
        } else {
            (world.tap_outside(), world.tap_inside())
        };
        let ip = Ip::new("10.1.0.1", "10.1.0.2");
        let packet =
            |port: u16, number: u32| frame(hook).ip(&ip.udp(8, port, &number.to_be_bytes()));
        thread::scope(|scope| {
            let edits = scope.spawn(|| {
                for _ in 0..15 {
                    load(&world, hook, OTHER);
                    load(&world, hook, ONE);
                }
            });
            let mut number = 0;
            while !edits.is_finished() {
                // As many as fit into the wire's queues, each of the two kinds in turn.
                for _ in 0..32 {
                    from.send(&packet(53, number));
                    from.send(&packet(54, number));
                    number += 1;
                }
                for expected in number - 32..number {
                    let came = to.receive(Deadline::generous());
                    assert_eq!(came, Some(packet(54, expected)), "packet {expected}");
                }
            }
            edits.join().expect("every edit succeeds");
            assert!(number > 32, "packets met edits");
        });
    }
}

#[test]
fn two_interfaces_have_rules_of_their_own() {
    let world = World::with_addresses();
    let (inside, outside) = (world.inside.name(), world.outside.name());
    // A second wire, of which only the rules are looked at.
    world.inside.ip(&format!(
        "link add second up type veth peer name second netns {outside}"
    ));
    let at = |words: &[&str], interface: &str| {
        let target = [
            "-i",
            interface,
            "--netns",
            inside,
            "--hook",
            "interface/xdp",
        ];
        world.nke(&[words, &target].concat()).ok().stdout
    };
    at(&["attach", "packet-filter"], IFACE);
    at(&["attach", "packet-filter"], "second");
    // And one in another namespace, of the same name and number.
    let far = ["attach", "packet-filter", "-i", IFACE, "--netns", outside];
    world.nke(&far).ok();
    at(&["filter", "add", "drop proto udp to any port 53"], IFACE);
    at(
        &["filter", "add", "drop proto udp to any port 54"],
        "second",
    );
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);
    assert_eq!(hits(&world, Hook::Xdp)[0], 1);
    let listed = at(&["filter", "list"], "second");
    assert!(
        listed.contains("port 54") && !listed.contains("port 53"),
        "{listed}"
    );
    let words = ["filter", "list", "-i", IFACE, "--netns", outside];
    let listed = world.nke(&words).ok().stdout;
    assert!(!listed.contains("port"), "{listed}");

    // Taking one away takes its rules, and nobody else's.
    at(&["detach", "packet-filter"], "second");
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);
    at(&["attach", "packet-filter"], "second");
    assert!(
        !at(&["filter", "list"], "second").contains("port"),
        "a new one starts without"
    );
}
