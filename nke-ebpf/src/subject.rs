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
    reason = "a page's words are read as what they are: plain numbers in structs"
)]

use crate::{
    Flow, Packet,
    abi::{Field, PAGE_LINES, Page, SUBJECT_WORDS, Subject, TESTS, Test, facts, field, join},
    branchless::forget,
};

impl Subject {
    /// What is known of a packet, and these facts beside those of its flow.
    #[inline(always)]
    #[must_use]
    pub fn of(packet: &impl Packet, flow: &Flow, facts: u64) -> Self {
        let mut subject = Self::of_flow(flow, facts);
        subject.read(packet);
        subject
    }

    /// Reads of a packet what only tests ask for ([`Rule::ASKS_TESTS`](crate::abi::Rule::ASKS_TESTS)).
    #[inline(always)]
    pub(crate) fn read(&mut self, packet: &impl Packet) {
        self.words[usize::from(field::INTERFACE)] |= join(0, packet.interface());
        let length = u64::from(packet.len());
        let behind_link = packet.network().map_or(length, |(_, offset)| offset as u64);
        let mut set = |field: u16, word| self.words[usize::from(field)] = word;
        let length = length.wrapping_sub(forget(behind_link, length));
        let mark = u64::from(packet.mark()) << 32;
        set(field::LENGTH, length & u64::from(u32::MAX) | mark);
        if let Some([to, from]) = packet.ether() {
            set(field::ETHER_FROM, forget(from, length));
            set(field::ETHER_TO, forget(to, length));
        }
    }

    /// What is known of a flow alone, and these facts beside its own: the words of [`field`], in order.
    #[inline(always)]
    #[must_use]
    pub fn of_flow(flow: &Flow, facts: u64) -> Self {
        let facts = flow.facts() | facts;
        // `NO_PROTOCOL` is the bit above a protocol's eight.
        let known = (facts & facts::PROTOCOL) >> facts::PROTOCOL.trailing_zeros();
        let number = facts >> facts::PROTOCOL_SHIFT & 0xff;
        let protocol = (number | (known ^ 1) << 8) as u32;
        // What the compiler knows to be zeros becomes a call of a function that fills bytes.
        let nothing = forget(0, facts);
        let ([a, b], [c, d]) = (flow.source, flow.destination);
        let ports = flow.ports().to_be();
        let protocol = join(protocol.to_be(), 0);
        let front = [a, b, c, d, ports, protocol, facts];
        let mut words = [nothing; SUBJECT_WORDS];
        words[..front.len()].copy_from_slice(&front);
        words[usize::from(field::TRANSPORT)] = flow.transport() as u64;
        Self { words }
    }

    /// The ports: see [`abi::ports`](crate::abi::ports).
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> u64 {
        u64::from_be(self.word(field::PORTS))
    }

    /// How many bytes the packet has behind its link header and tags.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.word(field::LENGTH) as u32
    }

    /// The sender's address.
    #[inline(always)]
    pub(crate) const fn source(&self) -> [u64; 2] {
        [self.word(field::SOURCE), self.word(field::SOURCE + 1)]
    }

    /// The receiver's address.
    #[inline(always)]
    pub(crate) const fn destination(&self) -> [u64; 2] {
        [
            self.word(field::DESTINATION),
            self.word(field::DESTINATION + 1),
        ]
    }

    /// What tables ask for.
    #[inline(always)]
    pub(crate) fn halves(&self) -> &[u32; Field::COUNT] {
        const { assert!(Field::COUNT / 2 <= SUBJECT_WORDS) };
        // SAFETY: words are as much aligned, there are as many, and all of them are numbers.
        unsafe { &*core::ptr::from_ref(&self.words).cast() }
    }

    /// One of its words: see [`field`].
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, field: u16) -> u64 {
        self.words[field as usize % SUBJECT_WORDS]
    }
}

/// Whether all tests of a rule hold, which lies in this page and has this
/// [`Rule::extra`](crate::abi::Rule::extra). `ask` says whether a test holds that is about more than the
/// subject: [`Test::IN`], and limits. If all hold, and the rule sets a mark, the subject has it.
#[inline(always)]
#[must_use]
pub fn tests_hold(
    page: &Page,
    subject: &mut Subject,
    extra: u32,
    ask: impl Fn(&Test, &Subject) -> u32,
) -> bool {
    // In one number, for the stack is short: the line, and above it how many tests are left.
    let mut left = extra;
    for _ in 0..=TESTS {
        let (line, count) = Test::place(left);
        if count == 0 {
            break;
        }
        left = Test::extra(line + 1, count - 1);
        let test = page.test(line as usize);
        if test.kind < Test::NOTHING && holds(test, subject, &ask) ^ u64::from(test.not) != 1 {
            return false;
        }
    }
    let (line, _) = Test::place(extra);
    let front = page.test(line as usize);
    if front.kind == Test::SET_MARK {
        let word = &mut subject.words[usize::from(field::MARK)];
        *word = *word & !front.second[0] | front.first[0];
    }
    true
}

/// What a test comes to that is none.
const NEITHER: u64 = 2;

/// 1 if what a test compares is so, else 0.
#[inline(always)]
fn holds(test: &Test, subject: &Subject, ask: impl Fn(&Test, &Subject) -> u32) -> u64 {
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
        Test::IN | Test::LIMIT | Test::LIMIT_PER_SOURCE => return u64::from(ask(test, subject)),
        _ => return NEITHER,
    };
    forget(u64::from(holds), first)
}

impl Page {
    /// A test by the line where it lies.
    #[inline(always)]
    pub(crate) fn test(&self, line: usize) -> &Test {
        // SAFETY: the line lies within the page, and any words are a test.
        unsafe {
            &*core::ptr::from_ref(self)
                .cast::<Test>()
                .add(line & (PAGE_LINES - 1))
        }
    }
}
