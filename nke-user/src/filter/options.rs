//! The end of a rule: what few rules ask for, in any order.

use super::conditions::{Conditions, Dscp, Fragment, IcmpKind, LETTERS, TcpFlags, Vlan, VlanId};
use super::cursor::{Cursor, Said};
use super::dialect::Dialect;
use super::expression::Expression;
use super::further::{Asked, LengthRange, Mac, Mark, Test};
use super::interface_name::InterfaceName;
use super::parse::{is_number, within_capacity};
use super::parse_error::{ParseError, Problem};
use super::rate::Limit;
use super::{hint, names};

/// What stands there, each once at most. A list that is empty asks for nothing.
#[derive(Default)]
pub(super) struct Options<'a> {
    pub flags: Option<Said<'a, TcpFlags>>,
    /// Whether the flags must be otherwise.
    pub not_flags: bool,
    pub icmp: Vec<Said<'a, IcmpKind>>,
    /// Whether the message must be none of these.
    pub not_icmp: bool,
    fragment: Option<Said<'a, Fragment>>,
    dscp: Vec<Said<'a, Dscp>>,
    vlan: Vec<Said<'a, Vlan>>,
    /// What else is asked, by the word that asks: alternatives, each of which is some tests.
    further: Vec<(&'static str, Vec<Vec<Test>>)>,
    pub expression: Option<Expression>,
}

impl<'a> Options<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, ParseError> {
        let mut all = Self::default();
        if cursor.dialect == Dialect::Calls {
            return Ok(all);
        }
        loop {
            if all.flags.is_none() && cursor.keyword("flags") {
                all.not_flags = cursor.keyword("not");
                all.flags = Some(cursor.said(flags)?);
            } else if all.icmp.is_empty() && cursor.keyword("icmp-type") {
                all.not_icmp = cursor.keyword("not");
                all.icmp = cursor.list(|cursor| icmp(cursor, false))?;
            } else if all.icmp.is_empty() && cursor.keyword("icmp6-type") {
                all.not_icmp = cursor.keyword("not");
                all.icmp = cursor.list(|cursor| icmp(cursor, true))?;
            } else if all.fragment.is_none() && cursor.keyword("fragment") {
                all.fragment = Some(fragment(cursor)?);
            } else if all.dscp.is_empty() && all.has_not("dscp") && cursor.keyword("dscp") {
                if cursor.keyword("not") {
                    let said = cursor.list(dscp)?;
                    all.ask("dscp", none_of(&said, Asked::Dscp));
                } else {
                    all.dscp = cursor.list(dscp)?;
                }
            } else if !all.read_of_link(cursor)? {
                return Ok(all);
            }
        }
    }

    /// What a packet can have that is not IP.
    pub(super) fn of_link(cursor: &mut Cursor<'a>) -> Result<Self, ParseError> {
        let mut all = Self::default();
        while all.read_of_link(cursor)? {}
        Ok(all)
    }

    /// The same, on some interfaces: see [`interfaces`].
    pub(super) fn on(mut self, on: Vec<Vec<Test>>) -> Self {
        if !on.is_empty() {
            self.ask("on", on);
        }
        self
    }

    /// Whether something stood there that a packet can have which is not IP.
    fn read_of_link(&mut self, cursor: &mut Cursor<'a>) -> Result<bool, ParseError> {
        if self.vlan.is_empty() && cursor.keyword("vlan") {
            if cursor.keyword("not") {
                self.not_vlan(cursor)?;
            } else {
                self.vlan = cursor.list(vlan)?;
            }
        } else if self.has_not("length") && cursor.keyword("length") {
            let all = tests(cursor, length_range, Asked::Length)?;
            self.ask("length", all);
        } else if self.has_not("mark") && cursor.keyword("mark") {
            let all = tests(cursor, mark, Asked::Mark)?;
            self.ask("mark", all);
        } else if self.has_not("limit") && cursor.keyword("limit") {
            let (limit, not) = Limit::read(cursor)?;
            let what = Asked::Limit(limit);
            self.ask("limit", vec![vec![Test { what, not }]]);
        } else if !(self.has("from") && self.has("to")) && cursor.keyword("ether") {
            self.ether(cursor)?;
        } else if self.expression.is_none() && cursor.keyword("expr") {
            self.expression = Some(expression(cursor)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn ether(&mut self, cursor: &mut Cursor<'a>) -> Result<(), ParseError> {
        if self.has_not("from") && cursor.keyword("from") {
            let all = tests(cursor, mac, Asked::EtherFrom)?;
            self.ask("from", all);
        } else if self.has_not("to") && cursor.keyword("to") {
            let all = tests(cursor, mac, Asked::EtherTo)?;
            self.ask("to", all);
        } else {
            return Err(cursor.unexpected_word());
        }
        Ok(())
    }

    /// No tag but others; or with `any` among them, none at all.
    fn not_vlan(&mut self, cursor: &mut Cursor<'a>) -> Result<(), ParseError> {
        let said = cursor.list(vlan)?;
        let word = said.first().and_then(|said| said.word);
        let has = |wanted| said.iter().any(|said| said.thing == wanted);
        let thing = match (has(Vlan::Tagged), has(Vlan::Untagged)) {
            (true, true) => return Err(cursor.problem(Problem::NoVlanLeft, word, None)),
            (true, false) => Vlan::Untagged,
            (false, _) => Vlan::Tagged,
        };
        self.vlan = vec![Said { thing, word }];
        let ids = said.iter().filter_map(|said| match said.thing {
            Vlan::Id(id) => Some(Said {
                thing: id,
                word: said.word,
            }),
            Vlan::Tagged | Vlan::Untagged => None,
        });
        let ids: Vec<_> = ids.collect();
        if thing == Vlan::Tagged && !ids.is_empty() {
            self.ask("vlan", none_of(&ids, Asked::Vlan));
        }
        Ok(())
    }

    fn has(&self, word: &str) -> bool {
        self.further.iter().any(|(known, _)| *known == word)
    }

    fn has_not(&self, word: &str) -> bool {
        !self.has(word)
    }

    fn ask(&mut self, word: &'static str, alternatives: Vec<Vec<Test>>) {
        self.further.push((word, alternatives));
    }

    /// Whether something is asked of the header of a protocol.
    pub(super) fn asks_header(&self) -> bool {
        self.flags.is_some() || !self.icmp.is_empty()
    }

    /// All but what only one protocol has, each with each. `needs_first` says that what else the
    /// rule asks for is only in the first fragment.
    pub(super) fn conditions(
        &self,
        cursor: &Cursor<'a>,
        needs_first: bool,
    ) -> Result<Vec<(Conditions, Vec<Test>)>, ParseError> {
        let later = self.fragment.filter(|said| said.thing == Fragment::Later);
        if let Some(later) = later.filter(|_| needs_first) {
            return Err(cursor.problem(Problem::LaterFragment, later.word, None));
        }
        let further = self.further.iter();
        let further = further.map(|(_, alternatives)| alternatives.len());
        let lists = [self.dscp.len(), self.vlan.len()];
        within_capacity(cursor, further.chain(lists))?;
        let tests = self.tests();
        let mut all = Vec::new();
        let fragment = self.fragment.map(|said| said.thing);
        for dscp in or_none(&self.dscp) {
            for vlan in or_none(&self.vlan) {
                let conditions = Conditions {
                    fragment,
                    dscp,
                    vlan,
                };
                all.extend(tests.iter().map(|tests| (conditions, tests.clone())));
            }
        }
        Ok(all)
    }

    /// What else is asked, each alternative with each.
    fn tests(&self) -> Vec<Vec<Test>> {
        let mut all = vec![Vec::new()];
        let flags = self.flags.filter(|_| self.not_flags);
        all[0].extend(flags.map(|said| Test::not(Asked::Flags(said.thing))));
        if self.not_icmp {
            let kinds = self.icmp.iter().map(|said| said.thing);
            all[0].extend(kinds.map(|kind| Test::not(Asked::Icmp(kind))));
        }
        for (_, alternatives) in &self.further {
            let each = |tests: Vec<Test>| {
                let with = alternatives.iter();
                with.map(move |more| [tests.as_slice(), more].concat())
            };
            all = all.into_iter().flat_map(each).collect();
        }
        all
    }
}

/// What stands between quotes, compiled.
fn expression(cursor: &mut Cursor<'_>) -> Result<Expression, ParseError> {
    let what = "an expression of tcpdump in quotes, as in `'tcp[13] & 2 != 0'`";
    cursor.thing(
        what,
        |_| None,
        |text| {
            let inside = quoted(text)?;
            Some(Expression::compile(inside).map_err(Problem::Expression))
        },
    )
}

/// What is between two quotes of the same kind.
fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

/// The tests that a list stands for: with `not` all of them together, else each for itself.
fn tests<T: Copy>(
    cursor: &mut Cursor<'_>,
    one: impl Fn(&mut Cursor<'_>) -> Result<T, ParseError>,
    asked: impl Fn(T) -> Asked,
) -> Result<Vec<Vec<Test>>, ParseError> {
    let not = cursor.keyword("not");
    let said = cursor.list(one)?;
    Ok(if not {
        none_of(&said, asked)
    } else {
        let test = |said: &Said<'_, T>| Test {
            what: asked(said.thing),
            not,
        };
        said.iter().map(|said| vec![test(said)]).collect()
    })
}

/// What stands behind `on`.
pub(super) fn interfaces(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<Test>>, ParseError> {
    tests(cursor, interface, Asked::On)
}

pub(super) fn interface(cursor: &mut Cursor<'_>) -> Result<InterfaceName, ParseError> {
    cursor.thing(
        "an interface, as in `eth0`",
        |_| None,
        |text| Some(text.parse().map_err(Problem::Interface)),
    )
}

/// That a packet is none of these.
fn none_of<T: Copy>(said: &[Said<'_, T>], asked: impl Fn(T) -> Asked) -> Vec<Vec<Test>> {
    let tests = said.iter().map(|said| Test::not(asked(said.thing)));
    vec![tests.collect()]
}

/// Each of a list; or once nothing.
fn or_none<T: Copy>(list: &[Said<'_, T>]) -> impl Iterator<Item = Option<T>> {
    let each = list.iter().map(|said| Some(said.thing));
    each.chain(list.is_empty().then_some(None))
}

fn flags(cursor: &mut Cursor<'_>) -> Result<TcpFlags, ParseError> {
    let what = "flags that are set, `/`, and those that are looked at, as in `S/SA`";
    cursor.thing(what, hint::for_flags, |text| {
        let (set, among) = text.split_once('/')?;
        let flags = TcpFlags::new(letters(set)?, letters(among)?);
        Some(flags.ok_or(Problem::FlagsNever))
    })
}

/// The flags that letters stand for.
pub(super) fn letters(text: &str) -> Option<u8> {
    let bit = |letter| LETTERS.find(letter).map(|bit| 1 << bit);
    text.chars()
        .try_fold(0, |all, letter| Some(all | bit(letter)?))
}

pub(super) fn icmp(cursor: &mut Cursor<'_>, v6: bool) -> Result<IcmpKind, ParseError> {
    let what = "a type of ICMP, by name or number";
    let hint = |found: &str| {
        let names = names::icmp_names(v6);
        hint::nearest(&found.to_ascii_lowercase(), names).map(hint::Hint::DidYouMean)
    };
    let kind = cursor.thing(what, hint, |text| {
        let known = names::icmp(v6, text).map(Ok);
        known.or_else(|| octet(text))
    })?;
    let code = if cursor.keyword("code") {
        Some(cursor.thing("a code, by number", |_| None, octet)?)
    } else {
        None
    };
    Ok(IcmpKind { v6, kind, code })
}

fn octet(text: &str) -> Option<Result<u8, Problem>> {
    is_number(text).then(|| text.parse().map_err(|_| Problem::IcmpTooHigh))
}

/// With `not`, the other part: a packet that is whole has no part to be another.
fn fragment<'a>(cursor: &mut Cursor<'a>) -> Result<Said<'a, Fragment>, ParseError> {
    let not = cursor.keyword("not");
    cursor.said(|cursor| {
        let first = cursor.keyword("first");
        Ok(if first || cursor.keyword("later") {
            match first == not {
                true => Fragment::Later,
                false => Fragment::First,
            }
        } else if not || cursor.keyword("none") {
            Fragment::None
        } else {
            Fragment::Any
        })
    })
}

pub(super) fn dscp(cursor: &mut Cursor<'_>) -> Result<Dscp, ParseError> {
    let hint = |found: &str| {
        hint::nearest(&found.to_ascii_lowercase(), names::dscps()).map(hint::Hint::DidYouMean)
    };
    cursor.thing("a DSCP, by name or number", hint, |text| {
        let number = || text.parse().ok().and_then(Dscp::new);
        let known = names::dscp(text).and_then(Dscp::new).map(Ok);
        let number = is_number(text).then(|| number().ok_or(Problem::DscpTooHigh));
        known.or(number)
    })
}

pub(super) fn length(cursor: &mut Cursor<'_>) -> Result<u32, ParseError> {
    cursor.thing(
        "a length in bytes",
        |_| None,
        |text| is_number(text).then(|| text.parse().map_err(|_| Problem::LengthTooHigh)),
    )
}

fn length_range(cursor: &mut Cursor<'_>) -> Result<LengthRange, ParseError> {
    let hint = |found: &str| {
        found
            .starts_with(['<', '>', '='])
            .then_some(hint::Hint::WriteARange)
    };
    cursor.thing("a length in bytes, or a range of them", hint, |text| {
        let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
        let range = match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => {
                LengthRange::new(first, last).ok_or(Problem::LengthsReversed { first, last })
            }
            _ => Err(Problem::LengthTooHigh),
        };
        (is_number(first) && is_number(last)).then_some(range)
    })
}

/// `N` or `N/MASK`.
pub(super) fn mark(cursor: &mut Cursor<'_>) -> Result<Mark, ParseError> {
    cursor.thing(
        "a mark, as in `1` or `0x10/0xff`",
        |_| None,
        |text| {
            let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
            let mark = |value, mask| Mark::new(value, mask).ok_or(Problem::MarkOfNothing);
            match (word(value)?, word(mask)?) {
                (Some(value), Some(mask)) => Some(mark(value, mask)),
                _ => Some(Err(Problem::MarkTooHigh)),
            }
        },
    )
}

/// A number, decimal or hexadecimal, if it is one; nothing within if it has more than 32 bits.
fn word(text: &str) -> Option<Option<u32>> {
    if let Some(digits) = text.strip_prefix("0x") {
        let all = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_hexdigit());
        return all.then(|| u32::from_str_radix(digits, 16).ok());
    }
    is_number(text).then(|| text.parse().ok())
}

pub(super) fn mac(cursor: &mut Cursor<'_>) -> Result<Mac, ParseError> {
    cursor.thing(
        "the address of an interface, as in `02:00:00:00:00:01`",
        |_| None,
        |text| Mac::parse(text).map(Ok),
    )
}

fn vlan(cursor: &mut Cursor<'_>) -> Result<Vlan, ParseError> {
    if cursor.keyword("any") {
        return Ok(Vlan::Tagged);
    }
    if cursor.keyword("none") {
        return Ok(Vlan::Untagged);
    }
    vlan_id(cursor).map(Vlan::Id)
}

pub(super) fn vlan_id(cursor: &mut Cursor<'_>) -> Result<VlanId, ParseError> {
    cursor.thing(
        "a VLAN's number",
        |_| None,
        |text| {
            let id = || text.parse().ok().and_then(VlanId::new);
            is_number(text).then(|| id().ok_or(Problem::VlanTooHigh))
        },
    )
}
