//! Rules that do not decide, and rules that run out: `count`, `mark`, `limit`.

use nke::filter::{Action, RuleSet};
use nke_tests::{
    Hook, World,
    frame::{Frame, Ip},
};

use crate::filter::Filter;

fn rules(text: &str) -> RuleSet {
    text.parse()
        .unwrap_or_else(|error| nke_tests::fail(format!("{text}: {error}")))
}

fn udp(port: u16, bytes: usize) -> Vec<u8> {
    let payload = vec![0; bytes];
    Frame::from_outside().ip(&Ip::new("10.0.0.1", "10.0.0.2").udp(1, port, &payload))
}

fn packets(filter: &Filter) -> Vec<u64> {
    let listing = filter.read();
    listing.rules.iter().map(|(_, hits)| hits.packets).collect()
}

#[test]
fn what_goes_on_is_counted_and_decided_behind() {
    for hook in [Hook::Xdp, Hook::In, Hook::Out] {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        filter.write(&rules(
            "count proto udp\npass to any port 1\ncount to any port 2 length 0-50\n\
             drop to any port 2\ncount",
        ));
        for (port, verdict) in [(1, Action::Pass), (2, Action::Drop), (3, Action::Pass)] {
            assert_eq!(filter.run(&udp(port, 0)), Some(verdict), "{hook:?}");
        }
        assert_eq!(filter.run(&udp(2, 100)), Some(Action::Drop), "{hook:?}");
        assert_eq!(packets(&filter), [4, 1, 1, 2, 1], "{hook:?}");
        assert_eq!(filter.read().default_hits.packets, 1, "{hook:?}");
    }
}

#[test]
fn a_mark_is_seen_by_the_rules_behind() {
    for hook in [Hook::In, Hook::Out] {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        filter.write(&rules(
            "drop mark not 0\nmark 5 to any port 1\nmark 0x10/0xf0 to any port 1\n\
             drop mark 0x15\npass mark 0",
        ));
        assert_eq!(filter.run(&udp(1, 0)), Some(Action::Drop), "{hook:?}");
        assert_eq!(filter.run(&udp(2, 0)), Some(Action::Pass), "{hook:?}");
        assert_eq!(packets(&filter), [0, 1, 1, 1, 1], "{hook:?}");
    }
}

#[test]
fn a_limit_takes_its_burst_and_no_more() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    // None comes back within the test.
    let set = rules("pass to any port 1 limit 1/d burst 3\ndrop to any port 1");
    filter.write(&set);
    let run = |filter: &Filter, count: usize| -> Vec<_> {
        (0..count).map(|_| filter.run(&udp(1, 0))).collect()
    };
    let (pass, drop) = (Some(Action::Pass), Some(Action::Drop));
    assert_eq!(run(&filter, 2), [pass, pass]);
    // What stays in an edit has not rested.
    let mut more = set;
    more.rules
        .insert(0, "drop to any port 9".parse().expect("a rule"));
    filter.write(&more);
    assert_eq!(run(&filter, 4), [pass, drop, drop, drop]);
    assert_eq!(packets(&filter), [0, 3, 3]);

    filter.write(&rules("drop to any port 1 limit over 4/s bytes burst 200"));
    // 28 bytes of headers each.
    let lengths = [72, 500, 72, 0].map(|bytes| filter.run(&udp(1, bytes)));
    assert_eq!(lengths, [pass, drop, pass, drop]);
}

#[test]
fn a_limit_comes_back_with_time() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::In);
    filter.write(&rules(
        "pass to any port 1 limit 1000/s burst 1\ndrop to any port 1",
    ));
    let deadline = nke_tests::Deadline::generous();
    let mut passed = 0;
    let enough = deadline.until(|| {
        passed += u64::from(filter.run(&udp(1, 0)) == Some(Action::Pass));
        passed == 5
    });
    assert!(enough, "only {passed} have passed");
}
