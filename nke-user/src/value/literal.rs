//! A value as it is written, without its type.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

/// A value as it is written: as text, or as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A number, a name, an address: `80`, `SHUT`, `::1`.
    Word(String),
    /// `"eth0"`
    Text(String),
    /// `[80, 443]`
    List(Vec<Self>),
    /// `[0; 4096]`
    Repeat(Box<Self>, usize),
    /// `{source: 10.0.0.1, port: 80}`
    Record(Vec<(String, Self)>),
}

impl Literal {
    pub(super) fn word(word: impl ToString) -> Self {
        Self::Word(word.to_string())
    }

    /// As JSON. A number that JSON's readers may not take whole is a text.
    pub fn json(&self) -> Json {
        match self {
            Self::Word(word) => json_of_word(word),
            Self::Text(text) => Json::String(text.clone()),
            Self::List(list) => list.iter().map(Self::json).collect(),
            Self::Repeat(one, count) => vec![one.json(); *count].into(),
            Self::Record(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| (name.clone(), value.json()));
                Json::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// As it is typed where a text needs no quotes.
    pub(crate) fn typed(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Word(_) | Self::List(_) | Self::Repeat(..) | Self::Record(_) => self.to_string(),
        }
    }

    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(_) => "a text in quotes".to_owned(),
            Self::List(_) | Self::Repeat(..) => "a list".to_owned(),
            Self::Record(_) => "a record".to_owned(),
        }
    }
}

fn json_of_word(word: &str) -> Json {
    match word {
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return number.into();
    }
    if let Ok(number) = word.parse::<u64>() {
        return number.into();
    }
    let is_fraction =
        word.contains(['.', 'e']) && word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let fraction = is_fraction.then(|| word.parse::<f64>().ok()).flatten();
    fraction.map_or_else(|| word.into(), Json::from)
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Text(text) => quoted(text, f),
            Self::List(list) => {
                f.write_str("[")?;
                for (nth, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if nth > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Repeat(one, count) => write!(f, "[{one}; {count}]"),
            Self::Record(members) => {
                f.write_str("{")?;
                for (nth, (name, value)) in members.iter().enumerate() {
                    f.write_str(if nth > 0 { ", " } else { "" })?;
                    // JSON has names that only quotes can say.
                    if is_name(name) {
                        f.write_str(name)?;
                    } else {
                        quoted(name, f)?;
                    }
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\0' => f.write_str("\\0")?,
            // What would move a terminal's cursor, or turn the direction of its line.
            c if c.is_control() || is_format(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// Whether it is a member's name without quotes.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_part)
}

/// What names of members are of.
pub(super) const fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Characters without a shape that change how others are shown.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
