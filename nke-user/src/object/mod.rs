//! A BPF object file: what it holds, and its programs linked to a set of maps.
//!
//! aya-obj does the parsing and the relocating; this module adds what it lacks (libbpf's section
//! names, kernel functions and variables) and turns whatever a hostile file makes of it into an
//! error. Nothing here changes the kernel but [`Linked::btf`], which is loaded type information.
//!
//! ```no_run
//! use nke::object::Object;
//!
//! let object = Object::parse("counter", std::fs::read("counter.o").unwrap())?;
//! for program in object.programs() {
//!     println!("{} in {}", program.symbol, program.section);
//! }
//! # Ok::<(), nke::error::Error>(())
//! ```

pub(crate) mod btf;
mod choose;
mod co_re;
mod define;
mod elf;
mod externs;
mod guard;
mod initial;
pub(crate) mod kconfig;
mod kernel_types;
mod layout;
mod link;
mod manifest;
mod needs;
mod optional;
mod reach;
mod rename;
mod serving;
mod settings;
mod shared;
mod variables;

use std::{collections::BTreeMap, error::Error as StdError, sync::OnceLock};

use aya_obj::{
    btf::{Btf, BtfFeatures},
    generated::bpf_map_type,
};

use self::btf::Types;
use self::externs::{LOAD_IMM64, instructions_at, missing};
use self::guard::guarded;
use self::kconfig::Kconfig;
use self::manifest::Facts;
pub(crate) use self::manifest::LONGEST as LONGEST_MANIFEST;
pub use self::needs::{Need, Needs, ProgramNeeds};
pub(crate) use self::{
    btf::packet_length_offset,
    choose::Iteration,
    initial::{Initial, Value},
    kernel_types::{Function, Place, function, place},
    optional::has_helper,
    settings::{Preset, Settable},
    shared::map_difference,
    variables::Variable,
};
pub use self::{
    elf::Program,
    link::Linked,
    manifest::{
        Dependency, Feature, Identifier, Manifest, ManifestHook, MapRule, Migrate, RecordKind,
        Requires, Setting, SettingType, SettingValue, satisfies,
    },
};
use crate::{
    error::{Error, Result},
    hook::Hook,
    kernel::Version,
    value::Type,
};

/// A parsed object.
#[derive(Clone, Debug)]
pub struct Object {
    name: String,
    bytes: Vec<u8>,
    beside: Option<Vec<u8>>,
    programs: Vec<Program>,
    externs: Vec<elf::Extern>,
    calls: reach::Calls,
    extern_maps: Vec<String>,
    manifest: Manifest,
    initials: Vec<Initial>,
    kconfig: Kconfig,
    parsed: aya_obj::Object,
    /// Bytes that its maps begin with, by map and place, other than the file's.
    presets: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
}

/// What is wrong with an object that could be parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flaws {
    /// Sections of code that are no kind of program.
    pub(crate) unknown_sections: Vec<String>,
    /// What is wrong with the manifest, in words.
    pub(crate) manifest: Vec<String>,
}

/// An error with its causes, on one line.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Reads the manifest of an object's bytes, or else the text beside it, and looks at nothing more;
/// what is wrong with it in words.
pub(crate) fn manifest_of(bytes: &[u8], beside: Option<&[u8]>) -> Result<Manifest, String> {
    let own = elf::manifest(bytes)?;
    match beside {
        Some(text) if own.is_empty() => Manifest::read(text),
        Some(_) | None => Manifest::read(&own),
    }
}

impl Object {
    /// Parses an object that brings its manifest itself, or has none. `name` stands for it in
    /// messages.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnObject`], [`Error::UnknownSection`], [`Error::NoSymbol`],
    /// [`Error::ConfigType`], [`Error::Manifest`].
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::parse_beside(name, bytes, None)
    }

    /// Parses an object, with the text of the manifest that lies beside it, if one does.
    ///
    /// # Errors
    ///
    /// As [`Object::parse`]; [`Error::Manifest`] if it has one of its own too.
    pub fn parse_beside(name: &str, bytes: Vec<u8>, beside: Option<Vec<u8>>) -> Result<Self> {
        let object = Self::read(name, bytes, beside)?;
        object.refuse_cgroup_storage()?;
        // One program that this kernel can run is use enough for an object.
        let lacks = |program: &Program| object.externs_of(program.section_index).find_map(missing);
        let mut lacking = object.programs.iter().map(lacks);
        match lacking.next().flatten() {
            Some(first) if lacking.all(|symbol| symbol.is_some()) => {
                Err(object.no_kernel_symbol(first))
            }
            _ => Ok(object),
        }
    }

    /// Parses an object for whatever kernel.
    ///
    /// # Errors
    ///
    /// As [`Object::parse_beside`], but those of the running kernel.
    pub fn read(name: &str, bytes: Vec<u8>, beside: Option<Vec<u8>>) -> Result<Self> {
        let (object, flaws) = Self::examine(name, bytes, beside)?;
        if let Some(section) = flaws.unknown_sections.into_iter().next() {
            let object = name.to_owned();
            return Err(Error::UnknownSection { object, section });
        }
        match flaws.manifest.join("; ") {
            cause if cause.is_empty() => Ok(object),
            cause => Err(Error::Manifest {
                object: name.to_owned(),
                cause,
            }),
        }
    }

    /// Parses an object, and tells all that is wrong with it beside.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnObject`], [`Error::ConfigType`]: then nothing more can be said of it.
    pub(crate) fn examine(
        name: &str,
        bytes: Vec<u8>,
        beside: Option<Vec<u8>>,
    ) -> Result<(Self, Flaws)> {
        let elf::Elf {
            bytes: renamed,
            programs,
            externs,
            calls,
            extern_maps,
            initials,
            kconfig,
            manifest,
            unknown: unknown_sections,
        } = elf::read(name, &bytes)?;
        let bad = |cause| Error::NotAnObject {
            object: name.to_owned(),
            cause,
        };
        let mut parsed = guarded(|| aya_obj::Object::parse(&renamed))
            .ok_or_else(|| bad("malformed ELF: contents".to_owned()))?
            .map_err(|error| bad(causes(&error)))?;
        guarded(|| parsed.fixup_and_sanitize_btf(btf_features()).map(drop))
            .ok_or_else(|| bad("malformed BTF".to_owned()))?
            .map_err(|error| bad(causes(&error)))?;
        let facts = Facts {
            has_map: &|map| parsed.maps.contains_key(map),
            serves: &|hook| programs.iter().any(|p| p.hooks.contains(&hook)),
            is_syscall: &|symbol| {
                let mut named = programs.iter().filter(|p| p.symbol == symbol);
                named.any(Program::is_syscall)
            },
            iterates: programs.iter().any(Program::is_iterator),
        };
        let (manifest, mut problems) = Manifest::examine(&manifest, beside.as_deref(), &facts);
        let mut object = Self {
            name: name.to_owned(),
            bytes,
            beside,
            programs,
            externs,
            calls,
            extern_maps,
            manifest,
            initials,
            kconfig,
            parsed,
            presets: BTreeMap::new(),
        };
        problems.extend(object.preset_defaults());
        let flaws = Flaws {
            unknown_sections,
            manifest: problems,
        };
        Ok((object, flaws))
    }

    /// The kernel keeps such a map's values with the one program that is attached, and no node is
    /// (`bpf_get_local_storage`, kernel/bpf/cgroup.c; since 6.17 `__bpf_prog_map_compatible`,
    /// kernel/bpf/core.c, keeps such programs out of program arrays).
    pub(crate) fn refuse_cgroup_storage(&self) -> Result<()> {
        const KINDS: [u32; 2] = [
            bpf_map_type::BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED as u32,
            bpf_map_type::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED as u32,
        ];
        let refused = self.maps().find(|(_, map)| KINDS.contains(&map.map_type()));
        refused.map_or(Ok(()), |(name, _)| {
            Err(Error::Relocation {
                object: self.name.clone(),
                stage: "load",
                cause: format!(
                    "map {name} is cgroup storage of the old kind, which chains cannot have"
                ),
                remedy: "use BPF_MAP_TYPE_CGRP_STORAGE (Linux 6.2) or BPF_MAP_TYPE_SK_STORAGE",
            })
        })
    }

    fn no_kernel_symbol(&self, symbol: &str) -> Error {
        Error::NoSymbol {
            object: self.name.clone(),
            symbol: symbol.to_owned(),
        }
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The licence that it tells the kernel.
    pub fn license(&self) -> std::borrow::Cow<'_, str> {
        self.parsed.license.to_string_lossy()
    }

    /// The text of the manifest that lay beside the file.
    pub(crate) fn beside(&self) -> Option<&[u8]> {
        self.beside.as_deref()
    }

    /// Its programs, of any kind.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The hooks that it serves, in their order.
    pub fn hooks(&self) -> Vec<Hook> {
        let serves = |hook: &Hook| self.programs.iter().any(|p| p.hooks.contains(hook));
        Hook::all().filter(serves).collect()
    }

    /// The slots of its maps that it fills itself.
    pub(crate) fn initials(&self) -> &[Initial] {
        &self.initials
    }

    /// What it asks of the kernel's configuration.
    pub(crate) const fn kconfig(&self) -> &Kconfig {
        &self.kconfig
    }

    /// Whether a program takes packets of several buffers. One that tail-calls others of the
    /// object must agree with them, and these are loaded once, for chains of either kind.
    pub(crate) fn takes_frags(&self, symbol: &str) -> bool {
        let calls = self
            .initials
            .iter()
            .any(|i| matches!(i.value, Value::Program(_)));
        !calls
            && self
                .programs
                .iter()
                .any(|program| program.symbol == symbol && program.frags)
    }

    /// Its maps in the order of their names, as aya-obj describes them.
    pub(crate) fn maps(&self) -> impl Iterator<Item = (&str, &aya_obj::Map)> {
        let maps = self.parsed.maps.iter();
        let mut maps: Vec<_> = maps.map(|(name, map)| (name.as_str(), map)).collect();
        maps.sort_unstable_by_key(|(name, _)| *name);
        maps.into_iter()
    }

    /// The types of a map's keys and values, as far as they are declared.
    pub(crate) fn map_types(&self, name: &str) -> (Option<Type>, Option<Type>) {
        let (Some(aya_obj::Map::Btf(map)), Some(btf)) = (self.parsed.maps.get(name), self.btf())
        else {
            return (None, None);
        };
        let types = Types::parse(&btf);
        let of = |id| types.as_ref().and_then(|types| Type::of(types, id));
        (of(map.def.btf_key_type_id), of(map.def.btf_value_type_id))
    }

    /// The types of the keys and values of the maps in a map of maps.
    pub(crate) fn inner_types(&self, name: &str) -> (Option<Type>, Option<Type>) {
        let inner = self.parsed.maps.get(name).and_then(aya_obj::Map::inner);
        let (Some(aya_obj::Map::Btf(map)), Some(btf)) = (inner, self.btf()) else {
            return (None, None);
        };
        let types = Types::parse(&btf);
        let of = |id| types.as_ref().and_then(|types| Type::of(types, id));
        (of(map.def.btf_key_type_id), of(map.def.btf_value_type_id))
    }

    /// The variables of its data sections.
    pub(crate) fn variables(&self) -> Vec<Variable> {
        let is_map = |section: &str| self.parsed.maps.contains_key(section);
        variables::read(&self.bytes, self.btf().as_deref(), is_map)
    }

    /// The maps that it only names: those of extensions that it depends on.
    pub fn extern_maps(&self) -> &[String] {
        &self.extern_maps
    }

    /// The map of this name, as aya-obj describes it.
    fn map_named(&self, name: &str) -> Option<&aya_obj::Map> {
        self.parsed.maps.get(name)
    }

    /// Whether a map is a section of global variables.
    pub(crate) fn is_data(&self, map: &str) -> bool {
        let map = self.map_named(map);
        map.is_some_and(|map| map.symbol_index().is_none())
    }

    /// The functions and variables of the kernel that it needs, and whether this one has them.
    pub(crate) fn kernel_symbols(&self) -> BTreeMap<&str, bool> {
        let symbols = self.externs.iter().filter(|reference| !reference.weak);
        let has = |reference| missing(reference).is_none();
        symbols
            .map(|reference| (reference.symbol.as_str(), has(reference)))
            .collect()
    }

    /// Its type information, as it goes to the kernel.
    pub(crate) fn btf(&self) -> Option<Vec<u8>> {
        self.parsed.btf.as_ref().map(Btf::to_bytes)
    }
}

/// What the kernel knows of BTF. Asking takes a tenth of an attachment's time, and from 6.0 on it
/// knows all that aya can leave out: enum64 came last.
fn btf_features() -> &'static BtfFeatures {
    static ALL: BtfFeatures = BtfFeatures::new(true, true, true, true, true, true, true, true);
    static NONE: OnceLock<BtfFeatures> = OnceLock::new();
    if Version::running() >= Version::new(6, 0) {
        return &ALL;
    }
    let asked = aya::features().btf();
    asked.unwrap_or_else(|| NONE.get_or_init(BtfFeatures::default))
}
