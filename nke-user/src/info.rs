//! What is to be known of an extension before it is loaded: what it says of itself, and what its
//! object shows. Asks the kernel for nothing but its types; needs no privilege.
//!
//! ```no_run
//! let info = nke::info::Info::of(&"counter".parse().unwrap())?;
//! println!("{} {}", info.name, info.manifest.version);
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    error::Result,
    find::{Wanted, peek},
    hook::Hook,
    kernel::known::{self, Kind},
    object::{Manifest, Needs, Object},
};

/// An extension that need not be loaded. The shape is what `--json` prints, and stays as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The name that it would be loaded under.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub size: usize,
    /// Whether its manifest lies beside the file, and not in it.
    pub manifest_beside: bool,
    /// What it says of itself.
    pub manifest: Manifest,
    /// The licence that it tells the kernel.
    pub object_license: String,
    /// The hooks that its programs serve.
    pub hooks: Vec<Hook>,
    /// Its maps.
    pub maps: Vec<MapInfo>,
    /// What it needs from the kernel.
    pub needs: Needs,
}

/// A map of an object.
#[derive(Clone, Debug, Serialize)]
pub struct MapInfo {
    /// Its name.
    pub name: String,
    /// Its type, as `enum bpf_map_type` has it; a number if it is not known.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
}

impl Info {
    /// Finds an extension's file and reads it.
    ///
    /// # Errors
    ///
    /// Those of finding and parsing an object, but none of what the running kernel lacks.
    pub fn of(wanted: &Wanted) -> Result<Self> {
        let found = peek(wanted)?;
        let size = found.bytes.len();
        let manifest_beside = found.manifest.is_some();
        let object = Object::read(&wanted.name(), found.bytes, found.manifest)?;
        let maps = object.maps().map(|(name, map)| MapInfo {
            name: name.to_owned(),
            kind: known::name(Kind::Map, map.map_type())
                .map_or_else(|| format!("#{}", map.map_type()), str::to_owned),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
        });
        Ok(Self {
            name: object.name().to_owned(),
            path: found.path,
            size,
            manifest_beside,
            manifest: object.manifest().clone(),
            object_license: object.license().into_owned(),
            hooks: object.hooks(),
            maps: maps.collect(),
            needs: object.needs(),
        })
    }
}
