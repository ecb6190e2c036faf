//! The little of BTF (Documentation/bpf/btf.rst) that nke reads and edits itself, because
//! aya-obj keeps its types private.

mod maps;

use std::{fmt, ops::Range, sync::OnceLock};

/// Where the running kernel shows its types.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

pub(crate) const KIND_INT: u32 = 1;
pub(crate) const KIND_PTR: u32 = 2;
pub(crate) const KIND_ARRAY: u32 = 3;
pub(crate) const KIND_STRUCT: u32 = 4;
pub(crate) const KIND_UNION: u32 = 5;
pub(crate) const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
pub(crate) const KIND_TYPEDEF: u32 = 8;
pub(crate) const KIND_VOLATILE: u32 = 9;
pub(crate) const KIND_CONST: u32 = 10;
pub(crate) const KIND_RESTRICT: u32 = 11;
pub(super) const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
pub(super) const KIND_VAR: u32 = 14;
pub(crate) const KIND_DATASEC: u32 = 15;
pub(crate) const KIND_FLOAT: u32 = 16;

/// The highest of the linkages that a variable can have.
const VAR_EXTERN: u32 = 2;
const VAR_GLOBAL: u32 = 1;
pub(crate) const KIND_TYPE_TAG: u32 = 18;
pub(crate) const KIND_ENUM64: u32 = 19;

/// A member of a structure or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    /// Its type.
    pub(super) id: u32,
    /// In bits; of a bit field, with how many it has in the highest byte.
    pub(super) offset: u32,
}

impl fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(self.name);
        let bits = self.offset & 0xff_ffff;
        if bits.is_multiple_of(8) {
            write!(f, "{name} at byte {}", bits / 8)
        } else {
            write!(f, "{name} at bit {bits}")
        }
    }
}

/// Type information, as bytes of this machine's byte order.
pub(crate) struct Types<'a> {
    bytes: &'a [u8],
    /// Where each type's record starts; type 1 is the first.
    starts: Vec<usize>,
    end: usize,
    strings: usize,
}

/// The word at so many bytes.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

/// How long a type's record is, by its kind and its number of members.
const fn length(kind: u32, members: usize) -> usize {
    12 + match kind {
        KIND_INT | KIND_VAR | 17 => 4, // 17: DECL_TAG
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * members,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * members,
        _ => 0,
    }
}

impl Types<'static> {
    /// The running kernel's types, if it shows any. To find one takes a few milliseconds, a
    /// tenth of what aya's whole model of them takes.
    pub(super) fn of_kernel() -> Option<&'static Self> {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        static TYPES: OnceLock<Option<Types<'static>>> = OnceLock::new();
        let bytes = || std::fs::read(KERNEL).unwrap_or_default();
        TYPES
            .get_or_init(|| Types::parse(BYTES.get_or_init(bytes)))
            .as_ref()
    }
}

/// At how many bytes of the kernel's `struct sk_buff` its `len` is.
pub(crate) fn packet_length_offset() -> Option<u32> {
    let types = Types::of_kernel()?;
    types.member_offset(types.find(KIND_STRUCT, b"sk_buff")?, b"len")
}

impl<'a> Types<'a> {
    /// Finds the records. `None` if the BTF is malformed.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = u32_at(bytes, 4)? as usize;
        let mut at = header.checked_add(u32_at(bytes, 8)? as usize)?;
        let end = at.checked_add(u32_at(bytes, 12)? as usize)?;
        let strings = header.checked_add(u32_at(bytes, 16)? as usize)?;
        let mut starts = Vec::new();
        while at < end {
            starts.push(at);
            let info = u32_at(bytes, at + 4)?;
            let kind = (info >> 24) & 0x1f;
            // aya-obj takes this word for one of its enum's values, whatever it is.
            if kind == KIND_VAR && u32_at(bytes, at + 12)? > VAR_EXTERN {
                return None;
            }
            at = at.checked_add(length(kind, (info & 0xffff) as usize))?;
        }
        Some(Self {
            bytes,
            starts,
            end,
            strings,
        })
    }

    fn start(&self, id: u32) -> Option<usize> {
        self.starts
            .get(usize::try_from(id).ok()?.checked_sub(1)?)
            .copied()
    }

    pub(crate) fn kind(&self, id: u32) -> Option<u32> {
        Some((u32_at(self.bytes, self.start(id)? + 4)? >> 24) & 0x1f)
    }

    /// The third word of a record: the type that it refers to, or its size.
    pub(crate) fn refers_to(&self, id: u32) -> Option<u32> {
        u32_at(self.bytes, self.start(id)? + 8)
    }

    /// A type's record, with whatever comes behind it.
    pub(crate) fn record(&self, id: u32) -> Option<&'a [u8]> {
        self.bytes.get(self.start(id)?..)
    }

    /// How many types there are.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        1..=u32::try_from(self.starts.len()).unwrap_or_default()
    }

    fn name(&self, record: usize) -> Option<&'a [u8]> {
        self.string(u32_at(self.bytes, record)?)
    }

    /// The text at so many bytes of all texts.
    pub(crate) fn string(&self, at: u32) -> Option<&'a [u8]> {
        let at = self.strings.checked_add(at as usize)?;
        self.bytes.get(at..)?.split(|byte| *byte == 0).next()
    }

    /// The type of a kind with this name.
    pub(super) fn find(&self, kind: u32, name: &[u8]) -> Option<u32> {
        let is_it = |start: usize| {
            let info = u32_at(self.bytes, start + 4)?;
            Some((info >> 24) & 0x1f == kind && self.has_name(start, name))
        };
        let mut records = (1..).zip(&self.starts);
        let (id, _) = records.find(|(_, start)| is_it(**start) == Some(true))?;
        Some(id)
    }

    /// Whether a record has this name, without looking for the name's end.
    fn has_name(&self, record: usize, name: &[u8]) -> bool {
        u32_at(self.bytes, record)
            .and_then(|at| self.bytes.get(self.strings.checked_add(at as usize)?..))
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// At how many bytes of a struct its member of this name is, which must not be a bit field, but
    /// may be in a struct or union without a name.
    pub(super) fn member_offset(&self, id: u32, name: &[u8]) -> Option<u32> {
        self.member_within(id, name, 4)
    }

    fn member_within(&self, id: u32, name: &[u8], depth: u32) -> Option<u32> {
        let start = self.start(id)?;
        if !matches!(self.kind(id)?, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let members = (u32_at(self.bytes, start + 4)? & 0xffff) as usize;
        let mut members = (0..members).map(|nth| start + 12 + 12 * nth);
        members.find_map(|member| {
            let inner = if self.has_name(member, name) {
                0
            } else if depth > 0 && u32_at(self.bytes, member)? == 0 {
                self.member_within(u32_at(self.bytes, member + 4)?, name, depth - 1)?
            } else {
                return None;
            };
            let bits = u32_at(self.bytes, member + 8)?;
            (bits % 8 == 0 && bits < 1 << 24).then_some(bits / 8 + inner)
        })
    }

    /// The name and the type of a struct's or union's member, by its number from 0.
    pub(super) fn member(&self, id: u32, nth: usize) -> Option<(&'a [u8], u32)> {
        let start = self.start(id)?;
        let members = (u32_at(self.bytes, start + 4)? & 0xffff) as usize;
        let member = start + 12 + 12 * Some(nth).filter(|nth| *nth < members)?;
        Some((self.name(member)?, u32_at(self.bytes, member + 4)?))
    }

    /// Whether a struct or union has a member of this name, bit fields too.
    pub(super) fn has_member(&self, id: u32, name: &[u8], depth: u32) -> bool {
        let named = |(member, inner): (&[u8], u32)| {
            member == name
                || member.is_empty() && depth > 0 && self.has_member(inner, name, depth - 1)
        };
        let compound = matches!(self.kind(id), Some(KIND_STRUCT | KIND_UNION));
        compound && (0..).map_while(|nth| self.member(id, nth)).any(named)
    }

    /// Whether an enumeration of this name has this value.
    pub(super) fn has_value(&self, enumeration: &[u8], value: &[u8]) -> Option<bool> {
        let start = self.start(self.find(KIND_ENUM, enumeration)?)?;
        let values = (u32_at(self.bytes, start + 4)? & 0xffff) as usize;
        let mut values = (0..values).map(|nth| start + 12 + 8 * nth);
        Some(values.any(|entry| self.has_name(entry, value)))
    }

    /// A type's name.
    pub(crate) fn name_of(&self, id: u32) -> Option<&'a [u8]> {
        self.name(self.start(id)?)
    }

    /// How an integer is encoded: bit 0 signed, bit 1 a character, bit 2 a `_Bool`.
    pub(super) fn encoding(&self, integer: u32) -> Option<u32> {
        Some((u32_at(self.bytes, self.start(integer)? + 12)? >> 24) & 0xf)
    }

    /// An array's element type and their number.
    pub(crate) fn array(&self, array: u32) -> Option<(u32, usize)> {
        let start = self.start(array)?;
        let element = u32_at(self.bytes, start + 12)?;
        Some((element, u32_at(self.bytes, start + 20)? as usize))
    }

    /// The members of a structure or union, in their order.
    pub(super) fn members(&self, id: u32) -> Option<Vec<Member<'a>>> {
        let start = self.start(id)?;
        let count = (u32_at(self.bytes, start + 4)? & 0xffff) as usize;
        let records = (0..count).map(|nth| start + 12 + 12 * nth);
        let member = |record: usize| {
            Some(Member {
                name: self.name(record)?,
                id: u32_at(self.bytes, record + 4)?,
                offset: u32_at(self.bytes, record + 8)?,
            })
        };
        records.map(member).collect()
    }

    /// A type without the names and qualifiers around it.
    pub(crate) fn bare(&self, mut id: u32) -> Option<u32> {
        // A malformed file can name a type after itself.
        for _ in 0..self.starts.len() {
            let (KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG) =
                self.kind(id)?
            else {
                return Some(id);
            };
            id = self.refers_to(id)?;
        }
        None
    }

    /// The variables that a section holds.
    pub(super) fn section_variables(&self, section: &str) -> Vec<u32> {
        let is_it = |id: u32, start: usize| {
            self.kind(id) == Some(KIND_DATASEC) && self.name(start) == Some(section.as_bytes())
        };
        let mut records = (1..).zip(&self.starts);
        let Some((_, start)) = records.find(|(id, start)| is_it(*id, **start)) else {
            return Vec::new();
        };
        let members = u32_at(self.bytes, start + 4).map_or(0, |info| info & 0xffff);
        (0..members as usize)
            .filter_map(|nth| u32_at(self.bytes, start + 12 + 12 * nth))
            .filter(|id| self.kind(*id) == Some(KIND_VAR))
            .collect()
    }

    fn range(&self) -> Range<usize> {
        self.starts.first().copied().unwrap_or(self.end)..self.end
    }
}

/// Appends a copy of FUNC `id` with static linkage; its id is the result. `None` if there is no
/// such FUNC, or the BTF is malformed.
///
/// A body that becomes a subprogram needs it. The verifier checks a *global* function on its
/// own, by its BTF argument types, which for a main function need not make sense; a *static* one
/// is checked as part of its caller.
pub(super) fn add_static_copy(btf: &mut Vec<u8>, id: u32) -> Option<u32> {
    let types = Types::parse(btf)?;
    if types.kind(id)? != KIND_FUNC {
        return None;
    }
    let copy = [
        u32_at(btf, types.start(id)?)?,
        KIND_FUNC << 24,
        types.refers_to(id)?,
    ];
    let new = u32::try_from(types.starts.len() + 1).ok()?;
    let end = types.range().end;
    btf.splice(end..end, copy.into_iter().flat_map(u32::to_ne_bytes));
    // The strings follow the types (that is how aya-obj writes them): they move.
    for field in [12, 16] {
        let value = u32_at(btf, field)?.checked_add(12)?;
        btf.get_mut(field..field + 4)?
            .copy_from_slice(&value.to_ne_bytes());
    }
    Some(new)
}

#[cfg(test)]
pub(in crate::object::btf) mod tests {
    use super::*;

    pub(super) fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn a_static_copy_goes_behind_the_types() {
        let header = [0x0001_eb9f, 24, 0, 24, 24, 4];
        // 1: FUNC_PROTO without parameters; 2: FUNC of global linkage; then the strings.
        let types = [0, 13 << 24, 0, 1, 12 << 24 | 1, 1];
        let mut btf = words(&[&header[..], &types, &[0]].concat());
        assert_eq!(add_static_copy(&mut btf, 2), Some(3));
        let grown = [0x0001_eb9f, 24, 0, 36, 36, 4];
        assert_eq!(
            btf,
            words(&[&grown[..], &types, &[1, 12 << 24, 1], &[0]].concat())
        );
        assert_eq!(add_static_copy(&mut btf, 1), None);
    }

    #[test]
    fn a_variable_has_a_linkage_that_there_is() {
        let check = |linkage, is| {
            let header = [0x0001_eb9f, 24, 0, 16, 16, 1];
            let variable = [0, 14 << 24, 0, linkage];
            let btf = words(&[&header[..], &variable, &[0]].concat());
            assert_eq!(Types::parse(&btf).is_some(), is, "{linkage}");
        };
        check(0, true);
        check(2, true);
        check(3, false);
        check(u32::MAX, false);
    }

    #[test]
    fn members_have_offsets() {
        let strings = *b"\0head\0len\0lens\0";
        // 1: INT; 2: STRUCT lens { len }; 3: STRUCT len { head; len }.
        let types = [
            &[0, 1 << 24, 4, 32][..],
            &[10, 4 << 24 | 1, 4, 6, 1, 0],
            &[6, 4 << 24 | 2, 8, 1, 1, 0, 6, 1, 32],
        ]
        .concat();
        let length = u32::try_from(4 * types.len()).unwrap();
        let header = [0x0001_eb9f, 24, 0, length, length, 15];
        let btf = [words(&header), words(&types), strings.to_vec()].concat();
        let types = Types::parse(&btf).unwrap();
        assert_eq!(types.find(KIND_STRUCT, b"len"), Some(3));
        assert_eq!(types.find(KIND_STRUCT, b"le"), None);
        assert_eq!(types.find(KIND_FUNC, b"len"), None);
        assert_eq!(types.member_offset(3, b"len"), Some(4));
        assert_eq!(types.member_offset(3, b"tail"), None);
    }
}
