//! `save`: what runs, as a declaration that brings it back.

use super::{
    Control, Manner, Policy,
    declared::{has_rules, rules_of, words},
};
use crate::{
    chain::{Chain, Node, Role},
    declare::{Attachment, ChainPolicy, Declaration, Declared, Origin},
    error::Result,
    extension::Extension,
    find::{Wanted, find},
    mode::Mode,
    netfilter::{Netfilter, Request},
    order::Position,
    target::{Spot, Where},
};

impl Control {
    /// All that runs, and in words what cannot be declared, and why: chains of what no name leads to,
    /// settings of what is only there for others.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Rules`] if rules cannot be read.
    pub fn save(&self) -> Result<(Declaration, Vec<String>)> {
        let mut saved = Declaration::default();
        let mut held: Vec<_> = self.extensions.iter().collect();
        held.retain(|extension| extension.record.users.count() > 0);
        held.sort_unstable_by_key(|extension| &extension.name);
        saved.loads = held.into_iter().map(|e| declared(spelling(e))).collect();

        let mut lost = Vec::new();
        let mut chains = Vec::new();
        for chain in &self.chains {
            match place_of(chain) {
                Some((words, place)) => chains.push((words, chain.hook, place, chain)),
                // Claims are nke's own, and come with their attachments.
                None if chain.attachments().next().is_none() && !chain.drops() => {}
                None => lost.push(format!(
                    "{} of {}: no name leads to it",
                    chain.hook,
                    chain.target.directory()
                )),
            }
        }
        // By names: the kernel's numbers are other ones each time.
        chains.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        for (_, hook, place, chain) in chains {
            for node in chain.attachments() {
                if let Some(attachment) = self.attachment_saved(chain, node, &place)? {
                    saved.attachments.push(declared(attachment));
                }
            }
            if chain.drops() {
                saved.policies.push(declared(ChainPolicy {
                    place,
                    hook,
                    policy: Policy::Drop,
                }));
            }
        }
        lost.sort_unstable();
        lost.extend(self.save_sets(&mut saved)?);
        lost.extend(self.save_settings(&mut saved)?);
        Ok((saved, lost))
    }

    /// Has a saved declaration name each extension by the file that it was loaded from: a name means
    /// whichever version the search path has by then.
    pub(super) fn name_by_files(&self, saved: &mut Declaration) {
        let loads = saved.loads.iter_mut().map(|load| &mut load.what);
        let attached = saved.attachments.iter_mut();
        let attached = attached.map(|attachment| &mut attachment.what.extension);
        let set = saved.settings.iter_mut().map(|set| &mut set.what.extension);
        for wanted in loads.chain(attached).chain(set) {
            if let Some(extension) = self.meant(wanted) {
                *wanted = file_of(extension);
            }
        }
    }

    fn attachment_saved(
        &self,
        chain: &Chain,
        node: &Node,
        place: &Where,
    ) -> Result<Option<Attachment>> {
        let Role::Extension { name, symbol, .. } = &node.record.role else {
            return Ok(None);
        };
        let (Some(extension), Some(source)) =
            (self.extension(name), self.source(&node.record.role)?)
        else {
            return Ok(None);
        };
        let obvious = source.object.choose(place.kind(), Some(chain.hook), None);
        let obvious = obvious.is_ok_and(|(_, program)| program.symbol == *symbol);
        let at = chain.anchor.netfilter.unwrap_or_default();
        let default = Netfilter::default();
        // The driver's answer may be another one next time.
        let mode = Some(chain.anchor.mode).filter(|_| chain.hook.row().modes.len() > 1);
        Ok(Some(Attachment {
            extension: spelling(extension),
            place: place.clone(),
            hook: Some(chain.hook.into()),
            program: (!obvious).then(|| symbol.clone()),
            position: Some(Position::Priority(node.record.priority)),
            manner: Manner {
                mode,
                netfilter: Request {
                    priority: (chain.anchor.mode == Mode::Netfilter
                        && at.priority != default.priority)
                        .then_some(at.priority),
                    defrag: at.defrag,
                },
                counters: node.record.counters,
                opt_in: node.record.opt_in,
            },
            disabled: !node.record.enabled,
            rules: has_rules(name).then(|| rules_of(chain, node)).transpose()?,
            lines: Vec::new(),
            sets: Vec::new(),
        }))
    }
}

pub(super) fn declared<T>(what: T) -> Declared<T> {
    Declared {
        what,
        origin: Origin {
            file: "running".into(),
            line: 0,
        },
    }
}

/// How an extension is asked for: by its name, if that finds it.
pub(super) fn spelling(extension: &Extension) -> Wanted {
    let name = Wanted::Name(extension.name.clone());
    let path = &extension.record.path;
    if find(&name).is_ok_and(|found| found.path == *path) {
        name
    } else {
        file_of(extension)
    }
}

/// An extension by the file that it was loaded from.
fn file_of(extension: &Extension) -> Wanted {
    let file = Wanted::Path(extension.record.path.clone());
    let copy = extension.name.split_once('@');
    let copy = copy.and_then(|(_, copy)| copy.parse().ok());
    copy.map_or(file.clone(), |copy| file.instance(&copy))
}

/// What a chain is of, in words and by names that last: that of a process's namespace does not.
fn place_of(chain: &Chain) -> Option<(String, Where)> {
    let spot = Spot::find(chain.target)?;
    let netns = spot.namespace().and_then(|namespace| namespace.name());
    if netns.is_some_and(|name| name.starts_with("/proc/")) {
        return None;
    }
    let netns = netns.map(str::to_owned);
    let place = match &spot {
        Spot::Interface { name, .. } => Where::Interface {
            name: name.clone(),
            netns,
        },
        Spot::Namespace(_) => Where::Namespace { netns },
        Spot::Cgroup(cgroup) => {
            // TOML is text.
            cgroup.path().to_str()?;
            Where::Cgroup {
                path: cgroup.path().to_owned(),
            }
        }
    };
    Some((words(&spot), place))
}
