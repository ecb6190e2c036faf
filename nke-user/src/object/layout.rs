//! Whether two types say the same of the same bytes, and if not, where they differ.
//!
//! Types of different objects are compared by what they are made of: sizes, signs, and the names
//! and offsets of members. Not by their own names: Rust's `Flow` can be C's `struct flow`, and
//! `u32` is `__u32`. Nothing here knows what the types are used for.

use std::collections::BTreeSet;

use super::btf::{
    KIND_ARRAY, KIND_ENUM, KIND_ENUM64, KIND_INT, KIND_PTR, KIND_STRUCT, KIND_UNION, Types,
};

/// Structures within each other that are compared; deeper ones are no real types.
const DEEPEST: usize = 32;

/// How types differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The member, such as `.port`, `[].port`; empty for the whole.
    pub(crate) place: String,
    /// What is one's there.
    pub(crate) one: String,
    /// What is the other's.
    pub(crate) other: String,
}

/// A type, and whose it is.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a, 'b> {
    pub(crate) types: &'a Types<'b>,
    pub(crate) id: u32,
}

impl<'a, 'b> Of<'a, 'b> {
    /// Without names and qualifiers; its kind as well. `None` if it is malformed.
    fn bare(self) -> Option<(Self, u32)> {
        let id = self.types.bare(self.id)?;
        Some((Self { id, ..self }, self.types.kind(id)?))
    }

    fn with(self, id: u32) -> Self {
        Self { id, ..self }
    }

    /// The type in words: `4 bytes, unsigned`, `struct flow of 8 bytes`.
    fn words(self) -> String {
        self.describe().unwrap_or_else(|| "malformed".to_owned())
    }

    fn describe(self) -> Option<String> {
        let (bare, kind) = self.bare()?;
        let size = || bare.types.refers_to(bare.id);
        let name = bare.types.name_of(bare.id).unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let named = |what: &str| {
            if name.is_empty() {
                what.to_owned()
            } else {
                format!("{what} {name}")
            }
        };
        Some(match kind {
            KIND_INT => {
                let sign = match bare.types.encoding(bare.id)? {
                    encoding if encoding & BOOL != 0 => "a truth value",
                    encoding if encoding & SIGNED != 0 => "signed",
                    _ => "unsigned",
                };
                format!("{} bytes, {sign}", size()?)
            }
            KIND_PTR => "a pointer".to_owned(),
            KIND_ARRAY => {
                let (_, count) = bare.types.array(bare.id)?;
                format!("an array of {count}")
            }
            KIND_STRUCT => format!("{} of {} bytes", named("struct"), size()?),
            KIND_UNION => format!("{} of {} bytes", named("union"), size()?),
            KIND_ENUM | KIND_ENUM64 => format!("{} of {} bytes", named("enum"), size()?),
            other => format!("of BTF kind {other}"),
        })
    }
}

const SIGNED: u32 = 1;
const BOOL: u32 = 4;

/// How two types differ, if they do.
pub(crate) fn difference(one: Of<'_, '_>, other: Of<'_, '_>) -> Option<Difference> {
    let mut compare = Compare {
        same: BTreeSet::new(),
    };
    compare.types(one, other, String::new(), 0).err()
}

struct Compare {
    /// Structures that were compared already: a type can be in another any number of times.
    same: BTreeSet<(u32, u32)>,
}

fn differ<T>(one: Of<'_, '_>, other: Of<'_, '_>, place: String) -> Result<T, Difference> {
    Err(Difference {
        place,
        one: one.words(),
        other: other.words(),
    })
}

impl Compare {
    fn types(
        &mut self,
        one: Of<'_, '_>,
        other: Of<'_, '_>,
        place: String,
        depth: usize,
    ) -> Result<(), Difference> {
        let (Some((a, kind)), Some((b, other_kind))) = (one.bare(), other.bare()) else {
            return differ(one, other, place);
        };
        let size = |of: Of<'_, '_>| of.types.refers_to(of.id);
        let same = match kind {
            _ if kind != other_kind || depth > DEEPEST => false,
            KIND_INT => {
                // Whether it is a character is the compiler's view.
                let sign = |of: Of<'_, '_>| Some(of.types.encoding(of.id)? & (SIGNED | BOOL));
                size(a) == size(b) && sign(a).is_some() && sign(a) == sign(b)
            }
            // What is behind a pointer is the kernel's: such a member is a kptr.
            KIND_PTR => true,
            KIND_ARRAY => match (a.types.array(a.id), b.types.array(b.id)) {
                (Some((element, count)), Some((other, number))) if count == number => {
                    let place = format!("{place}[]");
                    return self.types(a.with(element), b.with(other), place, depth + 1);
                }
                _ => false,
            },
            KIND_STRUCT | KIND_UNION if size(a) == size(b) => {
                return self.members(a, b, place, depth);
            }
            KIND_ENUM | KIND_ENUM64 => size(a) == size(b),
            KIND_STRUCT | KIND_UNION => false,
            // Floating point numbers, and what has no bytes.
            _ => size(a) == size(b),
        };
        if same { Ok(()) } else { differ(a, b, place) }
    }

    fn members(
        &mut self,
        one: Of<'_, '_>,
        other: Of<'_, '_>,
        place: String,
        depth: usize,
    ) -> Result<(), Difference> {
        if !self.same.insert((one.id, other.id)) {
            return Ok(());
        }
        let (Some(members), Some(others)) =
            (one.types.members(one.id), other.types.members(other.id))
        else {
            return differ(one, other, place);
        };
        for nth in 0..members.len().max(others.len()) {
            let (a, b) = match (members.get(nth), others.get(nth)) {
                (Some(a), Some(b)) if (a.name, a.offset) == (b.name, b.offset) => (a, b),
                (a, b) => {
                    let words = |member: Option<&super::btf::Member<'_>>| {
                        member.map_or_else(
                            || "no more members".to_owned(),
                            |member| member.to_string(),
                        )
                    };
                    let (one, other) = (words(a), words(b));
                    return Err(Difference { place, one, other });
                }
            };
            let name = String::from_utf8_lossy(a.name);
            let place = format!("{place}.{name}");
            self.types(one.with(a.id), other.with(b.id), place, depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type information of these records and strings.
    fn btf(types: &[&[u32]], strings: &[u8]) -> Vec<u8> {
        let types = types.concat();
        let length = u32::try_from(4 * types.len()).unwrap();
        let strings_length = u32::try_from(strings.len()).unwrap();
        let header = [0x0001_eb9f, 24, 0, length, length, strings_length];
        let words = header.iter().chain(&types);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(strings);
        bytes
    }

    const STRINGS: &[u8] = b"\0flow\0Flow\0port\0count\0";
    const FLOW: u32 = 1;
    const OTHER_FLOW: u32 = 6;
    const PORT: u32 = 11;
    const COUNT: u32 = 16;
    const U32: [u32; 4] = [0, 1 << 24, 4, 32];
    const I32: [u32; 4] = [0, 1 << 24, 4, 1 << 24 | 32];
    const U64: [u32; 4] = [0, 1 << 24, 8, 64];

    fn check(one: &[&[u32]], other: &[&[u32]], id: u32) -> Option<(String, String, String)> {
        let (one, other) = (btf(one, STRINGS), btf(other, STRINGS));
        let (one, other) = (Types::parse(&one).unwrap(), Types::parse(&other).unwrap());
        let (one, other) = (Of { types: &one, id }, Of { types: &other, id });
        let found = difference(one, other);
        let mirrored = difference(other, one);
        assert_eq!(found.is_some(), mirrored.is_some());
        found.map(|Difference { place, one, other }| (place, one, other))
    }

    /// A structure of two members of type 1.
    fn flow(name: u32, first: u32, second: u32) -> [u32; 9] {
        [name, 4 << 24 | 2, 8, first, 1, 0, second, 1, 32]
    }

    #[test]
    fn structures_are_what_they_are_made_of() {
        let (c, rust) = (flow(FLOW, PORT, COUNT), flow(OTHER_FLOW, PORT, COUNT));
        assert_eq!(check(&[&U32, &c], &[&U32, &rust], 2), None);
        let swapped = flow(FLOW, COUNT, PORT);
        let found = check(&[&U32, &c], &[&U32, &swapped], 2).unwrap();
        assert_eq!(found.1, "port at byte 0");
        assert_eq!(found.2, "count at byte 0");
        let found = check(&[&U32, &c], &[&I32, &c], 2).unwrap();
        let expected = (".port", "4 bytes, unsigned", "4 bytes, signed");
        assert_eq!(
            found,
            (expected.0.into(), expected.1.into(), expected.2.into())
        );
    }

    #[test]
    fn names_around_a_type_do_not_count() {
        // A typedef `flow` of type 2, against type 1 itself.
        let typedef = [FLOW, 8 << 24, 2];
        assert_eq!(check(&[&typedef, &U32], &[&U32], 1), None);
        assert!(check(&[&typedef, &U64], &[&U32], 1).is_some());
    }

    #[test]
    fn arrays_have_elements_and_a_number() {
        let array = |count| [0, 3 << 24, 0, 1, 1, count];
        assert_eq!(check(&[&U32, &array(4)], &[&U32, &array(4)], 2), None);
        let found = check(&[&U32, &array(4)], &[&U32, &array(5)], 2).unwrap();
        assert_eq!(
            (found.1.as_str(), found.2.as_str()),
            ("an array of 4", "an array of 5")
        );
        let found = check(&[&U32, &array(4)], &[&U64, &array(4)], 2).unwrap();
        assert_eq!(found.0, "[]");
    }

    #[test]
    fn malformed_types_are_not_the_same() {
        assert!(check(&[&U32], &[&U32], 9).is_some());
        // A typedef of itself, an array of itself, a structure in itself.
        assert!(check(&[&[FLOW, 8 << 24, 1]], &[&[FLOW, 8 << 24, 1]], 1).is_some());
        assert!(
            check(
                &[&[0, 3 << 24, 0, 1, 1, 2]],
                &[&[0, 3 << 24, 0, 1, 1, 2]],
                1
            )
            .is_some()
        );
        let own = flow(FLOW, PORT, COUNT);
        assert_eq!(check(&[&own], &[&own], 1), None);
    }
}
