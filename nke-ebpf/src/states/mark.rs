//! What becomes of a flow with each of its packets: one word, and a pure function of it.
//!
//! ```text
//!            answer             first end again
//!   Opening --------> Answered -----------------> Settled
//!      |                 |                           |  FIN of one end
//!      | RST             | RST, FIN                  v
//!      +-----------------+----------------------> Closing --> Closed
//!                                                     FIN of the other, RST
//! ```
//!
//! A flow is young until the end that began it has shown that it heard the answer: TCP must
//! acknowledge a number that only the answer says. So nobody makes settled flows by sending under
//! others' addresses, and young ones are what goes first where room is short.
//!
//! Numbers of sequence are not followed beyond that. A forged RST so shortens the time that a flow is
//! kept without packets; the next packet of the end that it claimed to be from lengthens it again.
//!
//! Nothing here reads a clock, or memory.

use crate::branchless::{equal, is_below};

/// Time, in steps of 2^24 nanoseconds (17 ms): it comes around after two years.
pub type Ticks = u32;

/// By how many bits nanoseconds are shifted to be [`Ticks`].
pub const TICK_SHIFT: u32 = 24;

/// What a flow is, as far as its times go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// TCP.
    Tcp = 1,
    /// UDP, and whatever else has ports.
    Udp = 2,
    /// Echo of ICMP.
    Icmp = 3,
    /// What has no ports.
    Other = 4,
}

/// How long a flow is kept without a packet, by its kind: from the low end, 16 bits each, where it opens or is answered,
/// settled, closing, closed; in steps of [`TIME`].
const TIMES: [u64; 4] = [
    times(30, 86_400, 900, 45),
    times(30, 120, 120, 120),
    times(20, 20, 20, 20),
    times(60, 120, 120, 120),
];

/// The step of times, in seconds.
const TIME: u32 = 5;

const fn times(young: u64, settled: u64, closing: u64, closed: u64) -> u64 {
    let step = TIME as u64;
    (young / step) | (settled / step) << 16 | (closing / step) << 32 | (closed / step) << 48
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Only the end that began it has said something.
    Opening,
    /// The other end has answered.
    Answered,
    /// The first end has heard it.
    Settled,
    /// One end of TCP has nothing more to say.
    Closing,
    /// Both ends have, or one gave up.
    Closed,
}

/// What a packet does to its flow, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u32);

impl Event {
    /// It is from the end that did not begin.
    pub const ANSWER: u32 = 1;
    /// TCP: FIN.
    pub const FIN: u32 = 1 << 1;
    /// TCP: SYN.
    pub const SYN: u32 = 1 << 2;
    /// TCP: RST.
    pub const RST: u32 = 1 << 3;
    /// TCP: ACK.
    pub const ACK: u32 = 1 << 4;
    /// TCP: it acknowledges what the other end began with. Of all else: always.
    pub const HEARD: u32 = 1 << 5;

    #[inline(always)]
    const fn is(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether it is how TCP begins: `flags S/SAFR`.
    #[inline(always)]
    #[must_use]
    pub const fn begins(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::FIN | Self::RST) == Self::SYN
    }
}

/// What stands for a flow: a part of its hash, how far it is, and when it was last seen; 0 is nobody.
//
// From the low end: 16 bits of the hash (never 0), 8 of what has happened, 8 of the kind, 32 of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

impl Mark {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// The place is being filled: it has no flow yet.
    pub const BUSY: Self = Self(1 << 23);

    /// The bits of the hash.
    pub const TAG: u64 = 0xffff;

    const ANSWERED: u64 = 1 << 16;
    const SETTLED: u64 = 1 << 17;
    const FIN: u64 = 1 << 18;
    const RST: u64 = 1 << 20;
    const FROM_HIGH: u64 = 1 << 22;
    const KIND_SHIFT: u32 = 24;
    const SEEN_SHIFT: u32 = 32;

    /// A flow that begins, of a [`Kind`] by its number. `from_high` says that the [`super::Key`]'s second end began it.
    #[inline(always)]
    #[must_use]
    pub const fn new(tag: u64, kind: u64, from_high: bool, now: Ticks) -> Self {
        let from = if from_high { Self::FROM_HIGH } else { 0 };
        let kind = (kind & 0xff) << Self::KIND_SHIFT;
        Self(tag & Self::TAG | from | kind | (now as u64) << Self::SEEN_SHIFT)
    }

    /// Whether the second end of the key began the flow.
    #[inline(always)]
    #[must_use]
    pub const fn from_high(self) -> bool {
        self.0 & Self::FROM_HIGH != 0
    }

    /// What kind of flow it is; nothing where there is none.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> Option<Kind> {
        match (self.0 >> Self::KIND_SHIFT) as u8 {
            1 => Some(Kind::Tcp),
            2 => Some(Kind::Udp),
            3 => Some(Kind::Icmp),
            4 => Some(Kind::Other),
            _ => None,
        }
    }

    /// How far it has come.
    #[inline(always)]
    #[must_use]
    pub fn phase(self) -> Phase {
        match self.stage() {
            0 if self.0 & Self::ANSWERED == 0 => Phase::Opening,
            0 => Phase::Answered,
            1 => Phase::Settled,
            2 => Phase::Closing,
            _ => Phase::Closed,
        }
    }

    /// The same as a number: opening or answered, settled, closing, closed.
    //
    // Here and below there is no branch: who looks for room asks it of each place, and the verifier walks on from
    // each branch to the next place. (Nor is there a mask of all bits or none, of which Linux 6.18 makes two ways.)
    #[inline(always)]
    fn stage(self) -> u64 {
        let closing = equal(self.two(Self::FIN), 0) ^ 1;
        let settled = self.two(Self::SETTLED) & 1 & (closing ^ 1);
        let closed = self.is_closed();
        settled | closing << 1 | closed | closed << 1
    }

    #[inline(always)]
    fn is_closed(self) -> u64 {
        equal(self.two(Self::RST), 0) ^ 1 | equal(self.two(Self::FIN), 3)
    }

    /// Two bits, from this one on.
    #[inline(always)]
    const fn two(self, bit: u64) -> u64 {
        self.0 >> bit.trailing_zeros() & 3
    }

    /// 1 if it may go where room is short, else 0. Who only says FIN has heard no answer.
    #[inline(always)]
    #[must_use]
    pub fn is_spare(self) -> u64 {
        self.is_closed() | self.two(Self::SETTLED) & 1 ^ 1
    }

    /// How long it has not been seen.
    #[inline(always)]
    #[must_use]
    pub fn age(self, now: Ticks) -> Ticks {
        let age = now.wrapping_sub((self.0 >> Self::SEEN_SHIFT) as Ticks);
        // Another processor's clock can be a step ahead.
        let is_past = is_below(age.into(), (Ticks::MAX / 2).into());
        age * is_past as u32
    }

    /// How many seconds it is kept without a packet.
    #[inline(always)]
    #[must_use]
    pub fn timeout(self) -> u32 {
        let kind = self.0 >> Self::KIND_SHIFT & 0xff;
        let mut times = 0;
        for (number, own) in (1..).zip(TIMES) {
            times |= own * equal(kind, number);
        }
        (times >> (self.stage() * 16) & 0xffff) as u32 * TIME
    }

    /// 1 if its time is over, else 0.
    #[inline(always)]
    #[must_use]
    pub fn is_expired(self, now: Ticks) -> u64 {
        let ticks = (u64::from(self.timeout()) * 1_000_000_000) >> TICK_SHIFT;
        is_below(ticks, self.age(now).into())
    }

    /// What it is after a packet; nothing if the packet begins another flow of the same ends.
    #[inline(always)]
    #[must_use]
    pub fn after(self, event: Event, now: Ticks) -> Option<Self> {
        let mut bits = self.0 & u32::MAX as u64;
        if matches!(self.kind(), Some(Kind::Tcp)) {
            if self.is_closed() != 0 && event.begins() {
                return None;
            }
            bits = Self::after_segment(bits, event);
        } else if event.is(Event::ANSWER) {
            bits |= Self::ANSWERED;
        } else if bits & Self::ANSWERED != 0 {
            bits |= Self::SETTLED;
        }
        Some(Self(bits | (now as u64) << Self::SEEN_SHIFT))
    }

    #[inline(always)]
    const fn after_segment(mut bits: u64, event: Event) -> u64 {
        let end = (event.0 & Event::ANSWER) as u64;
        if event.is(Event::RST) {
            return bits | Self::RST << end;
        }
        if !event.is(Event::SYN) {
            // It lives: the RST was not its own.
            bits &= !(Self::RST << end);
        }
        if event.is(Event::ANSWER) {
            if event.is(Event::SYN) {
                bits |= Self::ANSWERED;
            }
        } else if bits & Self::ANSWERED != 0 && event.is(Event::HEARD) && !event.is(Event::SYN) {
            bits |= Self::SETTLED;
        }
        if event.is(Event::FIN) && bits & Self::ANSWERED != 0 {
            bits |= Self::FIN << end;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{vec, vec::Vec};

    use super::*;

    const SYN: Event = Event(Event::SYN);
    const SYN_ACK: Event = Event(Event::ANSWER | Event::SYN | Event::ACK);
    const HEARD: Event = Event(Event::ACK | Event::HEARD);
    const FIN: Event = Event(Event::FIN | Event::ACK | Event::HEARD);
    const RST: Event = Event(Event::RST);

    const fn answer(event: Event) -> Event {
        Event(event.0 | Event::ANSWER)
    }

    /// The phases that a flow goes through.
    fn phases(kind: Kind, events: &[Event]) -> Vec<Phase> {
        let mut mark = Mark::new(7, kind as u64, false, 100);
        let mut phases = vec![mark.phase()];
        for (event, now) in events.iter().zip(101..) {
            let Some(next) = mark.after(*event, now) else {
                break;
            };
            assert_eq!(next.0 & Mark::TAG, 7);
            assert_eq!((next.kind(), next.from_high()), (Some(kind), false));
            assert_eq!(next.age(now), 0);
            mark = next;
            phases.push(mark.phase());
        }
        phases
    }

    #[test]
    fn a_connection_opens_and_closes() {
        use Phase::{Answered, Closed, Closing, Opening, Settled};
        let way = [SYN, SYN_ACK, HEARD, answer(HEARD), FIN, answer(FIN), HEARD];
        assert_eq!(
            phases(Kind::Tcp, &way),
            [
                Opening, Opening, Answered, Settled, Settled, Closing, Closed, Closed
            ]
        );
    }

    #[test]
    fn only_who_heard_the_answer_settles_a_connection() {
        use Phase::{Answered, Opening};
        let blind = Event(Event::ACK);
        assert_eq!(phases(Kind::Tcp, &[HEARD, HEARD]), [Opening; 3]);
        assert_eq!(
            phases(Kind::Tcp, &[SYN_ACK, blind, SYN, SYN_ACK]),
            [Opening, Answered, Answered, Answered, Answered]
        );
        // What is no SYN answers nothing.
        assert_eq!(phases(Kind::Tcp, &[answer(HEARD)]), [Opening; 2]);
    }

    #[test]
    fn a_reset_ends_and_its_sender_can_show_that_it_was_forged() {
        use Phase::{Answered, Closed, Opening, Settled};
        let way = [SYN_ACK, HEARD, answer(RST), HEARD, answer(HEARD)];
        assert_eq!(
            phases(Kind::Tcp, &way),
            [Opening, Answered, Settled, Closed, Closed, Settled]
        );
        assert_eq!(phases(Kind::Tcp, &[answer(RST)]), [Opening, Closed]);
    }

    #[test]
    fn ports_can_be_used_again_once_it_is_over() {
        let over = [SYN_ACK, HEARD, FIN, answer(FIN), SYN];
        assert_eq!(phases(Kind::Tcp, &over).len(), 5);
        // While it lasts, a SYN changes nothing.
        let lasting = [SYN_ACK, HEARD, SYN];
        assert_eq!(phases(Kind::Tcp, &lasting)[3], Phase::Settled);
    }

    #[test]
    fn what_has_no_connections_settles_by_the_second_word() {
        use Phase::{Answered, Opening, Settled};
        for kind in [Kind::Udp, Kind::Icmp, Kind::Other] {
            let way = [HEARD, answer(HEARD), answer(HEARD), HEARD];
            assert_eq!(
                phases(kind, &way),
                [Opening, Opening, Answered, Answered, Settled]
            );
        }
    }

    #[test]
    fn young_and_closed_flows_make_room_and_settled_ones_do_not() {
        let spare = |events: &[Event]| {
            let begun = Mark::new(1, Kind::Tcp as u64, true, 0);
            let mark = events
                .iter()
                .try_fold(begun, |mark, event| mark.after(*event, 0));
            mark.unwrap().is_spare() != 0
        };
        assert!(spare(&[]) && spare(&[SYN_ACK]));
        assert!(spare(&[SYN_ACK, answer(FIN)]));
        assert!(!spare(&[SYN_ACK, HEARD]) && !spare(&[SYN_ACK, HEARD, FIN]));
        assert!(spare(&[SYN_ACK, HEARD, FIN, answer(FIN)]));
        assert!(spare(&[SYN_ACK, HEARD, RST]));
    }

    #[test]
    fn time_is_over_at_its_end_and_not_before() {
        let seconds = |seconds: u64| ((seconds * 1_000_000_000) >> TICK_SHIFT) as Ticks;
        let mark = Mark::new(1, Kind::Udp as u64, false, u32::MAX - 5);
        let at = |after: Ticks| mark.is_expired((u32::MAX - 5).wrapping_add(after)) != 0;
        assert!(!at(0) && !at(seconds(30)) && at(seconds(30) + 1));
        assert!(!at(u32::MAX), "another clock is a step ahead");
    }
}
