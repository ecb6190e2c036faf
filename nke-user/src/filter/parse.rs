//! The language's grammar, by recursive descent (docs/filter-language.md has it in full).
//!
//! A list in braces stands for a rule each, so that one line may be several rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use nke_ebpf::{Refusal, abi::TESTS};

use super::cursor::{Cursor, Said};
use super::dialect::Dialect;
use super::further::{Asked, Membership, Net, Side, Test};
use super::options::{self, Options};
use super::parse_error::{ParseError, Problem};
use super::rule::{
    Action, Addresses, PortProtocol, PortRange, Prefix, Protocol, Rule, Transport, Way,
};
use super::set::{NoSetName, SetName};
use super::{hint, names};

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

/// The family of a rule that says it without an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

#[derive(Clone, Copy)]
enum Host {
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
struct Choice {
    host: Host,
    not: Vec<Net>,
    sets: Vec<Named>,
}

/// A named set that is asked for.
#[derive(Clone, Copy)]
struct Named {
    set: SetName,
    not: bool,
}

impl Named {
    fn test(self, side: Side, port: bool) -> Test {
        let Self { set, not } = self;
        let what = Asked::In(Membership { side, port, set });
        Test { what, not }
    }
}

/// The sender's or the receiver's half of a line.
struct End<'a> {
    hosts: Vec<Said<'a, Choice>>,
    /// Empty if there is nothing about ports but a set of them.
    ports: Vec<Said<'a, PortRange>>,
    port_set: Option<Said<'a, Named>>,
}

/// The protocols that are named; or that are not meant.
#[derive(Default)]
struct Protocols<'a> {
    not: bool,
    all: Vec<Said<'a, Protocol>>,
}

impl<'a> Protocols<'a> {
    /// Those that are meant; none where any is, or all but some.
    fn named(&self) -> &[Said<'a, Protocol>] {
        if self.not { &[] } else { &self.all }
    }

    /// That it is none of those that are not meant.
    fn others(&self) -> Vec<Test> {
        let not = self.all.iter().filter(|_| self.not);
        not.map(|said| Test::not(Asked::Protocol(said.thing)))
            .collect()
    }

    /// Whether this one alone can stand behind it.
    fn may_be(&self, protocol: Protocol) -> bool {
        !self.not && self.all.iter().all(|it| it.thing == protocol)
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
    within_capacity(cursor, &factors)?;
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

fn end<'a>(
    word: &'static str,
    wanted: bool,
    cursor: &mut Cursor<'a>,
) -> Result<End<'a>, ParseError> {
    let hosts = if !wanted || !cursor.keyword(word) {
        vec![Said {
            thing: Host::Any.into(),
            word: None,
        }]
    } else if cursor.keyword("not") {
        all_but(cursor)?
    } else {
        let said = hosts(cursor)?.into_iter();
        said.map(|Said { thing, word }| Said {
            thing: thing.into(),
            word,
        })
        .collect()
    };
    // A call has one end, so that its port needs no address in front to tell whose it is.
    let said = hosts.iter().any(|host| host.word.is_some());
    let mut end = End {
        hosts,
        ports: Vec::new(),
        port_set: None,
    };
    let may = wanted && (said || cursor.dialect == Dialect::Calls);
    if may && cursor.keyword("port") {
        let not = cursor.keyword("not");
        if cursor.begins_with('@') {
            let said = cursor.said(set_name)?;
            end.port_set = Some(Said {
                thing: Named {
                    set: said.thing,
                    not,
                },
                word: said.word,
            });
        } else {
            end.ports = ports(cursor, not)?;
        }
    }
    Ok(end)
}

/// A named set: `@` and its name.
fn set_name(cursor: &mut Cursor<'_>) -> Result<SetName, ParseError> {
    cursor.thing(
        "a set, `@` and its name",
        |_| None,
        |text| {
            let name = text.strip_prefix('@')?;
            Some(name.parse().map_err(|NoSetName| Problem::SetName))
        },
    )
}

/// What is asked of ports in named sets.
fn port_sets(
    cursor: &Cursor<'_>,
    protocols: &Protocols<'_>,
    from: &End<'_>,
    to: &End<'_>,
    options: &Options<'_>,
) -> Result<Vec<Test>, ParseError> {
    let ends = [(Side::Source, from), (Side::Destination, to)];
    let sets = ends.into_iter();
    let sets = sets.filter_map(|(side, end)| Some((side, end.port_set?)));
    let mut tests = Vec::new();
    for (side, Said { thing, word }) in sets {
        let portless = protocols
            .named()
            .iter()
            .map(|said| said.thing)
            .find(|protocol| PortProtocol::try_from(*protocol).is_err());
        if let Some(protocol) = portless {
            return Err(cursor.problem(Problem::NoPorts { protocol }, word, None));
        }
        if let Some(kind) = options.icmp.first() {
            let protocol = kind.thing.protocol();
            return Err(cursor.problem(Problem::NoPorts { protocol }, word, None));
        }
        tests.push(thing.test(side, true));
    }
    Ok(tests)
}

pub(super) fn protocol(cursor: &mut Cursor<'_>) -> Result<Protocol, ParseError> {
    cursor.thing(
        "a protocol, by name or number",
        hint::for_protocol,
        |text| {
            let known = names::protocol(text).map(Ok);
            let number =
                is_number(text).then(|| text.parse().map_err(|_| Problem::ProtocolTooHigh));
            known.or(number).map(|number| number.map(Protocol))
        },
    )
}

/// Ports, or with `not` all the others.
fn ports<'a>(cursor: &mut Cursor<'a>, not: bool) -> Result<Vec<Said<'a, PortRange>>, ParseError> {
    if !not {
        return cursor.list(port);
    }
    let named = cursor.list(port)?;
    let word = named.first().and_then(|said| said.word);
    let ranges: Vec<_> = named.iter().map(|said| said.thing).collect();
    let left = PortRange::all_but(&ranges);
    if left.is_empty() {
        return Err(cursor.problem(Problem::NoPortLeft, word, None));
    }
    let said = |thing| Said { thing, word };
    Ok(left.into_iter().map(said).collect())
}

fn port(cursor: &mut Cursor<'_>) -> Result<PortRange, ParseError> {
    cursor.thing(
        "a port, by name or number, or a range of them",
        hint::for_port,
        |text| {
            if let Some(port) = names::port(text) {
                return Some(Ok(PortRange::one(port)));
            }
            let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
            let range = match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) => {
                    PortRange::new(first, last).ok_or(Problem::PortsReversed { first, last })
                }
                _ => Err(Problem::PortTooHigh),
            };
            (is_number(first) && is_number(last)).then_some(range)
        },
    )
}

/// Addresses, with the host's own in the place of `self`.
fn hosts<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Said<'a, Host>>, ParseError> {
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
fn all_but<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Said<'a, Choice>>, ParseError> {
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
fn addresses<'a>(
    cursor: &Cursor<'a>,
    family: Option<Family>,
    from: &[Said<'a, Choice>],
    to: &[Said<'a, Choice>],
) -> Result<Vec<(Addresses, Vec<Test>)>, ParseError> {
    within_capacity(cursor, &[from.len(), to.len()])?;
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

/// Protocols and both ends' ports, each with each.
fn transports<'a>(
    cursor: &Cursor<'a>,
    protocols: &Protocols<'a>,
    from: &[Said<'a, PortRange>],
    to: &[Said<'a, PortRange>],
    options: &Options<'a>,
) -> Result<Vec<Transport>, ParseError> {
    if let Some(flags) = options.flags
        && !protocols.may_be(TCP)
    {
        let needed = Problem::OnlyOf {
            field: "flags",
            protocol: TCP,
        };
        return Err(cursor.problem(needed, flags.word, None));
    }
    let port = from.first().or(to.first()).and_then(|said| said.word);
    // What the flags must not be is a test of any segment.
    let flags = options.flags.filter(|_| !options.not_flags);
    let tcp = options.flags.map(|said| Said {
        thing: TCP,
        word: said.word,
    });
    let named = match tcp.as_slice() {
        [] => protocols.named(),
        tcp => tcp,
    };
    if port.is_none() && flags.is_none() {
        let each = named.iter().map(|said| Transport::Protocol(said.thing));
        return Ok(if named.is_empty() {
            vec![Transport::Any]
        } else {
            each.collect()
        });
    }
    let mut carriers = Vec::new();
    for said in named {
        let carrier = PortProtocol::try_from(said.thing)
            .map_err(|protocol| cursor.problem(Problem::NoPorts { protocol }, port, None))?;
        carriers.push(Some(carrier));
    }
    if carriers.is_empty() {
        carriers.push(None);
    }
    let or_all = |ports: &[Said<'a, PortRange>]| match ports {
        [] => vec![PortRange::ALL],
        ports => ports.iter().map(|said| said.thing).collect(),
    };
    let (from, to) = (or_all(from), or_all(to));
    within_capacity(cursor, &[carriers.len(), from.len(), to.len()])?;
    let mut all = Vec::with_capacity(carriers.len() * from.len() * to.len());
    for protocol in carriers {
        for &source in &from {
            let one = |&destination| match flags {
                None => Transport::Ports {
                    protocol,
                    source,
                    destination,
                },
                Some(flags) => Transport::Tcp {
                    source,
                    destination,
                    flags: flags.thing,
                },
            };
            all.extend(to.iter().map(one));
        }
    }
    Ok(all)
}

const TCP: Protocol = PortProtocol::Tcp.protocol();

/// Messages of ICMP.
fn messages<'a>(
    cursor: &Cursor<'a>,
    protocols: &Protocols<'a>,
    from: &[Said<'a, PortRange>],
    to: &[Said<'a, PortRange>],
    options: &Options<'a>,
) -> Result<Vec<Transport>, ParseError> {
    let mut all = Vec::with_capacity(options.icmp.len());
    for said in &options.icmp {
        let protocol = said.thing.protocol();
        if !protocols.may_be(protocol) {
            let field = "this type";
            let needed = Problem::OnlyOf { field, protocol };
            return Err(cursor.problem(needed, said.word, None));
        }
        if let Some(port) = from.first().or(to.first()) {
            return Err(cursor.problem(Problem::NoPorts { protocol }, port.word, None));
        }
        if let Some(flags) = options.flags {
            let needed = Problem::OnlyOf {
                field: "flags",
                protocol: TCP,
            };
            return Err(cursor.problem(needed, flags.word, None));
        }
        all.push(if options.not_icmp {
            Transport::Protocol(protocol)
        } else {
            Transport::Icmp(said.thing)
        });
    }
    all.dedup();
    Ok(all)
}

/// A handful of lists can stand for more rules than there is memory.
pub(super) fn within_capacity(cursor: &Cursor<'_>, factors: &[usize]) -> Result<(), ParseError> {
    let rules = factors
        .iter()
        .fold(1, |all: usize, factor| all.saturating_mul((*factor).max(1)));
    if rules <= MOST {
        return Ok(());
    }
    Err(cursor.problem(Problem::TooMany { rules }, None, None))
}

/// How many rules a line can stand for: more are a slip.
const MOST: usize = 1024;

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

/// Only digits: `parse` alone would take a sign as well.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
