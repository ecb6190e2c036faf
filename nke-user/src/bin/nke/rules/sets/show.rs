//! Sets and their members, as text and as JSON.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use nke::filter::{About, Lasting, NamedSet, SetName, kind_word, span_word};
use serde_json::{Value, json};

use crate::output;

/// How much is printed at once.
const PART: usize = 1 << 16;

/// What is left of a timeout: whole seconds, the last one begun included.
fn left(until: u64, now: u64) -> Duration {
    Duration::from_secs(until.saturating_sub(now).div_ceil(1_000_000_000))
}

/// A member as it can be typed again.
pub(super) fn lasting(member: &Lasting, now: u64) -> impl fmt::Display {
    let Lasting { member, until } = *member;
    fmt::from_fn(move |f| match until {
        Some(until) => write!(f, "{member} timeout {}", span_word(left(until, now))),
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
        members.sort_unstable_by_key(|it| it.member.order());
        if as_json {
            let About {
                name,
                kind,
                timeout,
            } = self.set.about();
            let head = json!({
                "set": name.as_str(),
                "type": kind_word(*kind),
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
                "type": kind_word(*kind),
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
            kind_word(*kind).to_owned(),
            timeout.map_or_else(|| "-".to_owned(), span_word),
            members.to_string(),
            output::bytes(set.memory()),
            rules.join("\n"),
        ]);
    }
    output::right(&mut table, &[3, 4]);
    output::print_table(&table);
    Ok(())
}
