//! Edits of a rule set in place: a few rules come, a few go, and all others stay where they are.
//!
//! Whatever an edit writes, no packet sees it until one word is written (see [`nke_ebpf::abi::Header`]):
//!
//! ```text
//! rules that come   are put into the list behind all others, and into a small tree of their own
//! rules that go     are told the next edition in the list and in all their copies
//! the header        is a new one, of the next edition
//! ```
//!
//! So the kernel is not asked for anything, and nothing waits until no packet goes by the old rules. What is
//! left behind is never used again. Where that grows too much ([`prepare`] says so), the set is
//! written anew.
//!
//! An edit that was interrupted has changed nothing. What it has told rules that go may be taken for the next
//! edit's, and so that one writes the set anew.

use std::{io, slice};

use nke_ebpf::abi::{self, FEW, HEADERS, Header, ROOTS, Root, Rule, Test, join};

use super::expression::page::Page;
use super::rule::{Action, RuleSet};
use super::seen::Places;
use super::stored::Set;
use super::{carry, encode, tree};

/// How many rules come or go at most until the set is written anew.
pub(super) const MOST: usize = 64;

/// The order of a rule that comes behind all others is so much higher than the last one's.
const STEP: u32 = 1 << 16;

/// The word of a rule that says until when it is there, and its place in even editions; and the next one, of
/// its place in odd ones.
const UNTIL: usize = 14;

/// The rules that are to be.
#[derive(Debug)]
pub(super) struct New<'a> {
    pub(super) default: Action,
    /// Of each, the place of the one that it is; nothing if it comes.
    pub(super) staying: &'a [Option<usize>],
    /// Those that come, in their order.
    pub(super) coming: Vec<&'a super::rule::Rule>,
}

/// An edit that is written, and not yet in force.
#[derive(Debug)]
pub(super) struct Edit {
    /// The places of the headers before it and behind it.
    pub(super) before: u32,
    pub(super) behind: u32,
}

/// Writes what makes other rules of those that are there, by what stays of them; nothing, and nothing is written,
/// where the set must be written anew.
pub(super) fn prepare(set: &Set, places: &Places, new: &New<'_>) -> Option<Edit> {
    let staying = new.staying;
    let old: &Header = &set.header;
    let edition = old.edition.checked_add(1)?;
    // Few rules have a run of their own, without a tree, and are soon written.
    if staying.len() <= FEW || set.front.has_few() {
        return None;
    }
    if !places.whole || set.front.current as usize >= HEADERS || !carry::in_order(staying) {
        return None;
    }
    let mut stays = vec![false; places.numbers.len()];
    for place in staying.iter().flatten() {
        stays[*place] = true;
    }
    let gone = places.numbers.iter().zip(&stays);
    let gone: Vec<u32> = gone.filter(|it| !it.1).map(|(number, _)| *number).collect();
    let orders = orders(&places.orders, staying)?;
    let coming = Coming::of(set, places, new, &orders)?;
    let length = old.length + u32::try_from(coming.new.len()).ok()?;
    if gone.len().max(coming.later.len()) > MOST || length.checked_add(3)? > old.row {
        return None;
    }
    let mut tests = set.tests();
    tests.extend(&coming.tests);
    let tested = u32::try_from(tests.len()).ok()?;
    if set.test(tested) > set.carried() {
        return None;
    }
    let later = tree::later((&coming.later, &tests), set.room(), old.taken)?;
    let roots = roots(&old.roots, &later.roots)?;
    let gone: Vec<Rule> = gone
        .iter()
        .map(|number| set.rule(set.listed(*number)))
        .collect::<Option<_>>()?;

    for rule in &coming.new {
        set.write(set.listed(rule.number), &rule.to_words()).ok()?;
    }
    let words: Vec<u64> = coming.tests.iter().flat_map(Test::to_words).collect();
    set.write(set.test(old.tested), &words).ok()?;
    set.write(later.from, &later.words).ok()?;
    for rule in &gone {
        take_away(set, rule, edition).ok()?;
    }
    for (place, number) in (1..).zip(&coming.numbers) {
        number_in_log(set, *number, place, edition).ok()?;
    }
    let asked = RuleSet {
        default: new.default,
        rules: new.coming.iter().copied().cloned().collect(),
    };
    let header = Header {
        edition,
        length,
        // What rules have asked for that are gone may be read a while longer.
        default: encode::default_outcome(&asked) | old.default & !Rule::DROP,
        taken: later.taken,
        tested,
        roots,
        ..*old
    };
    let behind = set.front.current + 1;
    set.write(behind as usize * abi::HEADER_WORDS, &header.to_words())
        .ok()?;
    Some(Edit {
        before: set.front.current,
        behind,
    })
}

/// Rules that come, and those that have come since the trees were built.
struct Coming {
    new: Vec<Rule>,
    later: Vec<Rule>,
    /// The tests of those that come.
    tests: Vec<Test>,
    /// The numbers of all rules, in order.
    numbers: Vec<u32>,
}

impl Coming {
    fn of(set: &Set, places: &Places, rules: &New<'_>, orders: &[u32]) -> Option<Self> {
        let mut coming = Self {
            new: Vec::new(),
            later: Vec::new(),
            tests: Vec::new(),
            numbers: Vec::with_capacity(rules.staying.len()),
        };
        let mut new = rules.coming.iter().copied().zip(orders);
        let marks = tree::sets_marks(&set.tests());
        for place in rules.staying {
            let number = match place {
                Some(place) => {
                    let number = places.numbers[*place];
                    if number > set.header.built {
                        coming.later.push(set.rule(set.listed(number))?);
                    }
                    number
                }
                None => {
                    let (rule, order) = new.next().filter(|(rule, _)| !needs_all(rule))?;
                    let number = set.header.length + 1 + u32::try_from(coming.new.len()).ok()?;
                    let (encoded, tests) =
                        encode::encode_all(slice::from_ref(rule), &Page::default());
                    // What must be asked in order shares a tree with all others that must be.
                    if tree::asks_for_order(encoded.first()?, &tests, marks) {
                        return None;
                    }
                    let rule = Rule {
                        number,
                        order: *order,
                        listed: set.header.tested + u32::try_from(coming.tests.len()).ok()?,
                        ..*encoded.first()?
                    };
                    coming.tests.extend(tests);
                    coming.new.push(rule);
                    coming.later.push(rule);
                    if coming.new.len() > MOST {
                        return None;
                    }
                    number
                }
            };
            coming.numbers.push(number);
        }
        Some(coming)
    }
}

/// Whether all rules are to be looked at for it: where sets lie is found at once, which interfaces there are, and what
/// expressions.
fn needs_all(rule: &super::rule::Rule) -> bool {
    let sets = rule.memberships().next().is_some();
    sets || rule.named_interfaces().next().is_some() || rule.expression.is_some()
}

/// The orders of rules that come, between those of their neighbours; nothing if there is no room.
fn orders(old: &[u32], staying: &[Option<usize>]) -> Option<Vec<u32>> {
    let mut orders = Vec::new();
    let mut low = 0;
    let mut rest = staying;
    while !rest.is_empty() {
        let coming = rest.iter().take_while(|place| place.is_none()).count();
        let next = rest.get(coming).copied().flatten();
        let parts = u32::try_from(coming).ok()?.checked_add(1)?;
        let step = match next {
            Some(place) => old[place].checked_sub(low)? / parts,
            None => STEP.min((u32::MAX - 1 - low) / parts),
        };
        if coming > 0 && step == 0 {
            return None;
        }
        orders.extend((1..parts).map(|nth| low + step * nth));
        if let Some(place) = next {
            low = old[place];
        }
        rest = rest.get(coming + 1..).unwrap_or_default();
    }
    Some(orders)
}

/// Has a rule be there no more from an edition on.
fn take_away(set: &Set, rule: &Rule, edition: u32) -> io::Result<()> {
    // The list first: it is where an edit that was interrupted is seen.
    let listed = set.listed(rule.number);
    set.write(listed + UNTIL, &[join(edition, rule.place[0])])?;
    // Those that have come later are in trees of their own, which are made anew.
    if rule.number > set.header.built {
        return Ok(());
    }
    let word = |at| set.word(at);
    for copy in tree::copies(rule, &set.header.roots, (set.length(), &word)) {
        set.write(copy + UNTIL, &[join(edition, 0)])?;
    }
    Ok(())
}

/// Has log lines name the rule of this number by its place, from an edition on.
fn number_in_log(set: &Set, number: u32, place: u32, edition: u32) -> io::Result<()> {
    let at = set.listed(number) + UNTIL;
    if edition.is_multiple_of(2) {
        set.write(at, &[join(u32::MAX, place)])
    } else {
        let listed = set.rule(set.listed(number)).map_or(0, |rule| rule.listed);
        set.write(at + 1, &[join(place, listed)])
    }
}

/// The trees of each family, with others for those that have come later; nothing where they are too many.
fn roots(old: &[[Root; ROOTS]; 4], later: &[(usize, Root)]) -> Option<[[Root; ROOTS]; 4]> {
    let mut roots = *old;
    for (family, roots) in roots.iter_mut().enumerate() {
        let built = old[family].iter().filter(|root| !root.is_later());
        let built = built.filter(|root| **root != Root::NONE);
        let later = later.iter().filter(|it| it.0 == family).map(|it| &it.1);
        let mut all: Vec<Root> = built.chain(later).copied().collect();
        if all.len() > ROOTS {
            return None;
        }
        all.sort_by_key(tree::place_of);
        all.resize(ROOTS, Root::NONE);
        roots.copy_from_slice(&all);
    }
    Some(roots)
}

#[cfg(test)]
mod tests;
