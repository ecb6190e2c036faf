//! `[[set]]`: what an extension's settings are to be, as text that `nke set` takes.
//!
//! A number or a truth is written as TOML has it, all else in quotes. What a setting takes is known
//! only with its extension, so values are checked when the plan is made; this must never guess.
//!
//! ```toml
//! [[set]]
//! extension = "packet-filter"
//! settings = { log-lines = 10 }
//! ```

use std::ops::Range;

use serde::Serialize;
use toml::{Spanned, de::DeValue};

use super::{
    Declared,
    parse::extension,
    table::{Table, Taken},
};
use crate::{error::Result, find::Wanted, value::Literal};

/// The keys of `[[set]]`.
pub(super) const KEYS: [&str; 3] = ["extension", "instance", "settings"];

/// What settings of an extension are to be. Those that are not named stay as they are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The extension.
    pub extension: Wanted,
    /// Names and values, as `nke set` takes them.
    pub values: Vec<Declared<(String, String)>>,
}

/// A setting that gets another value.
#[derive(Clone, Debug, Serialize)]
pub struct SettingChange {
    /// The extension's name.
    pub extension: String,
    /// The setting's name.
    pub setting: String,
    /// What it is; its default, if the extension is not loaded.
    pub running: Literal,
    /// What it is to be.
    pub wanted: Literal,
    /// That as `nke set` takes it.
    #[serde(skip)]
    pub(crate) text: String,
    /// Whether it is given as the extension, or its other version, is loaded.
    #[serde(skip)]
    pub(crate) at_load: bool,
}

/// Takes a table.
pub(super) fn settings(mut table: Table<'_>) -> Result<Settings> {
    let extension = extension(&mut table)?;
    let Some(Taken { value, span }) = table.take("settings") else {
        return Err(table.wrong_at_all("it sets nothing; add the key \"settings\""));
    };
    let DeValue::Table(named) = value else {
        let cause = "write { SETTING = VALUE, … }";
        return Err(table.wrong(span.start, "settings", cause));
    };
    let mut named: Vec<_> = named.into_iter().collect();
    named.sort_by_key(|(key, _)| key.span().start);
    let mut values = Vec::new();
    for (key, value) in named {
        let origin = table.file.origin(key.span().start);
        let name = Spanned::into_inner(key).into_owned();
        let text = text_of(&table, &name, value.span(), value.get_ref())?;
        let what = (name, text);
        values.push(Declared { what, origin });
    }
    table.finish()?;
    Ok(Settings { extension, values })
}

/// A value as it is typed.
fn text_of(
    table: &Table<'_>,
    name: &str,
    span: Range<usize>,
    value: &DeValue<'_>,
) -> Result<String> {
    let wrong = |cause: &str| table.wrong(span.start, &format!("settings.{name}"), cause);
    match value {
        DeValue::String(text) if text.contains('\0') => {
            Err(wrong("a text cannot hold the character 0"))
        }
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            let parsed = parsed.map_err(|_| wrong("a number of 128 bits at most is wanted"))?;
            Ok(parsed.to_string())
        }
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Err(wrong(
            "write a number, true, false, or in quotes what `nke set` takes",
        )),
    }
}

/// The values as they are written: a number and a truth without quotes.
pub(super) fn inline(values: &[Declared<(String, String)>], quoted: fn(&str) -> String) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let one = |Declared { what, .. }: &Declared<(String, String)>| {
        let (name, text) = what;
        let number = text.parse::<i64>().is_ok_and(|n| n.to_string() == *text);
        let value = match text.as_str() {
            "true" | "false" => text.clone(),
            _ if number => text.clone(),
            _ => quoted(text),
        };
        let name = match name.chars().all(is_bare) && !name.is_empty() {
            true => name.clone(),
            false => quoted(name),
        };
        format!("{name} = {value}")
    };
    let all: Vec<_> = values.iter().map(one).collect();
    format!("{{ {} }}", all.join(", "))
}
