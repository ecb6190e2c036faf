//! What can go wrong between rules and the kernel.

use std::{io, path::PathBuf};

use aya::maps::MapError;

use super::{InterfaceName, MemberError, ParseError, Rule, Unreadable, excerpt, import};
use crate::kernel::Version;

/// Why rules could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no room for so many rules that are alike. Nothing was changed.
    #[error(
        "rules: write: among {wanted} rules, more than {limit} are told apart by no address, port or \
         protocol; nothing was changed: merge them into prefixes and ranges"
    )]
    Full {
        /// How many there would be.
        wanted: usize,
        /// How many there can be of which a packet may match any.
        limit: usize,
    },

    /// There are more limits in the rules than there can be. Nothing was changed.
    #[error(
        "rules: write: {wanted} of them have a limit, and there can be {limit} rules with limits; nothing was \
         changed: limits `per source` are not counted, as in `from @NAME limit over 5/s per source`"
    )]
    LimitsFull {
        /// How many there would be.
        wanted: usize,
        /// How many there can be.
        limit: usize,
    },

    /// There are more expressions of tcpdump in the rules than there can be, or they are too long.
    #[error(
        "rules: write: they have {wanted} expressions, and {most} are the most, of 64 KiB together: say in \
         words of the language what can be said so",
        most = nke_ebpf::abi::classic::EXPRESSIONS
    )]
    ExpressionsFull {
        /// How many different ones there are, or one more than there can be.
        wanted: usize,
    },

    /// The kernel cannot run expressions of tcpdump.
    #[error(
        "rules: write: this kernel (Linux {running}) runs no expressions, which takes Linux 5.17 (bpf_loop): \
         say it in words of the language"
    )]
    NoExpressions {
        /// The running kernel.
        running: Version,
    },

    /// A map of the attachment is missing, or is no such map.
    #[error(
        "{}: open: {source}; it is no map of rules of this version: attach the extension again",
        path.display()
    )]
    NoMap {
        /// Where it should be pinned.
        path: PathBuf,
        /// What the kernel says.
        source: MapError,
    },

    /// The kernel refused to read or write a map.
    #[error("rules: {operation}: {source}; the rules in force are whole")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// What the kernel says.
        source: MapError,
    },

    /// Where rules are, there is no table of flows.
    #[error(
        "rules: keep state: this attachment has no table of flows; upgrade or attach the extension again"
    )]
    NoStates,

    /// What is in the kernel was not written by this version.
    #[error(
        "rules: read: rule {number} in the kernel was written by another version of nke; attach the \
         extension again"
    )]
    ForeignRule {
        /// The rule's place in the list, from 1.
        number: usize,
    },

    /// Text is no rule, or no file of rules.
    #[error("{origin}: {error}")]
    Malformed {
        /// The file, or what was typed.
        origin: String,
        /// What is wrong with it, and where.
        error: Box<ParseError>,
    },

    /// A rule of a file cannot be put in force.
    #[error("{origin}: line {line}, column {column}: {source}")]
    OfLine {
        /// The file.
        origin: String,
        /// The line, counted from 1.
        line: usize,
        /// The first character of what is wrong, counted from 1.
        column: usize,
        /// How many characters that has.
        width: usize,
        /// The line itself.
        text: String,
        /// Why not.
        source: Box<Self>,
    },

    /// A file of rules has mistakes, which have been told.
    #[error(
        "{origin}: check: {lines} of its lines are no rules; docs/filter-language.md has the grammar"
    )]
    Mistakes {
        /// The file.
        origin: String,
        /// How many lines.
        lines: usize,
    },

    /// A file is not what another filter prints.
    #[error("{origin}: import: {problem}")]
    Foreign {
        /// The file.
        origin: String,
        /// What it is instead.
        problem: import::Foreign,
    },

    /// Rules of another filter have no counterpart, and have been told.
    #[error(
        "{origin}: import: {rules} of its rules could not be translated, and are left out; write \
         them by hand"
    )]
    Untranslated {
        /// The file.
        origin: String,
        /// How many.
        rules: usize,
    },

    /// A capture cannot be read.
    #[error("{origin}: test: {problem}; write it with `tcpdump -w`")]
    Capture {
        /// The file.
        origin: String,
        /// What is wrong with it.
        problem: Unreadable,
    },

    /// The kernel's program has not judged as the rules say.
    #[error(
        "{origin}: test: the kernel has judged packet {packet} otherwise than the rules say; \
         please report this packet"
    )]
    Disagreement {
        /// The capture.
        origin: String,
        /// The packet's number in it, from 1.
        packet: usize,
    },

    /// There is no rule of that number.
    #[error("{place}: delete: there is no rule {number}, only {count}; `list` shows them")]
    NoRule {
        /// Whose rules.
        place: String,
        /// As given, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },

    /// There is no such place to add a rule at.
    #[error(
        "{place}: add: there are {count} rules; give --at a number from 1 to {}", count + 1
    )]
    NoPlace {
        /// Whose rules.
        place: String,
        /// How many there are.
        count: usize,
    },

    /// The extension that has rules is not attached there.
    #[error(
        "{extension}: find: it is not attached there; `nke attach {extension} {words}` does that"
    )]
    NoRuleSet {
        /// The extension.
        extension: &'static str,
        /// What names the place on the command line.
        words: String,
    },

    /// The extension that has rules is attached there several times.
    #[error(
        "{extension}: find: it is attached to {place} at {}; say which with {option}",
        found.join(", ")
    )]
    ManyRuleSets {
        /// The extension.
        extension: &'static str,
        /// Where.
        place: String,
        /// The hooks, with ids.
        found: Vec<String>,
        /// What tells them apart.
        option: &'static str,
    },

    /// A rule asks for what packets have not got at a hook.
    #[error(
        "{place}: `{rule}`: there is no {what} at {hook}; leave it out, or give the rule to another \
         hook"
    )]
    NotThere {
        /// Whose rules.
        place: String,
        /// The rule.
        rule: Box<Rule>,
        /// The hook.
        hook: &'static str,
        /// What it asks for.
        what: &'static str,
    },

    /// A rule asks for an interface that is not there.
    #[error(
        "rules: write: `{rule}`: there is no interface {name}{}; `ip link` shows them",
        namespace.as_ref().map_or_else(String::new, |it| format!(" in {it}"))
    )]
    NoInterface {
        /// The rule.
        rule: Box<Rule>,
        /// The name.
        name: InterfaceName,
        /// The network namespace, unless it is the caller's own.
        namespace: Option<String>,
    },

    /// A rule for what never comes by.
    #[error(
        "{place}: `{rule}` can never match, all that comes by here is {}; attach {extension} to \
         {hook} for it",
        ways.join(" or ")
    )]
    NeverMatches {
        /// Whose rules.
        place: String,
        /// The rule.
        rule: Box<Rule>,
        /// What comes by.
        ways: Vec<String>,
        /// The extension.
        extension: &'static str,
        /// Where the rule would match.
        hook: &'static str,
    },

    /// There is no set of that name.
    #[error(
        "set {name}: {stage}: there is none of that name{}; `nke filter set list` shows them, \
         `nke filter set create` makes one",
        meant.as_ref().map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"))
    )]
    NoSet {
        /// The name.
        name: String,
        /// What was to be done with it.
        stage: &'static str,
        /// The name that is most like it.
        meant: Option<String>,
    },

    /// Rules ask for sets where there are none to ask for.
    #[error(
        "rules: write: they ask for sets, and the extension has none of this version: attach it again"
    )]
    NoSets,

    /// There is a set of that name.
    #[error(
        "set {name}: create: there is one of that name; use `nke filter set replace` for its members, \
         or another name"
    )]
    SetExists {
        /// The name.
        name: String,
    },

    /// Rules ask for a set that was to be removed.
    #[error(
        "set {name}: remove: rules ask for it: {}; delete them first, or flush the set",
        rules.join(", ")
    )]
    SetInUse {
        /// The name.
        name: String,
        /// The rules, with their places.
        rules: Vec<String>,
    },

    /// A rule asks for a set as what it is not.
    #[error("set {name}: write rules: its members are {is}, and `{rule}` takes it for {wanted}")]
    SetKind {
        /// The name.
        name: String,
        /// The rule.
        rule: Box<Rule>,
        /// What its members are.
        is: &'static str,
        /// What the rule takes them for.
        wanted: &'static str,
    },

    /// Text is no member of a set.
    #[error("{origin}: {error}")]
    MalformedMember {
        /// The file, or what was typed.
        origin: String,
        /// What is wrong with it, and where.
        error: Box<MemberError>,
    },

    /// A set cannot be made of so many members, or of these. Nothing was changed.
    #[error("set {name}: make: {problem}; nothing was changed")]
    SetTooLarge {
        /// The name.
        name: String,
        /// What is in the way.
        problem: String,
    },

    /// There can be no more sets.
    #[error("sets: create: there are {limit} of them, and can be no more: remove one")]
    ManySets {
        /// How many there can be.
        limit: usize,
    },

    /// Something is not in a set.
    #[error("set {name}: {stage}: {member} is not in it")]
    NotInSet {
        /// The name.
        name: String,
        /// What is not in it.
        member: String,
        /// What was to be done.
        stage: &'static str,
    },

    /// The kernel refused to read or write a set.
    #[error("set {name}: {operation}: {source}; sets in force are whole")]
    SetMap {
        /// The name.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Error {
    /// The rule that cannot be put in force, where it is one.
    pub(super) fn rule(&self) -> Option<&Rule> {
        if let Self::NotThere { rule, .. }
        | Self::NoInterface { rule, .. }
        | Self::NeverMatches { rule, .. }
        | Self::SetKind { rule, .. } = self
        {
            Some(rule)
        } else {
            None
        }
    }

    /// The lines that show the place of what is wrong; none if there is no such place.
    #[must_use]
    pub fn marked(&self) -> String {
        if let Self::OfLine {
            text,
            column,
            width,
            ..
        } = self
        {
            excerpt::marked(text, *column, *width)
        } else if let Self::Malformed { error, origin: _ } = self {
            error.marked()
        } else if let Self::MalformedMember { error, origin: _ } = self {
            error.marked()
        } else {
            String::new()
        }
    }
}
