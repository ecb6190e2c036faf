//! What an extension says of itself, in the section `.nke` of its object: TOML text.

use nke_ebpf::abi::records;
use serde::Deserialize;

use crate::hook::{Family, Hook};

/// What an extension's records are: [`nke_ebpf::abi::records`] says how they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// TCP connections that have ended.
    Connection,
    /// What happens to sockets.
    Event,
}

/// An extension's manifest; an object without one has the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// What it is for, in a line.
    #[serde(default)]
    pub description: String,
    /// The maps that every attachment has its own of.
    #[serde(default)]
    pub attachment_maps: Vec<String>,
    /// The maps that its attachments to one target share: all those to one cgroup, say.
    #[serde(default)]
    pub target_maps: Vec<String>,
    /// The hooks that it is attached to together where none is asked for, such as
    /// `socket/connect` (which is all of that family); without any, the first that it serves.
    #[serde(default)]
    pub hooks: Vec<Family>,
    /// What it sends through the ring buffer `RECORDS`, counting in `LOST` what did not fit.
    #[serde(default)]
    pub records: Option<RecordKind>,
}

impl Manifest {
    /// Reads a manifest, whose maps and hooks must be the object's; what is wrong with it in words.
    pub(super) fn parse(
        text: &[u8],
        has_map: impl Fn(&str) -> bool,
        serves: impl Fn(Hook) -> bool,
    ) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let manifest: Self = toml::from_str(text.trim_matches('\0'))
            .map_err(|error| error.message().replace('\n', ", "))?;
        let served = |family: &Family| family.hooks().iter().any(|hook| serves(*hook));
        if let Some(hook) = manifest.hooks.iter().find(|family| !served(family)) {
            return Err(format!(
                "hooks names {hook}, and no program of the object serves it"
            ));
        }
        if let Some(map) = [records::RECORDS, records::LOST]
            .into_iter()
            .find(|map| manifest.records.is_some() && !has_map(map))
        {
            return Err(format!(
                "records needs a map {map}, and the object has no such map"
            ));
        }
        // Under a wrong name, a map would be shared by all attachments without a word.
        let keys = [
            ("attachment-maps", &manifest.attachment_maps),
            ("target-maps", &manifest.target_maps),
        ];
        for (key, maps) in keys {
            if let Some(map) = maps.iter().find(|map| !has_map(map)) {
                return Err(format!("{key} names {map}, and the object has no such map"));
            }
        }
        Ok(manifest)
    }

    /// The maps that are not the extension's, but an attachment's or a target's.
    pub(crate) fn own_maps(&self) -> impl Iterator<Item = &String> {
        self.attachment_maps.iter().chain(&self.target_maps)
    }
}
