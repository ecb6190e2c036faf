//! What iptables' `limit` and `hashlimit` say, as `iptables-save` prints it: the rate first, and what it needs
//! behind; and nft's `limit`.
//!
//! Rules of one `--hashlimit-name` share what has come by in iptables; here each rule has its own.

use serde_json::Value;

use super::super::further::{Asked, Test};
use super::super::rate::{Limit, Period, Sources};
use super::line::Matches;

/// An option of either; nothing if it is none of theirs, or says what cannot be said.
pub(super) fn read(word: &str, value: &str, is_v6: bool, matches: &mut Matches) -> Option<()> {
    match word {
        "--limit" | "--hashlimit-upto" => add(value, false, matches),
        "--hashlimit-above" => add(value, true, matches),
        "--limit-burst" | "--hashlimit-burst" => {
            let limit = last(matches)?;
            *limit = limit.with_burst(value.parse().ok()?)?;
            Some(())
        }
        "--hashlimit-mode" if value == "srcip" => {
            let of_one = if is_v6 {
                Sources::new(32, 128)?
            } else {
                Sources::DEFAULT
            };
            let limit = last(matches)?;
            *limit = limit.per(of_one);
            Some(())
        }
        "--hashlimit-srcmask" => {
            let bits = value.parse().ok()?;
            let limit = last(matches)?;
            let _: Sources = limit.sources()?;
            let of_net = if is_v6 {
                Sources::new(32, bits)
            } else {
                Sources::new(bits, 64)
            };
            *limit = limit.per(of_net?);
            Some(())
        }
        // How its table is kept, and is called.
        "--hashlimit-name"
        | "--hashlimit-htable-size"
        | "--hashlimit-htable-max"
        | "--hashlimit-htable-expire"
        | "--hashlimit-htable-gcinterval" => last(matches).map(|_| ()),
        _ => None,
    }
}

fn add(value: &str, not: bool, matches: &mut Matches) -> Option<()> {
    let what = Asked::Limit(limit(value)?);
    matches.tests.push(Test { what, not });
    Some(())
}

/// As `5/min`.
fn limit(value: &str) -> Option<Limit> {
    let (count, period) = value.split_once('/')?;
    let period = match period {
        "s" | "sec" | "second" => Period::Second,
        "m" | "min" | "minute" => Period::Minute,
        "h" | "hour" => Period::Hour,
        "d" | "day" => Period::Day,
        _ => return None,
    };
    Limit::new(count.parse().ok()?, period, false, 5)
}

/// As `{ "rate": 5, "burst": 5, "per": "minute" }`.
pub(super) fn of_nft(value: &Value) -> Option<Test> {
    let period = match value["per"].as_str()? {
        "second" => Period::Second,
        "minute" => Period::Minute,
        "hour" => Period::Hour,
        "day" => Period::Day,
        _ => return None,
    };
    let number = |key: &str, unit: &str| -> Option<u64> {
        let factor = match value[unit].as_str() {
            None | Some("packets" | "bytes") => 1,
            Some("kbytes") => 1 << 10,
            Some("mbytes") => 1 << 20,
            Some(_) => return None,
        };
        value
            .get(key)
            .map_or(Some(0), Value::as_u64)?
            .checked_mul(factor)
    };
    let rate = number("rate", "rate_unit")?;
    let burst = number("burst", "burst_unit")?;
    let bytes = !matches!(value["rate_unit"].as_str(), None | Some("packets"));
    let burst = match (bytes, burst) {
        // The bucket has room for what comes in a period, and for the burst beside (net/netfilter/nft_limit.c).
        (true, burst) => rate.checked_add(burst)?,
        (false, 0) => 5,
        (false, burst) => burst,
    };
    Some(Test {
        what: Asked::Limit(Limit::new(rate, period, bytes, burst)?),
        not: value["inv"] == true,
    })
}

/// The limit that stands last.
fn last(matches: &mut Matches) -> Option<&mut Limit> {
    let mut tests = matches.tests.iter_mut().rev();
    tests.find_map(|test| {
        let Asked::Limit(limit) = &mut test.what else {
            return None;
        };
        Some(limit)
    })
}
