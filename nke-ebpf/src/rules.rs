//! The search of a rule set: the first rule that matches decides.
//!
//! Both bundled extensions with rules compare by this: a packet's [`Flow`], or that of a socket
//! call, with what more is known of it as bits. How a rule set lies in memory is in
//! [`crate::abi::Page`]'s module; the user side builds it, and runs this very code over it in its tests.
//!
//! It never changes a rule, and whatever a rule set holds, it ends.
#![expect(
    unsafe_code,
    reason = "a page's words are read as what they are: plain numbers in structs"
)]

use crate::{
    Flow,
    abi::{
        At, Ends, FEW, Field, Header, Node, PAGE_LINES, PORT_GUARD, Page, RUN, Rule, TREES, WAYS,
        facts, join,
    },
    branchless::{forget, is_below},
};

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// As [`Rule::outcome`].
    pub outcome: u32,
    /// The place of the rule in the list, from 1; 0 if none matched.
    pub number: u32,
}

impl Decision {
    #[inline(always)]
    const fn by(rule: &Rule) -> Self {
        Self {
            outcome: rule.outcome,
            number: rule.number,
        }
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

/// How many nodes of page 0 a search passes at most.
pub const TOP_DEPTH: usize = 8;

/// How many nodes of another page it passes at most.
pub const DEPTH: usize = 16;

impl Page {
    /// The header; only the first page has one.
    #[inline(always)]
    #[must_use]
    pub fn header(&self) -> &Header {
        // SAFETY: a page is longer, as much aligned, and any words are a header.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// Whether some rule asks for [`facts::MORE`]: see [`Flow::with_more`].
    #[inline(always)]
    #[must_use]
    pub fn asks_more(&self) -> bool {
        self.header().default & Rule::ASKS_MORE != 0
    }

    /// Whether some rule has tests: see [`crate::tests_hold`].
    #[inline(always)]
    #[must_use]
    pub fn asks_tests(&self) -> bool {
        self.header().default & Rule::ASKS_TESTS != 0
    }

    #[inline(always)]
    fn node(&self, line: usize) -> &Node {
        // SAFETY: the line lies within the page, and any words are a node.
        unsafe {
            &*core::ptr::from_ref(self)
                .cast::<Node>()
                .add(line & (PAGE_LINES - 1))
        }
    }

    #[inline(always)]
    fn rule(&self, index: usize) -> &Rule {
        // SAFETY: the rule lies within the page, and any words are a rule.
        unsafe {
            &*core::ptr::from_ref(self)
                .cast::<Rule>()
                .add(index & (PAGE_LINES / 2 - 1))
        }
    }
}

/// What the first rule says that matches the flow and these facts beside those of the flow.
/// `first` is the first of the pages; `tests` says whether the tests of a rule hold that lies in a page.
#[inline(always)]
pub fn decide(
    pages: &(impl Pages + ?Sized),
    first: &Page,
    flow: &Flow,
    facts: u64,
    tests: impl Fn(&Page, &Rule) -> bool,
) -> Decision {
    let header = first.header();
    // Any word will do that the verifier knows nothing of: whichever way the flow was found, it
    // walks on from here only once.
    let noise = first.words[0];
    let flow = &flow.forgotten(noise);
    let facts = forget(flow.all_facts() | facts, noise);
    let fields = fields(flow, facts);
    let mut best = Decision {
        outcome: header.default,
        number: u32::MAX,
    };
    let family = (facts & (facts::V4 | facts::V6)) as usize;
    for tree in 0..TREES {
        let root = header.roots[family & 3][tree];
        if root.first >= best.number {
            break;
        }
        let Some((page, at)) = run_of(pages, first, root.at, &fields) else {
            continue;
        };
        if let Some(rule) = first_match::<RUN>(page, at, flow, facts, &tests)
            && rule.number < best.number
        {
            best = Decision::by(rule);
        }
        best.number = forget(u64::from(best.number), noise) as u32;
        best.outcome = forget(u64::from(best.outcome), noise) as u32;
    }
    if best.number == u32::MAX {
        best.number = 0;
    }
    best
}

/// The same where the rules are few and have no tests ([`Header::few`]); else nothing.
#[inline(always)]
#[must_use]
pub fn decide_few(first: &Page, flow: &Flow, facts: u64) -> Option<Decision> {
    let header = first.header();
    if header.few.count() == 0 {
        return None;
    }
    let facts = forget(flow.all_facts() | facts, first.words[0]);
    let rule = first_match::<FEW>(first, header.few, flow, facts, &|_, _| true);
    let default = Decision {
        outcome: header.default,
        number: 0,
    };
    Some(rule.map_or(default, Decision::by))
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
        if !at.is_node() || at.page() != 0 {
            break;
        }
        at = follow(first.node(at.line()), fields);
    }
    let mut page = first;
    if at.page() != 0 {
        page = pages.page(at.page())?;
    }
    for _ in 0..DEPTH {
        if !at.is_node() {
            break;
        }
        at = follow(page.node(at.line()), fields);
    }
    Some((page, at))
}

/// Where a node sends a flow.
#[inline(always)]
fn follow(node: &Node, fields: &[u32; Field::COUNT]) -> At {
    let field = u32::from_be(fields[node.field as usize & (Field::COUNT - 1)]);
    let mut way = 0;
    for last in node.last {
        way += is_below(u64::from(last), u64::from(field));
    }
    node.next[way as usize & (WAYS - 1)]
}

/// The first rule of a run that matches, of `MOST` that it has at most.
#[inline(always)]
fn first_match<'a, const MOST: usize>(
    page: &'a Page,
    at: At,
    flow: &Flow,
    facts: u64,
    tests: &impl Fn(&Page, &Rule) -> bool,
) -> Option<&'a Rule> {
    let start = at.line() / 2;
    let count = at.count() as usize;
    for index in 0..MOST {
        if index >= count {
            break;
        }
        let rule = page.rule(start + index);
        // One line of the cache decides about nearly all of them.
        if difference(rule, flow, facts) == 0
            && apart(&rule.back, flow.source[1], flow.destination[1]) == 0
            && (rule.extra == 0 || tests(page, rule))
        {
            return Some(rule);
        }
    }
    None
}

/// The numbers of a flow that nodes compare, big end first.
//
// So they lie in a packet: what nodes never ask for has cost nothing but its store.
#[inline(always)]
fn fields(flow: &Flow, facts: u64) -> [u32; Field::COUNT] {
    // `NO_PROTOCOL` is the bit above a protocol's eight.
    let known = (facts & facts::PROTOCOL) >> facts::PROTOCOL.trailing_zeros();
    let number = facts >> facts::PROTOCOL_SHIFT & 0xff;
    let words = [
        flow.source[0],
        flow.source[1],
        flow.destination[0],
        flow.destination[1],
        flow.ports().to_be(),
        join(((number | (known ^ 1) << 8) as u32).to_be(), 0),
        // Of these nodes ask nothing. Two zeros would be a call of a function that fills bytes.
        facts,
        facts,
    ];
    // SAFETY: plain numbers.
    unsafe { core::mem::transmute::<[u64; Field::COUNT / 2], [u32; Field::COUNT]>(words) }
}

/// Not zero where the rule and the flow disagree, but for the last half of IPv6 addresses.
///
/// Without a branch: the verifier walks through this for every rule that there may be.
#[inline(always)]
fn difference(rule: &Rule, flow: &Flow, facts: u64) -> u64 {
    let addresses = apart(&rule.front, flow.source[0], flow.destination[0]);
    let facts = (rule.facts ^ facts) & rule.facts_mask;
    // The guard bits stay set exactly where no port is below the first or above the last.
    let in_range = (flow.ports() | PORT_GUARD).wrapping_sub(rule.first_ports)
        & rule.last_ports.wrapping_sub(flow.ports());
    addresses | facts | (in_range & PORT_GUARD ^ PORT_GUARD)
}

/// Not zero where these halves of the addresses are not the rule's.
#[inline(always)]
fn apart(rule: &Ends, source: u64, destination: u64) -> u64 {
    (rule.source ^ source) & rule.source_mask
        | (rule.destination ^ destination) & rule.destination_mask
}
