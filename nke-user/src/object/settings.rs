//! An object's settings: which there are, where they live, and what they are before anybody says
//! otherwise.
//!
//! The manifest declares them; in an object that declares none, every global variable of a plain type
//! is one. Nothing here does I/O.

use aya_obj::EbpfSectionKind;

use super::{Object, Variable, kconfig};
use crate::{
    object::{Setting, SettingType, SettingValue},
    value::{Cause, Kind, Literal, Type, ValueError},
};

/// A setting, and where it lives.
#[derive(Clone, Debug)]
pub(crate) struct Settable {
    pub(crate) name: String,
    /// The map that it is in: a data section, or an array, of whose first element it is a part.
    pub(crate) map: String,
    /// Where in it.
    pub(crate) place: Variable,
    /// What the manifest says of it.
    pub(crate) declared: Option<Setting>,
}

impl Settable {
    /// The type by its name.
    pub(crate) fn type_name(&self) -> String {
        match &self.declared {
            Some(setting) => setting.kind.to_string(),
            None => self.place.of.name.clone(),
        }
    }

    /// What it is where nobody has said otherwise, by the manifest.
    pub(crate) fn declared_default(&self) -> Option<Vec<u8>> {
        let setting = self.declared.as_ref()?;
        Some(self.padded(setting.default.as_ref()?.encode(setting.kind)))
    }

    /// The bytes that a text means, if it is within the bounds.
    pub(crate) fn parse(&self, text: &str) -> Result<Vec<u8>, ValueError> {
        let Some(setting) = &self.declared else {
            return self.place.of.parse(text);
        };
        let refused = |problem| ValueError::of(Cause::Declared { problem });
        let bytes = setting.parse(text).map_err(refused)?.encode(setting.kind);
        if bytes.len() > self.place.of.size {
            let most = self.place.of.size.saturating_sub(1);
            return Err(refused(format!("the text has more than {most} bytes")));
        }
        Ok(self.padded(bytes))
    }

    fn padded(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(self.place.of.size, 0);
        bytes
    }

    /// Its bytes as it is written.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Literal {
        let Some(setting) = &self.declared else {
            return self.place.of.decode(bytes);
        };
        let kind = match setting.kind {
            SettingType::Bool => Kind::Bool,
            SettingType::U8 | SettingType::U16 | SettingType::U32 | SettingType::U64 => {
                Kind::Int { signed: false }
            }
            SettingType::I8 | SettingType::I16 | SettingType::I32 | SettingType::I64 => {
                Kind::Int { signed: true }
            }
            SettingType::Ipv4 | SettingType::Ipv6 => Kind::Address,
            SettingType::Mac => match <[u8; 6]>::try_from(bytes) {
                Ok(bytes) => return Literal::Word(SettingValue::Mac(bytes).to_string()),
                Err(_) => Kind::Opaque,
            },
            SettingType::String => {
                let end = bytes.iter().position(|byte| *byte == 0);
                let text = &bytes[..end.unwrap_or(bytes.len())];
                return Literal::Text(String::from_utf8_lossy(text).into_owned());
            }
        };
        let (name, size) = (self.type_name(), bytes.len());
        Type { name, size, kind }.decode(bytes)
    }
}

impl Object {
    /// The settings, in the order of their names where they are declared.
    pub(crate) fn settings(&self) -> Vec<Settable> {
        self.find_settings().into_iter().flatten().collect()
    }

    /// The settings, and for those that have no place why in words.
    pub(super) fn find_settings(&self) -> Vec<Result<Settable, String>> {
        let variables = self.variables();
        if self.manifest.settings.is_empty() {
            let plain = variables
                .into_iter()
                .filter(|v| v.global && is_plain(&v.of));
            return plain.map(|place| Ok(Settable::of(place))).collect();
        }
        let settings = self.manifest.settings.iter();
        settings
            .map(|(name, setting)| self.place(name, setting, &variables))
            .collect()
    }

    fn place(
        &self,
        name: &str,
        setting: &Setting,
        variables: &[Variable],
    ) -> Result<Settable, String> {
        let snake = name.replace('-', "_");
        let names = match &setting.variable {
            Some(variable) => vec![variable.clone()],
            None => vec![name.to_owned(), snake.clone(), snake.to_uppercase()],
        };
        let members = setting.map.as_ref().map(|map| self.members(map));
        let is_there = |v: &&Variable| setting.map.as_ref().is_none_or(|map| *map == v.section);
        let all = variables
            .iter()
            .filter(is_there)
            .chain(members.iter().flatten());
        let all: Vec<_> = all.collect();
        let mut found = names
            .iter()
            .filter_map(|name| all.iter().find(|v| v.name == *name));
        let Some(place) = found.next() else {
            return Err(format!(
                "settings names {name}, and the object has no such variable"
            ));
        };
        let size = place.of.size;
        if setting.kind.size().is_some_and(|wanted| wanted != size) {
            return Err(format!(
                "settings says that {name} is {}, and {} has {size} bytes",
                setting.kind, place.name
            ));
        }
        let default = setting.default.as_ref();
        if default.is_some_and(|default| default.encode(setting.kind).len() > size) {
            return Err(format!(
                "settings has a default of {name} that is longer than {}",
                place.name
            ));
        }
        Ok(Settable {
            name: name.to_owned(),
            declared: Some(setting.clone()),
            ..Settable::of((*place).clone())
        })
    }

    /// The members of an array's elements, as variables of the first.
    fn members(&self, map: &str) -> Vec<Variable> {
        let (_, Some(value)) = self.map_types(map) else {
            return Vec::new();
        };
        let Kind::Record { members, .. } = value.kind else {
            return Vec::new();
        };
        let whole = members.into_iter().filter(|member| member.width.is_none());
        let variable = whole.map(|member| Variable {
            name: member.name,
            section: map.to_owned(),
            offset: member.offset / 8,
            of: member.of,
            global: true,
        });
        variable.collect()
    }

    /// Gives settings other values than their defaults, before anything is loaded.
    pub(crate) fn preset(&mut self, name: &str, text: &str) -> Result<(), Preset> {
        let settings = self.settings();
        let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
            let has = settings.into_iter().map(|setting| setting.name).collect();
            return Err(Preset::Unknown(has));
        };
        if self.manifest.own_maps().any(|own| *own == setting.map) {
            return Err(Preset::Own(setting.map.clone()));
        }
        let bytes = setting.parse(text).map_err(Preset::Value)?;
        let preset = self.presets.entry(setting.map.clone()).or_default();
        preset.insert(setting.place.offset, bytes);
        Ok(())
    }

    /// Gives those settings their defaults that the manifest says one of; what is wrong with its
    /// settings in words.
    pub(super) fn preset_defaults(&mut self) -> Vec<String> {
        if self.manifest.settings.is_empty() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        for found in self.find_settings() {
            match found {
                Ok(setting) => {
                    if let Some(default) = setting.declared_default() {
                        let preset = self.presets.entry(setting.map).or_default();
                        preset.insert(setting.place.offset, default);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    /// Whether a map holds constants of the code, which nobody changes once it is loaded.
    pub(crate) fn is_constant(&self, name: &str) -> bool {
        let map = self.parsed.maps.get(name);
        let constant = map.is_some_and(|map| map.section_kind() == EbpfSectionKind::Rodata);
        // What is there is the kernel's configuration.
        constant && name != kconfig::MAP
    }

    /// What a map begins with, if it begins with anything.
    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        let Some(map) = self.parsed.maps.get(name) else {
            return Vec::new();
        };
        let mut contents = map.data().to_vec();
        let size = map.value_size() as usize;
        if let Some(presets) = self.presets.get(name).filter(|_| size <= LARGEST) {
            contents.resize(size, 0);
            for (offset, bytes) in presets {
                if let Some(there) = contents.get_mut(*offset..offset + bytes.len()) {
                    there.copy_from_slice(bytes);
                }
            }
        }
        contents
    }
}

/// Bytes of an element that settings can be in. The kernel makes none larger than its pages allow.
const LARGEST: usize = 64 << 20;

/// Why a setting cannot be given a value.
#[derive(Debug)]
pub(crate) enum Preset {
    /// There is none of the name; those that there are.
    Unknown(Vec<String>),
    /// It is in this map, of which each attachment or target has its own.
    Own(String),
    /// The text is no value of it.
    Value(ValueError),
}

impl Settable {
    fn of(place: Variable) -> Self {
        Self {
            name: place.name.clone(),
            map: place.section.clone(),
            place,
            declared: None,
        }
    }
}

/// Whether a variable is something that one sets.
fn is_plain(of: &Type) -> bool {
    match &of.kind {
        Kind::Int { .. }
        | Kind::Bool
        | Kind::Char
        | Kind::BigEndian
        | Kind::Address
        | Kind::Float
        | Kind::Enum { .. } => true,
        Kind::Array { element, .. } => element.kind == Kind::Char,
        Kind::Prefix | Kind::Pointer | Kind::Record { .. } | Kind::Opaque => false,
    }
}
