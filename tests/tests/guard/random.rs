//! Any rules and any calls: the kernel judges as the rules say, and counts what it judged.

use std::net::{IpAddr, SocketAddr};

use nke::filter::{Action, Decider, Dialect, Ends, Hits, Packet, Protocol, RuleSet, Way};
use nke_tests::{Ask, Dice, Verb, fail};

use crate::{TCP, UDP, guard::Guard};

const SETS: u64 = 25;
const CALLS: usize = 40;

const V4: [&str; 6] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.128.0.1",
    "127.0.0.1",
    "192.0.2.1",
    "11.0.0.1",
];
const V6: [&str; 6] = [
    "fd00::1",
    "fd00::2",
    "fd00:0:0:1::1",
    "fd80::1",
    "2001:db8::ff",
    "::1",
];
// No call with port 0: the kernel refuses some of those before it asks.
const PORTS: [u16; 6] = [1, 22, 53, 1024, 65534, 65535];

#[test]
fn the_kernel_judges_as_the_rules_say() {
    let mut guard = Guard::attach();
    let mut table = guard.table();
    for seed in 0..SETS {
        let mut dice = Dice::new(seed);
        let rules = rules(&mut dice);
        table.write(&rules).expect("the kernel takes the rules");
        let before = table.read().expect("the kernel shows them");
        assert_eq!(before.rules(), rules, "seed {seed}");
        let mut expected: Vec<Hits> = before.rules.iter().map(|(_, hits)| *hits).collect();
        let mut default = before.default_hits;
        for _ in 0..CALLS {
            let ask = ask(&mut dice);
            let judgement = rules.judge(&Ok(as_judged(&ask)));
            assert_eq!(
                guard.caller.is_denied(&ask),
                judgement.action == Action::Drop,
                "seed {seed}: {judgement:?} of {ask:?} by\n{rules}"
            );
            match judgement.by {
                Decider::Rule(index) => expected[index].packets += 1,
                Decider::Default => default.packets += 1,
                Decider::Obscured => fail("no call is obscured"),
            }
        }
        let after = table.read().expect("the kernel shows them");
        let found: Vec<Hits> = after.rules.iter().map(|(_, hits)| *hits).collect();
        assert_eq!(found, expected, "seed {seed}, by\n{rules}");
        assert_eq!(after.default_hits, default, "seed {seed}");
    }
}

fn rules(dice: &mut Dice) -> RuleSet {
    let default = dice.pick(&[Action::Pass, Action::Drop]);
    let count = dice.pick(&[0, 1, 2, 3, 5, 10, 20]);
    let rules = (0..count).flat_map(|_| {
        let line = rule(dice);
        let rules = Dialect::Calls.rules(&line);
        rules.unwrap_or_else(|error| fail(format!("{line}: {error}")))
    });
    RuleSet {
        default,
        rules: rules.collect(),
    }
}

fn rule(dice: &mut Dice) -> String {
    let mut words = vec![dice.pick(&["pass", "drop"]).to_owned()];
    words.push(
        dice.pick(&["", "out", "connect", "sendmsg", "bind"])
            .to_owned(),
    );
    let v6 = dice.once_in(2);
    if dice.once_in(5) {
        words.push(if v6 { "inet6" } else { "inet" }.to_owned());
    }
    if dice.once_in(2) {
        words.push(format!("proto {}", dice.pick(&["tcp", "udp", "sctp"])));
    }
    if dice.once_in(2) {
        let (address, lengths) = if v6 {
            (dice.pick(&V6), [0, 8, 9, 64, 127, 128])
        } else {
            (dice.pick(&V4), [0, 1, 8, 9, 31, 32])
        };
        words.push(format!("to {address}/{}", dice.pick(&lengths)));
    }
    if dice.once_in(2) {
        let (one, other) = (dice.pick(&PORTS), dice.pick(&PORTS));
        words.push(format!("port {}-{}", one.min(other), one.max(other)));
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn ask(dice: &mut Dice) -> Ask {
    let (verb, protocol) = dice.pick(&[
        (Verb::Connect, TCP),
        (Verb::Connect, UDP),
        (Verb::Send, UDP),
        (Verb::Bind, TCP),
        (Verb::Bind, UDP),
    ]);
    let address = match dice.below(5) {
        0 | 1 => dice.pick(&V4).to_owned(),
        2 => format!("::ffff:{}", dice.pick(&V4)),
        _ => dice.pick(&V6).to_owned(),
    };
    let address: IpAddr = address.parse().expect("an address");
    Ask::new(verb, protocol, SocketAddr::new(address, dice.pick(&PORTS)))
}

/// A call in the words of the judge.
fn as_judged(ask: &Ask) -> Packet {
    let ends = match ask.address.ip().to_canonical() {
        IpAddr::V4(to) => Ends::V4([0; 4].into(), to),
        IpAddr::V6(to) => Ends::V6([0; 16].into(), to),
    };
    Packet {
        way: match ask.verb {
            Verb::Send => Way::Sendmsg,
            Verb::Bind => Way::Bind,
            Verb::Connect | Verb::SendConnected | Verb::FastOpen => Way::Connect,
        },
        ends: Some(ends),
        protocol: Some(Protocol(u8::try_from(ask.protocol).expect("small"))),
        ports: Some((0, ask.address.port())),
        ..Packet::unknown(Way::Connect)
    }
}
