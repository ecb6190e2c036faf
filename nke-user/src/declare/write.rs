//! A declaration as text: what `nke save` writes, and [`Declaration::parse`] reads as the same.
//!
//! One declaration has one spelling here, with the keys in the order of `docs/apply.md`; so what
//! did not change is byte for byte what it was.

use std::fmt::Write as _;

use super::{Attachment, ChainPolicy, Declaration, settings::inline};
use crate::{control::Manner, find::Wanted, netfilter::Request, order::Position, target::Where};

/// Writes a declaration.
pub fn text(declaration: &Declaration) -> String {
    let Declaration {
        loads,
        attachments,
        policies,
        settings,
    } = declaration;
    let mut tables = Vec::new();
    for load in loads {
        let mut table = Table::new("load");
        table.extension(&load.what);
        tables.push(table.0);
    }
    for attachment in attachments {
        tables.push(attach(&attachment.what));
    }
    for policy in policies {
        let ChainPolicy {
            place,
            hook,
            policy,
        } = &policy.what;
        let mut table = Table::new("policy");
        table.place(place);
        table.text("hook", &hook.to_string());
        table.text("policy", &policy.to_string());
        tables.push(table.0);
    }
    for set in settings {
        let mut table = Table::new("set");
        table.extension(&set.what.extension);
        table.plain("settings", inline(&set.what.values, quoted));
        tables.push(table.0);
    }
    tables.join("\n")
}

fn attach(attachment: &Attachment) -> String {
    let Attachment {
        extension,
        place,
        hook,
        program,
        position,
        manner,
        disabled,
        rules,
        lines: _,
        sets,
    } = attachment;
    let Manner {
        mode,
        netfilter: Request { priority, defrag },
        counters,
        opt_in,
    } = manner;
    let mut table = Table::new("attach");
    table.extension(extension);
    table.place(place);
    if let Some(hook) = hook {
        table.text("hook", &hook.to_string());
    }
    if let Some(program) = program {
        table.text("program", program);
    }
    match position {
        None => {}
        Some(Position::Priority(priority)) => table.plain("priority", priority),
        Some(Position::Before(other)) => table.text("before", &other.to_string()),
        Some(Position::After(other)) => table.text("after", &other.to_string()),
    }
    if let Some(mode) = mode {
        table.text("mode", mode.name());
    }
    if let Some(priority) = priority {
        table.text("netfilter-priority", &priority.to_string());
    }
    for (key, said) in [
        ("defrag", *defrag),
        ("no-counters", !counters),
        ("opt-in", *opt_in),
        ("disabled", *disabled),
    ] {
        if said {
            table.plain(key, "true");
        }
    }
    if let Some(rules) = rules {
        // Rules have no quotes in them, and a literal text no escapes.
        let sets: String = sets.iter().map(ToString::to_string).collect();
        table.plain("rules", format_args!("'''\n{sets}{rules}'''"));
    }
    table.0
}

/// A text in quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

struct Table(String);

impl Table {
    fn new(verb: &str) -> Self {
        Self(format!("[[{verb}]]\n"))
    }

    fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        // A text takes what is written.
        let _: std::fmt::Result = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.plain(key, quoted(value));
    }

    fn extension(&mut self, wanted: &Wanted) {
        match wanted {
            Wanted::Name(name) => self.text("extension", name),
            Wanted::Path(path) => self.text("extension", &path.display().to_string()),
            Wanted::Instance(path, instance) => {
                self.text("extension", &path.display().to_string());
                self.text("instance", instance);
            }
        }
    }

    fn place(&mut self, place: &Where) {
        match place {
            Where::Interface { name, netns } => {
                self.text("interface", name);
                if let Some(netns) = netns {
                    self.text("netns", netns);
                }
            }
            Where::Namespace { netns: Some(netns) } => self.text("netns", netns),
            Where::Namespace { netns: None } => {}
            Where::Cgroup { path } => self.text("cgroup", &path.display().to_string()),
        }
    }
}
