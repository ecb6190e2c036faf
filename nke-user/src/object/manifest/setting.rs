//! An extension's settings: their types, and what values they take.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A setting's type: how many bytes it has where it lives, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// A byte that is 0 or 1.
    Bool,
    /// An unsigned number of 1 byte, in this machine's byte order as all numbers are.
    U8,
    /// Of 2 bytes.
    U16,
    /// Of 4 bytes.
    U32,
    /// Of 8 bytes.
    U64,
    /// A signed number of 1 byte.
    I8,
    /// Of 2 bytes.
    I16,
    /// Of 4 bytes.
    I32,
    /// Of 8 bytes.
    I64,
    /// Text in an array of bytes, with a zero byte behind it.
    String,
    /// An IPv4 address: 4 bytes, as on the wire.
    Ipv4,
    /// An IPv6 address: 16 bytes, as on the wire.
    Ipv6,
    /// A hardware address: 6 bytes, as on the wire.
    Mac,
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// Of [`SettingType::Bool`].
    Bool(bool),
    /// Of all types of numbers.
    Number(i128),
    /// Of [`SettingType::String`], without a zero byte.
    Text(String),
    /// Of [`SettingType::Ipv4`].
    Ipv4(Ipv4Addr),
    /// Of [`SettingType::Ipv6`].
    Ipv6(Ipv6Addr),
    /// Of [`SettingType::Mac`].
    Mac([u8; 6]),
}

impl SettingType {
    /// Its bytes, where that does not lie with the variable.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::Ipv4 => Some(4),
            Self::U64 | Self::I64 => Some(8),
            Self::Mac => Some(6),
            Self::Ipv6 => Some(16),
            Self::String => None,
        }
    }

    /// The lowest and the highest number, of types of numbers.
    pub const fn limits(self) -> Option<(i128, i128)> {
        match self {
            Self::U8 => Some((0, u8::MAX as i128)),
            Self::U16 => Some((0, u16::MAX as i128)),
            Self::U32 => Some((0, u32::MAX as i128)),
            Self::U64 => Some((0, u64::MAX as i128)),
            Self::I8 => Some((i8::MIN as i128, i8::MAX as i128)),
            Self::I16 => Some((i16::MIN as i128, i16::MAX as i128)),
            Self::I32 => Some((i32::MIN as i128, i32::MAX as i128)),
            Self::I64 => Some((i64::MIN as i128, i64::MAX as i128)),
            Self::Bool | Self::String | Self::Ipv4 | Self::Ipv6 | Self::Mac => None,
        }
    }

    /// Reads a value as it is typed: `true`, `1500`, `0x1f`, `192.0.2.1`, any text. What is wrong
    /// with it in words.
    pub fn parse(self, text: &str) -> Result<SettingValue, String> {
        let wrong = || format!("{text:?} is no {self}");
        match self {
            Self::Bool => match text {
                "true" | "on" | "yes" | "1" => Ok(SettingValue::Bool(true)),
                "false" | "off" | "no" | "0" => Ok(SettingValue::Bool(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            Self::String if text.contains('\0') => Err("text cannot hold a zero byte".to_owned()),
            Self::String => Ok(SettingValue::Text(text.to_owned())),
            Self::Ipv4 => text.parse().map(SettingValue::Ipv4).map_err(|_| wrong()),
            Self::Ipv6 => text.parse().map(SettingValue::Ipv6).map_err(|_| wrong()),
            Self::Mac => mac(text).map(SettingValue::Mac).ok_or_else(wrong),
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => self.number(text),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => self.number(text),
        }
    }

    fn number(self, text: &str) -> Result<SettingValue, String> {
        let number = match text.strip_prefix("0x") {
            Some(digits) if !digits.starts_with(['+', '-']) => i128::from_str_radix(digits, 16),
            Some(_) | None => i128::from_str(text),
        };
        let number = number.map_err(|_| format!("{text:?} is no {self}"))?;
        match self.limits() {
            Some((lowest, highest)) if !(lowest..=highest).contains(&number) => Err(format!(
                "{number} is no {self}, which is from {lowest} to {highest}"
            )),
            Some(_) | None => Ok(SettingValue::Number(number)),
        }
    }
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| !part.starts_with('+'))?;
    }
    parts.next().is_none().then_some(bytes)
}

impl fmt::Display for SettingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::String => "string",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
        })
    }
}

impl SettingValue {
    /// As bytes, in the order that the type says. Text has a zero byte behind it.
    pub fn encode(&self, kind: SettingType) -> Vec<u8> {
        match self {
            Self::Bool(value) => vec![u8::from(*value)],
            // A number in its type's limits loses nothing: two's complement, cut to size.
            Self::Number(value) => {
                let size = kind.size().unwrap_or_default();
                let bytes = value.to_le_bytes();
                let mut bytes = bytes.get(..size).unwrap_or(&bytes).to_vec();
                if cfg!(target_endian = "big") {
                    bytes.reverse();
                }
                bytes
            }
            Self::Text(text) => text.bytes().chain([0]).collect(),
            Self::Ipv4(address) => address.octets().to_vec(),
            Self::Ipv6(address) => address.octets().to_vec(),
            Self::Mac(bytes) => bytes.to_vec(),
        }
    }
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
        }
    }
}

impl Serialize for SettingValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_u64(value),
                (Err(_), Ok(value)) => serializer.serialize_i64(value),
                (Err(_), Err(_)) => serializer.collect_str(value),
            },
            Self::Text(_) | Self::Ipv4(_) | Self::Ipv6(_) | Self::Mac(_) => {
                serializer.collect_str(self)
            }
        }
    }
}

/// A setting that an extension has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", rename_all = "kebab-case")]
pub struct Setting {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// What it is when nobody has said otherwise; without one, what the object has there.
    pub default: Option<SettingValue>,
    /// The lowest number that it takes.
    pub minimum: Option<SettingValue>,
    /// The highest number that it takes.
    pub maximum: Option<SettingValue>,
    /// What it does, in a line.
    pub description: String,
    /// The map that it lives in: a data section (`.data`, `.bss`), or an array's first element.
    /// Without one, the data section that holds the variable.
    pub map: Option<String>,
    /// The variable of the data section, or the member of the array's element, that it is; without
    /// one, the one of the setting's name.
    pub variable: Option<String>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Raw {
    #[serde(rename = "type")]
    kind: SettingType,
    default: Option<toml::Value>,
    minimum: Option<toml::Value>,
    maximum: Option<toml::Value>,
    #[serde(default)]
    description: String,
    map: Option<String>,
    variable: Option<String>,
}

impl TryFrom<Raw> for Setting {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw {
            kind,
            default,
            minimum,
            maximum,
            description,
            map,
            variable,
        } = raw;
        let read = |name: &str, value: Option<toml::Value>| {
            let value = value.map(|value| written(kind, &value)).transpose();
            value.map_err(|cause| format!("{name}: {cause}"))
        };
        let setting = Self {
            kind,
            default: read("default", default)?,
            minimum: read("minimum", minimum)?,
            maximum: read("maximum", maximum)?,
            description,
            map,
            variable,
        };
        let limited = setting.minimum.is_some() || setting.maximum.is_some();
        if limited && kind.limits().is_none() {
            return Err(format!("a {kind} has no minimum and no maximum"));
        }
        if let (Some(SettingValue::Number(low)), Some(SettingValue::Number(high))) =
            (&setting.minimum, &setting.maximum)
            && low > high
        {
            return Err(format!("its minimum {low} is above its maximum {high}"));
        }
        if let Some(default) = &setting.default {
            setting
                .check(default)
                .map_err(|cause| format!("default: {cause}"))?;
        }
        Ok(setting)
    }
}

/// A value as TOML has it; a number too large for TOML can be a string, as all others can.
fn written(kind: SettingType, value: &toml::Value) -> Result<SettingValue, String> {
    match (kind, value) {
        (_, toml::Value::String(text)) => kind.parse(text),
        (SettingType::Bool, toml::Value::Boolean(value)) => Ok(SettingValue::Bool(*value)),
        (kind, toml::Value::Integer(value)) if kind.limits().is_some() => {
            kind.parse(&value.to_string())
        }
        (_, other) => Err(format!("a {} is no {kind}", other.type_str())),
    }
}

impl Setting {
    /// Reads a value as it is typed, and checks it. What is wrong with it in words.
    pub fn parse(&self, text: &str) -> Result<SettingValue, String> {
        let value = self.kind.parse(text)?;
        self.check(&value)?;
        Ok(value)
    }

    /// Whether a value is within the bounds.
    fn check(&self, value: &SettingValue) -> Result<(), String> {
        let SettingValue::Number(value) = value else {
            return Ok(());
        };
        match (&self.minimum, &self.maximum) {
            (Some(SettingValue::Number(low)), _) if value < low => {
                Err(format!("{value} is below the minimum {low}"))
            }
            (_, Some(SettingValue::Number(high))) if value > high => {
                Err(format!("{value} is above the maximum {high}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(text: &str) -> Result<Setting, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn values_are_read_and_checked() {
        let limit = setting("type = 'u16'\ndefault = 80\nminimum = 1\nmaximum = 1024").unwrap();
        assert_eq!(limit.default, Some(SettingValue::Number(80)));
        assert_eq!(limit.parse("0x50"), Ok(SettingValue::Number(80)));
        for bad in ["0", "1025", "-1", "65616", "", "0x-1", "80 ", "٣"] {
            assert!(limit.parse(bad).is_err(), "{bad:?}");
        }
        let all = setting("type = 'u64'\ndefault = '18446744073709551615'").unwrap();
        assert_eq!(all.default.unwrap().encode(SettingType::U64), [0xff; 8]);
        let low = setting("type = 'i8'\ndefault = -128").unwrap();
        assert_eq!(low.default.unwrap().encode(SettingType::I8), [0x80]);
        let two = SettingType::U32.parse("258").unwrap();
        assert_eq!(two.encode(SettingType::U32), 258u32.to_ne_bytes());
        let address = SettingType::Ipv4.parse("192.0.2.1").unwrap();
        assert_eq!(address.encode(SettingType::Ipv4), [192, 0, 2, 1]);
        let mac = SettingType::Mac.parse("02:00:5e:00:53:ff").unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:53:ff");
        assert_eq!(mac.encode(SettingType::Mac).len(), 6);
    }

    #[test]
    fn declarations_that_contradict_themselves_are_refused() {
        for bad in [
            "default = 1",
            "type = 'u128'",
            "type = 'u8'\ndefault = 256",
            "type = 'u8'\ndefault = true",
            "type = 'bool'\ndefault = 1",
            "type = 'bool'\nminimum = 'true'",
            "type = 'u8'\nminimum = 9\nmaximum = 8",
            "type = 'u8'\nminimum = 9\ndefault = 8",
            "type = 'ipv4'\ndefault = '::1'",
            "type = 'ipv6'\ndefault = '192.0.2.1'",
            "type = 'mac'\ndefault = '02:00:5e:00:53'",
            "type = 'mac'\ndefault = '+2:00:5e:00:53:01'",
            "type = 'string'\ndefault = \"a\\u0000b\"",
            "type = 'string'\ndefault = ['a']",
            "type = 'u8'\nunit = 'ms'",
        ] {
            assert!(setting(bad).is_err(), "{bad}");
        }
    }
}
