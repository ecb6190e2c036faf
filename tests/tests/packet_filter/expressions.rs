//! Expressions of tcpdump: the kernel, the plain reading and `tcpdump -r` must say the same.
//!
//! The expressions stand in `expressions.txt`; packets are the fuzzer's.

use std::{fs, path::Path, process::Command};

use nke::filter::{Action, Decider, Expression, Program, RuleSet};
use nke_ebpf::abi::classic::{EXPRESSIONS, Instruction};
use nke_tests::{Dice, Hook, World};
use serde_json::{Value, json};

use crate::fuzz::{Bench, corpus, mutate};

fn expressions() -> impl Iterator<Item = &'static str> {
    include_str!("expressions.txt").lines()
}

/// A capture (pcap) in which each packet's time is its number.
fn pcap(link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 1 << 18, link] {
        file.extend(u32::to_le_bytes(word));
    }
    for (number, packet) in (0u32..).zip(packets) {
        let length = u32::try_from(packet.len()).expect("packets are short");
        for word in [number, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The numbers of the packets in a capture that tcpdump finds.
fn found_by_tcpdump(capture: &Path, expression: &str) -> Vec<usize> {
    let mut command = Command::new("tcpdump");
    command
        .arg("-r")
        .arg(capture)
        .args(["-w", "-", "--", expression]);
    let output = command.output().expect("tcpdump is installed");
    assert!(output.status.success(), "{expression}: {output:?}");
    let (mut rest, mut numbers) = (&output.stdout[24..], Vec::new());
    while let Some((head, packet)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| {
            let four = head[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_le_bytes(four)).expect("small")
        };
        numbers.push(word(0));
        rest = &packet[word(8)..];
    }
    numbers
}

/// Packets of which some are spoilt, all as long as a test run takes.
fn packets() -> Vec<Vec<u8>> {
    let (corpus, mut dice) = (corpus(), Dice::new(7));
    let mut packets = corpus.clone();
    packets.extend((0..150).map(|_| mutate::spoilt(&mut dice, &corpus)));
    packets.retain(|packet| packet.len() >= 14);
    packets
}

/// Has a rule with an expression judge packets at a hook, of which it must drop just these.
#[track_caller]
fn check(bench: &mut Bench, packets: &[Vec<u8>], rules: &RuleSet, expected: &[usize]) {
    bench.write(rules);
    for (number, packet) in packets.iter().enumerate() {
        let judgement = bench.judge(rules, packet);
        let Some(action) = bench.run(packet) else {
            continue;
        };
        // Whatever the rules ask for.
        if judgement.by == Decider::Obscured {
            assert_eq!(action, Action::Drop, "{packet:02x?}");
            continue;
        }
        let wanted = if expected.contains(&number) {
            Action::Drop
        } else {
            Action::Pass
        };
        let judged = judgement.action;
        assert_eq!((action, judged), (wanted, wanted), "{rules}{packet:02x?}");
    }
}

fn rules(text: &str) -> RuleSet {
    let line = format!("default pass\ndrop expr '{text}'\n");
    let rules = line.parse::<RuleSet>();
    rules.unwrap_or_else(|error| nke_tests::fail(format!("{error}\n{}", error.marked())))
}

#[test]
fn on_interfaces_expressions_mean_what_tcpdump_says() {
    let world = World::new();
    let capture = world.directory().join("ethernet.pcap");
    let packets = packets();
    fs::write(&capture, pcap(1, &packets)).expect("the directory is the test's");
    let mut benches = ["interface/xdp", "interface/in", "interface/out"].map(Bench::at);
    for text in expressions() {
        let (rules, expected) = (rules(text), found_by_tcpdump(&capture, text));
        for bench in &mut benches {
            check(bench, &packets, &rules, &expected);
        }
    }
}

#[test]
fn at_the_ip_layer_expressions_mean_what_tcpdump_says() {
    let world = World::new();
    let capture = world.directory().join("raw.pcap");
    let kinds = [[0x08, 0x00], [0x86, 0xdd]];
    let ip = |packet: &Vec<u8>| kinds.iter().any(|kind| packet[12..14] == *kind);
    let packets: Vec<_> = packets().into_iter().filter(ip).collect();
    let raw: Vec<_> = packets.iter().map(|packet| packet[14..].to_vec()).collect();
    fs::write(&capture, pcap(101, &raw)).expect("the directory is the test's");
    let mut benches = ["ip/in", "ip/out"].map(Bench::at);
    for text in expressions() {
        let rules = rules(text);
        let expression = rules.rules[0].expression.as_ref();
        // What asks for a link header is never so.
        let expected = match expression.and_then(Expression::on_ip) {
            Some(_) => found_by_tcpdump(&capture, text),
            None => Vec::new(),
        };
        for bench in &mut benches {
            check(bench, &packets, &rules, &expected);
        }
    }
}

#[test]
fn as_many_as_there_can_be_are_told_apart_and_read_back() {
    let port = |port: usize| format!("pass proto udp expr 'udp dst port {port}'\n");
    let text: String = (1..=EXPRESSIONS).map(port).collect();
    let rules: RuleSet = format!("default drop\n{text}")
        .parse()
        .expect("they are rules");
    let corpus = corpus();
    for hook in ["interface/xdp", "ip/in"] {
        let mut bench = Bench::at(hook);
        bench.write(&rules);
        assert_eq!(bench.rules(), rules);
        let mut dice = Dice::new(3);
        for _ in 0..300 {
            let packet = mutate::spoilt(&mut dice, &corpus);
            if let Some(action) = bench.run(&packet) {
                assert_eq!(action, bench.judge(&rules, &packet).action, "{packet:02x?}");
            }
        }
        let more = format!("{rules}{}", port(99))
            .parse()
            .expect("they are rules");
        assert!(bench.refuses(&more), "one too many");
        assert_eq!(bench.rules(), rules, "nothing has changed");
    }
}

/// Instructions that no compiler makes: what the kernel runs ends, and says what the book says.
#[test]
fn any_program_that_is_one_ends_alike() {
    let (mut dice, corpus) = (Dice::new(11), corpus());
    let mut benches = ["interface/xdp", "interface/in", "ip/in"].map(Bench::at);
    let mut programs = 0;
    while programs < 150 {
        let length = 2 + dice.below(30);
        let instructions: Vec<_> = (0..length)
            .map(|index| Instruction {
                // It ends with a return.
                code: match index + 1 == length {
                    true => dice.pick(&[0x06, 0x16]),
                    false => dice.byte().into(),
                },
                yes: dice.pick(&[0, 0, 1, 2]),
                no: dice.pick(&[0, 1, 2]),
                k: dice.pick(&[0, 1, 2, 12, 14, 15, 23, 31, 100, u32::MAX - 3]),
            })
            .collect();
        let Ok(program) = Program::new(&instructions) else {
            continue;
        };
        programs += 1;
        let expression = Expression::compiled("made up", program.clone(), Some(program));
        let mut rules: RuleSet = "drop".parse().expect("a rule");
        rules.rules[0].expression = expression;
        for bench in &mut benches {
            bench.write(&rules);
            for _ in 0..8 {
                let packet = mutate::spoilt(&mut dice, &corpus);
                if let Some(action) = bench.run(&packet) {
                    let wanted = bench.judge(&rules, &packet).action;
                    assert_eq!(action, wanted, "{instructions:?} of {packet:02x?}");
                }
            }
        }
    }
}

#[test]
fn a_rule_keeps_its_text_its_place_and_its_hits() {
    let world = World::new();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    let rule = "drop proto tcp expr 'tcp[13] & 2 != 0 and net 10'";
    world.on(&["filter", "add", "pass proto udp"]).ok();
    world.on(&["filter", "add", rule]).ok();
    let listed = |world: &World| -> Value { world.on(&["filter", "list", "--json"]).json() };
    let first = listed(&world);
    assert_eq!(first["filters"][0]["rules"][1]["rule"], json!(rule));
    let told = world
        .on(&[
            "filter",
            "explain",
            "tcp 10.1.2.3:999 > 10.0.0.1:22 flags S",
        ])
        .ok();
    assert!(told.stdout.contains("drop by rule 2"), "{}", told.stdout);
    let told = world
        .on(&[
            "filter",
            "explain",
            "tcp 11.1.2.3:999 > 11.0.0.1:22 flags S",
        ])
        .ok();
    assert!(told.stdout.contains("default"), "{}", told.stdout);
}

#[test]
fn what_libpcap_does_not_take_is_shown_where_it_stands() {
    let world = World::new();
    let rules = world.directory().join("rules");
    fs::write(&rules, "pass\ndrop in expr 'tcp and port 99999'\n").expect("it is the test's");
    let rules = rules.to_str().expect("it is ASCII");
    let told = world
        .nke(&["filter", "check", rules])
        .fails("malformed-rules");
    for part in ["line 2, column 14", "illegal port number 99999", "^^^^"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
