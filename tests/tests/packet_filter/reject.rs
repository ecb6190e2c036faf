//! What the sender of a rejected packet gets: every byte of it, written down here once more.

use std::net::IpAddr;

use nke::filter::RuleSet;
use nke_tests::{
    Dice, Hook, World,
    frame::{Frame, Ip},
};

use crate::{any, filter::Filter};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH_ACK: u8 = 0x18;

/// What the program says of an answer: `XDP_TX`, `TC_ACT_REDIRECT`.
const fn answered(hook: Hook) -> u32 {
    match hook {
        Hook::Xdp => 3,
        Hook::In | Hook::Out => 7,
    }
}

fn rules(text: &str) -> RuleSet {
    text.parse()
        .unwrap_or_else(|error| nke_tests::fail(format!("{text}: {error}")))
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("it is folded")).to_be_bytes()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The IP packet that goes back: without options, from who was meant, of 64 hops.
fn back(to: &Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (octets(to.destination), octets(to.source));
    let length = u16::try_from(payload.len()).expect("it is short");
    if to.source.is_ipv6() {
        let [high, low] = length.to_be_bytes();
        let front = [0x60, 0, 0, 0, high, low, protocol, 64];
        return [&front[..], &source, &destination, payload].concat();
    }
    let [high, low] = (length + 20).to_be_bytes();
    let class = if protocol == 6 { 0 } else { 0xc0 };
    let mut front = [0x45, class, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    let sum = checksum(&[&front, &source, &destination]);
    front[10..].copy_from_slice(&sum);
    [&front[..], &source, &destination, payload].concat()
}

fn pseudo(to: &Ip, protocol: u8, length: usize) -> Vec<u8> {
    let length = u8::try_from(length).expect("it is short");
    let rest = vec![0, protocol, 0, length];
    [octets(to.source), octets(to.destination), rest].concat()
}

/// A RST from port 53 to port 7.
fn reset(to: &Ip, sequence: u32, acknowledged: u32, flags: u8) -> Vec<u8> {
    let mut tcp = vec![0, 53, 0, 7];
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    let sum = checksum(&[&pseudo(to, 6, 20), &tcp]);
    tcp[16..18].copy_from_slice(&sum);
    back(to, 6, &tcp)
}

/// An error of ICMP, of IPv4 and of IPv6, that quotes so much.
fn error(to: &Ip, kinds: [[u8; 2]; 2], quoted: &[u8]) -> Vec<u8> {
    let v6 = to.source.is_ipv6();
    let [kind, code] = kinds[usize::from(v6)];
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
    let sum = if v6 {
        checksum(&[&pseudo(to, 58, message.len()), &message])
    } else {
        checksum(&[&message])
    };
    message[2..4].copy_from_slice(&sum);
    back(to, if v6 { 58 } else { 1 }, &message)
}

const PORT: [[u8; 2]; 2] = [[3, 3], [1, 4]];

/// A segment from port 7 to port 53 whose numbers are 1000 and 2000.
fn segment(ip: &Ip, flags: u8, data: usize) -> Vec<u8> {
    let mut tcp = vec![0, 7, 0, 53, 0, 0, 3, 0xe8, 0, 0, 7, 0xd0, 0x50, flags];
    tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
    tcp.resize(20 + data, 0x55);
    ip.packet(6, &tcp)
}

fn families() -> [Ip; 2] {
    [
        Ip::new("10.1.0.1", "10.1.0.2"),
        Ip::new("fd01::1", "fd01::2"),
    ]
}

/// A frame to the inside, and what comes back, or nothing where nothing does.
type Case = (&'static str, Vec<u8>, Option<Vec<u8>>);

fn to() -> Frame {
    Frame::from_outside()
}

fn from() -> Frame {
    Frame::from_inside()
}

fn tagged(frame: Frame) -> Frame {
    frame.tag(0x88a8, 9).vlan(7)
}

/// The same header with eight bytes of options, or of hop-by-hop options: their length behind the first eight, and padding.
fn with_options(ip: &Ip) -> Ip {
    let mut ip = ip.clone();
    ip.extensions.push(if ip.source.is_ipv4() {
        (0, vec![1; 8])
    } else {
        (0, vec![0, 1, 4, 0, 0, 0, 0])
    });
    ip
}

fn segments(ip: &Ip) -> Vec<Case> {
    let syn = reset(ip, 0, 1001, 0x14);
    vec![
        ("SYN", to().ip(&segment(ip, SYN, 0)), Some(from().ip(&syn))),
        (
            "SYN and FIN with data",
            tagged(to()).ip(&segment(ip, SYN | FIN, 40)),
            Some(tagged(from()).ip(&reset(ip, 0, 1042, 0x14))),
        ),
        (
            "data",
            to().vlan(7).ip(&segment(ip, PSH_ACK, 1200)),
            Some(from().vlan(7).ip(&reset(ip, 2000, 0, RST))),
        ),
        (
            "SYN behind options",
            to().ip(&segment(&with_options(ip), SYN, 0)),
            Some(from().ip(&syn)),
        ),
        ("RST", to().ip(&segment(ip, RST, 0)), None),
        ("RST and ACK", to().ip(&segment(ip, RST | 0x10, 0)), None),
    ]
}

fn others(ip: &Ip) -> Vec<Case> {
    let (head, fragment) = if ip.source.is_ipv4() {
        (20, 0)
    } else {
        (40, 8)
    };
    let mut cases = Vec::new();
    for (name, data) in [("empty", 0), ("short", 3), ("long", 1200)] {
        let asked = ip.udp(7, 53, &vec![0xa5; data]);
        let quoted = head + 8 + data.min(12) / 4 * 4;
        let told = error(ip, PORT, &asked[..quoted]);
        cases.push((name, to().ip(&asked), Some(from().ip(&told))));
        let told = tagged(from()).ip(&told);
        cases.push((name, tagged(to()).ip(&asked), Some(told)));
    }
    let mut told = |name, asked: &[u8], quoted: usize| {
        let told = error(ip, PORT, &asked[..quoted]);
        cases.push((name, to().ip(asked), Some(from().ip(&told))));
    };
    let padded = [ip.udp(7, 53, b""), vec![0; 18]].concat();
    told("padded", &padded, head + 8);
    let longer = with_options(ip).packet(17, &[0; 28]);
    told("behind options", &longer, head + 8 + 20);
    told("an echo request", &ip.echo(), head + 8);
    let parts = ip.udp_fragments(7, 53, &[0; 40], &[24, 24]);
    told("a first fragment", &parts[0], head + fragment + 20);
    cases.push(("a later fragment", to().ip(&parts[1]), None));
    let [kind, number] = if head == 20 { [3, 1] } else { [1, 58] };
    let quoting = [&[kind, 0, 0, 0, 0, 0, 0, 0], &ip.udp(1, 2, b"")[..]].concat();
    cases.push(("an error", to().ip(&ip.packet(number, &quoting)), None));
    let mut group = to().ip(&ip.udp(7, 53, b""));
    group[0] = 1;
    cases.push(("a frame to a group", group, None));
    cases
}

fn cases() -> Vec<Case> {
    let families = families();
    let both = families.iter();
    let mut cases: Vec<_> = both
        .flat_map(|ip| [segments(ip), others(ip)].concat())
        .collect();
    for (source, destination) in [
        ("10.1.0.1", "224.0.0.251"),
        ("10.1.0.1", "255.255.255.255"),
        ("0.0.0.0", "10.1.0.2"),
        ("fd01::1", "ff02::fb"),
        ("::", "fd01::2"),
    ] {
        let packet = Ip::new(source, destination).udp(7, 53, b"");
        cases.push(("not of one host", to().ip(&packet), None));
    }
    cases.push(("not IP", to().of(0x0806, &[0; 46]), None));
    cases
}

#[test]
fn every_answer_is_right_to_the_byte() {
    for hook in Hook::ALL {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        filter.write(&rules("reject"));
        for (name, frame, answer) in cases() {
            let run = filter.made_over(&frame);
            let Some(answer) = answer else {
                assert_eq!(run.answer, hook.drop(), "{name} at {hook:?}");
                continue;
            };
            assert_eq!(
                run.answer,
                answered(hook),
                "{name} at {hook:?}: {frame:02x?}"
            );
            assert_eq!(run.packet, answer, "{name} at {hook:?}: {frame:02x?}");
        }
        let hits = filter.read().rules[0].1.packets;
        assert_eq!(hits, cases().len() as u64, "all count");
    }
}

/// The checksums and lengths of an answer must be right, whatever was asked.
#[track_caller]
fn assert_sound(answer: &[u8], asked: &[u8]) {
    let mut at = 12;
    while matches!(answer[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    let ip = &answer[at + 2..];
    let (head, protocol, length) = match answer[at..at + 2] {
        [0x08, 0x00] => (20, ip[9], usize::from(u16::from_be_bytes([ip[2], ip[3]]))),
        _ => (
            40,
            ip[6],
            40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])),
        ),
    };
    assert_eq!(length, ip.len(), "{asked:02x?}: {answer:02x?}");
    assert!(length <= head + 8 + 100, "{asked:02x?}: {answer:02x?}");
    let (front, rest) = ip.split_at(head);
    let addresses = &front[if head == 20 { 12 } else { 8 }..];
    let length = u8::try_from(rest.len()).expect("it is short");
    let pseudo = [addresses, &[0, protocol, 0, length]].concat();
    let sum = match (head, protocol) {
        (20, 1) => checksum(&[rest]),
        _ => checksum(&[&pseudo, rest]),
    };
    assert_eq!(sum, [0, 0], "{asked:02x?}: {answer:02x?}");
    if head == 20 {
        assert_eq!(checksum(&[front]), [0, 0], "{asked:02x?}: {answer:02x?}");
    }
}

#[test]
fn whatever_comes_gets_a_sound_answer_or_none() {
    for hook in Hook::ALL {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        world.nke(&["set", "packet-filter", "answers=1000000"]).ok();
        let mut dice = Dice::new(7);
        let mut answers = 0;
        for text in ["reject", "reject with no-route"] {
            filter.write(&rules(text));
            for _ in 0..2000 {
                let asked = any::packet(&mut dice);
                // Of TC, only packets whose IP header is whole are run.
                if filter.run_code(&asked) != Some(answered(hook)) {
                    continue;
                }
                answers += 1;
                assert_sound(&filter.made_over(&asked).packet, &asked);
            }
        }
        assert!(answers > 200, "{hook:?}: {answers}");
    }
}

#[test]
fn a_rule_says_what_is_told() {
    let kinds = [
        ("port-unreachable", PORT),
        ("host-unreachable", [[3, 1], [1, 3]]),
        ("no-route", [[3, 0], [1, 0]]),
        ("admin-prohibited", [[3, 13], [1, 1]]),
    ];
    for hook in Hook::ALL {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        for (word, kinds) in kinds {
            filter.write(&rules(&format!(
                "reject with {word} log 1/9 proto {{ tcp, udp }}"
            )));
            for ip in families() {
                let asked = segment(&ip, SYN, 0);
                let run = filter.made_over(&Frame::from_outside().ip(&asked));
                let told = Frame::from_inside().ip(&error(&ip, kinds, &asked));
                assert_eq!((run.answer, run.packet), (answered(hook), told), "{word}");
            }
        }
    }
}

#[test]
fn what_is_redirected_is_left_as_it_is() {
    for hook in Hook::ALL {
        let world = World::new();
        world.inside.ip("link set lo up");
        world.inside.ip("link add other type veth peer far");
        let filter = Filter::attach(&world, hook);
        // More than a few, so that there are trees; by the command, which knows where the interfaces are.
        let text = "redirect to other log 1/9 to any port 53\ndrop to any port 1\ndrop to any port 2\n\
                    redirect to lo proto tcp\ndrop to any port 3\ncount\nredirect to other arp";
        let file = world.directory().join("rules");
        std::fs::write(&file, text).expect("the directory is ours");
        let file = file.display().to_string();
        world.at(hook, &["filter", "load", &file]).ok();
        let sent = match hook {
            Hook::Xdp => 4,
            Hook::In | Hook::Out => 7,
        };
        for ip in families() {
            for packet in [ip.udp(7, 53, b"query"), ip.tcp(7, 80, SYN)] {
                let frame = to().vlan(7).ip(&packet);
                let run = filter.made_over(&frame);
                assert_eq!((run.answer, run.packet), (sent, frame), "{hook:?}");
            }
        }
        let hits: Vec<_> = filter.read().rules.iter().map(|it| it.1.packets).collect();
        assert_eq!(hits, [2, 0, 0, 2, 0, 0, 0]);
    }
}

#[test]
fn answers_are_so_many_a_second() {
    for hook in Hook::ALL {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        filter.write(&rules("reject"));
        let frame = Frame::from_outside().ip(&Ip::new("10.1.0.1", "10.1.0.2").udp(7, 53, b""));
        assert_eq!(filter.made_over(&frame).answer, answered(hook));
        world.nke(&["set", "packet-filter", "answers=0"]).ok();
        assert_eq!(filter.made_over(&frame).answer, hook.drop(), "{hook:?}");
        world.nke(&["set", "packet-filter", "answers=1000000"]).ok();
        assert_eq!(filter.made_over(&frame).answer, answered(hook));
        assert_eq!(filter.read().rules[0].1.packets, 3);
    }
}
