//! `keep state` beside rules of all kinds, in the kernel, against a table of flows on this side that every packet is looked up
//! in the long way, and the plain reading of the rules.

use nke::filter::{Action, Decider, Hits, RuleSet, dissect};
use nke_ebpf::{
    Direction, Flow, Frame,
    abi::states::{Bucket, FORMAT, header},
    states::{Found, Probe, enter, find},
};
use nke_tests::{Dice, Hook, World};

use crate::{any, any_rules, filter::Filter, with_frames};

/// Rule sets on each hook.
const SETS: u64 = 24;
/// Packets for each of them.
const PACKETS: usize = 200;
/// No flow's time is over, whenever its packets come.
const NOW: u64 = 1_000_000_000;

#[test]
fn on_xdp_flows_are_judged_and_counted_as_their_rules_say() {
    random_flows(Hook::Xdp);
}

#[test]
fn on_the_way_in_flows_are_judged_and_counted_as_their_rules_say() {
    random_flows(Hook::In);
}

#[test]
fn on_the_way_out_flows_are_judged_and_counted_as_their_rules_say() {
    random_flows(Hook::Out);
}

#[track_caller]
fn random_flows(hook: Hook) {
    let world = World::new();
    let mut filter = Filter::attach(&world, hook);
    // From now on there is a table, whether a set keeps state or not.
    let keeping = "pass proto 17 keep state".parse();
    filter.write(&keeping.expect("they are rules"));
    let (mut known, mut plain) = (0, 0);
    for seed in 0..SETS {
        let mut dice = Dice::new(seed);
        let mut rules = with_frames(any_rules(&mut dice), &mut dice);
        if seed % 4 != 0 {
            keep_state(&mut rules, &mut dice);
        }
        filter.write(&rules);
        world.on(&["filter", "states", "--flush"]).ok();
        let mut expected = Expected::of(&filter, &rules);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for _ in 0..PACKETS {
            let packet = next(&mut dice, &packets);
            let Some(found) = filter.run(&packet) else {
                continue;
            };
            let action = expected.judge(&packet);
            assert_eq!(found, action, "seed {seed}: {packet:02x?} by\n{rules}");
            packets.push(packet);
        }
        expected.check(&filter, &format!("seed {seed}, by\n{rules}"));
        known += expected.known;
        plain += expected.plain;
    }
    // Kernels differ in which packets they run a program on, and so in what comes of the dice.
    assert!(known > 100 && plain > 1000, "{known} known, {plain} not");
}

/// Has some of the rules that pass keep state, and others that meet many packets.
fn keep_state(rules: &mut RuleSet, dice: &mut Dice) {
    for rule in &mut rules.rules {
        if rule.action == Action::Pass && !dice.once_in(3) {
            *rule = format!("{rule} keep state").parse().expect("a rule");
        }
    }
    for keeping in [
        "pass to any port 22-65534 keep state",
        "pass inet6 keep state",
        "pass inet proto 6 keep state",
    ] {
        let place = dice.below(rules.rules.len() + 1);
        rules.rules.insert(place, keeping.parse().expect("a rule"));
    }
}

/// A packet that has not been there, or one that has, or what answers it.
fn next(dice: &mut Dice, before: &[Vec<u8>]) -> Vec<u8> {
    if before.is_empty() || dice.once_in(3) {
        let mut packet = any::packet(dice);
        // How TCP begins, mostly.
        if let Some(flags) = is_tcp(&packet).then(|| packet.get_mut(47)).flatten() {
            *flags = dice.pick(&[2, 2, 2, 16, 18, 4, 17]);
        }
        return packet;
    }
    let mut packet = before[dice.below(before.len())].clone();
    if is_tcp(&packet)
        && let Some(flags) = packet.get_mut(47)
    {
        *flags = dice.pick(&[2, 16, 16, 18, 24]);
    }
    if dice.once_in(2) {
        turn_round(&mut packet);
    }
    packet
}

/// Whether it is TCP behind a plain header of IPv4.
fn is_tcp(packet: &[u8]) -> bool {
    packet.get(12..15) == Some(&[8, 0, 0x45]) && packet.get(23) == Some(&6)
}

/// Exchanges the ends of a packet, where they lie as in nearly all.
fn turn_round(packet: &mut [u8]) {
    let (start, length) = match packet.get(12..14) {
        Some([8, 0]) => (26, 4),
        Some([0x86, 0xdd]) => (22, 16),
        _ => return,
    };
    let end = start + 2 * length;
    for (at, length) in [(start, length), (end, 2)] {
        if let Some(ends) = packet.get_mut(at..at + 2 * length) {
            ends.rotate_left(length);
        }
    }
}

/// What is to be said of the packets of one rule set, and to be counted.
struct Expected<'a> {
    rules: &'a RuleSet,
    direction: nke::filter::Direction,
    flows: Vec<Bucket>,
    hits: Vec<Hits>,
    default: Hits,
    obscured: Hits,
    known_elsewhere: Hits,
    known: u64,
    plain: u64,
}

impl<'a> Expected<'a> {
    /// Nothing yet beside what is counted already: a rule that was in the last set as well has kept its hits.
    fn of(filter: &Filter, rules: &'a RuleSet) -> Self {
        const BUCKETS: u64 = 256;
        let flows: Vec<_> = (0..=BUCKETS).map(|_| Bucket::default()).collect();
        flows[0].marks[header::FORMAT].set(FORMAT);
        flows[0].marks[header::MASK].set(BUCKETS - 1);
        let before = filter.read();
        Self {
            rules,
            direction: filter.direction(),
            flows,
            hits: before.rules.iter().map(|(_, hits)| *hits).collect(),
            default: before.default_hits,
            obscured: before.obscured_hits,
            known_elsewhere: before.known_hits,
            known: 0,
            plain: 0,
        }
    }

    /// What becomes of a packet, which is counted.
    fn judge(&mut self, packet: &[u8]) -> Action {
        let direction = match self.direction {
            nke::filter::Direction::Out => Direction::Out,
            _ => Direction::In,
        };
        let frame = Frame::new(packet, direction);
        let probe = Flow::of(&frame).ok().map(|flow| Probe::of(&frame, &flow));
        let probe = probe.filter(Probe::is_flow);
        let found = probe.and_then(|probe| find(&*self.flows, &probe, || NOW));
        if let Some(Found(rule)) = found {
            self.known += 1;
            let rule = usize::try_from(rule).expect("small");
            count(&mut self.hits[rule], packet);
            return Action::Pass;
        }
        self.plain += 1;
        let judgement = self.rules.judge(&dissect(packet, self.direction));
        let hits = match judgement.by {
            Decider::Rule(index) => &mut self.hits[index],
            Decider::Default => &mut self.default,
            Decider::Obscured => &mut self.obscured,
        };
        count(hits, packet);
        if let (Decider::Rule(index), Some(mut probe)) = (judgement.by, probe)
            && self.rules.rules[index].keep_state
            && probe.begins()
        {
            probe.enter_for(index as u64);
            assert!(enter(&*self.flows, &probe, NOW), "there is room");
        }
        judgement.action
    }

    /// That the kernel has counted the same.
    #[track_caller]
    fn check(&self, filter: &Filter, context: &str) {
        let listing = filter.read();
        let found: Vec<Hits> = listing.rules.iter().map(|(_, hits)| *hits).collect();
        assert_eq!(found, self.hits, "{context}");
        assert_eq!(listing.default_hits, self.default, "{context}");
        assert_eq!(listing.obscured_hits, self.obscured, "{context}");
        assert_eq!(listing.known_hits, self.known_elsewhere, "{context}");
    }
}

fn count(hits: &mut Hits, packet: &[u8]) {
    hits.packets += 1;
    hits.bytes += u64::try_from(packet.len()).expect("small");
}
