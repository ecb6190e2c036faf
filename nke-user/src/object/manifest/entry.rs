//! Entries of a manifest that can be written short, as one string, or whole, as a table.

use std::{fmt, marker::PhantomData, str::FromStr};

use semver::VersionReq;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::hook::Family;

/// A hook that an extension is meant for: `"interface/in"`, or with a priority
/// `{ hook = "interface/in", priority = 20 }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestHook {
    /// The hook, or a family of hooks.
    #[serde(serialize_with = "as_text")]
    pub hook: Family,
    /// Its priority there when none is asked for.
    pub priority: Option<i32>,
}

/// What an extension needs of another: `"^1.2"`, or with maps
/// `{ version = ">=1.0, <3", maps = ["FLOWS"] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// The versions that will do: see [`super::satisfies`].
    pub version: VersionReq,
    /// The maps of the other that it uses.
    pub maps: Vec<String>,
}

fn as_text<S: serde::Serializer>(family: &Family, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(family)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeHook {
    hook: Family,
    #[serde(default)]
    priority: Option<i32>,
}

impl From<WholeHook> for ManifestHook {
    fn from(WholeHook { hook, priority }: WholeHook) -> Self {
        Self { hook, priority }
    }
}

impl FromStr for ManifestHook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (hook, priority) = (text.parse()?, None);
        Ok(Self { hook, priority })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeDependency {
    #[serde(default)]
    version: VersionReq,
    #[serde(default)]
    maps: Vec<String>,
}

impl From<WholeDependency> for Dependency {
    fn from(WholeDependency { version, maps }: WholeDependency) -> Self {
        Self { version, maps }
    }
}

impl FromStr for Dependency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version = text
            .parse()
            .map_err(|error| format!("{text:?} is no range of versions: {error}"))?;
        let maps = Vec::new();
        Ok(Self { version, maps })
    }
}

/// Reads a `T` from a string, or from a table as a `W`.
struct Either<T, W>(PhantomData<(T, W)>);

impl<'de, T, W> Visitor<'de> for Either<T, W>
where
    T: FromStr<Err = String> + From<W>,
    W: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a table")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
        W::deserialize(MapAccessDeserializer::new(map)).map(T::from)
    }
}

impl<'de> Deserialize<'de> for ManifestHook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either::<Self, WholeHook>(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Dependency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either::<Self, WholeDependency>(PhantomData))
    }
}
