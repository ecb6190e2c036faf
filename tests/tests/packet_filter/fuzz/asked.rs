//! The named sets that rule sets of the fuzzer ask for: drawn, edited between packets, and known as plain lists.
//!
//! How a set is searched is one code for the kernel and for the plain reading of the rules. So what that
//! finds is compared with the lists here.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use nke::filter::{
    About, Ends, KnownSets, Lasting, Member, NamedSet, Packet, PortProtocol, PortRange, Prefix,
    Rule, RuleSet, Set, SetKind, SetName, Sets, StatedMembers, StatedSet, now,
};
use nke_tests::Dice;

use crate::any::{self, ADDRESS_SETS, PAIRS, PORT_SET, PORTS, V4, V6};

/// Nanoseconds of an hour: no member ends while it is asked for.
const HOUR: u64 = 3_600_000_000_000;

/// How many members a large set has, and the lengths of its prefixes: what has an index of buckets, one of blocks, and
/// layouts of its own.
const LARGE: [(usize, RangeInclusive<u8>); 5] = [
    (17_000, 32..=32),
    (17_000, 18..=32),
    (17_000, 24..=24),
    (46_000, 32..=32),
    (66_000, 16..=24),
];

/// A set, and what is meant to be in it.
struct Model {
    set: NamedSet,
    ends: HashMap<Member, Option<u64>>,
    /// What is in it, or was: to draw from.
    listed: Vec<Member>,
    /// What packets are compared by: the side, and the rules that ask whether it is in the set, and whether it is not.
    asked: [(bool, [Rule; 2]); 2],
}

/// All sets, in the kernel and as they are meant.
pub(super) struct AskedSets {
    sets: Sets,
    all: Vec<Model>,
    known: KnownSets,
}

impl AskedSets {
    pub(super) fn new(sets: Sets) -> Self {
        Self {
            sets,
            all: Vec::new(),
            known: KnownSets::default(),
        }
    }

    pub(super) const fn known(&self) -> &KnownSets {
        &self.known
    }

    /// Takes all away: no rule may ask for them.
    pub(super) fn clear(&mut self) {
        for model in self.all.drain(..) {
            self.sets.remove(model.set).expect("it is there");
        }
        self.known = KnownSets::default();
    }

    /// Other sets in the place of all, one of them large if it is to be.
    pub(super) fn draw(&mut self, dice: &mut Dice, large: bool) {
        self.clear();
        let [few, many] = ADDRESS_SETS;
        for (name, kind) in [
            (few, SetKind::Addresses),
            (PORT_SET, SetKind::Ports),
            (PAIRS, SetKind::Pairs),
        ] {
            let count = dice.pick(&[0, 1, 2, 5, 12]);
            let members: Vec<_> = (0..count).flat_map(|_| drawn(dice, kind)).collect();
            self.make(name, kind, &members);
        }
        let members = if large {
            large_members(dice)
        } else {
            let count = dice.pick(&[5, 60, 300]);
            (0..count)
                .flat_map(|_| drawn(dice, SetKind::Addresses))
                .collect()
        };
        self.make(many, SetKind::Addresses, &members);
    }

    /// The sets that a file states.
    pub(super) fn state(&mut self, sets: &[StatedSet]) {
        self.clear();
        for set in sets {
            self.make(
                set.about.name.as_str(),
                set.about.kind,
                &set.members_at(now()),
            );
        }
    }

    fn make(&mut self, name: &str, kind: SetKind, members: &[Lasting]) {
        let about = About::new(name.parse().expect("a name"), kind);
        let set = self.sets.create(&about, members).expect("it is made");
        let port = if kind == SetKind::Ports {
            "any port "
        } else {
            ""
        };
        let rule = |side: &str, not: &str| -> Rule {
            let line = format!("pass {side} {port}{not}@{name}");
            line.parse().expect("a rule")
        };
        let asked = [(true, "from"), (false, "to")]
            .map(|(source, side)| (source, [rule(side, ""), rule(side, "not ")]));
        self.all.push(Model {
            set,
            ends: HashMap::new(),
            listed: Vec::new(),
            asked,
        });
        let index = self.all.len() - 1;
        self.all[index].mean(members);
        self.note(index);
    }

    /// Has the plain reading know what is meant to be in a set.
    fn note(&mut self, index: usize) {
        let model = &self.all[index];
        let set = Set::of(model.set.about(), &model.lasting()).expect("it is not too large");
        let known = KnownSets::from_iter([(model.set.about().name, set)]);
        self.known = std::mem::take(&mut self.known).with(known);
    }

    /// One set is edited, in one of the ways that there are.
    pub(super) fn edit(&mut self, dice: &mut Dice) {
        if self.all.is_empty() {
            return;
        }
        let index = dice.below(self.all.len());
        let model = &mut self.all[index];
        let kind = model.set.about().kind;
        match dice.below(5) {
            0 | 1 => {
                let new: Vec<_> = (0..=dice.below(4))
                    .flat_map(|_| drawn(dice, kind))
                    .collect();
                model.set.add(&self.sets, &new).expect("they fit");
                model.mean(&new);
            }
            2 | 3 if !model.listed.is_empty() => {
                let gone = model.listed[dice.below(model.listed.len())];
                let was = model.ends.remove(&gone).is_some();
                assert_eq!(model.set.delete(&[gone]).is_ok(), was, "{gone}");
            }
            _ => {
                let mut kept = model.lasting();
                kept.retain(|_| !dice.once_in(3));
                kept.extend(drawn(dice, kind));
                model.replace(&self.sets, &kept);
            }
        }
        self.note(index);
    }

    /// Has a packet meet a member, or just miss it.
    pub(super) fn edge(&self, dice: &mut Dice) -> Option<IpAddr> {
        let model = &self.all[dice.below(self.all.len())];
        if model.listed.is_empty() {
            return None;
        }
        match model.listed[dice.below(model.listed.len())] {
            Member::V4(prefix) => {
                let first = prefix.address().to_bits();
                let last = first | !prefix.mask().to_bits();
                let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                Some(Ipv4Addr::from_bits(dice.pick(&edges)).into())
            }
            Member::V6(prefix) => {
                let first = prefix.address().to_bits();
                let last = first | !prefix.mask().to_bits();
                let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                Some(Ipv6Addr::from_bits(dice.pick(&edges)).into())
            }
            Member::Pair { address, .. } => Some(address),
            Member::Ports(_) => None,
        }
    }

    /// Compares what the plain reading finds in the sets with what is meant to be in them.
    pub(super) fn compare(&self, packet: &Packet) {
        for model in &self.all {
            for (is_source, rules) in &model.asked {
                let is_in = model.is_in(packet, *is_source);
                let found = rules.each_ref();
                let found = found.map(|rule| rule.matches_with(packet, &self.known));
                let meant = [is_in == Some(true), is_in == Some(false)];
                let name = model.set.about().name;
                assert_eq!(found, meant, "@{name}, {packet:?}: {:?}", model.lasting());
            }
        }
    }

    /// How many sets there are.
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    /// What is in one of them.
    pub(super) fn members(&self, index: usize) -> Vec<Lasting> {
        self.all[index].lasting()
    }

    /// Puts these members in the place of all that a set has.
    pub(super) fn replace(&mut self, index: usize, members: &[Lasting]) {
        self.all[index].replace(&self.sets, members);
        self.note(index);
    }

    /// Those that rules ask for, as a file states them.
    pub(super) fn stated(&self, rules: &RuleSet) -> Vec<StatedSet> {
        let asked = memberships(rules);
        let asked = |model: &&Model| asked.contains(&model.set.about().name);
        self.all.iter().filter(asked).map(Model::stated).collect()
    }
}

/// The sets that rules ask for.
fn memberships(rules: &RuleSet) -> Vec<SetName> {
    let text = rules.to_string();
    let names = text.split(|c: char| c.is_whitespace() || c == ',');
    let names = names.filter_map(|word| word.strip_prefix('@'));
    names.map(|name| name.parse().expect("a name")).collect()
}

impl Model {
    /// These are in it from now on, beside others.
    fn mean(&mut self, members: &[Lasting]) {
        let now = now();
        for Lasting { member, until } in members {
            for one in singly(*member) {
                if until.is_none_or(|until| until > now) {
                    self.ends.insert(one, *until);
                } else {
                    self.ends.remove(&one);
                }
                self.listed.push(one);
            }
        }
    }

    /// These, and no others.
    fn replace(&mut self, sets: &Sets, members: &[Lasting]) {
        self.set = sets.replace(&self.set, members).expect("they fit");
        self.ends.clear();
        self.listed.clear();
        self.mean(members);
    }

    /// In an order that does not change.
    fn lasting(&self) -> Vec<Lasting> {
        let ends = self.ends.iter();
        let lasting = ends.map(|(member, until)| Lasting {
            member: *member,
            until: *until,
        });
        let mut all: Vec<_> = lasting.collect();
        all.sort_unstable_by_key(|it| it.member.order());
        all
    }

    fn stated(&self) -> StatedSet {
        let now = now();
        let mut members = self.lasting();
        for member in &mut members {
            member.until = member.until.map(|until| until.saturating_sub(now));
        }
        StatedSet {
            about: *self.set.about(),
            members: StatedMembers::Here(members),
            line: 0,
        }
    }

    /// Whether what a packet has on one side is in the set; nothing if it has nothing of the kind.
    fn is_in(&self, packet: &Packet, is_source: bool) -> Option<bool> {
        let ends = packet.ends.map(|ends| match ends {
            Ends::V4(from, to) => [IpAddr::from(from), IpAddr::from(to)],
            Ends::V6(from, to) => [IpAddr::from(from), IpAddr::from(to)],
        });
        let side = usize::from(!is_source);
        let address = ends.map(|ends| ends[side]);
        let port = packet.ports.map(|(from, to)| [from, to][side]);
        let has = |member: Member| self.ends.contains_key(&member);
        match self.set.about().kind {
            SetKind::Ports => port.map(|port| has(Member::Ports(PortRange::one(port)))),
            SetKind::Pairs => {
                let (address, port) = (address?, port?);
                let carried = PortProtocol::try_from(packet.protocol?).ok()?;
                let pair = |protocol| Member::Pair {
                    protocol,
                    address,
                    port,
                };
                Some(has(pair(None)) || has(pair(Some(carried))))
            }
            SetKind::Addresses => Some(match address? {
                IpAddr::V4(address) => (0..=32).any(|length| {
                    let prefix = Prefix::<Ipv4Addr>::new(address, length);
                    has(Member::V4(prefix.expect("a prefix")))
                }),
                IpAddr::V6(address) => (0..=128).any(|length| {
                    let prefix = Prefix::<Ipv6Addr>::new(address, length);
                    has(Member::V6(prefix.expect("a prefix")))
                }),
            }),
        }
    }
}

/// A range of ports is each of them.
fn singly(member: Member) -> Vec<Member> {
    match member {
        Member::Ports(range) => (range.first()..=range.last())
            .map(|port| Member::Ports(PortRange::one(port)))
            .collect(),
        Member::V4(_) | Member::V6(_) | Member::Pair { .. } => vec![member],
    }
}

/// A member, near to what the rules and packets have; some end in an hour, some have ended.
fn drawn(dice: &mut Dice, kind: SetKind) -> Option<Lasting> {
    let port = dice.pick(&PORTS);
    let is_timed = kind != SetKind::Ports && dice.once_in(4);
    let member = match kind {
        SetKind::Addresses if dice.once_in(3) => {
            let mut bits = any_v6(dice).to_bits();
            bits ^= u128::from(dice.once_in(2)) << dice.below(128);
            // Members that end can be of a few lengths only.
            let length = match is_timed {
                true => dice.pick(&[128, 64, 8]),
                false => dice.pick(&[128, 128, 127, 121, 120, 65, 64, 63, 9, 8]),
            };
            Member::V6(Prefix::<Ipv6Addr>::new(bits.into(), length)?)
        }
        SetKind::Addresses => {
            let bits = any_v4(dice).to_bits() ^ u32::from(dice.once_in(2)) << dice.below(32);
            let length = match is_timed {
                true => dice.pick(&[32, 24, 8]),
                false => dice.pick(&[32, 32, 32, 31, 26, 25, 24, 18, 17, 9, 8]),
            };
            Member::V4(Prefix::<Ipv4Addr>::new(bits.into(), length)?)
        }
        SetKind::Ports => {
            let last = port.saturating_add(dice.pick(&[0, 0, 1, 70]));
            Member::Ports(PortRange::new(port, last)?)
        }
        SetKind::Pairs => Member::Pair {
            protocol: dice.pick(&[
                None,
                None,
                Some(PortProtocol::Tcp),
                Some(PortProtocol::Udp),
                Some(PortProtocol::Sctp),
            ]),
            address: match dice.once_in(2) {
                true => any_v4(dice).into(),
                false => any_v6(dice).into(),
            },
            port,
        },
    };
    let until = is_timed.then(|| match dice.once_in(4) {
        true => now().saturating_sub(1),
        false => now() + HOUR,
    });
    Some(Lasting { member, until })
}

fn any_v4(dice: &mut Dice) -> Ipv4Addr {
    dice.pick(&V4).parse().expect("an address")
}

fn any_v6(dice: &mut Dice) -> Ipv6Addr {
    dice.pick(&V6).parse().expect("an address")
}

/// Members of one of the large sets, with a few of all kinds.
fn large_members(dice: &mut Dice) -> Vec<Lasting> {
    let (count, lengths) = LARGE[dice.below(LARGE.len())].clone();
    let span = usize::from(lengths.end() - lengths.start()) + 1;
    let mut members = Vec::with_capacity(count);
    while members.len() < count {
        let length = lengths.start() + dice.below(span) as u8;
        let bits = [
            10 + (dice.byte() & 1),
            dice.byte(),
            dice.byte(),
            dice.byte(),
        ];
        let prefix = Prefix::<Ipv4Addr>::new(bits.into(), length).expect("a prefix");
        members.push(Lasting::forever(Member::V4(prefix)));
    }
    if dice.once_in(2) {
        members.extend((0..20).filter_map(|_| drawn(dice, SetKind::Addresses)));
    }
    members
}

/// Rules that ask for the sets: of all that the language has, or few and plain.
pub(super) fn rules(dice: &mut Dice) -> RuleSet {
    match dice.once_in(2) {
        true => crate::rules_of(dice, &[1, 2, 3, 4, 6], any::plain_rule_of_sets),
        false => crate::rules_of(dice, &[1, 2, 3, 5, 10, 20, 40], any::rule_of_sets),
    }
}
