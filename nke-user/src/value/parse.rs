//! A text as a literal. JSON is such a text too.

use std::str::FromStr;

use super::{Cause, Literal, ValueError, literal::is_name_part};

/// How deep a literal can be nested.
const DEEPEST: usize = 64;

impl FromStr for Literal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut cursor = Cursor {
            text,
            at: 0,
            depth: 0,
        };
        let literal = cursor.value()?;
        cursor.space();
        if cursor.at < text.len() {
            return Err(cursor.missing("end of the value"));
        }
        Ok(literal)
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn missing(&self, wanted: &'static str) -> ValueError {
        let at = self.text[..self.at].chars().count() + 1;
        ValueError::new(Cause::Syntax { at, wanted })
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Whether this comes next, behind spaces; then it is behind us.
    fn has(&mut self, wanted: char) -> bool {
        self.space();
        let has = self.rest().starts_with(wanted);
        self.at += if has { wanted.len_utf8() } else { 0 };
        has
    }

    fn value(&mut self) -> Result<Literal, ValueError> {
        self.space();
        match self.rest().chars().next() {
            Some('{') => self.nested(Self::record),
            Some('[') => self.nested(Self::list),
            Some('"') => self.text().map(Literal::Text),
            _ => self.word().map(Literal::Word),
        }
    }

    fn nested(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<Literal, ValueError>,
    ) -> Result<Literal, ValueError> {
        if self.depth == DEEPEST {
            return Err(self.missing("value that is nested so deep"));
        }
        self.at += 1;
        self.depth += 1;
        let literal = inner(self);
        self.depth -= 1;
        literal
    }

    fn record(&mut self) -> Result<Literal, ValueError> {
        let mut members = Vec::new();
        while !self.has('}') {
            let name = if self.rest().starts_with('"') {
                self.text()?
            } else {
                self.name()?
            };
            if !self.has(':') {
                return Err(self.missing("':' behind a member's name"));
            }
            members.push((name, self.value()?));
            if !self.has(',') {
                if self.has('}') {
                    break;
                }
                return Err(self.missing("',' or '}'"));
            }
        }
        Ok(Literal::Record(members))
    }

    fn list(&mut self) -> Result<Literal, ValueError> {
        let mut list = Vec::new();
        while !self.has(']') {
            let value = self.value()?;
            if list.is_empty() && self.has(';') {
                self.space();
                let count = self.word()?;
                let count = count
                    .parse()
                    .map_err(|_| self.missing("number of elements"))?;
                return if self.has(']') {
                    Ok(Literal::Repeat(Box::new(value), count))
                } else {
                    Err(self.missing("']'"))
                };
            }
            list.push(value);
            if !self.has(',') {
                if self.has(']') {
                    break;
                }
                return Err(self.missing("',' or ']'"));
            }
        }
        Ok(Literal::List(list))
    }

    fn name(&mut self) -> Result<String, ValueError> {
        let rest = self.rest();
        let length = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.missing("member's name"));
        }
        self.at += length;
        Ok(rest[..length].to_owned())
    }

    fn word(&mut self) -> Result<String, ValueError> {
        let is_end = |c: char| c.is_whitespace() || "{}[],;\"".contains(c);
        let rest = self.rest();
        let length = rest.find(is_end).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.missing("value"));
        }
        self.at += length;
        Ok(rest[..length].to_owned())
    }

    /// A text in quotes.
    fn text(&mut self) -> Result<String, ValueError> {
        let mut text = String::new();
        self.at += 1;
        loop {
            let mut rest = self.rest().chars();
            let next = rest.next().ok_or_else(|| self.missing("'\"' at its end"))?;
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                other => text.push(other),
            }
        }
    }

    /// What a backslash makes of the characters behind it.
    fn escape(&mut self) -> Result<char, ValueError> {
        let missing = |cursor: &Self| cursor.missing("escape sequence that there is");
        let next = self.rest().chars().next().ok_or_else(|| missing(self))?;
        self.at += next.len_utf8();
        Ok(match next {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '0' => '\0',
            'u' => return self.code_point().ok_or_else(|| missing(self)),
            '"' | '\\' | '/' | '\'' => next,
            _ => return Err(missing(self)),
        })
    }

    /// `{1f600}` as in Rust, or `00e9` as in JSON, where two can make one character.
    fn code_point(&mut self) -> Option<char> {
        if let Some(rest) = self.rest().strip_prefix('{') {
            let (digits, _) = rest.split_once('}')?;
            self.at += digits.len() + 2;
            return char::from_u32(u32::from_str_radix(digits, 16).ok()?);
        }
        let first = self.unit()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        self.at += self.rest().strip_prefix("\\u").map(|_| 2)?;
        let pair = [first, self.unit()?].map(|unit| u16::try_from(unit).unwrap_or_default());
        char::decode_utf16(pair).next()?.ok()
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        self.at += 4;
        let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }
}
