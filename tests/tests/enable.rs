//! `nke disable` and `nke enable`: an attachment's program stops and runs again, in its place.

use std::collections::BTreeSet;

use nke_tests::{Hook, IFACE, Stream, World, trail};

fn three(hook: Hook) -> (World, [u32; 3]) {
    let world = World::new();
    let ids = [1, 2, 3].map(|n| world.attach(hook, &trail::object(n), &[]));
    (world, ids)
}

#[test]
fn the_others_go_on() {
    for hook in Hook::ALL {
        let (world, ids) = three(hook);
        for (n, left) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
            let name = format!("trail{n}");
            world.nke(&["disable", &name]).ok();
            world.assert_trail(hook, &left);
            world.nke(&["enable", &name]).ok();
            world.assert_trail(hook, &[1, 2, 3]);
        }
        for id in ids {
            world.nke(&["disable", &id.to_string()]).ok();
        }
        world.assert_trail(hook, &[]);
    }
}

#[test]
fn place_counters_and_maps_stay() {
    let (world, ids) = three(Hook::Xdp);
    world.on(&["attach", "packet-filter"]).ok();
    world
        .on(&["filter", "add", "drop in proto udp from any to any port 53"])
        .ok();
    world.nke(&["move", "trail2", "--priority", "7"]).ok();
    world.assert_trail(Hook::Xdp, &[2, 1, 3]);
    let rules = world.on(&["filter", "list"]).ok().stdout;
    let ran = world.nke(&["disable", "trail2"]).ok();
    let place = format!("(interface/xdp of {IFACE} in {})", world.inside.name());
    assert_eq!(ran.stdout, format!("disabled {} {place}\n", ids[1]));
    world.nke(&["disable", "packet-filter"]).ok();
    world.assert_trail(Hook::Xdp, &[1, 3]);
    let node = |name: &str| {
        let chain = world.chain(Hook::Xdp).expect("the chain is there");
        chain.node(name).clone()
    };
    let off = node("trail2");
    let seen = off.packets.map(|tally| tally.go_on);
    assert_eq!(
        (off.id, off.position, off.priority, off.enabled, seen),
        (ids[1], 1, 7, false, Some(1)),
        "what goes past it is not counted"
    );
    assert_eq!(world.on(&["filter", "list"]).ok().stdout, rules);
    world.nke(&["enable", "trail2"]).ok();
    world.nke(&["enable", "packet-filter"]).ok();
    world.assert_trail(Hook::Xdp, &[2, 1, 3]);
    let on = node("trail2");
    assert!(on.enabled);
    assert_eq!(on.packets.map(|tally| tally.go_on), Some(2));
    let filter = node("packet-filter");
    assert_eq!(filter.packets.map(|tally| tally.go_on), Some(2));
    let rules = world.on(&["filter", "list"]).ok().stdout;
    assert!(rules.contains("2  128 B  default pass"), "{rules}");
}

#[test]
fn once_more_changes_nothing() {
    let (world, _) = three(Hook::Xdp);
    let before = world.chains();
    world.nke(&["enable", "trail2"]).ok();
    assert_eq!(world.chains(), before, "not even the loaded program");
    world.nke(&["disable", "trail2"]).ok();
    let off = world.chains();
    assert_ne!(off, before);
    world.nke(&["disable", "trail2"]).ok();
    assert_eq!(world.chains(), off);
}

#[test]
fn it_stays_off_through_other_edits() {
    let (world, ids) = three(Hook::Xdp);
    world.nke(&["disable", "trail2"]).ok();
    world.nke(&["move", "trail2", "--priority", "99"]).ok();
    world.assert_trail(Hook::Xdp, &[1, 3]);
    world.nke(&["move", "trail3", "--priority", "1"]).ok();
    world.assert_trail(Hook::Xdp, &[3, 1]);
    // Another in its place is off as well, until it is enabled.
    world
        .nke(&["replace", &ids[1].to_string(), &trail::object(8)])
        .ok();
    world.assert_trail(Hook::Xdp, &[3, 1]);
    world.nke(&["enable", "trail8"]).ok();
    world.assert_trail(Hook::Xdp, &[3, 1, 8]);
}

#[test]
fn it_is_shown() {
    let (world, ids) = three(Hook::Xdp);
    world.nke(&["disable", "trail2"]).ok();
    let told = |words: &[&str]| world.nke(words).ok().stdout;
    assert!(told(&["chain"]).contains("trail2 (disabled)"));
    let id = ids[1].to_string();
    assert!(told(&["show", &id]).contains("its program does not run"));
    assert!(told(&["show", "trail2"]).contains("use count    1"));
    let way = world.on(&["chain", "--way"]).ok().stdout;
    assert!(way.contains("trail2 (disabled)"), "{way}");
    world.nke(&["detach", "trail2"]).ok();
    world.assert_trail(Hook::Xdp, &[1, 3]);
}

#[test]
fn a_drop_policy_stands() {
    let (world, _) = three(Hook::Xdp);
    world.on(&["policy", "drop"]).ok();
    for n in [1, 2, 3] {
        world.nke(&["disable", &format!("trail{n}")]).ok();
    }
    let trail = world.trail(Hook::Xdp);
    assert_eq!((trail.seen, trail.answer), (vec![], Hook::Xdp.drop()));
}

#[test]
fn nobody_is_refused() {
    let (world, _) = three(Hook::Xdp);
    let before = world.chains();
    for verb in ["disable", "enable"] {
        let error = world.nke(&[verb, "nobody"]).fails("no-attachment");
        assert_eq!(
            error,
            format!(
                "nke: attachment nobody: {verb}: none such; `nke chain` shows those that are\n"
            )
        );
    }
    assert_eq!(world.chains(), before);
}

#[test]
fn under_traffic_no_packet_is_lost() {
    for hook in Hook::ALL {
        let (world, _) = three(hook);
        let stream = if hook == Hook::Out {
            Stream::outward(&world)
        } else {
            Stream::inward(&world)
        };
        for _ in 0..10 {
            for name in ["trail1", "trail2", "trail3"] {
                for verb in ["disable", "enable"] {
                    stream.wait(40);
                    world.nke(&[verb, name]).ok();
                }
            }
        }
        stream.wait(40);
        let report = stream.stop();
        assert_eq!(report.lost, [] as [u64; 0], "of {} sent", report.sent);
        let legal: [&[u8]; 4] = [&[1, 2, 3], &[2, 3], &[1, 3], &[1, 2]];
        let legal: BTreeSet<Vec<u8>> = legal.iter().map(|trail| trail.to_vec()).collect();
        let seen: BTreeSet<Vec<u8>> = report.trails.keys().cloned().collect();
        assert_eq!(seen, legal, "{:?}", report.trails);
    }
}
