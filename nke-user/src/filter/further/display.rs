//! Tests in the words of the language.
//!
//! What is printed here is read back by the parser as the same tests.

use std::fmt;

use super::super::conditions::IcmpKind;
use super::super::rule::Rule;
use super::{Asked, Membership, Net, Test};

impl Asked {
    /// The words of it that stand behind a rule's ends, but for what it must be; nothing if it is
    /// said elsewhere.
    pub(in crate::filter) const fn option(&self) -> Option<&'static str> {
        match self {
            Self::Flags(_) => Some("flags"),
            Self::Icmp(IcmpKind { v6: false, .. }) => Some("icmp-type"),
            Self::Icmp(IcmpKind { v6: true, .. }) => Some("icmp6-type"),
            Self::Dscp(_) => Some("dscp"),
            Self::Vlan(_) => Some("vlan"),
            Self::Protocol(_)
            | Self::Source(_)
            | Self::Destination(_)
            | Self::In(_)
            | Self::On(_) => None,
            Self::Length(_) => Some("length"),
            Self::Mark(_) => Some("mark"),
            Self::EtherFrom(_) => Some("ether from"),
            Self::EtherTo(_) => Some("ether to"),
            Self::Limit(_) => Some("limit"),
        }
    }
}

/// The things that tests of a rule say of what `is` picks, as they are listed: one, or in braces. Each
/// has the same `not`.
pub(in crate::filter) struct List<'a> {
    pub(in crate::filter) not: bool,
    pub(in crate::filter) all: Vec<&'a Asked>,
}

impl<'a> List<'a> {
    /// Nothing where no test is of that kind.
    pub(in crate::filter) fn of(rule: &'a Rule, is: impl Fn(&Asked) -> bool) -> Option<Self> {
        Self::of_tests(&rule.tests, is)
    }

    /// The same of some tests.
    pub(in crate::filter) fn of_tests(
        tests: &'a [Test],
        is: impl Fn(&Asked) -> bool,
    ) -> Option<Self> {
        let tests = tests.iter().filter(|test| is(&test.what));
        let not = tests.clone().next()?.not;
        let all = tests.map(|test| &test.what).collect();
        Some(Self { not, all })
    }
}

/// What tests say behind a rule's ends, each with a blank in front.
pub(in crate::filter) fn fmt_options(tests: &[Test], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut said = Vec::new();
    for word in tests.iter().filter_map(|test| test.what.option()) {
        if said.contains(&word) {
            continue;
        }
        said.push(word);
        if let Some(list) = List::of_tests(tests, |asked| asked.option() == Some(word)) {
            write!(f, " {word}{list}")?;
        }
    }
    Ok(())
}

impl fmt::Display for List<'_> {
    /// With a blank in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not, all } = self;
        if *not {
            let limit = all.iter().any(|asked| matches!(asked, Asked::Limit(_)));
            f.write_str(if limit { " over" } else { " not" })?;
        }
        if let [one] = all.as_slice() {
            return write!(f, " {one}");
        }
        for (index, one) in all.iter().enumerate() {
            write!(f, "{}{one}", if index == 0 { " { " } else { ", " })?;
        }
        f.write_str(" }")
    }
}

impl fmt::Display for Asked {
    /// What it must be, without the words that say of what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(Membership { set, .. }) => write!(f, "@{set}"),
            Self::Source(net) | Self::Destination(net) => match net {
                Net::V4(prefix) => prefix.fmt(f),
                Net::V6(prefix) => prefix.fmt(f),
            },
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Flags(flags) => flags.fmt(f),
            Self::Icmp(kind) => kind.fmt(f),
            Self::Dscp(dscp) => dscp.fmt(f),
            Self::Vlan(id) => id.number().fmt(f),
            Self::Length(range) => range.fmt(f),
            Self::Mark(mark) => mark.fmt(f),
            Self::EtherFrom(mac) | Self::EtherTo(mac) => mac.fmt(f),
            Self::On(name) => name.fmt(f),
            Self::Limit(limit) => limit.fmt(f),
        }
    }
}
