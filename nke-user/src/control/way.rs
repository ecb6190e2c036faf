//! `chain --way`: what one packet meets, hook by hook, through all layers.
//!
//! The order is that of the table of hooks, and within a hook that which the kernel gives. The
//! shapes here are what `--json` prints, and stay as they are.

use std::path::Path;

use serde::Serialize;

use super::{ChainStatus, Control, Scope};
use crate::{
    cgroup::Cgroup,
    error::Result,
    foreign::{self, How},
    hook::{Hook, Kind, Way},
    interface::Namespace,
    target::{Spot, Where},
};

/// A way, and the hooks on it, in the order in which the kernel runs them.
#[derive(Clone, Debug, Serialize)]
pub struct WayStatus {
    /// Which way.
    pub way: Way,
    /// Every hook on it, also those where nothing is.
    pub hooks: Vec<HookStatus>,
}

/// A hook, and what is there.
#[derive(Clone, Debug, Serialize)]
pub struct HookStatus {
    /// The hook.
    pub hook: Hook,
    /// The chains in the order in which they run: at hooks of cgroups that of the cgroup itself,
    /// and those of the cgroups above it; at hooks of interfaces one for each interface.
    pub chains: Vec<ChainStatus>,
}

/// What a packet passes through.
struct Places {
    interfaces: Vec<Spot>,
    namespace: Spot,
    /// A cgroup and those above it, up to the root.
    cgroups: Vec<Spot>,
}

impl Places {
    fn open(scope: &Scope) -> Result<Self> {
        let netns = scope.netns.clone();
        let namespace = Namespace::open(netns.as_deref())?;
        let interface = |name: String| {
            let netns = netns.clone();
            Where::Interface { name, netns }.open()
        };
        let interfaces = match &scope.interface {
            Some(name) => vec![interface(name.clone())?],
            // One that has gone meanwhile is not on the way.
            None => namespace
                .interfaces()
                .into_iter()
                .filter_map(|name| interface(name).ok())
                .collect(),
        };
        let cgroup = match &scope.cgroup {
            Some(path) => Some(Cgroup::open(path)?),
            None => Cgroup::of_caller(),
        };
        let cgroups = cgroup.map(Cgroup::lineage).unwrap_or_default();
        Ok(Self {
            interfaces,
            namespace: Spot::Namespace(namespace),
            cgroups: cgroups.into_iter().map(Spot::Cgroup).collect(),
        })
    }
}

impl Control {
    /// One packet's way through an interface, a network namespace and a cgroup. What the scope
    /// does not name is the caller's own namespace and cgroup, and every interface of the
    /// namespace where something is.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::NoInterface`], [`crate::error::Error::NoNamespace`],
    /// [`crate::error::Error::NoCgroup`].
    pub fn ways(&self, scope: &Scope) -> Result<Vec<WayStatus>> {
        let places = Places::open(scope)?;
        let asked = |hook: &Hook| scope.hook.as_ref().is_none_or(|asked| asked.has(*hook));
        let status = |hook: Hook| HookStatus {
            hook,
            chains: self.met(hook, &places),
        };
        let way = |way: Way| WayStatus {
            way,
            hooks: Hook::all()
                .filter(|hook| hook.row().way == way && asked(hook))
                .map(status)
                .collect(),
        };
        Ok(Way::ALL.map(way).into())
    }

    /// What is at a hook of the places.
    fn met(&self, hook: Hook, places: &Places) -> Vec<ChainStatus> {
        let spots = match hook.row().kind {
            Kind::Interface => &places.interfaces[..],
            Kind::Namespace => std::slice::from_ref(&places.namespace),
            Kind::Cgroup => return self.met_in_cgroups(hook, &places.cgroups),
        };
        let status = |spot: &Spot| match self.chain(hook, spot.target()) {
            Some(chain) => Some(self.chain_status(chain, Some(spot))),
            None => self.others(hook, spot),
        };
        spots.iter().filter_map(status).collect()
    }

    /// What runs for a cgroup: the kernel says of all programs together in which order.
    fn met_in_cgroups(&self, hook: Hook, cgroups: &[Spot]) -> Vec<ChainStatus> {
        let Some(own @ Spot::Cgroup(cgroup)) = cgroups.first() else {
            return Vec::new();
        };
        let is_at = |spot: &Spot, path: &Path| match spot {
            Spot::Cgroup(cgroup) => cgroup.path() == path,
            Spot::Interface { .. } | Spot::Namespace(_) => false,
        };
        let helpers = self.helpers();
        let mut runs: Vec<(&Spot, Vec<u32>)> = Vec::new();
        let mut programs = foreign::of_cgroup(cgroup, hook.row().attach_type);
        programs.retain(|(id, _)| !helpers.contains(id));
        for (program, above) in programs {
            let above = above.and_then(|path| cgroups.iter().find(|spot| is_at(spot, &path)));
            let spot = above.unwrap_or(own);
            match runs.last_mut() {
                Some((last, run)) if last.target() == spot.target() => run.push(program),
                _ => runs.push((spot, vec![program])),
            }
        }
        let mut met: Vec<_> = runs
            .iter()
            .map(|(spot, run)| self.run_status(hook, spot, run))
            .collect();
        // Those that hang on a cgroup without being on its list.
        for spot in cgroups {
            let Some(chain) = self.chain(hook, spot.target()) else {
                continue;
            };
            let root = chain.anchor.root();
            if !runs.iter().any(|(_, run)| run.contains(&root)) {
                met.push(self.chain_status(chain, Some(spot)));
            }
        }
        met
    }

    /// Programs of one cgroup that run one after the other, nke's root among them or not.
    fn run_status(&self, hook: Hook, spot: &Spot, run: &[u32]) -> ChainStatus {
        let chain = self.chain(hook, spot.target());
        let root = chain.map(|chain| chain.anchor.root());
        let position = run.iter().position(|id| Some(*id) == root);
        let mut status = match chain.filter(|_| position.is_some()) {
            Some(chain) => self.chain_status(chain, Some(spot)),
            None => ChainStatus::bare(hook, spot),
        };
        let others = run.iter().enumerate().filter(|(_, id)| Some(**id) != root);
        status.foreign = others
            .map(|(nth, id)| {
                let before = position.is_some_and(|position| nth < position);
                foreign::on_list(*id, How::Cgroup, before)
            })
            .collect();
        status
    }
}
