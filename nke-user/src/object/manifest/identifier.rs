//! An extension's identifier: who it is, whatever its file is called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An identifier in reverse DNS order, such as `io.github.nke-rs.counter`: two labels or more of
/// ASCII letters, digits, `-` and `_`, with dots between, of 128 bytes at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(String);

impl Identifier {
    /// Its longest, in bytes.
    pub const LONGEST: usize = 128;

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Identifier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let label = |label: &str| {
            let first = label.bytes().next();
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            first.is_some_and(|byte| byte.is_ascii_alphanumeric()) && label.bytes().all(inner)
        };
        let labels = text.split('.').count();
        if text.len() <= Self::LONGEST && labels >= 2 && text.split('.').all(label) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no identifier; write it in reverse DNS order, such as \
             \"org.example.thing\""
        ))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_reverse_dns() {
        for good in ["org.example", "io.github.nke-rs.packet-filter", "a.b_c.0"] {
            assert_eq!(good.parse::<Identifier>().unwrap().as_str(), good);
        }
        let long = format!("a.{}", "b".repeat(127));
        for bad in [
            "", "thing", ".a", "a.", "a..b", "a.-b", "a/b.c", "a.b\n", "ä.b", &long,
        ] {
            assert!(bad.parse::<Identifier>().is_err(), "{bad}");
        }
    }
}
