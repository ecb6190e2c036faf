//! From a file's text to what it declares.
//!
//! This must never do I/O. What it takes means the same as on the command line: the same names, the
//! same defaults, the same conflicts.

use std::rc::Rc;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Attachment, ChainPolicy, Declaration, Declared, Origin, settings,
    table::{File, Table, unknown},
};
use crate::{
    control::{Manner, Policy},
    error::{Error, Result},
    filter::{Dialect, Source, StatedSet},
    find::{Instance, Wanted, original},
    hook::Kind,
    netfilter::Request,
    order::{Position, Selector},
    target::Where,
};

/// The tables, which are verbs.
const TABLES: [&str; 4] = ["load", "attach", "policy", "set"];

const LOAD: [&str; 2] = ["extension", "instance"];
const ATTACH: [&str; 17] = [
    "extension",
    "instance",
    "interface",
    "netns",
    "cgroup",
    "hook",
    "program",
    "priority",
    "before",
    "after",
    "mode",
    "netfilter-priority",
    "defrag",
    "no-counters",
    "opt-in",
    "disabled",
    "rules",
];
const POLICY: [&str; 5] = ["policy", "interface", "netns", "cgroup", "hook"];

impl Declaration {
    /// Reads a declaration from text; `file` stands for it in messages.
    ///
    /// # Errors
    ///
    /// [`Error::Declaration`].
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let name: Rc<str> = file.into();
        let file = File { name: &name, text };
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            file.wrong(at, "syntax".to_owned(), one_line(error.message()))
        })?;
        let mut declaration = Self::default();
        let mut tables: Vec<_> = Spanned::into_inner(document).into_iter().collect();
        tables.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in tables {
            let at = key.span().start;
            let verb: &str = key.get_ref();
            if !TABLES.contains(&verb) {
                let cause = unknown("table", verb, &TABLES);
                return Err(file.wrong(at, verb.to_owned(), cause));
            }
            for (start, keys) in entries(file, verb, at, value)? {
                declaration.add(file, verb, start, keys)?;
            }
        }
        Ok(declaration)
    }

    fn add(&mut self, file: File<'_>, verb: &str, start: usize, keys: DeTable<'_>) -> Result<()> {
        match verb {
            "load" => {
                let mut table = Table::new(file, "load", &LOAD, start, keys);
                let origin = table.origin();
                let what = extension(&mut table)?;
                table.finish()?;
                self.loads.push(Declared { what, origin });
            }
            "attach" => {
                let table = Table::new(file, "attach", &ATTACH, start, keys);
                let origin = table.origin();
                let what = attachment(table)?;
                self.attachments.push(Declared { what, origin });
            }
            "set" => {
                let table = Table::new(file, "set", &settings::KEYS, start, keys);
                let origin = table.origin();
                let what = settings::settings(table)?;
                self.settings.push(Declared { what, origin });
            }
            _ => {
                let table = Table::new(file, "policy", &POLICY, start, keys);
                let origin = table.origin();
                let what = policy(table)?;
                self.policies.push(Declared { what, origin });
            }
        }
        Ok(())
    }

    /// Adds what another file declares behind this.
    pub fn append(&mut self, mut other: Self) {
        self.loads.append(&mut other.loads);
        self.attachments.append(&mut other.attachments);
        self.policies.append(&mut other.policies);
        self.settings.append(&mut other.settings);
    }
}

/// The tables of a verb, each with where it begins.
fn entries<'a>(
    file: File<'_>,
    verb: &str,
    at: usize,
    value: Spanned<DeValue<'a>>,
) -> Result<Vec<(usize, DeTable<'a>)>> {
    let wrong = |at| {
        let cause = format!("write [[{verb}]] above the keys of each");
        file.wrong(at, verb.to_owned(), cause)
    };
    let DeValue::Array(array) = Spanned::into_inner(value) else {
        return Err(wrong(at));
    };
    let entries = array.into_iter().map(|entry| {
        let start = entry.span().start;
        let DeValue::Table(keys) = Spanned::into_inner(entry) else {
            return Err(wrong(start));
        };
        Ok((start, keys))
    });
    entries.collect()
}

/// The parser's words on one line.
fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

/// The extension, whose path is that of the file's directory on.
pub(super) fn extension(table: &mut Table<'_>) -> Result<Wanted> {
    let Some((text, at)) = table.text("extension")? else {
        return Err(table.wrong_at_all("it names no extension; add the key \"extension\""));
    };
    let Ok(wanted) = text.parse::<Wanted>();
    if wanted.name().is_empty() {
        return Err(table.wrong(at, "extension", "the name is empty; write that of a file"));
    }
    let directory = std::path::Path::new(&**table.file.name).parent();
    let wanted = match (wanted, directory) {
        (Wanted::Path(path), Some(directory)) => Wanted::Path(directory.join(path)),
        (wanted, _) => wanted,
    };
    let instance: Option<Instance> = table.word("instance")?;
    Ok(instance.map_or(wanted.clone(), |instance| wanted.instance(&instance)))
}

/// What it is attached to, as on the command line.
fn place(table: &mut Table<'_>) -> Result<Where> {
    let interface = table.text("interface")?;
    let netns = table.text("netns")?;
    let cgroup = table.text("cgroup")?;
    if let (Some((_, at)), true) = (&cgroup, interface.is_some() || netns.is_some()) {
        let cause = "it cannot be with \"interface\" or \"netns\"; leave one out";
        return Err(table.wrong(*at, "cgroup", cause));
    }
    let given = [
        ("interface", &interface),
        ("netns", &netns),
        ("cgroup", &cgroup),
    ];
    for (key, value) in given {
        if let Some((text, at)) = value
            && text.is_empty()
        {
            return Err(table.wrong(*at, key, "it is empty; write a name, or leave it out"));
        }
    }
    // dev_valid_name, net/core/dev.c.
    let is_name = |name: &str| name.len() <= 15 && !name.contains(['/', ':', ' ']);
    if let Some((name, at)) = interface.as_ref().filter(|(name, _)| !is_name(name)) {
        let cause = format!("{name:?}: an interface's name has 15 bytes at most, and no '/'");
        return Err(table.wrong(*at, "interface", cause));
    }
    let netns = netns.map(|(name, _)| name);
    Ok(match (interface, cgroup) {
        (Some((name, _)), _) => Where::Interface { name, netns },
        (None, Some((path, _))) => Where::Cgroup { path: path.into() },
        (None, None) => Where::Namespace { netns },
    })
}

fn attachment(mut table: Table<'_>) -> Result<Attachment> {
    let extension = extension(&mut table)?;
    let place = place(&mut table)?;
    let (rules, beside) = rules(&mut table, &extension)?
        .map(|source| (source.rules, (source.lines, source.sets)))
        .unzip();
    let (lines, sets) = beside.unwrap_or_default();
    let attachment = Attachment {
        rules,
        lines,
        sets,
        extension,
        place,
        hook: table.word("hook")?,
        program: table.text("program")?.map(|(symbol, _)| symbol),
        position: position(&mut table)?,
        manner: Manner {
            mode: table.word("mode")?,
            netfilter: Request {
                priority: table.word_or_number("netfilter-priority")?,
                defrag: table.flag("defrag")?,
            },
            counters: !table.flag("no-counters")?,
            opt_in: table.flag("opt-in")?,
        },
        disabled: table.flag("disabled")?,
    };
    if let Some(family) = &attachment.hook {
        let kind = attachment.place.kind();
        if let Some(hook) = family.hooks().iter().find(|hook| hook.row().kind != kind) {
            return Err(table.wrong_at_all(not_there(hook.row().kind, &family)));
        }
    }
    table.finish()?;
    Ok(attachment)
}

/// What to say of a hook of something else.
fn not_there(kind: Kind, hook: &dyn std::fmt::Display) -> String {
    let remedy = match kind {
        Kind::Interface => "name one with \"interface\"",
        Kind::Namespace => "leave \"interface\" and \"cgroup\" out",
        Kind::Cgroup => "name one with \"cgroup\"",
    };
    format!("{hook} is a hook of {kind}; {remedy}")
}

fn position(table: &mut Table<'_>) -> Result<Option<Position>> {
    let priority = table.number("priority")?.map(Position::Priority);
    let mut beside = |key: &'static str, position: fn(Selector) -> Position| {
        let Some((name, at)) = table.text(key)? else {
            return Ok(None);
        };
        match name.parse() {
            Ok(Selector::Name(name)) => Ok(Some(position(Selector::Name(name)))),
            // The kernel gives numbers, anew each time.
            Ok(Selector::Id(_)) => {
                Err(table.wrong(at, key, "write the name of an extension, and no number"))
            }
        }
    };
    let before = beside("before", Position::Before)?;
    let after = beside("after", Position::After)?;
    let mut given = [priority, before, after].into_iter().flatten();
    match (given.next(), given.next()) {
        (_, Some(_)) => Err(table.wrong_at_all(
            "it can have one of \"priority\", \"before\" and \"after\"; leave the others out",
        )),
        (given, None) => Ok(given),
    }
}

/// The language of an extension's rules, if it has rules.
pub(crate) fn dialect(extension: &str) -> Option<Dialect> {
    match original(extension) {
        "packet-filter" => Some(Dialect::Packets),
        "connection-guard" => Some(Dialect::Calls),
        _ => None,
    }
}

/// Rules, and the sets beside them; the line of each is that of the file.
fn rules(table: &mut Table<'_>, extension: &Wanted) -> Result<Option<Source>> {
    let Some((text, at)) = table.text("rules")? else {
        return Ok(None);
    };
    let Some(dialect) = dialect(&extension.name()) else {
        let cause = "only packet-filter and connection-guard have rules; leave it out";
        return Err(table.wrong(at, "rules", cause));
    };
    // A text in three quotes begins with the line behind them.
    let quotes = table.file.text.get(at..).unwrap_or_default();
    let skipped = ["'''\n", "\"\"\"\n", "'''\r\n", "\"\"\"\r\n"];
    let skipped = usize::from(skipped.iter().any(|quote| quotes.starts_with(quote)));
    let origin = table.file.origin(at);
    let line = |line: usize| origin.line + line - 1 + skipped;
    let source = dialect.source(&text).map_err(|mistakes| {
        let error = mistakes.into_iter().next();
        Error::Declaration {
            place: Origin {
                line: error.as_ref().map_or(origin.line, |error| line(error.line)),
                ..origin.clone()
            }
            .to_string(),
            key: "attach.rules".to_owned(),
            cause: error.map_or_else(String::new, |error| {
                format!("{error}: {:?}", error.text.trim())
            }),
        }
    })?;
    let sets = source.sets.into_iter().map(|set| StatedSet {
        line: line(set.line),
        ..set
    });
    Ok(Some(Source {
        rules: source.rules,
        lines: source.lines.into_iter().map(line).collect(),
        sets: sets.collect(),
    }))
}

fn policy(mut table: Table<'_>) -> Result<ChainPolicy> {
    let place = place(&mut table)?;
    let Some(policy) = table.word::<Policy>("policy")? else {
        return Err(table.wrong_at_all("it says no policy; add the key \"policy\""));
    };
    let Some(hook) = table.word::<crate::hook::Hook>("hook")? else {
        return Err(table.wrong_at_all("it names no hook; add the key \"hook\""));
    };
    if hook.row().kind != place.kind() {
        return Err(table.wrong_at_all(not_there(hook.row().kind, &hook)));
    }
    if policy == Policy::Drop && hook.row().drop.is_none() {
        return Err(table.wrong_at_all(Error::NoDropPolicy { hook }));
    }
    table.finish()?;
    Ok(ChainPolicy {
        place,
        hook,
        policy,
    })
}
