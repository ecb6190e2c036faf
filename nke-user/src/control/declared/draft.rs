//! What is declared of each chain, gathered line by line.
//!
//! Reads files and the state, and changes nothing.

use std::{collections::BTreeMap, io};

use nke_ebpf::abi::map;

use super::{absent::awaited, bodies::Bodies, outline::words};
use crate::{
    control::{Control, Policy},
    declare::{
        Attachment, ChainPolicy, Declaration, Declared, Origin, dialect,
        plan::{Slot, Waiting},
    },
    error::{Error, Result},
    filter::{Dialect, RuleSet, refuse_what_never_matches},
    hook::Hook,
    mode::Mode,
    netfilter::Request,
    order::{DEFAULT_PRIORITY, Position},
    target::{Spot, Target, Where},
};

/// A chain as its lines are gathered.
pub(super) struct Draft {
    pub(super) spot: Spot,
    /// Where it is named first.
    pub(super) origin: Origin,
    pub(super) mode: Option<(Mode, Origin)>,
    pub(super) netfilter: Request,
    pub(super) policy: Option<(Policy, Origin)>,
    pub(super) slots: Vec<(Slot, Position, Origin)>,
}

/// All chains that are declared.
pub(super) type Drafts = BTreeMap<(Target, Hook), Draft>;

/// Opens what is to be attached to; `None` if it is not there (yet).
pub(in crate::control) fn present(place: &Where) -> Result<Option<Spot>> {
    match place.open() {
        Ok(spot) => Ok(Some(spot)),
        Err(Error::NoInterface { .. }) => Ok(None),
        Err(Error::NoNamespace { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(Error::NoCgroup { path, .. }) if !path.exists() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Control {
    /// Gathers what is declared of each chain.
    pub(super) fn drafts(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
        waiting: &mut Vec<Waiting>,
    ) -> Result<Drafts> {
        let mut drafts = Drafts::new();
        for Declared { what, origin } in &declaration.attachments {
            let (name, body) = self.body(bodies, &what.extension, origin)?;
            let here = present(&what.place).map_err(|error| origin.blame(error))?;
            let Some(spot) = here else {
                waiting.push(wait(&what.place, origin, name));
                continue;
            };
            waiting.extend(awaited(what, origin, &spot));
            let (kind, family) = (what.place.kind(), what.hook.as_ref());
            let object = body.object();
            let served = object.serving(kind, family, what.program.as_deref());
            for (hook, program) in served.map_err(|error| origin.blame(error))? {
                self.fits(what, hook, &spot)
                    .map_err(|error| origin.blame(error))?;
                let asked = object.manifest().priority(hook).unwrap_or(DEFAULT_PRIORITY);
                let draft = draft_of(&mut drafts, &what.place, hook, origin)?;
                draft.agree(what, origin)?;
                let slot = Slot {
                    extension: name.clone(),
                    program,
                    priority: DEFAULT_PRIORITY,
                    counters: what.manner.counters,
                    opt_in: what.manner.opt_in,
                    enabled: !what.disabled,
                    rules: what.rules.clone(),
                };
                let position = what.position.clone().unwrap_or(Position::Priority(asked));
                draft.slots.push((slot, position, origin.clone()));
            }
        }
        for declared in &declaration.policies {
            policy(&mut drafts, declared, waiting)?;
        }
        share_rules(&mut drafts, bodies)?;
        Ok(drafts)
    }

    /// Whether an attachment can be at a hook, as the chain there runs.
    fn fits(&self, what: &Attachment, hook: Hook, spot: &Spot) -> Result<()> {
        if what.manner.opt_in && hook.socket().is_none() {
            return Err(Error::NoOptIn { hook });
        }
        let present = self.chain(hook, spot.target());
        what.manner.fits(hook, spot, present)
    }
}

/// Gathers a policy.
fn policy(
    drafts: &mut Drafts,
    Declared { what, origin }: &Declared<ChainPolicy>,
    waiting: &mut Vec<Waiting>,
) -> Result<()> {
    let ChainPolicy {
        place,
        hook,
        policy,
    } = what;
    let here = present(place).map_err(|error| origin.blame(error))?;
    if here.is_none() {
        waiting.push(wait(place, origin, format!("policy {policy} of {hook}")));
        return Ok(());
    }
    let draft = draft_of(drafts, place, *hook, origin)?;
    if let Some((other, earlier)) = &draft.policy
        && other != policy
    {
        let cause = format!("{earlier} says {other} of the same chain; leave one out");
        return Err(wrong(origin, "policy.policy", cause));
    }
    draft.policy = Some((*policy, origin.clone()));
    Ok(())
}

/// The draft of a chain.
fn draft_of<'d>(
    drafts: &'d mut Drafts,
    place: &Where,
    hook: Hook,
    origin: &Origin,
) -> Result<&'d mut Draft> {
    let spot = place.open().map_err(|error| origin.blame(error))?;
    Ok(drafts.entry((spot.target(), hook)).or_insert(Draft {
        spot,
        origin: origin.clone(),
        mode: None,
        netfilter: Request::default(),
        policy: None,
        slots: Vec::new(),
    }))
}

impl Draft {
    /// One chain is called in one way.
    fn agree(&mut self, what: &Attachment, origin: &Origin) -> Result<()> {
        if let Some(mode) = what.manner.mode {
            match &self.mode {
                Some((other, earlier)) if *other != mode => {
                    let cause = format!("{earlier} says {other} of the same chain; leave one out");
                    return Err(wrong(origin, "attach.mode", cause));
                }
                Some(_) => {}
                None => self.mode = Some((mode, origin.clone())),
            }
        }
        let asked = what.manner.netfilter;
        self.netfilter.defrag |= asked.defrag;
        match (self.netfilter.priority, asked.priority) {
            (Some(other), Some(priority)) if other != priority => {
                let cause = format!("another line says {other} of the same chain; leave one out");
                return Err(wrong(origin, "attach.netfilter-priority", cause));
            }
            (None, priority) => self.netfilter.priority = priority,
            (Some(_), _) => {}
        }
        Ok(())
    }
}

/// Rules that several attachments share.
struct Shared {
    rules: RuleSet,
    origin: Origin,
    /// Where they are in force.
    hooks: Vec<Hook>,
}

/// Attachments that share their rules have the same, whichever of them says so; and each rule can
/// match at one of their hooks.
fn share_rules(drafts: &mut Drafts, bodies: &Bodies) -> Result<()> {
    let shares = |name: &str| {
        let body = bodies.named.get(name).map(|named| &named.body);
        body.is_some_and(|body| {
            let shared = &body.object().manifest().target_maps;
            shared.iter().any(|name| name == map::RULES)
        })
    };
    let mut shared: BTreeMap<(Target, String), Shared> = BTreeMap::new();
    for ((target, hook), draft) in drafts.iter() {
        for (slot, _, origin) in &draft.slots {
            let Some(rules) = &slot.rules else {
                continue;
            };
            if !shares(&slot.extension) {
                refuse_dead_rules(rules, &[*hook], draft, slot, origin)?;
                continue;
            }
            let key = (*target, slot.extension.clone());
            let first = shared.entry(key).or_insert_with(|| Shared {
                rules: rules.clone(),
                origin: origin.clone(),
                hooks: Vec::new(),
            });
            if first.rules != *rules {
                let earlier = &first.origin;
                let cause = format!("they are shared with {earlier}, which says others");
                return Err(wrong(origin, "attach.rules", cause));
            }
        }
    }
    for ((target, hook), draft) in drafts.iter_mut() {
        for (slot, ..) in &mut draft.slots {
            if let Some(shared) = shared.get_mut(&(*target, slot.extension.clone())) {
                slot.rules = Some(shared.rules.clone());
                shared.hooks.push(*hook);
            }
        }
    }
    for ((target, hook), draft) in drafts.iter() {
        for (slot, ..) in &draft.slots {
            if let Some(shared) = shared.get(&(*target, slot.extension.clone()))
                && shared.hooks.first() == Some(hook)
            {
                refuse_dead_rules(&shared.rules, &shared.hooks, draft, slot, &shared.origin)?;
            }
        }
    }
    Ok(())
}

/// Refuses rules that can match nothing at their hooks.
fn refuse_dead_rules(
    rules: &RuleSet,
    hooks: &[Hook],
    draft: &Draft,
    slot: &Slot,
    origin: &Origin,
) -> Result<()> {
    let extension = match dialect(&slot.extension) {
        Some(Dialect::Packets) => "packet-filter",
        Some(Dialect::Calls) => "connection-guard",
        None => return Ok(()),
    };
    let place = match hooks {
        [hook] => format!("{hook} of {}", words(&draft.spot)),
        _ => words(&draft.spot),
    };
    refuse_what_never_matches(&rules.rules, hooks, &place, extension)
        .map_err(|source| wrong(origin, "attach.rules", source.to_string()))
}

pub(in crate::control) fn wrong(origin: &Origin, key: &str, cause: String) -> Error {
    Error::Declaration {
        place: origin.to_string(),
        key: key.to_owned(),
        cause,
    }
}

pub(super) fn wait(place: &Where, origin: &Origin, what: String) -> Waiting {
    let within = |netns: &Option<String>| {
        let name = netns.as_ref();
        name.map_or_else(String::new, |name| format!(" in {name}"))
    };
    Waiting {
        place: match place {
            Where::Interface { name, netns } => format!("interface {name}{}", within(netns)),
            Where::Namespace { netns } => {
                format!("network namespace {}", netns.as_deref().unwrap_or_default())
            }
            Where::Cgroup { path } => format!("cgroup {}", path.display()),
        },
        origin: origin.to_string(),
        what,
    }
}
