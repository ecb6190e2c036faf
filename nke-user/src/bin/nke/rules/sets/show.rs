//! Sets and their members, as text and as JSON.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    time::Duration,
};

use nke::filter::{About, Lasting, Member, NamedSet, SetKind, SetName};
use serde_json::{Value, json};

use crate::output;

/// How much is printed at once.
const PART: usize = 1 << 16;

/// What the members of a set are, as one types it.
pub(super) const fn word(kind: SetKind) -> &'static str {
    match kind {
        SetKind::Addresses => "addresses",
        SetKind::Ports => "ports",
        SetKind::Pairs => "pairs",
    }
}

/// What is left of a timeout: whole seconds, the last one begun included.
fn left(until: u64, now: u64) -> Duration {
    Duration::from_secs(until.saturating_sub(now).div_ceil(1_000_000_000))
}

/// A time in one word, as it can be typed.
fn time(time: Duration) -> String {
    humantime::format_duration(time)
        .to_string()
        .replace(' ', "")
}

/// A member as it can be typed again.
pub(super) fn lasting(member: &Lasting, now: u64) -> impl fmt::Display {
    let Lasting { member, until } = *member;
    fmt::from_fn(move |f| match until {
        Some(until) => write!(f, "{member} timeout {}", time(left(until, now))),
        None => write!(f, "{member}"),
    })
}

/// All of a set.
pub(super) struct Show {
    pub(super) set: NamedSet,
    pub(super) now: u64,
}

impl Show {
    /// Prints the members in order, a line each.
    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        let mut members = Vec::new();
        self.set.for_each(|member| members.push(member))?;
        members.sort_unstable_by_key(|it| order(&it.member));
        if as_json {
            let About {
                name,
                kind,
                timeout,
            } = self.set.about();
            let head = json!({
                "set": name.as_str(),
                "type": word(*kind),
                "timeout": timeout.map(|timeout| timeout.as_secs()),
            });
            let head = head.to_string();
            let open = head.trim_end_matches('}');
            output::part(format_args!("{open},\"members\":[\n"));
        }
        let mut part = String::new();
        for (nth, member) in members.iter().enumerate() {
            if as_json {
                let value = json!({
                    "member": member.member.to_string(),
                    "timeout": member.until.map(|until| left(until, self.now).as_secs()),
                });
                let comma = if nth + 1 < members.len() { "," } else { "" };
                writeln!(part, "{value}{comma}")?;
            } else {
                writeln!(part, "{}", lasting(member, self.now))?;
            }
            if part.len() >= PART {
                output::part(format_args!("{part}"));
                part.clear();
                if !output::is_read() {
                    return Ok(());
                }
            }
        }
        if as_json {
            part.push_str("]}\n");
        }
        output::part(format_args!("{part}"));
        Ok(())
    }
}

/// Where a member stands among others: families, addresses, wider prefixes first, ports.
fn order(member: &Member) -> (bool, u128, u8, u16, u8) {
    match member {
        Member::V4(prefix) => (
            false,
            prefix.address().to_bits().into(),
            prefix.length(),
            0,
            0,
        ),
        Member::V6(prefix) => (true, prefix.address().to_bits(), prefix.length(), 0, 0),
        Member::Ports(range) => (false, 0, 0, range.first(), 0),
        Member::Pair {
            protocol,
            address,
            port,
        } => {
            let bits = match address {
                IpAddr::V4(address) => address.to_bits().into(),
                IpAddr::V6(address) => address.to_bits(),
            };
            let protocol = protocol.map_or(0, |protocol| protocol.protocol().0);
            (address.is_ipv6(), bits, 0, *port, protocol)
        }
    }
}

/// Prints all sets.
pub(super) fn list(
    sets: &[NamedSet],
    used: impl Fn(SetName) -> anyhow::Result<Vec<String>>,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for set in sets {
        let mut members = 0u64;
        set.for_each(|_| members += 1)?;
        rows.push((set, members, used(set.about().name)?));
    }
    if as_json {
        let row = |(set, members, rules): &(&NamedSet, u64, Vec<String>)| -> Value {
            let About {
                name,
                kind,
                timeout,
            } = set.about();
            json!({
                "set": name.as_str(),
                "type": word(*kind),
                "timeout": timeout.map(|timeout| timeout.as_secs()),
                "members": members,
                "memory": set.memory(),
                "rules": rules,
            })
        };
        let all: Vec<_> = rows.iter().map(row).collect();
        return output::print_json(&json!({ "sets": all }));
    }
    if rows.is_empty() {
        output::line(format_args!("no sets"));
        return Ok(());
    }
    let mut table = output::table(["SET", "TYPE", "TIMEOUT", "MEMBERS", "MEMORY", "RULES"]);
    for (set, members, rules) in rows {
        let About {
            name,
            kind,
            timeout,
        } = set.about();
        table.add_row([
            name.to_string(),
            word(*kind).to_owned(),
            timeout.map_or_else(|| "-".to_owned(), time),
            members.to_string(),
            output::bytes(set.memory()),
            rules.join("\n"),
        ]);
    }
    output::right(&mut table, &[3, 4]);
    output::print_table(&table);
    Ok(())
}
