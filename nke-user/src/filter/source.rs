//! Files of rules: a rule, a default, a set, a comment or nothing on each line.
//!
//! ```
//! use nke::filter::Dialect;
//!
//! let source = Dialect::Packets.source("default drop\npass proto { tcp, udp }\n").unwrap();
//! assert_eq!(source.lines, [2, 2]);
//! let mistakes = Dialect::Packets.source("pas\ndrop\ndrop frm any\n").unwrap_err();
//! assert_eq!(mistakes.len(), 2);
//! ```
//!
//! Nothing here opens a file: text comes in, and rules or all of its mistakes go out.

use std::net::IpAddr;
use std::str::FromStr;

use super::cursor::Cursor;
use super::dialect::Dialect;
use super::error::Error;
use super::further::Membership;
use super::parse;
use super::parse_error::{ParseError, Problem};
use super::rule::{Action, Rule, RuleSet};
use super::stated::{self, Open, Read, StatedSet};
use super::words::{Word, words};

/// A file of rules, and where in it each of them stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The rules and the default.
    pub rules: RuleSet,
    /// The line of each rule, from 1. A list in braces makes several rules of one line.
    pub lines: Vec<usize>,
    /// The sets that it states.
    pub sets: Vec<StatedSet>,
}

impl Source {
    /// Its rules that name interfaces or sets, which may not be there.
    #[must_use]
    pub fn naming(&self) -> Self {
        let Self {
            rules,
            lines,
            sets: _,
        } = self;
        let names = |rule: &Rule| {
            rule.named_interfaces().next().is_some() || rule.memberships().next().is_some()
        };
        let naming = rules.rules.iter().zip(lines);
        let naming = naming.filter(|(rule, _)| names(rule));
        let (all, lines) = naming.map(|(rule, line)| (rule.clone(), *line)).unzip();
        Self {
            rules: RuleSet {
                default: rules.default,
                rules: all,
            },
            lines,
            sets: Vec::new(),
        }
    }

    /// An error with its place in the text that these were read from, if it is of one of these.
    #[must_use]
    pub fn placed(&self, origin: &str, text: &str, error: Error) -> Error {
        let Some((line, wrong)) = self.place_of(&error) else {
            return error;
        };
        let text = text.lines().nth(line - 1).unwrap_or_default();
        let words = words(text);
        let mut same = words
            .iter()
            .filter(|word| Some(word.text) == wrong.as_deref());
        // The word that is wrong, or all of the rule.
        let first = same.next().or(words.first());
        let last = words.last().filter(|_| wrong.is_none()).or(first);
        let column = first.map_or(1, |word| word.column(text));
        let end = last.map_or(column, |word| word.column(text) + word.width());
        Error::OfLine {
            origin: origin.to_owned(),
            line,
            column,
            width: end.saturating_sub(column).max(1),
            text: text.to_owned(),
            source: Box::new(error),
        }
    }

    /// The line that an error is of, and the word in it.
    fn place_of(&self, error: &Error) -> Option<(usize, Option<String>)> {
        let rules = &self.rules.rules;
        let (rule, word) = if let Error::NoSet { name, .. } = error {
            let asks = |rule: &Rule| rule.memberships().any(|it| it.set.as_str() == name);
            (rules.iter().position(asks)?, Some(format!("@{name}")))
        } else if let Error::SetExists { name } | Error::SetTooLarge { name, .. } = error {
            let mut sets = self.sets.iter();
            let set = sets.find(|set| set.about.name.as_str() == name)?;
            return Some((set.line, Some(name.clone())));
        } else {
            let word = if let Error::SetKind { name, .. } = error {
                Some(format!("@{name}"))
            } else if let Error::NoInterface { name, .. } = error {
                Some(name.to_string())
            } else {
                None
            };
            let wrong = error.rule()?;
            (rules.iter().position(|rule| rule == wrong)?, word)
        };
        Some((*self.lines.get(rule)?, word))
    }
}

/// The bytes of a file as text, without the mark that some editors put in front (U+FEFF).
///
/// # Errors
///
/// Where the first byte is that is none of UTF-8.
pub fn text_of(bytes: Vec<u8>) -> Result<String, ParseError> {
    let utf_16 = [[0xff, 0xfe], [0xfe, 0xff]]
        .iter()
        .any(|mark| bytes.starts_with(mark));
    let text = String::from_utf8(bytes).map_err(|error| {
        let (before, from) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let begun = before
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let rest = from.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let byte = from.first().copied().unwrap_or_default();
        ParseError {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(begun).chars().count() + 1,
            width: 1,
            text: String::from_utf8_lossy(&[begun, rest].concat()).into_owned(),
            problem: match utf_16 {
                true => Problem::Utf16,
                false => Problem::NotText { byte },
            },
            hint: None,
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

impl Dialect {
    /// The rules, the default and the sets of a file, and the lines that they stand on.
    ///
    /// # Errors
    ///
    /// Every line that has a mistake, each with the first of its mistakes, in their order.
    pub fn source(self, text: &str) -> Result<Source, Vec<ParseError>> {
        self.source_on(text, &[])
    }

    /// The same, on a host that has these addresses: `self` stands for them.
    ///
    /// # Errors
    ///
    /// As [`Dialect::source`].
    pub fn source_on(self, text: &str, own: &[IpAddr]) -> Result<Source, Vec<ParseError>> {
        let (source, mistakes) = self.look_through(text, own);
        if mistakes.is_empty() {
            Ok(source)
        } else {
            Err(mistakes)
        }
    }

    /// What can be read of a file, and every line that has a mistake.
    #[must_use]
    pub fn look_through(self, text: &str, own: &[IpAddr]) -> (Source, Vec<ParseError>) {
        let mut reading = Reading::default();
        let mut mistakes = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let mut cursor = Cursor::new(self, number, line).on(own);
            if let Err(mistake) = reading.line(number, &mut cursor) {
                mistakes.push(mistake);
                reading.skip_set(line);
            }
        }
        let taken_wrongly = reading.taken_wrongly(self, text);
        if !taken_wrongly.is_empty() {
            mistakes.extend(taken_wrongly);
            mistakes.sort_by_key(|mistake| mistake.line);
        }
        if let Some(open) = &reading.open {
            let line = text.lines().nth(open.line() - 1).unwrap_or_default();
            mistakes.push(open.never_ended(line));
        }
        (reading.into(), mistakes)
    }

    /// The rules and the default of a file: on each line a rule, a default, a comment or nothing.
    ///
    /// # Errors
    ///
    /// The first mistake: a [`ParseError`], which knows the line and the column. A set is one.
    pub fn rule_set(self, text: &str) -> Result<RuleSet, ParseError> {
        let mut reading = Reading::default();
        for (number, line) in (1..).zip(text.lines()) {
            let cursor = &mut Cursor::new(self, number, line);
            reading.line(number, cursor)?;
            if reading.open.is_some() || !reading.sets.is_empty() {
                return Err(cursor.problem(Problem::NoSetHere, None, None));
            }
        }
        Ok(Source::from(reading).rules)
    }
}

impl FromStr for RuleSet {
    type Err = ParseError;

    /// A file of the packet filter: see [`Dialect::rule_set`].
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Dialect::Packets.rule_set(text)
    }
}

/// What has been read of a file.
#[derive(Default)]
struct Reading {
    /// Its line, and what it says.
    default: Option<(usize, Action)>,
    rules: Vec<Rule>,
    lines: Vec<usize>,
    sets: Vec<StatedSet>,
    /// The set that goes on.
    open: Option<Open>,
    /// Whether what goes on is a set that has begun with a mistake.
    skips: bool,
}

impl Reading {
    fn line(&mut self, number: usize, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        if self.skips {
            self.skips = !cursor.has_word("}");
            return Ok(());
        }
        if let Some(mut open) = self.open.take() {
            let ends = open.go_on(cursor);
            if let Ok(true) = ends {
                return self.set(Read::Whole(open.whole()), cursor);
            }
            self.open = Some(open).filter(|_| !cursor.has_word("}"));
            return ends.map(drop);
        }
        if cursor.is_done() {
            return Ok(());
        }
        if cursor.keyword("set") {
            let read = stated::begin(cursor, number)?;
            return self.set(read, cursor);
        }
        if !cursor.keyword("default") {
            self.rules.extend(parse::rules(cursor)?);
            self.lines.resize(self.rules.len(), number);
            return Ok(());
        }
        let is = parse::action(cursor)?;
        cursor.end()?;
        match self.default {
            Some((earlier, _)) => {
                Err(cursor.problem(Problem::SecondDefault { earlier }, None, None))
            }
            None => {
                self.default = Some((number, is));
                Ok(())
            }
        }
    }
}

impl Reading {
    fn set(&mut self, read: Read, cursor: &Cursor<'_>) -> Result<(), ParseError> {
        match read {
            Read::Open(open) => self.open = Some(open),
            Read::Whole(set) => {
                if let Some(earlier) = stated::stated_before(&self.sets, set.about.name) {
                    return Err(cursor.problem(Problem::SecondSet { earlier }, None, None));
                }
                self.sets.push(set);
            }
        }
        Ok(())
    }

    /// The lines whose rules ask for a set that is stated here as what it is not.
    fn taken_wrongly(&self, dialect: Dialect, text: &str) -> Vec<ParseError> {
        let mut lines = (1..).zip(text.lines());
        let mut mistakes: Vec<ParseError> = Vec::new();
        for (rule, number) in self.rules.iter().zip(&self.lines) {
            if mistakes.last().is_some_and(|last| last.line == *number) {
                continue;
            }
            let mut wrong = rule.memberships().filter_map(|asked| {
                let stated = self.sets.iter().find(|set| set.about.name == asked.set);
                Some((asked, asked.is_not(stated?.about.kind)?))
            });
            if let Some((asked, is)) = wrong.next()
                && let Some((_, line)) = lines.find(|(line, _)| line == number)
            {
                let problem = Problem::SetTaken {
                    is,
                    wanted: asked.takes_for(),
                };
                let cursor = Cursor::new(dialect, *number, line);
                mistakes.push(cursor.problem(problem, word_of(line, asked), None));
            }
        }
        mistakes
    }

    /// Goes past a set that begins on this line, has a mistake there, and does not end there.
    fn skip_set(&mut self, line: &str) {
        let words = words(line);
        let has = |text| words.iter().any(|word| word.text == text);
        let begins = words.first().is_some_and(|word| word.text == "set");
        self.skips = begins && has("{") && !has("}");
    }
}

/// The word of a line by which a rule asks for a set.
fn word_of<'a>(line: &'a str, asked: &Membership) -> Option<Word<'a>> {
    let mut port = false;
    words(line).into_iter().find(|word| {
        match word.text {
            "port" => port = true,
            "from" | "to" => port = false,
            _ => {}
        }
        let name = word.text.strip_prefix('@');
        name == Some(asked.set.as_str()) && port == asked.port
    })
}

impl From<Reading> for Source {
    fn from(reading: Reading) -> Self {
        let Reading {
            default,
            rules,
            lines,
            sets,
            open: _,
            skips: _,
        } = reading;
        let default = default.map_or(Action::Pass, |(_, action)| action);
        Self {
            rules: RuleSet { default, rules },
            lines,
            sets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::StatedMembers;

    #[test]
    fn every_mistake_is_told() {
        let text = "pas\ndefault drop\n\ndrop frm any\npass\ndefault pass\ndrop proto {tcp\n";
        let mistakes = Dialect::Packets.source(text).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|it| (it.line, it.column)).collect();
        assert_eq!(places, [(1, 1), (4, 6), (6, 1), (7, 17)]);
        assert_eq!(Dialect::Packets.rule_set(text), Err(mistakes[0].clone()));
    }

    #[test]
    fn sets_are_stated_in_several_lines() {
        let text = "set web ports { 80,\n 443 8000-8080, # and more\n}\ndrop to any port @web\n\
                    set a addresses timeout 1h { ::1 timeout 2s, 10.0.0.0/8 }\n\
                    set b pairs { }\nset c addresses from \"list\" # x";
        let source = Dialect::Packets.source(text).unwrap();
        let members = |nth: usize| -> Vec<_> {
            let members = source.sets[nth].members_at(5).into_iter();
            members
                .map(|it| (it.member.to_string(), it.until))
                .collect()
        };
        let lines: Vec<_> = source.sets.iter().map(|set| set.line).collect();
        assert_eq!((lines, source.lines.clone()), (vec![1, 5, 6, 7], vec![4]));
        let forever = |text: &str| (text.to_owned(), None);
        assert_eq!(members(0), ["80", "443", "8000-8080"].map(forever));
        let second = 1_000_000_000;
        assert_eq!(members(1)[0], ("::1".to_owned(), Some(2 * second + 5)));
        assert_eq!(
            members(1)[1],
            ("10.0.0.0/8".to_owned(), Some(3600 * second + 5))
        );
        assert_eq!(members(2), []);
        assert_eq!(source.sets[3].members, StatedMembers::File("list".into()));
        let Err(error) = Dialect::Packets.rule_set(text) else {
            panic!("no sets are taken here");
        };
        assert_eq!(error.problem, Problem::NoSetHere);
    }

    #[test]
    fn mistakes_in_sets_are_shown_where_they_are() {
        for (text, places) in [
            ("set 9 ports { }", &[(1, 5)][..]),
            ("set a { 80 }", &[(1, 7)]),
            ("set a prots { 80\n99999 }\npas", &[(1, 7), (3, 1)]),
            (
                "set a ports { 80,\n 99999, 1\n} drop\ndrop",
                &[(2, 2), (3, 3)],
            ),
            ("set a ports { 80 timeout 1h }", &[(1, 26)]),
            ("set a ports { }\nset a ports { }", &[(2, 1)]),
            ("drop\nset a ports {\ndrop\n", &[(3, 1), (2, 1)]),
            ("set a ports from /x", &[(1, 18)]),
            ("set a ports", &[(1, 13)]),
        ] {
            let mistakes = Dialect::Packets.source(text).unwrap_err();
            let found: Vec<_> = mistakes.iter().map(|it| (it.line, it.column)).collect();
            assert_eq!(found, places, "{text}");
        }
    }

    #[test]
    fn sets_are_asked_for_as_what_they_are() {
        let sets = "set web ports { 80 }\nset here addresses { ::1 }\nset both pairs { }\n";
        for (rules, places) in [
            ("drop from @here to @both port @web", &[][..]),
            ("drop from @web port @web", &[(4, 11, 4)]),
            (
                "drop from not { @here, @web }\npass\npass to any port not @both",
                &[(4, 24, 4), (6, 22, 5)],
            ),
            (
                "drop from { 10.0.0.1, @web }\ndrp",
                &[(4, 23, 4), (5, 1, 3)],
            ),
            ("drop from @elsewhere port @elsewhere", &[]),
        ] {
            let (_, mistakes) = Dialect::Packets.look_through(&format!("{sets}{rules}"), &[]);
            let found: Vec<_> = (mistakes.iter())
                .map(|it| (it.line, it.column, it.width))
                .collect();
            assert_eq!(found, places, "{rules}");
        }
        let calls = format!("{sets}drop port @here");
        assert!(Dialect::Calls.source(&calls).is_err());
    }

    #[test]
    fn what_is_no_text_is_shown_where_it_is() {
        assert_eq!(text_of(b"\xef\xbb\xbfdrop".to_vec()).as_deref(), Ok("drop"));
        let wrong = |bytes: &[u8]| text_of(bytes.to_vec()).unwrap_err();
        let error = wrong(b"drop\npass # \xc3\xa4 caf\xe9 x\ndrop");
        assert_eq!((error.line, error.column), (2, 13));
        assert_eq!(error.marked(), "pass # \u{e4} caf\u{fffd} x\n            ^");
        assert!(error.to_string().contains("the byte 0xe9"), "{error}");
        let error = wrong(b"\xff\xfed\0r\0o\0p\0");
        assert_eq!((error.line, error.problem), (1, Problem::Utf16));
    }

    #[test]
    fn rules_know_their_lines() {
        let text = "# nothing\npass proto { tcp, udp }\n\ndrop\ndefault drop";
        let source = Dialect::Packets.source(text).unwrap();
        assert_eq!(source.lines, [2, 2, 4]);
        assert_eq!(Ok(source.rules), text.parse());
    }
}
