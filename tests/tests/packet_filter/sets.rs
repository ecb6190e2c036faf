//! Rules that ask for named sets, in the kernel, against plain lists of what is in the sets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nke::{
    control::Control,
    filter::{About, Action, Error, Lasting, Member, RuleSet, SetKind, Sets, now},
};
use nke_tests::{
    Deadline, Dice, Hook, World,
    frame::{Frame, Ip},
};

use crate::filter::Filter;

/// Histories of sets on each hook.
const HISTORIES: u64 = 12;
/// Edits of each, with packets after every one.
const EDITS: usize = 30;

pub(crate) fn sets(world: &World) -> Sets {
    let control = Control::open(&world.state()).expect("the state is there");
    control.sets("packet-filter").expect("the filter has sets")
}

pub(crate) fn rules(text: &str) -> RuleSet {
    text.parse()
        .unwrap_or_else(|error| nke_tests::fail(format!("{text}: {error}")))
}

pub(crate) fn about(name: &str, kind: SetKind) -> About {
    About::new(name.parse().expect("a name"), kind)
}

fn members(texts: &[&str]) -> Vec<Lasting> {
    let member = |text: &&str| Lasting::forever(text.parse().expect("a member"));
    texts.iter().map(member).collect()
}

/// Addresses that meet often: few bits differ.
fn address(dice: &mut Dice) -> IpAddr {
    let bits = u32::from_be_bytes([0x0a, dice.byte() & 0x81, dice.byte() & 0x3, dice.byte()]);
    match dice.once_in(3) {
        true => {
            let low = u64::from(bits & 0xf03);
            let high = 0x2001_0db8_0000_0000 | u64::from(bits & 0x3_0000);
            IpAddr::V6(Ipv6Addr::from_bits(
                u128::from(high) << 64 | u128::from(low),
            ))
        }
        false => IpAddr::V4(Ipv4Addr::from_bits(bits)),
    }
}

fn member(dice: &mut Dice, kind: SetKind) -> Member {
    let address = address(dice);
    let port = dice.pick(&[1, 53, 127, 128, 443, 65535]);
    let text = match (kind, address) {
        (SetKind::Addresses, _) if dice.once_in(2) => address.to_string(),
        (SetKind::Addresses, IpAddr::V4(_)) => format!("{address}/{}", dice.below(33)),
        (SetKind::Addresses, IpAddr::V6(_)) => format!("{address}/{}", dice.below(129)),
        (SetKind::Ports, _) => format!("{}-{}", port - dice.pick(&[0, 1]), port),
        (SetKind::Pairs, _) => {
            let end = std::net::SocketAddr::new(address, port);
            format!("{}{end}", dice.pick(&["", "", "udp:", "tcp:"]))
        }
    };
    text.parse().expect("a member")
}

/// What is meant, in so few words that it can be believed. Packets are UDP.
fn is_in(members: &[Member], address: IpAddr, port: u16) -> bool {
    members.iter().any(|member| match (member, address) {
        (Member::V4(prefix), IpAddr::V4(address)) => prefix.contains(address),
        (Member::V6(prefix), IpAddr::V6(address)) => prefix.contains(address),
        (Member::V4(_), IpAddr::V6(_)) | (Member::V6(_), IpAddr::V4(_)) => false,
        (Member::Ports(range), _) => range.contains(port),
        (
            Member::Pair {
                protocol,
                address: wanted,
                port: wanted_port,
            },
            _,
        ) => {
            let protocol = protocol.is_none_or(|it| it.protocol().0 == 17);
            protocol && *wanted == address && *wanted_port == port
        }
    })
}

pub(crate) fn udp(source: IpAddr, from: u16, destination: IpAddr, to: u16) -> Vec<u8> {
    let ip = Ip::new(&source.to_string(), &destination.to_string());
    Frame::from_outside().ip(&ip.udp(from, to, b""))
}

/// An address of the other end that is of the same family, and in no set.
pub(crate) fn other(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    }
}

#[test]
fn what_is_in_a_set_is_found_by_the_kernel() {
    for hook in Hook::ALL {
        let world = World::new();
        let mut filter = Filter::attach(&world, hook);
        let sets = sets(&world);
        for seed in 0..HISTORIES {
            let mut dice = Dice::new(seed);
            for kind in [SetKind::Addresses, SetKind::Ports, SetKind::Pairs] {
                history(&mut dice, &mut filter, &sets, kind);
            }
        }
    }
}

/// A set is made, asked for on both sides, with `not` and without, edited, and removed.
fn history(dice: &mut Dice, filter: &mut Filter, sets: &Sets, kind: SetKind) {
    let begin: Vec<_> = (0..dice.below(40)).map(|_| member(dice, kind)).collect();
    let lasting: Vec<_> = begin.iter().copied().map(Lasting::forever).collect();
    let mut set = sets
        .create(&about("tested", kind), &lasting)
        .expect("it is made");
    let mut model = begin;
    let side = dice.pick(&["from", "to"]);
    let not = dice.pick(&["", "not "]);
    let rule = match kind {
        SetKind::Ports => format!("drop {side} any port {not}@tested"),
        SetKind::Addresses | SetKind::Pairs => format!("drop {side} {not}@tested"),
    };
    let written = rules(&rule);
    filter.write(&written);
    assert_eq!(
        filter.read().rules(),
        written,
        "it reads back as it was written"
    );
    for _ in 0..EDITS {
        let edited = member(dice, kind);
        match (dice.below(3), kind) {
            (0, _) => {}
            (1, SetKind::Addresses | SetKind::Pairs) if model.contains(&edited) => {
                set.delete(&[edited]).expect("it is in it");
                model.retain(|it| *it != edited);
            }
            _ => {
                set.add(sets, &[Lasting::forever(edited)]).expect("it fits");
                model.push(edited);
            }
        }
        for _ in 0..8 {
            let (address, port) = near(dice, &model);
            let packet = match side {
                "from" => udp(address, port, other(address), 9),
                _ => udp(other(address), 9, address, port),
            };
            let Some(found) = filter.run(&packet) else {
                continue;
            };
            let drop = is_in(&model, address, port) == not.is_empty();
            let expected = if drop { Action::Drop } else { Action::Pass };
            assert_eq!(
                found, expected,
                "`{rule}` of {address} {port}, of {model:?}"
            );
        }
    }
    filter.write(&rules(""));
    sets.remove(set).expect("nobody asks for it");
}

/// An address and a port at the edge of a member, or anywhere.
fn near(dice: &mut Dice, members: &[Member]) -> (IpAddr, u16) {
    let port = dice.pick(&[0, 1, 2, 52, 53, 54, 127, 128, 443, 65534, 65535]);
    if members.is_empty() || dice.once_in(4) {
        return (address(dice), port);
    }
    match members[dice.below(members.len())] {
        Member::V4(prefix) => {
            let first = prefix.address().to_bits();
            let last = first | !prefix.mask().to_bits();
            let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            (IpAddr::V4(Ipv4Addr::from_bits(dice.pick(&all))), port)
        }
        Member::V6(prefix) => {
            let first = prefix.address().to_bits();
            let last = first | !prefix.mask().to_bits();
            let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            (IpAddr::V6(Ipv6Addr::from_bits(dice.pick(&all))), port)
        }
        Member::Ports(_) => (address(dice), port),
        Member::Pair { address, port, .. } => (address, dice.pick(&[port, port, port ^ 1])),
    }
}

fn from(source: &str) -> Vec<u8> {
    let source: IpAddr = source.parse().expect("an address");
    udp(source, 1, other(source), 2)
}

#[test]
fn a_member_ends_with_its_time() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let sets = sets(&world);
    let mut set = sets
        .create(
            &about("timed", SetKind::Addresses),
            &members(&["192.0.2.9"]),
        )
        .expect("it is made");
    filter.write(&rules("drop from @timed"));
    let lasting = |text: &str, until: u64| Lasting {
        member: text.parse().expect("a member"),
        until: Some(until),
    };
    let hour = 3_600_000_000_000;
    let soon = now() + 1_000_000_000;
    set.add(
        &sets,
        &[
            lasting("192.0.2.1", soon),
            lasting("198.51.100.0/24", now() + hour),
            lasting("192.0.2.2", now().saturating_sub(1)),
        ],
    )
    .expect("they fit");
    assert_eq!(
        filter.run(&from("192.0.2.2")),
        Some(Action::Pass),
        "it is over"
    );
    assert_eq!(filter.run(&from("198.51.100.7")), Some(Action::Drop));
    // Nobody runs a command: the kernel's own clock ends it.
    let ended = Deadline::generous().until(|| {
        let before = now();
        let found = filter.run(&from("192.0.2.1"));
        if now() < soon {
            assert_eq!(found, Some(Action::Drop));
        }
        if before >= soon {
            assert_eq!(found, Some(Action::Pass));
        }
        before >= soon
    });
    assert!(ended, "time stands still");
    assert_eq!(
        filter.run(&from("192.0.2.9")),
        Some(Action::Drop),
        "it lasts"
    );
    assert_eq!(
        filter.run(&from("198.51.100.7")),
        Some(Action::Drop),
        "an hour"
    );

    // What had a timeout can be told to last, and the other way round.
    set.add(&sets, &members(&["192.0.2.1"])).expect("it fits");
    assert_eq!(filter.run(&from("192.0.2.1")), Some(Action::Drop));
    set.add(&sets, &[lasting("192.0.2.9", now())])
        .expect("it fits");
    assert_eq!(filter.run(&from("192.0.2.9")), Some(Action::Pass));
}

#[test]
fn other_members_are_there_while_one_comes_and_goes() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let sets = sets(&world);
    // One is in both sets that take turns, and in neither is the last.
    let both = |more: &str| members(&["192.0.2.1", more, "10.0.0.0/8"]);
    let mut set = sets
        .create(&about("edited", SetKind::Addresses), &both("192.0.2.2"))
        .expect("it is made");
    filter.write(&rules("drop from @edited"));
    let stop = AtomicBool::new(false);
    let runners = filter.runners();
    assert_eq!(runners.len(), 2, "there is a fast path");
    thread::scope(|scope| {
        let packets = scope.spawn(|| {
            let (stays, wide, never) = (from("192.0.2.1"), from("10.9.8.7"), from("192.0.2.200"));
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let run = &runners[count as usize % 2];
                assert_eq!(run(&stays), Some(Action::Drop), "round {count}");
                assert_eq!(run(&wide), Some(Action::Drop), "round {count}");
                assert_eq!(run(&never), Some(Action::Pass), "round {count}");
                count += 1;
            }
            count
        });
        for round in 0..200u8 {
            // Neighbours of a node, of a bucket, and none.
            let texts = [
                format!("192.0.2.{}", round % 128 + 3),
                format!("{round}.1.1.1/16"),
            ];
            for text in &texts {
                let member = text.parse().expect("a member");
                set.add(&sets, &[Lasting::forever(member)])
                    .expect("it fits");
                if round % 2 == 0 && !text.starts_with("10.") {
                    set.delete(&[member]).expect("it is in it");
                }
            }
            if round % 10 == 0 {
                let more = format!("198.51.100.{round}");
                set = sets.replace(&set, &both(&more)).expect("it fits");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(packets.join().expect("no packet was judged wrongly") > 0);
    });
}

#[test]
fn rules_ask_for_sets_that_are_there() {
    let world = World::new();
    let mut filter = Filter::attach(&world, Hook::Xdp);
    let sets = sets(&world);
    sets.create(&about("blocklist", SetKind::Addresses), &[])
        .expect("it is made");
    sets.create(&about("web", SetKind::Ports), &members(&["443"]))
        .expect("it is made");
    let Err(Error::NoSet { name, meant, .. }) = filter.try_write(&rules("drop from @blokclist"))
    else {
        nke_tests::fail("a rule asks for what is not there");
    };
    assert_eq!(
        (name.as_str(), meant.as_deref()),
        ("blokclist", Some("blocklist"))
    );
    for wrong in ["drop from @web", "drop to any port @blocklist"] {
        let written = filter.try_write(&rules(wrong));
        assert!(
            matches!(written, Err(Error::SetKind { .. })),
            "{wrong}: {written:?}"
        );
    }
    assert!(filter.read().rules().rules.is_empty());

    // A set that is none any more: whoever asks for it, in whichever way, matches nothing.
    filter.write(&rules("drop from @blocklist\ndrop from not @blocklist"));
    assert_eq!(
        filter.run(&from("192.0.2.1")),
        Some(Action::Drop),
        "it is empty"
    );
    let set = sets.find("blocklist".parse().expect("a name"), "find");
    sets.remove(set.expect("it is there"))
        .expect("it is told to");
    assert_eq!(filter.run(&from("192.0.2.1")), Some(Action::Pass));
}
