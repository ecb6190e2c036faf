//! `load`: extensions held by name, and how any verb comes by the extension that it needs.

use super::{Control, ExtensionStatus};
use crate::{
    error::{Error, Result},
    extension::Extension,
    find::{Wanted, find},
    holder::{self, Users},
    object::Object,
};

impl Control {
    /// Loads an extension, or raises the load count of one that is loaded.
    ///
    /// # Errors
    ///
    /// Those of finding and parsing an object, [`Error::Unmet`] and [`Error::NameClash`].
    pub fn load(&mut self, wanted: &Wanted) -> Result<ExtensionStatus> {
        let kmid = self.obtain(wanted, Some(&holder::caller()))?;
        self.extension_status(kmid)
    }

    /// Loads an extension that is not loaded yet; whether it has done so. What is loaded is not
    /// counted once more.
    ///
    /// # Errors
    ///
    /// As [`Control::load`].
    pub fn load_if_absent(&mut self, wanted: &Wanted) -> Result<(bool, ExtensionStatus)> {
        let present = self.extension(&wanted.name()).map(|found| found.kmid);
        match present {
            Some(kmid) => Ok((false, self.extension_status(kmid)?)),
            None => Ok((true, self.load(wanted)?)),
        }
    }

    /// Finds the extension that is wanted among those loaded, or loads it; `by` is who asks for it
    /// by name, which is counted. Its kmid is the result.
    pub(super) fn obtain(&mut self, wanted: &Wanted, by: Option<&str>) -> Result<u32> {
        let name = wanted.name();
        let loaded = self
            .extensions
            .iter()
            .position(|extension| extension.name == name);
        if let Some(position) = loaded {
            let extension = &mut self.extensions[position];
            if !matches!(wanted, Wanted::Name(_)) && !extension.is(&self.state, &find(wanted)?)? {
                let path = extension.record.path.clone();
                return Err(Error::NameClash { name, path });
            }
            if let Some(user) = by {
                extension.edit(&self.state, |record| record.users.add(user))?;
            }
            return Ok(extension.kmid);
        }
        let mut users = Users::default();
        by.into_iter().for_each(|user| users.add(user));
        self.bring_in(wanted, users, false)
    }

    fn bring_in(&mut self, wanted: &Wanted, users: Users, successor: bool) -> Result<u32> {
        let found = find(wanted)?;
        let name = wanted.name();
        if name.is_empty() {
            // Its directory would be that of all extensions.
            return Err(Error::NoName { path: found.path });
        }
        let object = Object::parse_beside(&name, found.bytes, found.manifest)?;
        object.refuse_unmet()?;
        let extension = Extension::load(&self.state, &object, &found.path, users, successor)?;
        let kmid = extension.kmid;
        self.extensions.push(extension);
        Ok(kmid)
    }

    /// As [`Control::obtain`], for what takes the place of an attachment of the extension `old`: if
    /// that is all that `old` is used for, another object of its name may succeed it.
    pub(super) fn obtain_for(&mut self, old: u32, wanted: &Wanted) -> Result<u32> {
        let obtained = self.obtain(wanted, None);
        let same_name = |e: &Extension| e.kmid == old && e.name == wanted.name();
        let alone = self.extensions.iter().any(same_name) && self.uses(old).count() == 1;
        match obtained {
            Err(Error::NameClash { .. }) if alone => self.bring_in(wanted, Users::default(), true),
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
}
