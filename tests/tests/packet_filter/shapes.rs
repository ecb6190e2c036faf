//! Rule sets as firewalls have them, of sizes that take whole trees, in the kernel.
//!
//! `NKE_PACKETS` says how many packets each of them judges; a million in all is 42,000.

use nke::filter::shapes::{Dice, Drawn, Shape};
use nke::filter::{Decider, Hits, RuleSet, dissect};
use nke_tests::{Hook, World};

use crate::filter::Filter;

/// Packets for each rule set, where nobody says how many.
const PACKETS: usize = 1500;

#[test]
fn on_xdp_shapes_are_judged_as_they_say() {
    check(Hook::Xdp);
}

#[test]
fn on_the_way_in_shapes_are_judged_as_they_say() {
    check(Hook::In);
}

fn rules(drawn: &[Drawn]) -> RuleSet {
    let text: String = drawn.iter().map(|rule| format!("{rule}\n")).collect();
    text.parse().expect("they are rules")
}

#[track_caller]
fn check(hook: Hook) {
    let packets = std::env::var("NKE_PACKETS").ok();
    let packets = packets.map_or(PACKETS, |packets| packets.parse().expect("a number"));
    let world = World::new();
    let mut filter = Filter::attach(&world, hook);
    let mut dice = Dice::new(hook as u64);
    for shape in Shape::ALL {
        for count in [7, 100, 1000, 3000] {
            // Both families at once.
            let mut drawn = shape.draw(&mut dice, count / 2 + 1, true);
            drawn.extend(shape.draw(&mut dice, count / 2, false));
            let rules = rules(&drawn);
            filter.write(&rules);
            assert!(filter.is_fast(), "{shape:?} of {count}");
            let before = filter.read();
            let mut hits: Vec<Hits> = before.rules.iter().map(|(_, hits)| *hits).collect();
            let mut passed = before.default_hits;
            for _ in 0..packets {
                let mut packet = drawn[dice.below(drawn.len() as u64) as usize].packet(&mut dice);
                if dice.percent(50) {
                    // Beside it by a bit of an address or a port.
                    let at = 26 + dice.below(packet.len() as u64 - 30) as usize;
                    packet[at] ^= 1 << dice.below(8);
                }
                let judgement = rules.judge(&dissect(&packet, filter.direction()));
                assert_eq!(
                    filter.run(&packet),
                    Some(judgement.action),
                    "{shape:?} of {count}: {judgement:?} of {packet:02x?}"
                );
                let hit = match judgement.by {
                    Decider::Rule(index) => &mut hits[index],
                    Decider::Default | Decider::Obscured => &mut passed,
                };
                hit.packets += 1;
                hit.bytes += packet.len() as u64;
            }
            let after = filter.read();
            let found: Vec<Hits> = after.rules.iter().map(|(_, hits)| *hits).collect();
            assert_eq!((found, after.default_hits), (hits, passed), "{shape:?}");
        }
    }
}
