//! The bundled `counter`: what it counts is what was sent, read as a user would read it.

use std::{collections::BTreeMap, process::Command};

use nke_tests::{
    Hook, Ran, World,
    frame::{Frame, Ip},
};
use serde::Deserialize;

/// `bpftool map dump --json` of a per-CPU map whose types are known.
#[derive(Deserialize)]
struct Entry {
    formatted: Formatted,
}

#[derive(Deserialize)]
struct Formatted {
    key: u32,
    values: Vec<OfCpu>,
}

#[derive(Deserialize)]
struct OfCpu {
    value: Count,
}

#[derive(Deserialize)]
struct Count {
    packets: u64,
    bytes: u64,
}

/// Packets and bytes by protocol, without those that were never seen.
fn counts(world: &World) -> BTreeMap<u32, (u64, u64)> {
    let map = world.state().join("extensions/counter/maps/COUNTS");
    let mut dump = Command::new("bpftool");
    dump.args(["--json", "map", "dump", "pinned"]).arg(map);
    let entries: Vec<Entry> = Ran::of(&mut dump).json();
    let sum =
        |pick: fn(&Count) -> u64, values: &[OfCpu]| values.iter().map(|of| pick(&of.value)).sum();
    entries
        .into_iter()
        .map(
            |Entry {
                 formatted: Formatted { key, values },
             }| {
                (
                    key,
                    (
                        sum(|count| count.packets, &values),
                        sum(|count| count.bytes, &values),
                    ),
                )
            },
        )
        .filter(|(_, (packets, _))| *packets > 0)
        .collect()
}

#[test]
fn packets_and_bytes_are_counted_by_protocol() {
    const OTHER: u32 = 256;
    let (v4, v6) = (
        Ip::new("10.1.0.1", "10.1.0.2"),
        Ip::new("fd01::1", "fd01::2"),
    );
    let mut hidden = v6.clone();
    hidden.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0]); 9];
    let frame = Frame::from_outside;
    let packets = [
        frame().ip(&v4.udp(1, 2, b"one")),
        frame().vlan(1).ip(&v6.udp(1, 2, b"")),
        frame().ip(&v4.tcp(1, 2, 2)),
        frame().ip(&v6.echo()),
        frame().of(0x0806, &[0; 28]),
        frame().ip(&hidden.echo()),
    ];
    let length = |index: usize| u64::try_from(packets[index].len()).expect("small");
    for (hook, times) in Hook::ALL.into_iter().zip(1..) {
        let world = World::new();
        world.attach(hook, "counter", &[]);
        for packet in packets.iter().cycle().take(packets.len() * times) {
            let run = world.run(hook, packet).expect("it is attached");
            assert_eq!(run.answer, hook.pass(), "everything goes on");
        }
        let times = u64::try_from(times).expect("small");
        let expected = [
            (6, (times, times * length(2))),
            (17, (2 * times, times * (length(0) + length(1)))),
            (58, (times, times * length(3))),
            (OTHER, (2 * times, times * (length(4) + length(5)))),
        ];
        assert_eq!(counts(&world), BTreeMap::from(expected), "{hook:?}");
    }
}
