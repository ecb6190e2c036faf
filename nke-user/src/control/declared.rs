//! What a declaration comes to on this system: which chains it covers, and what each is to be.
//!
//! Reads files and the state, and changes nothing; the decisions are [`crate::declare::plan`]'s.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    rc::Rc,
};

use super::{Attach, Control, Policy};
use crate::{
    chain::{Chain, MOST_NODES, Node, Role},
    declare::{
        Attachment, ChainPolicy, Declaration, Declared, Origin, dialect,
        plan::{self, ChainPlan, Outline, Plan, Slot, Step, Waiting},
    },
    error::{Error, Result},
    extension::{Extension, Source},
    filter::{RuleSet, Table},
    find::{Wanted, find},
    hook::Hook,
    mode::Mode,
    netfilter::Request,
    object::Object,
    order::{DEFAULT_PRIORITY, Position},
    target::{Spot, Target, Where},
};

/// A chain that is covered, and what it takes to make it.
pub(super) struct Covered {
    pub(super) target: Target,
    /// What it is of; `None` if only a chain of it is left.
    pub(super) spot: Option<Spot>,
    pub(super) netfilter: Request,
    pub(super) plan: ChainPlan,
}

/// All that a declaration comes to.
pub(super) struct Survey {
    pub(super) plan: Plan,
    pub(super) covered: Vec<Covered>,
    /// How each extension is asked for, by its name.
    pub(super) wanted: BTreeMap<String, Wanted>,
}

/// A chain as its lines are gathered.
struct Draft {
    spot: Spot,
    mode: Option<(Mode, Origin)>,
    netfilter: Request,
    policy: Option<(Policy, Origin)>,
    slots: Vec<(Slot, Position, Origin)>,
}

/// An extension's object: as it is loaded, or as its file has it.
pub(super) enum Body {
    Loaded(Rc<Source>),
    File(Box<Object>),
}

impl Body {
    pub(super) fn object(&self) -> &Object {
        match self {
            Self::Loaded(source) => &source.object,
            Self::File(object) => object,
        }
    }
}

/// Objects: by their extensions' names, each with how it was first asked for; and by how they were.
#[derive(Default)]
pub(super) struct Bodies {
    named: HashMap<String, (Wanted, Rc<Body>)>,
    spelt: HashMap<String, (String, Rc<Body>)>,
}

/// Opens what is to be attached to; `None` if it is not there (yet).
pub(super) fn present(place: &Where) -> Result<Option<Spot>> {
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
    /// What bringing the system to a declared state would do. With `prune`, also what is not in any
    /// chain that is declared goes.
    ///
    /// # Errors
    ///
    /// Those of finding and parsing objects, of [`Control::attach`], and [`Error::Declaration`].
    pub fn plan(&self, declaration: &Declaration, prune: bool) -> Result<Plan> {
        Ok(self.survey(declaration, prune)?.plan)
    }

    pub(super) fn survey(&self, declaration: &Declaration, prune: bool) -> Result<Survey> {
        let mut bodies = Bodies::default();
        let mut plan = Plan::default();
        let mut declared = Vec::new();
        for Declared { what, .. } in &declaration.loads {
            let (name, _) = self.body(&mut bodies, what)?;
            declared.push(name.clone());
            let held = self
                .extension(&name)
                .is_some_and(|e| e.record.users.count() > 0);
            if !held && !plan.load.contains(&name) {
                plan.load.push(name);
            }
        }
        let mut drafts = self.drafts(declaration, &mut bodies, &mut plan.waiting)?;
        share_rules(&mut drafts, &bodies)?;
        let mut covered = Vec::new();
        for ((target, hook), draft) in drafts {
            covered.push(self.cover(hook, target, draft)?);
        }
        if prune {
            let held = self
                .extensions
                .iter()
                .filter(|e| e.record.users.count() > 0);
            let held = held.map(|e| e.name.clone());
            plan.release = held.filter(|name| !declared.contains(name)).collect();
            let others = self.others_than(&covered)?;
            covered.extend(others);
        }
        covered.sort_by_cached_key(|c| (c.plan.place.clone(), c.plan.hook));
        self.plan_settings(declaration, &mut bodies, &mut plan, prune)?;
        plan.chains = covered.iter().map(|chain| chain.plan.clone()).collect();
        let wanted = bodies
            .named
            .into_iter()
            .map(|(name, (wanted, _))| (name, wanted));
        Ok(Survey {
            plan,
            covered,
            wanted: wanted.collect(),
        })
    }

    /// The name and the object of an extension, read once.
    pub(super) fn body(&self, bodies: &mut Bodies, wanted: &Wanted) -> Result<(String, Rc<Body>)> {
        let spelt = wanted.to_string();
        if let Some(known) = bodies.spelt.get(&spelt) {
            return Ok(known.clone());
        }
        let (name, body) = match self.meant(wanted) {
            Some(extension) if !wanted.is_exact() => {
                let name = extension.name.clone();
                (name, self.loaded_body(extension)?)
            }
            _ => self.body_of_file(bodies, wanted)?,
        };
        let named = (wanted.clone(), Rc::clone(&body));
        bodies.named.entry(name.clone()).or_insert(named);
        bodies.spelt.insert(spelt, (name.clone(), Rc::clone(&body)));
        Ok((name, body))
    }

    fn loaded_body(&self, extension: &Extension) -> Result<Rc<Body>> {
        let role = Role::Extension {
            name: extension.name.clone(),
            kmid: extension.kmid,
            symbol: String::new(),
        };
        let source = self.source(&role)?.ok_or_else(|| Error::NotLoaded {
            name: extension.name.clone(),
            stage: "find its object",
        })?;
        Ok(Rc::new(Body::Loaded(source)))
    }

    /// What a file holds, which must be what is loaded or declared under its name.
    fn body_of_file(&self, bodies: &Bodies, wanted: &Wanted) -> Result<(String, Rc<Body>)> {
        let found = find(wanted)?;
        let name = found.name.clone();
        if let Some(extension) = self.extension(&name) {
            if extension.is(&self.state, &found)? {
                return Ok((name, self.loaded_body(extension)?));
            }
            let path = extension.record.path.clone();
            return Err(Error::NameClash { name, path });
        }
        if let Some((known, body)) = bodies.named.get(&name) {
            if body.object().bytes() == found.bytes {
                return Ok((name, Rc::clone(body)));
            }
            let path = known.to_string().into();
            return Err(Error::NameClash { name, path });
        }
        let object = Object::parse_beside(&name, found.bytes, found.manifest)?;
        Ok((name, Rc::new(Body::File(Box::new(object)))))
    }

    /// Gathers what is declared of each chain.
    fn drafts(
        &self,
        declaration: &Declaration,
        bodies: &mut Bodies,
        waiting: &mut Vec<Waiting>,
    ) -> Result<BTreeMap<(Target, Hook), Draft>> {
        let mut drafts = BTreeMap::new();
        for Declared { what, origin } in &declaration.attachments {
            let (name, body) = self.body(bodies, &what.extension)?;
            let Some(spot) = present(&what.place)? else {
                waiting.push(wait(&what.place, origin, name));
                continue;
            };
            let (kind, family) = (what.place.kind(), what.hook.as_ref());
            let object = body.object();
            for (hook, program) in object.serving(kind, family, what.program.as_deref())? {
                self.fits(what, hook, &spot)?;
                let asked = object.manifest().priority(hook).unwrap_or(DEFAULT_PRIORITY);
                let draft = draft_of(&mut drafts, &what.place, hook)?;
                draft.agree(what, origin)?;
                let slot = Slot {
                    extension: name.clone(),
                    program,
                    priority: DEFAULT_PRIORITY,
                    counters: what.counters,
                    opt_in: what.opt_in,
                    enabled: !what.disabled,
                    rules: what.rules.clone(),
                };
                let position = what.position.clone().unwrap_or(Position::Priority(asked));
                draft.slots.push((slot, position, origin.clone()));
            }
        }
        for Declared { what, origin } in &declaration.policies {
            let ChainPolicy {
                place,
                hook,
                policy,
            } = what;
            if present(place)?.is_none() {
                waiting.push(wait(place, origin, format!("policy {policy} of {hook}")));
                continue;
            }
            let draft = draft_of(&mut drafts, place, *hook)?;
            if let Some((other, earlier)) = &draft.policy
                && other != policy
            {
                let cause = format!("{earlier} says {other} of the same chain; leave one out");
                return Err(wrong(origin, "policy.policy", cause));
            }
            draft.policy = Some((*policy, origin.clone()));
        }
        Ok(drafts)
    }

    /// Whether an attachment can be at a hook, as the chain there runs.
    fn fits(&self, what: &Attachment, hook: Hook, spot: &Spot) -> Result<()> {
        if what.opt_in && hook.socket().is_none() {
            return Err(Error::NoOptIn { hook });
        }
        let attach = Attach {
            extension: what.extension.clone(),
            place: what.place.clone(),
            hook: Some(hook),
            program: None,
            position: None,
            mode: what.mode,
            netfilter: what.netfilter,
            counters: what.counters,
            opt_in: what.opt_in,
        };
        attach.fits(hook, spot, self.chain(hook, spot.target()))
    }

    /// What is to become of a chain.
    fn cover(&self, hook: Hook, target: Target, draft: Draft) -> Result<Covered> {
        let Draft {
            spot,
            mode,
            netfilter,
            policy,
            slots,
        } = draft;
        let origins: Vec<_> = slots.iter().map(|(_, _, origin)| origin.clone()).collect();
        let declared = slots
            .into_iter()
            .map(|(slot, position, _)| (slot, position));
        let slots = plan::arrange(declared.collect()).map_err(|stuck| {
            let cause = "no attachment that it goes before or after is declared of this chain";
            wrong(&origins[stuck], "attach", cause.to_owned())
        })?;
        if slots.len() > MOST_NODES {
            let interface = spot.to_string();
            return Err(Error::ChainFull { hook, interface });
        }
        let wanted = Outline {
            policy: policy.map_or(Policy::Pass, |(policy, _)| policy),
            slots,
        };
        let chain = self.chain(hook, target);
        let mut running = chain.map_or(Outline::NONE, outline);
        let steps = plan::steps(&running.slots, &wanted.slots);
        for (step, slot) in steps.iter().zip(&wanted.slots) {
            if let (Step::Keep(at) | Step::Change(at), true, Some(chain)) =
                (step, slot.rules.is_some(), chain)
            {
                running.slots[*at].rules = Some(rules_of(chain, &chain.nodes[*at])?);
            }
        }
        Ok(Covered {
            target,
            netfilter,
            plan: ChainPlan {
                hook,
                place: words(&spot),
                mode: mode.map(|(mode, _)| mode),
                running,
                wanted,
                steps,
            },
            spot: Some(spot),
        })
    }

    /// The chains that are not declared, all of which are to go.
    fn others_than(&self, covered: &[Covered]) -> Result<Vec<Covered>> {
        let declared = |chain: &Chain| {
            let mut covered = covered.iter();
            covered.any(|c| (c.target, c.plan.hook) == (chain.target, chain.hook))
        };
        let asked_for = |chain: &Chain| chain.drops() || chain.attachments().next().is_some();
        let others = self.chains.iter().filter(|c| !declared(c) && asked_for(c));
        let gone = others.map(|chain| {
            let spot = Spot::find(chain.target);
            Ok(Covered {
                target: chain.target,
                netfilter: Request::default(),
                plan: ChainPlan {
                    hook: chain.hook,
                    place: spot
                        .as_ref()
                        .map_or_else(|| chain.target.directory(), words),
                    mode: None,
                    running: outline(chain),
                    wanted: Outline::NONE,
                    steps: Vec::new(),
                },
                spot,
            })
        });
        gone.collect()
    }
}

/// The draft of a chain.
fn draft_of<'d>(
    drafts: &'d mut BTreeMap<(Target, Hook), Draft>,
    place: &Where,
    hook: Hook,
) -> Result<&'d mut Draft> {
    let spot = place.open()?;
    Ok(drafts.entry((spot.target(), hook)).or_insert(Draft {
        spot,
        mode: None,
        netfilter: Request::default(),
        policy: None,
        slots: Vec::new(),
    }))
}

impl Draft {
    /// One chain is called in one way.
    fn agree(&mut self, what: &Attachment, origin: &Origin) -> Result<()> {
        if let Some(mode) = what.mode {
            match &self.mode {
                Some((other, earlier)) if *other != mode => {
                    let cause = format!("{earlier} says {other} of the same chain; leave one out");
                    return Err(wrong(origin, "attach.mode", cause));
                }
                Some(_) => {}
                None => self.mode = Some((mode, origin.clone())),
            }
        }
        self.netfilter.defrag |= what.netfilter.defrag;
        match (self.netfilter.priority, what.netfilter.priority) {
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

/// Attachments that share their rules have the same, whichever of them says so.
fn share_rules(drafts: &mut BTreeMap<(Target, Hook), Draft>, bodies: &Bodies) -> Result<()> {
    let shares = |name: &str| {
        let body = bodies.named.get(name).map(|(_, body)| body);
        body.is_some_and(|body| !body.object().manifest().target_maps.is_empty())
    };
    let mut shared: BTreeMap<(Target, String), (RuleSet, Origin)> = BTreeMap::new();
    for ((target, _), draft) in drafts.iter() {
        for (slot, _, origin) in draft.slots.iter().filter(|(s, ..)| shares(&s.extension)) {
            let Some(rules) = &slot.rules else {
                continue;
            };
            let key = (*target, slot.extension.clone());
            let (first, earlier) = shared
                .entry(key)
                .or_insert_with(|| (rules.clone(), origin.clone()));
            if first != rules {
                let cause = format!("they are shared with {earlier}, which says others");
                return Err(wrong(origin, "attach.rules", cause));
            }
        }
    }
    for ((target, _), draft) in drafts.iter_mut() {
        for (slot, ..) in &mut draft.slots {
            let rules = shared.get(&(*target, slot.extension.clone()));
            if let Some((rules, _)) = rules {
                slot.rules = Some(rules.clone());
            }
        }
    }
    Ok(())
}

pub(super) fn wrong(origin: &Origin, key: &str, cause: String) -> Error {
    Error::Declaration {
        place: origin.to_string(),
        key: key.to_owned(),
        cause,
    }
}

fn wait(place: &Where, origin: &Origin, what: String) -> Waiting {
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

/// What a chain is of, in words.
pub(super) fn words(spot: &Spot) -> String {
    match spot {
        Spot::Interface {
            namespace, name, ..
        } => match namespace.name() {
            Some(namespace) => format!("{name} in {namespace}"),
            None => name.clone(),
        },
        Spot::Namespace(_) | Spot::Cgroup(_) => spot.to_string(),
    }
}

/// A chain as it runs, without its attachments' rules.
pub(super) fn outline(chain: &Chain) -> Outline {
    let slots = chain.nodes.iter().filter_map(|node| {
        let Role::Extension { name, symbol, .. } = &node.record.role else {
            return None;
        };
        Some(Slot {
            extension: name.clone(),
            program: symbol.clone(),
            priority: node.record.priority,
            counters: node.record.counters,
            opt_in: node.record.opt_in,
            enabled: node.record.enabled,
            rules: None,
        })
    });
    Outline {
        policy: if chain.drops() {
            Policy::Drop
        } else {
            Policy::Pass
        },
        slots: slots.collect(),
    }
}

/// The rules of an attachment that has some.
pub(super) fn rules_of(chain: &Chain, node: &Node) -> Result<RuleSet> {
    let maps = chain.node_directory(node).join("maps");
    let read = Table::open(&maps).and_then(|table| table.read());
    read.map(|listing| listing.rules())
        .map_err(|source| bad_rules(chain.hook, source))
}

pub(super) fn bad_rules(hook: Hook, source: crate::filter::Error) -> Error {
    Error::Rules {
        place: hook.to_string(),
        source: Box::new(source),
    }
}

/// Whether an extension of this name has rules.
pub(super) fn has_rules(extension: &str) -> bool {
    dialect(extension).is_some()
}
