//! Where the running kernel keeps things: the arguments of its functions, the members of its
//! structures. A program that nke writes itself is made for these, as an object is by CO-RE.
//!
//! This module must never guess: what the kernel does not describe is not there.
//!
//! ```ignore
//! let hook = function("bpf_lsm_sb_umount")?;
//! assert_eq!(hook.parameter("flags"), Some((1, 4)));
//! let device = place("super_block", "s_dev")?;
//! ```

use super::btf::{
    KIND_ENUM, KIND_FUNC, KIND_INT, KIND_PTR, KIND_STRUCT, KIND_UNION, Types, u32_at,
};

/// How long an address is.
const ADDRESS: u32 = 8;

/// A function of the kernel.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its id among the kernel's types, as `attach_btf_id` takes it.
    pub(crate) id: u32,
    /// Its parameters in their order: the name, and how many bytes it has.
    parameters: Vec<(&'static [u8], u32)>,
}

impl Function {
    /// Which parameter has this name, from 0, and how many bytes it has.
    pub(crate) fn parameter(&self, name: &str) -> Option<(usize, u32)> {
        let mut all = self.parameters.iter().enumerate();
        let (at, (_, size)) = all.find(|(_, (other, _))| *other == name.as_bytes())?;
        Some((at, *size))
    }
}

/// Where a member of a structure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In bytes, from the structure's start.
    pub(crate) offset: u32,
    /// In bytes.
    pub(crate) size: u32,
}

/// A function by its name. `None` if the kernel has none, or shows no types.
pub(crate) fn function(name: &str) -> Option<Function> {
    let types = Types::of_kernel()?;
    let id = types.find(KIND_FUNC, name.as_bytes())?;
    let prototype = types.refers_to(id)?;
    let record = types.record(prototype)?;
    let count = (u32_at(record, 4)? & 0xffff) as usize;
    let parameter = |nth: usize| {
        let name = types.string(u32_at(record, 12 + 8 * nth)?)?;
        let size = size(types, u32_at(record, 16 + 8 * nth)?)?;
        Some((name, size))
    };
    let parameters: Option<_> = (0..count).map(parameter).collect();
    Some(Function {
        id,
        parameters: parameters?,
    })
}

/// A member by its structure's (or union's) name and its own; of a structure within, both with a
/// dot between: `place("mnt_namespace", "ns.inum")`.
pub(crate) fn place(structure: &str, member: &str) -> Option<Place> {
    let types = Types::of_kernel()?;
    let find = |kind| types.find(kind, structure.as_bytes());
    let mut id = find(KIND_STRUCT).or_else(|| find(KIND_UNION))?;
    let mut offset = 0;
    for name in member.split('.') {
        offset += types.member_offset(id, name.as_bytes())?;
        id = types.bare(member_type(types, id, name.as_bytes(), 4)?)?;
    }
    Some(Place {
        offset,
        size: size(types, id)?,
    })
}

/// The type of a member, which may be in a structure without a name.
fn member_type(types: &Types<'_>, id: u32, name: &[u8], depth: u32) -> Option<u32> {
    if !matches!(types.kind(id)?, KIND_STRUCT | KIND_UNION) {
        return None;
    }
    let mut members = types.members(id)?.into_iter();
    members.find_map(|member| {
        if member.name == name {
            Some(member.id)
        } else if depth > 0 && member.name.is_empty() {
            member_type(types, member.id, name, depth - 1)
        } else {
            None
        }
    })
}

/// How many bytes a value of a type has. A structure counts as 0: it is no value.
fn size(types: &Types<'_>, id: u32) -> Option<u32> {
    let bare = types.bare(id)?;
    Some(match types.kind(bare)? {
        KIND_PTR => ADDRESS,
        KIND_INT | KIND_ENUM => types.refers_to(bare)?,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernels_own() {
        // Without types there is nothing to test.
        if Types::of_kernel().is_none() {
            return;
        }
        let mode = place("inode", "i_mode").expect("every inode has a mode");
        assert_eq!(mode.size, 2);
        let file = place("mm_struct", "exe_file").expect("within a structure without a name");
        assert_eq!(file.size, ADDRESS);
        let number = place("mnt_namespace", "ns.inum").expect("within a structure with a name");
        assert_eq!(number.size, 4);
        assert_eq!(place("inode", "no_such_member"), None);
        assert_eq!(place("no_such_structure", "x"), None);
        let remove = function("vfs_rmdir").expect("a directory can be removed");
        assert_eq!(remove.parameter("no_such_parameter"), None);
        assert!(function("no_such_function").is_none());
    }
}
