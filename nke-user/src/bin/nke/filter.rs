//! `nke filter`: the rules of a packet filter that is attached somewhere.
//!
//! What is typed is read as rules first, then the lock is taken: a mistake costs nobody anything.
//! The meaning of rules is the library's (`nke::filter`); here they are found, counted and named.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use nke::{
    control::{Control, Scope},
    filter::{Action, Direction, Listing, ParseError, Rule, RuleSet, Table, parse_rules},
    hook::{Family, Hook, Kind},
    order::Selector,
};

use crate::{arguments::Format, output};

mod listing;

/// The extension whose rules these are.
const EXTENSION: &str = "packet-filter";

/// More rules than this fit into no filter.
const LARGEST_FILE: u64 = 4 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Filter {
    /// Add a rule behind the others, or at a place among them
    ///
    /// RULE is: pass|drop [in|out] [log] [inet|inet6] [proto P] [from ADDRESS [port N]]
    /// [to ADDRESS [port N]]. A list in braces stands for a rule each.
    #[command(
        after_help = "Example: nke filter add -i eth0 'drop in proto tcp from 10.0.0.0/8 to \
                            any port 22'"
    )]
    Add {
        #[command(flatten)]
        target: Target,
        /// Its number in the list from now on; those behind it move on
        #[arg(long, value_name = "N")]
        at: Option<NonZeroUsize>,
        /// The rule, in one word or several
        #[arg(required = true)]
        rule: Vec<String>,
    },
    /// List the rules, each with the packets that it has decided about
    List {
        /// The interface; all of them if left out
        #[arg(short, long, value_name = "IFACE")]
        interface: Option<String>,
        /// Its network namespace: a name of `ip netns`, or a path
        #[arg(long, value_name = "NS")]
        netns: Option<String>,
        /// Only the filter at this hook
        #[arg(long)]
        hook: Option<Hook>,
        #[command(flatten)]
        format: Format,
    },
    /// Delete rules by their numbers in the list
    Delete {
        #[command(flatten)]
        target: Target,
        /// Numbers as `nke filter list` shows them
        #[arg(required = true, value_name = "N")]
        numbers: Vec<NonZeroUsize>,
    },
    /// Put the rules of a file in the place of all that there are
    ///
    /// A file has a rule, `default pass` or `default drop`, a comment (#) or nothing on each line.
    /// Without a default, packets that no rule matches pass. Rules that were there before keep
    /// their hits.
    Load {
        #[command(flatten)]
        target: Target,
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Say what becomes of packets that no rule matches
    Default {
        #[command(flatten)]
        target: Target,
        /// pass or drop
        action: Action,
    },
    /// Delete all rules; the default stays
    Flush {
        #[command(flatten)]
        target: Target,
    },
}

/// Which filter.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The interface; left out, the filter at a hook of the IP layer is meant
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// The interface's network namespace, or the IP layer's: a name of `ip netns`, or a path
    #[arg(long, value_name = "NS")]
    netns: Option<String>,
    /// The hook; needed if packet-filter is attached to several and the rule does not tell
    #[arg(long)]
    hook: Option<Hook>,
    /// The attachment's id; needed if packet-filter is attached to one hook several times
    #[arg(long, value_name = "ID")]
    id: Option<u32>,
}

impl Target {
    fn scope(&self) -> Scope {
        let Self {
            interface,
            netns,
            hook,
            id: _,
        } = self;
        Scope {
            interface: interface.clone(),
            netns: netns.clone(),
            cgroup: None,
            hook: hook.map(Family::from),
        }
    }

    /// Whether a filter is at the place that this names.
    fn is(&self, found: &Found) -> bool {
        let Self {
            interface,
            netns,
            hook: _,
            id,
        } = self;
        // Without a name the namespace is the caller's own, and not every one.
        let here = interface.is_some() || netns.is_some() || found.netns.is_none();
        let kind = if interface.is_some() {
            Kind::Interface
        } else {
            Kind::Namespace
        };
        match id {
            Some(id) => found.id == *id,
            None => here && found.hook.row().kind == kind,
        }
    }

    /// The place, as messages name it.
    fn place(&self) -> String {
        let Self {
            interface,
            netns,
            hook: _,
            id: _,
        } = self;
        match (interface, netns) {
            (Some(interface), _) => interface.clone(),
            (None, Some(netns)) => format!("namespace {netns}"),
            (None, None) => "this namespace".to_owned(),
        }
    }

    /// The words that name the place.
    fn words(&self) -> String {
        let Self {
            interface,
            netns,
            hook,
            id: _,
        } = self;
        let mut words = Vec::new();
        words.extend(interface.as_ref().map(|name| format!("-i {name}")));
        words.extend(netns.as_ref().map(|name| format!("--netns {name}")));
        words.extend(hook.map(|hook| format!("--hook {hook}")));
        if interface.is_none() && hook.is_none() {
            words.push("--hook ip/in".to_owned());
        }
        words.join(" ")
    }
}

/// An attached packet filter.
struct Found {
    hook: Hook,
    /// Nothing at the hooks of a namespace.
    interface: Option<String>,
    netns: Option<String>,
    id: u32,
    table: Table,
}

/// Carries out a command.
pub(crate) fn run(state: &Path, filter: &Filter) -> anyhow::Result<()> {
    // Whatever can be wrong with what was typed is found before the lock is taken.
    let (target, change) = match filter {
        Filter::List {
            interface,
            netns,
            hook,
            format,
        } => {
            let target = Target {
                interface: interface.clone(),
                netns: netns.clone(),
                hook: *hook,
                id: None,
            };
            return list(&Control::open(state)?, &target, format.json);
        }
        Filter::Add { target, at, rule } => (
            target,
            Change::Add {
                at: *at,
                rules: typed(&rule.join(" "))?,
            },
        ),
        Filter::Delete { target, numbers } => (target, Change::Delete(numbers)),
        Filter::Load { target, file } => (target, Change::Load(read(file)?)),
        Filter::Default { target, action } => (target, Change::Default(*action)),
        Filter::Flush { target } => (target, Change::Flush),
    };
    // Held until the rules are written: nobody else edits them in between.
    let control = Control::open(state)?;
    let mut found = one(&control, target, change.new_rules())?;
    found.refuse_what_never_matches(change.new_rules())?;
    let old = found.table.read()?.rules();
    match change {
        Change::Add { at, rules } => add(&mut found, old, at, &rules),
        Change::Delete(numbers) => delete(&mut found, old, numbers),
        Change::Load(new) => {
            found.table.write(&new)?;
            let RuleSet { default, rules } = new;
            let rules = counted(rules.len());
            output::line(format_args!("{found}: loaded {rules}, default {default}"));
            Ok(())
        }
        Change::Default(default) => {
            found.table.write(&RuleSet {
                default,
                rules: old.rules,
            })?;
            output::line(format_args!("{found}: default {default}"));
            Ok(())
        }
        Change::Flush => {
            let RuleSet { default, rules } = old;
            found.table.write(&RuleSet {
                default,
                rules: Vec::new(),
            })?;
            let rules = counted(rules.len());
            output::line(format_args!("{found}: deleted {rules}, default {default}"));
            Ok(())
        }
    }
}

/// A number of rules, in words.
fn counted(rules: usize) -> String {
    match rules {
        1 => "1 rule".to_owned(),
        rules => format!("{rules} rules"),
    }
}

/// What is to be done with the rules.
enum Change<'a> {
    Add {
        at: Option<NonZeroUsize>,
        rules: Vec<Rule>,
    },
    Delete(&'a [NonZeroUsize]),
    Load(RuleSet),
    Default(Action),
    Flush,
}

impl Change<'_> {
    fn new_rules(&self) -> &[Rule] {
        match self {
            Self::Add { rules, at: _ } => rules,
            Self::Load(RuleSet { rules, default: _ }) => rules,
            Self::Delete(_) | Self::Default(_) | Self::Flush => &[],
        }
    }
}

fn add(
    found: &mut Found,
    mut rules: RuleSet,
    at: Option<NonZeroUsize>,
    new: &[Rule],
) -> anyhow::Result<()> {
    let count = rules.rules.len();
    let index = at.map_or(count, |number| number.get() - 1);
    ensure!(
        index <= count,
        "{found}: add: there are {}; give --at a number from 1 to {}",
        counted(count),
        count + 1
    );
    rules.rules.splice(index..index, new.iter().copied());
    found.table.write(&rules)?;
    for (number, rule) in (index + 1..).zip(new) {
        output::line(format_args!("{found}: added rule {number}: {rule}"));
    }
    Ok(())
}

fn list(control: &Control, target: &Target, json: bool) -> anyhow::Result<()> {
    let filters = find(control, &target.scope())?
        .into_iter()
        .map(|found| {
            let listing = found.table.read()?;
            Ok((found, listing))
        })
        .collect::<anyhow::Result<Vec<(Found, Listing)>>>()?;
    if filters.is_empty() && !json && target.interface.is_some() {
        bail!(not_attached(target));
    }
    listing::print(&filters, json)
}

fn delete(found: &mut Found, mut rules: RuleSet, numbers: &[NonZeroUsize]) -> anyhow::Result<()> {
    let count = rules.rules.len();
    for number in numbers {
        ensure!(
            number.get() <= count,
            "{found}: delete: there is no rule {number}, only {count}; `nke filter list` shows them"
        );
    }
    // From the last to the first, so that the numbers stay what they were.
    let mut numbers: Vec<_> = numbers.iter().map(|number| number.get()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut gone: Vec<_> = numbers
        .iter()
        .rev()
        .map(|number| (*number, rules.rules.remove(number - 1)))
        .collect();
    found.table.write(&rules)?;
    gone.reverse();
    for (number, rule) in gone {
        output::line(format_args!("{found}: deleted rule {number}: {rule}"));
    }
    Ok(())
}

impl Found {
    /// Rules for the other direction would look as if they did something.
    fn refuse_what_never_matches(&self, rules: &[Rule]) -> anyhow::Result<()> {
        let Some(direction) = direction_at(self.hook) else {
            return Ok(());
        };
        let Some(rule) = rules.iter().find(|rule| !rule.applies(direction)) else {
            return Ok(());
        };
        let other = match (direction, &self.interface) {
            (Direction::In, Some(_)) => "interface/out",
            (Direction::Out, Some(_)) => "interface/in",
            (Direction::In, None) => "ip/out",
            (Direction::Out, None) => "ip/in",
        };
        bail!(
            "{self}: `{rule}` can never match, all packets here go {direction}; attach \
             {EXTENSION} to {other} for it"
        )
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            hook,
            interface,
            netns,
            id: _,
            table: _,
        } = self;
        match (interface, netns) {
            (Some(interface), Some(netns)) => write!(f, "{hook} of {interface} in {netns}"),
            (Some(interface), None) => write!(f, "{hook} of {interface}"),
            (None, Some(netns)) => write!(f, "{hook} of namespace {netns}"),
            (None, None) => write!(f, "{hook} of this namespace"),
        }
    }
}

/// Which way the packets of a hook go; nothing where they are forwarded, which is both ways.
fn direction_at(hook: Hook) -> Option<Direction> {
    match hook.row().name {
        "interface/out" | "ip/out" | "ip/postrouting" => Some(Direction::Out),
        "ip/forward" => None,
        _ => Some(Direction::In),
    }
}

/// The packet filters that are attached somewhere.
fn find(control: &Control, scope: &Scope) -> anyhow::Result<Vec<Found>> {
    let mut all = Vec::new();
    for chain in control.chains(scope)? {
        for node in chain
            .nodes
            .iter()
            .filter(|node| node.extension == EXTENSION)
        {
            let (hook, maps) = control.attachment_maps(&Selector::Id(node.id), scope)?;
            let interface = chain.ifindex.map(|index| {
                let name = chain.interface.clone();
                name.unwrap_or_else(|| format!("#{index}"))
            });
            all.push(Found {
                hook,
                interface,
                netns: chain.netns.clone(),
                id: node.id,
                table: Table::open(&maps)?,
            });
        }
    }
    Ok(all)
}

/// The packet filter that is meant: the only one, or the only one that sees these rules' packets.
fn one(control: &Control, target: &Target, rules: &[Rule]) -> anyhow::Result<Found> {
    let mut all = find(control, &target.scope())?;
    all.retain(|found| target.is(found));
    if all.len() > 1 && target.hook.is_none() && !rules.is_empty() {
        let sees = |found: &Found| {
            let direction = direction_at(found.hook);
            let applies = |rule: &Rule| direction.is_none_or(|way| rule.applies(way));
            rules.iter().all(applies)
        };
        if all.iter().any(sees) {
            all.retain(sees);
        }
    }
    if all.len() > 1 {
        let places: Vec<_> = all
            .iter()
            .map(|found| format!("{} ({})", found.hook, found.id))
            .collect();
        bail!(
            "{EXTENSION}: find: it is attached to {} at {}; say which with --hook or --id",
            target.place(),
            places.join(", ")
        );
    }
    all.pop().ok_or_else(|| not_attached(target))
}

fn not_attached(target: &Target) -> anyhow::Error {
    anyhow!(
        "{EXTENSION}: find: it is not attached there; `nke attach {EXTENSION} {}` does that",
        target.words()
    )
}

/// Rules from the command line.
fn typed(text: &str) -> anyhow::Result<Vec<Rule>> {
    parse_rules(text).map_err(|error| malformed("rule", &error))
}

/// Rules from a file.
fn read(file: &Path) -> anyhow::Result<RuleSet> {
    let name = file.display().to_string();
    let mut text = String::new();
    let read = if name == "-" {
        io::stdin().take(LARGEST_FILE + 1).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text))
    };
    let length =
        read.map_err(|error| anyhow!("{name}: read: {error}; check the path and that it is text"))?;
    let length = u64::try_from(length).context("a file has a length")?;
    ensure!(
        length <= LARGEST_FILE,
        "{name}: read: it is larger than any filter; give a file of rules"
    );
    text.parse().map_err(|error| malformed(&name, &error))
}

/// One line that says what is wrong, and the place itself below it.
fn malformed(what: &str, error: &ParseError) -> anyhow::Error {
    let marked = error.marked().replace('\n', "\n    ");
    anyhow!("{what}: {error}\n    {marked}")
}
