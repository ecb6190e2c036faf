//! Both ends of packets: `from` and `to`, each with an address and ports.

use super::super::cursor::{Cursor, Said};
use super::super::dialect::Dialect;
use super::super::further::{Side, Test};
use super::super::options::Options;
use super::super::parse_error::{ParseError, Problem};
use super::super::rule::{PortProtocol, PortRange};
use super::super::{hint, names};
use super::{
    hosts::{Choice, Host, Named, all_but, hosts, set_name},
    is_number,
    transports::Protocols,
};

/// The sender's or the receiver's half of a line.
pub(super) struct End<'a> {
    pub(super) hosts: Vec<Said<'a, Choice>>,
    /// Empty if there is nothing about ports but a set of them.
    pub(super) ports: Vec<Said<'a, PortRange>>,
    port_set: Option<Said<'a, Named>>,
}

pub(super) fn end<'a>(
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

/// What is asked of ports in named sets.
pub(super) fn port_sets(
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
