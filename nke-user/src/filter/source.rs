//! Files of rules: a rule, a default, a comment or nothing on each line.
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
use super::parse;
use super::parse_error::{ParseError, Problem};
use super::rule::{Action, Rule, RuleSet};

/// A file of rules, and where in it each of them stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The rules and the default.
    pub rules: RuleSet,
    /// The line of each rule, from 1. A list in braces makes several rules of one line.
    pub lines: Vec<usize>,
}

impl Dialect {
    /// The rules and the default of a file, and the lines that they stand on.
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
        let mut reading = Reading::default();
        let mut mistakes = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let mut cursor = Cursor::new(self, number, line).on(own);
            if let Err(mistake) = reading.line(number, &mut cursor) {
                mistakes.push(mistake);
            }
        }
        if mistakes.is_empty() {
            Ok(reading.into())
        } else {
            Err(mistakes)
        }
    }

    /// The rules and the default of a file: on each line a rule, a default, a comment or nothing.
    ///
    /// # Errors
    ///
    /// The first mistake: a [`ParseError`], which knows the line and the column.
    pub fn rule_set(self, text: &str) -> Result<RuleSet, ParseError> {
        let mut reading = Reading::default();
        for (number, line) in (1..).zip(text.lines()) {
            reading.line(number, &mut Cursor::new(self, number, line))?;
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
}

impl Reading {
    fn line(&mut self, number: usize, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        if cursor.is_done() {
            return Ok(());
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

impl From<Reading> for Source {
    fn from(reading: Reading) -> Self {
        let Reading {
            default,
            rules,
            lines,
        } = reading;
        let default = default.map_or(Action::Pass, |(_, action)| action);
        Self {
            rules: RuleSet { default, rules },
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told() {
        let text = "pas\ndefault drop\n\ndrop frm any\npass\ndefault pass\ndrop proto {tcp\n";
        let mistakes = Dialect::Packets.source(text).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|it| (it.line, it.column)).collect();
        assert_eq!(places, [(1, 1), (4, 6), (6, 1), (7, 17)]);
        assert_eq!(Dialect::Packets.rule_set(text), Err(mistakes[0].clone()));
    }

    #[test]
    fn rules_know_their_lines() {
        let text = "# nothing\npass proto { tcp, udp }\n\ndrop\ndefault drop";
        let source = Dialect::Packets.source(text).unwrap();
        assert_eq!(source.lines, [2, 2, 4]);
        assert_eq!(Ok(source.rules), text.parse());
    }
}
