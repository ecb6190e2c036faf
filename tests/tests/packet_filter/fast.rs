//! Fast paths: which rule sets have one, and that none judges by rules that are not in force.

use nke::{
    control::Control,
    filter::{Action, Lasting, Rule, RuleSet, SetKind},
};
use nke_tests::{
    Hook, World,
    frame::{Frame, Ip},
    trail,
};

use crate::{
    filter::Filter,
    sets::{about, sets},
};

/// More than are few, so that they are searched.
const MANY: &str =
    "drop proto udp to any port 1\ndrop proto udp to any port 3\ndrop proto udp to any port 5
drop proto udp to any port 7\ndrop proto udp from 10.0.0.0/24 to any port 100-200\n";
const FEW: &str = "drop proto udp to any port 1\npass proto udp to any port 100-150\ndrop proto udp to any port 100-200\n";

fn rules(text: &str) -> RuleSet {
    text.parse()
        .unwrap_or_else(|error| nke_tests::fail(format!("{text}: {error}")))
}

fn udp(port: u16) -> Vec<u8> {
    Frame::from_outside().ip(&Ip::new("10.0.0.1", "10.0.0.2").udp(9, port, b""))
}

fn back(port: u16) -> Vec<u8> {
    Frame::from_inside().ip(&Ip::new("10.0.0.2", "10.0.0.1").udp(port, 9, b""))
}

#[track_caller]
fn chain(world: &World) -> nke_tests::Chain {
    let chain = world.chain(Hook::Xdp);
    chain.expect("there is a chain")
}

/// The fast path that a filter has, as the command tells.
#[track_caller]
fn fast_path(world: &World, filter: &Filter) -> Option<u32> {
    let nodes = chain(world).nodes;
    let node = nodes.iter().find(|node| node.id == filter.id());
    node.expect("it is attached").fast_path_id
}

#[track_caller]
fn check(filter: &Filter, dropped: &[u16], passed: &[u16]) {
    for port in dropped {
        assert_eq!(filter.run_fast(&udp(*port)), Action::Drop, "{port}");
    }
    for port in passed {
        assert_eq!(filter.run_fast(&udp(*port)), Action::Pass, "{port}");
    }
}

#[test]
fn rules_that_ask_for_flows_alone_have_a_fast_path_at_the_hooks_of_interfaces() {
    for hook in [Hook::Xdp, Hook::In, Hook::Out] {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        assert!(!filter.is_fast(), "there are no rules");
        for text in [FEW, MANY] {
            filter.write(&rules(text));
            assert!(filter.is_fast(), "{hook:?}: {text}");
            check(&filter, &[1, 160, 200], &[2, 201]);
        }
        let slow = [
            "pass proto udp to any port 9 limit 1/s",
            "pass proto udp to any port 9 dscp 8",
            // Last: from then on there are flows.
            "pass proto udp to any port 9 keep state",
        ];
        for slow in slow {
            filter.write(&rules(&format!(
                "{FEW}{slow}
"
            )));
            assert!(!filter.is_fast(), "{hook:?}: {slow}");
        }
    }
}

#[test]
fn behind_a_rule_for_all_packets_none_is_asked() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    filter.write(&rules("drop to any port 1\npass\ndrop to any port 2\n"));
    check(&filter, &[1], &[2, 3]);
}

#[test]
fn a_fast_path_counts_for_its_rules_and_for_the_attachment() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    for text in [FEW, MANY] {
        filter.write(&rules(text));
        let before = filter.read();
        check(&filter, &[1, 1], &[2]);
        let after = filter.read();
        let hits = |listing: &nke::filter::Listing| {
            let [(_, first), ..] = listing.rules.as_slice() else {
                nke_tests::fail("there are rules");
            };
            (first.packets, listing.default_hits.packets)
        };
        let ((first, default), (first_after, default_after)) = (hits(&before), hits(&after));
        assert_eq!(
            (first_after - first, default_after - default),
            (2, 1),
            "{text}"
        );
    }
    let counts = chain(&world).nodes[0].packets.expect("counters");
    assert_eq!((counts.dropped, counts.go_on), (4, 2));
}

#[test]
fn a_fast_path_hands_over_as_soon_as_other_rules_are_in_force() {
    for text in [FEW, MANY] {
        let world = World::new();
        let mut filter = Filter::attach(&world, Hook::Xdp);
        filter.write(&rules(text));
        check(&filter, &[1], &[2]);
        // By the library alone, which knows nothing of chains.
        filter.write_alone(&rules("drop proto udp to any port 2\n"));
        check(&filter, &[2], &[1]);
    }
}

#[test]
fn a_fast_path_hands_over_as_soon_as_rules_are_edited_in_place() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    filter.write(&rules(MANY));
    let mut edited = rules(MANY);
    let rule: Rule = "drop proto udp to any port 2".parse().expect("a rule");
    edited.rules.insert(0, rule);
    edited.rules.remove(1);
    filter.write_alone(&edited);
    check(&filter, &[2, 3], &[1]);
    filter.write(&edited);
    assert!(filter.is_fast());
    check(&filter, &[2, 3], &[1]);
}

#[test]
fn a_fast_path_hands_over_as_soon_as_flows_are_kept_at_another_hook() {
    let world = World::new();
    let mut inward = Filter::attach(&world, Hook::In);
    let mut outward = Filter::attach(&world, Hook::Out);
    inward.write(&rules("drop proto udp\n"));
    assert!(inward.is_fast());
    check(&inward, &[1], &[]);
    outward.write_alone(&rules("pass proto udp keep state\n"));
    assert_eq!(outward.run(&back(1)), Some(Action::Pass));
    check(&inward, &[2], &[1]);
}

#[test]
fn a_fast_path_stays_and_goes_with_its_attachment() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    filter.write(&rules(FEW));
    let fast = || fast_path(&world, &filter);
    let first = fast().expect("a fast path");
    world.attach(Hook::Xdp, "counter", &["--priority", "10"]);
    assert_eq!(fast(), Some(first));
    world
        .at(Hook::Xdp, &["move", "packet-filter", "--before", "counter"])
        .ok();
    let moved = fast().expect("it has one at its new place");
    assert_ne!(moved, first);
    world.at(Hook::Xdp, &["disable", "packet-filter"]).ok();
    assert_eq!(fast(), None);
    world.at(Hook::Xdp, &["enable", "packet-filter"]).ok();
    assert!(fast().is_some());
    world.at(Hook::Xdp, &["detach", "counter"]).ok();
    assert!(fast().is_some());
    world.at(Hook::Xdp, &["detach", "packet-filter"]).ok();
}

#[test]
fn a_fast_path_stays_while_its_set_is_edited_and_goes_with_it() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let sets = sets(&world);
    let member = |text: &str| Lasting::forever(text.parse().expect("a member"));
    let about = about("few", SetKind::Addresses);
    let set = sets.create(&about, &[member("10.0.0.9")]);
    let mut set = set.expect("it is made");
    let asking = rules("drop from @few\n");
    filter.write(&asking);
    let fast = || fast_path(&world, &filter);
    let first = fast().expect("a fast path");
    check(&filter, &[], &[1]);
    set.add(&sets, &[member("10.0.0.1")]).expect("it fits");
    check(&filter, &[1], &[]);
    Control::open(&world.state()).expect("a state").hasten();
    assert_eq!(fast(), Some(first), "it follows edits");
    sets.replace(&set, &[]).expect("it is emptied");
    check(&filter, &[], &[1]);
    Control::open(&world.state()).expect("a state").hasten();
    let second = fast().expect("a fast path");
    assert_ne!(second, first, "the set is another");
}

#[test]
fn a_long_chain_has_no_fast_path_for_each_takes_a_tail_call() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    filter.write(&rules(FEW));
    let fast = || fast_path(&world, &filter);
    // Half of what a chain can have.
    for n in 2..=16 {
        world.attach(Hook::Xdp, &trail::object(n), &[]);
    }
    assert!(fast().is_some());
    world.attach(Hook::Xdp, &trail::object(17), &[]);
    assert_eq!(fast(), None);
    world.at(Hook::Xdp, &["detach", "trail17"]).ok();
    assert!(fast().is_some());
}
