//! Who holds an extension, and what becomes of one that nobody does.

use nke_ebpf::abi::Event;

use super::{Control, ExtensionStatus, Holder, place};
use crate::{
    chain::{Chain, Node},
    error::{Error, Result},
    extension::{Build, Extension, Record, Source},
    find::Wanted,
    order::Selector,
    routine,
};

/// What an extension's exit program answered, if it does not want it to go.
fn vetoed(extension: &Extension) -> Option<i32> {
    extension.record.exit.as_ref()?.answer
}

/// Writes down that the exit program does not want the extension to go.
pub(super) fn note_veto(record: &mut Record, answer: i32) {
    if let Some(exit) = &mut record.exit {
        exit.answer = Some(answer);
    }
}

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
        // An exit program holds what nobody else does.
        if holders.is_empty()
            && let Some(answer) = self.known(kmid).and_then(vetoed)
        {
            holders.push(Holder::Exit { answer });
        }
        holders
    }

    /// How many attachments and extensions hold an extension: its use count.
    pub(super) fn use_count(&self, kmid: u32) -> usize {
        self.uses(kmid).count() + self.dependants(kmid).len()
    }

    /// Unloads extensions that nobody asked for by name, and that nothing uses (any more): dependants
    /// first, and then what only they needed. One whose exit program has a veto stays, until
    /// somebody unloads it by name.
    pub(super) fn unload_unused(&mut self) -> Result<()> {
        self.reread_all()?;
        while let Some(kmid) = self.unused() {
            match self.ask_to_go(kmid, Event::Unload)? {
                None => self.remove(kmid)?,
                Some(answer) => self.edit(kmid, |record| note_veto(record, answer))?,
            }
        }
        Ok(())
    }

    /// An extension that nobody holds. With the last that needs another, that one may follow.
    fn unused(&self) -> Option<u32> {
        let unused = |e: &&Extension| {
            let idle = e.record.users.count() == 0 && self.use_count(e.kmid) == 0;
            idle && vetoed(e).is_none()
        };
        self.extensions.iter().find(unused).map(|e| e.kmid)
    }

    /// Runs an extension's exit program, if it has one. What it answers that is not well is a veto.
    pub(super) fn ask_to_go(&self, kmid: u32, event: Event) -> Result<Option<i32>> {
        let exit = self
            .known(kmid)
            .and_then(|e| Some((e, e.record.exit.as_ref()?)));
        let Some((extension, exit)) = exit else {
            return Ok(None);
        };
        let source = Source::open(&self.state, extension)?;
        let answer = routine::run(&source, &exit.program, event)?;
        Ok((answer != 0).then_some(answer))
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
