//! Going along the words of a line, and saying what could have stood where it went wrong.

use std::net::IpAddr;

use super::dialect::Dialect;
use super::guess;
use super::hint::{self, Hint};
use super::parse;
use super::parse_error::{Expected, Found, ParseError, Problem};
use super::words::{USUAL, Word, words};

/// A place in a line.
pub(super) struct Cursor<'a> {
    pub(super) dialect: Dialect,
    /// What `self` stands for; nothing where nobody knows.
    pub(super) own: &'a [IpAddr],
    /// The line's number, counted from 1.
    number: usize,
    line: &'a str,
    words: Vec<Word<'a>>,
    next: usize,
    /// What could have stood at the next word.
    expected: Vec<Expected>,
    /// Whether what was meant is to be guessed where the line goes wrong.
    guesses: bool,
}

/// Something, and the word that said it (or began to).
#[derive(Clone, Copy)]
pub(super) struct Said<'a, T> {
    pub thing: T,
    pub word: Option<Word<'a>>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(dialect: Dialect, number: usize, line: &'a str) -> Self {
        Self {
            dialect,
            own: &[],
            number,
            line,
            words: words(line),
            next: 0,
            expected: Vec::with_capacity(USUAL),
            guesses: true,
        }
    }

    /// The same, where these are the host's own addresses.
    pub(super) fn on(self, own: &'a [IpAddr]) -> Self {
        Self { own, ..self }
    }

    /// Whether there are no more words.
    pub(super) fn is_done(&self) -> bool {
        self.next == self.words.len()
    }

    /// Whether the next word begins so.
    pub(super) fn begins_with(&self, first: char) -> bool {
        let word = self.words.get(self.next);
        word.is_some_and(|word| word.text.starts_with(first))
    }

    /// Whether the next word begins like one of so many.
    pub(super) fn is_sample(&self) -> bool {
        ('0'..='9').any(|digit| self.begins_with(digit))
    }

    /// Whether this is one of the words of the line.
    pub(super) fn has_word(&self, text: &str) -> bool {
        self.words.iter().any(|word| word.text == text)
    }

    /// Goes past a keyword, if it is the next word.
    pub(super) fn keyword(&mut self, keyword: &'static str) -> bool {
        let is_next = self
            .words
            .get(self.next)
            .is_some_and(|word| word.text == keyword);
        if is_next {
            self.next += 1;
            self.expected.clear();
        } else {
            self.expected.push(Expected::Keyword(keyword));
        }
        is_next
    }

    /// Goes past a word that must be of some kind: `read` makes the thing of it, or says what is
    /// wrong with it, or nothing if it is of another kind altogether.
    pub(super) fn thing<T>(
        &mut self,
        what: &'static str,
        hint: impl Fn(&str) -> Option<Hint>,
        read: impl Fn(&str) -> Option<Result<T, Problem>>,
    ) -> Result<T, ParseError> {
        self.expected.push(Expected::Thing(what));
        let word = self.words.get(self.next).copied();
        let readable = word.filter(|word| !matches!(word.text, "{" | "}" | ","));
        match readable.and_then(|word| read(word.text)) {
            Some(Ok(thing)) => {
                self.next += 1;
                self.expected.clear();
                Ok(thing)
            }
            Some(Err(problem)) => Err(self.problem(problem, word, None)),
            None => Err(self.unexpected(hint)),
        }
    }

    /// Something, or several of it in braces with commas between.
    pub(super) fn list<T>(
        &mut self,
        one: impl Fn(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<Said<'a, T>>, ParseError> {
        let in_braces = self.keyword("{");
        let mut things = vec![self.said(&one)?];
        while in_braces && !self.keyword("}") {
            if !self.keyword(",") {
                return Err(self.unexpected_word());
            }
            things.push(self.said(&one)?);
        }
        Ok(things)
    }

    /// Something, with the word that it begins with.
    pub(super) fn said<T>(
        &mut self,
        one: impl Fn(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Said<'a, T>, ParseError> {
        let word = self.words.get(self.next).copied();
        one(self).map(|thing| Said { thing, word })
    }

    /// There must be no more words.
    pub(super) fn end(&mut self) -> Result<(), ParseError> {
        self.expected.push(Expected::Thing("the end of the line"));
        if self.is_done() {
            Ok(())
        } else {
            Err(self.unexpected_word())
        }
    }

    /// The next word is none of the keywords that could have stood there.
    pub(super) fn unexpected_word(&self) -> ParseError {
        let keywords: Vec<_> = self.expected.iter().filter_map(Expected::keyword).collect();
        self.unexpected(|found| hint::for_word(found, &keywords, self.dialect))
    }

    /// The one keyword that could have stood here has been left out, or misspelt.
    pub(super) fn left_out(&self) -> ParseError {
        let error = self.unexpected(|_| Some(Hint::Order(self.dialect)));
        match error.hint {
            Some(Hint::Write(_)) => error,
            _ => self.unexpected_word(),
        }
    }

    fn unexpected(&self, hint: impl Fn(&str) -> Option<Hint>) -> ParseError {
        let expected = self.expected.clone();
        if let Some(word) = self.words.get(self.next).copied() {
            let problem = Problem::Unexpected {
                expected,
                found: Found::Word(word.text.to_owned()),
            };
            return self.problem(problem, Some(word), self.guessed(hint(word.text)));
        }
        ParseError {
            line: self.number,
            column: self
                .words
                .last()
                .map_or(1, |word| word.column(self.line) + word.width() + 1),
            width: 1,
            text: self.line.to_owned(),
            problem: Problem::Unexpected {
                expected,
                found: Found::End,
            },
            hint: None,
        }
    }

    /// The whole line as it may have been meant, if that is a rule and the hint says less.
    fn guessed(&self, hint: Option<Hint>) -> Option<Hint> {
        if !self.guesses || hint.as_ref().is_some_and(|hint| !hint.is_vague()) {
            return hint;
        }
        let reads = |line: &str| {
            let cursor = Cursor::new(self.dialect, self.number, line).on(self.own);
            let mut cursor = Cursor {
                guesses: false,
                ..cursor
            };
            parse::rules(&mut cursor).is_ok()
        };
        let meant = guess::guessed(&self.words, self.next, self.dialect);
        let meant = meant.filter(|meant| reads(&meant.line));
        meant.map(Box::new).map(Hint::Write).or(hint)
    }

    /// Something is wrong with a word; or with all of them.
    pub(super) fn problem(
        &self,
        problem: Problem,
        word: Option<Word<'a>>,
        hint: Option<Hint>,
    ) -> ParseError {
        let first = word.or(self.words.first().copied());
        let last = word.or(self.words.last().copied());
        let column = first.map_or(1, |word| word.column(self.line));
        let behind = last.map_or(2, |word| word.column(self.line) + word.width());
        ParseError {
            line: self.number,
            column,
            width: behind - column,
            text: self.line.to_owned(),
            problem,
            hint,
        }
    }
}
