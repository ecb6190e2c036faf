//! `nke move`: another place in the chain, the same attachment.

use nke_tests::{Hook, IFACE, World, trail};

fn three(hook: Hook) -> (World, [u32; 3]) {
    let world = World::new();
    let ids = [1, 2, 3].map(|n| world.attach(hook, &trail::object(n), &[]));
    (world, ids)
}

#[test]
fn to_a_priority() {
    for hook in Hook::ALL {
        let (world, ids) = three(hook);
        world.nke(&["move", "trail3", "--priority", "10"]).ok();
        world.assert_trail(hook, &[3, 1, 2]);
        world.nke(&["move", "trail1", "--priority", "60"]).ok();
        world.assert_trail(hook, &[3, 2, 1]);
        let chain = world.chain(hook).expect("the chain is there");
        let nodes: Vec<_> = chain
            .nodes
            .iter()
            .map(|node| (node.id, node.priority))
            .collect();
        assert_eq!(
            nodes,
            [(ids[2], 10), (ids[1], 50), (ids[0], 60)],
            "ids stay"
        );
    }
}

#[test]
fn beside_another() {
    let (world, ids) = three(Hook::Xdp);
    world.nke(&["move", "trail1", "--after", "trail3"]).ok();
    world.assert_trail(Hook::Xdp, &[2, 3, 1]);
    world
        .nke(&["move", &ids[2].to_string(), "--before", &ids[1].to_string()])
        .ok();
    world.assert_trail(Hook::Xdp, &[3, 2, 1]);
}

#[test]
fn it_says_what_it_did() {
    let (world, ids) = three(Hook::Xdp);
    let ran = world.nke(&["move", "trail3", "--priority", "10"]).ok();
    assert_eq!(
        ran.stdout,
        format!(
            "moved trail3 {} to interface/xdp of {IFACE} (native), position 1 of 3\n",
            ids[2]
        )
    );
}

#[test]
fn counters_and_maps_come_along() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    world.on(&["attach", "packet-filter"]).ok();
    world
        .on(&["filter", "add", "drop in proto udp from any to any port 53"])
        .ok();
    for _ in 0..3 {
        world.assert_trail(Hook::Xdp, &[1, 2]);
    }
    let go_on = |name: &str| {
        let chain = world.chain(Hook::Xdp).expect("the chain is there");
        chain.node(name).packets.map(|tally| tally.go_on)
    };
    let rules = world.on(&["filter", "list"]).ok().stdout;
    world
        .nke(&["move", "trail1", "--after", "packet-filter"])
        .ok();
    world
        .nke(&["move", "packet-filter", "--priority", "1"])
        .ok();
    assert_eq!((go_on("trail1"), go_on("trail2")), (Some(3), Some(3)));
    assert_eq!(world.on(&["filter", "list"]).ok().stdout, rules);
    world.assert_trail(Hook::Xdp, &[2, 1]);
    assert_eq!(
        (go_on("trail1"), go_on("trail2"), go_on("packet-filter")),
        (Some(4), Some(4), Some(4))
    );
}

#[test]
fn to_where_it_is_changes_nothing() {
    let (world, _) = three(Hook::Xdp);
    let before = world.chains();
    world.nke(&["move", "trail2", "--after", "trail1"]).ok();
    world.nke(&["move", "trail2", "--before", "trail3"]).ok();
    assert_eq!(world.chains(), before, "not even the loaded program");
}

#[test]
fn with_a_drop_policy_behind() {
    let (world, _) = three(Hook::Xdp);
    world.on(&["policy", "drop"]).ok();
    world.nke(&["move", "trail1", "--priority", "99"]).ok();
    let trail = world.trail(Hook::Xdp);
    assert_eq!(
        (trail.seen, trail.answer),
        (vec![2, 3, 1], Hook::Xdp.drop())
    );
}

#[test]
fn beside_itself_or_nobody_is_refused() {
    let (world, _) = three(Hook::Xdp);
    let before = world.chains();
    for other in ["trail1", "nobody"] {
        let error = world
            .nke(&["move", "trail1", "--before", other])
            .fails("no-attachment");
        assert!(error.starts_with("nke: attachment "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let error = world
        .nke(&["move", "nobody", "--priority", "1"])
        .fails("no-attachment");
    assert_eq!(
        error,
        "nke: attachment nobody: move: none such; `nke chain` shows those that are\n"
    );
    assert_eq!(world.chains(), before);
}

#[test]
fn nowhere_is_a_usage_error() {
    let (world, _) = three(Hook::Xdp);
    let ran = world.nke(&["move", "trail1"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    world.assert_trail(Hook::Xdp, &[1, 2, 3]);
}
