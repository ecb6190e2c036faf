//! `nke map`: the maps of loaded extensions, by their types.

use std::{fmt::Write as _, path::Path};

use clap::{Args, Subcommand};
use nke::{
    control::{Control, Scope},
    maps::{Entry, Map, MapStatus, Owner, Values},
    order::Selector,
    value::Literal,
};
use serde_json::{Value as Json, json};

use crate::{
    arguments::{Format, Place},
    open, output,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Maps {
    /// List an extension's maps, with the types of their keys and values
    List {
        /// The extension's name, its kmid, or an attachment's id
        which: Selector,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        format: Format,
    },
    /// Print all entries of a map, or all variables of a data section
    Dump {
        #[command(flatten)]
        map: Which,
        #[command(flatten)]
        format: Format,
    },
    /// Print one entry; of a queue or stack the next value
    Lookup {
        #[command(flatten)]
        map: Which,
        /// The entry's key, or a variable's name
        #[arg(allow_hyphen_values = true)]
        key: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Write an entry
    ///
    /// Keys and values are written as `dump` prints them, or as JSON; members that are left out are
    /// zero. Of a per-CPU map all CPUs get the value. Into a queue or stack it is pushed: leave KEY
    /// out.
    Update {
        #[command(flatten)]
        map: Which,
        /// The entry's key, or a variable's name
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// The value
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// Only this CPU's value; what programs change of the others' meanwhile is lost
        #[arg(long, value_name = "N")]
        cpu: Option<usize>,
    },
    /// Delete an entry; from a queue or stack the next value is taken, and printed
    Delete {
        #[command(flatten)]
        map: Which,
        /// The entry's key
        #[arg(allow_hyphen_values = true)]
        key: Option<String>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The extension's name, its kmid, or an attachment's id
    which: Selector,
    /// The map's name; .data, .bss and .rodata are the variables
    map: String,
    #[command(flatten)]
    place: Place,
}

impl Which {
    /// Opens the map. The lock is free again then: who reads what is printed may take their time.
    fn open(&self, control: nke::error::Result<Control>) -> anyhow::Result<Map> {
        let control = control?;
        Ok(control.map(&self.which, &Scope::from(&self.place), &self.map)?)
    }
}

pub(crate) fn run(state: &Path, verb: &Maps) -> anyhow::Result<()> {
    match verb {
        Maps::List {
            which,
            place,
            format,
        } => {
            let maps = open::look(state)?.maps(which, &Scope::from(place))?;
            list(&maps, format.json)
        }
        Maps::Dump { map, format } => {
            let open = map.open(open::look(state))?;
            if format.json {
                dump_json(&open, &map.map)
            } else {
                dump(&open)
            }
        }
        Maps::Lookup { map, key, format } => {
            let open = map.open(open::look(state))?;
            entry(&open, &open.lookup(key.as_deref())?, format.json)
        }
        Maps::Update {
            map,
            key,
            value,
            cpu,
        } => {
            let (key, value) = match value {
                Some(value) => (Some(key.as_str()), value),
                None => (None, key),
            };
            Ok(map.open(open::open(state))?.update(key, value, *cpu)?)
        }
        Maps::Delete { map, key, format } => {
            let open = map.open(open::open(state))?;
            match open.delete(key.as_deref())? {
                Some(taken) => entry(&open, &taken, format.json),
                None => Ok(()),
            }
        }
    }
}

fn list(maps: &[MapStatus], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(&json!({ "maps": maps }));
    }
    if maps.is_empty() {
        output::line(format_args!("no map"));
        return Ok(());
    }
    let mut table = output::table(["NAME", "KIND", "ENTRIES", "OF", "KEY", "VALUE"]);
    for map in maps {
        let attachments: Vec<_> = map.attachments.iter().map(u32::to_string).collect();
        let owner = match map.owner {
            Owner::Extension => "extension".to_owned(),
            Owner::Target => format!("target of {}", attachments.join(" ")),
            Owner::Attachment => format!("attachment {}", attachments.join(" ")),
        };
        let kind = if map.frozen {
            format!("{} (frozen)", map.kind)
        } else {
            map.kind.to_owned()
        };
        table.add_row([
            output::escaped(&map.name),
            kind,
            map.max_entries.to_string(),
            owner,
            output::escaped(map.key.as_deref().unwrap_or("-")),
            match (&map.value, map.variables) {
                (Some(value), _) => output::escaped(value),
                (None, 0) => "-".to_owned(),
                (None, 1) => "1 variable".to_owned(),
                (None, variables) => format!("{variables} variables"),
            },
        ]);
    }
    output::right(&mut table, &[2]);
    output::print_table(&table);
    Ok(())
}

/// An entry in lines: one, or one for each CPU.
fn lines(map: &Map, entry: &Entry, text: &mut String) {
    let Entry { key, values } = entry;
    let sign = if map.is_section() { "=" } else { "=>" };
    let key = key.as_ref().map(|key| match key {
        Literal::Word(name) => output::escaped(name),
        Literal::Text(_) | Literal::List(_) | Literal::Repeat(..) | Literal::Record(_) => {
            key.to_string()
        }
    });
    let mut line = |cpu: Option<usize>, value: &Literal| {
        let cpu = cpu.map(|cpu| format!("cpu {cpu}"));
        let head: Vec<_> = key.iter().chain(&cpu).map(String::as_str).collect();
        // Writing to a string cannot fail.
        let _: std::fmt::Result = match head.is_empty() {
            true => writeln!(text, "{value}"),
            false => writeln!(text, "{} {sign} {value}", head.join(" ")),
        };
    };
    match values {
        Values::One(value) => line(None, value),
        Values::PerCpu(values) => values
            .iter()
            .enumerate()
            .for_each(|(n, v)| line(Some(n), v)),
    }
}

fn object(entry: &Entry) -> Json {
    let Entry { key, values } = entry;
    let mut object = json!({});
    if let Some(key) = key {
        object["key"] = key.json();
    }
    match values {
        Values::One(value) => object["value"] = value.json(),
        Values::PerCpu(values) => object["values"] = values.iter().map(Literal::json).collect(),
    }
    object
}

fn entry(map: &Map, entry: &Entry, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(&object(entry));
    }
    let mut text = String::new();
    lines(map, entry, &mut text);
    output::line(format_args!("{}", text.trim_end_matches('\n')));
    Ok(())
}

fn dump(map: &Map) -> anyhow::Result<()> {
    let mut walk = map.walk()?;
    while let Some(entries) = walk.more()?.filter(|_| output::is_read()) {
        let mut text = String::new();
        entries
            .iter()
            .for_each(|entry| lines(map, entry, &mut text));
        if !text.is_empty() {
            output::line(format_args!("{}", text.trim_end_matches('\n')));
        }
    }
    if !walk.is_complete() {
        output::note(format_args!("{INCOMPLETE}"));
    }
    Ok(())
}

const INCOMPLETE: &str =
    "the map changed as fast as it was read: what is printed may not be all of it";

/// One object, an entry a line, as it is read.
fn dump_json(map: &Map, name: &str) -> anyhow::Result<()> {
    let mut walk = map.walk()?;
    output::line(format_args!(
        "{{\n  \"map\": {},\n  \"entries\": [",
        json!(name)
    ));
    let mut before = "";
    while let Some(entries) = walk.more()?.filter(|_| output::is_read()) {
        let mut text = String::new();
        for entry in &entries {
            // Writing to a string cannot fail.
            let _: std::fmt::Result = write!(text, "{before}    {}", object(entry));
            before = ",\n";
        }
        output::part(format_args!("{text}"));
    }
    let end = if before.is_empty() { "" } else { "\n" };
    output::line(format_args!(
        "{end}  ],\n  \"complete\": {}\n}}",
        walk.is_complete()
    ));
    Ok(())
}
