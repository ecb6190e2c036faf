//! One map of a loaded extension, open: its entries read and written as text, by their types.
//!
//! A [`Map`] holds no lock and knows no extension but by name: what is read of it may be changed by
//! programs at any time. This module must never write what it cannot write whole.
//!
//! ```no_run
//! use nke::control::{Control, Scope};
//!
//! let control = Control::open("/run/nke".as_ref())?;
//! let Ok(counter) = "counter".parse();
//! let map = control.map(&counter, &Scope::default(), "FLOWS")?;
//! drop(control);
//! let mut walk = map.walk()?;
//! while let Some(entries) = walk.more()? {
//!     for entry in entries {
//!         println!("{:?}", entry.key);
//!     }
//! }
//! # Ok::<(), nke::error::Error>(())
//! ```

mod change;
mod kind;
mod walk;

use std::{io, os::fd::OwnedFd};

use serde::Serialize;

use self::kind::{Access, Kind};
pub use self::walk::Walk;
use crate::{
    error::{Error, Result},
    object::Variable,
    sys::{self, map::Described},
    value::{self, Literal, Type},
};

/// A map of a loaded extension, open.
#[derive(Debug)]
pub struct Map {
    extension: String,
    name: String,
    fd: OwnedFd,
    described: Described,
    kind: Kind,
    frozen: bool,
    key: Type,
    value: Type,
    /// The variables of a data section, which are its entries then.
    variables: Vec<Variable>,
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key, or a variable's name; a queue's has none.
    pub key: Option<Literal>,
    /// Its value, or one for each CPU.
    pub values: Values,
}

/// What an entry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// One value.
    One(Literal),
    /// One for each CPU, by their numbers.
    PerCpu(Vec<Literal>),
}

/// Whose a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// All attachments of the extension share it.
    Extension,
    /// Those to one target share it.
    Target,
    /// Each has its own.
    Attachment,
}

/// What can be said of a map without reading it. This is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct MapStatus {
    /// Its name; of a data section that.
    pub name: String,
    /// Its kind, as `bpftool` names it.
    pub kind: &'static str,
    /// The type of its keys; `null` where there are none.
    pub key: Option<String>,
    /// The type of its values; `null` where there are none, and of a data section, whose variables
    /// have each its own.
    pub value: Option<String>,
    /// How many variables it has, if it is a data section.
    pub variables: usize,
    /// Entries at most.
    pub max_entries: u32,
    /// Whether user space can change it no more.
    pub frozen: bool,
    /// Whose it is.
    pub owner: Owner,
    /// The attachments that it is of, if it is not the extension's.
    pub attachments: Vec<u32>,
    /// The kernel's id of it.
    pub id: u32,
}

impl Map {
    pub(crate) fn new(
        extension: &str,
        name: &str,
        fd: OwnedFd,
        (key, value): (Option<Type>, Option<Type>),
        variables: Vec<Variable>,
    ) -> Result<Self> {
        let asked = sys::map::describe(&fd).and_then(|d| Ok((d, sys::map::is_frozen(&fd)?)));
        let (described, frozen) = asked.map_err(|source| Error::Kernel {
            object: object(extension, name),
            stage: "query",
            source,
            remedy: "try again",
        })?;
        let kind = Kind::of(described.map_type);
        Ok(Self {
            key: key_type(&described, key),
            value: value_type(&described, kind, value),
            extension: extension.to_owned(),
            name: name.to_owned(),
            fd,
            kind,
            frozen,
            variables,
            described,
        })
    }

    /// What can be said of it without reading it.
    pub(crate) fn status(&self, owner: Owner, attachments: Vec<u32>) -> MapStatus {
        let is_section = !self.variables.is_empty();
        let key = (!is_section && self.described.key_size > 0).then(|| self.key.name.clone());
        MapStatus {
            name: self.name.clone(),
            kind: self.kind.name,
            key,
            value: (!is_section && self.described.value_size > 0).then(|| self.value.name.clone()),
            variables: self.variables.len(),
            max_entries: self.described.max_entries,
            frozen: self.frozen,
            owner,
            attachments,
            id: self.described.id,
        }
    }

    /// Whether its entries are variables of a data section.
    pub const fn is_section(&self) -> bool {
        !self.variables.is_empty()
    }

    /// The entries, many at a time.
    ///
    /// # Errors
    ///
    /// [`Error::MapUse`] where the kind has none to be seen.
    pub fn walk(&self) -> Result<Walk<'_>> {
        match self.kind.access {
            Access::Queue => {
                Err(self.refused("dump", "only its next value can be seen: use lookup"))
            }
            Access::Nothing(reason) => Err(self.refused("dump", reason)),
            Access::Sockets if self.described.value_size != 8 => {
                Err(self.refused("dump", NO_COOKIES))
            }
            Access::Entries | Access::Ids | Access::Sockets => Walk::new(self),
        }
    }

    /// One entry; a queue's next value.
    ///
    /// # Errors
    ///
    /// [`Error::NoEntry`], [`Error::Value`] for a key that is none, [`Error::MapUse`].
    pub fn lookup(&self, key: Option<&str>) -> Result<Entry> {
        const STAGE: &str = "lookup";
        match self.kind.access {
            Access::Nothing(reason) => return Err(self.refused(STAGE, reason)),
            Access::Sockets if self.described.value_size != 8 => {
                return Err(self.refused(STAGE, NO_COOKIES));
            }
            Access::Entries | Access::Ids | Access::Sockets | Access::Queue => {}
        }
        if self.is_section() {
            let variable = self.variable(self.wanted_key(STAGE, key)?)?;
            return Ok(variable_entry(variable, &self.section()?));
        }
        let bytes = self.key_bytes(STAGE, key)?;
        let mut value = vec![0; self.described.entry_size()];
        let found = sys::map::lookup_with(&self.fd, &bytes, &mut value, self.locks());
        if found.map_err(|source| self.failed(STAGE, source))? {
            Ok(self.entry(&bytes, &value))
        } else {
            Err(self.no_entry(STAGE, key))
        }
    }

    /// A key's bytes; none of a queue.
    fn key_bytes(&self, stage: &'static str, key: Option<&str>) -> Result<Vec<u8>> {
        match (self.kind.access, key) {
            (Access::Queue, None) => Ok(Vec::new()),
            (Access::Queue, Some(_)) => {
                Err(self.refused(stage, "it has no keys: leave the key out"))
            }
            (_, key) => {
                let key = self.wanted_key(stage, key)?;
                self.key
                    .parse(key)
                    .map_err(|source| self.not_a_value(stage, source))
            }
        }
    }

    fn wanted_key<'a>(&self, stage: &'static str, key: Option<&'a str>) -> Result<&'a str> {
        key.ok_or_else(|| self.refused(stage, "say which entry, by its key"))
    }

    fn variable(&self, name: &str) -> Result<&Variable> {
        let mut found = self
            .variables
            .iter()
            .filter(|variable| variable.name == name);
        found.next().ok_or_else(|| Error::NoMap {
            extension: object(&self.extension, &self.name),
            stage: "find variable",
            map: name.to_owned(),
            has: self.variables.iter().map(|v| v.name.clone()).collect(),
        })
    }

    /// All bytes of a data section.
    pub(crate) fn section(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.described.value_size as usize];
        sys::map::lookup(&self.fd, &0u32.to_ne_bytes(), &mut bytes)
            .map_err(|source| self.failed("read", source))?;
        Ok(bytes)
    }

    /// Whether its values are copied while their own spin lock is held.
    fn locks(&self) -> bool {
        self.value.has("bpf_spin_lock")
    }

    fn entry(&self, key: &[u8], value: &[u8]) -> Entry {
        let size = self.described.value_size as usize;
        let values = if self.described.is_per_cpu() {
            let each = value.chunks(size.next_multiple_of(8));
            let each = each.map(|one| self.value.decode(one.get(..size).unwrap_or(one)));
            Values::PerCpu(each.collect())
        } else {
            Values::One(self.value.decode(value))
        };
        let key = (self.described.key_size > 0).then(|| self.key.decode(key));
        Entry { key, values }
    }

    fn failed(&self, stage: &'static str, source: io::Error) -> Error {
        let remedy = match source.raw_os_error() {
            Some(libc::E2BIG) if kind::ARRAYS.contains(&self.described.map_type) => {
                "it has no entry of this number"
            }
            Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM) => "it is full: delete an entry first",
            Some(libc::EINVAL) => "it takes no such key, or no such change",
            _ => "it may be of a kind that allows no such thing",
        };
        Error::Kernel {
            object: object(&self.extension, &self.name),
            stage,
            source,
            remedy,
        }
    }

    fn refused(&self, stage: &'static str, reason: &'static str) -> Error {
        Error::MapUse {
            map: object(&self.extension, &self.name),
            stage,
            kind: self.kind.name,
            reason,
        }
    }

    fn not_a_value(&self, stage: &'static str, source: value::ValueError) -> Error {
        Error::Value {
            object: object(&self.extension, &self.name),
            stage,
            source: Box::new(source),
        }
    }

    fn no_entry(&self, stage: &'static str, key: Option<&str>) -> Error {
        Error::NoEntry {
            map: object(&self.extension, &self.name),
            stage,
            key: key.map(str::to_owned),
        }
    }
}

const NO_COOKIES: &str = "its values have 4 bytes, and the kernel shows sockets in 8 only";

fn object(extension: &str, map: &str) -> String {
    format!("{extension}: map {map}")
}

fn variable_entry(variable: &Variable, section: &[u8]) -> Entry {
    let range = variable.offset..variable.offset + variable.of.size;
    let bytes = section.get(range).unwrap_or_default();
    Entry {
        key: Some(Literal::Word(variable.name.clone())),
        values: Values::One(variable.of.decode(bytes)),
    }
}

/// The type of a map's keys: as it was declared, as far as that fits what the kernel says.
fn key_type(described: &Described, declared: Option<Type>) -> Type {
    let size = described.key_size as usize;
    if described.map_type == kind::LPM_TRIE && matches!(size, 8 | 20) {
        return Type::prefix(size);
    }
    let fits = declared.filter(|of| of.size == size);
    match fits {
        Some(of) => of,
        None if size == 4 && kind::ARRAYS.contains(&described.map_type) => Type::number(4),
        None => Type::opaque(size),
    }
}

fn value_type(described: &Described, kind: Kind, declared: Option<Type>) -> Type {
    let size = described.value_size as usize;
    match (kind.access, described.map_type) {
        (Access::Ids, _) if size == 4 => Type::number(4),
        (Access::Sockets, _) if size == 8 => Type::number(8),
        (_, map_type) if size == 8 && kind::DEVMAPS.contains(&map_type) => {
            Type::pair("struct bpf_devmap_val", "ifindex", "program")
        }
        (_, kind::CPUMAP) if size == 8 => Type::pair("struct bpf_cpumap_val", "qsize", "program"),
        _ => declared
            .filter(|of| of.size == size)
            .unwrap_or_else(|| Type::opaque(size)),
    }
}
