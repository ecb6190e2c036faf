//! What the extensions of a declaration are: as they are loaded, or as their files have them.
//!
//! Reads files and the state, and changes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use crate::{
    control::Control,
    declare::Origin,
    error::{Error, Result},
    extension::Source,
    find::{Wanted, find},
    object::Object,
};

/// An extension's object: as it is loaded, or as its file has it.
pub(in crate::control) enum Body {
    Loaded(Rc<Source>),
    File(Box<Object>),
}

impl Body {
    pub(in crate::control) fn object(&self) -> &Object {
        match self {
            Self::Loaded(source) => &source.object,
            Self::File(object) => object,
        }
    }
}

/// An extension as it is declared.
pub(in crate::control) struct Named {
    /// How it is asked for, the first time.
    pub(in crate::control) wanted: Wanted,
    /// Where that is.
    pub(in crate::control) origin: Origin,
    pub(in crate::control) body: Rc<Body>,
}

/// Objects: by their extensions' names, and by how they are asked for.
#[derive(Default)]
pub(in crate::control) struct Bodies {
    pub(super) named: BTreeMap<String, Named>,
    spelt: HashMap<String, (String, Rc<Body>)>,
}

impl Control {
    /// The name and the object of an extension, read once.
    pub(in crate::control) fn body(
        &self,
        bodies: &mut Bodies,
        wanted: &Wanted,
        origin: &Origin,
    ) -> Result<(String, Rc<Body>)> {
        let spelt = wanted.to_string();
        if let Some(known) = bodies.spelt.get(&spelt) {
            return Ok(known.clone());
        }
        let (name, body) = match self.meant(wanted) {
            Some(extension) if !wanted.is_exact() => {
                let source = self.source_of(extension.kmid);
                let name = extension.name.clone();
                source.map(|source| (name, Rc::new(Body::Loaded(source))))
            }
            _ => self.body_of_file(bodies, wanted),
        }
        .map_err(|error| origin.blame(error))?;
        bodies.named.entry(name.clone()).or_insert_with(|| Named {
            wanted: wanted.clone(),
            origin: origin.clone(),
            body: Rc::clone(&body),
        });
        bodies.spelt.insert(spelt, (name.clone(), Rc::clone(&body)));
        Ok((name, body))
    }

    /// What a file holds, which must be what is loaded or declared under its name.
    fn body_of_file(&self, bodies: &Bodies, wanted: &Wanted) -> Result<(String, Rc<Body>)> {
        let found = find(wanted)?;
        let name = found.name.clone();
        if let Some(extension) = self.extension(&name) {
            if extension.is(&self.state, &found)? {
                let source = self.source_of(extension.kmid)?;
                return Ok((name, Rc::new(Body::Loaded(source))));
            }
            let path = extension.record.path.clone();
            return Err(Error::NameClash { name, path });
        }
        if let Some(known) = bodies.named.get(&name) {
            if known.body.object().bytes() == found.bytes {
                return Ok((name, Rc::clone(&known.body)));
            }
            let path = known.wanted.to_string().into();
            return Err(Error::NameClash { name, path });
        }
        let object = Object::parse_beside(&name, found.bytes, found.manifest)?;
        Ok((name, Rc::new(Body::File(Box::new(object)))))
    }
}
