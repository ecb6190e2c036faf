//! One table of a declaration, taken key by key: what is taken must be of its type, and what is
//! left at the end is a mistake.
//!
//! This must never do I/O, and never guess: a key that is not known is refused.

use std::{fmt::Display, ops::Range, rc::Rc, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Origin;
use crate::{
    error::{Error, Result},
    filter::nearest,
};

/// A file's text, for its lines.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) name: &'a Rc<str>,
    pub(super) text: &'a str,
}

impl File<'_> {
    /// The line that a byte is in.
    pub(super) fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        Origin {
            file: Rc::clone(self.name),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        }
    }

    /// A mistake in a line.
    pub(super) fn wrong(&self, at: usize, key: String, cause: String) -> Error {
        Error::Declaration {
            place: self.origin(at).to_string(),
            key,
            cause,
        }
    }
}

/// A table whose keys are being taken.
pub(super) struct Table<'a> {
    pub(super) file: File<'a>,
    name: &'static str,
    /// All keys that it can have.
    known: &'static [&'static str],
    start: usize,
    left: DeTable<'a>,
}

/// A value that was taken.
pub(super) struct Taken<'a> {
    pub(super) value: DeValue<'a>,
    pub(super) span: Range<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        file: File<'a>,
        name: &'static str,
        known: &'static [&'static str],
        start: usize,
        left: DeTable<'a>,
    ) -> Self {
        Self {
            file,
            name,
            known,
            start,
            left,
        }
    }

    /// Where it begins.
    pub(super) fn origin(&self) -> Origin {
        self.file.origin(self.start)
    }

    pub(super) fn wrong(&self, at: usize, key: &str, cause: impl Display) -> Error {
        let key = format!("{}.{key}", self.name);
        self.file.wrong(at, key, cause.to_string())
    }

    /// A mistake of the table as a whole.
    pub(super) fn wrong_at_all(&self, cause: impl Display) -> Error {
        let key = format!("[[{}]]", self.name);
        self.file.wrong(self.start, key, cause.to_string())
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Taken<'a>> {
        debug_assert!(self.known.contains(&key), "{key} is among the known keys");
        let value = self.left.remove(key)?;
        let span = value.span();
        let value = Spanned::into_inner(value);
        Some(Taken { value, span })
    }

    /// A text, and where it begins.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<(String, usize)>> {
        let Some(Taken { value, span }) = self.take(key) else {
            return Ok(None);
        };
        let DeValue::String(text) = value else {
            return Err(self.not_a("text in quotes", &value, span.start, key));
        };
        if text.contains('\0') {
            return Err(self.wrong(span.start, key, "a text cannot hold the character 0"));
        }
        Ok(Some((text.into_owned(), span.start)))
    }

    fn not_a(&self, wanted: &str, found: &DeValue<'_>, at: usize, key: &str) -> Error {
        let found = match found {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(at, key, format_args!("this is {found}; write {wanted}"))
    }

    /// A word of some kind.
    pub(super) fn word<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>> {
        let Some((text, at)) = self.text(key)? else {
            return Ok(None);
        };
        let word = text.parse();
        word.map(Some)
            .map_err(|error| self.wrong(at, key, format_args!("{text:?}: {error}")))
    }

    /// A word of some kind, or a number that can be one.
    pub(super) fn word_or_number<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>> {
        let Some(Taken { value, span }) = self.take(key) else {
            return Ok(None);
        };
        let text = if let DeValue::String(text) = &value {
            text.clone().into_owned()
        } else if let DeValue::Integer(number) = &value
            && number.radix() == 10
        {
            number.as_str().to_owned()
        } else {
            return Err(self.not_a("a number, or a name in quotes", &value, span.start, key));
        };
        let word = text.parse();
        word.map(Some)
            .map_err(|error| self.wrong(span.start, key, format_args!("{text:?}: {error}")))
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<i32>> {
        let Some(Taken { value, span }) = self.take(key) else {
            return Ok(None);
        };
        let DeValue::Integer(number) = &value else {
            return Err(self.not_a("a whole number", &value, span.start, key));
        };
        let parsed = i32::from_str_radix(number.as_str(), number.radix());
        parsed.map(Some).map_err(|_| {
            let range = format_args!("a number from {} to {} is wanted", i32::MIN, i32::MAX);
            self.wrong(span.start, key, range)
        })
    }

    /// Whether something is so; by itself it is not.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool> {
        match self.take(key) {
            None => Ok(false),
            Some(Taken {
                value: DeValue::Boolean(flag),
                ..
            }) => Ok(flag),
            Some(Taken { value, span }) => {
                Err(self.not_a("true or false", &value, span.start, key))
            }
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<()> {
        let first = self.left.iter().min_by_key(|(key, _)| key.span().start);
        let Some((key, _)) = first else {
            return Ok(());
        };
        let at = key.span().start;
        let name: &str = key.get_ref();
        Err(self.wrong(at, name, unknown("key", name, self.known)))
    }
}

/// What to say of a name that is not known.
pub(super) fn unknown(kind: &str, name: &str, known: &[&'static str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("no such {kind}; did you mean {meant:?}?"),
        None => format!("no such {kind}; there are {}", known.join(", ")),
    }
}
