//! Sets that a file of rules states, beside the rules that ask for them.
//!
//! ```
//! use nke::filter::{Dialect, StatedMembers};
//!
//! let text = "
//! set office addresses { 192.0.2.0/24, 2001:db8::/32 }
//! set blocklist addresses from \"/var/lib/blocklist\"
//! pass in from @office
//! drop in from @blocklist
//! ";
//! let source = Dialect::Packets.source(text).unwrap();
//! assert_eq!(source.sets.len(), 2);
//! assert!(matches!(source.sets[1].members, StatedMembers::File(_)));
//! ```
//!
//! Members in braces can go on over several lines. Nothing here opens a file.

use std::{fmt, io, path::PathBuf, time::Duration};

use nke_ebpf::set::Kind;

use super::cursor::Cursor;
use super::parse_error::{ParseError, Problem};
use super::set::{About, Lasting, Member, MemberProblem, NoSetName, Set, SetName, TooLarge, time};

/// A set that a file states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatedSet {
    /// What it is.
    pub about: About,
    /// What is in it.
    pub members: StatedMembers,
    /// The line where it begins, from 1.
    pub line: usize,
}

/// What is in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatedMembers {
    /// These. Their ends are counted from when the set is made.
    Here(Vec<Lasting>),
    /// What a file has, as `nke filter set create` takes it. If it is not absolute, it is meant from the
    /// directory on of the file that says so.
    File(PathBuf),
}

impl StatedSet {
    /// The members that stand in the text itself, as if the set were made at this moment.
    #[must_use]
    pub fn members_at(&self, now: u64) -> Vec<Lasting> {
        let StatedMembers::Here(members) = &self.members else {
            return Vec::new();
        };
        let at = |it: &Lasting| Lasting {
            member: it.member,
            until: it.until.map(|until| until.saturating_add(now)),
        };
        members.iter().map(at).collect()
    }

    /// The members that stand in the text itself, as a set has them: each once, and in order. Their ends are counted
    /// from when the set is made.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if no set can have so many.
    pub(crate) fn in_order(&self) -> Result<Vec<Lasting>, TooLarge> {
        let set = Set::of(&self.about, &self.members_at(0))?;
        let mut members = Vec::new();
        // It is in memory, which is always there.
        let _: io::Result<()> = set.for_each(0, |member| members.push(member));
        members.sort_unstable_by_key(|it| it.member.order());
        Ok(members)
    }
}

/// What the members of a set are, as one types it.
#[must_use]
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Addresses => "addresses",
        Kind::Ports => "ports",
        Kind::Pairs => "pairs",
    }
}

/// A time in whole seconds as one types it, in days at most: `40d`, `1h30m`. A month is of no certain length.
#[must_use]
pub fn span_word(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 86400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let there = parts.iter().filter(|(count, _)| *count > 0);
    let words: String = there
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if words.is_empty() {
        "0s".to_owned()
    } else {
        words
    }
}

/// A set's name, type and timeout, as one types them behind `set`.
pub(crate) fn head(about: &About) -> impl fmt::Display {
    let About {
        name,
        kind,
        timeout,
    } = *about;
    fmt::from_fn(move |f| {
        write!(f, "{name} {}", kind_word(kind))?;
        timeout.map_or(Ok(()), |timeout| {
            write!(f, " timeout {}", span_word(timeout))
        })
    })
}

/// A member whose end is counted from now, as one types it.
pub(crate) fn lasting(Lasting { member, until }: &Lasting) -> impl fmt::Display {
    let (member, until) = (*member, *until);
    fmt::from_fn(move |f| {
        write!(f, "{member}")?;
        until.map_or(Ok(()), |until| {
            let left = Duration::from_secs(until.div_ceil(1_000_000_000));
            write!(f, " timeout {}", span_word(left))
        })
    })
}

impl fmt::Display for StatedSet {
    /// The lines that state it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            about,
            members,
            line: _,
        } = self;
        write!(f, "set {}", head(about))?;
        match members {
            StatedMembers::File(path) => writeln!(f, " from \"{}\"", path.display()),
            StatedMembers::Here(members) => {
                f.write_str(" {\n")?;
                for member in members {
                    writeln!(f, "    {}", lasting(member))?;
                }
                f.write_str("}\n")
            }
        }
    }
}

/// A set whose end has not been read.
pub(super) struct Open {
    about: About,
    members: Vec<Lasting>,
    line: usize,
}

/// What a line has of a set.
pub(super) enum Read {
    /// It ends on this line.
    Whole(StatedSet),
    /// It goes on.
    Open(Open),
}

/// A set from behind the word `set` on.
pub(super) fn begin(cursor: &mut Cursor<'_>, line: usize) -> Result<Read, ParseError> {
    let name = cursor.thing(
        "the set's name",
        |_| None,
        |text| Some(text.parse().map_err(|NoSetName| Problem::SetName)),
    )?;
    let mut kinds = [Kind::Addresses, Kind::Ports, Kind::Pairs].into_iter();
    let kind = kinds.find(|kind| cursor.keyword(kind_word(*kind)));
    let Some(kind) = kind else {
        return Err(cursor.unexpected_word());
    };
    let mut about = About::new(name, kind);
    about.timeout = timeout(cursor, kind)?;
    if cursor.keyword("from") {
        let path = cursor.thing(
            "a file, in quotes and without blanks in its name",
            |_| None,
            |text| {
                let path = text.strip_prefix('"')?.strip_suffix('"')?;
                (!path.is_empty()).then(|| Ok(PathBuf::from(path)))
            },
        )?;
        cursor.end()?;
        let members = StatedMembers::File(path);
        return Ok(Read::Whole(StatedSet {
            about,
            members,
            line,
        }));
    }
    if !cursor.keyword("{") {
        return Err(cursor.unexpected_word());
    }
    let mut open = Open {
        about,
        members: Vec::new(),
        line,
    };
    Ok(if open.go_on(cursor)? {
        Read::Whole(open.whole())
    } else {
        Read::Open(open)
    })
}

fn timeout(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Option<Duration>, ParseError> {
    if !cursor.keyword("timeout") {
        return Ok(None);
    }
    let read = |text: &str| {
        let problem = match kind {
            Kind::Ports => MemberProblem::NoTimeouts,
            Kind::Addresses | Kind::Pairs => MemberProblem::NoTime,
        };
        let time = time(text).filter(|_| kind != Kind::Ports);
        Some(time.ok_or(Problem::Member(problem)))
    };
    cursor.thing("a time", |_| None, read).map(Some)
}

impl Open {
    /// Reads more members; whether the set ends on this line.
    pub(super) fn go_on(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, ParseError> {
        let kind = self.about.kind;
        while !cursor.is_done() {
            if cursor.keyword("}") {
                return cursor.end().map(|()| true);
            }
            if cursor.keyword(",") {
                continue;
            }
            let member = cursor.thing(
                "a member",
                |_| None,
                |text| {
                    let no = Problem::Member(MemberProblem::NotA(kind));
                    Some(Member::read(kind, text).ok_or(no))
                },
            )?;
            let timeout = timeout(cursor, kind)?.or(self.about.timeout);
            let until = timeout.map(|it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
            self.members.push(Lasting { member, until });
        }
        Ok(false)
    }

    /// The set, with all members that have been read.
    pub(super) fn whole(self) -> StatedSet {
        let Self {
            about,
            members,
            line,
        } = self;
        let members = StatedMembers::Here(members);
        StatedSet {
            about,
            members,
            line,
        }
    }

    /// That its end never came.
    pub(super) fn never_ended(&self, line: &str) -> ParseError {
        ParseError {
            line: self.line,
            column: 1,
            width: line.trim_end().chars().count().max(1),
            text: line.to_owned(),
            problem: Problem::SetOpen,
            hint: None,
        }
    }

    pub(super) const fn line(&self) -> usize {
        self.line
    }
}

/// Names that are stated twice are a mistake of the second.
pub(super) fn stated_before(all: &[StatedSet], name: SetName) -> Option<usize> {
    let mut all = all.iter();
    all.find_map(|set| (set.about.name == name).then_some(set.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_again() {
        const DAY: u64 = 86400;
        for (seconds, word) in [
            (1, "1s"),
            (90, "1m30s"),
            (3600, "1h"),
            (40 * DAY, "40d"),
            (400 * DAY + 61, "400d1m1s"),
        ] {
            let span = Duration::from_secs(seconds);
            assert_eq!(span_word(span), word);
            assert_eq!(time(word), Some(span));
        }
    }
}
