//! Sets against plain lists of what is in them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nke_ebpf::{
    abi::facts,
    set::{self as layout, Answer, Asked, HAS_BLOCKS, Kind, LEAST_SINGLES, SINGLES_SHIFT, Still},
};
use proptest::prelude::*;

use super::{build::Tables, member::words, *};
use crate::filter::rule::{PortProtocol, Prefix};

const NOW: u64 = 1_000;

fn about(kind: Kind) -> About {
    About::new("tested".parse().unwrap(), kind)
}

/// Addresses that meet often: few bits differ.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits & 0x8000_8183 | bits & 0x4040_4040))
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let mask = 0x8000_0000_0001_0000_8180_0000_0000_0083;
    any::<u128>().prop_map(move |bits| Ipv6Addr::from_bits(bits & mask))
}

fn prefix() -> impl Strategy<Value = Member> {
    let v4 = (v4(), 0u8..=32)
        .prop_map(|(address, length)| Prefix::<Ipv4Addr>::new(address, length).map(Member::V4));
    let v6 = (v6(), 0u8..=128)
        .prop_map(|(address, length)| Prefix::<Ipv6Addr>::new(address, length).map(Member::V6));
    prop_oneof![v4, v6].prop_map(Option::unwrap)
}

fn pair() -> impl Strategy<Value = Member> {
    let address = prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)];
    let protocols = vec![None, Some(PortProtocol::Tcp), Some(PortProtocol::Udp)];
    let port = prop_oneof![0u16..4, 125u16..131, 65533u16..=65535];
    (address, prop::sample::select(protocols), port).prop_map(|(address, protocol, port)| {
        Member::Pair {
            protocol,
            address,
            port,
        }
    })
}

fn ports() -> impl Strategy<Value = Member> {
    let low = (0u16..130, 0u16..130);
    let high = (65400u16..=65535, 65400u16..=65535);
    prop_oneof![low, high].prop_map(|(one, other)| {
        Member::Ports(PortRange::new(one.min(other), one.max(other)).unwrap())
    })
}

fn of(kind: Kind) -> BoxedStrategy<Member> {
    match kind {
        Kind::Addresses => prefix().boxed(),
        Kind::Ports => ports().boxed(),
        Kind::Pairs => pair().boxed(),
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&[Kind::Addresses, Kind::Ports, Kind::Pairs][..])
}

/// Packets that come near a member: its first and last address, and those just outside.
fn near(member: &Member) -> Vec<Asked> {
    let asked = |address: IpAddr, port: u16, protocol: u64| Asked {
        facts: facts::PORTS
            | facts::PROTOCOL
            | protocol << facts::PROTOCOL_SHIFT
            | if address.is_ipv6() {
                facts::V6
            } else {
                facts::V4
            },
        address: words(address),
        port: port.into(),
    };
    let any = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    match member {
        Member::V4(prefix) => {
            let first = prefix.address().to_bits();
            let last = first | !prefix.mask().to_bits();
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| asked(IpAddr::V4(Ipv4Addr::from_bits(bits)), 1, 6))
                .to_vec()
        }
        Member::V6(prefix) => {
            let first = prefix.address().to_bits();
            let last = first | !prefix.mask().to_bits();
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| asked(IpAddr::V6(Ipv6Addr::from_bits(bits)), 1, 6))
                .to_vec()
        }
        Member::Ports(range) => [
            range.first(),
            range.last(),
            range.first().wrapping_sub(1),
            range.last().wrapping_add(1),
        ]
        .map(|port| asked(any, port, 17))
        .to_vec(),
        Member::Pair { address, port, .. } => [
            (*port, 6),
            (*port, 17),
            (port.wrapping_add(1), 6),
            (port.wrapping_sub(1), 17),
        ]
        .map(|(port, protocol)| asked(*address, port, protocol))
        .to_vec(),
    }
}

/// What is meant, in so few words that it can be believed.
fn is_in(members: &HashMap<Member, Option<u64>>, asked: &Asked) -> bool {
    let live = members
        .iter()
        .filter(|(_, until)| until.is_none_or(|until| until > NOW));
    let protocol = asked.facts >> facts::PROTOCOL_SHIFT & 0xff;
    let port = u16::try_from(asked.port).unwrap();
    let is_v6 = asked.facts & facts::V6 != 0;
    let [high, low] = asked.address.map(u64::from_be);
    let v4 = Ipv4Addr::from_bits(u32::try_from(high >> 32).unwrap());
    let v6 = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    live.into_iter().any(|(member, _)| match member {
        Member::V4(prefix) => !is_v6 && prefix.contains(v4),
        Member::V6(prefix) => is_v6 && prefix.contains(v6),
        Member::Ports(range) => range.contains(port),
        Member::Pair {
            protocol: wanted,
            address,
            port: wanted_port,
        } => {
            let same = match address {
                IpAddr::V4(address) => !is_v6 && *address == v4,
                IpAddr::V6(address) => is_v6 && *address == v6,
            };
            same && *wanted_port == port
                && wanted.is_none_or(|it| u64::from(it.protocol().0) == protocol)
        }
    })
}

/// A timeout that is over, or is not, of a member whose length there is room for.
fn until() -> impl Strategy<Value = Option<u64>> {
    prop::sample::select(&[None, Some(NOW), Some(NOW + 1)][..])
}

fn lasting(kind: Kind) -> BoxedStrategy<Lasting> {
    let all = (of(kind), until()).prop_map(|(member, until)| {
        let timed = match member {
            Member::V4(prefix) => prefix.length().is_multiple_of(8),
            Member::V6(prefix) => prefix.length().is_multiple_of(16) && prefix.length() > 0,
            Member::Ports(_) => false,
            Member::Pair { .. } => true,
        };
        let until = until.filter(|_| timed);
        Lasting { member, until }
    });
    all.boxed()
}

#[derive(Clone, Debug)]
enum Edit {
    Add(Lasting),
    Remove(Member),
}

fn history() -> impl Strategy<Value = (Kind, Vec<Lasting>, Vec<Edit>)> {
    kind().prop_flat_map(|kind| {
        let edit = prop_oneof![
            lasting(kind).prop_map(Edit::Add),
            of(kind).prop_map(Edit::Remove)
        ];
        (
            Just(kind),
            prop::collection::vec(lasting(kind), 0..60),
            prop::collection::vec(edit, 0..60),
        )
    })
}

fn members(set: &Set) -> Vec<Lasting> {
    let mut members = Vec::new();
    set.for_each(NOW, |member| members.push(member)).unwrap();
    members
}

/// Ports are ranges, which flow together and apart: the model has them one by one.
fn single(members: &mut HashMap<Member, Option<u64>>, member: Member, until: Option<Option<u64>>) {
    let singles: Vec<_> = match member {
        Member::Ports(range) => (range.first()..=range.last())
            .map(|port| Member::Ports(PortRange::one(port)))
            .collect(),
        Member::V4(_) | Member::V6(_) | Member::Pair { .. } => vec![member],
    };
    for single in singles {
        match until {
            Some(until) => members.insert(single, until),
            None => members.remove(&single),
        };
    }
}

proptest! {
    #[test]
    fn a_set_holds_what_was_put_into_it(
        (kind, begin, edits) in history(),
        (blocks, singles) in any::<(bool, bool)>(),
    ) {
        let tables = |members: &[Lasting]| Tables {
            blocks: blocks && kind == Kind::Addresses,
            singles: if singles && kind == Kind::Addresses { LEAST_SINGLES } else { 0 },
            places: members.len(),
        };
        let mut set = Set::with_tables(&about(kind), &begin, &tables(&begin)).unwrap();
        let mut model = HashMap::new();
        begin.iter().for_each(|it| single(&mut model, it.member, Some(it.until)));
        for edit in &edits {
            match edit {
                Edit::Add(new) => {
                    let lives = |was: &Option<u64>| was.is_none_or(|until| until > NOW);
                    let known = model.get(&new.member).is_some_and(lives);
                    let mut inserted = set.insert(*new, NOW).unwrap();
                    if inserted == Inserted::NoRoom {
                        let old = members(&set);
                        set = Set::with_tables(&about(kind), &old, &tables(&old)).unwrap();
                        inserted = set.insert(*new, NOW).unwrap();
                    }
                    if kind != Kind::Ports {
                        let was = matches!(inserted, Inserted::Known | Inserted::Lasts);
                        prop_assert_eq!(was, known);
                        let before = model.get(&new.member).copied().flatten();
                        let stays = known && before.is_none() && new.until.is_none();
                        prop_assert_eq!(inserted == Inserted::Known, stays);
                    }
                    single(&mut model, new.member, Some(new.until));
                }
                Edit::Remove(member) => {
                    set.remove(*member, NOW).unwrap();
                    single(&mut model, *member, None);
                }
            }
        }
        let touched = edits.iter().map(|edit| match edit {
            Edit::Add(Lasting { member, .. }) | Edit::Remove(member) => member,
        });
        for asked in begin.iter().map(|it| &it.member).chain(touched).flat_map(near) {
            let expected = if is_in(&model, &asked) { Answer::In } else { Answer::Out };
            prop_assert_eq!(set.ask(&asked, NOW), expected, "{:x?}", asked);
            if asked.facts & facts::V4 != 0 {
                // The short way says the same, or nothing.
                let lines = Still { lines: set.lines(), now: NOW };
                let short = layout::ask_v4(&lines, asked.address[0]);
                prop_assert!(short == expected || short == Answer::Nothing, "{:x?}", asked);
            }
        }
        let mut listed = HashMap::new();
        members(&set).iter().for_each(|it| single(&mut listed, it.member, Some(it.until)));
        model.retain(|_, until| until.is_none_or(|until| until > NOW));
        prop_assert_eq!(listed, model);
    }

    #[test]
    fn what_is_printed_is_read(member in kind().prop_flat_map(of)) {
        prop_assert_eq!(Member::read(member.kind(), &member.to_string()), Some(member));
        prop_assert_eq!(member.to_string().parse::<Member>().unwrap(), member);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}") {
        let _: Result<Member, NoMember> = text.parse();
    }

    #[test]
    fn no_lines_make_it_panic(
        kind in kind(),
        begin in prop::collection::vec(prefix(), 0..9),
        spoil in prop::collection::vec((0usize..64, 0usize..8, any::<u64>()), 1..9),
        member in prefix(),
    ) {
        let all: Vec<_> = begin.iter().copied().map(Lasting::forever).collect();
        let mut set = Set::of(&about(Kind::Addresses), &all).unwrap();
        let count = set.store.len();
        for (line, word, value) in spoil {
            set.store[line % count][word] = value;
        }
        set.store[0][0] = set.store[0][0] & 0xffff_ffff | (kind as u64) << 32;
        for asked in near(&member) {
            let _: Answer = set.ask(&asked, NOW);
        }
        let _: io::Result<Inserted> = set.insert(Lasting::forever(member), NOW);
        let _: io::Result<bool> = set.remove(member, NOW);
        let _: io::Result<()> = set.for_each(NOW, |_| {});
    }
}

#[test]
fn a_large_set_is_found_whole() {
    // As many as fill buckets, and make some overflow; any odd factor gives each another address.
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1)));
    let member = |n| Lasting::forever(Member::address(address(n)));
    let all: Vec<_> = (0..100_000).map(member).collect();
    let set = Set::of(&about(Kind::Addresses), &all).unwrap();
    assert!((0..100_000).all(|n| set.has_address(address(n))));
    assert!(!(100_000..200_000).any(|n| set.has_address(address(n))));
    // Of each line of 64 bytes ten of the twenty places for singles are taken.
    assert_ne!(set.store[0][0] >> SINGLES_SHIFT, 0);
    let bytes = size_of_val(set.lines()) / all.len();
    assert!(bytes <= 9, "{bytes}");
    let mut read = members(&set);
    read.sort_unstable_by_key(|it| it.member.to_string());
    let mut all = all;
    all.sort_unstable_by_key(|it| it.member.to_string());
    assert_eq!(read, all);
}

#[test]
fn many_networks_have_a_table_of_blocks() {
    // Of each four neighbours one is a /24, one a /23 across two, one has a /25.
    let network = |n: u32, length| {
        let address = Ipv4Addr::from_bits(n << 8);
        Lasting::forever(Member::V4(
            Prefix::<Ipv4Addr>::new(address, length).unwrap(),
        ))
    };
    let all: Vec<_> = (0..1 << 17)
        .map(|n: u32| match n % 4 {
            0 => network(n, 25),
            1 => network(n, 24),
            _ => network(n, 23),
        })
        .collect();
    let mut set = Set::of(&about(Kind::Addresses), &all).unwrap();
    assert_ne!(set.store[0][0] & HAS_BLOCKS, 0);
    let address = |n: u32, last: u32| IpAddr::V4(Ipv4Addr::from_bits(n << 8 | last));
    for n in (0..1 << 17).step_by(4) {
        let found = [0, 1, 2, 3].map(|block| set.has_address(address(n + block, 200)));
        assert_eq!(found, [false, true, true, true], "{n}");
        assert!(set.has_address(address(n, 100)), "{n}");
    }
    assert!(!set.has_address(address(1 << 17, 0)));
    // Within 512 networks of others, which stay.
    let wide: Member = "0.0.0.0/15".parse().unwrap();
    assert_eq!(
        set.insert(Lasting::forever(wide), NOW).unwrap(),
        Inserted::New
    );
    assert!(set.has_address(address(0, 200)));
    assert!(set.remove(wide, NOW).unwrap());
    assert!(!set.has_address(address(0, 200)));
    assert!(set.has_address(address(0, 100)) && set.has_address(address(1, 200)));
}

#[test]
fn what_is_alone_gets_a_node_when_another_comes() {
    let member = |text: &str| Lasting::forever(text.parse().unwrap());
    let lines = |set: &Set| set.store[1][NEXT];
    let mut set = Set::of(&about(Kind::Addresses), &[member("192.0.2.1")]).unwrap();
    let before = lines(&set);
    let (one, other) = (member("192.0.2.1"), member("192.0.2.0/25"));
    assert_eq!(set.insert(one, NOW).unwrap(), Inserted::Known);
    assert_eq!(lines(&set), before, "no node");
    assert!(set.remove(one.member, NOW).unwrap());
    assert_eq!(set.insert(member("192.0.2.2"), NOW).unwrap(), Inserted::New);
    assert_eq!(
        lines(&set),
        before,
        "its place is taken by another that is alone"
    );
    assert!(!set.has_address("192.0.2.1".parse().unwrap()));
    assert_eq!(set.insert(one, NOW).unwrap(), Inserted::New);
    assert_eq!(lines(&set), before + 1, "a node for two");
    // Of /19 to /25 one is alone elsewhere.
    assert_eq!(set.insert(other, NOW).unwrap(), Inserted::New);
    assert_eq!(lines(&set), before + 1);
    assert_eq!(members(&set).len(), 3);
}

#[test]
fn what_most_members_are_is_looked_for_first() {
    let all = ["10.0.0.0/8", "192.0.2.0/24", "192.0.3.0/24", "2001:db8::1"];
    let all = all.map(|text| Lasting::forever(text.parse().unwrap()));
    let set = Set::of(&about(Kind::Addresses), &all).unwrap();
    let levels = |is_v6: usize| set.store[0][LEVELS[is_v6].start];
    assert_eq!(levels(0), 19 | 5 << 8);
    assert_eq!(levels(1), 122);
}

#[test]
fn a_full_set_says_so() {
    let mut set = Set::of(&about(Kind::Addresses), &[]).unwrap();
    let mut all = (0..)
        .map(|n: u32| Lasting::forever(Member::address(IpAddr::V4(Ipv4Addr::from_bits(n << 8)))));
    let room = all
        .position(|member| set.insert(member, NOW).unwrap() == Inserted::NoRoom)
        .unwrap();
    assert!(room >= 4, "{room}");
    assert_eq!(members(&set).len(), room);
}

#[test]
fn timeouts_are_of_few_lengths() {
    let mut set = Set::of(&about(Kind::Addresses), &[]).unwrap();
    let until = Some(NOW + 1);
    for length in 1..10 {
        let member: Member = format!("192.0.2.1/{length}").parse().unwrap();
        let inserted = set.insert(Lasting { member, until }, NOW).unwrap();
        let fits = length <= LENGTHS;
        assert_eq!(inserted == Inserted::New, fits, "{inserted:?}");
        assert_eq!(inserted == Inserted::ManyLengths, !fits, "{inserted:?}");
    }
    let member = "2001:db8::/32".parse().unwrap();
    let inserted = set.insert(Lasting { member, until }, NOW).unwrap();
    assert_eq!(inserted, Inserted::New, "the other family has its own");
}

#[test]
fn of_another_kind_there_are_no_members() {
    let mut set = Set::of(&about(Kind::Ports), &[]).unwrap();
    let member = Lasting::forever("192.0.2.1".parse().unwrap());
    assert_eq!(set.insert(member, NOW).unwrap(), Inserted::OtherKind);
    assert!(!set.remove(member.member, NOW).unwrap());
    let set = Set::of(&about(Kind::Pairs), &[member]);
    assert_eq!(set.unwrap_err(), TooLarge::Kind);
}
