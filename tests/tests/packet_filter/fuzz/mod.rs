//! The packet fuzzer: a corpus of packets, spoilt, through the filter's own program in the kernel,
//! under rule sets of all that the language has.
//!
//! Some of them ask for named sets, which are edited between packets.
//!
//! The kernel's program and the plain reading of the rules must come to the same end, by the same
//! rule. What they differ about is made small and written to `found`, as a file: commit it, for
//! every file there is tried first in each run of the tests.
//!
//! The tests run it for a minute, and the cases are the same ones each time, as far as there is time. `cargo
//! xtask fuzz` gives it longer, and other cases each time (`NKE_FUZZ_SECONDS`).

mod asked;
mod found;
pub(crate) mod mutate;

use std::{
    env, process, thread,
    time::{Duration, Instant},
};

use nke::filter::{Action, Decider, Judgement, Listing, RuleSet, StatedSet, Table, Trial, Tried};
use nke_tests::{Dice, binaries, fail};

use self::{asked::AskedSets, found::Found};
use crate::any_rules;

/// Hooks of each kind of program. What passes through the IP layer is judged by the same program
/// at all of its hooks.
const HOOKS: [&str; 5] = [
    "interface/xdp",
    "interface/in",
    "interface/out",
    "ip/in",
    "ip/out",
];

/// How long it runs where nobody says it.
const MINUTE: Duration = Duration::from_secs(60);

/// Packets for each rule set.
const PACKETS: usize = STAGES * BETWEEN;

/// As often packets come by between two edits of the sets that rules ask for, and so many.
const STAGES: usize = 8;
const BETWEEN: usize = 50;

/// The filter's program at one hook, with rules.
pub(crate) struct Bench {
    hook: &'static str,
    trial: Trial,
    table: Table,
    sets: AskedSets,
}

impl Bench {
    pub(crate) fn at(hook: &'static str) -> Self {
        let file = binaries::extensions().join("packet-filter.o");
        let trial = Trial::load_file(hook.parse().expect("a hook"), &file);
        let trial = trial.unwrap_or_else(|error| fail(format!("{hook}: {error}")));
        let trial = trial.with_own_sets();
        let table = trial.table().expect("its rules");
        let sets = AskedSets::new(trial.sets().expect("its sets"));
        Self {
            hook,
            trial,
            table,
            sets,
        }
    }

    pub(crate) fn write(&mut self, rules: &RuleSet) {
        self.table.write(rules).expect("the kernel takes the rules");
        self.hasten();
    }

    /// Has packets go by the fast path that the rules and the sets have now.
    fn hasten(&mut self) {
        if let Err(error) = self.trial.hasten() {
            let rules = self.rules();
            let sets = self.sets.stated(&rules);
            let sets: String = sets.iter().map(ToString::to_string).collect();
            fail(format!("{}: {error}\n{sets}{rules}", self.hook));
        }
    }

    pub(crate) fn refuses(&mut self, rules: &RuleSet) -> bool {
        self.table.write(rules).is_err()
    }

    pub(crate) fn rules(&self) -> RuleSet {
        let listing = self.table.read();
        listing.expect("the kernel shows the rules").rules()
    }

    fn read(&self) -> Counts {
        Counts::of(&self.table.read().expect("the kernel shows the rules"))
    }

    /// What the kernel says of a packet; nothing where it does not run the program.
    pub(crate) fn run(&self, packet: &[u8]) -> Option<Action> {
        match self.trial.run(packet) {
            Ok(Tried::Judged(action)) => Some(action),
            // No rule here rejects or redirects.
            Ok(Tried::Sent) => fail(format!("{}: an answer to {packet:02x?}", self.hook)),
            Ok(Tried::NotThere | Tried::Refused | Tried::TooLong) => None,
            Err(error) => fail(format!("{}: {error}: {packet:02x?}", self.hook)),
        }
    }

    /// What the rules say of it, read plainly.
    pub(crate) fn judge(&self, rules: &RuleSet, packet: &[u8]) -> Judgement {
        rules.judge_with(&self.trial.dissect(packet), self.sets.known())
    }

    /// Whether the kernel, by these rules, says otherwise than they do.
    fn disagrees(&mut self, rules: &RuleSet, packet: &[u8]) -> bool {
        self.write(rules);
        let mut expected = self.read();
        let judgement = self.judge(rules, packet);
        let Some(action) = self.run(packet) else {
            return false;
        };
        expected.add(judgement.by);
        action != judgement.action || self.read() != expected
    }

    /// A rule set, and packets under it. Every other rule set asks for named sets; one of `large` of these for a large one.
    fn round(&mut self, dice: &mut Dice, corpus: &[Vec<u8>], large: usize) {
        let asks_sets = dice.once_in(2);
        let rules = if asks_sets {
            self.write(&RuleSet::default());
            let is_large = dice.once_in(large);
            self.sets.draw(dice, is_large);
            asked::rules(dice)
        } else {
            any_rules(dice)
        };
        self.write(&rules);
        for _ in 0..STAGES {
            self.packets(&rules, dice, corpus, asks_sets);
            if asks_sets {
                self.sets.edit(dice);
                // As a command does. Till then, a set that was put in the place of another is asked the long way.
                if dice.once_in(2) {
                    self.hasten();
                }
            }
        }
    }

    /// Packets under the rules that are there.
    fn packets(&mut self, rules: &RuleSet, dice: &mut Dice, corpus: &[Vec<u8>], asks_sets: bool) {
        let mut expected = self.read();
        let mut packets = Vec::new();
        for _ in 0..BETWEEN {
            let mut packet = mutate::spoilt(dice, corpus);
            if asks_sets
                && dice.once_in(2)
                && let Some(address) = self.sets.edge(dice)
            {
                mutate::meet(dice, &mut packet, address);
            }
            if asks_sets && let Ok(read) = self.trial.dissect(&packet) {
                self.sets.compare(&read);
            }
            let judgement = self.judge(rules, &packet);
            let Some(action) = self.run(&packet) else {
                continue;
            };
            if action != judgement.action {
                self.report(rules, &packet);
            }
            expected.add(judgement.by);
            packets.push(packet);
        }
        if self.read() == expected {
            return;
        }
        // Judged alike, and by another rule: by which packet does it show?
        let culprit = packets.iter().find(|packet| self.disagrees(rules, packet));
        match culprit {
            Some(packet) => self.report(rules, packet),
            None => fail(format!(
                "{}: one packet after the other each is counted where it belongs, and together \
                 they are not\n{rules}",
                self.hook
            )),
        }
    }

    /// Leaves out what is not needed to see it, and writes the rest to a file.
    fn report(&mut self, rules: &RuleSet, packet: &[u8]) -> ! {
        if !self.disagrees(rules, packet) {
            fail(format!(
                "{}: rules that are written anew are right: before, they were not, of {packet:02x?}\n{rules}",
                self.hook
            ));
        }
        let (mut rules, mut packet) = (rules.clone(), packet.to_vec());
        let mut index = 0;
        while index < rules.rules.len() {
            let mut fewer = rules.clone();
            fewer.rules.remove(index);
            if self.disagrees(&fewer, &packet) {
                rules = fewer;
            } else {
                index += 1;
            }
        }
        while packet.len() > 14 && self.disagrees(&rules, &packet[..packet.len() - 1]) {
            packet.pop();
        }
        let sets = self.fewer_members(&rules, &packet);
        let expected = self.judge(&rules, &packet);
        let hook = self.hook;
        let file = Found {
            hook,
            packet,
            rules,
            sets,
        }
        .write();
        fail(format!(
            "the kernel does not say {expected:?}: {}",
            file.display()
        ))
    }

    /// What must be in the sets for it to be seen.
    fn fewer_members(&mut self, rules: &RuleSet, packet: &[u8]) -> Vec<StatedSet> {
        for index in 0..self.sets.len() {
            let mut step = self.sets.members(index).len().div_ceil(2);
            while step > 0 {
                let mut from = 0;
                while from < self.sets.members(index).len() {
                    let before = self.sets.members(index);
                    let mut fewer = before.clone();
                    fewer.drain(from..(from + step).min(before.len()));
                    self.sets.replace(index, &fewer);
                    if !self.disagrees(rules, packet) {
                        self.sets.replace(index, &before);
                        from += step;
                    }
                }
                step /= 2;
            }
        }
        self.sets.stated(rules)
    }
}

/// How many packets each rule, the default and nobody has decided about.
#[derive(PartialEq, Eq)]
struct Counts {
    rules: Vec<u64>,
    default: u64,
    obscured: u64,
}

impl Counts {
    fn of(listing: &Listing) -> Self {
        Self {
            rules: listing.rules.iter().map(|(_, hits)| hits.packets).collect(),
            default: listing.default_hits.packets,
            obscured: listing.obscured_hits.packets,
        }
    }

    fn add(&mut self, by: Decider) {
        *match by {
            Decider::Rule(index) => &mut self.rules[index],
            Decider::Default => &mut self.default,
            Decider::Obscured => &mut self.obscured,
        } += 1;
    }
}

/// The packets that are committed, without their names.
pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let lines = include_str!("corpus.txt").lines();
    let packets = lines.filter(|line| !line.starts_with('#'));
    packets
        .map(|line| found::bytes(line.split_once(' ').expect("a name and bytes").1))
        .collect()
}

#[test]
fn what_was_found_is_judged_as_the_rules_say() {
    let mut benches = HOOKS.map(Bench::at);
    for (
        path,
        Found {
            hook: _,
            packet,
            rules,
            sets,
        },
    ) in found::all()
    {
        for bench in &mut benches {
            bench.write(&RuleSet::default());
            bench.sets.state(&sets);
            let expected = bench.judge(&rules, &packet);
            assert!(
                !bench.disagrees(&rules, &packet),
                "{}, at {}: it must be {expected:?}",
                path.display(),
                bench.hook
            );
        }
    }
}

#[test]
fn spoilt_packets_are_judged_as_the_rules_say() {
    let seconds = env::var("NKE_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("a number of seconds"));
    let end = Instant::now() + seconds.map_or(MINUTE, Duration::from_secs);
    let seed = seconds.map_or(0, |_| u64::from(process::id()) << 32);
    thread::scope(|scope| {
        for (index, hook) in (1..).zip(HOOKS) {
            scope.spawn(move || {
                let (mut bench, corpus) = (Bench::at(hook), corpus());
                let mut dice = Dice::new(seed + index);
                let mut sets = 0;
                while Instant::now() < end {
                    bench.round(&mut dice, &corpus, 10);
                    sets += 1;
                }
                assert!(sets > 0, "{hook}: there was no time");
                let packets = sets * PACKETS as u64;
                println!(
                    "{hook}: {packets} packets under {sets} rule sets, seed {}",
                    seed + index
                );
            });
        }
    });
}
