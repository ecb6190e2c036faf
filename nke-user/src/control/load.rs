//! `load`: extensions held by name, and how any verb comes by the extension that it needs.

use super::{Control, ExtensionStatus, Scope};
use crate::{
    error::{Error, Result},
    extension::{Build, Extension, Record},
    find::{Found, Wanted, find, original},
    holder::{self, Users},
    object::{Identifier, Object},
    order::Selector,
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
        let present = self.meant(wanted).map(|found| found.kmid);
        match present {
            Some(kmid) => Ok((false, self.extension_status(kmid)?)),
            None => Ok((true, self.load(wanted)?)),
        }
    }

    /// Has an extension stay loaded whatever becomes of its attachments: loads it, or raises its load count, unless somebody
    /// has asked for it by name before; whether it has done so.
    ///
    /// # Errors
    ///
    /// As [`Control::load`].
    pub fn hold(&mut self, wanted: &Wanted) -> Result<(bool, ExtensionStatus)> {
        let held = self.meant(wanted);
        let held = held.filter(|found| found.record.users.count() > 0);
        match held.map(|found| found.kmid) {
            Some(kmid) => Ok((false, self.extension_status(kmid)?)),
            None => Ok((true, self.load(wanted)?)),
        }
    }

    /// Finds the extension that is wanted among those loaded, or loads it; `by` is who asks for it
    /// by name, which is counted. Its kmid is the result.
    pub(super) fn obtain(&mut self, wanted: &Wanted, by: Option<&str>) -> Result<u32> {
        let loaded = self.meant(wanted).map(|found| found.kmid);
        let Some(kmid) = loaded else {
            return self.bring_in(wanted, by, Build::Current);
        };
        if wanted.is_exact() {
            self.same(kmid, &find(wanted)?)?;
        }
        self.count(kmid, by)
    }

    /// The loaded extension that is meant: by its name, or by its identifier.
    pub(super) fn meant(&self, wanted: &Wanted) -> Option<&Extension> {
        let identified = |extension: &&Extension| {
            let identifier = extension.record.identifier.as_ref().map(Identifier::as_str);
            let of_copy = &extension.name[original(&extension.name).len()..];
            identifier.is_some_and(|it| wanted.identifier() == Some((it, of_copy)))
        };
        let named = self.extension(&wanted.name());
        named.or_else(|| self.extensions.iter().find(identified))
    }

    /// Refuses a file that is not what an extension was loaded from.
    fn same(&self, kmid: u32, found: &Found) -> Result<()> {
        match self.known(kmid) {
            Some(extension) if !extension.is(&self.state, found)? => Err(Error::NameClash {
                name: extension.name.clone(),
                path: extension.record.path.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a request for a loaded extension.
    fn count(&mut self, kmid: u32, by: Option<&str>) -> Result<u32> {
        let Some(extension) = self.known(kmid) else {
            return Ok(kmid);
        };
        let record = wanted_again(extension, by);
        if record != extension.record {
            self.edit(kmid, |old| *old = record)?;
        }
        Ok(kmid)
    }

    fn bring_in(&mut self, wanted: &Wanted, by: Option<&str>, build: Build) -> Result<u32> {
        self.bring_in_set(wanted, by, build, &[])
    }

    /// Loads an extension, whose settings begin with these values.
    pub(super) fn bring_in_set(
        &mut self,
        wanted: &Wanted,
        by: Option<&str>,
        build: Build,
        values: &[(String, String)],
    ) -> Result<u32> {
        let found = find(wanted)?;
        let name = found.name.clone();
        if name.is_empty() {
            // Its directory would be that of all extensions.
            return Err(Error::NoName { path: found.path });
        }
        // By its identifier, a file can be found whose name another has.
        if let Some(kmid) = self
            .extension(&name)
            .map(|e| e.kmid)
            .filter(|_| build != Build::Successor)
        {
            self.same(kmid, &found)?;
            self.set(&Selector::Name(name), &Scope::default(), values)?;
            return self.count(kmid, by);
        }
        let mut users = Users::default();
        by.into_iter().for_each(|user| users.add(user));
        let mut object = Object::parse_beside(&name, found.bytes, found.manifest)?;
        super::settings::preset(&mut object, values)?;
        self.load_all(&object, &found.path, users, build)
    }

    /// As [`Control::obtain`], for what takes the place of an attachment of the extension `old`: if
    /// that is all that `old` is used for, another object of its name may succeed it.
    pub(super) fn obtain_for(&mut self, old: u32, wanted: &Wanted) -> Result<u32> {
        let obtained = self.obtain(wanted, None);
        let same_name = |e: &Extension| e.kmid == old && e.name == wanted.name();
        let alone = self.extensions.iter().any(same_name) && self.use_count(old) == 1;
        match obtained {
            Err(Error::NameClash { .. }) if alone => self.bring_in(wanted, None, Build::Successor),
            obtained => obtained,
        }
    }

    /// Puts extensions in the place of those that they succeed.
    pub(super) fn settle(&mut self) -> Result<()> {
        let successors = self
            .extensions
            .iter()
            .filter(|e| e.build == Build::Successor && e.record.takeover.is_none());
        for mut successor in successors.cloned().collect::<Vec<_>>() {
            let is_old = |e: &&Extension| e.name == successor.name && e.build == Build::Current;
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

/// What is to be written of a loaded extension that is asked for once more.
pub(super) fn wanted_again(extension: &Extension, by: Option<&str>) -> Record {
    let mut record = extension.record.clone();
    by.into_iter().for_each(|user| record.users.add(user));
    // It is wanted again: the next time that nobody holds it, its exit program is asked anew.
    if let Some(exit) = &mut record.exit {
        exit.answer = None;
    }
    record
}
