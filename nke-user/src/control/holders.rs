//! Who holds an extension, and what becomes of one that nobody does.

use super::{Control, ExtensionStatus, Holder, place};
use crate::{
    chain::{Chain, Node},
    error::{Error, Result},
    extension::{Build, Extension},
    find::Wanted,
    order::Selector,
};

impl Control {
    /// The loaded extension of this name, identifier or kmid.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], and no other: so it is told from a question that went wrong.
    pub fn query(&self, which: &Selector) -> Result<ExtensionStatus> {
        let found = match which {
            Selector::Id(kmid) => self.known(*kmid),
            Selector::Name(name) => self.meant(&Wanted::Name(name.clone())),
        };
        let not_loaded = || Error::NotLoaded {
            name: which.to_string(),
            stage: "query",
        };
        self.extension_status(found.ok_or_else(not_loaded)?.kmid)
    }

    /// The attachments of an extension.
    pub(super) fn uses(&self, kmid: u32) -> impl Iterator<Item = (&Chain, &Node)> {
        let nodes = self
            .chains
            .iter()
            .flat_map(|c| c.attachments().map(move |node| (c, node)));
        nodes.filter(move |(_, node)| node.record.role.kmid() == Some(kmid))
    }

    /// Everybody who holds an extension: those who asked for it by name, its attachments, the
    /// extensions that need it.
    pub(super) fn holders(&self, kmid: u32) -> Vec<Holder> {
        let users = self.known(kmid).into_iter();
        let mut holders: Vec<_> = users.flat_map(|e| e.record.users.holders()).collect();
        holders.extend(self.uses(kmid).map(|(chain, node)| Holder::Attachment {
            id: node.record.id,
            hook: chain.hook,
            place: place(chain),
        }));
        holders.extend(self.dependants(kmid));
        holders
    }

    /// How many attachments and extensions hold an extension: its use count.
    pub(super) fn use_count(&self, kmid: u32) -> usize {
        self.uses(kmid).count() + self.dependants(kmid).len()
    }

    /// Unloads extensions that nobody asked for by name, and that nothing uses (any more): dependants
    /// first, and then what only they needed.
    pub(super) fn unload_unused(&mut self) -> Result<()> {
        let unused = |control: &Self| {
            let unused =
                |e: &&Extension| e.record.users.count() == 0 && control.use_count(e.kmid) == 0;
            control.extensions.iter().find(unused).map(|e| e.kmid)
        };
        while let Some(kmid) = unused(self) {
            self.remove(kmid)?;
        }
        Ok(())
    }

    /// Removes an extension that nothing uses.
    pub(super) fn remove(&mut self, kmid: u32) -> Result<()> {
        if let Some(extension) = self.known(kmid) {
            extension.unload(&self.state)?;
            let (name, build) = (extension.name.clone(), extension.build);
            // With it goes the version before it.
            self.previous
                .retain(|e| e.name != name || build != Build::Current);
        }
        self.sources.borrow_mut().remove(&kmid);
        self.extensions.retain(|extension| extension.kmid != kmid);
        Ok(())
    }
}
