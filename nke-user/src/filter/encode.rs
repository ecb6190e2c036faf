//! A rule as the kernel side compares it, and back.
//!
//! The kernel's form is masks and values: it says what is compared, not what was meant. Still,
//! every rule has exactly one such form, and it can be read back from it; so that the kernel can
//! be asked what is in force, and nothing else need be remembered.

use std::net::{Ipv4Addr, Ipv6Addr};

use nke_ebpf::Refusal;
use nke_ebpf::abi::{self, Ends, PORT_GUARD, facts};

use super::conditions::{Bits, Conditions, IcmpKind, TcpFlags};
use super::expression::{
    Expression,
    page::{self, Page},
};
use super::further::{Asked, Mark, Test};
use super::interface_name::InterfaceName;
use super::rule::{
    Action, Addresses, PortProtocol, PortRange, Prefix, Protocol, Rule, RuleSet, Transport, Way,
};

/// The kernel's form of rules whose expressions lie in this page, and of the tests of all of them, one
/// behind the other.
pub(super) fn encode_all(
    rules: &[Rule],
    expressions: &Page<'_>,
) -> (Vec<abi::Rule>, Vec<abi::Test>) {
    let (mut encoded, mut tests) = (Vec::with_capacity(rules.len()), Vec::new());
    for (number, rule) in (1..).zip(rules) {
        let mut rule_encoded = encode(rule, number);
        if rule_encoded.extra != 0 {
            rule_encoded.listed = u32::try_from(tests.len()).unwrap_or(u32::MAX);
        }
        encoded.push(rule_encoded);
        tests.extend(encode_tests(rule, expressions));
    }
    (encoded, tests)
}

/// The kernel's form of a rule's tests, with its expression in this page; in front what its action needs, and last a limit.
pub(super) fn encode_tests<'a>(
    rule: &'a Rule,
    expressions: &'a Page<'_>,
) -> impl Iterator<Item = abi::Test> + 'a {
    let is_limit = |test: &&Test| matches!(test.what, Asked::Limit(_));
    let others = rule.tests.iter().filter(move |test| !is_limit(test));
    let limit = rule.tests.iter().filter(is_limit);
    let expression = rule.expression.iter().map(|it| expressions.test(it));
    let tests = front(rule).into_iter().chain(others.map(Test::encode));
    tests.chain(expression).chain(limit.map(Test::encode))
}

/// What stands in front of a rule's tests, if its action needs it.
fn front(rule: &Rule) -> Option<abi::Test> {
    let nothing = abi::Test::masked(0, [0; 2], [0; 2]);
    match rule.action {
        Action::Pass | Action::Drop | Action::Reject(_) if rule.sample == 1 => None,
        Action::Pass | Action::Drop | Action::Reject(_) => Some(abi::Test {
            kind: abi::Test::SAMPLE,
            first: [rule.sample.into(), 0],
            ..nothing
        }),
        Action::Redirect(name) => Some(name.redirect(rule.sample)),
        Action::Count => Some(abi::Test {
            kind: abi::Test::NOTHING,
            ..nothing
        }),
        Action::Mark(mark) => Some(mark.encode()),
    }
}

/// The action that the front of a rule's tests says, and one of how many is logged; and the tests behind.
fn decode_front(outcome: u32, tests: &[abi::Test]) -> Option<(Action, u32, &[abi::Test])> {
    if outcome & (abi::Rule::GO_ON | abi::Rule::SAMPLED | abi::Rule::REDIRECT) == 0 {
        return Some((action(outcome), 1, tests));
    }
    let (front, behind) = tests.split_first()?;
    match front.kind {
        abi::Test::NOTHING => Some((Action::Count, 1, behind)),
        abi::Test::SET_MARK => Some((Action::Mark(Mark::decode(front)?), 1, behind)),
        abi::Test::SAMPLE => Some((action(outcome), u32::try_from(front.first[0]).ok()?, behind)),
        abi::Test::REDIRECT => {
            let name = InterfaceName::decode(front)?;
            let sample = u32::try_from(front.first[0]).ok()?;
            Some((Action::Redirect(name), sample, behind))
        }
        _ => None,
    }
}

/// The kernel's form of the rule of this number, without its tests: only how many they are.
pub(super) fn encode(rule: &Rule, number: u32) -> abi::Rule {
    let Rule {
        action,
        way,
        log,
        sample,
        addresses,
        transport,
        conditions,
        tests,
        expression,
        keep_state,
    } = rule;
    let beside = [front(rule).is_some(), expression.is_some()].map(usize::from);
    let count = tests.len() + beside.iter().sum::<usize>();
    let mut encoded = abi::Rule {
        number,
        extra: abi::Test::extra(0, u32::try_from(count).unwrap_or(u32::MAX)),
        outcome: outcome(*action),
        ..abi::Rule::ANY
    };
    let asks_one_set = count == 1 && rule.memberships().count() == 1;
    if count > 0 && !asks_one_set {
        encoded.outcome |= abi::Rule::CASE;
    }
    if *log {
        encoded.outcome |= abi::Rule::LOG;
    }
    if *sample != 1 {
        encoded.outcome |= abi::Rule::SAMPLED;
    }
    if *keep_state {
        encoded.outcome |= abi::Rule::KEEP_STATE;
    }
    if let Some(way) = way {
        let fact = fact(*way);
        demand(&mut encoded, fact, fact);
    }
    let pair = match addresses {
        Addresses::Any => None,
        Addresses::Arp => {
            demand(&mut encoded, facts::ARP, facts::ARP);
            None
        }
        Addresses::V4 {
            source,
            destination,
        } => {
            demand(&mut encoded, facts::V4, facts::V4);
            Some((words_v4(source), words_v4(destination)))
        }
        Addresses::V6 {
            source,
            destination,
        } => {
            demand(&mut encoded, facts::V6, facts::V6);
            Some((words_v6(source), words_v6(destination)))
        }
    };
    if let Some((source, destination)) = pair {
        (encoded.front, encoded.back) = ends(source, destination);
    }
    demand_transport(&mut encoded, transport);
    demand_bits(&mut encoded, conditions.bits());
    for test in tests {
        let known = test.what.demands();
        demand(&mut encoded, known, known);
    }
    encoded
}

fn demand_transport(encoded: &mut abi::Rule, transport: &Transport) {
    match transport {
        Transport::Any => {}
        Transport::Protocol(protocol) => demand_protocol(encoded, *protocol),
        Transport::Ports {
            protocol,
            source,
            destination,
        } => {
            if let Some(protocol) = protocol {
                demand_protocol(encoded, protocol.protocol());
            }
            demand_ports(encoded, source, destination);
        }
        Transport::Tcp {
            source,
            destination,
            flags,
        } => {
            demand_protocol(encoded, PortProtocol::Tcp.protocol());
            demand_ports(encoded, source, destination);
            demand_bits(encoded, flags.bits());
        }
        Transport::Icmp(kind) => {
            demand_protocol(encoded, kind.protocol());
            demand_bits(encoded, kind.bits());
        }
    }
}

/// The kernel's form of a default, which also says whether packets must be read further.
pub(super) fn default_outcome(RuleSet { default, rules }: &RuleSet) -> u32 {
    let asks = |rule: &Rule| encode(rule, 0).facts_mask & facts::MORE != 0;
    let more = if rules.iter().any(asks) {
        abi::Rule::ASKS_MORE
    } else {
        0
    };
    let tests = if rules.iter().any(asks_tests) {
        abi::Rule::ASKS_TESTS
    } else {
        0
    };
    outcome(*default) | more | tests
}

/// Whether something is read of packets for a rule's tests, or for its action.
const fn asks_tests(rule: &Rule) -> bool {
    let marks = matches!(rule.action, Action::Mark(_));
    marks || !rule.tests.is_empty() || rule.expression.is_some()
}

/// The kernel's form of an action.
pub(super) const fn outcome(action: Action) -> u32 {
    match action {
        Action::Pass => 0,
        Action::Drop => abi::Rule::DROP,
        Action::Reject(refusal) => {
            let refusal = (refusal as u32) << abi::Rule::REFUSAL_SHIFT;
            abi::Rule::DROP | abi::Rule::REJECT | refusal
        }
        Action::Redirect(_) => abi::Rule::DROP | abi::Rule::REDIRECT,
        Action::Count | Action::Mark(_) => abi::Rule::GO_ON,
    }
}

/// The action that decides of which this is the kernel's form.
pub(super) const fn action(outcome: u32) -> Action {
    if outcome & abi::Rule::DROP == 0 {
        Action::Pass
    } else if outcome & abi::Rule::REJECT == 0 {
        Action::Drop
    } else {
        let refusal = (outcome & abi::Rule::REFUSAL) >> abi::Rule::REFUSAL_SHIFT;
        Action::Reject(Refusal::of(refusal))
    }
}

/// The rule of which this is the kernel's form, and these that of its tests; nothing if they are of none.
/// `expressions` has those of the rule set.
pub(super) fn decode(
    encoded: &abi::Rule,
    tests: &[abi::Test],
    expressions: &[Expression],
) -> Option<Rule> {
    let wanted = |fact: u64| encoded.facts_mask & fact != 0;
    let ways = [Way::In, Way::Out, Way::Connect, Way::Sendmsg, Way::Bind];
    // One at most: the comparison at the end refuses a rule that says more.
    let way = ways.into_iter().find(|way| wanted(fact(*way)));
    let (source, destination) = halves(encoded);
    let addresses = match (wanted(facts::V4), wanted(facts::V6)) {
        (false, false) if wanted(facts::ARP) => Addresses::Arp,
        (false, false) => Addresses::Any,
        (true, false) => Addresses::V4 {
            source: prefix_v4(source)?,
            destination: prefix_v4(destination)?,
        },
        (false, true) => Addresses::V6 {
            source: prefix_v6(source)?,
            destination: prefix_v6(destination)?,
        },
        (true, true) => return None,
    };
    let number = (encoded.facts & facts::PROTOCOL_MASK) >> facts::PROTOCOL_SHIFT;
    // Tests may want it to be known, whatever it is.
    let protocol = match wanted(facts::PROTOCOL_MASK) {
        true => Some(Protocol(u8::try_from(number).ok()?)),
        false => None,
    };
    let transport = transport(encoded, protocol)?;
    let (action, sample, tests) = decode_front(encoded.outcome, tests)?;
    let limits = tests.iter().rev();
    let limits = limits.take_while(|test| test.is_limit());
    let (mut tests, limit) = tests.split_at(tests.len() - limits.count());
    let mut expression = None;
    if let Some((last, others)) = tests.split_last()
        && let Some(number) = page::number(last)
    {
        expression = Some(expressions.get(number)?.clone());
        tests = others;
    }
    let tests = tests.iter().chain(limit);
    let tests = tests.map(|test| Test::decode(test, &addresses, protocol));
    let tests = tests.collect::<Option<_>>()?;
    let rule = Rule {
        action,
        way,
        log: encoded.outcome & abi::Rule::LOG != 0,
        sample,
        addresses,
        transport,
        conditions: Conditions::of_bits(Bits {
            mask: encoded.facts_mask,
            value: encoded.facts,
        }),
        tests,
        expression,
        keep_state: encoded.outcome & abi::Rule::KEEP_STATE != 0,
    };
    let again = abi::Rule {
        listed: encoded.listed,
        ..encode(&rule, encoded.number)
    };
    // Whatever else it says (bits of a later version), this is not the rule that it is.
    (again == *encoded).then_some(rule)
}

fn transport(encoded: &abi::Rule, protocol: Option<Protocol>) -> Option<Transport> {
    let wanted = |fact: u64| encoded.facts_mask & fact != 0;
    let last_ports = encoded.last_ports & !PORT_GUARD;
    let ports = || {
        let source = range(encoded.first_ports, last_ports)?;
        let destination = range(encoded.first_ports >> 32, last_ports >> 32)?;
        Some((source, destination))
    };
    let detail = Bits {
        mask: encoded.facts_mask & facts::DETAIL_MASK,
        value: encoded.facts & facts::DETAIL_MASK,
    };
    Some(
        match (wanted(facts::PORTS), wanted(facts::DETAIL_MASK), protocol) {
            (false, false, None) => Transport::Any,
            (false, false, Some(protocol)) => Transport::Protocol(protocol),
            (true, false, protocol) => {
                let (source, destination) = ports()?;
                Transport::Ports {
                    protocol: protocol.map(PortProtocol::try_from).transpose().ok()?,
                    source,
                    destination,
                }
            }
            (true, true, _) => {
                let (source, destination) = ports()?;
                Transport::Tcp {
                    source,
                    destination,
                    flags: TcpFlags::of_bits(detail)?,
                }
            }
            (false, true, protocol) => {
                Transport::Icmp(IcmpKind::of_bits(protocol == Some(Protocol(58)), detail))
            }
        },
    )
}

/// What is known of whatever goes this way.
const fn fact(way: Way) -> u64 {
    match way {
        Way::In => facts::IN,
        Way::Out => facts::OUT,
        Way::Connect => facts::CONNECT,
        Way::Sendmsg => facts::SENDMSG,
        Way::Bind => facts::BIND,
    }
}

fn demand(encoded: &mut abi::Rule, mask: u64, value: u64) {
    encoded.facts |= value;
    encoded.facts_mask |= mask;
}

fn demand_bits(encoded: &mut abi::Rule, Bits { mask, value }: Bits) {
    demand(encoded, mask, value);
}

fn demand_ports(encoded: &mut abi::Rule, source: &PortRange, destination: &PortRange) {
    demand(encoded, facts::PORTS, facts::PORTS);
    encoded.first_ports = abi::ports(source.first(), destination.first());
    encoded.last_ports = abi::ports(source.last(), destination.last()) | PORT_GUARD;
}

fn demand_protocol(encoded: &mut abi::Rule, Protocol(number): Protocol) {
    let value = u64::from(number) << facts::PROTOCOL_SHIFT;
    demand(
        encoded,
        facts::PROTOCOL | facts::PROTOCOL_MASK,
        facts::PROTOCOL | value,
    );
}

/// An address and its mask.
pub(super) type Words = ([u64; 2], [u64; 2]);

/// Both addresses, cut in two.
fn ends((source, source_mask): Words, (destination, destination_mask): Words) -> (Ends, Ends) {
    let half = |index: usize| Ends {
        source: source[index],
        source_mask: source_mask[index],
        destination: destination[index],
        destination_mask: destination_mask[index],
    };
    (half(0), half(1))
}

/// The sender's address and the receiver's, put together.
fn halves(abi::Rule { front, back, .. }: &abi::Rule) -> (Words, Words) {
    (
        (
            [front.source, back.source],
            [front.source_mask, back.source_mask],
        ),
        (
            [front.destination, back.destination],
            [front.destination_mask, back.destination_mask],
        ),
    )
}

pub(super) fn words_v4(prefix: &Prefix<Ipv4Addr>) -> Words {
    (v4_words(prefix.address()), v4_words(prefix.mask()))
}

pub(super) fn words_v6(prefix: &Prefix<Ipv6Addr>) -> Words {
    (v6_words(prefix.address()), v6_words(prefix.mask()))
}

/// An IPv4 address is the first four of sixteen bytes.
fn v4_words(address: Ipv4Addr) -> [u64; 2] {
    let [a, b, c, d] = address.octets();
    [u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0]
}

fn v6_words(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
    [
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    ]
}

pub(super) fn prefix_v4((value, mask): Words) -> Option<Prefix<Ipv4Addr>> {
    let address = |[first, _]: [u64; 2]| {
        let [a, b, c, d, ..] = first.to_ne_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    Prefix::<Ipv4Addr>::with_mask(address(value), address(mask))
}

pub(super) fn prefix_v6((value, mask): Words) -> Option<Prefix<Ipv6Addr>> {
    let address = |[first, second]: [u64; 2]| {
        let [a, b, c, d, e, f, g, h] = first.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = second.to_ne_bytes();
        Ipv6Addr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    };
    Prefix::<Ipv6Addr>::with_mask(address(value), address(mask))
}

/// The low half of both words holds one end of the range each.
fn range(first: u64, last: u64) -> Option<PortRange> {
    let port = |word: u64| u16::try_from(word & u64::from(u32::MAX)).ok();
    PortRange::new(port(first)?, port(last)?)
}
