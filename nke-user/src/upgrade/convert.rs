//! Values of one layout as values of another: which bytes go where, member by member of the same
//! name.
//!
//! ```text
//! struct flow { u64 packets; u32 last; }                8..12 -> 4..12, widened
//! struct flow { u32 fresh; u64 last; u64 packets; }     0..8 -> 12..20; fresh stays zero
//! ```
//!
//! A number may become wider. What would lose something, or has no sure meaning, is refused: a
//! number that becomes narrower, an array that becomes shorter, unions and bit fields that change.
//! A member that is gone is left out: that is what the rule means.

use crate::value::{Kind, Member, Type};

/// Bytes that are copied, and how many bytes the number has there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    from: usize,
    size: usize,
    to: usize,
    wide: usize,
    signed: bool,
}

/// How values of one type become values of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conversion(Vec<Move>);

/// Structs in values that only the kernel writes.
const KERNELS: [&str; 5] = [
    "struct bpf_spin_lock",
    "struct bpf_timer",
    "struct bpf_wq",
    "struct bpf_list_head",
    "struct bpf_rb_root",
];

impl Conversion {
    /// The conversion of one type's values into another's; why there is none, in words.
    pub(crate) fn new(from: &Type, to: &Type) -> Result<Self, String> {
        let mut conversion = Self::default();
        conversion.add("", from, 0, to, 0)?;
        Ok(conversion)
    }

    /// Writes a converted value over what is there. Bytes that one of both does not have are left
    /// alone.
    pub(crate) fn apply(&self, from: &[u8], to: &mut [u8]) {
        for step in &self.0 {
            let source = from.get(step.from..step.from + step.size);
            let place = to.get_mut(step.to..step.to + step.wide);
            if let (Some(source), Some(place)) = (source, place) {
                place.copy_from_slice(&widen(source, step.wide, step.signed));
            }
        }
    }

    fn add(
        &mut self,
        path: &str,
        from: &Type,
        at: usize,
        to: &Type,
        place: usize,
    ) -> Result<(), String> {
        let refused = |why: &str| Err(format!("{}{why}", within(path)));
        let mut step = Move {
            from: at,
            size: from.size,
            to: place,
            wide: to.size,
            signed: false,
        };
        if KERNELS.contains(&from.name.as_str()) || KERNELS.contains(&to.name.as_str()) {
            return Ok(());
        }
        match (&from.kind, &to.kind) {
            _ if difference("", from, to).is_none() => {}
            (Kind::Int { signed }, Kind::Int { signed: now }) => {
                let same = signed == now && from.size <= to.size;
                if !same && (*signed || from.size >= to.size) {
                    return refused("its numbers would lose something");
                }
                step.signed = *signed;
            }
            (
                Kind::Array { element, count },
                Kind::Array {
                    element: other,
                    count: now,
                },
            ) => {
                if count > now {
                    return refused("the array is shorter");
                }
                return (0..*count).try_for_each(|nth| {
                    let (at, place) = (at + nth * element.size, place + nth * other.size);
                    self.add(&format!("{path}[]"), element, at, other, place)
                });
            }
            (Kind::Record { members, .. }, Kind::Record { members: now, .. }) => {
                if overlap(members) || overlap(now) {
                    return refused("a union or bit field has changed");
                }
                return members.iter().try_for_each(|member| {
                    let found = now.iter().find(|other| other.name == member.name);
                    found.map_or(Ok(()), |other| {
                        let path = format!("{path}.{}", member.name);
                        let (at, place) = (at + member.offset / 8, place + other.offset / 8);
                        self.add(&path, &member.of, at, &other.of, place)
                    })
                });
            }
            _ => return refused("it is of another kind"),
        }
        self.0.push(step);
        Ok(())
    }
}

/// A number in more bytes, of this machine's order.
fn widen(number: &[u8], wide: usize, signed: bool) -> Vec<u8> {
    let top = if cfg!(target_endian = "little") {
        number.last()
    } else {
        number.first()
    };
    let negative = signed && top.is_some_and(|byte| byte & 0x80 != 0);
    let fill = vec![if negative { 0xff } else { 0 }; wide.saturating_sub(number.len())];
    if cfg!(target_endian = "little") {
        [number, &fill].concat()
    } else {
        [&fill, number].concat()
    }
}

/// Whether members lie over one another, or are parts of bytes.
fn overlap(members: &[Member]) -> bool {
    let mut ends: Vec<_> = members
        .iter()
        .map(|member| (member.offset, member.offset + 8 * member.of.size))
        .collect();
    ends.sort_unstable();
    let meet = ends.windows(2).any(|pair| pair[0].1 > pair[1].0);
    meet || members.iter().any(|member| member.width.is_some())
}

fn within(path: &str) -> String {
    match path.trim_start_matches('.') {
        "" => String::new(),
        path => format!("{path}: "),
    }
}

/// How a type is laid out differently in two versions, in words; `None` if it is not. What types
/// are called does not matter, and an enum may have got more names.
pub(crate) fn difference(path: &str, before: &Type, now: &Type) -> Option<String> {
    let other = || {
        Some(format!(
            "{}it was {}, and is now {}",
            within(path),
            before.name,
            now.name
        ))
    };
    if before.size != now.size {
        return Some(format!(
            "{}it had {} bytes, and has now {}",
            within(path),
            before.size,
            now.size
        ));
    }
    match (&before.kind, &now.kind) {
        (Kind::Record { members, .. }, Kind::Record { members: new, .. }) => {
            if let Some(gone) = members
                .iter()
                .find(|m| !new.iter().any(|n| n.name == m.name))
            {
                return Some(format!("{}{} is gone", within(path), gone.name));
            }
            if let Some(added) = new
                .iter()
                .find(|n| !members.iter().any(|m| m.name == n.name))
            {
                return Some(format!("{}{} is new", within(path), added.name));
            }
            members.iter().zip(new).find_map(|(member, other)| {
                let path = format!("{path}.{}", member.name);
                let (place, width) = (member.offset, member.width);
                if (&member.name, place, width) != (&other.name, other.offset, other.width) {
                    return Some(format!("{}it has moved", within(&path)));
                }
                difference(&path, &member.of, &other.of)
            })
        }
        (
            Kind::Array { element, count },
            Kind::Array {
                element: new,
                count: many,
            },
        ) => {
            if count != many {
                return other();
            }
            difference(&format!("{path}[]"), element, new)
        }
        (
            Kind::Enum { signed, names },
            Kind::Enum {
                signed: now_signed,
                names: new,
            },
        ) => {
            let stays = |name: &(String, i128)| new.contains(name);
            (signed != now_signed || !names.iter().all(stays))
                .then(other)
                .flatten()
        }
        (before, now) if before == now => None,
        _ => other(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(size: usize, signed: bool) -> Type {
        Type {
            name: format!("{}{}", if signed { 's' } else { 'u' }, 8 * size),
            size,
            kind: Kind::Int { signed },
        }
    }

    fn record(size: usize, members: &[(&str, usize, Type)]) -> Type {
        let member = |(name, at, of): &(&str, usize, Type)| Member {
            name: (*name).to_owned(),
            offset: 8 * at,
            width: None,
            of: of.clone(),
        };
        Type {
            name: "struct flow".to_owned(),
            size,
            kind: Kind::Record {
                members: members.iter().map(member).collect(),
                covered: vec![0xff; size],
            },
        }
    }

    #[test]
    fn members_go_by_name_and_numbers_widen() {
        let from = record(
            12,
            &[("packets", 0, int(8, false)), ("last", 8, int(4, true))],
        );
        let to = record(
            20,
            &[
                ("fresh", 0, int(4, false)),
                ("last", 4, int(8, true)),
                ("packets", 12, int(8, false)),
            ],
        );
        let conversion = Conversion::new(&from, &to).expect("it can be copied");
        let mut value = vec![0; 20];
        let source = [7u64.to_ne_bytes().to_vec(), (-2i32).to_ne_bytes().to_vec()].concat();
        conversion.apply(&source, &mut value);
        let expected = [
            0u32.to_ne_bytes().to_vec(),
            (-2i64).to_ne_bytes().to_vec(),
            7u64.to_ne_bytes().to_vec(),
        ];
        assert_eq!(value, expected.concat());
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        let check = |from: &Type, to: &Type, why: &str| {
            assert_eq!(Conversion::new(from, to), Err(why.to_owned()));
        };
        check(
            &int(8, false),
            &int(4, false),
            "its numbers would lose something",
        );
        check(
            &int(4, true),
            &int(8, false),
            "its numbers would lose something",
        );
        check(
            &int(4, false),
            &int(4, true),
            "its numbers would lose something",
        );
        assert!(Conversion::new(&int(4, false), &int(8, true)).is_ok());
        let before = record(8, &[("a", 0, int(8, false))]);
        let now = record(8, &[("a", 0, int(4, false)), ("b", 4, int(4, false))]);
        check(&before, &now, "a: its numbers would lose something");
        let union = record(8, &[("a", 0, int(8, false)), ("b", 0, int(4, false))]);
        check(&before, &union, "a union or bit field has changed");
    }

    #[test]
    fn differences_name_the_member() {
        let before = record(8, &[("a", 0, int(4, false)), ("b", 4, int(4, false))]);
        let swapped = record(8, &[("b", 0, int(4, false)), ("a", 4, int(4, false))]);
        let signed = record(8, &[("a", 0, int(4, false)), ("b", 4, int(4, true))]);
        assert_eq!(difference("", &before, &before), None);
        assert_eq!(
            difference("", &before, &swapped).as_deref(),
            Some("a: it has moved")
        );
        assert_eq!(
            difference("value", &before, &signed).as_deref(),
            Some("value.b: it was u32, and is now s32")
        );
    }
}
