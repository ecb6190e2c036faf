//! `detach`, `move`, `replace` and `policy`: changes of what is attached.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Serialize;

use super::{Attached, Control, Scope, keep_all, slots};
use crate::{
    chain::{Change, Fresh, Ground, Role, Site},
    error::{Error, Result},
    find::Wanted,
    hook::Hook,
    netfilter::Netfilter,
    order::{Position, Selector, insert},
    target::{Spot, Target, Where},
};

/// What a chain answers for a packet that all of its nodes let go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The kernel goes on with it.
    Pass,
    /// It is dropped.
    Drop,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pass" => Ok(Self::Pass),
            "drop" => Ok(Self::Drop),
            _ => Err("a policy is pass or drop".to_owned()),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        })
    }
}

/// The node of a drop policy.
pub(super) fn drop_policy() -> Change {
    Change::New(Fresh {
        id: None,
        role: Role::DropPolicy,
        priority: i32::MAX,
        counters: true,
        opt_in: false,
        enabled: true,
        inherits: None,
        maps: None,
    })
}

impl Control {
    /// Detaches one attachment, or all of an extension's at the hooks of a family. Returns them in
    /// words.
    ///
    /// # Errors
    ///
    /// [`Error::NoAttachment`], [`Error::ManyAttachments`].
    pub fn detach(&mut self, selector: &Selector, scope: &Scope) -> Result<Vec<String>> {
        let mut words = Vec::new();
        let mut changes: BTreeMap<(Hook, Target), Vec<Change>> = BTreeMap::new();
        for (at, position) in self.attachments(selector, scope, "detach")? {
            let chain = &self.chains[at];
            words.push(self.describe(chain, &chain.nodes[position]));
            let wanted = changes
                .entry((chain.hook, chain.target))
                .or_insert_with(|| keep_all(chain));
            wanted.retain(|change| !matches!(change, Change::Keep(at) if *at == position));
        }
        let changes: Vec<_> = changes
            .into_iter()
            .map(|((hook, target), wanted)| (hook, target, wanted))
            .collect();
        self.change(&changes)?;
        // They are detached. What fails of the rest, the next command does.
        let _: Result<()> = self.disclaim_unused().and_then(|()| self.unload_unused());
        Ok(words)
    }

    /// Moves an attachment within its chain, under traffic: a packet meets it once, at the old
    /// place or at the new one.
    ///
    /// # Errors
    ///
    /// As [`Control::detach`].
    pub fn reposition(
        &mut self,
        selector: &Selector,
        scope: &Scope,
        to: &Position,
    ) -> Result<Attached> {
        let (at, from) = self.attachment(selector, scope, "move")?;
        let chain = &self.chains[at];
        let (hook, target) = (chain.hook, chain.target);
        let mut slots = slots(chain);
        slots.remove(from);
        let (index, priority) = insert(&slots, to).ok_or_else(|| Error::NoAttachment {
            name: selector.to_string(),
            stage: "move",
            place: format!(": the chain at {hook} has no other of the name to move it beside"),
        })?;
        let record = &chain.nodes[from].record;
        let mut wanted = keep_all(chain);
        wanted.remove(from);
        // In its place with its priority, it is left alone.
        let same = index == from && priority == record.priority;
        let fresh = Fresh {
            priority,
            ..Fresh::copy(from, record)
        };
        wanted.insert(
            index,
            if same {
                Change::Keep(from)
            } else {
                Change::New(fresh)
            },
        );
        let programs = self.commit(Ground::Chain(chain), &wanted)?;
        self.read_back(hook, target)?;
        self.attached(hook, target, programs[index], Spot::find(target).as_ref())
    }

    /// Puts another extension in an attachment's place, with its id and priority. Counters and
    /// the attachment's own maps start anew. Returns the name of the extension that was there.
    ///
    /// # Errors
    ///
    /// Those of [`Control::detach`], and of loading an object.
    pub fn replace(
        &mut self,
        selector: &Selector,
        scope: &Scope,
        with: &Wanted,
        program: Option<&str>,
    ) -> Result<(String, Attached)> {
        let (at, position) = self.attachment(selector, scope, "replace")?;
        let (hook, target) = (self.chains[at].hook, self.chains[at].target);
        let record = &self.chains[at].nodes[position].record;
        let old = record.role.kmid().unwrap_or_default();
        let was = slots(&self.chains[at])[position].extension.to_owned();
        let opt_in = record.opt_in;
        let kmid = self.obtain_for(old, with)?;
        let missing = || Error::NoAttachment {
            name: selector.to_string(),
            stage: "replace",
            place: scope.describe(),
        };
        let committed = self
            .role(kmid, hook.row().kind, Some(hook), program)
            .and_then(|(_, role)| {
                if let (Role::Extension { name, .. }, true) = (&role, opt_in) {
                    let spot = Spot::find(target).ok_or_else(missing)?;
                    self.claim(hook, &spot, name)?;
                }
                let chain = self.chain(hook, target).ok_or_else(missing)?;
                let record = &chain.nodes[position].record;
                let fresh = Fresh {
                    role,
                    inherits: None,
                    ..Fresh::copy(position, record)
                };
                let mut wanted = keep_all(chain);
                wanted[position] = Change::New(fresh);
                self.commit(Ground::Chain(chain), &wanted)
            });
        if committed.is_ok() {
            self.read_back(hook, target)?;
        }
        self.disclaim_unused()?;
        self.unload_unused()?;
        self.settle()?;
        let spot = Spot::find(target);
        Ok((
            was,
            self.attached(hook, target, committed?[position], spot.as_ref())?,
        ))
    }

    /// Sets a chain's policy. A drop policy stands without any attachment as well.
    ///
    /// # Errors
    ///
    /// [`Error::WhichHook`] if `hook` is not given and there is not just one chain;
    /// [`Error::NotAHook`], [`Error::NoDropPolicy`].
    pub fn policy(&mut self, place: &Where, hook: Option<Hook>, policy: Policy) -> Result<Hook> {
        let spot = place.open()?;
        let target = spot.target();
        let hook = match (hook, self.hooks_of(target).as_slice()) {
            (Some(hook), _) if hook.row().kind != place.kind() => {
                return Err(Error::NotAHook {
                    hook,
                    place: spot.to_string(),
                });
            }
            (Some(hook), _) => hook,
            (None, [hook]) => *hook,
            (None, _) => {
                return Err(Error::WhichHook {
                    interface: spot.to_string(),
                });
            }
        };
        if policy == Policy::Drop && hook.row().drop.is_none() {
            return Err(Error::NoDropPolicy { hook });
        }
        match (self.chain(hook, target), policy) {
            (None, Policy::Pass) => {}
            (None, Policy::Drop) => {
                let site = Site {
                    hook,
                    spot: &spot,
                    mode: None,
                    netfilter: Netfilter::default(),
                };
                self.commit(Ground::Bare(&site), &[drop_policy()])?;
            }
            (Some(chain), policy) => {
                let mut wanted = keep_all(chain);
                match policy {
                    // Before nke's claims of socket options.
                    Policy::Pass if chain.drops() => drop(wanted.remove(slots(chain).len())),
                    Policy::Pass => {}
                    Policy::Drop if chain.drops() => {}
                    Policy::Drop => wanted.insert(slots(chain).len(), drop_policy()),
                }
                self.commit(Ground::Chain(chain), &wanted)?;
            }
        }
        // It is in force, whether it can be read now or by the next command.
        let _: Result<_> = self.reread(hook, target);
        Ok(hook)
    }

    fn hooks_of(&self, target: Target) -> Vec<Hook> {
        self.chains
            .iter()
            .filter(|chain| chain.target == target)
            // A chain that only nke itself made for its claims was not asked for.
            .filter(|chain| chain.drops() || chain.attachments().next().is_some())
            .map(|chain| chain.hook)
            .collect()
    }
}
