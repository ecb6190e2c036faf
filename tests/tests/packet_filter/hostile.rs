//! Packets made to be misread: each once got past a filter somewhere, or could have.
//!
//! What becomes of them is promised in docs/filter-language.md; every one is run on every hook.

use nke::filter::{Action, Decider, RuleSet, dissect};
use nke_tests::{
    Hook, IFACE, Tap, World,
    frame::{Frame, Ip},
};

use crate::filter::Filter;

use Action::{Drop, Pass};

/// One packet, and what each of a few rule sets must make of it.
struct Case {
    name: &'static str,
    packet: Vec<u8>,
    /// `drop proto tcp to any port 22`, and everything else passes.
    no_ssh: Action,
    /// `pass proto tcp to any port 22`, and nothing else does.
    only_ssh: Action,
    /// `drop from 10.0.0.0/8` and `drop from fd00::/8`, and everything else passes.
    no_net: Action,
    /// `pass proto tcp` only.
    only_tcp: Action,
}

const SETS: [&str; 4] = [
    "drop proto tcp to any port 22",
    "default drop\npass proto tcp to any port 22",
    "drop from 10.0.0.0/8\ndrop from fd00::/8",
    "default drop\npass proto tcp",
];

fn v4() -> Ip {
    Ip::new("10.0.0.1", "10.0.0.2")
}

fn v6() -> Ip {
    Ip::new("fd00::1", "fd00::2")
}

fn with(mut ip: Ip, extensions: &[(u8, &[u8])]) -> Ip {
    ip.extensions.extend(
        extensions
            .iter()
            .map(|(kind, bytes)| (*kind, bytes.to_vec())),
    );
    ip
}

/// Eight bytes of destination options, without their first.
const OPTIONS: (u8, &[u8]) = (60, &[0, 1, 4, 0, 0, 0, 0]);

fn cut(mut packet: Vec<u8>, length: usize) -> Vec<u8> {
    packet.truncate(length);
    packet
}

fn case(
    name: &'static str,
    packet: Vec<u8>,
    [no_ssh, only_ssh, no_net, only_tcp]: [Action; 4],
) -> Case {
    Case {
        name,
        packet,
        no_ssh,
        only_ssh,
        no_net,
        only_tcp,
    }
}

fn plain() -> Vec<Case> {
    let outside = Frame::from_outside;
    let ssh4 = v4().tcp(1024, 22, 2);
    let ssh6 = v6().tcp(1024, 22, 2);
    vec![
        case("ssh", outside().ip(&ssh4), [Drop, Pass, Drop, Pass]),
        case("ssh, IPv6", outside().ip(&ssh6), [Drop, Pass, Drop, Pass]),
        case(
            "ssh, tagged",
            outside().vlan(1).ip(&ssh4),
            [Drop, Pass, Drop, Pass],
        ),
        case(
            "ssh, tagged twice",
            outside().tag(0x88a8, 1).vlan(2).ip(&ssh6),
            [Drop, Pass, Drop, Pass],
        ),
        // Behind a third tag nothing is read: the packet is no IP packet to the filter.
        case(
            "ssh, tagged three times",
            outside().vlan(1).vlan(2).vlan(3).ip(&ssh4),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "ARP",
            outside().of(0x0806, &[0; 28]),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "a length instead of a kind",
            outside().of(46, &[0; 46]),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "options before the ports",
            outside().ip(&with(v4(), &[(0, &[1; 40])]).tcp(1024, 22, 2)),
            [Drop, Pass, Drop, Pass],
        ),
    ]
}

fn truncated() -> Vec<Case> {
    let ssh4 = Frame::from_outside().ip(&v4().tcp(1024, 22, 2));
    let ssh6 = Frame::from_outside().ip(&v6().tcp(1024, 22, 2));
    vec![
        case(
            "one byte behind a link header",
            cut(ssh4.clone(), 15),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "half of an IP header",
            cut(ssh4.clone(), 33),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "an IP header alone",
            cut(ssh4.clone(), 34),
            [Pass, Drop, Drop, Pass],
        ),
        case(
            "half of the ports",
            cut(ssh4.clone(), 37),
            [Pass, Drop, Drop, Pass],
        ),
        case(
            "no more than the ports",
            cut(ssh4, 38),
            [Drop, Pass, Drop, Pass],
        ),
        case(
            "half of an IPv6 header",
            cut(ssh6.clone(), 53),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "half of the ports, IPv6",
            cut(ssh6.clone(), 57),
            [Pass, Drop, Drop, Pass],
        ),
        case(
            "no more than the ports, IPv6",
            cut(ssh6, 58),
            [Drop, Pass, Drop, Pass],
        ),
        case(
            "a tag and half of an IP header",
            cut(Frame::from_outside().vlan(1).ip(&v4().echo()), 28),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "half of an extension header",
            cut(
                Frame::from_outside().ip(&with(v6(), &[OPTIONS]).tcp(1024, 22, 2)),
                60,
            ),
            [Pass, Drop, Drop, Drop],
        ),
    ]
}

fn lying() -> Vec<Case> {
    let wrong = |at: usize, byte: u8, packet: Vec<u8>| {
        let mut packet = Frame::from_outside().ip(&packet);
        packet[14 + at] = byte;
        packet
    };
    let ssh4 = v4().tcp(1024, 22, 2);
    vec![
        case(
            "IPv4 that says version 5",
            wrong(0, 0x55, ssh4.clone()),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "a header of four words",
            wrong(0, 0x44, ssh4.clone()),
            [Pass, Drop, Pass, Drop],
        ),
        // Its end lies behind the packet's: so do its ports.
        case(
            "a header of fifteen words",
            wrong(0, 0x4f, ssh4.clone()),
            [Pass, Drop, Drop, Pass],
        ),
        // Lengths are not believed, for better or worse.
        case(
            "a total length of nothing",
            wrong(3, 0, ssh4),
            [Drop, Pass, Drop, Pass],
        ),
        case(
            "IPv6 that says version 4",
            wrong(0, 0x40, v6().tcp(1024, 22, 2)),
            [Pass, Drop, Pass, Drop],
        ),
        case(
            "IPv6 in a frame of IPv4",
            Frame::from_outside().of(0x0800, &v6().tcp(1024, 22, 2)),
            [Pass, Drop, Pass, Drop],
        ),
    ]
}

fn fragments() -> Vec<Case> {
    let outside = Frame::from_outside;
    let segment = v4().tcp(1024, 22, 2)[20..].to_vec();
    let last6 = |next: u8| {
        let mut ip = v6();
        ip.extensions.push((44, vec![0, 0, 8, 0, 0, 0, 1]));
        outside().ip(&ip.packet(next, &segment))
    };
    vec![
        case(
            "a first fragment",
            outside().ip(&v4().fragment(6, 0, true, &segment)),
            [Drop, Pass, Drop, Pass],
        ),
        // A later fragment has no ports, though its bytes may look like some.
        case(
            "a later fragment",
            outside().ip(&v4().fragment(6, 8, false, &segment)),
            [Pass, Drop, Drop, Pass],
        ),
        case(
            "a first fragment, IPv6",
            outside().ip(&v6().fragment(6, 0, true, &segment)),
            [Drop, Pass, Drop, Pass],
        ),
        case("a later fragment, IPv6", last6(6), [Pass, Drop, Drop, Pass]),
        // What it is part of began with an extension header, and the first fragment has it.
        case(
            "a later fragment that shows no protocol",
            last6(60),
            [Pass, Drop, Drop, Drop],
        ),
    ]
}

fn extensions() -> Vec<Case> {
    let behind = |extensions: &[(u8, &[u8])]| {
        Frame::from_outside().ip(&with(v6(), extensions).tcp(1024, 22, 2))
    };
    let mut long = vec![30];
    long.extend([0; 30 * 8 + 6]);
    vec![
        case(
            "hop-by-hop, routing, options",
            behind(&[(0, &[0; 7]), (43, &[0; 7]), OPTIONS]),
            [Drop, Pass, Drop, Pass],
        ),
        // Four words each, and not eight: the length counts otherwise.
        case(
            "authentication",
            behind(&[(51, &[2; 15])]),
            [Drop, Pass, Drop, Pass],
        ),
        case(
            "as many headers as are read",
            behind(&[OPTIONS; 8]),
            [Drop, Pass, Drop, Pass],
        ),
        // Beyond that nothing is passed, whatever the rules say.
        case("one header more", behind(&[OPTIONS; 9]), [Drop; 4]),
        case(
            "a long header",
            behind(&[(60, &long)]),
            [Drop, Pass, Drop, Pass],
        ),
        case(
            "beyond the bytes that are read",
            behind(&[(60, &long), (60, &long)]),
            [Drop; 4],
        ),
        case(
            "encrypted",
            Frame::from_outside().ip(&v6().packet(50, &[0; 20])),
            [Pass, Drop, Drop, Drop],
        ),
        case(
            "nothing behind the header",
            Frame::from_outside().ip(&v6().packet(59, &[])),
            [Pass, Drop, Drop, Drop],
        ),
    ]
}

fn cases() -> Vec<Case> {
    [plain(), truncated(), lying(), fragments(), extensions()]
        .into_iter()
        .flatten()
        .collect()
}

/// Has every packet judged by every rule set at a hook, in some way, and compares.
#[track_caller]
fn check(hook: Hook, found: impl Fn(&Filter, &Tap, &RuleSet, &[u8]) -> Option<Action>) {
    let world = World::new();
    let mut filter = Filter::attach(&world, hook);
    let tap = filter.tap(&world);
    for (index, text) in SETS.iter().enumerate() {
        let rules: RuleSet = text.parse().expect("the rules are right");
        filter.write(&rules);
        for case in &cases() {
            let Case {
                name,
                packet,
                no_ssh,
                only_ssh,
                no_net,
                only_tcp,
            } = case;
            let expected = [no_ssh, only_ssh, no_net, only_tcp][index];
            if let Some(found) = found(&filter, &tap, &rules, packet) {
                assert_eq!(found, *expected, "{name}, on {hook:?}, by\n{rules}");
            }
        }
    }
}

#[test]
fn hostile_packets_meet_their_promised_end() {
    for hook in Hook::ALL {
        check(hook, |filter, _, _, packet| filter.run(packet));
    }
}

#[test]
fn hostile_packets_meet_it_by_the_book() {
    check(Hook::In, |filter, _, rules, packet| {
        Some(rules.judge(&dissect(packet, filter.direction())).action)
    });
}

#[test]
fn hostile_packets_meet_it_on_the_wire() {
    let action = |rules: &RuleSet, decider| match decider {
        Decider::Rule(index) => rules.rules[index].action,
        Decider::Default => rules.default,
        Decider::Obscured => Drop,
    };
    for hook in Hook::ALL {
        check(hook, |filter, tap, rules, packet| {
            Some(action(rules, filter.send(tap, packet)))
        });
    }
}

#[test]
fn what_cannot_be_judged_is_counted() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Out);
    let rules = "pass".parse().expect("the rule is right");
    filter.write(&rules);
    let packet = Frame::from_outside().ip(&with(v6(), &[OPTIONS; 9]).echo());
    let book = rules.judge(&dissect(&packet, filter.direction()));
    assert_eq!((book.action, book.by), (Drop, Decider::Obscured));
    assert_eq!(filter.run(&packet), Some(Drop));
    let listing = filter.read();
    assert_eq!(listing.obscured_hits.packets, 1);
    assert_eq!(listing.rules[0].1.packets, 0);
}

/// A sender on this host decides how its packet lies in memory. Where the headers are not with
/// the packet's beginning, a program cannot see them until it asks for them.
#[test]
fn headers_in_other_pages_are_looked_at() {
    let rules: RuleSet = "drop proto udp to any port 53"
        .parse()
        .expect("the rule is right");
    let data = vec![0; 5000];
    let long = |ip: Ip| Frame::from_outside().ip(&ip.udp(1024, 53, &data));
    let packets = [
        long(v4()),
        long(with(v4(), &[(0, &[1; 40])])),
        long(v6()),
        long(with(v6(), &[OPTIONS; 8])),
    ];
    for hook in [Hook::In, Hook::Out] {
        let world = World::new();
        for end in [&world.inside, &world.outside] {
            end.ip(&format!("link set {IFACE} mtu 9000"));
        }
        let mut filter = Filter::attach(&world, hook);
        filter.write(&rules);
        let from = if hook == Hook::In {
            &world.outside
        } else {
            &world.inside
        };
        let tap = Tap::scattering(from, IFACE);
        for packet in &packets {
            let decider = filter.sees(packet, || tap.scatter(packet));
            assert_eq!(decider, Decider::Rule(0), "on {hook:?}");
        }
    }
}
