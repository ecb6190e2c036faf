//! A literal as bytes, by their type.
//!
//! What is not given is zero: the last elements of an array, members of a record.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{Cause, Kind, Literal, Type, ValueError, bits};

type Result<T = (), E = ValueError> = std::result::Result<T, E>;

impl Type {
    /// The bytes that a literal means.
    ///
    /// # Errors
    ///
    /// [`ValueError`], if it is no value of this type.
    pub fn encode(&self, literal: &Literal) -> Result<Vec<u8>> {
        let mut out = Out {
            bytes: vec![0; self.size],
            written: vec![0; self.size],
        };
        out.write(self, literal, 0)?;
        Ok(out.bytes)
    }

    /// The bytes that a text means.
    ///
    /// # Errors
    ///
    /// As [`Type::encode`].
    pub fn parse(&self, text: &str) -> Result<Vec<u8>> {
        // A text needs no quotes where nothing else can be meant.
        let bare = !text.starts_with(['"', '[']) && raw(text, self.size).is_none();
        if self.is_text() && bare {
            self.encode(&Literal::Text(text.to_owned()))
        } else {
            self.encode(&text.parse()?)
        }
    }

    fn is_text(&self) -> bool {
        matches!(&self.kind, Kind::Array { element, .. } if element.kind == Kind::Char)
    }

    fn not(&self, literal: &Literal) -> ValueError {
        ValueError::new(Cause::NotA {
            found: literal.describe(),
            wanted: self.name.clone(),
        })
    }

    /// The number of so many bits that a word means.
    fn number_of(&self, literal: &Literal, width: usize) -> Result<u128> {
        let (Literal::Word(word) | Literal::Text(word)) = literal else {
            return Err(self.not(literal));
        };
        let signed = match &self.kind {
            Kind::Bool if word == "true" => return Ok(1),
            Kind::Bool if word == "false" => return Ok(0),
            Kind::Enum { signed, names } => {
                let named = names.iter().find(|(name, _)| name == word);
                if let Some((_, value)) = named {
                    return Ok(value.cast_unsigned() & ones(width));
                }
                *signed
            }
            Kind::Int { signed } => *signed,
            Kind::Bool
            | Kind::Char
            | Kind::BigEndian
            | Kind::Address
            | Kind::Prefix
            | Kind::Float
            | Kind::Pointer
            | Kind::Array { .. }
            | Kind::Record { .. }
            | Kind::Opaque => false,
        };
        let (negative, magnitude) = integer(word).ok_or_else(|| self.not(literal))?;
        let range = || {
            ValueError::new(Cause::Range {
                number: word.clone(),
                wanted: match width % 8 {
                    0 => self.name.clone(),
                    _ => format!("{width} bits"),
                },
            })
        };
        let most = match (negative, signed) {
            (false, false) => ones(width),
            (false, true) => ones(width - 1),
            (true, true) => 1 << (width - 1),
            (true, false) => 0,
        };
        match magnitude {
            magnitude if magnitude > most => Err(range()),
            magnitude if negative => Ok(magnitude.wrapping_neg() & ones(width)),
            magnitude => Ok(magnitude),
        }
    }

    fn address_of(&self, literal: &Literal) -> Result<Vec<u8>> {
        let (Literal::Word(word) | Literal::Text(word)) = literal else {
            return Err(self.not(literal));
        };
        match self.size {
            4 => {
                if let Ok(address) = word.parse::<Ipv4Addr>() {
                    return Ok(address.octets().into());
                }
                let number = self.number_of(literal, 32)?;
                Ok(number.to_be_bytes()[12..].to_vec())
            }
            _ => word
                .parse::<Ipv6Addr>()
                .map(|address| address.octets().into())
                .map_err(|_| self.not(literal)),
        }
    }

    /// A prefix; an address by itself is all of it.
    fn prefix_of(&self, literal: &Literal) -> Result<Vec<u8>> {
        let (Literal::Word(word) | Literal::Text(word)) = literal else {
            return Err(self.not(literal));
        };
        let size = self.size - 4;
        let (address, length) = match word.split_once('/') {
            Some((address, length)) => (address, length.parse::<u32>().ok()),
            None => (&**word, u32::try_from(8 * size).ok()),
        };
        let length = length.filter(|length| *length as usize <= 8 * size);
        let length = length.ok_or_else(|| self.not(literal))?;
        let address = Self::address(size).address_of(&Literal::word(address));
        let address = address.map_err(|_| self.not(literal))?;
        Ok([&length.to_ne_bytes()[..], &address].concat())
    }

    fn float_of(&self, literal: &Literal) -> Result<Vec<u8>> {
        let (Literal::Word(word) | Literal::Text(word)) = literal else {
            return Err(self.not(literal));
        };
        if word.starts_with("0x") {
            return Ok(bits::bytes(
                self.number_of(literal, 8 * self.size)?,
                self.size,
            ));
        }
        let bytes = match self.size {
            4 => word
                .parse::<f32>()
                .map(|float| float.to_ne_bytes().to_vec()),
            _ => word
                .parse::<f64>()
                .map(|float| float.to_ne_bytes().to_vec()),
        };
        bytes.map_err(|_| self.not(literal))
    }
}

/// A number of so many bits, all ones.
const fn ones(width: usize) -> u128 {
    match width {
        0 => 0,
        width => u128::MAX >> (bits::MOST - width),
    }
}

/// Whether a number is below zero, and how far from it.
fn integer(word: &str) -> Option<(bool, u128)> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix("0b")) {
        (Some(hex), _) => (hex, 16),
        (_, Some(binary)) => (binary, 2),
        _ => (digits, 10),
    };
    // Or a second sign would be taken.
    let starts_well = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    let number = starts_well.then(|| u128::from_str_radix(digits, radix).ok());
    Some((negative, number.flatten()?))
}

/// The bytes of a word of just so many, as they lie in memory.
fn raw(word: &str, size: usize) -> Option<Vec<u8>> {
    let digits = word.strip_prefix("0x")?;
    if digits.len() != 2 * size || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Bytes, and which of their bits were written.
struct Out {
    bytes: Vec<u8>,
    written: Vec<u8>,
}

impl Out {
    /// Writes a value of a type at a byte.
    fn write(&mut self, of: &Type, literal: &Literal, at: usize) -> Result {
        match (&of.kind, literal) {
            (
                Kind::Array { .. } | Kind::Record { .. } | Kind::Prefix | Kind::Opaque,
                Literal::Word(word) | Literal::Text(word),
            ) if !(of.is_text() && matches!(literal, Literal::Text(_)))
                && let Some(bytes) = raw(word, of.size) =>
            {
                self.put(at, &bytes)
            }
            (Kind::Array { element, count }, literal) => {
                self.array(of, element, *count, literal, at)
            }
            (Kind::Record { .. }, Literal::Record(given)) => self.record(of, given, at),
            (Kind::Record { .. } | Kind::Opaque, _) => Err(of.not(literal)),
            (Kind::Prefix, _) => self.put(at, &of.prefix_of(literal)?),
            (Kind::Address, _) => self.put(at, &of.address_of(literal)?),
            (Kind::Float, _) => self.put(at, &of.float_of(literal)?),
            (Kind::BigEndian, _) => {
                let number = of.number_of(literal, 8 * of.size)?.to_be_bytes();
                self.put(at, &number[number.len() - of.size..])
            }
            (Kind::Int { .. } | Kind::Bool | Kind::Char | Kind::Pointer | Kind::Enum { .. }, _) => {
                let number = of.number_of(literal, 8 * of.size)?;
                self.put(at, &bits::bytes(number, of.size))
            }
        }
    }

    fn array(
        &mut self,
        of: &Type,
        element: &Type,
        count: usize,
        literal: &Literal,
        at: usize,
    ) -> Result {
        let room = |found: usize| {
            let of = of.name.clone();
            let error = || ValueError::new(Cause::TooMany { found, of });
            (found <= count).then_some(()).ok_or_else(error)
        };
        match literal {
            Literal::Text(text) if element.kind == Kind::Char => {
                room(text.len())?;
                let mut bytes = text.as_bytes().to_vec();
                bytes.resize(count, 0);
                self.put(at, &bytes)
            }
            Literal::List(list) => {
                room(list.len())?;
                list.iter().enumerate().try_for_each(|(nth, one)| {
                    self.write(element, one, at + nth * element.size)
                        .map_err(|error| error.within(format!("[{nth}]")))
                })
            }
            Literal::Repeat(one, times) => {
                room(*times)?;
                let bytes = element.encode(one)?;
                self.put(at, &bytes.repeat(*times))
            }
            Literal::Word(_) | Literal::Text(_) | Literal::Record(_) => Err(of.not(literal)),
        }
    }

    fn record(&mut self, of: &Type, given: &[(String, Literal)], at: usize) -> Result {
        let Kind::Record {
            members,
            covered: _,
        } = &of.kind
        else {
            return Ok(());
        };
        for (name, literal) in given {
            let Some(member) = members.iter().find(|member| member.name == *name) else {
                return Err(ValueError::new(Cause::NoMember {
                    name: name.clone(),
                    of: of.name.clone(),
                    has: members.iter().map(|member| member.name.clone()).collect(),
                }));
            };
            let done = match member.width {
                None => self.write(&member.of, literal, at + member.offset / 8),
                Some(width) => member.of.number_of(literal, width).and_then(|number| {
                    let from = 8 * at + member.offset;
                    self.put_bits(from..from + width, number)
                }),
            };
            done.map_err(|error| error.within(name.clone()))?;
        }
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result {
        let places = self.bytes[at..].iter_mut().zip(&mut self.written[at..]);
        for ((byte, written), new) in places.zip(bytes) {
            if (*byte ^ new) & *written != 0 {
                return Err(ValueError::new(Cause::Disagree));
            }
            (*byte, *written) = (*new, 0xff);
        }
        Ok(())
    }

    fn put_bits(&mut self, range: Range<usize>, number: u128) -> Result {
        let width = range.len();
        for (nth, offset) in range.enumerate() {
            let (at, mask) = (offset / 8, bits::mask(offset));
            let new = if bits::bit(number, width, nth) {
                mask
            } else {
                0
            };
            if (self.bytes[at] ^ new) & mask & self.written[at] != 0 {
                return Err(ValueError::new(Cause::Disagree));
            }
            self.bytes[at] = self.bytes[at] & !mask | new;
            self.written[at] |= mask;
        }
        Ok(())
    }
}
