//! Bytes as a literal, by their type.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{Kind, Literal, Member, Type, bits};

/// Arrays of this many equal elements are written as one and a number.
const REPEATED: usize = 4;

impl Type {
    /// Bytes of this type as a literal. Bytes that are not as many as the type has are written as
    /// they are.
    pub fn decode(&self, bytes: &[u8]) -> Literal {
        if bytes.len() != self.size {
            return hex(bytes);
        }
        match &self.kind {
            Kind::Array { element, count } => array(element, *count, bytes),
            Kind::Record { members, covered } => {
                // Padding that is not zero would be lost.
                let is_lost = |(byte, covered): (&u8, &u8)| byte & !covered != 0;
                if bytes.iter().zip(covered).any(is_lost) {
                    return hex(bytes);
                }
                let member = |member: &Member| (member.name.clone(), member.decode(bytes));
                Literal::Record(members.iter().map(member).collect())
            }
            Kind::Address => match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
                (Ok(v4), _) => Literal::word(Ipv4Addr::from(v4)),
                (_, Ok(v6)) => Literal::word(Ipv6Addr::from(v6)),
                _ => hex(bytes),
            },
            Kind::BigEndian => {
                let push = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
                Literal::word(bytes.iter().fold(0, push))
            }
            Kind::Prefix => prefix(bytes),
            Kind::Float => float(bytes),
            Kind::Opaque => hex(bytes),
            Kind::Int { .. } | Kind::Bool | Kind::Char | Kind::Pointer | Kind::Enum { .. } => {
                self.decode_number(bits::number(bytes), 8 * bytes.len())
            }
        }
    }

    /// A number of so many bits, as this type has it written.
    fn decode_number(&self, number: u128, width: usize) -> Literal {
        match &self.kind {
            Kind::Bool if number < 2 => Literal::word(number == 1),
            Kind::Int { signed: true } => Literal::word(bits::signed(number, width)),
            Kind::Pointer => Literal::Word(format!("{number:#x}")),
            Kind::Enum { signed, names } => {
                let value = if *signed {
                    bits::signed(number, width)
                } else {
                    number.cast_signed()
                };
                let name = names.iter().find(|(_, of)| *of == value);
                name.map_or_else(|| Literal::word(value), |(name, _)| Literal::word(name))
            }
            Kind::Int { signed: false }
            | Kind::Bool
            | Kind::Char
            | Kind::BigEndian
            | Kind::Address
            | Kind::Prefix
            | Kind::Float
            | Kind::Array { .. }
            | Kind::Record { .. }
            | Kind::Opaque => Literal::word(number),
        }
    }
}

impl Member {
    fn decode(&self, record: &[u8]) -> Literal {
        let Self {
            name: _,
            offset,
            width,
            of,
        } = self;
        match width {
            Some(width) => of.decode_number(bits::field(record, *offset, *width), *width),
            None => {
                let from = offset / 8;
                of.decode(record.get(from..from + of.size).unwrap_or_default())
            }
        }
    }
}

/// How many bits count, and the address that they are of.
fn prefix(bytes: &[u8]) -> Literal {
    let (length, address) = bytes.split_at(4);
    let length = bits::number(length);
    let address = Type::address(address.len()).decode(address);
    if length > 8 * (bytes.len() as u128 - 4) {
        return hex(bytes);
    }
    Literal::Word(format!("{address}/{length}"))
}

fn array(element: &Type, count: usize, bytes: &[u8]) -> Literal {
    if element.kind == Kind::Char
        && let Some(text) = text(bytes)
    {
        return Literal::Text(text);
    }
    if element.size == 0 || count == 0 {
        return Literal::List(Vec::new());
    }
    let mut elements = bytes.chunks(element.size);
    let first = elements.next().unwrap_or_default();
    if count >= REPEATED && elements.all(|other| other == first) {
        return Literal::Repeat(Box::new(element.decode(first)), count);
    }
    let elements = bytes.chunks(element.size).map(|one| element.decode(one));
    Literal::List(elements.collect())
}

/// The text of an array of characters: what is before its zeros at the end.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    str::from_utf8(&bytes[..end]).ok().map(str::to_owned)
}

/// A float in as few digits as say which it is; one that is no number by its bits.
fn float(bytes: &[u8]) -> Literal {
    let (text, is_number) = match (<[u8; 4]>::try_from(bytes), <[u8; 8]>::try_from(bytes)) {
        (Ok(bytes), _) => {
            let float = f32::from_ne_bytes(bytes);
            (format!("{float:?}"), !float.is_nan())
        }
        (_, Ok(bytes)) => {
            let float = f64::from_ne_bytes(bytes);
            (format!("{float:?}"), !float.is_nan())
        }
        _ => return hex(bytes),
    };
    if is_number {
        Literal::Word(text)
    } else {
        Literal::Word(format!("{:#x}", bits::number(bytes)))
    }
}

/// Bytes as they lie in memory.
pub(crate) fn hex(bytes: &[u8]) -> Literal {
    let mut text = "0x".to_owned();
    for byte in bytes {
        // Writing to a string cannot fail.
        let _: std::fmt::Result = write!(text, "{byte:02x}");
    }
    Literal::Word(text)
}
