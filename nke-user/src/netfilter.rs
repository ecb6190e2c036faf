//! Where in netfilter a chain is called: its priority, and whether packets are whole by then.
//!
//! nftables' base chains and the kernel's own functions (connection tracking, NAT) sit at the same
//! hooks, each at a priority; the lowest runs first. A priority is typed and printed as nft(8) does
//! it. This module must never do I/O.
//!
//! ```
//! use nke::netfilter::Priority;
//!
//! let priority: Priority = "mangle - 5".parse().unwrap();
//! assert_eq!(priority.number(), -155);
//! assert_eq!(priority.to_string(), "mangle - 5");
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::kernel::Version;

/// The first kernel that puts packets together for a BPF program (`BPF_F_NETFILTER_IP_DEFRAG`).
pub const DEFRAG_SINCE: Version = Version::new(6, 6);

/// nft's names (`enum nf_ip_hook_priorities`, uapi/linux/netfilter_ipv4.h).
const NAMES: [(&str, i32); 6] = [
    ("raw", -300),
    ("mangle", -150),
    ("dstnat", -100),
    ("filter", 0),
    ("security", 50),
    ("srcnat", 100),
];

/// How far from a name nft still prints it.
const REACH: u32 = 10;

/// A place among the functions of a netfilter hook: lower runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Priority(i32);

impl Priority {
    /// Just before nftables' `filter` chains, behind `mangle` and destination NAT.
    pub const DEFAULT: Self = Self(-1);

    /// Where the kernel puts packets together (`NF_IP_PRI_CONNTRACK_DEFRAG`).
    pub const DEFRAG: Self = Self(-400);

    /// The number that the kernel takes.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            let names = NAMES.map(|(name, _)| name).join(", ");
            format!("a priority is a number, one of {names}, or both, such as \"filter - 10\"")
        };
        let letters = text.find(|c: char| !c.is_ascii_lowercase());
        let (name, offset) = text.split_at(letters.unwrap_or(text.len()));
        let number = if name.is_empty() {
            text.parse::<i64>().map_err(|_| unknown())?
        } else {
            let named = NAMES.iter().find(|(known, _)| *known == name);
            let (_, named) = named.ok_or_else(unknown)?;
            i64::from(*named) + parse_offset(offset).ok_or_else(unknown)?
        };
        // The kernel has functions of its own at either end, and refuses both.
        match i32::try_from(number) {
            Ok(number) if !matches!(number, i32::MIN | i32::MAX) => Ok(Self(number)),
            Ok(_) | Err(_) => Err(format!(
                "a priority is more than {} and less than {}: the kernel keeps these two for itself",
                i32::MIN,
                i32::MAX
            )),
        }
    }
}

/// What stands behind a name: nothing, or a sign and digits, with or without spaces.
fn parse_offset(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        _ if text.is_empty() => return Some(0),
        (Some(digits), _) => (-1, digits),
        (None, Some(digits)) => (1, digits),
        (None, None) => return None,
    };
    let digits = digits.trim_start();
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = digits.parse().ok().filter(|_| all_digits)?;
    Some(sign * i64::from(number))
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = NAMES
            .iter()
            .find(|(_, named)| self.0.abs_diff(*named) <= REACH);
        match near {
            Some((name, named)) if *named == self.0 => f.write_str(name),
            Some((name, named)) => {
                let sign = if self.0 < *named { '-' } else { '+' };
                write!(f, "{name} {sign} {}", self.0.abs_diff(*named))
            }
            None => self.0.fmt(f),
        }
    }
}

/// Where a chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netfilter {
    /// Among the other functions of the hook.
    pub priority: Priority,
    /// Whether packets are put together from their fragments before.
    pub defrag: bool,
}

impl Default for Netfilter {
    fn default() -> Self {
        Self {
            priority: Priority::DEFAULT,
            defrag: false,
        }
    }
}

impl fmt::Display for Netfilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { priority, defrag } = self;
        let defrag = if *defrag { ", defrag" } else { "" };
        write!(f, "netfilter priority {priority}{defrag}")
    }
}

/// What is asked of where a chain is called: what is not said is the chain's own, or the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The priority.
    pub priority: Option<Priority>,
    /// That packets are put together before.
    pub defrag: bool,
}

impl Request {
    /// The first option that was given, as typed.
    pub(crate) const fn given(self) -> Option<&'static str> {
        match self {
            Self {
                priority: Some(_), ..
            } => Some("--netfilter-priority"),
            Self { defrag: true, .. } => Some("--defrag"),
            Self {
                priority: None,
                defrag: false,
            } => None,
        }
    }

    /// What a new chain comes to.
    pub(crate) fn resolve(self) -> Netfilter {
        let Self { priority, defrag } = self;
        Netfilter {
            priority: priority.unwrap_or(Priority::DEFAULT),
            defrag,
        }
    }

    /// Whether a chain that runs already is what is asked for.
    pub(crate) fn is_met_by(self, running: Netfilter) -> bool {
        let Self { priority, defrag } = self;
        priority.is_none_or(|asked| asked == running.priority) && (running.defrag || !defrag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_typed_and_printed_as_nft_does_it() {
        let check = |text: &str, number, printed| {
            let priority: Priority = text.parse().expect(text);
            assert_eq!(priority.number(), number, "{text}");
            assert_eq!(priority.to_string(), printed, "{text}");
            assert_eq!(priority.to_string().parse(), Ok(priority), "{text}");
        };
        check("-1", -1, "filter - 1");
        check("filter", 0, "filter");
        check("filter - 1", -1, "filter - 1");
        check("raw+5", -295, "raw + 5");
        check("mangle -11", -161, "-161");
        check("dstnat", -100, "dstnat");
        check("security", 50, "security");
        check("srcnat + 10", 110, "srcnat + 10");
        check("+7", 7, "filter + 7");
        check("-2147483647", i32::MIN + 1, "-2147483647");
        check("2147483646", i32::MAX - 1, "2147483646");
        check("srcnat + 2147483546", i32::MAX - 1, "2147483646");
    }

    #[test]
    fn what_is_no_priority_is_refused() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Priority>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        for text in [
            "",
            "-",
            "first",
            "filter1",
            "filter -",
            "filter - -1",
            "filter - +1",
            "Filter",
            "1 filter",
            "filter 10",
            "0x10",
            "1.5",
            "filter−1",
            " filter",
        ] {
            check(text, "one of raw, mangle, dstnat");
        }
        for text in [
            "-2147483648",
            "2147483647",
            "2147483648",
            "-99999999999",
            "filter + 2147483647",
            "raw - 2147483348",
        ] {
            check(text, "the kernel keeps these two for itself");
        }
    }

    #[test]
    fn a_request_is_met_by_what_it_does_not_rule_out() {
        let check = |priority: Option<i32>, defrag, running: (i32, bool), met| {
            let request = Request {
                priority: priority.map(Priority),
                defrag,
            };
            let running = Netfilter {
                priority: Priority(running.0),
                defrag: running.1,
            };
            assert_eq!(request.is_met_by(running), met, "{request:?} {running}");
        };
        check(None, false, (5, false), true);
        check(None, false, (5, true), true);
        check(Some(5), false, (5, true), true);
        check(Some(5), false, (-1, false), false);
        check(None, true, (5, false), false);
        check(Some(5), true, (5, true), true);
    }
}
