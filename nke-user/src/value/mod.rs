//! Values of maps and variables as text, by the types that their object declares.
//!
//! A [`Type`] is read from BTF. With it, bytes become a [`Literal`], which prints as text or as JSON;
//! and text, of either form, becomes a literal and bytes again. What is printed reads back as the same
//! bytes, whatever they are. Nothing here does I/O, and nothing trusts the types: they are a
//! stranger's.
//!
//! ```text
//! struct flow { __be32 source; __u16 ports[2]; }     {source: 10.0.0.1, ports: [80, 443]}
//! enum state { OPEN, SHUT }                          SHUT
//! char name[16]                                      "eth0"
//! what has no type                                   0x0a000001
//! ```
//!
//! ```
//! use nke::value::Literal;
//!
//! let literal: Literal = "{source: 10.0.0.1, ports: [80, 443]}".parse()?;
//! assert_eq!(literal.to_string(), "{source: 10.0.0.1, ports: [80, 443]}");
//! assert_eq!(literal.json()["ports"][1], 443);
//! # Ok::<(), nke::value::ValueError>(())
//! ```

mod bits;
mod decode;
mod encode;
mod error;
mod literal;
mod parse;
mod resolve;
#[cfg(test)]
mod tests;

pub use self::{
    error::{Cause, ValueError},
    literal::Literal,
};

/// A type, whole: what it is made of is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// As it is declared: `__u32`, `struct flow`, `__u16[2]`.
    pub name: String,
    /// Bytes.
    pub size: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of 1, 2, 4, 8 or 16 bytes, in this machine's byte order.
    Int {
        /// Whether it can be less than zero.
        signed: bool,
    },
    /// 0 or 1.
    Bool,
    /// A byte of a text.
    Char,
    /// A number in network byte order: `__be16`, `__be64`.
    BigEndian,
    /// An IPv4 address of 4 bytes or an IPv6 address of 16, in network byte order: `__be32`,
    /// `struct in_addr`, `struct in6_addr`, and those of Rust.
    Address,
    /// A key of a longest-prefix trie: how many bits count, in this machine's byte order, and the
    /// IPv4 or IPv6 address that they are of: `10.0.0.0/8`.
    Prefix,
    /// Of 4 or 8 bytes.
    Float,
    /// An address of the kernel's.
    Pointer,
    /// A number, some of which have names.
    Enum {
        /// Whether it can be less than zero.
        signed: bool,
        /// The names.
        names: Vec<(String, i128)>,
    },
    /// Several of the same.
    Array {
        /// What there are several of.
        element: Box<Type>,
        /// How many.
        count: usize,
    },
    /// A struct, or a union, whose members lie over one another.
    Record {
        /// In their order. Those of a member without a name are the record's own.
        members: Vec<Member>,
        /// A bit for each that some member has; the rest is padding.
        covered: Vec<u8>,
    },
    /// Bytes that say nothing.
    Opaque,
}

/// A member of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it is: bits from the record's start.
    pub offset: usize,
    /// Of a bit field, how many bits it has.
    pub width: Option<usize>,
    /// Its type.
    pub of: Type,
}

impl Type {
    /// Bytes of which nothing is known.
    pub fn opaque(size: usize) -> Self {
        Self {
            name: format!("{size} bytes"),
            size,
            kind: Kind::Opaque,
        }
    }

    /// A number of so many bytes, such as the index of an array.
    pub fn number(size: usize) -> Self {
        Self {
            name: format!("u{}", 8 * size),
            size,
            kind: Kind::Int { signed: false },
        }
    }

    /// An address of 4 or of 16 bytes.
    pub(crate) fn address(size: usize) -> Self {
        Self {
            name: if size == 4 {
                "IPv4 address"
            } else {
                "IPv6 address"
            }
            .to_owned(),
            size,
            kind: Kind::Address,
        }
    }

    /// A key of a longest-prefix trie, of 8 or of 20 bytes.
    pub(crate) fn prefix(size: usize) -> Self {
        Self {
            name: if size == 8 {
                "IPv4 prefix"
            } else {
                "IPv6 prefix"
            }
            .to_owned(),
            size,
            kind: Kind::Prefix,
        }
    }

    /// A record of two numbers of 4 bytes.
    pub(crate) fn pair(name: &str, first: &str, second: &str) -> Self {
        let member = |name: &str, offset| Member {
            name: name.to_owned(),
            offset,
            width: None,
            of: Self::number(4),
        };
        Self {
            name: name.to_owned(),
            size: 8,
            kind: Kind::Record {
                members: vec![member(first, 0), member(second, 32)],
                covered: vec![0xff; 8],
            },
        }
    }

    /// Whether there is a `struct` of this name in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        let within = match &self.kind {
            Kind::Array { element, .. } => element.has(name),
            Kind::Record { members, .. } => members.iter().any(|member| member.of.has(name)),
            Kind::Int { .. }
            | Kind::Bool
            | Kind::Char
            | Kind::BigEndian
            | Kind::Address
            | Kind::Prefix
            | Kind::Float
            | Kind::Pointer
            | Kind::Enum { .. }
            | Kind::Opaque => false,
        };
        within || self.name.strip_prefix("struct ") == Some(name)
    }
}
