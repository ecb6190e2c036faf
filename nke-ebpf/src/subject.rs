//! What rules ask further: the words of a packet that tests compare, and the comparison.
//!
//! Tests are looked at only where all fields of a rule match. Of the packet is read what they may ask
//! for only if the rule set says that some rule has any ([`Rule::ASKS_TESTS`](crate::abi::Rule::ASKS_TESTS)).
//!
//! ```
//! use nke_ebpf::{Direction, Flow, Frame, abi::{Subject, field}};
//!
//! let frame = Frame::new(&[0; 60], Direction::In);
//! let flow = Flow::of(&frame).unwrap();
//! let subject = Subject::of(&frame, &flow, 0);
//! assert_eq!(subject.words[usize::from(field::LENGTH)], 46);
//! ```
//!
//! It never changes a packet, and whatever a test holds, it is compared in bounded time.
#![expect(
    unsafe_code,
    reason = "a function that the verifier looks at by itself, and its pointers"
)]

#[cfg(not(feature = "bpf"))]
use crate::set::Answer;
#[cfg(feature = "bpf")]
use crate::sets::ask;
use crate::{
    Flow, Packet,
    abi::{PAGE_LINES, Page, SUBJECT_WORDS, Subject, TESTS, Test, field},
    branchless::forget,
};

impl Subject {
    /// What is known of a packet, and these facts beside those of its flow.
    #[inline(always)]
    #[must_use]
    pub fn of(packet: &impl Packet, flow: &Flow, facts: u64) -> Self {
        let length = u64::from(packet.len());
        let behind_link = packet.network().map_or(length, |(_, offset)| offset as u64);
        let mut words = [0; SUBJECT_WORDS];
        let mut set = |field: u16, word| words[field as usize] = word;
        set(field::SOURCE, flow.source[0]);
        set(field::SOURCE + 1, flow.source[1]);
        set(field::DESTINATION, flow.destination[0]);
        set(field::DESTINATION + 1, flow.destination[1]);
        set(field::FACTS, flow.facts() | facts);
        let length = length.wrapping_sub(forget(behind_link, length));
        let mark = u64::from(packet.mark()) << 32;
        set(field::LENGTH, length & u64::from(u32::MAX) | mark);
        if let Some([to, from]) = packet.ether() {
            set(field::ETHER_FROM, forget(from, length));
            set(field::ETHER_TO, forget(to, length));
        }
        set(field::PORTS, flow.ports());
        Self { words }
    }
}

/// Whether all tests of a rule hold, which lies in this page and has this
/// [`Rule::extra`](crate::abi::Rule::extra).
#[inline(always)]
#[must_use]
pub fn tests_hold(page: &Page, extra: u32, subject: &Subject) -> bool {
    nke_tests_hold(page, subject, extra) != 0
}

/// The same. The verifier looks at it once, however often it is called: a function of global linkage,
/// which takes memory of a known size (Linux 5.12).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nke_tests_hold(page: *const Page, subject: *const Subject, extra: u32) -> u32 {
    // SAFETY: the caller's references; the verifier knows nothing of that, and wants to see it tested.
    let (Some(page), Some(subject)) = (unsafe { (page.as_ref(), subject.as_ref()) }) else {
        return 0;
    };
    // In one number, for the stack is short: the line, and above it how many tests are left.
    let mut left = extra;
    for _ in 0..TESTS {
        let (line, count) = Test::place(left);
        if count == 0 {
            break;
        }
        left = Test::extra(line + 1, count - 1);
        let test = page.test(line as usize);
        if holds(test, subject) ^ u64::from(test.not) != 1 {
            return 0;
        }
    }
    1
}

/// What a test comes to that is none.
const NEITHER: u64 = 2;

/// 1 if what a test compares is so, else 0.
#[inline(always)]
fn holds(test: &Test, subject: &Subject) -> u64 {
    let at = usize::from(test.field);
    if at >= SUBJECT_WORDS - 1 {
        return NEITHER;
    }
    let (first, second) = (subject.words[at], subject.words[at + 1]);
    let differs =
        (first ^ test.first[0]) & test.second[0] | (second ^ test.first[1]) & test.second[1];
    let holds = match test.kind {
        Test::MASKED => differs == 0,
        Test::RANGE => (test.first[0]..=test.second[0]).contains(&(first & test.first[1])),
        Test::IN => return u64::from(ask(test, subject)),
        _ => return NEITHER,
    };
    forget(u64::from(holds), first)
}

/// There are no sets beside those of an extension.
#[cfg(not(feature = "bpf"))]
fn ask(_: &Test, _: &Subject) -> u32 {
    Answer::Nothing as u32
}

impl Page {
    #[inline(always)]
    fn test(&self, line: usize) -> &Test {
        // SAFETY: the line lies within the page, and any words are a test.
        unsafe {
            &*core::ptr::from_ref(self)
                .cast::<Test>()
                .add(line & (PAGE_LINES - 1))
        }
    }
}
