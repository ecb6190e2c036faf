//! Where to look for attachments.

use std::path::PathBuf;

use crate::{
    cgroup::Cgroup,
    chain::Chain,
    error::Result,
    hook::Family,
    interface::Namespace,
    target::{Target, Where},
};

/// Where to look for attachments: what is not said is everywhere.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The interface's name.
    pub interface: Option<String>,
    /// The network namespace, a name or a path; without one the caller's own, if there is an
    /// interface.
    pub netns: Option<String>,
    /// The cgroup's directory.
    pub cgroup: Option<PathBuf>,
    /// The hook, or several of a family.
    pub hook: Option<Family>,
}

/// A scope with its names looked up.
pub(super) struct Place {
    netns: Option<u64>,
    ifindex: Option<u32>,
    cgroup: Option<u64>,
    hook: Option<Family>,
}

impl Scope {
    pub(super) fn resolve(&self) -> Result<Place> {
        let Self {
            interface,
            netns,
            cgroup,
            hook,
        } = self;
        let mut place = Place {
            netns: None,
            ifindex: None,
            cgroup: None,
            hook: hook.clone(),
        };
        if interface.is_some() || netns.is_some() {
            let namespace = Namespace::open(netns.as_deref())?;
            place.netns = Some(namespace.inode());
            place.ifindex = interface
                .as_deref()
                .map(|name| namespace.index(name))
                .transpose()?;
        }
        if let Some(path) = cgroup {
            place.cgroup = Some(Cgroup::open(path)?.id());
        }
        Ok(place)
    }

    /// The one place that it names, if it does.
    pub(super) fn named(&self) -> Option<Where> {
        let Self {
            interface,
            netns,
            cgroup,
            hook: _,
        } = self;
        match (interface, cgroup) {
            (Some(name), _) => Some(Where::Interface {
                name: name.clone(),
                netns: netns.clone(),
            }),
            (None, Some(path)) => Some(Where::Cgroup { path: path.clone() }),
            (None, None) => netns
                .clone()
                .map(|name| Where::Namespace { netns: Some(name) }),
        }
    }

    /// Where nothing was found, for a message.
    pub(super) fn describe(&self) -> String {
        let Self {
            interface,
            netns,
            cgroup,
            hook,
        } = self;
        let mut text = hook
            .as_ref()
            .map_or_else(String::new, |hook| format!(" at {hook}"));
        let cgroup = cgroup.as_ref().map(|path| path.display().to_string());
        for name in [interface.clone(), cgroup].into_iter().flatten() {
            text += &format!(" on {name}");
        }
        if let Some(netns) = netns {
            text += &format!(" in {netns}");
        }
        text
    }
}

impl Place {
    pub(super) fn has(&self, chain: &Chain) -> bool {
        let Self {
            netns,
            ifindex,
            cgroup,
            hook,
        } = self;
        let target = chain.target;
        hook.as_ref().is_none_or(|hook| hook.has(chain.hook))
            && netns.is_none_or(|netns| target.netns() == Some(netns))
            && ifindex.is_none_or(|ifindex| target.ifindex() == Some(ifindex))
            && cgroup.is_none_or(|id| target == Target::Cgroup { id })
    }
}
