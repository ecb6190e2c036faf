//! `nke filter test`: captures through the filter's program, with nothing attached.

use std::{fs, path::PathBuf};

use nke_tests::{
    World,
    frame::{Frame, Ip},
};
use serde_json::{Value, json};

const RULES: &str = "default drop\npass proto udp to any port 53\ndrop proto tcp\npass inet6\n";

fn file(world: &World, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = world.directory().join(name);
    fs::write(&path, bytes).expect("the directory is the test's");
    path.into_os_string().into_string().expect("it is ASCII")
}

/// A capture (pcap) of whole packets.
fn pcap(link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 1 << 18, link] {
        file.extend(u32::to_ne_bytes(word));
    }
    for packet in packets {
        let length = u32::try_from(packet.len()).expect("packets are short");
        for word in [0, 0, length, length] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(packet);
    }
    file
}

fn packets() -> Vec<Vec<u8>> {
    let outside = Frame::from_outside;
    let (v4, v6) = (
        Ip::new("10.0.0.1", "10.0.0.2"),
        Ip::new("fd00::1", "fd00::2"),
    );
    vec![
        outside().ip(&v4.udp(1000, 53, &[0; 10])),
        outside().vlan(7).ip(&v4.udp(1000, 53, &[0; 10])),
        outside().ip(&v4.tcp(1000, 80, 2)),
        outside().ip(&v6.echo()),
        outside().of(0x0806, &[0; 28]),
        outside().ip(&v4.udp(1000, 53, &[0; 9000])),
        vec![1; 10],
    ]
}

#[test]
fn a_capture_is_judged_by_the_kernels_program() {
    let world = World::new();
    let rules = file(&world, "rules", RULES.as_bytes());
    let capture = file(&world, "trace.pcap", &pcap(1, &packets()));
    let report: Value = world
        .nke(&[
            "filter", "test", &rules, &capture, "--json", "-v", "--force",
        ])
        .json();
    assert_eq!(
        (&report["packets"], &report["not_run"]),
        (&json!(6), &json!(1))
    );
    let hits: Vec<_> = [0, 1, 2]
        .map(|rule| &report["rules"][rule]["packets"])
        .into();
    assert_eq!(hits, [&json!(3), &json!(1), &json!(1)]);
    assert_eq!(report["default_hits"], json!({ "packets": 1, "bytes": 42 }));
    assert_eq!(
        report["verdicts"][1],
        json!({
            "number": 2, "verdict": "pass", "rule": 1, "bytes": 56,
            "packet": "udp 10.0.0.1:1000 > 10.0.0.2:53 vlan 7",
        })
    );
    let words = ["filter", "test", &rules, &capture, "-v", "--force"];
    let said = world.nke(&words).ok();
    let line = "     3 drop     rule 2        54 bytes, tcp 10.0.0.1:1000 > 10.0.0.2:80 flags S\n";
    assert!(said.stdout.contains(line), "{}", said.stdout);
    assert!(
        said.stdout
            .ends_with("6 packets judged as at interface/xdp\n"),
        "{}",
        said.stdout
    );
    assert!(!world.is_mounted(), "nothing is attached, pinned or kept");
}

#[test]
fn a_packet_is_not_judged_by_its_beginning_where_the_whole_says_otherwise() {
    let world = World::new();
    let v4 = Ip::new("10.0.0.1", "10.0.0.2");
    let udp = |port, length| Frame::from_outside().ip(&v4.udp(1000, port, &vec![0; length]));
    let packets = [udp(53, 9000), udp(54, 9000), udp(54, 2000)];
    let capture = file(&world, "trace.pcap", &pcap(1, &packets));
    for first in ["drop", "count", "drop expr 'len > 5000' #"] {
        let rules = format!("pass in proto udp to any port 53\n{first} in length 5000-20000\n");
        let rules = file(&world, "rules", rules.as_bytes());
        for hook in ["interface/xdp", "interface/in", "ip/in"] {
            let words = ["filter", "test", &rules, &capture, "--hook", hook];
            let report: Value = world.nke(&[&words[..], &["--json", "-v"]].concat()).json();
            let found = ["packets", "not_run", "too_long", "cut"].map(|key| &report[key]);
            assert_eq!(
                found,
                [&json!(2), &json!(1), &json!(1), &json!(1)],
                "{hook}"
            );
            let fates = [0, 1, 2].map(|packet| &report["verdicts"][packet]["verdict"]);
            assert_eq!(fates, ["pass", "not run", "pass"], "{hook}");
            let ran = world.nke(&words).ok();
            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                told.contains("1 packet not run: of a packet 3000 bytes"),
                "{told}"
            );
            assert!(
                told.contains("1 packet captured in part, or longer"),
                "{told}"
            );
        }
    }
}

#[test]
fn rules_are_tried_as_load_would_have_them() {
    let world = World::new();
    let capture = file(&world, "trace.pcap", &pcap(1, &packets()));
    let test = |text: &str, hook: &str, more: &[&str]| {
        let rules = file(&world, "rules", text.as_bytes());
        let words = ["filter", "test", &rules, &capture, "--hook", hook];
        world.nke(&[&words[..], more].concat())
    };
    for (rule, hook, code) in [
        ("mark 1 proto tcp", "interface/xdp", "rule-not-there"),
        ("drop mark 1", "interface/xdp", "rule-not-there"),
        ("reject proto tcp", "ip/in", "rule-not-there"),
        ("redirect to lo proto tcp", "ip/forward", "rule-not-there"),
        (
            "drop ether from 02:00:00:00:00:01",
            "ip/out",
            "rule-not-there",
        ),
        ("drop out proto tcp", "interface/in", "rule-never-matches"),
    ] {
        let told = test(rule, hook, &[]).fails(code);
        assert!(told.contains(&format!("rules at {hook}: ")), "{told}");
        test(rule, "interface/out", &[]).ok();
    }
    // ARP is passed by a rule that is added, as it would be on an interface.
    let report = |force: &[&str]| -> Value {
        let words = [&["--json", "-v"], force].concat();
        test(RULES, "interface/xdp", &words).json()
    };
    let spared = report(&[]);
    assert_eq!(spared["rules"][3]["rule"], "pass arp");
    assert_eq!(spared["verdicts"][4]["verdict"], "pass");
    assert_eq!(report(&["--force"])["verdicts"][4]["verdict"], "drop");
    let told = test(RULES, "interface/xdp", &[]).ok().stderr;
    assert!(
        told.contains("interface/xdp: added `pass arp` behind the others"),
        "{told}"
    );
    // What is forwarded goes out as well.
    for way in ["in", "out"] {
        let words = ["--json", "-v"];
        let forwarded = test(&format!("drop {way} proto tcp"), "ip/forward", &words);
        assert_eq!(forwarded.json::<Value>()["verdicts"][2]["verdict"], "drop");
    }
}

#[test]
fn each_hook_judges_what_it_would_see() {
    let world = World::new();
    let rules = file(&world, "rules", RULES.as_bytes());
    let capture = file(&world, "trace.pcap", &pcap(1, &packets()));
    for (hook, judged, not_seen) in [("interface/out", 6, 0), ("ip/in", 4, 3)] {
        let words = ["filter", "test", &rules, &capture, "--json", "--hook", hook];
        let report: Value = world.nke(&words).json();
        let found = (&report["packets"], &report["not_seen"]);
        assert_eq!(
            found,
            (&json!(judged), &json!(not_seen)),
            "{hook}: {report}"
        );
    }
    let words = [
        "filter",
        "test",
        &rules,
        &capture,
        "--hook",
        "socket/connect4",
    ];
    let (_, told) = world.nke(&words).fails_somehow();
    assert!(told.contains("packet-filter"), "{told}");
}

#[test]
fn what_is_no_capture_is_refused() {
    let world = World::new();
    let rules = file(&world, "rules", RULES.as_bytes());
    let told = world
        .nke(&["filter", "test", &rules, &rules])
        .fails("capture");
    assert!(told.contains("neither pcap nor pcapng"), "{told}");
    let radio = file(&world, "radio.pcap", &pcap(105, &packets()));
    let told = world
        .nke(&["filter", "test", &rules, &radio])
        .fails("capture");
    assert!(told.contains("link type 105"), "{told}");
    let whole = pcap(1, &packets());
    let cut = file(&world, "cut.pcap", &whole[..whole.len() - 3]);
    let told = world
        .nke(&["filter", "test", &rules, &cut])
        .fails("capture");
    assert!(told.contains("in the middle of packet 7"), "{told}");
}

/// A capture (pcapng) of packets from interfaces of these names.
fn pcapng(packets: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let block = |kind: u32, body: &[u8]| {
        let length = u32::try_from(body.len() + 12).expect("short");
        [&words(&[kind, length]), body, &words(&[length])].concat()
    };
    let mut file = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    for (name, _) in packets {
        let length = u16::try_from(name.len()).expect("short");
        let option = [2u16.to_ne_bytes(), length.to_ne_bytes()].concat();
        let body = [
            &words(&[1, 0]),
            &option,
            &padded(name.as_bytes()),
            &[0; 4][..],
        ]
        .concat();
        file.extend(block(1, &body));
    }
    for (interface, (_, packet)) in (0..).zip(packets) {
        let length = u32::try_from(packet.len()).expect("short");
        let head = words(&[interface, 0, 0, length, length]);
        file.extend(block(6, &[head, padded(packet)].concat()));
    }
    file
}

#[test]
fn packets_come_by_the_interface_that_is_said() {
    let world = World::new();
    // There are no such interfaces here.
    let rules = "drop on eth7 proto udp\ndrop on not { eth7, wg0 } proto tcp\npass on wg0\n";
    let rules = file(&world, "rules", rules.as_bytes());
    let capture = file(&world, "trace.pcap", &pcap(1, &packets()[..3]));
    let v4 = Ip::new("10.0.0.1", "10.0.0.2");
    let udp = Frame::from_outside().ip(&v4.udp(1000, 53, &[0; 10]));
    let named: Vec<_> = ["eth7", "wg0", "eth7", "lo"]
        .map(|name| (name, udp.clone()))
        .into();
    let named = file(&world, "trace.pcapng", &pcapng(&named));
    let decided = |capture: &str, more: &[&str]| {
        let words = ["filter", "test", &rules, capture, "--json"];
        let report: Value = world.nke(&[&words, more].concat()).json();
        let rules = report["rules"].as_array().expect("a list");
        let mut hits: Vec<_> = rules.iter().map(|rule| &rule["packets"]).collect();
        hits.push(&report["default_hits"]["packets"]);
        serde_json::to_string(&hits).expect("numbers")
    };
    for hook in ["interface/xdp", "interface/out", "ip/in"] {
        let more = |interface: &'static str| ["--hook", hook, "-i", interface];
        // A packet with a tag is not IP there.
        let tagged = u32::from(!hook.starts_with("ip"));
        let with = |hits: [u32; 4]| serde_json::to_string(&hits).expect("numbers");
        assert_eq!(
            decided(&capture, &more("eth7")),
            with([1 + tagged, 0, 0, 1]),
            "{hook}"
        );
        assert_eq!(
            decided(&capture, &more("wg0")),
            with([0, 0, 2 + tagged, 0]),
            "{hook}"
        );
        let by_lo = with([0, 1, 0, 1 + tagged]);
        assert_eq!(decided(&capture, &["--hook", hook]), by_lo, "{hook}");
        assert_eq!(
            decided(&named, &["--hook", hook]),
            with([2, 0, 1, 1]),
            "{hook}"
        );
        assert_eq!(decided(&named, &more("wg0")), with([0, 0, 4, 0]), "{hook}");
    }
    let told = world
        .nke(&["filter", "test", &rules, &capture, "-i", "a/b"])
        .fails("usage");
    assert!(told.contains("1 to 15 characters"), "{told}");
}
