//! Sockets that are there already when an extension is attached to their cgroup.
//!
//! An extension that asks for them has programs that the kernel runs over all sockets of a network
//! namespace. They are no nodes: they are loaded as they are when the extension has been attached, are
//! run once in every namespace that can be found, and are gone again. A socket belongs to the cgroup
//! and to the namespace that its maker was in then, so that neither leads to the other; the programs
//! look at the cgroup themselves, whose id is filled in as they are loaded.
//!
//! Attached first and shown afterwards: a socket of that moment is met by an event, or shown, or both.
//! Nothing here says which; what the extension keeps of a socket does.

use std::{os::fd::OwnedFd, path::Path};

use super::Control;
use crate::{
    error::{Error, Result},
    interface::Namespace,
    loader::{self, Maps},
    sys::iterator,
    target::Target,
};

impl Control {
    /// Runs an extension's iterators for the cgroup that it has been attached to, if it asks for
    /// that.
    ///
    /// # Errors
    ///
    /// Those of loading a program; [`Error::NoSymbol`], [`Error::NoNamespace`], [`Error::Kernel`].
    pub(super) fn show_existing(&self, kmid: u32, target: Target) -> Result<()> {
        let here = self.uses(kmid).filter(|(chain, _)| chain.target == target);
        let Some((chain, node)) = here.last() else {
            return Ok(());
        };
        let maps = chain.node_directory(node).join("maps");
        self.show_existing_with(kmid, target, &maps)
    }

    /// The same, with the maps of its own that lie in a directory.
    pub(super) fn show_existing_with(&self, kmid: u32, target: Target, maps: &Path) -> Result<()> {
        let Target::Cgroup { id } = target else {
            return Ok(());
        };
        let links = self.iterators(kmid, id, maps)?;
        if links.is_empty() {
            return Ok(());
        }
        for namespace in Namespace::all() {
            for (symbol, link) in &links {
                namespace
                    .within(|| iterator::run(link))?
                    .map_err(|source| failed(symbol, "run", source))?;
            }
        }
        Ok(())
    }

    fn iterators(&self, kmid: u32, cgroup: u64, maps: &Path) -> Result<Vec<(String, OwnedFd)>> {
        let source = self.source_of(kmid)?;
        if !source.object.manifest().existing {
            return Ok(Vec::new());
        }
        let own: Maps = self.state.maps(maps)?;
        let iterators = source.object.iterators()?.into_iter();
        let links = iterators.map(|over| {
            let linked = source.link(over.symbol, &own, Some(cgroup))?;
            let program = loader::load_iterator(source.object.name(), &over, &linked)?;
            let link = iterator::create(program)
                .map_err(|source| failed(over.symbol, "attach", source))?;
            Ok((over.symbol.to_owned(), link))
        });
        links.collect()
    }
}

fn failed(symbol: &str, stage: &'static str, source: std::io::Error) -> Error {
    Error::Kernel {
        object: format!("program {symbol}"),
        stage,
        source,
        remedy: "leave out existing from the manifest to do without",
    }
}
