//! Rates: how many packets or bytes a rule takes in a time.
//!
//! ```
//! use nke::filter::{Asked, Rule};
//!
//! let rule: Rule = "drop proto icmp limit over 10/s burst 20".parse()?;
//! assert!(matches!(rule.tests[0].what, Asked::Limit(limit) if limit.burst() == 20));
//! # Ok::<(), nke::filter::ParseError>(())
//! ```
//!
//! A limit fills up with time: what has rested holds a burst at once. All processors share it without a lock, and
//! at its edge each may let one packet more by. A limit `per source` is one for each sender of packets. Nothing here
//! knows the time; the kernel side does.

use std::fmt;

use nke_ebpf::abi::{self, limit};

use super::cursor::Cursor;
use super::parse::is_number;
use super::parse_error::{ParseError, Problem};

/// So many packets or bytes in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Limit {
    rate: u64,
    period: Period,
    bytes: bool,
    burst: u64,
    sources: Option<Sources>,
}

/// What is one source of packets: so many first bits of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sources {
    v4: u8,
    v6: u8,
}

impl Sources {
    /// An address of IPv4, and of IPv6 a network of 64 bits: within one a host chooses its addresses as it likes.
    pub const DEFAULT: Self = Self { v4: 32, v6: 64 };

    /// So many bits of IPv4, up to 32, and of IPv6, up to 128. Nothing if there are none, or more.
    #[must_use]
    pub fn new(v4: u8, v6: u8) -> Option<Self> {
        ((1..=32).contains(&v4) && (1..=128).contains(&v6)).then_some(Self { v4, v6 })
    }

    /// As `source`, `source/24` or `source/24/56` says it. A single length up to 32 is of IPv4, another of IPv6.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Self { v4, v6 } = Self::DEFAULT;
        let length = |text: &str| text.parse::<u8>().ok().filter(|_| is_number(text));
        let mut parts = text.strip_prefix("source")?.split('/');
        let (before, lengths) = (parts.next()?, [parts.next(), parts.next()]);
        if !before.is_empty() || parts.next().is_some() {
            return None;
        }
        match lengths.map(|it| it.map(length)) {
            [Some(Some(v4)), Some(Some(v6))] => Self::new(v4, v6),
            [Some(Some(one)), None] if one <= 32 => Self::new(one, v6),
            [Some(Some(one)), None] => Self::new(v4, one),
            [None, _] => Some(Self::DEFAULT),
            _ => None,
        }
    }
}

/// In which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Period {
    const ALL: [(Self, &str, &str, u64); 4] = [
        (Self::Second, "s", "second", 1),
        (Self::Minute, "m", "minute", 60),
        (Self::Hour, "h", "hour", 3600),
        (Self::Day, "d", "day", 86400),
    ];

    fn row(self) -> (&'static str, u64) {
        let mut rows = Self::ALL.iter();
        let row = rows.find(|(period, ..)| *period == self);
        row.map_or(("s", 1), |(_, letter, _, seconds)| (letter, *seconds))
    }
}

/// Shares are in nanoseconds times this.
const SCALE: u128 = 1 << 16;
/// A packet's bytes must not make more than the kernel side counts with.
const DEAREST_BYTE: u128 = 1 << 44;

impl Limit {
    /// So many packets, or bytes, in a time, and so many at once. Nothing if there are none of them, or
    /// they are more or less than can be counted.
    #[must_use]
    pub fn new(rate: u64, period: Period, bytes: bool, burst: u64) -> Option<Self> {
        let limit = Self {
            rate,
            period,
            bytes,
            burst,
            sources: None,
        };
        let cost = limit.cost()?;
        (burst != 0 && cost != 0 && !(bytes && cost >= DEAREST_BYTE)).then_some(limit)
    }

    /// What it takes at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The same with another burst; nothing of 0.
    #[must_use]
    pub fn with_burst(self, burst: u64) -> Option<Self> {
        let limit = Self::new(self.rate, self.period, self.bytes, burst)?;
        Some(Self {
            sources: self.sources,
            ..limit
        })
    }

    /// The same for each of these sources.
    #[must_use]
    pub const fn per(self, sources: Sources) -> Self {
        Self {
            sources: Some(sources),
            ..self
        }
    }

    /// What is one source, if each has the limit for itself.
    #[must_use]
    pub const fn sources(&self) -> Option<Sources> {
        self.sources
    }

    const fn default_burst(bytes: bool) -> u64 {
        if bytes { 65536 } else { 5 }
    }

    /// What a packet or byte costs.
    fn cost(&self) -> Option<u128> {
        let (_, seconds) = self.period.row();
        (u128::from(seconds) * 1_000_000_000 * SCALE).checked_div(self.rate.into())
    }

    /// The kernel's form.
    pub(super) fn encode(&self) -> abi::Test {
        const FURTHEST: u128 = 1 << 62;
        let cost = self.cost().unwrap_or(0);
        let ahead = (cost * u128::from(self.burst) / SCALE).min(FURTHEST);
        let word = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        let (_, seconds) = self.period.row();
        let mut test = abi::Test::masked(0, [0; 2], [0; 2]);
        test.kind = abi::Test::LIMIT;
        test.first[limit::COST] = word(cost);
        test.first[limit::BYTES] = self.bytes.into();
        test.second[limit::AHEAD] = word(ahead);
        test.second[limit::BURST] = self.burst;
        test.more[limit::RATE] = self.rate;
        test.more[limit::PERIOD] = seconds;
        if let Some(Sources { v4, v6 }) = self.sources {
            test.kind = abi::Test::LIMIT_PER_SOURCE;
            test.slot = u16::from_be_bytes([v4, v6]);
        }
        test
    }

    /// The limit of which this is the kernel's form, whatever has come by.
    pub(super) fn decode(test: &abi::Test) -> Option<Self> {
        let mut periods = Period::ALL.iter();
        let seconds = test.more[limit::PERIOD];
        let (period, ..) = periods.find(|(.., known)| *known == seconds)?;
        let bytes = test.first[limit::BYTES] != 0;
        let (rate, burst) = (test.more[limit::RATE], test.second[limit::BURST]);
        let limit = Self::new(rate, *period, bytes, burst)?;
        let [v4, v6] = test.slot.to_be_bytes();
        match test.kind {
            abi::Test::LIMIT_PER_SOURCE => Some(limit.per(Sources::new(v4, v6)?)),
            _ => Some(limit),
        }
    }

    /// What stands behind `limit`, and whether it is `over`.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<(Self, bool), ParseError> {
        let over = cursor.keyword("over");
        let said = cursor.said(|cursor| {
            let what = "a rate, as in `100/s`, `5/m` or `1m/s`";
            cursor.thing(what, |_| None, rate)
        })?;
        let (rate, period) = said.thing;
        let bytes = cursor.keyword("bytes");
        let burst = if cursor.keyword("burst") {
            cursor.thing(
                "how many at once, as in `20` or `64k`",
                |_| None,
                |text| number(text).map(|burst| burst.ok_or(Problem::NoLimit)),
            )?
        } else {
            Self::default_burst(bytes)
        };
        let limit = Self::new(rate, period, bytes, burst);
        let mut limit = limit.ok_or_else(|| cursor.problem(Problem::NoLimit, said.word, None))?;
        if cursor.keyword("per") {
            let what = "`source`, or with lengths of prefixes, as in `source/24` or `source/24/56`";
            limit.sources =
                Some(cursor.thing(what, |_| None, |text| Sources::parse(text).map(Ok))?);
        }
        Ok((limit, over))
    }
}

fn rate(text: &str) -> Option<Result<(u64, Period), Problem>> {
    let (count, period) = text.split_once('/')?;
    let mut periods = Period::ALL.iter();
    let found = periods.find(|(_, letter, word, _)| period == *letter || period == *word);
    let (period, ..) = found?;
    let rate = number(count)?.map(|count| (count, *period));
    Some(rate.ok_or(Problem::NoLimit))
}

/// A number, with a thousand for `k`, a million for `m`, and a thousand of these for `g`; nothing within if
/// it is too high.
fn number(text: &str) -> Option<Option<u64>> {
    let suffixes = [('k', 1_000), ('m', 1_000_000), ('g', 1_000_000_000)];
    let suffix = suffixes.iter().find(|(letter, _)| text.ends_with(*letter));
    let (digits, times) = match suffix {
        Some((letter, times)) => (text.trim_end_matches(*letter), *times),
        None => (text, 1),
    };
    let count = || digits.parse::<u64>().ok()?.checked_mul(times);
    let once = digits.len() + usize::from(suffix.is_some()) == text.len();
    (once && is_number(digits)).then(count)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            period,
            bytes,
            burst,
            sources,
        } = self;
        let (letter, _) = period.row();
        write!(f, "{rate}/{letter}")?;
        if *bytes {
            f.write_str(" bytes")?;
        }
        if *burst != Self::default_burst(*bytes) {
            write!(f, " burst {burst}")?;
        }
        match sources {
            Some(sources) => write!(f, " per {sources}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { v4, v6 } = *self;
        f.write_str("source")?;
        match Self::DEFAULT {
            default if *self == default => Ok(()),
            default if v6 == default.v6 => write!(f, "/{v4}"),
            default if v4 == default.v4 && v6 > 32 => write!(f, "/{v6}"),
            _ => write!(f, "/{v4}/{v6}"),
        }
    }
}
