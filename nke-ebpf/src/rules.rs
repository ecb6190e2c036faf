//! The search of a rule set: the first rule that matches decides.
//!
//! Both bundled extensions with rules compare by this: what is known of a packet or of a socket call, its
//! [`Subject`]. How a rule set lies in memory is in
//! [`crate::abi::Page`]'s module; the user side builds it, and runs this very code over it in its tests.
//!
//! It never changes a rule, and whatever a rule set holds, it ends.
#![expect(
    unsafe_code,
    reason = "a page's words are read as what they are: plain numbers in structs"
)]

use crate::{
    abi::{
        At, Ends, FEW, FEW_AT, Field, Front, HEADER_WORDS, Header, PAGE_WORDS, PORT_GUARD, Page,
        RULES_IN_PAGE, RUN, Root, Rule, Subject, facts, field, join, split,
    },
    branchless::{forget, is_below},
};

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// As [`Rule::outcome`].
    pub outcome: u32,
    /// As [`Rule::number`]; 0 if none matched.
    pub number: u32,
}

impl Decision {
    /// What is said where no rule can be asked: nothing is dropped.
    pub const NONE: Self = Self {
        outcome: 0,
        number: 0,
    };

    #[inline(always)]
    const fn by(rule: &Rule) -> Self {
        Self {
            outcome: rule.outcome,
            number: rule.number,
        }
    }

    #[inline(always)]
    const fn of_default(header: &Header) -> Self {
        Self {
            outcome: header.default,
            number: 0,
        }
    }

    /// Both in one number, as they lie in a rule.
    #[inline(always)]
    const fn to_word(self) -> u64 {
        join(self.outcome, self.number)
    }

    #[inline(always)]
    const fn from_word(word: u64) -> Self {
        let (outcome, number) = split(word);
        Self { outcome, number }
    }
}

/// Where the pages of a rule set are found.
pub trait Pages {
    /// A page by its index.
    fn page(&self, index: u32) -> Option<&Page>;
}

impl Pages for [Page] {
    fn page(&self, index: u32) -> Option<&Page> {
        self.get(index as usize)
    }
}

/// How many tables of page 0 a search passes at most.
pub const TOP_DEPTH: usize = 6;

/// How many tables of another page it passes at most.
pub const DEPTH: usize = 10;

impl Page {
    /// The header in force; only the first page has one. Whoever judges a packet asks for it once:
    /// a moment later it can be another.
    #[inline(always)]
    #[must_use]
    pub fn header(&self) -> &Header {
        self.header_at(self.front().current as usize)
    }

    /// The header at this place, from 1.
    #[inline(always)]
    pub(crate) fn header_at(&self, place: usize) -> &Header {
        const PLACES: usize = PAGE_WORDS / HEADER_WORDS;
        // SAFETY: a page has room for so many headers, is as much aligned, and any words are one.
        unsafe {
            &*core::ptr::from_ref(self)
                .cast::<Header>()
                .add(place & (PLACES - 1))
        }
    }

    /// Its first word; only the first page has one.
    #[inline(always)]
    #[must_use]
    pub const fn front(&self) -> Front {
        Front::from_word(self.words[0])
    }

    /// A rule by its index; one within the page.
    #[inline(always)]
    pub(crate) fn rule(&self, index: usize) -> &Rule {
        // SAFETY: the rule lies within the page, and any words are a rule.
        unsafe {
            &*core::ptr::from_ref(self)
                .cast::<Rule>()
                .add(index & (RULES_IN_PAGE - 1))
        }
    }

    /// Of a page of the list, what [`Rule::place`] is of a rule at this edition.
    #[inline(always)]
    #[must_use]
    pub fn place(&self, index: usize, edition: u32) -> u32 {
        self.rule(index).place[edition as usize & 1]
    }

    /// Where a table sends a flow.
    #[inline(always)]
    fn follow(&self, at: At, fields: &[u32; Field::COUNT]) -> At {
        let number = u32::from_be(fields[at.field() & (Field::COUNT - 1)]);
        At(self.words[at.entry(number) & (PAGE_WORDS - 1)])
    }
}

impl Header {
    /// Whether some rule asks for [`facts::MORE`]: see [`Flow::with_more`](crate::Flow::with_more).
    #[inline(always)]
    #[must_use]
    pub const fn asks_more(&self) -> bool {
        self.default & Rule::ASKS_MORE != 0
    }

    /// A rule of this number as the table of flows remembers it: with the stamp of its set above it.
    #[inline(always)]
    #[must_use]
    pub const fn rule(&self, number: u32) -> u64 {
        join(number, self.stamp)
    }

    /// What its rules ask for beside the flow: of [`Rule::ASKS`].
    #[inline(always)]
    #[must_use]
    pub const fn asks(&self) -> u32 {
        self.default & Rule::ASKS
    }
}

/// What the first rule says that matches the subject. `first` is the first of the pages, and `header` its
/// header; `tests` says whether a rule that lies in a page decides: its tests hold. Whatever else the rule does, it
/// does there. No rule is asked behind one that is known to decide. Nothing where a run has more than `LONGEST` rules, which
/// is [`RUN`] for who wants an answer. `V4` as in [`decide_few`].
#[inline(always)]
pub fn decide<const V4: bool, const LONGEST: usize>(
    pages: &(impl Pages + ?Sized),
    (first, header): (&Page, &Header),
    subject: &mut Subject,
    mut tests: impl FnMut(&Page, &Rule, &mut Subject) -> bool,
) -> Option<Decision> {
    // Any word will do that the verifier knows nothing of.
    let noise = header.roots[0][0].at.0;
    let facts = subject.word(field::FACTS);
    let mut best = forget(Decision::of_default(header).to_word(), noise);
    let mut order = forget(Root::NONE.first.into(), noise);
    let family = (facts & (facts::V4 | facts::V6)) as usize;
    for root in &header.roots[family & 3] {
        if root.first == Root::NONE.first {
            break;
        }
        if u64::from(root.first) >= order {
            continue;
        }
        let Some((page, at)) = run_of(pages, first, root.at, subject.halves()) else {
            continue;
        };
        if LONGEST < RUN && at.count() as usize > LONGEST {
            return None;
        }
        if let Some(rule) = first_match::<V4, LONGEST>(page, at, subject, |rule, subject| {
            gone(rule, header.edition) == 0
                && (rule.extra == 0 || u64::from(rule.order) >= order || tests(page, rule, subject))
        }) && u64::from(rule.order) < order
        {
            order = rule.order.into();
            best = Decision::by(rule).to_word();
        }
    }
    Some(Decision::from_word(best))
}

/// The same by the first so many rules of those that are few ([`Front::few`], [`Front::few_tested`]); nothing if that cannot be said of one that
/// matches and has tests. `V4` says that the subject is known to be IPv4, whose addresses have no second half.
#[inline(always)]
#[must_use]
pub fn decide_few<const V4: bool>(
    first: &Page,
    few: u8,
    subject: &Subject,
    tests: impl Fn(&Rule) -> Option<bool>,
) -> Option<Decision> {
    for index in 0..FEW {
        if index >= usize::from(few) {
            break;
        }
        let rule = first.rule(FEW_AT + index);
        let is_so = difference(rule, subject) == 0 && (V4 || apart(&rule.back, subject, 1) == 0);
        if is_so && (rule.extra == 0 || tests(rule)?) {
            return Some(Decision::by(rule));
        }
    }
    Some(Decision::of_default(first.header_at(1)))
}

/// The run that a flow comes to in a tree, and the page where it lies.
#[inline(always)]
fn run_of<'a>(
    pages: &'a (impl Pages + ?Sized),
    first: &'a Page,
    mut at: At,
    fields: &[u32; Field::COUNT],
) -> Option<(&'a Page, At)> {
    for _ in 0..TOP_DEPTH {
        if !at.is_table() || at.page() != 0 {
            break;
        }
        at = first.follow(at, fields);
    }
    let mut page = first;
    if at.page() != 0 {
        page = pages.page(at.page())?;
    }
    for _ in 0..DEPTH {
        if !at.is_table() {
            break;
        }
        at = page.follow(at, fields);
    }
    Some((page, at))
}

/// The first rule of a run that matches and of which this is true, too.
#[inline(always)]
fn first_match<'a, const V4: bool, const LONGEST: usize>(
    page: &'a Page,
    at: At,
    subject: &mut Subject,
    mut also: impl FnMut(&Rule, &mut Subject) -> bool,
) -> Option<&'a Rule> {
    let count = at.count() as usize;
    for index in 0..LONGEST {
        if index >= count {
            break;
        }
        let rule = page.rule(at.rule() + index);
        // One line of the cache decides about nearly all of them, and the addresses about most.
        let is_so = apart(&rule.front, subject, 0) == 0
            && difference(rule, subject) == 0
            && (V4 || apart(&rule.back, subject, 1) == 0);
        if is_so && also(rule, subject) {
            return Some(rule);
        }
    }
    None
}

/// Not zero where the rule is gone by this edition.
#[inline(always)]
fn gone(rule: &Rule, edition: u32) -> u64 {
    is_below(rule.until.into(), u64::from(edition) + 1)
}

/// Not zero where the rule and the subject disagree, but for the last half of IPv6 addresses.
///
/// Without a branch: the verifier walks through this for every rule that there may be.
#[inline(always)]
fn difference(rule: &Rule, subject: &Subject) -> u64 {
    let addresses = apart(&rule.front, subject, 0);
    let facts = (rule.facts ^ subject.word(field::FACTS)) & rule.facts_mask;
    let ports = subject.ports();
    // The guard bits stay set exactly where no port is below the first or above the last.
    let in_range =
        (ports | PORT_GUARD).wrapping_sub(rule.first_ports) & rule.last_ports.wrapping_sub(ports);
    addresses | facts | (in_range & PORT_GUARD ^ PORT_GUARD)
}

/// Not zero where these halves of the addresses, the first (0) or the last (1), are not the rule's.
#[inline(always)]
fn apart(rule: &Ends, subject: &Subject, half: u16) -> u64 {
    let source = subject.word(field::SOURCE + half);
    let destination = subject.word(field::DESTINATION + half);
    (rule.source ^ source) & rule.source_mask
        | (rule.destination ^ destination) & rule.destination_mask
}
