//! A type whole, from BTF records that refer to one another (Documentation/bpf/btf.rst).
//!
//! The records are a stranger's: they may be endless, or say sizes that do not fit one another. What
//! makes no sense becomes bytes that say nothing.

use std::collections::BTreeSet;

use super::{Kind, Member, Type, bits};
use crate::object::btf::{
    KIND_ARRAY, KIND_CONST, KIND_ENUM, KIND_ENUM64, KIND_FLOAT, KIND_INT, KIND_PTR, KIND_RESTRICT,
    KIND_STRUCT, KIND_TYPE_TAG, KIND_TYPEDEF, KIND_UNION, KIND_VOLATILE, Types, u32_at,
};

/// How deep types can be nested.
const DEEPEST: usize = 32;

/// How many types one can be made of, and how many bytes of records with their parts.
const MOST: usize = 1 << 16;
const LARGEST: usize = 1 << 24;

/// Types of one member that are what the member is, by the beginnings of their names.
const WRAPPERS: &[&str] = &[
    "Atomic",
    "UnsafeCell",
    "SyncUnsafeCell",
    "Cell",
    "ManuallyDrop",
];

impl Type {
    /// The type with this id; `None` if it has no size, or makes no sense.
    pub(crate) fn of(types: &Types<'_>, id: u32) -> Option<Self> {
        let mut resolver = Resolver {
            types,
            left: MOST,
            bytes_left: LARGEST,
        };
        resolver.resolve(id, 0)
    }
}

struct Resolver<'a> {
    types: &'a Types<'a>,
    left: usize,
    bytes_left: usize,
}

impl Resolver<'_> {
    fn resolve(&mut self, id: u32, depth: usize) -> Option<Type> {
        self.left = self.left.checked_sub(1)?;
        if depth > DEEPEST {
            return None;
        }
        let kind = self.types.kind(id)?;
        let size = self.types.refers_to(id)? as usize;
        let name = self.name(id);
        let of = |name: String, kind: Kind| Some(Type { name, size, kind });
        match kind {
            KIND_INT => of(name, self.int(id, size)?),
            KIND_PTR => Some(Type {
                name: "pointer".to_owned(),
                size: 8,
                kind: Kind::Pointer,
            }),
            KIND_ARRAY => self.array(id, depth),
            KIND_STRUCT | KIND_UNION => self.record(id, kind, depth),
            KIND_ENUM | KIND_ENUM64 => {
                let kind = self.enumeration(id, kind, size)?;
                of(joined("enum", &name), kind)
            }
            KIND_FLOAT if matches!(size, 4 | 8) => of(name, Kind::Float),
            KIND_FLOAT => of(name, Kind::Opaque),
            KIND_TYPEDEF => {
                let inner = self.resolve(self.types.refers_to(id)?, depth + 1)?;
                Some(known(name, inner))
            }
            KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                self.resolve(self.types.refers_to(id)?, depth + 1)
            }
            // What is only declared, and functions.
            _ => None,
        }
    }

    /// A name as the source had it, as far as it is one of its languages.
    fn name(&self, id: u32) -> String {
        let name = self.types.name_of(id).unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        // The linker writes what the kernel does not take in a name by its number.
        let plain = [
            ("_3C_", "<"),
            ("_3E_", ">"),
            ("_2C__20_", ", "),
            ("_3A__3A_", "::"),
        ];
        plain
            .iter()
            .fold(name.into_owned(), |name, (from, to)| name.replace(from, to))
    }

    fn int(&self, id: u32, size: usize) -> Option<Kind> {
        let how = u32_at(self.types.record(id)?, 12)?;
        let (encoding, offset, width) = (how >> 24 & 0xf, how >> 16 & 0xff, how & 0xff);
        let is_whole = offset == 0 && usize::try_from(width).is_ok_and(|width| width == 8 * size);
        Some(match size {
            1 if encoding & 4 != 0 => Kind::Bool,
            1 if encoding & 2 != 0 || self.types.name_of(id) == Some(b"char") => Kind::Char,
            1 | 2 | 4 | 8 | 16 if is_whole => Kind::Int {
                signed: encoding & 1 != 0,
            },
            _ => Kind::Opaque,
        })
    }

    fn array(&mut self, id: u32, depth: usize) -> Option<Type> {
        let (element, count) = self.types.array(id)?;
        let element = self.resolve(element, depth + 1)?;
        let size = element.size.checked_mul(count)?;
        let name = format!("{}[{count}]", element.name);
        (size <= i32::MAX as usize).then_some(())?;
        let kind = match element.size {
            0 => Kind::Opaque,
            _ => Kind::Array {
                element: Box::new(element),
                count,
            },
        };
        Some(Type { name, size, kind })
    }

    fn enumeration(&self, id: u32, kind: u32, size: usize) -> Option<Kind> {
        let record = self.types.record(id)?;
        let info = u32_at(record, 4)?;
        let signed = info >> 31 == 1;
        let step = if kind == KIND_ENUM { 8 } else { 12 };
        let mut names = Vec::new();
        for at in (0..info as usize & 0xffff).map(|nth| 12 + step * nth) {
            let name = String::from_utf8_lossy(self.types.string(u32_at(record, at)?)?);
            let low = u32_at(record, at + 4)?;
            let value = match (kind, signed) {
                (KIND_ENUM, true) => i128::from(low.cast_signed()),
                (KIND_ENUM, false) => i128::from(low),
                (_, signed) => {
                    let whole = u64::from(u32_at(record, at + 8)?) << 32 | u64::from(low);
                    if signed {
                        i128::from(whole.cast_signed())
                    } else {
                        i128::from(whole)
                    }
                }
            };
            if is_name(&name) {
                names.push((name.into_owned(), value));
            }
        }
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Some(Kind::Opaque);
        }
        // A name can be of a number that has no room.
        let width = 8 * size;
        let fits = |value: &i128| {
            let back = value.cast_unsigned() & (u128::MAX >> (bits::MOST - width));
            let back = if signed {
                bits::signed(back, width)
            } else {
                back.cast_signed()
            };
            back == *value
        };
        names.retain(|(_, value)| fits(value));
        Some(Kind::Enum { signed, names })
    }

    fn record(&mut self, id: u32, kind: u32, depth: usize) -> Option<Type> {
        let size = self.types.refers_to(id)? as usize;
        let word = if kind == KIND_STRUCT {
            "struct"
        } else {
            "union"
        };
        let name = joined(word, &self.name(id));
        self.bytes_left = self.bytes_left.checked_sub(size)?;
        let mut members = Vec::new();
        self.members(id, (0, size), depth, &mut members)?;
        if let [member] = members.as_mut_slice()
            && member.width.is_none()
            && member.of.size == size
            && is_wrapper(&name, &member.name)
        {
            let inner = std::mem::replace(&mut member.of, Type::opaque(0));
            return Some(inner);
        }
        let is_address = matches!((&*name, size), ("struct in6_addr" | "struct Ipv6Addr", 16));
        if is_address || matches!((&*name, size), ("struct in_addr" | "struct Ipv4Addr", 4)) {
            let kind = Kind::Address;
            return Some(Type { name, size, kind });
        }
        let kind = Kind::Record {
            covered: covered(&members, size),
            members: named(members),
        };
        Some(Type { name, size, kind })
    }

    /// Adds a record's members, which start at a bit of the outermost that has a name.
    fn members(
        &mut self,
        id: u32,
        (base, size): (usize, usize),
        depth: usize,
        members: &mut Vec<Member>,
    ) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        let record = self.types.record(id)?;
        let info = u32_at(record, 4)?;
        for at in (0..info as usize & 0xffff).map(|nth| 12 + 12 * nth) {
            self.left = self.left.checked_sub(1)?;
            let name = self.types.string(u32_at(record, at)?)?;
            let (of, place) = (u32_at(record, at + 4)?, u32_at(record, at + 8)?);
            let (width, offset) = match info >> 31 {
                1 => ((place >> 24) as usize, (place & 0x00ff_ffff) as usize),
                _ => (0, place as usize),
            };
            let bare = self.types.bare(of)?;
            let inner = self.types.kind(bare)?;
            let is_inline = name.is_empty() && matches!(inner, KIND_STRUCT | KIND_UNION);
            if is_inline && width == 0 {
                let inner_size = self.types.refers_to(bare)? as usize;
                (offset + 8 * inner_size <= 8 * size).then_some(())?;
                self.members(bare, (base + offset, inner_size), depth + 1, members)?;
                continue;
            }
            // Before there were widths in members, types of numbers had them.
            let (skip, narrow) = match self
                .types
                .record(bare)
                .and_then(|record| u32_at(record, 12))
            {
                Some(how) if inner == KIND_INT => (how >> 16 & 0xff, how & 0xff),
                _ => (0, 0),
            };
            let mut of = self.resolve(of, depth + 1)?;
            let is_narrow = narrow != 0 && narrow as usize != 8 * of.size;
            let (offset, width) = match width {
                0 if is_narrow => (offset + skip as usize, narrow as usize),
                _ => (offset, width),
            };
            if is_narrow && of.kind == Kind::Opaque {
                of.kind = Kind::Int { signed: false };
            }
            let is_number = matches!(
                of.kind,
                Kind::Int { .. } | Kind::Bool | Kind::Char | Kind::Enum { .. }
            );
            let is_whole = width == 0 && offset % 8 == 0;
            let is_field = is_number && (1..=bits::MOST.min(8 * of.size)).contains(&width);
            let length = if is_whole { 8 * of.size } else { width };
            if !(is_whole || is_field) || offset.checked_add(length)? > 8 * size {
                return None;
            }
            members.push(Member {
                name: String::from_utf8_lossy(name).into_owned(),
                offset: base + offset,
                width: is_field.then_some(width),
                of,
            });
        }
        Some(())
    }
}

/// `struct flow`, or `struct` of one without a name.
fn joined(word: &str, name: &str) -> String {
    if name.is_empty() {
        word.to_owned()
    } else {
        format!("{word} {name}")
    }
}

/// A type by another name, which may say more of it.
fn known(name: String, inner: Type) -> Type {
    let is_number = matches!(inner.kind, Kind::Int { .. });
    let kind = match (&*name, inner.size) {
        ("__be32", 4) if is_number => Kind::Address,
        ("__be16", 2) | ("__be64", 8) if is_number => Kind::BigEndian,
        _ => inner.kind,
    };
    Type {
        name,
        size: inner.size,
        kind,
    }
}

fn is_wrapper(record: &str, member: &str) -> bool {
    let record = record.trim_start_matches("struct ");
    member == "__0" || WRAPPERS.iter().any(|wrapper| record.starts_with(wrapper))
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(is_part) && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty()
}

/// The members, each by a name of its own that can be written.
fn named(mut members: Vec<Member>) -> Vec<Member> {
    let mut taken = BTreeSet::new();
    for (nth, member) in members.iter_mut().enumerate() {
        if !is_name(&member.name) || taken.contains(&member.name) {
            member.name = format!("_{nth}");
        }
        while !taken.insert(member.name.clone()) {
            member.name.push('_');
        }
    }
    members
}

/// A bit for each that some member has.
fn covered(members: &[Member], size: usize) -> Vec<u8> {
    let mut covered = vec![0; size];
    for member in members {
        match member.width {
            None => {
                let from = member.offset / 8;
                covered[from..from + member.of.size].fill(0xff);
            }
            Some(width) => {
                for bit in member.offset..member.offset + width {
                    covered[bit / 8] |= bits::mask(bit);
                }
            }
        }
    }
    covered
}
