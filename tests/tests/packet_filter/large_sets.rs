//! Sets of so many members that fast paths have tables of their own of them: single addresses, networks, and all
//! between; edited by the library, which knows nothing of chains.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

use nke::filter::{Action, Lasting, Member, NamedSet, RuleSet, SetKind, Sets};
use nke_tests::{Dice, Hook, World};

use crate::{
    filter::Filter,
    sets::{about, other, rules, sets, udp},
};

const RULES: &str = "drop proto udp from @large to any port 1-5
drop to not @large port 6
pass from @large to 203.0.113.0/24
default drop
";

/// Rounds of edits, with packets after each.
const ROUNDS: usize = 40;
const PACKETS: usize = 40;

/// A prefix: its first address, and its length.
type Drawn = (u32, u8);

/// A large set, and what is meant to be in it.
struct Large {
    dice: Dice,
    lengths: RangeInclusive<u8>,
    sets: Sets,
    set: NamedSet,
    known: HashSet<Drawn>,
    /// The same, to draw from.
    listed: Vec<Drawn>,
}

fn draw(dice: &mut Dice, lengths: &RangeInclusive<u8>) -> Drawn {
    let span = usize::from(lengths.end() - lengths.start()) + 1;
    let length = lengths.start() + dice.below(span) as u8;
    let four = [dice.byte() & 3, dice.byte(), dice.byte(), dice.byte()];
    let bits = 0x0c00_0000 | u32::from_be_bytes(four);
    (bits & (u32::MAX << (32 - length)), length)
}

fn member((bits, length): Drawn) -> Member {
    let text = format!("{}/{length}", Ipv4Addr::from_bits(bits));
    text.parse().expect("a member")
}

fn lasting(all: &HashSet<Drawn>) -> Vec<Lasting> {
    let members = all.iter().copied().map(member);
    members.map(Lasting::forever).collect()
}

impl Large {
    fn new(world: &World, count: usize, lengths: RangeInclusive<u8>) -> Self {
        let mut dice = Dice::new(count as u64 + u64::from(*lengths.start()));
        let known: HashSet<_> = (0..count).map(|_| draw(&mut dice, &lengths)).collect();
        let mut listed: Vec<_> = known.iter().copied().collect();
        // The same in each run.
        listed.sort_unstable();
        let sets = sets(world);
        let about = about("large", SetKind::Addresses);
        let set = sets.create(&about, &lasting(&known)).expect("it is made");
        Self {
            dice,
            lengths,
            sets,
            set,
            known,
            listed,
        }
    }

    fn has(&self, address: u32) -> bool {
        (0..=32).any(|length| {
            let mask = u64::from(u32::MAX) << (32 - length);
            self.known.contains(&(address & mask as u32, length))
        })
    }

    /// A packet about an address at the edge of a member.
    fn check(&mut self, filter: &Filter) {
        let (first, length) = self.listed[self.dice.below(self.listed.len())];
        let last = first | (u64::from(u32::MAX) >> length) as u32;
        let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
        let near = self.dice.pick(&edges);
        let is_in = self.has(near);
        let (near, far) = (IpAddr::V4(near.into()), other(IpAddr::V4(near.into())));
        let port = self.dice.pick(&[1, 6, 7]);
        let expected = match (port, is_in) {
            (7, true) => Action::Pass,
            _ => Action::Drop,
        };
        let packet = udp(near, 9, far, port);
        let place = format!("{near}, port {port}, {is_in}, {:?}", self.lengths);
        assert_eq!(filter.run_fast(&packet), expected, "{place}");
        assert_eq!(filter.run(&packet), Some(expected), "{place}");
    }

    /// One member goes, one comes, or others are put in the place of all.
    fn edit(&mut self, filter: &mut Filter) {
        match self.dice.below(5) {
            0 | 1 => {
                let gone = self.listed.swap_remove(self.dice.below(self.listed.len()));
                self.known.remove(&gone);
                self.set.delete(&[member(gone)]).expect("it goes");
            }
            2 | 3 => {
                let wide = 14..=32;
                let lengths = match self.dice.once_in(4) {
                    true => &wide,
                    false => &self.lengths,
                };
                let new = draw(&mut self.dice, lengths);
                let added = self.set.add(&self.sets, &[Lasting::forever(member(new))]);
                added.expect("it comes");
                if self.known.insert(new) {
                    self.listed.push(new);
                }
            }
            _ => {
                self.listed.truncate(self.listed.len() - 100);
                self.known = self.listed.iter().copied().collect();
                let replaced = self.sets.replace(&self.set, &lasting(&self.known));
                self.set = replaced.expect("they fit");
                // As a command does. Till then, packets go the long way.
                if self.dice.once_in(2) {
                    filter.write(&rules(RULES));
                    assert!(filter.is_fast());
                }
            }
        }
    }
}

#[test]
fn what_is_in_a_large_set_is_found_by_the_fast_path() {
    for hook in Hook::ALL {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        for (count, lengths) in [(90_000, 24..=24), (20_000, 32..=32), (20_000, 18..=32)] {
            let mut large = Large::new(&world, count, lengths);
            filter.write(&rules(RULES));
            assert!(filter.is_fast());
            for _ in 0..ROUNDS {
                (0..PACKETS).for_each(|_| large.check(&filter));
                large.edit(&mut filter);
            }
            filter.write(&RuleSet::default());
            let Large { sets, set, .. } = large;
            sets.remove(set).expect("no rule asks for it");
        }
    }
}
