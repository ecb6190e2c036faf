//! `nke filter set` and `nke guard set`: the named sets that rules ask for.
//!
//! What is typed, or stands in a file, is read before the lock is taken; only how long members last
//! without a timeout of their own, and what they must be, the set itself has to say.

mod show;
mod stated;
mod text;

use std::{
    marker::PhantomData,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use nke::{
    control::{Control, Scope},
    filter::{
        About, Added, Error, Lasting, Member, MemberError, MemberProblem, NamedSet, SetKind,
        SetName, Sets, kind_word, now, time,
    },
    find::Wanted,
};

pub(super) use self::stated::{Stated, known, lend, members_of, write_with};
use self::{show::Show, text::Text};
use super::{
    found::find,
    target::{FilterTarget, Target},
};
use crate::{arguments::Format, failure::Manner, open, output};

/// Make and change named sets of addresses, ports, or both, which rules ask for as `@NAME`
///
/// A set belongs to all that the extension is attached to. A member is added or deleted at once, whatever
/// else there is; rules stay as they are.
#[derive(Args, Debug)]
pub(crate) struct NamedSets<T: Target> {
    #[command(subcommand)]
    verb: Verb,
    /// The extension whose sets are meant, if it is a copy
    #[arg(long, value_name = "EXTENSION", default_value = T::EXTENSION, global = true)]
    of: String,
    #[arg(skip)]
    whose: PhantomData<T>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a set
    Create {
        /// Its name: a letter, and letters, digits, `-` and `_`
        name: SetName,
        /// What its members are
        kind: Type,
        /// How long members last that are added without a timeout of their own: 90s, 10m, 1h30m
        #[arg(long, value_name = "TIME", value_parser = timeout)]
        timeout: Option<Duration>,
        /// Its members: one or several on a line, each with `timeout TIME` behind it or without; #
        /// begins a comment; - for standard input
        file: Option<PathBuf>,
    },
    /// Add members, or change how long they last
    Add {
        /// The set
        name: SetName,
        #[command(flatten)]
        members: Members,
        /// How long they last
        #[arg(long, value_name = "TIME", value_parser = timeout)]
        timeout: Option<Duration>,
        #[command(flatten)]
        force: Force,
    },
    /// Delete members
    Delete {
        /// The set
        name: SetName,
        #[command(flatten)]
        members: Members,
        #[command(flatten)]
        force: Force,
    },
    /// Say whether an address, a port or both are in a set; fails if not
    Test {
        /// The set
        name: SetName,
        /// An address, a prefix that must be in it as a whole, a port, an address with a port
        member: String,
    },
    /// Print the members of a set, as `replace` reads them
    Show {
        /// The set
        name: SetName,
        #[command(flatten)]
        format: Format,
    },
    /// List the sets
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Put the members of a file in the place of all that a set has, at once
    Replace {
        /// The set
        name: SetName,
        /// The file, as `create` takes it; - for standard input
        file: PathBuf,
        #[command(flatten)]
        force: Force,
    },
    /// Delete all members of a set
    Flush {
        /// The set
        name: SetName,
        #[command(flatten)]
        force: Force,
    },
    /// Remove a set that no rule asks for
    Remove {
        /// The set
        name: SetName,
    },
}

/// What the members of a set are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    /// Addresses and prefixes, IPv4 and IPv6
    Addresses,
    /// Ports
    Ports,
    /// Addresses with a port each, with or without a protocol
    Pairs,
}

impl From<Type> for SetKind {
    fn from(typed: Type) -> Self {
        match typed {
            Type::Addresses => Self::Addresses,
            Type::Ports => Self::Ports,
            Type::Pairs => Self::Pairs,
        }
    }
}

#[derive(Args, Debug)]
struct Members {
    /// The members
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    member: Vec<String>,
    /// A file of members, as `create` takes it, in their place; - for standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

#[derive(Args, Clone, Copy, Debug)]
struct Force {
    /// Do it even if rules that ask for the set then cut the SSH connection that this is typed over
    #[arg(long)]
    force: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    time(text).ok_or_else(|| "a time is such as 90s, 10m, 1h or 1h30m".to_owned())
}

impl<T: Target> NamedSets<T> {
    /// Carries out a command.
    pub(super) fn run(&self, state: &Path, _: Manner) -> anyhow::Result<()> {
        match &self.verb {
            Verb::Create {
                name,
                kind,
                timeout,
                file,
            } => self.create(state, *name, (*kind).into(), *timeout, file.as_deref()),
            Verb::Add {
                name,
                members,
                timeout,
                force,
            } => self.add(state, *name, members, *timeout, *force),
            Verb::Delete {
                name,
                members,
                force,
            } => self.delete(state, *name, members, *force),
            Verb::Test { name, member } => self.test(state, *name, member),
            Verb::Show { name, format } => {
                let (_, set) = self.look(state, *name, "show")?;
                Show { set, now: now() }.print(format.json)
            }
            Verb::List { format } => {
                let control = open::look(state)?;
                let sets = control.sets(&self.of)?.all()?;
                let used = |name| self.rules_with(&control, name);
                show::list(&sets, used, format.json)
            }
            Verb::Replace { name, file, force } => {
                let text = Text::of_file(file)?;
                let (mut control, sets, set) = self.open(state, *name, "replace")?;
                let About { kind, timeout, .. } = *set.about();
                let members = text.members(kind, timeout)?;
                self.guard(&control, &set, *force, |_| Ok(members.clone()))?;
                let set = sets.replace(&set, &members)?;
                control.hasten();
                output::line(format_args!("set {name}: {}", counted(size(&set)?)));
                Ok(())
            }
            Verb::Flush { name, force } => {
                let (mut control, sets, set) = self.open(state, *name, "flush")?;
                self.guard(&control, &set, *force, |_| Ok(Vec::new()))?;
                sets.replace(&set, &[])?;
                control.hasten();
                output::line(format_args!("set {name}: deleted all members"));
                Ok(())
            }
            Verb::Remove { name } => {
                let (control, sets, set) = self.open(state, *name, "remove")?;
                let rules = self.rules_with(&control, *name)?;
                if !rules.is_empty() {
                    let name = name.to_string();
                    return Err(Error::SetInUse { name, rules }.into());
                }
                sets.remove(set)?;
                output::line(format_args!("removed set {name}"));
                Ok(())
            }
        }
    }

    fn look(
        &self,
        state: &Path,
        name: SetName,
        stage: &'static str,
    ) -> anyhow::Result<(Sets, NamedSet)> {
        let sets = open::look(state)?.sets(&self.of)?;
        let set = sets.find(name, stage)?;
        Ok((sets, set))
    }

    /// The set, and the lock for as long as the first of these is kept.
    fn open(
        &self,
        state: &Path,
        name: SetName,
        stage: &'static str,
    ) -> anyhow::Result<(Control, Sets, NamedSet)> {
        let control = open::open(state)?;
        let sets = control.sets(&self.of)?;
        let set = sets.find(name, stage)?;
        Ok((control, sets, set))
    }

    fn create(
        &self,
        state: &Path,
        name: SetName,
        kind: SetKind,
        timeout: Option<Duration>,
        file: Option<&Path>,
    ) -> anyhow::Result<()> {
        if kind == SetKind::Ports && timeout.is_some() {
            return Err(no_timeouts());
        }
        let members = match file {
            Some(file) => Text::of_file(file)?.members(kind, timeout)?,
            None => Vec::new(),
        };
        let mut control = open::open(state)?;
        let Ok(wanted) = self.of.parse::<Wanted>();
        // A set is there before the first rule that asks for it, and before the first filter.
        let (loaded, extension) = control.load_if_absent(&wanted)?;
        if loaded {
            output::loaded(&wanted, true, &extension);
        }
        let about = About {
            timeout,
            ..About::new(name, kind)
        };
        let set = control.sets(&self.of)?.create(&about, &members)?;
        output::line(format_args!(
            "created set {name} of {}: {}",
            kind_word(kind),
            counted(size(&set)?)
        ));
        // Else it would go with the last attachment, and the set with it.
        let (held, extension) = control.hold(&wanted)?;
        if held {
            output::loaded(&wanted, true, &extension);
        }
        Ok(())
    }

    fn add(
        &self,
        state: &Path,
        name: SetName,
        members: &Members,
        timeout: Option<Duration>,
        force: Force,
    ) -> anyhow::Result<()> {
        let text = Text::of(members)?;
        let (mut control, sets, mut set) = self.open(state, name, "add")?;
        let about = *set.about();
        if about.kind == SetKind::Ports && timeout.is_some() {
            return Err(no_timeouts());
        }
        let members = text.members(about.kind, timeout.or(about.timeout))?;
        self.guard(&control, &set, force, |ends| {
            Ok([around(&set, ends)?, members.clone()].concat())
        })?;
        let added = set.add(&sets, &members)?;
        control.hasten();
        output::line(format_args!("set {name}: {}", told(added)));
        Ok(())
    }

    fn delete(
        &self,
        state: &Path,
        name: SetName,
        members: &Members,
        force: Force,
    ) -> anyhow::Result<()> {
        let text = Text::of(members)?;
        let (control, _sets, mut set) = self.open(state, name, "delete")?;
        let members = text.members(set.about().kind, None)?;
        let mut members: Vec<_> = members.iter().map(|it| it.member).collect();
        members.sort_unstable_by_key(Member::order);
        members.dedup();
        self.guard(&control, &set, force, |ends| {
            let mut all = around(&set, ends)?;
            all.retain(|it| !members.contains(&it.member));
            Ok(all)
        })?;
        set.delete(&members)?;
        output::line(format_args!(
            "set {name}: deleted {}",
            counted(members.len())
        ));
        Ok(())
    }

    fn test(&self, state: &Path, name: SetName, text: &str) -> anyhow::Result<()> {
        let (_, set) = self.look(state, name, "test")?;
        let kind = set.about().kind;
        let typed = Text {
            origin: "member".to_owned(),
            text: text.to_owned(),
        };
        let member = Member::read(kind, text).ok_or_else(|| {
            typed.malformed(MemberError {
                line: 1,
                column: 1,
                found: text.to_owned(),
                text: text.to_owned(),
                problem: MemberProblem::NotA(kind),
            })
        })?;
        let Some(found) = set.member(member)? else {
            return Err(Error::NotInSet {
                name: name.to_string(),
                member: member.to_string(),
                stage: "test",
            }
            .into());
        };
        output::line(format_args!(
            "{member} is in {name}: {}",
            show::lasting(&found, now())
        ));
        Ok(())
    }

    /// The rules that ask for a set, with their places.
    /// Refuses an edit of a set that would cut the caller's connection: see [`Found::refuse_members`].
    fn guard(
        &self,
        control: &Control,
        set: &NamedSet,
        force: Force,
        members: impl Fn([SocketAddr; 2]) -> anyhow::Result<Vec<Lasting>>,
    ) -> anyhow::Result<()> {
        if force.force {
            return Ok(());
        }
        let found = find::<T>(control, &Scope::default())?;
        let mut found = found.iter().filter(|found| found.extension == self.of);
        found.try_for_each(|found| found.refuse_members(set.about(), &members))
    }

    fn rules_with(&self, control: &Control, name: SetName) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        let found = find::<T>(control, &Scope::default())?;
        for found in found.iter().filter(|found| found.extension == self.of) {
            let rules = found.table.read()?.rules().rules;
            for (number, rule) in (1..).zip(&rules) {
                if rule.memberships().any(|asked| asked.set == name) {
                    all.push(format!("{found}: rule {number}"));
                }
            }
        }
        Ok(all)
    }
}

/// The members of a set that the ends of a connection are in.
fn around(set: &NamedSet, ends: [SocketAddr; 2]) -> anyhow::Result<Vec<Lasting>> {
    let ends = ends.map(|end| Member::of_end(set.about().kind, end));
    let all: Result<Vec<_>, Error> = ends.into_iter().flat_map(|end| set.around(end)).collect();
    Ok(all?)
}

fn no_timeouts() -> anyhow::Error {
    anyhow::anyhow!("sets of ports: {}", MemberProblem::NoTimeouts)
}

/// How many members a set has, which are fewer than a file says where it says one twice.
fn size(set: &NamedSet) -> Result<usize, Error> {
    let mut members = 0;
    set.for_each(|_| members += 1)?;
    Ok(members)
}

/// What has become of members that were to be added, in words.
fn told(added: Added) -> String {
    let Added {
        new,
        known,
        renewed,
        kept,
    } = added;
    let others = [
        (known, "had been there"),
        (renewed, "had been there, with its time begun anew"),
        (kept, "had been there, without a time from now on"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others: Vec<_> = others
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut all = others.join("; ");
    if new > 0 || all.is_empty() {
        let behind = if all.is_empty() { "" } else { "; " };
        all = format!("added {}{behind}{all}", counted(new));
    }
    all
}

/// A number of members, in words.
fn counted(members: usize) -> String {
    output::count(members, "member")
}
