//! Where packets come from, or go to: addresses, the host's own and named sets, one or a list of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::cursor::{Cursor, Said};
use super::super::further::{Asked, Membership, Net, Side, Test};
use super::super::hint;
use super::super::parse_error::{ParseError, Problem};
use super::super::rule::{Addresses, Prefix};
use super::super::set::{NoSetName, SetName};
use super::{is_number, within_capacity};

/// The family of a rule that says it without an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy)]
pub(super) enum Host {
    Any,
    V4(Prefix<Ipv4Addr>),
    V6(Prefix<Ipv6Addr>),
    /// One of the host's own addresses; not in rules of the other family.
    Own(IpAddr),
    /// All addresses, where some of the host's own are excepted; not in rules of the other family.
    OwnV4,
    /// The same of IPv6.
    OwnV6,
    /// Those in a named set, of both families.
    Set(SetName),
}

impl From<Host> for Choice {
    fn from(host: Host) -> Self {
        let set = |set| Named { set, not: false };
        let (host, sets) = if let Host::Set(name) = host {
            (Host::Any, vec![set(name)])
        } else {
            (host, Vec::new())
        };
        let not = Vec::new();
        Self { host, not, sets }
    }
}

/// An address that is asked for, and what it must not be.
pub(super) struct Choice {
    host: Host,
    not: Vec<Net>,
    sets: Vec<Named>,
}

/// A named set that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) set: SetName,
    pub(super) not: bool,
}

impl Named {
    pub(super) fn test(self, side: Side, port: bool) -> Test {
        let Self { set, not } = self;
        let what = Asked::In(Membership { side, port, set });
        Test { what, not }
    }
}

/// A named set: `@` and its name.
pub(super) fn set_name(cursor: &mut Cursor<'_>) -> Result<SetName, ParseError> {
    cursor.thing(
        "a set, `@` and its name",
        |_| None,
        |text| {
            let name = text.strip_prefix('@')?;
            Some(name.parse().map_err(|NoSetName| Problem::SetName))
        },
    )
}

/// Addresses, with the host's own in the place of `self`.
pub(super) fn hosts<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Said<'a, Host>>, ParseError> {
    let said = cursor.list(|cursor| {
        if cursor.keyword("self") {
            return Ok(None);
        }
        host(cursor).map(Some)
    })?;
    let mut all = Vec::with_capacity(said.len());
    for Said { thing, word } in said {
        match thing {
            Some(thing) => all.push(Said { thing, word }),
            None if cursor.own.is_empty() => {
                return Err(cursor.problem(Problem::NoSelf, word, None));
            }
            None => all.extend(cursor.own.iter().map(|address| Said {
                thing: Host::Own(*address),
                word,
            })),
        }
    }
    Ok(all)
}

/// All addresses but these, of each family of which some are named.
pub(super) fn all_but<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Said<'a, Choice>>, ParseError> {
    let named = hosts(cursor)?;
    let first = named.first().and_then(|said| said.word);
    let mut left: Vec<Said<'a, Choice>> = Vec::new();
    let mut sets = Vec::new();
    for Said { thing, word } in named {
        let (host, net) = match thing {
            Host::V4(prefix) => (Host::V4(Prefix::<Ipv4Addr>::ANY), Net::V4(prefix)),
            Host::V6(prefix) => (Host::V6(Prefix::<Ipv6Addr>::ANY), Net::V6(prefix)),
            Host::Own(IpAddr::V4(own)) => (Host::OwnV4, Net::V4(Prefix::<Ipv4Addr>::one(own))),
            Host::Own(IpAddr::V6(own)) => (Host::OwnV6, Net::V6(Prefix::<Ipv6Addr>::one(own))),
            Host::Set(set) => {
                sets.push(Named { set, not: true });
                continue;
            }
            Host::Any | Host::OwnV4 | Host::OwnV6 => {
                return Err(cursor.problem(Problem::NoAddressLeft, word, None));
            }
        };
        if matches!(
            net,
            Net::V4(Prefix::<Ipv4Addr>::ANY) | Net::V6(Prefix::<Ipv6Addr>::ANY)
        ) {
            return Err(cursor.problem(Problem::NoAddressLeft, word, None));
        }
        let family = |said: &&mut Said<'a, Choice>| said.thing.host.family() == host.family();
        if let Some(said) = left.iter_mut().find(family) {
            said.thing.not.push(net);
        } else {
            let not = vec![net];
            let sets = Vec::new();
            let thing = Choice { host, not, sets };
            left.push(Said { thing, word });
        }
    }
    if left.is_empty() {
        let thing = Choice::from(Host::Any);
        left.push(Said { thing, word: first });
    }
    for said in &mut left {
        said.thing.sets.clone_from(&sets);
    }
    Ok(left)
}

fn host(cursor: &mut Cursor<'_>) -> Result<Host, ParseError> {
    if cursor.keyword("any") {
        return Ok(Host::Any);
    }
    if cursor.begins_with('@') {
        return set_name(cursor).map(Host::Set);
    }
    cursor.thing("an address", hint::for_address, |text| {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        if let Ok(address) = address.parse() {
            let longest = Prefix::<Ipv4Addr>::LONGEST;
            let prefix = Prefix::<Ipv4Addr>::new(address, prefix_length(length, longest));
            return Some(
                prefix
                    .map(Host::V4)
                    .ok_or(Problem::PrefixLength { longest }),
            );
        }
        let longest = Prefix::<Ipv6Addr>::LONGEST;
        let prefix = Prefix::<Ipv6Addr>::new(address.parse().ok()?, prefix_length(length, longest));
        Some(
            prefix
                .map(Host::V6)
                .ok_or(Problem::PrefixLength { longest }),
        )
    })
}

/// The length behind the slash: the longest if there is none, and too long if it is no length.
fn prefix_length(text: Option<&str>, longest: u8) -> u8 {
    let Some(text) = text else {
        return longest;
    };
    text.parse()
        .ok()
        .filter(|_| is_number(text))
        .unwrap_or(u8::MAX)
}

/// Both ends' addresses, each with each.
pub(super) fn addresses<'a>(
    cursor: &Cursor<'a>,
    family: Option<Family>,
    from: &[Said<'a, Choice>],
    to: &[Said<'a, Choice>],
) -> Result<Vec<(Addresses, Vec<Test>)>, ParseError> {
    within_capacity(cursor, [from.len(), to.len()])?;
    let mut all = Vec::with_capacity(from.len() * to.len());
    for source in from {
        'pairs: for destination in to {
            let mut family = family;
            let own = [source, destination].map(|end| end.thing.host.is_own());
            for end in [source, destination] {
                let of = end.thing.host.family();
                if of.is_some() && family.is_some() && of != family {
                    if own.contains(&true) {
                        continue 'pairs;
                    }
                    return Err(cursor.problem(Problem::MixedFamilies, end.word, None));
                }
                family = family.or(of);
            }
            let not_from = source.thing.not.iter().copied().map(Asked::Source);
            let not_to = destination.thing.not.iter().copied();
            let what = not_from.chain(not_to.map(Asked::Destination));
            let from_sets = source.thing.sets.iter();
            let from_sets = from_sets.map(|named| named.test(Side::Source, false));
            let to_sets = destination.thing.sets.iter();
            let to_sets = to_sets.map(|named| named.test(Side::Destination, false));
            let tests = what.map(|what| Test { what, not: true });
            let tests = tests.chain(from_sets).chain(to_sets).collect();
            let (source, destination) = (source.thing.host, destination.thing.host);
            let addresses = match family {
                None => Addresses::Any,
                Some(Family::V4) => Addresses::V4 {
                    source: source.v4(),
                    destination: destination.v4(),
                },
                Some(Family::V6) => Addresses::V6 {
                    source: source.v6(),
                    destination: destination.v6(),
                },
            };
            all.push((addresses, tests));
        }
    }
    // Of all of the host's addresses, none is of the rule's family.
    if all.is_empty() {
        return Err(cursor.problem(Problem::NoSelf, None, None));
    }
    Ok(all)
}

impl Host {
    const fn family(self) -> Option<Family> {
        match self {
            Self::Any | Self::Set(_) => None,
            Self::V4(_) => Some(Family::V4),
            Self::V6(_) => Some(Family::V6),
            Self::Own(IpAddr::V4(_)) | Self::OwnV4 => Some(Family::V4),
            Self::Own(IpAddr::V6(_)) | Self::OwnV6 => Some(Family::V6),
        }
    }

    const fn is_own(self) -> bool {
        matches!(self, Self::Own(_) | Self::OwnV4 | Self::OwnV6)
    }

    const fn v4(self) -> Prefix<Ipv4Addr> {
        match self {
            Self::V4(prefix) => prefix,
            Self::Own(IpAddr::V4(own)) => Prefix::<Ipv4Addr>::one(own),
            Self::Any
            | Self::V6(_)
            | Self::Own(IpAddr::V6(_))
            | Self::OwnV4
            | Self::OwnV6
            | Self::Set(_) => Prefix::<Ipv4Addr>::ANY,
        }
    }

    const fn v6(self) -> Prefix<Ipv6Addr> {
        match self {
            Self::V6(prefix) => prefix,
            Self::Own(IpAddr::V6(own)) => Prefix::<Ipv6Addr>::one(own),
            Self::Any
            | Self::V4(_)
            | Self::Own(IpAddr::V4(_))
            | Self::OwnV4
            | Self::OwnV6
            | Self::Set(_) => Prefix::<Ipv6Addr>::ANY,
        }
    }
}
