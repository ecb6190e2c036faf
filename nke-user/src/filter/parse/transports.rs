//! What packets carry: protocols with ports, flags of TCP and messages of ICMP.

use super::super::cursor::{Cursor, Said};
use super::super::further::{Asked, Test};
use super::super::options::Options;
use super::super::parse_error::{ParseError, Problem};
use super::super::rule::{PortProtocol, PortRange, Protocol, Transport};
use super::super::{hint, names};
use super::{is_number, within_capacity};

/// The protocols that are named; or that are not meant.
#[derive(Default)]
pub(super) struct Protocols<'a> {
    pub(super) not: bool,
    pub(super) all: Vec<Said<'a, Protocol>>,
}

impl<'a> Protocols<'a> {
    /// Those that are meant; none where any is, or all but some.
    pub(super) fn named(&self) -> &[Said<'a, Protocol>] {
        if self.not { &[] } else { &self.all }
    }

    /// That it is none of those that are not meant.
    pub(super) fn others(&self) -> Vec<Test> {
        let not = self.all.iter().filter(|_| self.not);
        not.map(|said| Test::not(Asked::Protocol(said.thing)))
            .collect()
    }

    /// Whether this one alone can stand behind it.
    fn may_be(&self, protocol: Protocol) -> bool {
        !self.not && self.all.iter().all(|it| it.thing == protocol)
    }
}

pub(in crate::filter) fn protocol(cursor: &mut Cursor<'_>) -> Result<Protocol, ParseError> {
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

/// Protocols and both ends' ports, each with each.
pub(super) fn transports<'a>(
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
    within_capacity(cursor, [carriers.len(), from.len(), to.len()])?;
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
pub(super) fn messages<'a>(
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
