//! Which ways things go that a hook sees, and so which rules can match there. Nothing here does I/O.

use std::{borrow::Cow, fmt::Display};

use super::rule::Addresses;
use super::{Action, Asked, Error, KnownSets, Rule, RuleSet, Vlan, Way};
use crate::hook::{Hook, Kind};

/// The ways that things go which a hook sees: both where packets are forwarded.
pub fn ways_at(hook: Hook) -> &'static [Way] {
    match hook.row().name {
        "interface/out" | "ip/out" | "ip/postrouting" => &[Way::Out],
        "ip/forward" => &[Way::In, Way::Out],
        "socket/connect4" | "socket/connect6" => &[Way::Connect],
        "socket/sendmsg4" | "socket/sendmsg6" => &[Way::Sendmsg],
        "socket/bind4" | "socket/bind6" => &[Way::Bind],
        _ => &[Way::In],
    }
}

/// Whether a rule can match anything of what comes by at any of these hooks.
pub fn can_match(rule: &Rule, hooks: &[Hook]) -> bool {
    let mut ways = hooks.iter().flat_map(|hook| ways_at(*hook));
    ways.any(|way| rule.applies(*way))
}

/// The hooks that packets come by, at interfaces and at the IP layer.
pub fn packet_hooks() -> impl Iterator<Item = Hook> {
    Hook::all().filter(|hook| {
        let name = hook.row().name;
        name.starts_with("interface/") || name.starts_with("ip/")
    })
}

/// Rules as what comes by at a hook meets them: what is forwarded goes in and out, so that it is of no
/// account which of these a rule says.
pub fn as_met_at(hook: Hook, rules: &RuleSet) -> Cow<'_, RuleSet> {
    if ways_at(hook).len() < 2 {
        return Cow::Borrowed(rules);
    }
    let mut met = rules.clone();
    for rule in &mut met.rules {
        rule.way = None;
    }
    Cow::Owned(met)
}

/// The rules that `load` puts behind those of a file at these hooks, so that a default of `drop` spares what hosts
/// are reached by; but for the caller's own connection, which is at one place only.
pub fn added_by_load(rules: &RuleSet, hooks: &[Hook], known: &KnownSets) -> Vec<Rule> {
    let mut added = Vec::new();
    for hook in hooks.iter().filter(|_| rules.default.drops()) {
        let link = hook.row().kind == Kind::Interface;
        let lacking = rules.lacking(ways_at(*hook), link, None, known);
        let new = lacking.into_iter().filter(|rule| !added.contains(rule));
        added.extend(new.collect::<Vec<_>>());
    }
    added
}

/// Whether the default drops, at a hook of an interface, what the neighbours of a family are found by: ARP, or neighbour
/// discovery. Who stays away from it is not reached any more as soon as one forgets the other's hardware address.
pub fn shuts_out_neighbours(rules: &RuleSet, hook: Hook, v6: bool) -> bool {
    let is_theirs = |rule: &Rule| (rule.addresses != Addresses::Arp) == v6;
    let here = hook.row().kind == Kind::Interface;
    here && added_by_load(rules, &[hook], &KnownSets::default())
        .iter()
        .any(is_theirs)
}

/// Which of the things that rules can ask packets have not got at a hook; nothing if it is there.
fn lacks(hook: Hook, asked: &Asked) -> Option<&'static str> {
    let name = hook.row().name;
    match asked {
        // The kernel makes its own notes of a packet behind XDP only.
        Asked::Mark(_) if name == "interface/xdp" => Some("mark of packets"),
        Asked::EtherFrom(_) | Asked::EtherTo(_) if name.starts_with("ip/") => Some("frame"),
        Asked::Mark(_)
        | Asked::EtherFrom(_)
        | Asked::EtherTo(_)
        | Asked::Protocol(_)
        | Asked::Source(_)
        | Asked::In(_)
        | Asked::Destination(_)
        | Asked::Flags(_)
        | Asked::Icmp(_)
        | Asked::Dscp(_)
        | Asked::Vlan(_)
        | Asked::Length(_)
        | Asked::On(_)
        | Asked::Limit(_) => None,
    }
}

/// The same of what is asked beside the tests.
fn lacks_of_link(hook: Hook, rule: &Rule) -> Option<&'static str> {
    // A netfilter program sees IP packets alone, from their IP header on.
    if !hook.row().name.starts_with("ip/") {
        None
    } else if rule.addresses == Addresses::Arp {
        Some("ARP")
    } else {
        let asks = matches!(rule.conditions.vlan, Some(Vlan::Id(_) | Vlan::Tagged));
        asks.then_some("VLAN tag")
    }
}

/// What of a rule's action cannot be done at a hook.
fn cannot(hook: Hook, action: Action) -> Option<&'static str> {
    // Netfilter programs change nothing of a packet, and send none.
    let row = hook.row();
    let noted = matches!(row.name, "interface/in" | "interface/out");
    match action {
        Action::Mark(_) if !noted => Some("setting a mark"),
        Action::Redirect(_) if row.kind != Kind::Interface => Some("sending by an interface"),
        Action::Reject(_) if row.kind != Kind::Interface => Some("telling the sender"),
        Action::Mark(_)
        | Action::Reject(_)
        | Action::Redirect(_)
        | Action::Count
        | Action::Pass
        | Action::Drop => None,
    }
}

/// What packets have not got at a hook of what a rule asks for, or cannot be done there of what it says; nothing if it can be there.
pub fn not_there(rule: &Rule, hook: Hook) -> Option<&'static str> {
    let mut lacking = rule.tests.iter().filter_map(|test| lacks(hook, &test.what));
    let what = cannot(hook, rule.action).or_else(|| lacking.next());
    what.or_else(|| lacks_of_link(hook, rule))
}

/// Refuses rules for what never comes by at these hooks, or has not got there what they ask for: they
/// would look as if they did something. `place` is where, and `extension` whose rules they are.
///
/// # Errors
///
/// [`Error::NeverMatches`] or [`Error::NotThere`] of the first such rule.
pub fn refuse_what_never_matches(
    rules: &[Rule],
    hooks: &[Hook],
    place: &dyn Display,
    extension: &'static str,
) -> Result<(), Error> {
    for (rule, hook) in rules
        .iter()
        .flat_map(|rule| hooks.iter().map(move |it| (rule, *it)))
    {
        if let Some(what) = not_there(rule, hook) {
            return Err(Error::NotThere {
                place: place.to_string(),
                rule: Box::new(rule.clone()),
                hook: hook.row().name,
                what,
            });
        }
    }
    let (Some(rule), Some(hook)) = (rules.iter().find(|r| !can_match(r, hooks)), hooks.first())
    else {
        return Ok(());
    };
    let ways = hooks.iter().flat_map(|hook| ways_at(*hook));
    let mut ways: Vec<_> = ways.map(ToString::to_string).collect();
    ways.dedup();
    Err(Error::NeverMatches {
        place: place.to_string(),
        rule: Box::new(rule.clone()),
        ways,
        extension,
        hook: hook_for(hook.row().kind, rule.way),
    })
}

/// The hook, or family, of a kind of target that sees what goes a way.
const fn hook_for(kind: Kind, way: Option<Way>) -> &'static str {
    match (kind, way) {
        (Kind::Interface, Some(Way::In)) => "interface/in",
        (Kind::Interface, _) => "interface/out",
        (Kind::Namespace, Some(Way::In)) => "ip/in",
        (Kind::Namespace, _) => "ip/out",
        (Kind::Cgroup, Some(Way::Sendmsg)) => "socket/sendmsg",
        (Kind::Cgroup, Some(Way::Bind)) => "socket/bind",
        (Kind::Cgroup, Some(Way::In | Way::Out | Way::Connect) | None) => "socket/connect",
    }
}
