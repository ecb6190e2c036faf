//! Which attachments a selector means, and how a message speaks of one.

use std::{collections::BTreeSet, path::PathBuf};

use super::{Control, Holder, Scope};
use crate::{
    chain::{Chain, Node, Role},
    error::{Error, Result},
    hook::{Family, Hook},
    interface::Namespace,
    order::{Selector, Slot},
    target::Spot,
};

impl Control {
    /// The one attachment that a selector means.
    pub(super) fn attachment(
        &self,
        selector: &Selector,
        scope: &Scope,
        stage: &'static str,
    ) -> Result<(usize, usize)> {
        match self.attachments(selector, scope, stage)?.as_slice() {
            [one] => Ok(*one),
            several => Err(self.ambiguous(selector, stage, several)),
        }
    }

    /// The attachments that a selector means: one, or one for each hook of a family, or of those
    /// that the extension is attached to together.
    pub(super) fn attachments(
        &self,
        selector: &Selector,
        scope: &Scope,
        stage: &'static str,
    ) -> Result<Vec<(usize, usize)>> {
        let place = scope.resolve()?;
        let mut found = Vec::new();
        for (at, chain) in self
            .chains
            .iter()
            .enumerate()
            .filter(|(_, chain)| place.has(chain))
        {
            let slots = slots(chain);
            let fits = |slot: &Slot<'_>| selector.is(slot.id, slot.extension);
            found.extend(
                (0..slots.len())
                    .filter(|at| fits(&slots[*at]))
                    .map(|slot| (at, slot)),
            );
        }
        let Some(&(first, node)) = found.first() else {
            let name = selector.to_string();
            return Err(Error::NoAttachment {
                name,
                stage,
                place: scope.describe(),
            });
        };
        let first = &self.chains[first];
        let mut together = vec![Family::of(first.hook)];
        if found.len() > 1
            && let Some(source) = self.source(&first.nodes[node].record.role)?
        {
            let hooks = source.object.manifest().hooks.iter();
            together.extend(hooks.map(|entry| entry.hook.clone()));
        }
        let mut hooks = BTreeSet::new();
        let one_each = found.iter().all(|(at, _)| {
            let chain = &self.chains[*at];
            let meant = together.iter().any(|family| family.has(chain.hook));
            chain.target == first.target && meant && hooks.insert(chain.hook)
        });
        if one_each {
            Ok(found)
        } else {
            Err(self.ambiguous(selector, stage, &found))
        }
    }

    pub(super) fn ambiguous(
        &self,
        selector: &Selector,
        stage: &'static str,
        found: &[(usize, usize)],
    ) -> Error {
        let describe = |(chain, node): &(usize, usize)| {
            let chain = &self.chains[*chain];
            self.describe(chain, &chain.nodes[*node])
        };
        let found = found.iter().map(describe).collect();
        Error::ManyAttachments {
            name: selector.to_string(),
            stage,
            found,
        }
    }

    /// An attachment in words: its id and where it is.
    pub(super) fn describe(&self, chain: &Chain, node: &Node) -> String {
        let (id, hook) = (node.record.id, chain.hook);
        Holder::Attachment {
            id,
            hook,
            place: place(chain),
        }
        .to_string()
    }

    /// The directory of the maps that an attachment has of its own, for those who know what is
    /// in them, and the attachment's hook.
    ///
    /// # Errors
    ///
    /// [`Error::NoAttachment`], [`Error::ManyAttachments`].
    pub fn attachment_maps(&self, selector: &Selector, scope: &Scope) -> Result<(Hook, PathBuf)> {
        let (chain, node) = self.attachment(selector, scope, "find")?;
        let chain = &self.chains[chain];
        Ok((
            chain.hook,
            chain.node_directory(&chain.nodes[node]).join("maps"),
        ))
    }
}

/// What a chain is attached to, in words.
pub(super) fn place(chain: &Chain) -> String {
    let target = chain.target;
    let Some(spot) = Spot::find(target) else {
        return target.directory();
    };
    let netns = spot.namespace().and_then(Namespace::name);
    let netns = netns.filter(|_| target.ifindex().is_some());
    let netns = netns.map_or_else(String::new, |name| format!(" in {name}"));
    format!("{spot}{netns}")
}

/// A chain's attachments, as far as order goes.
pub(super) fn slots(chain: &Chain) -> Vec<Slot<'_>> {
    let records = chain.nodes.iter().map(|node| &node.record);
    let slots = records.filter_map(|record| match &record.role {
        Role::Extension { name, .. } => Some(Slot {
            id: record.id,
            extension: name,
            priority: record.priority,
        }),
        Role::DropPolicy | Role::Claim { .. } => None,
    });
    slots.collect()
}
