//! A loaded extension: its object and shared maps, as they lie in the state.
//!
//! Its kmid is the kernel's id of the map that holds the object's bytes: given by the kernel,
//! never used again until reboot, and gone when the extension is.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nke_ebpf::abi::Event;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    find::Found,
    holder::Users,
    loader::{self, Maps},
    object::{Identifier, Linked, Object},
    routine::{self, Routine},
    seal::{Level, refuse_from},
    state::State,
    sys::{self, map::Shape},
};

/// Which of the builds of an extension one is. Its directory has the extension's name and a sign that
/// no extension's name has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The one that is loaded.
    Current,
    /// The one that is taking its place: `~`.
    Successor,
    /// The one before it, which a rollback goes back to: `^`.
    Previous,
}

impl Build {
    const fn sign(self) -> &'static str {
        match self {
            Self::Current => "",
            Self::Successor => "~",
            Self::Previous => "^",
        }
    }

    pub(crate) fn pin_name(self, name: &str) -> String {
        format!("{name}{}", self.sign())
    }

    /// The extension's name, and which of its builds has this directory.
    fn parse(pin_name: &str) -> (&str, Self) {
        let signed = [Self::Successor, Self::Previous].into_iter();
        let mut signed =
            signed.filter_map(|build| Some((pin_name.strip_suffix(build.sign())?, build)));
        signed.next().unwrap_or((pin_name, Self::Current))
    }
}

/// How far a build has come that takes another's place by an upgrade or a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Takeover {
    /// It is being prepared, or put in force: killed then, the other stays or comes back.
    Begun,
    /// All of its attachments are in force; only its place in the state is left to take.
    InForce,
}

/// What is written of a loaded extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) path: PathBuf,
    /// Who asked for it by name, beyond its attachments.
    pub(crate) users: Users,
    /// While it is being unloaded, how many attachments it had: fewer are left, and the next
    /// command goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaving: Option<usize>,
    /// What is run when it has been loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<Routine>,
    /// What is run before it goes. An answer that is there is a veto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<Routine>,
    pub(crate) hooks: Vec<crate::hook::Hook>,
    pub(crate) description: String,
    pub(crate) identifier: Option<Identifier>,
    pub(crate) version: Version,
    /// Unless it is the version itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compatible_since: Option<Version>,
    /// What it needs, which stays loaded as long as it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<Needed>,
    /// How far it has come in taking another's place, if it does so by an upgrade or a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) takeover: Option<Takeover>,
}

/// A dependency of a loaded extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needed {
    /// The provider's kmid.
    pub(crate) kmid: u32,
    /// The versions of it that will do; any, if the user supplied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<VersionReq>,
    /// The maps of it that are used: pinned with the dependant's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) maps: Vec<String>,
}

/// What other extensions give to one that is loaded.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Who they are.
    pub(crate) needs: Vec<Needed>,
    /// The maps of theirs that it uses.
    pub(crate) shared: Maps,
}

impl Record {
    /// The oldest version that it can stand in for.
    pub(crate) fn compatible_since(&self) -> &Version {
        self.compatible_since.as_ref().unwrap_or(&self.version)
    }
}

/// What is to be loaded, and as what.
pub(crate) struct Load<'a> {
    pub(crate) object: &'a Object,
    pub(crate) path: &'a Path,
    pub(crate) users: Users,
    pub(crate) build: Build,
    pub(crate) takeover: Option<Takeover>,
    pub(crate) given: Given,
}

impl<'a> Load<'a> {
    /// An extension with maps of its own.
    pub(crate) fn new(object: &'a Object, path: &'a Path, users: Users, build: Build) -> Self {
        Self {
            object,
            path,
            users,
            build,
            takeover: None,
            given: Given::default(),
        }
    }
}

/// A loaded extension.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) build: Build,
    pub(crate) kmid: u32,
    /// Bytes of its object.
    pub(crate) size: u32,
    pub(crate) record: Record,
}

/// An extension, ready to have its programs linked.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) object: Object,
    maps: Maps,
}

impl Source {
    /// Reads a loaded extension's object and maps back.
    pub(crate) fn open(state: &State, extension: &Extension) -> Result<Self> {
        let directory = extension.directory(state);
        let bytes = read_file(state, &directory.join(OBJECT))?;
        let beside = read_beside(state, &directory)?;
        let object = Object::parse_beside(&extension.name, bytes, beside)?;
        Ok(Self {
            object,
            maps: extension.maps(state)?,
        })
    }

    /// A map that its attachments share.
    pub(crate) fn map(&self, name: &str) -> Option<&OwnedFd> {
        self.maps.get(name)
    }

    /// The maps that its attachments share.
    pub(crate) fn maps(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        self.maps.iter().map(|(name, map)| (name.as_str(), map))
    }

    /// The kernel's id of such a map.
    pub(crate) fn map_id(&self, name: &str) -> Option<u32> {
        Some(sys::map::describe(self.map(name)?).ok()?.id)
    }

    /// Makes the maps that a new attachment has of its own. Those of its target it takes from
    /// `beside`, the maps of another attachment of the extension there.
    pub(crate) fn make_attachment_maps(&self, mut beside: Maps) -> Result<Maps> {
        let manifest = self.object.manifest();
        beside.retain(|name, _| manifest.target_maps.contains(name));
        let mut maps = loader::make_maps(&self.object, |map| {
            manifest.own_maps().any(|name| name == map) && !beside.contains_key(map)
        })?;
        maps.append(&mut beside);
        Ok(maps)
    }

    /// Links a program to the shared maps and an attachment's own; one that is run for a cgroup, to
    /// its id.
    pub(crate) fn link(&self, symbol: &str, own: &Maps, cgroup: Option<u64>) -> Result<Linked> {
        let maps: BTreeMap<_, _> = self
            .maps
            .iter()
            .chain(own)
            .map(|(name, map)| (name.clone(), map.as_fd()))
            .collect();
        self.object.link_for(symbol, &maps, cgroup)
    }
}

/// The pin of the object's bytes.
const OBJECT: &str = "object";

/// The pin of the text of the manifest that lay beside the object's file.
const MANIFEST: &str = "manifest";

/// Keeps a file's bytes, in a map that nobody can change any more.
pub(crate) fn keep_file(state: &State, bytes: &[u8], name: &str, pin: &Path) -> Result<OwnedFd> {
    let failed = |source| Error::Kernel {
        object: name.to_owned(),
        stage: "keep the object",
        source,
        remedy: "check the memory that is free",
    };
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let map = sys::map::create(Shape::array("nke_object", size)).map_err(failed)?;
    sys::map::update(&map, &0u32.to_ne_bytes(), bytes)
        .and_then(|()| sys::map::freeze(&map))
        .map_err(failed)?;
    state.pin(&map, pin)?;
    Ok(map)
}

/// Reads what was kept.
pub(crate) fn read_file(state: &State, pin: &Path) -> Result<Vec<u8>> {
    let failed = |source| state.failed(pin, "read", source);
    let map = state.get(pin)?;
    let size = sys::map::describe(&map).map_err(failed)?.value_size;
    let mut bytes = vec![0; size as usize];
    sys::map::lookup(&map, &0u32.to_ne_bytes(), &mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn read_beside(state: &State, directory: &Path) -> Result<Option<Vec<u8>>> {
    let pin = directory.join(MANIFEST);
    state.has(&pin)?.then(|| read_file(state, &pin)).transpose()
}

/// Runs an object's init program, whose answer must be 0. Its maps are nobody else's yet, so that
/// nothing is left of a failure once they are gone.
fn initialise(object: &Object, maps: Maps) -> Result<Option<Routine>> {
    let Some(program) = object.manifest().init.clone() else {
        return Ok(None);
    };
    let source = Source {
        object: object.clone(),
        maps,
    };
    match routine::run(&source, &program, Event::Load)? {
        0 => Ok(Some(Routine {
            program,
            answer: Some(0),
        })),
        answer => Err(Error::InitFailed {
            name: object.name().to_owned(),
            program,
            answer: routine::in_words(answer),
        }),
    }
}

impl Extension {
    /// Loads an object: its bytes and its maps go into the state, and those of the extensions that
    /// it needs, which are made already. A successor lies beside the extension of its name until
    /// [`Extension::settle`].
    pub(crate) fn load(state: &State, load: Load<'_>) -> Result<Self> {
        refuse_from(Level::NoNewCode)?;
        let directory = state.extension(&load.build.pin_name(load.object.name()));
        let made = Self::make(state, load, &directory);
        if made.is_err() {
            // What cannot be removed now, the next command sweeps.
            let _: Result<()> = state.remove(&directory);
        }
        made
    }

    fn make(state: &State, load: Load<'_>, directory: &Path) -> Result<Self> {
        let Load {
            object,
            path,
            users,
            build,
            takeover,
            given,
        } = load;
        let name = object.name().to_owned();
        state.make_directory(directory)?;
        let bytes = keep_file(state, object.bytes(), &name, &directory.join(OBJECT))?;
        let described = sys::map::describe(&bytes).map_err(|source| Error::Kernel {
            object: name.clone(),
            stage: "query",
            source,
            remedy: "try again",
        })?;
        // A map holds no nothing, and an empty manifest says no more than none.
        if let Some(text) = object.beside().filter(|text| !text.is_empty()) {
            keep_file(state, text, &name, &directory.join(MANIFEST))?;
        }
        let own = |map: &str| object.manifest().own_maps().any(|name| name == map);
        let Given { needs, mut shared } = given;
        let made = |map: &str| !own(map) && !shared.contains_key(map);
        let mut maps = loader::make_maps(object, made)?;
        let filled: Vec<_> = maps.keys().cloned().collect();
        maps.append(&mut shared);
        state.pin_maps(&maps, &directory.join("maps"))?;
        loader::fill_maps(object, &maps, |map| filled.iter().any(|name| name == map))?;
        let init = initialise(object, maps)?;
        let exit = object.manifest().exit.as_deref().map(Routine::new);
        let record = Record {
            path: path.to_owned(),
            users,
            leaving: None,
            init,
            exit,
            hooks: object.hooks(),
            description: object.manifest().description.clone(),
            identifier: object.manifest().identifier.clone(),
            version: object.manifest().version.clone(),
            compatible_since: object.manifest().compatible_since.clone(),
            needs,
            takeover,
        };
        state.write_record(&directory.join("record"), &record)?;
        Ok(Self {
            name,
            build,
            kmid: described.id,
            size: described.value_size,
            record,
        })
    }

    pub(crate) fn directory(&self, state: &State) -> PathBuf {
        state.extension(&self.build.pin_name(&self.name))
    }

    /// The maps that its attachments share.
    pub(crate) fn maps(&self, state: &State) -> Result<Maps> {
        state.maps(&self.directory(state).join("maps"))
    }

    /// Reads the extension in a directory: `None` if it is not whole.
    pub(crate) fn read(state: &State, pin_name: &str) -> Result<Option<Self>> {
        let directory = state.extension(pin_name);
        let Some(record) = state.read_record(&directory.join("record"))? else {
            return Ok(None);
        };
        let pin = directory.join(OBJECT);
        let described = sys::map::describe(state.get(&pin)?)
            .map_err(|source| state.failed(&pin, "query", source))?;
        let (name, build) = Build::parse(pin_name);
        Ok(Some(Self {
            name: name.to_owned(),
            build,
            kmid: described.id,
            size: described.value_size,
            record,
        }))
    }

    /// All loaded extensions, after removing what killed commands left of others.
    pub(crate) fn sweep(state: &State) -> Result<Vec<Self>> {
        let mut extensions = Vec::new();
        for name in state.names(&state.extensions())? {
            match Self::read(state, &name)? {
                Some(extension) => {
                    state.sweep_record(&state.extension(&name))?;
                    extensions.push(extension);
                }
                None => state.remove(&state.extension(&name))?,
            }
        }
        extensions.sort_unstable_by_key(|extension| extension.kmid);
        Ok(extensions)
    }

    /// Whether it is exactly this file, with the manifest beside it.
    pub(crate) fn is(&self, state: &State, found: &Found) -> Result<bool> {
        let Found {
            name: _,
            path: _,
            bytes,
            manifest,
        } = found;
        let directory = self.directory(state);
        let same_size = usize::try_from(self.size).is_ok_and(|size| size == bytes.len());
        let manifest = manifest.as_deref().unwrap_or_default();
        Ok(same_size
            && read_file(state, &directory.join(OBJECT))? == *bytes
            && read_beside(state, &directory)?.unwrap_or_default() == manifest)
    }

    /// The bytes that it was loaded from, and those of the manifest that lay beside them.
    pub(crate) fn contents(&self, state: &State) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let directory = self.directory(state);
        let object = read_file(state, &directory.join(OBJECT))?;
        Ok((object, read_beside(state, &directory)?))
    }

    /// Changes what is written of it.
    pub(crate) fn edit(&mut self, state: &State, edit: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record.clone();
        edit(&mut record);
        state.write_record(&self.directory(state).join("record"), &record)?;
        self.record = record;
        Ok(())
    }

    /// Removes it, and the build before it.
    pub(crate) fn unload(&self, state: &State) -> Result<()> {
        self.remove(state)?;
        if self.build == Build::Current {
            Self::remove_previous(state, &self.name)?;
        }
        Ok(())
    }

    /// Removes the build before this extension's, if there is one.
    pub(crate) fn remove_previous(state: &State, name: &str) -> Result<()> {
        let previous = Self::read(state, &Build::Previous.pin_name(name))?;
        previous.map_or(Ok(()), |previous| previous.remove(state))
    }

    /// Where the maps are kept that attachments had before it, as long as it can be rolled back:
    /// by the attachment's id.
    pub(crate) fn before(&self, state: &State) -> PathBuf {
        self.directory(state).join("before")
    }

    /// Removes this build: its record first, so that half of it is never taken for whole.
    pub(crate) fn remove(&self, state: &State) -> Result<()> {
        let directory = self.directory(state);
        let record = directory.join("record");
        std::fs::remove_file(&record).map_err(|source| state.failed(&record, "remove", source))?;
        state.remove(&directory)
    }

    /// Takes over from the extension of its name, which is not used any more: its load count,
    /// and its place in the state. Killed between two steps, the next command goes on.
    pub(crate) fn settle(&mut self, state: &State, old: Option<&Self>) -> Result<()> {
        if let Some(old) = old {
            let users = old.record.users.clone();
            self.edit(state, |record| record.users = users)?;
            old.unload(state)?;
        }
        self.move_to(state, Build::Current)
    }

    /// Gives it another place in the state, which must be free.
    pub(crate) fn move_to(&mut self, state: &State, build: Build) -> Result<()> {
        let from = self.directory(state);
        state.rename(&from, &state.extension(&build.pin_name(&self.name)))?;
        self.build = build;
        Ok(())
    }
}
