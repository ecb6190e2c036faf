//! A rule on its way from another language: lists of what it matches, which two can be narrowed
//! down to what both match.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::conditions::{Dscp, Fragment, IcmpKind, TcpFlags};
use super::super::further::{self, Asked, Test};
use super::super::rate::Limit;
use super::super::rule::{Action, PortRange, Prefix, Protocol, RuleSet, Way};
use super::super::{ParseError, Problem};

/// Addresses of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Net {
    V4(Prefix<Ipv4Addr>),
    V6(Prefix<Ipv6Addr>),
}

/// What a rule matches. Nothing is whatever there is; a list is any of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matches {
    pub way: Option<Way>,
    pub v6: Option<bool>,
    pub protocols: Option<Vec<Protocol>>,
    pub sources: Option<Vec<Net>>,
    pub destinations: Option<Vec<Net>>,
    pub source_ports: Option<Vec<PortRange>>,
    pub destination_ports: Option<Vec<PortRange>>,
    pub flags: Option<TcpFlags>,
    pub icmp: Option<Vec<IcmpKind>>,
    pub fragment: Option<Fragment>,
    pub dscp: Option<Vec<Dscp>>,
    /// What else is asked: all of it together.
    pub tests: Vec<Test>,
}

/// A line of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub action: Action,
    pub log: bool,
    pub matches: Matches,
}

impl Matches {
    /// Asks for these addresses. Every address of a family is that family, and no more.
    pub(super) fn nets(&mut self, source: bool, nets: Vec<Net>) {
        if let Some(all) = nets.iter().find(|net| net.is_all()) {
            self.v6 = Some(all.is_v6());
            return;
        }
        let end = if source {
            &mut self.sources
        } else {
            &mut self.destinations
        };
        *end = Some(nets);
    }

    /// Whether no line can say it: two things of it are asked that a line has one place for, or what no packet is.
    pub(super) fn is_crowded(&self) -> bool {
        let asks = |is: fn(&Asked) -> bool| self.tests.iter().filter(move |test| is(&test.what));
        // Packets come by one interface.
        let on = asks(|it| matches!(it, Asked::On(_)));
        let two = on.clone().count() > 1 && on.clone().any(|test| !test.not);
        let kinds: [fn(&Asked) -> bool; 3] = [
            |it| matches!(it, Asked::Protocol(_)),
            |it| matches!(it, Asked::Source(_)),
            |it| matches!(it, Asked::Destination(_)),
        ];
        let ends = [
            self.protocols.is_some(),
            self.sources.is_some(),
            self.destinations.is_some(),
        ];
        let both = kinds
            .iter()
            .zip(ends)
            .any(|(is, said)| said && asks(*is).next().is_some());
        // Of what stands behind, all must be so, or all not; and only one of what must be so.
        let mixed = self.tests.iter().enumerate().any(|(index, one)| {
            let same = |other: &&Test| {
                other.what.option() == one.what.option() && one.what.option().is_some()
            };
            let mut others = self.tests[index + 1..].iter().filter(same);
            others.any(|other| !(one.not && other.not) || matches!(one.what, Asked::Limit(_)))
        });
        both || mixed || two || !self.is_rule()
    }

    /// Whether it stands for several rules that would each have a limit for itself, which it has once. Sources are of
    /// one family, and each has it for itself in any case.
    pub(super) fn shares_limit(&self, both_families: bool) -> bool {
        self.limit().is_some_and(|limit| {
            self.rules() != Some(1) || both_families && limit.sources().is_none()
        })
    }

    /// The limit that it has.
    pub(super) fn limit(&self) -> Option<&Limit> {
        self.tests.iter().find_map(|test| {
            let Asked::Limit(limit) = &test.what else {
                return None;
            };
            Some(limit)
        })
    }

    /// Whether a rule can be of it: the other tool may have said what no packet is, such as flags of TCP in ICMP.
    fn is_rule(&self) -> bool {
        let many = |error: ParseError| matches!(error.problem, Problem::TooMany { .. });
        self.read().map_or_else(many, |_| true)
    }

    /// How many rules it stands for, if they are not too many.
    fn rules(&self) -> Option<usize> {
        self.read().ok().map(|read| read.rules.len())
    }

    fn read(&self) -> Result<RuleSet, ParseError> {
        let line = Line {
            action: Action::Drop,
            log: false,
            matches: self.clone(),
        };
        line.to_string().parse()
    }

    /// Protocol, addresses and ports, each with a blank in front.
    fn fmt_ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocols,
            sources,
            destinations,
            source_ports,
            destination_ports,
            tests,
            ..
        } = self;
        let said = |is: fn(&Asked) -> bool| further::List::of_tests(tests, is);
        match (protocols, said(|it| matches!(it, Asked::Protocol(_)))) {
            (Some(protocols), _) => write!(f, " proto {}", List(protocols))?,
            (None, Some(not)) => write!(f, " proto{not}")?,
            (None, None) => {}
        }
        let not_from = said(|it| matches!(it, Asked::Source(_)));
        let not_to = said(|it| matches!(it, Asked::Destination(_)));
        for (word, nets, not, ports) in [
            ("from", sources, not_from, source_ports),
            ("to", destinations, not_to, destination_ports),
        ] {
            match nets {
                Some(nets) => write!(f, " {word} {}", List(nets))?,
                None if not.is_some() => not.map_or(Ok(()), |not| write!(f, " {word}{not}"))?,
                None if ports.is_some() => write!(f, " {word} any")?,
                None => {}
            }
            if let Some(ports) = ports {
                write!(f, " port {}", List(ports))?;
            }
        }
        Ok(())
    }

    /// Whether only IP packets match.
    pub(super) fn only_ip(&self) -> bool {
        let Self {
            way: _,
            v6,
            protocols,
            sources,
            destinations,
            source_ports,
            destination_ports,
            flags,
            icmp,
            fragment,
            dscp,
            tests,
        } = self;
        let of_ip = |test: &Test| {
            matches!(
                test.what,
                Asked::Source(_)
                    | Asked::Destination(_)
                    | Asked::Protocol(_)
                    | Asked::Flags(_)
                    | Asked::Icmp(_)
                    | Asked::Dscp(_)
            )
        };
        tests.iter().any(of_ip)
            || v6.is_some()
            || flags.is_some()
            || icmp.is_some()
            || fragment.is_some()
            || dscp.is_some()
            || protocols.is_some()
            || sources.is_some()
            || destinations.is_some()
            || source_ports.is_some()
            || destination_ports.is_some()
    }

    /// What both match; nothing if that is nothing.
    pub(super) fn narrowed(&self, by: &Self) -> Option<Self> {
        let way = one_of(self.way, by.way)?;
        let v6 = one_of(self.v6, by.v6)?;
        let of_family = |nets: &Option<Vec<Net>>| {
            let nets = nets.as_ref();
            nets.is_none_or(|nets| nets.iter().all(|net| v6.is_none_or(|v6| net.is_v6() == v6)))
        };
        let narrowed = Self {
            way,
            v6,
            protocols: common(&self.protocols, &by.protocols, |a, b| {
                (a == b).then_some(*a)
            })?,
            sources: common(&self.sources, &by.sources, Net::common)?,
            destinations: common(&self.destinations, &by.destinations, Net::common)?,
            source_ports: common(&self.source_ports, &by.source_ports, overlap)?,
            destination_ports: common(&self.destination_ports, &by.destination_ports, overlap)?,
            flags: match (self.flags, by.flags) {
                (Some(one), Some(other)) => Some(one.and(other)?),
                (one, other) => one.or(other),
            },
            icmp: common(&self.icmp, &by.icmp, |a, b| (a == b).then_some(*a))?,
            fragment: one_of(self.fragment, by.fragment)?,
            dscp: common(&self.dscp, &by.dscp, |a, b| (a == b).then_some(*a))?,
            tests: [self.tests.as_slice(), &by.tests].concat(),
        };
        (of_family(&narrowed.sources) && of_family(&narrowed.destinations)).then_some(narrowed)
    }
}

/// What is wanted by both, or by the only one that wants something; nothing if they disagree.
fn one_of<T: Copy + PartialEq>(one: Option<T>, other: Option<T>) -> Option<Option<T>> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => Some(one.or(other)),
    }
}

fn common<T: Clone>(
    one: &Option<Vec<T>>,
    other: &Option<Vec<T>>,
    both: impl Fn(&T, &T) -> Option<T>,
) -> Option<Option<Vec<T>>> {
    let (Some(one), Some(other)) = (one, other) else {
        return Some(one.clone().or_else(|| other.clone()));
    };
    let pairs = one
        .iter()
        .flat_map(|a| other.iter().filter_map(|b| both(a, b)));
    let pairs: Vec<_> = pairs.collect();
    (!pairs.is_empty()).then_some(Some(pairs))
}

fn overlap(one: &PortRange, other: &PortRange) -> Option<PortRange> {
    PortRange::new(one.first().max(other.first()), one.last().min(other.last()))
}

impl Net {
    /// The addresses of this length. Nothing if it is too long.
    pub(super) fn new(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Prefix::<Ipv4Addr>::new(address, length).map(Self::V4),
            IpAddr::V6(address) => Prefix::<Ipv6Addr>::new(address, length).map(Self::V6),
        }
    }

    /// `10.0.0.1`, `10.0.0.0/8` or `10.0.0.0/255.0.0.0`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some((address, length)) = text.split_once('/') else {
            let address: IpAddr = text.parse().ok()?;
            return Self::new(address, if address.is_ipv4() { 32 } else { 128 });
        };
        let address = address.parse().ok()?;
        if let Ok(length) = length.parse() {
            return Self::new(address, length);
        }
        match (address, length.parse().ok()?) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => {
                Prefix::<Ipv4Addr>::with_mask(address, mask).map(Self::V4)
            }
            (IpAddr::V6(address), IpAddr::V6(mask)) => {
                Prefix::<Ipv6Addr>::with_mask(address, mask).map(Self::V6)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The prefixes that a range of addresses is made of. Nothing if it is none.
    pub(super) fn range(first: IpAddr, last: IpAddr) -> Option<Vec<Self>> {
        let (first, last, bits) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (first.to_bits().into(), last.to_bits().into(), 32)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let (mut first, mut nets): (u128, Vec<Self>) = (first, Vec::new());
        while first <= last {
            // The largest block that begins here and does not end behind the last.
            let mut size = first.trailing_zeros().min(bits);
            let end = |size: u32| first | 1u128.checked_shl(size).map_or(u128::MAX, |it| it - 1);
            while end(size) > last {
                size -= 1;
            }
            let address = if bits == 32 {
                Ipv4Addr::from_bits(u32::try_from(first).ok()?).into()
            } else {
                Ipv6Addr::from_bits(first).into()
            };
            nets.push(Self::new(address, u8::try_from(bits - size).ok()?)?);
            match end(size).checked_add(1) {
                Some(next) => first = next,
                None => break,
            }
        }
        (!nets.is_empty()).then_some(nets)
    }

    pub(super) const fn is_v6(self) -> bool {
        matches!(self, Self::V6(_))
    }

    pub(super) const fn is_all(&self) -> bool {
        match self {
            Self::V4(prefix) => prefix.length() == 0,
            Self::V6(prefix) => prefix.length() == 0,
        }
    }

    fn common(&self, other: &Self) -> Option<Self> {
        match (*self, *other) {
            (Self::V4(a), Self::V4(b)) => {
                let (wide, narrow) = if a.length() <= b.length() {
                    (a, b)
                } else {
                    (b, a)
                };
                wide.contains(narrow.address()).then_some(Self::V4(narrow))
            }
            (Self::V6(a), Self::V6(b)) => {
                let (wide, narrow) = if a.length() <= b.length() {
                    (a, b)
                } else {
                    (b, a)
                };
                wide.contains(narrow.address()).then_some(Self::V6(narrow))
            }
            (Self::V4(_), Self::V6(_)) | (Self::V6(_), Self::V4(_)) => None,
        }
    }
}

impl From<Net> for further::Net {
    fn from(net: Net) -> Self {
        match net {
            Net::V4(prefix) => Self::V4(prefix),
            Net::V6(prefix) => Self::V6(prefix),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(prefix) => prefix.fmt(f),
            Self::V6(prefix) => prefix.fmt(f),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            log,
            matches,
        } = self;
        let Matches {
            way,
            v6,
            protocols: _,
            sources,
            destinations,
            source_ports: _,
            destination_ports: _,
            flags,
            icmp,
            fragment,
            dscp,
            tests,
        } = matches;
        write!(f, "{action}")?;
        if let Some(way) = way {
            write!(f, " {way}")?;
        }
        if *log {
            f.write_str(" log")?;
        }
        if let Some(on) = further::List::of_tests(tests, |it| matches!(it, Asked::On(_))) {
            write!(f, " on{on}")?;
        }
        if let Some(v6) = v6
            && sources.is_none()
            && destinations.is_none()
            && !tests
                .iter()
                .any(|test| matches!(test.what, Asked::Source(_) | Asked::Destination(_)))
        {
            f.write_str(if *v6 { " inet6" } else { " inet" })?;
        }
        matches.fmt_ends(f)?;
        if let Some(flags) = flags {
            write!(f, " flags {flags}")?;
        }
        if let Some(icmp) = icmp {
            let v6 = icmp.iter().any(|kind| kind.v6);
            let word = if v6 { "icmp6-type" } else { "icmp-type" };
            write!(f, " {word} {}", List(icmp))?;
        }
        if let Some(fragment) = fragment {
            write!(f, " {fragment}")?;
        }
        if let Some(dscp) = dscp {
            write!(f, " dscp {}", List(dscp))?;
        }
        further::fmt_options(tests, f)
    }
}

/// `a`, or `{ a, b }`.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0 {
            return one.fmt(f);
        }
        for (index, one) in self.0.iter().enumerate() {
            write!(f, "{} {one}", if index == 0 { "{" } else { "," })?;
        }
        f.write_str(" }")
    }
}
