//! `list`, `show` and `chain`: what is, as the kernel has it.

use super::{ChainStatus, Control, Counts, ExtensionStatus, NeedStatus, NodeStatus, Policy, Scope};
use crate::{
    chain::{Anchor, Chain, Node, Role},
    counters,
    error::{Error, Result},
    extension::{Extension, Needed},
    foreign,
    hook::Hook,
    target::Spot,
};

impl Control {
    /// All loaded extensions, in the order of their kmids.
    pub fn extensions(&self) -> Vec<ExtensionStatus> {
        self.extensions
            .iter()
            .map(|extension| self.status_of(extension))
            .collect()
    }

    fn status_of(&self, extension: &Extension) -> ExtensionStatus {
        let Extension {
            name,
            build: _,
            kmid,
            size,
            record,
        } = extension.clone();
        ExtensionStatus {
            kmid,
            name,
            loads: record.users.count(),
            uses: self.use_count(kmid),
            holders: self.holders(kmid),
            opt_in: self
                .uses(kmid)
                .filter(|(_, node)| node.record.opt_in)
                .count(),
            size,
            path: record.path,
            hooks: record.hooks,
            description: record.description,
            identifier: record.identifier,
            version: record.version,
            needs: record
                .needs
                .iter()
                .filter_map(|needed| self.need(needed))
                .collect(),
            init: record.init,
            exit: record.exit,
        }
    }

    fn need(&self, needed: &Needed) -> Option<NeedStatus> {
        let Needed { kmid, range, maps } = needed;
        let provider = self.known(*kmid)?;
        Some(NeedStatus {
            kmid: *kmid,
            name: provider.name.clone(),
            identifier: provider.record.identifier.clone(),
            version: provider.record.version.clone(),
            range: range.as_ref().map(ToString::to_string),
            maps: maps.clone(),
        })
    }

    pub(super) fn extension_status(&self, kmid: u32) -> Result<ExtensionStatus> {
        let extension = self.known(kmid);
        let not_loaded = || Error::NotLoaded {
            name: kmid.to_string(),
            stage: "read back",
        };
        Ok(self.status_of(extension.ok_or_else(not_loaded)?))
    }

    /// The chains in a scope. For a place that is named, also hooks where nke has no chain but
    /// others have programs.
    ///
    /// # Errors
    ///
    /// [`Error::NoInterface`], [`Error::NoNamespace`], [`Error::NoCgroup`].
    pub fn chains(&self, scope: &Scope) -> Result<Vec<ChainStatus>> {
        let place = scope.resolve()?;
        let chains = self.chains.iter().filter(|chain| place.has(chain));
        let mut chains: Vec<_> = chains.map(|chain| self.found_status(chain)).collect();
        if let Some(place) = scope.named() {
            let spot = place.open()?;
            let asked = |hook: &Hook| scope.hook.as_ref().is_none_or(|asked| asked.has(*hook));
            for hook in Hook::all()
                .filter(|hook| hook.row().kind == place.kind())
                .filter(asked)
            {
                if self.chain(hook, spot.target()).is_none() {
                    chains.extend(self.others(hook, &spot));
                }
            }
            chains.sort_by_key(|chain| chain.hook);
        }
        Ok(chains)
    }

    /// nke's own chains in a scope: as [`Control::chains`], but nobody is asked for others' programs, nor for counters.
    ///
    /// # Errors
    ///
    /// As [`Control::chains`].
    pub fn own_chains(&self, scope: &Scope) -> Result<Vec<ChainStatus>> {
        let place = scope.resolve()?;
        let chains = self.chains.iter().filter(|chain| place.has(chain));
        let own = |chain| self.own_status(chain, Spot::find(chain.target).as_ref(), |_, _| None);
        Ok(chains.map(own).collect())
    }

    /// A hook that only others have programs on.
    pub(super) fn others(&self, hook: Hook, spot: &Spot) -> Option<ChainStatus> {
        let foreign = foreign::programs(hook, spot, None, &self.programs());
        let bare = ChainStatus::bare(hook, spot);
        (!foreign.is_empty()).then_some(ChainStatus { foreign, ..bare })
    }

    /// nke's own programs that the kernel calls: the roots, and those by which chains work from
    /// other hooks than their own.
    fn programs(&self) -> Vec<u32> {
        let roots = self.chains.iter().map(|chain| chain.anchor.root());
        roots.chain(self.helpers()).collect()
    }

    /// The programs by which chains work from other hooks than their own.
    pub(super) fn helpers(&self) -> Vec<u32> {
        let anchors = self.chains.iter().map(|chain| &chain.anchor);
        anchors.filter_map(Anchor::helper).collect()
    }

    /// A chain's status, of whatever it is attached to now.
    fn found_status(&self, chain: &Chain) -> ChainStatus {
        self.chain_status(chain, Spot::find(chain.target).as_ref())
    }

    pub(super) fn chain_status(&self, chain: &Chain, spot: Option<&Spot>) -> ChainStatus {
        let own = Some(chain.anchor.own());
        let foreign = spot.map(|spot| foreign::programs(chain.hook, spot, own, &self.programs()));
        ChainStatus {
            foreign: foreign.unwrap_or_default(),
            ..self.own_status(chain, spot, |chain, node| self.counts(chain, node))
        }
    }

    fn own_status(
        &self,
        chain: &Chain,
        spot: Option<&Spot>,
        counts: impl Fn(&Chain, &Node) -> Option<(Counts, Counts)>,
    ) -> ChainStatus {
        let Chain {
            hook,
            target,
            anchor,
            ..
        } = chain;
        let policy = if chain.drops() {
            Policy::Drop
        } else {
            Policy::Pass
        };
        let nodes = (1..).zip(&chain.nodes).filter_map(|(n, node)| {
            let counts = node.record.counters.then(|| counts(chain, node)).flatten();
            status_of_node(n, node, counts)
        });
        let mut status = match spot {
            Some(spot) => ChainStatus::bare(*hook, spot),
            None => ChainStatus::lost(*hook, *target),
        };
        status.mode = Some(anchor.mode);
        status.netfilter = anchor.netfilter;
        status.policy = policy;
        status.nodes = nodes.collect();
        let claims = chain.claims();
        status.claims = claims.map(|(name, _)| name.to_owned()).collect();
        status
    }

    /// Packets and bytes, summed over the CPUs.
    fn counts(&self, chain: &Chain, node: &Node) -> Option<(Counts, Counts)> {
        let map = self
            .state
            .get(&chain.node_directory(node).join("counters"))
            .ok()?;
        let [go_on, dropped, other, rest @ ..] = counters::sums(&map).ok()?;
        let packets = Counts {
            go_on,
            dropped,
            other,
        };
        let [go_on, dropped, other] = rest;
        Some((
            packets,
            Counts {
                go_on,
                dropped,
                other,
            },
        ))
    }
}

/// An attachment with its packets and bytes; nothing of a node that is nke's own.
fn status_of_node(
    position: usize,
    node: &Node,
    counts: Option<(Counts, Counts)>,
) -> Option<NodeStatus> {
    let Role::Extension { name, kmid, symbol } = &node.record.role else {
        return None;
    };
    Some(NodeStatus {
        position,
        id: node.record.id,
        extension: name.clone(),
        kmid: *kmid,
        program: symbol.clone(),
        priority: node.record.priority,
        program_id: node.program,
        fast_path_id: node.fast.as_ref().map(|fast| fast.program),
        form: node.record.form,
        opt_in: node.record.opt_in,
        enabled: node.record.enabled,
        packets: counts.map(|(packets, _)| packets),
        bytes: counts.map(|(_, bytes)| bytes),
    })
}
