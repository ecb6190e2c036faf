//! Under live traffic: every packet meets one version, and none is lost.

use std::collections::BTreeSet;

use nke_tests::{Cgroup, Stream, World};

use crate::{attach, datagrams::Datagrams, here, object, seen, upgrade};

/// Between two upgrades this many packets pass.
const BETWEEN: u64 = 60;

#[test]
fn at_an_interface_each_packet_meets_one_version() {
    for hook in ["interface/xdp", "interface/in", "interface/out"] {
        let world = World::new();
        attach(&world, &object(1), hook, &here(&world));
        let stream = if hook == "interface/out" {
            Stream::outward(&world)
        } else {
            Stream::inward(&world)
        };
        for id in 2..=6 {
            stream.wait(BETWEEN);
            assert_eq!(upgrade(&world, &object(id)).chains, 1);
        }
        stream.wait(BETWEEN);
        let report = stream.stop();
        assert_eq!(report.lost, [] as [u64; 0], "{hook}: of {}", report.sent);
        let trails: BTreeSet<Vec<u8>> = report.trails.keys().cloned().collect();
        assert_eq!(trails, (1..=6).map(|id| vec![id]).collect(), "{hook}");
        let counts = seen(&world);
        assert_eq!(
            counts.iter().sum::<u64>(),
            report.sent,
            "{hook}: {counts:?}"
        );
        for (trail, times) in &report.trails {
            assert_eq!(counts[usize::from(trail[0])], *times, "{hook}: {counts:?}");
        }
    }
}

#[test]
fn at_the_ip_layer_and_at_a_cgroup_each_packet_meets_one_version() {
    for hook in ["ip/in", "socket/data-in"] {
        let world = World::with_addresses();
        let cgroup = Cgroup::new();
        let place = if hook == "ip/in" {
            ["--netns", world.inside.name()]
        } else {
            ["--cgroup", cgroup.path()]
        };
        attach(&world, &object(1), hook, &place);
        let stream = Datagrams::start(&world, &cgroup);
        for id in 2..=6 {
            stream.wait(BETWEEN);
            upgrade(&world, &object(id));
        }
        stream.wait(BETWEEN);
        let (sent, arrived) = stream.stop();
        assert_eq!(sent, arrived, "{hook}");
        let counts = seen(&world);
        assert_eq!(counts.iter().sum::<u64>(), sent, "{hook}: {counts:?}");
        assert!(
            counts[1..=6].iter().all(|count| *count > 0),
            "{hook}: {counts:?}"
        );
        world.nke(&["detach", "versions"]).ok();
    }
}

#[test]
fn three_chains_at_once_keep_ids_order_counters_and_holders() {
    let world = World::new();
    let other = nke_tests::trail::object(9);
    let at = here(&world);
    let hooks = ["interface/xdp", "interface/in", "interface/out"];
    world.nke(&["load", &object(1)]).ok();
    world.nke(&["load", "versions"]).ok();
    for (hook, priority) in hooks.into_iter().zip(["70", "50", "30"]) {
        attach(&world, &other, hook, &at);
        attach(
            &world,
            &other,
            hook,
            &[&at[..], &["--priority", "90"]].concat(),
        );
        attach(
            &world,
            "versions",
            hook,
            &[&at[..], &["--priority", priority]].concat(),
        );
    }
    let places = || {
        let chains = world.chains().into_iter();
        let node = |n: nke_tests::Node| (n.id, n.priority, n.extension);
        chains
            .map(|c| (c.hook, c.nodes.into_iter().map(node).collect::<Vec<_>>()))
            .collect::<Vec<_>>()
    };
    let before = places();
    let stream = Stream::inward(&world);
    stream.wait(BETWEEN);
    let upgraded = upgrade(&world, &object(2));
    assert_eq!((upgraded.chains, upgraded.attachments), (3, 3));
    assert_eq!((&upgraded.from[..], &upgraded.to[..]), ("1.0.0", "2.0.0"));
    stream.wait(BETWEEN);
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0]);
    // XDP has it in the middle, traffic control between the others as well.
    for trail in report.trails.keys() {
        let legal = [
            [9, 1, 9, 9, 1, 9],
            [9, 2, 9, 9, 1, 9],
            [9, 2, 9, 9, 2, 9],
            [9, 1, 9, 9, 2, 9],
        ];
        assert!(legal.iter().any(|legal| legal == &trail[..]), "{trail:?}");
    }
    assert_eq!(places(), before);
    let listed = world.list();
    let extension = listed
        .iter()
        .find(|e| e.name == "versions")
        .expect("it is loaded");
    assert_eq!((extension.loads, extension.uses), (2, 3));
    // What the counters have counted, both versions have.
    let packets = |hook: &str| {
        let chain = world.chains().into_iter().find(|chain| chain.hook == hook);
        let chain = chain.expect("the chain is there");
        chain.node("versions").packets.map(|tally| tally.go_on)
    };
    assert_eq!(packets("interface/xdp"), Some(report.sent));
    assert_eq!(packets("interface/in"), Some(report.sent));
    assert_eq!(listed.len(), 2, "{listed:?}");
}
