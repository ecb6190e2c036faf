//! What becomes of named sets: those that rules state are to be what they state, whole.
//!
//! A member is there or not: how long one that ends has left is not compared, so that applying again changes nothing
//! as long as it is there. This decides, and must never do I/O.

use std::collections::HashMap;

use serde::Serialize;

use super::Origin;
use crate::filter::{About, Lasting, Member, head, kind_word, lasting};

/// How many members that come or go are told one by one.
const TOLD: usize = 10;

/// What is to become of a named set.
#[derive(Clone, Debug)]
pub struct SetPlan {
    /// The extension's name.
    pub extension: String,
    /// What it is to be; what it was, if it goes.
    pub about: About,
    /// What it is; `None` if there is none.
    pub running: Option<About>,
    /// What becomes of it.
    pub becomes: SetBecomes,
    /// The members that come.
    pub added: Members,
    /// The members that go.
    pub removed: Members,
    /// All members that it is to have.
    pub(crate) members: Vec<Lasting>,
    /// Where it is stated; `None` if it goes.
    pub(crate) origin: Option<Origin>,
}

/// What becomes of a named set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SetBecomes {
    /// There was none of its name.
    Made,
    /// It has other members, or another timeout.
    Changed,
    /// It goes.
    Removed,
}

/// Members that come, or go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// How many.
    pub count: usize,
    /// The first few, as one types them.
    pub first: Vec<String>,
}

impl Members {
    /// Those of these that the others do not have, to end or to stay.
    fn of(these: &[Lasting], others: &HashMap<Member, bool>) -> Self {
        let is_other = |it: &&Lasting| others.get(&it.member) != Some(&it.until.is_some());
        let mut found = these.iter().filter(is_other);
        let first: Vec<_> = found
            .by_ref()
            .take(TOLD)
            .map(|it| lasting(it).to_string())
            .collect();
        Self {
            count: first.len() + found.count(),
            first,
        }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let more = self.count - self.first.len();
        let more = (more > 0).then(|| format!("… and {more} more"));
        self.first.iter().cloned().chain(more)
    }
}

/// A set as it runs: its members in order, whose ends are counted from now.
pub(crate) struct Running {
    pub(crate) about: About,
    pub(crate) members: Vec<Lasting>,
}

/// Whether there are members, and whether they end.
fn ends(members: &[Lasting]) -> HashMap<Member, bool> {
    let end = |it: &Lasting| (it.member, it.until.is_some());
    members.iter().map(end).collect()
}

impl SetPlan {
    /// What becomes of a set that is stated; nothing if it is so. The stated members are in order, and their ends are
    /// counted from `now`, as those of the running ones are.
    pub(crate) fn of(
        extension: &str,
        (about, stated): (&About, Vec<Lasting>),
        running: Option<&Running>,
        now: u64,
        origin: &Origin,
    ) -> Option<Self> {
        let there = running.map_or(&[][..], |running| &running.members);
        let added = Members::of(&stated, &ends(there));
        let removed = Members::of(there, &ends(&stated));
        let is_so = running.is_some_and(|running| running.about == *about);
        if is_so && added.count == 0 && removed.count == 0 {
            return None;
        }
        // What stays and ends does so when it would have.
        let left: HashMap<_, _> = there.iter().map(|it| (it.member, it.until)).collect();
        let at = |it: Lasting| {
            let kept = left.get(&it.member).copied().flatten();
            let until = it.until.map(|until| kept.unwrap_or(until));
            Lasting {
                member: it.member,
                until: until.map(|until| until.saturating_add(now)),
            }
        };
        Some(Self {
            extension: extension.to_owned(),
            about: *about,
            running: running.map(|running| running.about),
            becomes: match running {
                Some(_) => SetBecomes::Changed,
                None => SetBecomes::Made,
            },
            added,
            removed,
            members: stated.into_iter().map(at).collect(),
            origin: Some(origin.clone()),
        })
    }

    /// That a set goes.
    pub(crate) fn gone(extension: &str, running: &Running) -> Self {
        Self {
            extension: extension.to_owned(),
            about: running.about,
            running: Some(running.about),
            becomes: SetBecomes::Removed,
            added: Members::default(),
            removed: Members::of(&running.members, &HashMap::new()),
            members: Vec::new(),
            origin: None,
        }
    }

    /// What is there and what is to be, in lines.
    pub(super) fn lines(&self) -> [Vec<String>; 2] {
        let line = |about: &About| format!("set {}", head(about));
        let old = self.running.iter().map(line);
        let new = (self.becomes != SetBecomes::Removed).then(|| line(&self.about));
        [
            old.chain(self.removed.lines()).collect(),
            new.into_iter().chain(self.added.lines()).collect(),
        ]
    }
}

/// A set's changes, as programs read them.
#[derive(Clone, Debug, Serialize)]
pub struct SetReport {
    /// The extension's name.
    pub extension: String,
    /// The set's name.
    pub set: String,
    /// What its members are: `addresses`, `ports` or `pairs`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// For how many seconds members last that do not say it themselves; `null`: for good.
    pub timeout: Option<u64>,
    /// What becomes of it.
    pub becomes: SetBecomes,
    /// How many members come.
    pub added: usize,
    /// How many members go.
    pub removed: usize,
}

impl From<&SetPlan> for SetReport {
    fn from(plan: &SetPlan) -> Self {
        let About {
            name,
            kind,
            timeout,
        } = plan.about;
        Self {
            extension: plan.extension.clone(),
            set: name.to_string(),
            kind: kind_word(kind),
            timeout: timeout.map(|timeout| timeout.as_secs()),
            becomes: plan.becomes,
            added: plan.added.count,
            removed: plan.removed.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Dialect;

    fn stated(text: &str) -> (About, Vec<Lasting>) {
        let source = Dialect::Packets.source(text).expect("it is a set");
        let set = &source.sets[0];
        (set.about, set.in_order().expect("it fits"))
    }

    /// What becomes of the one set if the other is stated.
    fn plan(running: Option<&str>, wanted: &str) -> Option<SetPlan> {
        let running = running.map(|text| {
            let (about, members) = stated(text);
            Running { about, members }
        });
        let (about, members) = stated(wanted);
        let origin = Origin {
            file: "a.toml".into(),
            line: 1,
        };
        let of = (&about, members);
        SetPlan::of("packet-filter", of, running.as_ref(), 1_000, &origin)
    }

    #[track_caller]
    fn check(running: Option<&str>, wanted: &str, old: &[&str], new: &[&str]) {
        let lines = plan(running, wanted).map(|plan| plan.lines());
        assert_eq!(lines.unwrap_or_default(), [old, new], "{wanted}");
    }

    #[test]
    fn members_come_and_go() {
        let one = "set a addresses { 192.0.2.1 10.0.0.0/8 }";
        check(
            None,
            one,
            &[],
            &["set a addresses", "10.0.0.0/8", "192.0.2.1"],
        );
        check(
            Some(one),
            "set a addresses { 10.1.2.3/8, 192.0.2.1 10.0.0.0/8 }",
            &[],
            &[],
        );
        let other = "set a addresses { 192.0.2.1 192.0.2.2 }";
        check(
            Some(one),
            other,
            &["set a addresses", "10.0.0.0/8"],
            &["set a addresses", "192.0.2.2"],
        );
        check(
            Some("set p ports { 80 81 443 }"),
            "set p ports { 80-82 443 }",
            &["set p ports", "80-81"],
            &["set p ports", "80-82"],
        );
        check(
            Some("set p ports { 80 81 }"),
            "set p ports { 80-81 }",
            &[],
            &[],
        );
    }

    #[test]
    fn how_long_a_member_has_left_changes_nothing() {
        let long = "set a addresses timeout 1h { 192.0.2.1, 192.0.2.2 timeout 5m }";
        let short = "set a addresses timeout 1h { 192.0.2.1 timeout 9s, 192.0.2.2 timeout 2s }";
        check(Some(short), long, &[], &[]);
        check(
            Some("set a addresses { 192.0.2.1 }"),
            "set a addresses { 192.0.2.1 timeout 1h }",
            &["set a addresses", "192.0.2.1"],
            &["set a addresses", "192.0.2.1 timeout 1h"],
        );
        let more = "set a addresses timeout 1h { 192.0.2.1, 192.0.2.3 }";
        let plan = plan(Some(short), more).expect("it changes");
        let second = 1_000_000_000;
        let until: Vec<_> = plan.members.iter().map(|it| it.until).collect();
        assert_eq!(
            until,
            [Some(9 * second + 1_000), Some(3_600 * second + 1_000)]
        );
    }

    #[test]
    fn many_members_are_counted() {
        let all: Vec<_> = (0..200).map(|last| format!("192.0.2.{last}")).collect();
        let many = plan(None, &format!("set a addresses {{ {} }}", all.join(" ")));
        let many = many.expect("it is made");
        let [_, new] = many.lines();
        assert_eq!((many.added.count, new.len()), (200, 12));
        assert_eq!(new[11], "… and 190 more");
    }
}
