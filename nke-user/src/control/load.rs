//! `load` and `unload`: extensions held by name.

use super::{Control, ExtensionStatus};
use crate::{
    error::{Error, Result},
    extension::Extension,
    find::{Wanted, find},
    object::Object,
};

impl Control {
    /// Loads an extension, or raises the load count of one that is loaded.
    ///
    /// # Errors
    ///
    /// Those of finding and parsing an object, and [`Error::NameClash`].
    pub fn load(&mut self, wanted: &Wanted) -> Result<ExtensionStatus> {
        let kmid = self.obtain(wanted, 1)?;
        self.extension_status(kmid)
    }

    /// Finds the extension that is wanted among those loaded, or loads it with this load count;
    /// a count above zero is added to that of a loaded one. Its kmid is the result.
    pub(super) fn obtain(&mut self, wanted: &Wanted, loads: u32) -> Result<u32> {
        let name = wanted.name();
        let loaded = self
            .extensions
            .iter()
            .position(|extension| extension.name == name);
        if let Some(position) = loaded {
            let extension = &mut self.extensions[position];
            if let Wanted::Path(_) = wanted
                && !extension.is(&self.state, &find(wanted)?)?
            {
                let path = extension.record.path.clone();
                return Err(Error::NameClash { name, path });
            }
            if loads > 0 {
                let count = extension.record.loads.saturating_add(loads);
                extension.set_loads(&self.state, count)?;
            }
            return Ok(extension.kmid);
        }
        self.bring_in(wanted, loads, false)
    }

    fn bring_in(&mut self, wanted: &Wanted, loads: u32, successor: bool) -> Result<u32> {
        let found = find(wanted)?;
        let name = wanted.name();
        if name.is_empty() {
            // Its directory would be that of all extensions.
            return Err(Error::NoName { path: found.path });
        }
        let object = Object::parse_beside(&name, found.bytes, found.manifest)?;
        let extension = Extension::load(&self.state, &object, &found.path, loads, successor)?;
        let kmid = extension.kmid;
        self.extensions.push(extension);
        Ok(kmid)
    }

    /// As [`Control::obtain`], for what takes the place of an attachment of the extension `old`: if
    /// that is all that `old` is used for, another object of its name may succeed it.
    pub(super) fn obtain_for(&mut self, old: u32, wanted: &Wanted) -> Result<u32> {
        let obtained = self.obtain(wanted, 0);
        let same_name = |e: &Extension| e.kmid == old && e.name == wanted.name();
        let alone = self.extensions.iter().any(same_name) && self.uses(old).count() == 1;
        match obtained {
            Err(Error::NameClash { .. }) if alone => self.bring_in(wanted, 0, true),
            obtained => obtained,
        }
    }

    /// Puts extensions in the place of those that they succeed.
    pub(super) fn settle(&mut self) -> Result<()> {
        let successors = self.extensions.iter().filter(|e| e.successor);
        for mut successor in successors.cloned().collect::<Vec<_>>() {
            let is_old = |e: &&Extension| e.name == successor.name && !e.successor;
            let old = self.extensions.iter().find(is_old).cloned();
            successor.settle(&self.state, old.as_ref())?;
            let gone = old.map(|old| old.kmid);
            self.extensions
                .retain(|e| Some(e.kmid) != gone && e.kmid != successor.kmid);
            self.extensions.push(successor);
        }
        Ok(())
    }

    /// Lowers an extension's load count; at zero it goes, unless it is in use.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoaded`], [`Error::InUse`].
    pub fn unload(&mut self, name: &str) -> Result<u32> {
        let Some(extension) = self.extension(name) else {
            return Err(Error::NotLoaded {
                name: name.to_owned(),
                stage: "unload",
            });
        };
        let (kmid, loads) = (extension.kmid, extension.record.loads);
        if loads > 1 {
            let state = &self.state;
            for extension in self.extensions.iter_mut().filter(|e| e.kmid == kmid) {
                extension.set_loads(state, loads - 1)?;
            }
            return Ok(loads - 1);
        }
        let holders: Vec<_> = self
            .uses(kmid)
            .map(|(c, node)| self.describe(c, node))
            .collect();
        if !holders.is_empty() {
            return Err(Error::InUse {
                name: name.to_owned(),
                holders,
            });
        }
        extension.unload(&self.state)?;
        self.extensions.retain(|extension| extension.kmid != kmid);
        Ok(0)
    }
}
