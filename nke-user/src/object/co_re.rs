//! The kernel's types that an object speaks of, and asks to be fitted to (CO-RE): the relocations
//! of its section `.BTF.ext`.
//!
//! aya-obj carries them out and keeps them to itself; here they are only read. A malformed table
//! says nothing.

use super::btf::{KIND_ARRAY, KIND_STRUCT, KIND_UNION, Types, u32_at};

/// Something of a kernel type that an object uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    /// The type's name, without what libbpf calls its flavour.
    pub(super) name: String,
    /// Its kind (Documentation/bpf/btf.rst).
    pub(super) kind: u32,
    /// The member of it.
    pub(super) member: Option<String>,
    /// Whether it is only asked for, so that a kernel without it will do.
    pub(super) weak: bool,
}

// enum bpf_core_relo_kind, uapi/linux/bpf.h
const FIELD_EXISTS: u32 = 2;
const LAST_OF_FIELD: u32 = 5;
const TYPE_ID_LOCAL: u32 = 6;
const TYPE_EXISTS: u32 = 8;
const ENUMVAL_EXISTS: u32 = 10;
const TYPE_MATCHES: u32 = 12;

/// A record's bytes, of those fields that are known here.
const RECORD: usize = 16;

/// The uses in `.BTF.ext`, whose types and names are in `.BTF`: each once.
pub(super) fn uses(btf: &[u8], ext: &[u8]) -> Vec<Use> {
    let mut found = Types::parse(btf)
        .and_then(|types| all(&types, ext))
        .unwrap_or_default();
    found.sort();
    // What is needed at one place does not become optional by being asked for at another.
    found.dedup_by(|later, first| {
        let same =
            (&later.name, later.kind, &later.member) == (&first.name, first.kind, &first.member);
        same && !first.weak || later == first
    });
    found
}

fn all(types: &Types<'_>, ext: &[u8]) -> Option<Vec<Use>> {
    let header = u32_at(ext, 4)? as usize;
    // Objects of before CO-RE have a shorter header.
    if header < 32 {
        return Some(Vec::new());
    }
    let start = header.checked_add(u32_at(ext, 24)? as usize)?;
    let end = start.checked_add(u32_at(ext, 28)? as usize)?;
    let table = ext.get(start..end).filter(|table| !table.is_empty())?;
    let size = u32_at(table, 0)? as usize;
    let mut found = Vec::new();
    let mut at = 4;
    while size >= RECORD && at < table.len() {
        let count = u32_at(table, at + 4)? as usize;
        at += 8;
        let records = table.get(at..at.checked_add(count.checked_mul(size)?)?)?;
        found.extend(
            records
                .chunks_exact(size)
                .filter_map(|record| read(types, record)),
        );
        at += records.len();
    }
    Some(found)
}

fn read(types: &Types<'_>, record: &[u8]) -> Option<Use> {
    let (id, path, kind) = (u32_at(record, 4)?, u32_at(record, 8)?, u32_at(record, 12)?);
    if kind == TYPE_ID_LOCAL {
        return None;
    }
    let id = types.bare(id)?;
    let member = (kind <= LAST_OF_FIELD)
        .then(|| member(types, id, types.string(path)?))
        .flatten();
    Some(Use {
        name: plain(types.name_of(id)?)?,
        kind: types.kind(id)?,
        member,
        weak: matches!(
            kind,
            FIELD_EXISTS | TYPE_EXISTS | ENUMVAL_EXISTS | TYPE_MATCHES
        ),
    })
}

/// The name without a flavour: `sk_buff___old` is the kernel's `sk_buff`. A name that cannot be
/// printed is none.
fn plain(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?;
    let name = name.split_once("___").map_or(name, |(name, _)| name);
    let fine = !name.is_empty() && !name.chars().any(char::is_control);
    fine.then(|| name.to_owned())
}

/// The first member with a name on an access path, such as `0:3:1`: the first number counts whole
/// types, each further one a member, or an element.
fn member(types: &Types<'_>, mut id: u32, path: &[u8]) -> Option<String> {
    let path = str::from_utf8(path).ok()?;
    for step in path.split(':').skip(1) {
        id = types.bare(id)?;
        match types.kind(id)? {
            KIND_STRUCT | KIND_UNION => {
                let (name, inner) = types.member(id, step.parse().ok()?)?;
                if !name.is_empty() {
                    return plain(name);
                }
                id = inner;
            }
            KIND_ARRAY => (id, _) = types.array(id)?,
            _ => return None,
        }
    }
    None
}
