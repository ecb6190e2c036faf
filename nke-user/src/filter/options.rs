//! The end of a rule: what few rules ask for, in any order.

use super::conditions::{Conditions, Dscp, Fragment, IcmpKind, LETTERS, TcpFlags, Vlan, VlanId};
use super::cursor::{Cursor, Said};
use super::dialect::Dialect;
use super::further::{Asked, LengthRange, Test};
use super::parse::{is_number, within_capacity};
use super::parse_error::{ParseError, Problem};
use super::{hint, names};

/// What stands there, each once at most. A list that is empty asks for nothing.
#[derive(Default)]
pub(super) struct Options<'a> {
    pub flags: Option<Said<'a, TcpFlags>>,
    pub icmp: Vec<Said<'a, IcmpKind>>,
    fragment: Option<Said<'a, Fragment>>,
    dscp: Vec<Said<'a, Dscp>>,
    vlan: Vec<Said<'a, Vlan>>,
    length: Vec<Vec<Test>>,
}

impl<'a> Options<'a> {
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, ParseError> {
        let mut all = Self::default();
        if cursor.dialect == Dialect::Calls {
            return Ok(all);
        }
        loop {
            if all.flags.is_none() && cursor.keyword("flags") {
                all.flags = Some(cursor.said(flags)?);
            } else if all.icmp.is_empty() && cursor.keyword("icmp-type") {
                all.icmp = cursor.list(|cursor| icmp(cursor, false))?;
            } else if all.icmp.is_empty() && cursor.keyword("icmp6-type") {
                all.icmp = cursor.list(|cursor| icmp(cursor, true))?;
            } else if all.fragment.is_none() && cursor.keyword("fragment") {
                all.fragment = Some(cursor.said(|cursor| Ok(fragment(cursor)))?);
            } else if all.dscp.is_empty() && cursor.keyword("dscp") {
                all.dscp = cursor.list(dscp)?;
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

    /// Whether something stood there that a packet can have which is not IP.
    fn read_of_link(&mut self, cursor: &mut Cursor<'a>) -> Result<bool, ParseError> {
        if self.vlan.is_empty() && cursor.keyword("vlan") {
            self.vlan = cursor.list(vlan)?;
        } else if self.length.is_empty() && cursor.keyword("length") {
            self.length = tests(cursor, length_range, Asked::Length)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// All but what only one protocol has, each with each. `needs_first` says that what else the
    /// rule asks for is only in the first fragment.
    pub(super) fn conditions(
        &self,
        cursor: &Cursor<'a>,
        needs_first: bool,
    ) -> Result<Vec<(Conditions, Vec<Test>)>, ParseError> {
        let fragment = self.fragment.map(|said| said.thing);
        if needs_first && fragment == Some(Fragment::Later) {
            let word = self.fragment.and_then(|said| said.word);
            return Err(cursor.problem(Problem::LaterFragment, word, None));
        }
        let tests = &self.length;
        within_capacity(cursor, &[self.dscp.len(), self.vlan.len(), tests.len()])?;
        let mut all = Vec::new();
        for dscp in or_none(&self.dscp) {
            for vlan in or_none(&self.vlan) {
                let conditions = Conditions {
                    fragment,
                    dscp,
                    vlan,
                };
                if tests.is_empty() {
                    all.push((conditions, Vec::new()));
                }
                all.extend(tests.iter().map(|tests| (conditions, tests.clone())));
            }
        }
        Ok(all)
    }
}

/// The tests that a list stands for: with `not` all of them together, else each for itself.
fn tests<T: Copy>(
    cursor: &mut Cursor<'_>,
    one: impl Fn(&mut Cursor<'_>) -> Result<T, ParseError>,
    asked: impl Fn(T) -> Asked,
) -> Result<Vec<Vec<Test>>, ParseError> {
    let not = cursor.keyword("not");
    let said = cursor.list(one)?.into_iter();
    let tests = said.map(|said| Test {
        what: asked(said.thing),
        not,
    });
    Ok(if not {
        vec![tests.collect()]
    } else {
        tests.map(|test| vec![test]).collect()
    })
}

/// Each of a list; or once nothing.
fn or_none<T: Copy>(list: &[Said<'_, T>]) -> Vec<Option<T>> {
    if list.is_empty() {
        return vec![None];
    }
    list.iter().map(|said| Some(said.thing)).collect()
}

fn flags(cursor: &mut Cursor<'_>) -> Result<TcpFlags, ParseError> {
    let what = "flags that are set, `/`, and those that are looked at, as in `S/SA`";
    cursor.thing(
        what,
        |_| None,
        |text| {
            let (set, among) = text.split_once('/')?;
            let flags = TcpFlags::new(letters(set)?, letters(among)?);
            Some(flags.ok_or(Problem::FlagsNever))
        },
    )
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

fn fragment(cursor: &mut Cursor<'_>) -> Fragment {
    if cursor.keyword("first") {
        Fragment::First
    } else if cursor.keyword("later") {
        Fragment::Later
    } else {
        Fragment::Any
    }
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
