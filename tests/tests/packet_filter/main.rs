//! The packet filter in the kernel, against what its rules mean.
//!
//! The real object is attached with the real command; rules are written through the library, and
//! packets are run through the node itself. Two readers of packets and two searches of rules must
//! come to the same: the kernel's, and `nke::filter`'s plain ones.

mod any;
mod edits;
mod expressions;
mod fast;
mod filter;
mod flows;
mod fuzz;
mod goes_on;
mod hostile;
mod large_sets;
mod per_source;
mod reject;
mod sets;
mod shapes;

use nke::filter::{Action, Decider, Hits, RuleSet, dissect, parse_rules};
use nke_tests::{Dice, Hook, World};

use filter::Filter;

/// Rule sets on each hook.
const SETS: u64 = 60;
/// Packets for each of them.
const PACKETS: usize = 100;

#[test]
fn on_xdp_the_kernel_judges_as_the_rules_say() {
    random_rules_and_packets(Hook::Xdp);
}

#[test]
fn on_the_way_in_the_kernel_judges_as_the_rules_say() {
    random_rules_and_packets(Hook::In);
}

#[test]
fn on_the_way_out_the_kernel_judges_as_the_rules_say() {
    random_rules_and_packets(Hook::Out);
}

#[track_caller]
fn random_rules_and_packets(hook: Hook) {
    let world = World::new();
    let mut filter = Filter::attach(&world, hook);
    for seed in 0..SETS {
        let mut dice = Dice::new(seed);
        let rules = with_frames(any_rules(&mut dice), &mut dice);
        filter.write(&rules);
        // A rule that was in the last set as well has kept its hits.
        let before = filter.read();
        let mut expected: Vec<Hits> = before.rules.iter().map(|(_, hits)| *hits).collect();
        let mut default_hits = before.default_hits;
        let mut obscured_hits = before.obscured_hits;
        for _ in 0..PACKETS {
            let packet = any::packet(&mut dice);
            let judgement = rules.judge(&dissect(&packet, filter.direction()));
            let Some(found) = filter.run(&packet) else {
                continue;
            };
            assert_eq!(
                found, judgement.action,
                "seed {seed}: {judgement:?} of packet {packet:02x?} by\n{rules}"
            );
            let hits = match judgement.by {
                Decider::Rule(index) => &mut expected[index],
                Decider::Default => &mut default_hits,
                Decider::Obscured => &mut obscured_hits,
            };
            hits.packets += 1;
            hits.bytes += u64::try_from(packet.len()).expect("small");
        }
        let listing = filter.read();
        let found: Vec<Hits> = listing.rules.iter().map(|(_, hits)| *hits).collect();
        assert_eq!(found, expected, "seed {seed}, by\n{rules}");
        assert_eq!(listing.default_hits, default_hits, "seed {seed}");
        assert_eq!(listing.obscured_hits, obscured_hits, "seed {seed}");
    }
}

/// The same rules, some of which ask about the frame: there is one at the hooks of interfaces only.
fn with_frames(mut rules: RuleSet, dice: &mut Dice) -> RuleSet {
    const FRAMES: [&str; 2] = [
        "ether from not 02:00:00:00:00:01",
        "ether from 02:00:00:00:00:01 ether to not 02:00:00:00:00:02",
    ];
    for rule in &mut rules.rules {
        if dice.once_in(8) {
            let line = format!("{rule} {}", dice.pick(&FRAMES));
            *rule = line.parse().expect("a rule");
        }
    }
    rules
}

fn any_rules(dice: &mut Dice) -> RuleSet {
    rules_of(dice, &[0, 1, 2, 3, 5, 10, 20, 40], any::rule)
}

/// As many lines as one of these counts says, each drawn so.
fn rules_of(dice: &mut Dice, counts: &[usize], line: fn(&mut Dice) -> String) -> RuleSet {
    let default = dice.pick(&[Action::Pass, Action::Drop]);
    let count = dice.pick(counts);
    let rules = (0..count).flat_map(|_| {
        let line = line(dice);
        parse_rules(&line).unwrap_or_else(|error| nke_tests::fail(format!("{line}: {error}")))
    });
    RuleSet {
        default,
        rules: rules.collect(),
    }
}
