//! The flows that `keep state` knows: one table for all attachments to an interface, or to a namespace.
//!
//! ```no_run
//! use std::path::Path;
//! use nke::filter::Table;
//!
//! let table = Table::open(Path::new("/run/nke/chains/…/maps"))?;
//! if let Some(states) = table.states()?.read()? {
//!     println!("{} flows of {}", states.flows.len(), states.limit);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A table is made with the first rule that keeps state. To drop all flows, or to have room for another
//! number, is to put an empty one in its place: a single pointer. This never writes what programs write.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::maps::MapError;
use nke_ebpf::abi::{
    self,
    states::{BUCKET_WORDS, Bucket, Counted, FLOW_WORDS, FORMAT, KEY_WORDS, MAP, PLACES, header},
};
use nke_ebpf::states::{Found, Mark, Phase, Probe, TICK_SHIFT, Ticks, enter, find};
use nke_ebpf::{Flow, Frame};

use super::error::Error;
use super::judge::{Decider, Judgement};
use super::rule::{Action, Direction, Protocol, RuleSet};
use crate::sys::{self, map::Shape};

/// How many flows a table has places for unless another number is asked for: 9 MB.
pub const DEFAULT_LIMIT: u32 = 1 << 16;

/// The most that can be asked for: 1.1 GB.
pub const LARGEST_LIMIT: u32 = 1 << 23;

/// `BPF_F_MMAPABLE`, for what the kernel aligns to pages, and `BPF_F_INNER_MAP`.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// The only entry of the map of tables.
const KEY: [u8; 4] = [0; 4];

const NANOSECONDS: u64 = 1_000_000_000;

/// The table of flows that an attachment has with others.
#[derive(Debug)]
pub struct States {
    tables: OwnedFd,
    kept: Option<OwnedFd>,
}

/// A table that nobody uses yet.
pub(super) struct Fresh(OwnedFd);

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFlows {
    /// How many places it has.
    pub limit: u32,
    /// Flows that were entered, ever.
    pub made: u64,
    /// Flows whose time was over, of those that have been looked at since.
    pub expired: u64,
    /// Flows that were only opening, or over, and went for want of room.
    pub evicted: u64,
    /// Flows that were passed and not entered, for want of room.
    pub refused: u64,
    /// The flows, in no order.
    pub flows: Vec<FlowState>,
}

/// A flow that was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowState {
    /// What it carries.
    pub protocol: Protocol,
    /// The end that began it: its address, and its port or the identifier of its echoes.
    pub from: (IpAddr, u16),
    /// The other end.
    pub to: (IpAddr, u16),
    /// Which way the first packet went.
    pub direction: Direction,
    /// How far it has come: `opening`, `answered`, `settled`, `closing` or `closed`.
    pub phase: &'static str,
    /// Since when it is known, in seconds.
    pub age: u64,
    /// For how many seconds no packet of it came by.
    pub idle: u64,
    /// After how many more seconds without a packet it is forgotten.
    pub expires: u64,
    /// Packets from the end that began, and from the other.
    pub packets: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// The number of the rule that let it through, and the stamp of its rule set: see [`Numbers`].
    rule: (u32, u32),
}

/// By what a table of flows knows the rules of one attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub(super) stamp: u32,
    /// The numbers of the rules, in order.
    pub(super) numbers: Vec<u32>,
}

impl Numbers {
    /// The place in the list, from 1, of the rule that let a flow through, if it is one of these.
    #[must_use]
    pub fn place(&self, flow: &FlowState) -> Option<usize> {
        let (number, stamp) = flow.rule;
        let place = self.numbers.iter().position(|known| *known == number)?;
        (stamp == self.stamp).then_some(place + 1)
    }
}

/// What the table of flows would say of packets that come one behind the other, with no time between.
#[derive(Debug)]
pub struct Followed {
    buckets: Vec<Bucket>,
}

impl Default for Followed {
    fn default() -> Self {
        const BUCKETS: u64 = DEFAULT_LIMIT as u64 / PLACES as u64;
        let buckets: Vec<_> = (0..=BUCKETS).map(|_| Bucket::default()).collect();
        if let Some(head) = buckets.first() {
            head.marks[header::FORMAT].set(FORMAT);
            head.marks[header::MASK].set(BUCKETS - 1);
        }
        Self { buckets }
    }
}

impl Followed {
    /// Whether a packet is of a flow that is known; else it is judged by the rules, as `judge` does, and its
    /// flow known from now on if one with `keep state` passes it. `has_link` says that it begins with its
    /// link header.
    pub fn judge(
        &self,
        rules: &RuleSet,
        judge: impl FnOnce() -> Judgement,
        bytes: &[u8],
        direction: Direction,
        has_link: bool,
    ) -> Judgement {
        let way = match direction {
            Direction::In => nke_ebpf::Direction::In,
            Direction::Out => nke_ebpf::Direction::Out,
        };
        let frame = if has_link {
            Frame::new(bytes, way)
        } else {
            Frame::without_link(bytes, way)
        };
        let keeps = rules.rules.iter().any(|rule| rule.keep_state);
        let probe = Flow::of(&frame).ok().map(|flow| Probe::of(&frame, &flow));
        let Some(mut probe) = probe.filter(|probe| keeps && probe.is_flow()) else {
            return judge();
        };
        if let Some(Found(rule)) = find(&*self.buckets, &probe, || 0) {
            return Judgement {
                action: Action::Pass,
                by: Decider::Rule((rule as usize).saturating_sub(1)),
            };
        }
        let judgement = judge();
        if let Decider::Rule(index) = judgement.by
            && rules.rules[index].keep_state
            && probe.begins()
        {
            probe.enter_for(index as u64 + 1);
            enter(&*self.buckets, &probe, 0);
        }
        judgement
    }
}

const fn failed(operation: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Map {
        operation,
        source: MapError::IoError(source),
    }
}

impl States {
    /// The tables that lie in this map.
    pub(super) const fn new(tables: OwnedFd) -> Self {
        let kept = None;
        Self { tables, kept }
    }

    /// The same, which say by this map whether there are any: see [`nke_ebpf::abi::states::KEPT`].
    pub(super) fn with_kept(self, kept: Option<OwnedFd>) -> Self {
        Self { kept, ..self }
    }

    /// The map that says whether there are any.
    pub(super) const fn kept(&self) -> Option<&OwnedFd> {
        self.kept.as_ref()
    }

    fn say_kept(&self, are: bool) -> Result<(), Error> {
        let value = u64::from(are).to_ne_bytes();
        let written = self
            .kept
            .as_ref()
            .map(|kept| sys::map::update(kept, &KEY, &value));
        written
            .unwrap_or(Ok(()))
            .map_err(failed("say that there are flows"))
    }

    /// The kernel's number of the map: attachments with the same one know the same flows.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses.
    pub fn id(&self) -> Result<u32, Error> {
        let described = sys::map::describe(&self.tables);
        Ok(described.map_err(failed("ask about the flows"))?.id)
    }

    /// Whether there is a table.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses.
    pub fn are_kept(&self) -> Result<bool, Error> {
        Ok(self.in_force()?.is_some())
    }

    /// The flows that are known now; nothing if no rule has ever kept state here.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses.
    pub fn read(&self) -> Result<Option<KnownFlows>, Error> {
        let Some(table) = self.in_force()? else {
            return Ok(None);
        };
        let failed = failed("read the flows");
        let head = element(&table, 0).map_err(&failed)?;
        if head[header::FORMAT] != FORMAT {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        let now = now();
        let buckets = sys::map::describe(&table).map_err(&failed)?.max_entries - 1;
        let mut flows = Vec::new();
        for index in 1..=buckets {
            let words = element(&table, index).map_err(&failed)?;
            flows.extend(flows_of(&words, now));
        }
        let count = |what: Counted| head[header::COUNTS + what as usize];
        Ok(Some(KnownFlows {
            limit: buckets * PLACES as u32,
            made: count(Counted::Made),
            expired: count(Counted::Expired),
            evicted: count(Counted::Evicted),
            refused: count(Counted::Refused),
            flows,
        }))
    }

    /// Forgets all flows, and what was counted. With a number it has so many places from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] if the kernel refuses; then nothing is changed.
    pub fn flush(&mut self, limit: Option<u32>) -> Result<(), Error> {
        let old = self.in_force()?.map(|table| sys::map::describe(&table));
        let old = old.transpose().map_err(failed("ask about the flows"))?;
        let old = old.map(|table| (table.max_entries - 1) * PLACES as u32);
        let Some(limit) = limit.or(old) else {
            return Ok(());
        };
        let fresh = Fresh::make(limit)?;
        self.put_in_force(&fresh)
    }

    pub(super) fn put_in_force(&mut self, Fresh(table): &Fresh) -> Result<(), Error> {
        // Who does not look the table up must have stopped before.
        self.say_kept(true)?;
        let value = table.as_raw_fd().to_ne_bytes();
        sys::map::update(&self.tables, &KEY, &value)
            .map_err(failed("put a table of flows in force"))
    }

    pub(super) fn take_away(&mut self) -> Result<(), Error> {
        sys::map::delete(&self.tables, &KEY).map_err(failed("take the table of flows away"))?;
        self.say_kept(false)
    }

    fn in_force(&self) -> Result<Option<OwnedFd>, Error> {
        let failed = failed("read the flows");
        let mut id = [0; 4];
        let there = sys::map::lookup(&self.tables, &KEY, &mut id).map_err(&failed)?;
        let open = |()| sys::map::open(u32::from_ne_bytes(id));
        there.map(open).transpose().map_err(&failed)
    }
}

impl Fresh {
    /// Makes an empty table with at least so many places.
    pub(super) fn make(limit: u32) -> Result<Self, Error> {
        let limit = limit.clamp(PLACES as u32, LARGEST_LIMIT);
        let buckets = limit.div_ceil(PLACES as u32).next_power_of_two();
        let shape = Shape {
            flags: FLAGS,
            max_entries: buckets + 1,
            ..Shape::array(MAP, (BUCKET_WORDS * 8) as u32)
        };
        let failed = failed("make a table of flows");
        let table = sys::map::create(shape).map_err(&failed)?;
        let mut words = [0; BUCKET_WORDS];
        words[header::FORMAT] = FORMAT;
        words[header::SEED] = RandomState::new().hash_one(table.as_raw_fd());
        words[header::MASK] = u64::from(buckets - 1);
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word: &u64| word.to_ne_bytes())
            .collect();
        sys::map::update(&table, &KEY, &bytes).map_err(&failed)?;
        Ok(Self(table))
    }
}

fn element(table: &OwnedFd, index: u32) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; BUCKET_WORDS * 8];
    sys::map::lookup(table.as_fd(), &index.to_ne_bytes(), &mut bytes)?;
    let (words, _) = bytes.as_chunks();
    Ok(words.iter().copied().map(u64::from_ne_bytes).collect())
}

/// Nanoseconds of the clock that programs read.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(now.tv_sec) * NANOSECONDS + part(now.tv_nsec)
}

/// The flows of a bucket whose time is not over.
fn flows_of(words: &[u64], now: u64) -> Vec<FlowState> {
    let Some((marks, flows)) = words.split_at_checked(PLACES) else {
        return Vec::new();
    };
    let (flows, _) = flows.as_chunks::<FLOW_WORDS>();
    let marked = marks.iter().map(|mark| Mark(*mark)).zip(flows);
    marked
        .filter_map(|(mark, flow)| flow_of(mark, flow, now))
        .collect()
}

fn flow_of(mark: Mark, flow: &[u64; FLOW_WORDS], now: u64) -> Option<FlowState> {
    let ticks = (now >> TICK_SHIFT) as Ticks;
    mark.kind()?;
    if mark.is_expired(ticks) != 0 {
        return None;
    }
    let [a, b, c, d, ports, rule, begun, _, p0, p1, b0, b1, ..] = *flow;
    const _: () = assert!(KEY_WORDS == 5);
    let is_v6 = ports >> 40 & 1 != 0;
    let mut ends = [
        (address([a, b], is_v6), ports as u16),
        (address([c, d], is_v6), (ports >> 16) as u16),
    ];
    if mark.from_high() {
        ends.reverse();
    }
    let idle = (u64::from(mark.age(ticks)) << TICK_SHIFT) / NANOSECONDS;
    let [from, to] = ends;
    Some(FlowState {
        protocol: Protocol((ports >> 32) as u8),
        from,
        to,
        direction: if begun & 1 == 0 {
            Direction::In
        } else {
            Direction::Out
        },
        phase: match mark.phase() {
            Phase::Opening => "opening",
            Phase::Answered => "answered",
            Phase::Settled => "settled",
            Phase::Closing => "closing",
            Phase::Closed => "closed",
        },
        age: now.saturating_sub(begun) / NANOSECONDS,
        idle,
        expires: u64::from(mark.timeout()).saturating_sub(idle),
        packets: [p0, p1],
        bytes: [b0, b1],
        rule: abi::split(rule),
    })
}

fn address([first, second]: [u64; 2], is_v6: bool) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = first.to_ne_bytes();
    if !is_v6 {
        return Ipv4Addr::new(a, b, c, d).into();
    }
    let [i, j, k, l, m, n, o, p] = second.to_ne_bytes();
    Ipv6Addr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]).into()
}
