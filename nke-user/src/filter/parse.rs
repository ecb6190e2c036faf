//! The language's grammar, by recursive descent (docs/filter-language.md has it in full).
//!
//! A list in braces stands for a rule each, so that one line may be several rules.

mod ends;
mod hosts;
mod transports;

use std::net::IpAddr;
use std::str::FromStr;

use nke_ebpf::{Refusal, abi::TESTS};

pub(super) use self::transports::protocol;
use self::{
    ends::{end, port_sets},
    hosts::{Family, addresses},
    transports::{Protocols, messages, transports},
};
use super::cursor::Cursor;
use super::dialect::Dialect;
use super::further::Test;
use super::names;
use super::options::{self, Options};
use super::parse_error::{ParseError, Problem};
use super::rule::{Action, Addresses, Rule, Transport, Way};

/// The rules of the packet filter that one line of text stands for.
///
/// # Errors
///
/// [`ParseError`], which knows the column.
pub fn parse_rules(line: &str) -> Result<Vec<Rule>, ParseError> {
    Dialect::Packets.rules(line)
}

impl Dialect {
    /// The rules that one line of text stands for.
    ///
    /// # Errors
    ///
    /// [`ParseError`], which knows the column.
    pub fn rules(self, line: &str) -> Result<Vec<Rule>, ParseError> {
        self.rules_on(line, &[])
    }

    /// The same, on a host that has these addresses: `self` stands for them.
    ///
    /// # Errors
    ///
    /// [`ParseError`], which knows the column.
    pub fn rules_on(self, line: &str, own: &[IpAddr]) -> Result<Vec<Rule>, ParseError> {
        rules(&mut Cursor::new(self, 1, line).on(own))
    }
}

impl FromStr for Action {
    type Err = ParseError;

    fn from_str(word: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(Dialect::Packets, 1, word);
        let action = action(&mut cursor)?;
        cursor.end().map(|()| action)
    }
}

impl FromStr for Rule {
    type Err = ParseError;

    /// One rule of the packet filter, not a list of them.
    fn from_str(line: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(Dialect::Packets, 1, line);
        match rules(&mut cursor)?.as_slice() {
            [rule] => Ok(rule.clone()),
            rules => Err(cursor.problem(Problem::Several { rules: rules.len() }, None, None)),
        }
    }
}

pub(super) fn rules(cursor: &mut Cursor<'_>) -> Result<Vec<Rule>, ParseError> {
    let packets = cursor.dialect == Dialect::Packets;
    let action = rule_action(cursor)?;
    let mut ways = cursor.dialect.ways().iter();
    let way = ways.find_map(|(word, way)| cursor.keyword(word).then_some(*way));
    let log = log(cursor, action)?;
    let on = if packets && cursor.keyword("on") {
        options::interfaces(cursor)?
    } else {
        Vec::new()
    };
    if packets && cursor.keyword("arp") {
        return arp(cursor, (action, way, log), on);
    }
    let family = if cursor.keyword("inet") {
        Some(Family::V4)
    } else {
        cursor.keyword("inet6").then_some(Family::V6)
    };
    let protocols = if cursor.keyword("proto") {
        // Calls are of two protocols that can be told apart by naming one.
        let not = packets && cursor.keyword("not");
        let all = cursor.list(protocol)?;
        Protocols { not, all }
    } else {
        Protocols::default()
    };
    let all = cursor.keyword("all");
    let from = end("from", !all && packets, cursor)?;
    let to = end("to", !all, cursor)?;
    let options = Options::read(cursor)?.on(on);
    let keep_state = packets && keep_state(cursor, action)?;
    cursor.end()?;

    let addresses = addresses(cursor, family, &from.hosts, &to.hosts)?;
    let port_sets = port_sets(cursor, &protocols, &from, &to, &options)?;
    let transports = if options.icmp.is_empty() {
        transports(cursor, &protocols, &from.ports, &to.ports, &options)?
    } else {
        messages(cursor, &protocols, &from.ports, &to.ports, &options)?
    };
    let simple = |it: &Transport| matches!(it, Transport::Any | Transport::Protocol(_));
    let needs_first = options.asks_header() || !transports.iter().all(simple);
    let conditions = options.conditions(cursor, needs_first)?;
    let others = protocols.others();
    let factors = [addresses.len(), transports.len(), conditions.len()];
    within_capacity(cursor, factors)?;
    let mut rules = Vec::with_capacity(factors.iter().product());
    for (addresses, not) in addresses {
        for &transport in &transports {
            for (conditions, tests) in &conditions {
                let tests = [others.as_slice(), &not, tests, &port_sets].concat();
                rules.push(Rule {
                    action,
                    way,
                    log: log.is_some(),
                    sample: log.unwrap_or(1),
                    addresses,
                    transport,
                    conditions: *conditions,
                    tests: in_order(cursor, tests, &options)?,
                    expression: options.expression.clone(),
                    keep_state,
                });
            }
        }
    }
    Ok(rules)
}

/// Whether a rule keeps state: its last words.
fn keep_state(cursor: &mut Cursor<'_>, action: Action) -> Result<bool, ParseError> {
    if !cursor.keyword("keep") {
        return Ok(false);
    }
    if !cursor.keyword("state") {
        return Err(cursor.unexpected_word());
    }
    if action != Action::Pass {
        return Err(cursor.problem(Problem::OnlyPassKeepsState, None, None));
    }
    Ok(true)
}

/// Tests as a rule has them.
fn in_order(
    cursor: &Cursor<'_>,
    mut tests: Vec<Test>,
    options: &Options<'_>,
) -> Result<Vec<Test>, ParseError> {
    tests.sort_unstable();
    tests.dedup();
    // An expression is one more.
    let count = tests.len() + usize::from(options.expression.is_some());
    if count > TESTS {
        let many = Problem::TooManyTests { tests: count };
        return Err(cursor.problem(many, None, None));
    }
    Ok(tests)
}

/// What there is to ask of ARP.
fn arp(
    cursor: &mut Cursor<'_>,
    (action, way, log): (Action, Option<Way>, Option<u32>),
    on: Vec<Vec<Test>>,
) -> Result<Vec<Rule>, ParseError> {
    let options = Options::of_link(cursor)?.on(on);
    cursor.end()?;
    let conditions = options.conditions(cursor, false)?;
    let rule = |(conditions, tests)| {
        Ok(Rule {
            way,
            log: log.is_some(),
            sample: log.unwrap_or(1),
            addresses: Addresses::Arp,
            conditions,
            tests: in_order(cursor, tests, &options)?,
            expression: options.expression.clone(),
            ..Rule::all(action)
        })
    };
    conditions.into_iter().map(rule).collect()
}

/// `log`, or `log 1/N`: one of how many is logged.
fn log(cursor: &mut Cursor<'_>, action: Action) -> Result<Option<u32>, ParseError> {
    if cursor.dialect != Dialect::Packets {
        return Ok(None);
    }
    let said = cursor.said(|cursor| Ok(cursor.keyword("log")))?;
    if !said.thing {
        return Ok(None);
    }
    if action.goes_on() {
        return Err(cursor.problem(Problem::LogGoesOn, said.word, None));
    }
    if !cursor.is_sample() {
        return Ok(Some(1));
    }
    let one_of = |text: &str| {
        let number = text.strip_prefix("1/")?;
        let count = number.parse().ok().filter(|count| *count != 0);
        is_number(number).then(|| count.ok_or(Problem::NoSample))
    };
    cursor
        .thing("one of so many, as in `1/100`", |_| None, one_of)
        .map(Some)
}

/// What becomes of a packet that a rule is about.
fn rule_action(cursor: &mut Cursor<'_>) -> Result<Action, ParseError> {
    if cursor.dialect == Dialect::Calls {
        return action(cursor);
    }
    if cursor.keyword("pass") {
        Ok(Action::Pass)
    } else if cursor.keyword("drop") {
        Ok(Action::Drop)
    } else if cursor.keyword("reject") {
        refusal(cursor).map(Action::Reject)
    } else if cursor.keyword("redirect") {
        if !cursor.keyword("to") {
            return Err(cursor.left_out());
        }
        options::interface(cursor).map(Action::Redirect)
    } else if cursor.keyword("count") {
        Ok(Action::Count)
    } else if cursor.keyword("mark") {
        options::mark(cursor).map(Action::Mark)
    } else {
        Err(cursor.unexpected_word())
    }
}

/// What its sender is told, behind `reject`.
fn refusal(cursor: &mut Cursor<'_>) -> Result<Refusal, ParseError> {
    if !cursor.keyword("with") {
        return Ok(Refusal::Usual);
    }
    let mut words = names::REFUSALS.iter();
    let said = words.find(|(word, _)| cursor.keyword(word));
    said.map(|(_, refusal)| *refusal)
        .ok_or_else(|| cursor.unexpected_word())
}

/// What becomes of a packet that no rule is about, or of a call.
pub(super) fn action(cursor: &mut Cursor<'_>) -> Result<Action, ParseError> {
    if cursor.keyword("pass") {
        Ok(Action::Pass)
    } else if cursor.keyword("drop") {
        Ok(Action::Drop)
    } else {
        Err(cursor.unexpected_word())
    }
}

/// A handful of lists can stand for more rules than there is memory.
pub(super) fn within_capacity(
    cursor: &Cursor<'_>,
    factors: impl IntoIterator<Item = usize>,
) -> Result<(), ParseError> {
    let product = |all: usize, factor: usize| all.saturating_mul(factor.max(1));
    let rules = factors.into_iter().fold(1, product);
    if rules <= MOST {
        return Ok(());
    }
    Err(cursor.problem(Problem::TooMany { rules }, None, None))
}

/// How many rules a line can stand for: more are a slip.
pub(super) const MOST: usize = 1024;

/// Only digits: `parse` alone would take a sign as well.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
