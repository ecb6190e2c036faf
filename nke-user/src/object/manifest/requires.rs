//! What an extension says that it needs from the kernel, beyond what its object shows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::kernel::Version;

/// What the kernel must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Requires {
    /// The first kernel that will do.
    #[serde(default)]
    pub kernel: Option<Version>,
    /// What else.
    #[serde(default)]
    pub features: Vec<Feature>,
    /// Functions that programs call by number, and that it can do without: where the kernel lacks one, functions that
    /// call it answer 0 instead.
    #[serde(default)]
    pub optional_helpers: Vec<String>,
}

/// A feature of the kernel, as `kind:name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `btf`: the kernel's types, in /sys/kernel/btf/vmlinux.
    Btf,
    /// `config:NAME`: a configuration value that is y or m, such as `config:CONFIG_NF_CONNTRACK`.
    Config(String),
    /// `kfunc:NAME`: a function that programs can call by name.
    Kfunc(String),
    /// `type:NAME`: a structure of the kernel's.
    Type(String),
    /// `helper:NAME`: a function that programs can call by number, `bpf_sk_lookup_tcp` say.
    Helper(String),
    /// `map:NAME`: a type of map, such as `ringbuf`.
    Map(String),
    /// `program:NAME`: a type of program, such as `netfilter`.
    Program(String),
}

impl FromStr for Feature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let named = !name.is_empty() && name.bytes().all(plain);
        let name = name.to_owned();
        match kind {
            "btf" if text == kind => Ok(Self::Btf),
            "config" if named && name.starts_with("CONFIG_") => Ok(Self::Config(name)),
            "kfunc" if named => Ok(Self::Kfunc(name)),
            "type" if named => Ok(Self::Type(name)),
            "helper" if named => Ok(Self::Helper(name)),
            "map" if named => Ok(Self::Map(name)),
            "program" if named => Ok(Self::Program(name)),
            _ => Err(format!(
                "{text:?} is no feature; write btf, config:CONFIG_…, kfunc:…, type:…, helper:…, \
                 map:… or program:…"
            )),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf => f.write_str("btf"),
            Self::Config(name) => write!(f, "config:{name}"),
            Self::Kfunc(name) => write!(f, "kfunc:{name}"),
            Self::Type(name) => write!(f, "type:{name}"),
            Self::Helper(name) => write!(f, "helper:{name}"),
            Self::Map(name) => write!(f, "map:{name}"),
            Self::Program(name) => write!(f, "program:{name}"),
        }
    }
}

impl Serialize for Feature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Feature {
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
    fn features_are_kinds_with_names() {
        for good in [
            "btf",
            "config:CONFIG_NET",
            "kfunc:bpf_dynptr_from_skb",
            "map:ringbuf",
        ] {
            assert_eq!(good.parse::<Feature>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "btf:x",
            "config:NET",
            "kfunc:",
            "kfunc:a b",
            "magic:x",
            "type:\u{1b}",
        ] {
            assert!(bad.parse::<Feature>().is_err(), "{bad}");
        }
    }
}
