//! The end of a rule: what few rules ask for, in any order.

use super::conditions::{Conditions, Dscp, Fragment, IcmpKind, LETTERS, TcpFlags, Vlan, VlanId};
use super::cursor::{Cursor, Said};
use super::dialect::Dialect;
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
            } else if all.vlan.is_empty() && cursor.keyword("vlan") {
                all.vlan = cursor.list(vlan)?;
            } else {
                return Ok(all);
            }
        }
    }

    /// What a packet can have that is not IP.
    pub(super) fn of_link(cursor: &mut Cursor<'a>) -> Result<Self, ParseError> {
        let mut all = Self::default();
        if cursor.keyword("vlan") {
            all.vlan = cursor.list(vlan)?;
        }
        Ok(all)
    }

    /// All but what only one protocol has, each with each. `needs_first` says that what else the
    /// rule asks for is only in the first fragment.
    pub(super) fn conditions(
        &self,
        cursor: &Cursor<'a>,
        needs_first: bool,
    ) -> Result<Vec<Conditions>, ParseError> {
        let fragment = self.fragment.map(|said| said.thing);
        if needs_first && fragment == Some(Fragment::Later) {
            let word = self.fragment.and_then(|said| said.word);
            return Err(cursor.problem(Problem::LaterFragment, word, None));
        }
        within_capacity(cursor, &[self.dscp.len(), self.vlan.len()])?;
        let mut all = Vec::new();
        for dscp in or_none(&self.dscp) {
            let one = |vlan| Conditions {
                fragment,
                dscp,
                vlan,
            };
            all.extend(or_none(&self.vlan).into_iter().map(one));
        }
        Ok(all)
    }
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
