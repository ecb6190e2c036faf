//! Any rule, as it may be typed, and any packet, as it may be sent.
//!
//! Addresses, ports and protocols are few, so that rules and packets meet.

use nke_tests::frame::{Frame, Ip};

use nke_tests::Dice;

pub(crate) const V4: [&str; 7] = [
    "10.0.0.1",
    "11.0.0.1",
    "10.0.0.2",
    "10.0.1.1",
    "10.128.0.1",
    "192.0.2.1",
    "255.255.255.255",
];
pub(crate) const V6: [&str; 6] = [
    "fd00::1",
    "fc00::1",
    "fd00::2",
    "fd00:0:0:1::1",
    "fd80::1",
    "2001:db8::ff",
];
const V4_LENGTHS: [usize; 7] = [0, 1, 8, 9, 24, 31, 32];
const V6_LENGTHS: [usize; 8] = [0, 1, 8, 63, 64, 65, 127, 128];
pub(crate) const PORTS: [u16; 8] = [0, 1, 22, 53, 80, 1024, 65534, 65535];
pub(crate) const PROTOCOLS: [u8; 10] = [1, 6, 6, 17, 17, 33, 58, 59, 132, 136];

/// Named sets of addresses, and of addresses with ports; and one of ports.
pub(crate) const ADDRESS_SETS: [&str; 2] = ["few", "many"];
pub(crate) const PAIRS: &str = "ends";
pub(crate) const PORT_SET: &str = "web";

/// A line of the rule language, which asks for no named set.
pub(crate) fn rule(dice: &mut Dice) -> String {
    line(dice, false)
}

/// A line of the rule language, which may ask for named sets.
pub(crate) fn rule_of_sets(dice: &mut Dice) -> String {
    line(dice, true)
}

/// A short line that asks for a named set: the kind that fast paths are made for.
pub(crate) fn plain_rule_of_sets(dice: &mut Dice) -> String {
    let action = dice.pick(&["pass", "drop"]);
    let proto = dice.pick(&["", "", "proto 6 ", "proto 17 "]);
    let host = match dice.once_in(4) {
        true => prefix(dice, false),
        false => {
            let not = dice.pick(&["", "", "not "]);
            format!("{not}@{}", dice.pick(&ADDRESS_SETS))
        }
    };
    let port = match dice.once_in(3) {
        true => format!(" port {}", ports(dice)),
        false => String::new(),
    };
    format!(
        "{action} {proto}{} {host}{port}",
        dice.pick(&["from", "to"])
    )
}

fn line(dice: &mut Dice, asks_sets: bool) -> String {
    let mut words = vec![dice.pick(&["pass", "drop"]).to_owned()];
    words.push(dice.pick(&["", "", "in", "out"]).to_owned());
    let v6 = dice.once_in(2);
    if dice.once_in(6) {
        words.push(if v6 { "inet6" } else { "inet" }.to_owned());
    }
    let with_ports = dice.once_in(2);
    if dice.once_in(2) {
        let protocol = if with_ports {
            dice.pick(&[6, 17, 33, 132, 136])
        } else {
            dice.pick(&PROTOCOLS)
        };
        let not = if dice.once_in(4) { "not " } else { "" };
        words.push(format!("proto {not}{protocol}"));
    }
    for end in ["from", "to"] {
        if dice.once_in(3) {
            continue;
        }
        let in_set = asks_sets && dice.once_in(3);
        let host = if in_set {
            set(dice, v6)
        } else {
            host(dice, v6)
        };
        words.push(format!("{end} {host}"));
        if with_ports && dice.once_in(2) {
            let in_set = asks_sets && dice.once_in(3);
            words.push(match in_set {
                true => format!("port {}@{PORT_SET}", dice.pick(&["", "not "])),
                false => format!("port {}", ports(dice)),
            });
        }
    }
    if dice.once_in(3) {
        options(dice, &mut words);
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// What few rules ask for, as far as it can stand behind what is there already.
fn options(dice: &mut Dice, words: &mut Vec<String>) {
    let has = |word: &str| words.iter().any(|known| known.contains(word));
    let (proto, ports) = (has("proto"), has("port"));
    let not_proto = has("proto not");
    let (tcp, udp_or_so) = (has("proto 6"), proto && !has("proto 6") || has("proto 58"));
    let mut first_only = ports;
    if dice.once_in(2) && (tcp || !udp_or_so) && !not_proto {
        let flags = dice.pick(&["S/SA", "/F", "A/A", "FR/FR", "/FSRPAUEW", "not S/SA"]);
        words.push(format!("flags {flags}"));
        first_only = true;
    } else if dice.once_in(2) && !proto && !ports {
        let (kind, code) = (
            dice.pick(&[0, 4, 255]),
            dice.pick(&["", "code 0", "code 22"]),
        );
        words.push(format!(
            "{} {}{kind} {code}",
            dice.pick(&["icmp-type", "icmp6-type"]),
            dice.pick(&["", "", "not "]),
        ));
        first_only = true;
    }
    let fragment = dice.pick(&[
        "",
        "",
        "fragment",
        "fragment none",
        "fragment first",
        "fragment later",
    ]);
    if !(first_only && fragment.ends_with("later")) {
        words.push(fragment.to_owned());
    }
    words.push(
        dice.pick(&["", "", "dscp cs0", "dscp { ef, 1 }", "dscp not { ef, 1 }"])
            .to_owned(),
    );
    words.push(
        dice.pick(&[
            "",
            "",
            "vlan none",
            "vlan any",
            "vlan { 1, 2 }",
            "vlan not 1",
        ])
        .to_owned(),
    );
    words.push(
        dice.pick(&[
            "",
            "",
            "length 40-60",
            "length not 46",
            "length not { 0-33, 100-4000 }",
        ])
        .to_owned(),
    );
}

fn host(dice: &mut Dice, v6: bool) -> String {
    if dice.once_in(3) {
        return "any".to_owned();
    }
    match dice.below(6) {
        0 => {
            let (one, other) = (some_prefix(dice, v6), some_prefix(dice, v6));
            format!("not {{ {one}, {other} }}")
        }
        1 => format!("not {}", some_prefix(dice, v6)),
        _ => prefix(dice, v6),
    }
}

/// Who is in a named set, or in none of some.
fn set(dice: &mut Dice, v6: bool) -> String {
    let [few, many] = ADDRESS_SETS;
    let one = dice.pick(&[few, few, many, PAIRS]);
    match dice.below(6) {
        0 => format!("not {{ {}, @{one} }}", some_prefix(dice, v6)),
        1 => format!("not {{ @{few}, @{many} }}"),
        2 => format!("{{ {}, @{one} }}", some_prefix(dice, v6)),
        3 => format!("not @{one}"),
        _ => format!("@{one}"),
    }
}

fn prefix(dice: &mut Dice, v6: bool) -> String {
    if v6 {
        format!("{}/{}", dice.pick(&V6), dice.pick(&V6_LENGTHS))
    } else {
        format!("{}/{}", dice.pick(&V4), dice.pick(&V4_LENGTHS))
    }
}

/// A prefix that not every address has.
fn some_prefix(dice: &mut Dice, v6: bool) -> String {
    loop {
        let prefix = prefix(dice, v6);
        if !prefix.ends_with("/0") {
            return prefix;
        }
    }
}

fn ports(dice: &mut Dice) -> String {
    let (one, other) = (dice.pick(&PORTS), dice.pick(&PORTS));
    if dice.once_in(2) {
        one.to_string()
    } else {
        format!("{}-{}", one.min(other), one.max(other))
    }
}

/// A packet, often whole, sometimes cut short or with a wrong byte in it.
pub(crate) fn packet(dice: &mut Dice) -> Vec<u8> {
    let mut frame = Frame::from_outside();
    for _ in 0..dice.pick(&[0, 0, 0, 1, 1, 2, 2, 3]) {
        let id = dice.pick(&[1, 2, 0x7001, 4095]);
        frame = frame.tag(dice.pick(&[0x8100, 0x88a8]), id);
    }
    let mut bytes = match dice.below(8) {
        0 => frame.of(0x0806, &dice.bytes(28)),
        1 => {
            let kind = dice.pick(&[0x0800, 0x86dd, 0x8847, 100, 0x8100]);
            let length = 1 + dice.below(80);
            frame.of(kind, &dice.bytes(length))
        }
        2 | 3 => frame.ip(&ipv4(dice)),
        _ => frame.ip(&ipv6(dice)),
    };
    // The traffic class, where there is no tag: code points, and more.
    if dice.once_in(2) && matches!(bytes.get(12), Some(0x08 | 0x86)) && bytes.len() > 15 {
        bytes[15] = dice.pick(&[0xb8, 0xbb, 0x04, 0x80, 0x10]);
    }
    if dice.once_in(8) {
        let place = 12 + dice.below(bytes.len() - 12);
        bytes[place] = dice.byte();
    }
    if dice.once_in(5) {
        bytes.truncate(14 + dice.below(bytes.len() - 13));
    }
    bytes
}

/// Begins like a transport header with ports, whatever the protocol.
fn transport(dice: &mut Dice) -> Vec<u8> {
    let ports = [dice.pick(&PORTS), dice.pick(&PORTS)]
        .map(u16::to_be_bytes)
        .concat();
    let more = dice.below(20);
    [ports, dice.bytes(more)].concat()
}

fn ipv4(dice: &mut Dice) -> Vec<u8> {
    let mut ip = Ip::new(dice.pick(&V4), dice.pick(&V4));
    if dice.once_in(4) {
        let words = 1 + dice.below(10);
        ip.extensions.push((0, dice.bytes(words * 4)));
    }
    let (protocol, payload) = (dice.pick(&PROTOCOLS), transport(dice));
    if dice.once_in(4) {
        let offset = dice.pick(&[0, 8, 1480, 32768]);
        return ip.fragment(protocol, offset, dice.once_in(2), &payload);
    }
    ip.packet(protocol, &payload)
}

fn ipv6(dice: &mut Dice) -> Vec<u8> {
    let mut ip = Ip::new(dice.pick(&V6), dice.pick(&V6));
    let count = dice.pick(&[0, 0, 0, 1, 1, 2, 3, 7, 8, 9, 10]);
    for _ in 0..count {
        ip.extensions.push(extension(dice));
    }
    ip.packet(dice.pick(&PROTOCOLS), &transport(dice))
}

/// The kind of an extension header, and its bytes behind the first.
fn extension(dice: &mut Dice) -> (u8, Vec<u8>) {
    // Most are short; a few of the long ones reach beyond what is looked at.
    let units = if dice.once_in(12) {
        1 + dice.below(60)
    } else {
        dice.below(3)
    };
    let length = u8::try_from(units).expect("small");
    match dice.pick(&[0u8, 43, 44, 51, 60]) {
        44 => {
            let offset = dice.pick(&[0u16, 0, 0, 8, 1480, 32768]) | u16::from(dice.once_in(2));
            let mut bytes = vec![dice.byte()];
            bytes.extend(offset.to_be_bytes());
            bytes.extend(dice.bytes(4));
            (44, bytes)
        }
        51 => {
            let mut bytes = vec![length];
            bytes.extend(dice.bytes((units + 2) * 4 - 2));
            (51, bytes)
        }
        kind => {
            let mut bytes = vec![length];
            bytes.extend(dice.bytes((units + 1) * 8 - 2));
            (kind, bytes)
        }
    }
}
