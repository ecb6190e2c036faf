//! The table of flows: found by hash, bounded, and never waited for.
//!
//! A flow lies in one of the places of one bucket. Who enters one takes, in this order, a free place, one
//! whose time is over, or the one that has been quiet for longest among those that are only opening or
//! over. Settled flows are never pushed out: where all are settled, the new one is refused.
//!
//! So nothing need be swept: what is over is in nobody's way.

use super::{Event, Kind, Mark, Probe, TICK_SHIFT, Ticks};
use crate::{
    Word,
    abi::states::{Bucket, Counted, Entry, FORMAT, KEY_WORDS, PLACES, header},
    branchless::{below, equal, forget, is_below},
};

/// Where the elements of a table are.
pub trait Buckets {
    /// The element of this index.
    fn bucket(&self, index: u32) -> Option<&Bucket>;
}

impl Buckets for [Bucket] {
    fn bucket(&self, index: u32) -> Option<&Bucket> {
        self.get(index as usize)
    }
}

/// The rule that a known flow was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(pub u64);

/// How far what a sender begins with may be acknowledged by the first word that is heard of the
/// other end. Who does not know the number guesses one in four thousand.
const HEARD: u32 = 1 << 20;

/// Finds the flow of a packet, and lets the packet change it. `clock` tells nanoseconds of the monotonic
/// clock, and is asked if there is such a flow.
#[inline(always)]
pub fn find(
    buckets: &(impl Buckets + ?Sized),
    probe: &Probe,
    clock: impl Fn() -> u64,
) -> Option<Found> {
    let (_, bucket, tag) = place(buckets, probe)?;
    let mut place = PLACES;
    for index in 0..PLACES {
        let mark = bucket.marks[index].get();
        if mark & Mark::TAG == tag && is_same(&bucket.flows[index], probe) {
            place = index;
            break;
        }
    }
    // Wherever it was found, this is gone through once.
    let place = forget(place as u64, tag) as usize;
    if place >= PLACES {
        return None;
    }
    let now = ticks(clock());
    let (place, flow) = (
        &bucket.marks[below::<PLACES>(place)],
        &bucket.flows[below::<PLACES>(place)],
    );
    let mark = Mark(place.get());
    if mark.is_expired(now) != 0 {
        if mark != Mark::NONE && mark != Mark::BUSY && place.replace(mark.0, 0) {
            count(buckets.bucket(0)?, Counted::Expired);
        }
        return None;
    }
    pass(place, flow, mark, probe, now)
}

/// A packet of a flow that is known, and in force.
#[inline(always)]
fn pass(place: &Word, flow: &Entry, mark: Mark, probe: &Probe, now: Ticks) -> Option<Found> {
    let found = || Some(Found(flow.rule.get()));
    if probe.facts & Probe::QUOTED != 0 {
        return found();
    }
    let mut answers = (probe.facts & Probe::FROM_HIGH != 0) != mark.from_high();
    if matches!(mark.kind(), Some(Kind::Icmp)) {
        let asks = probe.facts & Probe::ASKS != 0;
        // Who asks himself has the same end twice.
        answers |= !asks && probe.key.has_one_end();
        if answers == asks {
            return None;
        }
    }
    let event = event_of(flow, probe, answers);
    let Some(next) = mark.after(event, now) else {
        // Whoever takes the place now judges the packet by the rules.
        place.replace(mark.0, 0);
        return None;
    };
    if next != mark {
        if answers && event.0 & Event::SYN != 0 {
            flow.answer.set(probe.numbers & u64::from(u32::MAX));
        }
        // Another processor's packet has changed it meanwhile, or taken the place: then that is so.
        place.replace(mark.0, next.0);
    }
    let end = usize::from(answers);
    flow.packets[end].add(1);
    flow.bytes[end].add(probe.length());
    found()
}

/// What a packet does, with what only its flow tells.
#[inline(always)]
fn event_of(flow: &Entry, probe: &Probe, answers: bool) -> Event {
    let event = probe.event().0;
    if answers {
        return Event(event | Event::ANSWER);
    }
    let acknowledged = (probe.numbers >> 32) as u32;
    let beyond = acknowledged.wrapping_sub(flow.answer.get() as u32);
    // The SYN itself counts as one.
    let heard = event & Event::ACK != 0 && beyond != 0 && beyond <= HEARD;
    Event(event | if heard { Event::HEARD } else { 0 })
}

/// Enters the flow of a packet that a rule has let through. Whether there was room. `now` as in
/// [`find`].
#[inline(always)]
pub fn enter(buckets: &(impl Buckets + ?Sized), probe: &Probe, now: u64) -> bool {
    let Some((head, bucket, tag)) = place(buckets, probe) else {
        return false;
    };
    let begun = now;
    let now = ticks(now);
    let Some((index, old)) = room(bucket, now) else {
        count(head, Counted::Refused);
        return false;
    };
    let mark = &bucket.marks[below::<PLACES>(index)];
    if !mark.replace(old.0, Mark::BUSY.0) {
        // Another processor was faster. This is as if the packet had been a little later.
        count(head, Counted::Refused);
        return false;
    }
    // Counted first, so that less is to be remembered: a program's stack is short.
    count(head, Counted::Made);
    if old != Mark::NONE && old.is_expired(now) != 0 {
        count(head, Counted::Expired);
    } else if old != Mark::NONE {
        count(head, Counted::Evicted);
    }
    fill(&bucket.flows[below::<PLACES>(index)], probe, begun);
    mark.replace(Mark::BUSY.0, probe.mark(tag, now).0);
    true
}

#[inline(always)]
fn fill(flow: &Entry, probe: &Probe, begun: u64) {
    for index in 0..KEY_WORDS {
        flow.key[index].set(probe.key.word(index));
    }
    let is_out = probe.facts & Probe::OUT != 0;
    flow.rule.set(probe.numbers);
    flow.begun.set(begun & !1 | u64::from(is_out));
    flow.answer.set(0);
    flow.packets[0].set(1);
    flow.bytes[0].set(probe.length());
    flow.packets[1].set(0);
    flow.bytes[1].set(0);
}

/// The place for a new flow, and what is there now.
#[inline(always)]
fn room(bucket: &Bucket, now: Ticks) -> Option<(usize, Mark)> {
    // One number, with the place in its low end: a program has few registers. Of equals the first is
    // taken, which is found first.
    const LAST: usize = PLACES - 1;
    let mut best = LAST as u64;
    for index in 0..PLACES {
        let worth = worth(Mark(bucket.marks[index].get()), now);
        let this = worth * PLACES as u64 + (LAST - index) as u64;
        best = best.wrapping_add(this.wrapping_sub(best).wrapping_mul(is_below(best, this)));
        best = forget(best, now.into());
    }
    let index = LAST - (best as usize & LAST);
    let mark = Mark(bucket.marks[below::<PLACES>(index)].get());
    // What has become settled meanwhile stays.
    (best > LAST as u64 && worth(mark, now) != 0).then_some((index, mark))
}

/// How well a place could be taken; 0: not at all. By what is free, whose time is over, and who has been quiet for
/// longest.
#[inline(always)]
fn worth(mark: Mark, now: Ticks) -> u64 {
    let spare = mark.is_spare();
    let quiet = u64::from(mark.age(now)) * spare;
    let free = equal(mark.0, Mark::NONE.0);
    let worth = quiet | spare << 32 | mark.is_expired(now) << 33 | free << 34;
    worth * (equal(mark.0, Mark::BUSY.0) ^ 1)
}

/// The header, the bucket of a flow, and its tag.
#[inline(always)]
fn place<'a>(
    buckets: &'a (impl Buckets + ?Sized),
    probe: &Probe,
) -> Option<(&'a Bucket, &'a Bucket, u64)> {
    let head = buckets.bucket(0)?;
    if head.marks[header::FORMAT].get() != FORMAT {
        return None;
    }
    let hash = probe.key.hash(head.marks[header::SEED].get());
    let index = hash as u32 & head.marks[header::MASK].get() as u32;
    let bucket = buckets.bucket(1 + index)?;
    Some((head, bucket, super::Key::tag(hash)))
}

#[inline(always)]
fn is_same(flow: &Entry, probe: &Probe) -> bool {
    let mut difference = 0;
    for index in 0..KEY_WORDS {
        difference |= flow.key[index].get() ^ probe.key.word(index);
    }
    difference == 0
}

#[inline(always)]
fn count(head: &Bucket, what: Counted) {
    head.marks[below::<PLACES>(header::COUNTS + what as usize)].add(1);
}

#[inline(always)]
const fn ticks(nanoseconds: u64) -> Ticks {
    (nanoseconds >> TICK_SHIFT) as Ticks
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::{Direction, Flow, Frame, states::Phase};

    const SECOND: u64 = 1_000_000_000;

    /// A table of so many buckets.
    fn table(buckets: u64) -> Vec<Bucket> {
        let table: Vec<_> = (0..=buckets).map(|_| Bucket::default()).collect();
        table[0].marks[header::FORMAT].set(FORMAT);
        table[0].marks[header::SEED].set(0x1234_5678_9abc_def0);
        table[0].marks[header::MASK].set(buckets - 1);
        table
    }

    fn counted(table: &[Bucket]) -> [u64; Counted::COUNT] {
        [0, 1, 2, 3].map(|what| table[0].marks[header::COUNTS + what].get())
    }

    const SYN: u8 = 2;
    const SYN_ACK: u8 = 18;
    const ACK: u8 = 16;
    const RST: u8 = 4;

    /// A segment between the first host's port and the second's 80.
    fn segment(port: u16, back: bool, flags: u8, numbers: [u32; 2]) -> Probe {
        let mut bytes = [0; 54];
        bytes[12..14].copy_from_slice(&[8, 0]);
        bytes[14] = 0x45;
        bytes[23] = 6;
        let (hosts, ports) = ([[10, 0, 0, 1], [10, 0, 0, 2]], [port, 80]);
        let (from, to) = (usize::from(back), usize::from(!back));
        bytes[26..30].copy_from_slice(&hosts[from]);
        bytes[30..34].copy_from_slice(&hosts[to]);
        bytes[34..36].copy_from_slice(&ports[from].to_be_bytes());
        bytes[36..38].copy_from_slice(&ports[to].to_be_bytes());
        bytes[38..42].copy_from_slice(&numbers[0].to_be_bytes());
        bytes[42..46].copy_from_slice(&numbers[1].to_be_bytes());
        bytes[47] = flags;
        let frame = Frame::new(&bytes, Direction::Out);
        Probe::of(&frame, &Flow::of(&frame).unwrap())
    }

    fn find(table: &[Bucket], probe: &Probe, now: u64) -> Option<Found> {
        super::find(table, probe, || now)
    }

    /// Enters it for rule 7.
    fn enter(table: &[Bucket], probe: &Probe, now: u64) -> bool {
        let mut probe = *probe;
        probe.enter_for(7);
        super::enter(table, &probe, now)
    }

    /// A connection that is settled.
    fn connect(table: &[Bucket], port: u16, now: u64) -> bool {
        let syn = segment(port, false, SYN, [100, 0]);
        if find(table, &syn, now).is_some() || !enter(table, &syn, now) {
            return false;
        }
        let answer = segment(port, true, SYN_ACK, [u32::MAX, 101]);
        let heard = segment(port, false, ACK, [101, 0]);
        find(table, &answer, now).is_some() && find(table, &heard, now).is_some()
    }

    #[test]
    fn answers_are_known_and_strangers_are_not() {
        let table = table(4);
        assert!(connect(&table, 1000, SECOND));
        assert_eq!(
            find(&table, &segment(1000, true, ACK, [5, 5]), SECOND),
            Some(Found(7))
        );
        assert_eq!(
            find(&table, &segment(1001, true, ACK, [5, 5]), SECOND),
            None
        );
        assert_eq!(counted(&table), [1, 0, 0, 0]);
        let flows = table.iter().skip(1).flat_map(|bucket| &bucket.flows);
        let packets = flows.map(|flow| (flow.packets[0].get(), flow.packets[1].get()));
        assert_eq!(
            packets.filter(|packets| packets.0 > 0).collect::<Vec<_>>(),
            [(2, 2)]
        );
    }

    #[test]
    fn who_asks_himself_is_answered() {
        let echo = |kind: u8| {
            let mut bytes = [0; 42];
            bytes[12..14].copy_from_slice(&[8, 0]);
            bytes[14] = 0x45;
            bytes[23] = 1;
            bytes[26..34].copy_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
            bytes[34] = kind;
            let frame = Frame::new(&bytes, Direction::Out);
            Probe::of(&frame, &Flow::of(&frame).unwrap())
        };
        let (table, asked, answer) = (table(1), echo(8), echo(0));
        assert!(!answer.begins() && find(&table, &answer, SECOND).is_none());
        assert!(enter(&table, &asked, SECOND));
        for probe in [&asked, &answer, &asked, &answer] {
            assert_eq!(find(&table, probe, SECOND), Some(Found(7)));
        }
    }

    #[test]
    fn a_flood_pushes_out_itself_and_nobody_else() {
        let table = table(1);
        for port in 0..8 {
            assert!(connect(&table, port, SECOND));
        }
        for port in 1000..1100 {
            // Acknowledging what was never said settles nothing.
            assert!(enter(
                &table,
                &segment(port, false, SYN, [1, 0]),
                2 * SECOND
            ));
            find(&table, &segment(port, true, SYN_ACK, [9, 2]), 2 * SECOND);
            find(&table, &segment(port, false, ACK, [2, 9]), 2 * SECOND);
        }
        for port in 0..8 {
            assert!(find(&table, &segment(port, true, ACK, [5, 5]), SECOND).is_some());
        }
        assert_eq!(counted(&table), [108, 0, 92, 0]);
    }

    #[test]
    fn where_all_are_settled_the_next_is_refused_until_one_is_over() {
        let table = table(1);
        for port in 0..PLACES as u16 {
            assert!(connect(&table, port, SECOND));
        }
        assert!(!connect(&table, 99, SECOND));
        assert_eq!(counted(&table), [16, 0, 0, 1]);
        assert!(find(&table, &segment(3, true, RST, [5, 5]), SECOND).is_some());
        assert!(connect(&table, 99, SECOND));
        assert_eq!(counted(&table), [17, 0, 1, 1]);
        assert!(
            connect(&table, 98, 100_000 * SECOND),
            "a day is over for all"
        );
        assert_eq!(counted(&table), [18, 1, 1, 1]);
    }

    #[test]
    fn an_entry_is_gone_when_its_time_is_over() {
        let table = table(1);
        let syn = segment(5, false, SYN, [1, 0]);
        assert!(enter(&table, &syn, SECOND));
        let answer = segment(5, true, SYN_ACK, [1, 2]);
        assert!(find(&table, &answer, 30 * SECOND).is_some());
        assert!(find(&table, &answer, 61 * SECOND).is_none());
        assert!(find(&table, &answer, 61 * SECOND).is_none());
        assert_eq!(counted(&table), [1, 1, 0, 0]);
        assert_eq!(table[1].marks[0].get(), 0);
    }

    #[test]
    fn a_syn_behind_a_reset_is_for_the_rules() {
        let table = table(1);
        assert!(connect(&table, 5, SECOND));
        assert!(find(&table, &segment(5, false, RST, [1, 0]), SECOND).is_some());
        let mark = Mark(table[1].marks[0].get());
        assert_eq!(mark.phase(), Phase::Closed);
        assert!(connect(&table, 5, SECOND));
    }

    #[test]
    fn no_table_is_any_words() {
        let probe = segment(5, false, SYN, [1, 0]);
        assert!(find(&[], &probe, 0).is_none());
        let noise = table(1);
        noise[0].marks[header::MASK].set(u64::MAX);
        assert!(!enter(&noise, &probe, 0) || noise.len() > 1);
        noise[0].marks[header::FORMAT].set(9);
        assert!(!enter(&noise, &probe, 0));
    }
}
