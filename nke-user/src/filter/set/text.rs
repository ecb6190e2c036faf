//! Members as text: one or several on a line, each with a timeout of its own or without.
//!
//! ```
//! use nke::filter::{SetKind, SetText};
//!
//! let text = "192.0.2.0/24 timeout 1h   # until the holidays\n\n2001:db8::1\n";
//! let members = SetText { kind: SetKind::Addresses, timeout: None, now: 0 }.read(text)?;
//! assert_eq!(members[0].until, Some(3_600_000_000_000));
//! assert_eq!(members[1].until, None);
//! # Ok::<(), nke::filter::MemberError>(())
//! ```
//!
//! Never more than the text is read, and never less: a mistake in the last line takes no member.

use std::{fmt, time::Duration};

use nke_ebpf::set::Kind;

use super::{Lasting, Member};
use crate::filter::excerpt;

/// How members are read.
#[derive(Clone, Copy, Debug)]
pub struct SetText {
    /// What they are.
    pub kind: Kind,
    /// How long those last that do not say it themselves; without it, for good.
    pub timeout: Option<Duration>,
    /// From when on: nanoseconds of `CLOCK_BOOTTIME`.
    pub now: u64,
}

/// Text that is no member, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberError {
    /// The line, counted from 1.
    pub line: usize,
    /// The first character that is wrong, counted from 1.
    pub column: usize,
    /// What stands there.
    pub found: String,
    /// The line itself.
    pub text: String,
    /// What is wrong.
    pub problem: MemberProblem,
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberProblem {
    /// It is no member of a set of this kind.
    NotA(Kind),
    /// `timeout` has no member in front of it.
    NoMember,
    /// There is no time behind `timeout`, or none that can be.
    NoTime,
    /// Ports have no timeouts.
    NoTimeouts,
}

impl fmt::Display for MemberProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotA(Kind::Addresses) => {
                "expected an address or a prefix, such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
            }
            Self::NotA(Kind::Ports) => {
                "expected a port, by name or number, or a range, such as https or 1024-2047"
            }
            Self::NotA(Kind::Pairs) => {
                "expected an address and a port, such as 192.0.2.1:443, [2001:db8::1]:443 or \
                 tcp:192.0.2.1:443"
            }
            Self::NoMember => "expected a member in front of `timeout`",
            Self::NoTime => "expected a time, such as 90s, 10m, 1h or 1h30m",
            Self::NoTimeouts => "ports have no timeouts: leave it out",
        })
    }
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            found,
            text: _,
            problem,
        } = self;
        write!(
            f,
            "line {line}, column {column}: {problem}, found {}",
            excerpt::named(found)
        )
    }
}

impl std::error::Error for MemberError {}

impl MemberError {
    /// The line, and below it a mark where it is wrong. Of a long line, what is around that.
    #[must_use]
    pub fn marked(&self) -> String {
        excerpt::marked(&self.text, self.column, self.found.chars().count().max(1))
    }
}

/// A time of whole seconds as people write it; nothing if it is no such time, or none at all.
#[must_use]
pub fn time(text: &str) -> Option<Duration> {
    let time = humantime::parse_duration(text).ok()?;
    // Sets know no parts of a second, nor does what is printed.
    (time.as_secs() > 0 && time.subsec_nanos() == 0).then_some(time)
}

impl SetText {
    /// All members of a text.
    ///
    /// # Errors
    ///
    /// [`MemberError`], of the first mistake.
    pub fn read(&self, text: &str) -> Result<Vec<Lasting>, MemberError> {
        // As many as there are in most texts of that size.
        let mut members = Vec::with_capacity((text.len() / 12).min(1 << 20));
        let until = self.timeout.map(|timeout| self.until(timeout));
        for (number, line) in (1..).zip(text.lines()) {
            // Of a million lines nearly all are a member and nothing else.
            if let Some(member) = Member::read(self.kind, line) {
                members.push(Lasting { member, until });
                continue;
            }
            self.read_line(number, line, &mut members)?;
        }
        Ok(members)
    }

    /// When a member ends that lasts so long.
    fn until(&self, timeout: Duration) -> u64 {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.now.saturating_add(nanoseconds)
    }

    fn read_line(
        &self,
        number: usize,
        line: &str,
        members: &mut Vec<Lasting>,
    ) -> Result<(), MemberError> {
        let meant = line.split('#').next().unwrap_or_default();
        let wrong = |word: &str, problem| {
            let before = word.as_ptr().addr() - line.as_ptr().addr();
            MemberError {
                line: number,
                column: line[..before].chars().count() + 1,
                found: word.to_owned(),
                text: line.to_owned(),
                problem,
            }
        };
        let end = &meant[meant.trim_end().len()..];
        let mut words = meant.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if word == "timeout" {
                return Err(wrong(word, MemberProblem::NoMember));
            }
            let member = Member::read(self.kind, word);
            let member = member.ok_or_else(|| wrong(word, MemberProblem::NotA(self.kind)))?;
            let mut timeout = self.timeout;
            if let Some(says) = words.next_if_eq(&"timeout") {
                if self.kind == Kind::Ports {
                    return Err(wrong(says, MemberProblem::NoTimeouts));
                }
                let word = words.next().unwrap_or(end);
                let own = time(word).ok_or_else(|| wrong(word, MemberProblem::NoTime))?;
                timeout = Some(own);
            }
            members.push(Lasting {
                member,
                until: timeout.map(|timeout| self.until(timeout)),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESSES: SetText = SetText {
        kind: Kind::Addresses,
        timeout: Some(Duration::from_secs(60)),
        now: 1,
    };

    #[test]
    fn members_are_read() {
        let text = "# all\n 192.0.2.1 timeout 1h30m ::1 # two\n\n10.0.0.0/8";
        let read = ADDRESSES.read(text).unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|it| (it.member.to_string(), it.until.unwrap() / 1_000_000_000))
            .collect();
        let expected = [("192.0.2.1", 5400), ("::1", 60), ("10.0.0.0/8", 60)];
        assert!(
            read.iter()
                .map(|(member, until)| (member.as_str(), *until))
                .eq(expected)
        );
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        for (text, line, column, problem) in [
            ("::1\nä 10/8", 2, 1, MemberProblem::NotA(Kind::Addresses)),
            ("::1 10/8", 1, 5, MemberProblem::NotA(Kind::Addresses)),
            (" timeout 1h", 1, 2, MemberProblem::NoMember),
            ("::1 timeout", 1, 12, MemberProblem::NoTime),
            ("::1 timeout 0s", 1, 13, MemberProblem::NoTime),
            ("::1 timeout soon # !", 1, 13, MemberProblem::NoTime),
        ] {
            let error = ADDRESSES.read(text).unwrap_err();
            let place = (error.line, error.column, error.problem);
            assert_eq!(place, (line, column, problem), "{text:?}");
        }
        let error = SetText {
            kind: Kind::Ports,
            ..ADDRESSES
        };
        let error = error.read("80 timeout 1s").unwrap_err();
        assert_eq!(error.marked(), "80 timeout 1s\n   ^^^^^^^");
    }

    #[test]
    fn of_a_long_line_the_part_that_tells_is_shown() {
        let addresses = "192.0.2.1 ".repeat(1000);
        let error = ADDRESSES.read(&format!("{addresses}here {addresses}"));
        let marked = error.unwrap_err().marked();
        assert!(marked.contains("192.0.2.1 here 192.0.2.1"), "{marked}");
        assert!(marked.chars().count() < 400, "{marked}");
        let error = ADDRESSES.read(&"x".repeat(9999)).unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(timeout|[0-9:./#\n ä]){0,40}") {
            let _: Result<Vec<Lasting>, MemberError> = ADDRESSES.read(&text);
        }
    }
}
