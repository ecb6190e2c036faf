//! The kernel's configuration as an object sees it: libbpf's `__kconfig` variables.
//!
//! An object names them (`extern _Bool CONFIG_BPF_JIT __kconfig;`) and does not define them. They
//! become the one value of a read-only array map, each at the place where libbpf has it, so that
//! the verifier knows them as constants and drops the code that they rule out. Laying them out is
//! pure; what the kernel says of itself is read only when the map is made, so that a loaded
//! extension never sees two configurations. A value that its variable cannot hold is an error,
//! never cut to fit; only strings are, as with libbpf.

use std::{
    cmp::Reverse,
    fs::{self, File},
    io::{self, Read as _},
};

use aya::util::KernelVersion;
use aya_obj::generated::BPF_PSEUDO_MAP_VALUE;
use flate2::read::GzDecoder;
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, read::elf::ElfFile64,
};

use super::{
    LOAD_IMM64,
    btf::{KIND_ARRAY, KIND_ENUM, KIND_INT, Types},
    elf::Extern,
    instructions_at,
};
use crate::error::{Error, Result};

/// The map's name.
pub(crate) const MAP: &str = ".kconfig";

/// More is no configuration, but a file that wants the memory.
const MAX_SIZE: usize = 1 << 20;

/// Not in the configuration by this name; what it means is.
const WRAPPER: &str = "LINUX_HAS_SYSCALL_WRAPPER";

/// The variables of an object, laid out, and where it refers to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kconfig {
    variables: Vec<Variable>,
    /// Each instruction's place, and the place of what it loads in the map's value.
    references: Vec<((usize, u64), usize)>,
}

#[derive(Clone, Debug)]
struct Variable {
    symbol: String,
    weak: bool,
    shape: Shape,
    offset: usize,
}

/// What a variable can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bool,
    /// `enum libbpf_tristate`
    Tristate,
    /// Of one byte it is a `char`, which takes the letters `y`, `m` and `n`, too.
    Integer {
        size: usize,
        signed: bool,
    },
    Text {
        size: usize,
    },
}

impl Kconfig {
    /// Reads which of the symbols that an object lacks are its `__kconfig` variables, and takes
    /// the references to them out of `externs`.
    pub(super) fn read(
        object: &str,
        file: &ElfFile64<'_, Endianness>,
        externs: &mut Vec<Extern>,
    ) -> Result<Self> {
        let bad = |cause: &str| Error::NotAnObject {
            object: object.to_owned(),
            cause: cause.to_owned(),
        };
        let Some(section) = file.section_by_name(".BTF") else {
            return Ok(Self::default());
        };
        let types = section.data().ok().and_then(Types::parse);
        let types = types.ok_or_else(|| bad("malformed BTF"))?;
        let declared = types.section_variables(MAP);
        let mut variables: Vec<Variable> = Vec::new();
        for symbol in file.symbols().filter(|symbol| symbol.is_undefined()) {
            let name = symbol.name().unwrap_or_default();
            let named = |id: &&u32| types.name_of(**id) == Some(name.as_bytes());
            let Some(id) = declared.iter().find(named) else {
                continue;
            };
            variables.push(Variable {
                symbol: name.to_owned(),
                weak: symbol.is_weak(),
                shape: Shape::of(&types, *id).ok_or_else(|| Error::ConfigType {
                    object: object.to_owned(),
                    symbol: name.to_owned(),
                    cause: "its type is none that a configuration has values of".to_owned(),
                })?,
                offset: 0,
            });
        }
        let mut kconfig = Self::laid_out(variables).ok_or_else(|| bad("too large a .kconfig"))?;
        externs.retain(|reference| {
            let mut variables = kconfig.variables.iter();
            let variable = variables.find(|variable| variable.symbol == reference.symbol);
            kconfig
                .references
                .extend(variable.map(|variable| (reference.place, variable.offset)));
            variable.is_none()
        });
        Ok(kconfig)
    }

    /// Gives each its place, in libbpf's order: so the map's contents are the same by either.
    fn laid_out(mut variables: Vec<Variable>) -> Option<Self> {
        variables.sort_by_cached_key(|Variable { symbol, shape, .. }| {
            (Reverse(shape.alignment()), shape.size(), symbol.clone())
        });
        let mut end = 0_usize;
        for Variable { shape, offset, .. } in &mut variables {
            *offset = end.next_multiple_of(shape.alignment());
            end = offset.checked_add(shape.size())?;
            if end > MAX_SIZE {
                return None;
            }
        }
        Some(Self {
            variables,
            references: Vec::new(),
        })
    }

    /// The values that the object asks for, and whether it can do without.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&str, bool)> {
        self.variables
            .iter()
            .map(|variable| (variable.symbol.as_str(), variable.weak))
    }

    /// Whether the object has none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// The map's value, by what the running kernel says of itself.
    ///
    /// # Errors
    ///
    /// [`Error::NoConfig`], [`Error::NoSymbol`], [`Error::ConfigType`].
    pub(crate) fn value(&self, object: &str) -> Result<Vec<u8>> {
        let symbols = self.variables.iter().map(|variable| &variable.symbol);
        let mut configured =
            symbols.filter(|symbol| symbol.starts_with("CONFIG_") || *symbol == WRAPPER);
        let configuration = match configured.next() {
            Some(symbol) => configuration().map_err(|source| Error::NoConfig {
                object: object.to_owned(),
                symbol: symbol.clone(),
                source,
            })?,
            None => String::new(),
        };
        self.value_by(object, &(not_configured(&configuration) + &configuration))
    }

    /// The map's value, by a configuration's text.
    fn value_by(&self, object: &str, text: &str) -> Result<Vec<u8>> {
        let size = self
            .variables
            .last()
            .map_or(0, |last| last.offset + last.shape.size());
        let mut value = vec![0; size];
        for variable in &self.variables {
            let symbol = &variable.symbol;
            let Some(said) = look_up(text, symbol) else {
                if variable.weak {
                    continue;
                }
                return Err(Error::NoSymbol {
                    object: object.to_owned(),
                    symbol: symbol.clone(),
                });
            };
            let bytes = variable.shape.encode(said);
            let bytes = bytes.ok_or_else(|| Error::ConfigType {
                object: object.to_owned(),
                symbol: symbol.clone(),
                cause: format!("it is {said} in this kernel, which its type cannot hold"),
            })?;
            let place = value.iter_mut().skip(variable.offset);
            place.zip(bytes).for_each(|(place, byte)| *place = byte);
        }
        Ok(value)
    }

    /// Lets the instructions load from the map. `None` if one is no load.
    pub(super) fn link(&self, parsed: &mut aya_obj::Object, map: i32) -> Option<()> {
        for (place, offset) in &self.references {
            let Some(instructions) = instructions_at(parsed, *place) else {
                continue;
            };
            let [load, rest, ..] = instructions else {
                return None;
            };
            if load.code != LOAD_IMM64 {
                return None;
            }
            load.set_src_reg(u8::try_from(BPF_PSEUDO_MAP_VALUE).ok()?);
            load.imm = map;
            rest.imm = i32::try_from(*offset).ok()?;
        }
        Some(())
    }
}

impl Shape {
    /// That of a variable. `None` if no configuration holds such a thing.
    fn of(types: &Types<'_>, variable: u32) -> Option<Self> {
        let id = types.bare(types.refers_to(variable)?)?;
        match types.kind(id)? {
            KIND_INT => Self::of_integer(types, id),
            KIND_ENUM => {
                let fits = types.refers_to(id) == Some(4);
                (fits && types.name_of(id)? == b"libbpf_tristate").then_some(Self::Tristate)
            }
            KIND_ARRAY => {
                let (element, size) = types.array(id)?;
                let element = types.bare(element)?;
                let letters = types.kind(element)? == KIND_INT
                    && matches!(
                        Self::of_integer(types, element),
                        Some(Self::Integer { size: 1, .. })
                    );
                (letters && size > 0).then_some(Self::Text { size })
            }
            _ => None,
        }
    }

    fn of_integer(types: &Types<'_>, id: u32) -> Option<Self> {
        const SIGNED: u32 = 1;
        const BOOL: u32 = 4;
        let size = types.refers_to(id)? as usize;
        let encoding = types.encoding(id)?;
        match size {
            1 if encoding & BOOL != 0 => Some(Self::Bool),
            1 | 2 | 4 | 8 if encoding & BOOL == 0 => Some(Self::Integer {
                size,
                signed: encoding & SIGNED != 0,
            }),
            _ => None,
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Tristate => 4,
            Self::Integer { size, .. } | Self::Text { size } => size,
        }
    }

    const fn alignment(self) -> usize {
        match self {
            Self::Bool | Self::Text { .. } => 1,
            Self::Tristate | Self::Integer { .. } => self.size(),
        }
    }

    /// What the configuration says, as the variable's first bytes; the others are 0. `None` if it
    /// cannot hold that. Objects of another byte order than little are not parsed.
    fn encode(self, said: &str) -> Option<Vec<u8>> {
        Some(match (self, said) {
            (Self::Bool, "n" | "0") | (Self::Tristate, "n") => vec![0],
            (Self::Bool, "y" | "1") | (Self::Tristate, "y") => vec![1],
            (Self::Tristate, "m") => vec![2],
            (Self::Bool | Self::Tristate, _) => return None,
            (Self::Integer { size: 1, .. }, "n" | "y" | "m") => said.as_bytes().to_vec(),
            (Self::Integer { size, signed }, _) => {
                let number = number(said)?;
                let unused = 64 - 8 * u32::try_from(size).ok()?;
                let kept = number << unused;
                let back = if signed {
                    (kept.cast_signed() >> unused).cast_unsigned()
                } else {
                    kept >> unused
                };
                let bytes = number.to_le_bytes().into_iter().take(size);
                return (back == number).then(|| bytes.collect());
            }
            (Self::Text { size }, _) => {
                let text = said.strip_prefix('"')?.strip_suffix('"')?;
                // The last byte stays 0.
                text.bytes().take(size - 1).collect()
            }
        })
    }
}

/// A number of a configuration, in two's complement.
fn number(said: &str) -> Option<u64> {
    if let Some(digits) = said.strip_prefix('-') {
        let number: u64 = digits.parse().ok()?;
        return Some(number.wrapping_neg());
    }
    match said.strip_prefix("0x").or_else(|| said.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => said.parse().ok(),
    }
}

/// What a configuration's text, of lines `NAME=value`, says of a symbol.
fn look_up<'a>(text: &'a str, symbol: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    let said = lines.find_map(|line| line.strip_prefix(symbol)?.strip_prefix('='));
    said.map(str::trim_end)
}

/// The values that libbpf makes up, as lines of a configuration.
fn not_configured(configuration: &str) -> String {
    let cookie = u8::from(aya::features().bpf_cookie());
    let wrapper = look_up(configuration, "CONFIG_ARCH_HAS_SYSCALL_WRAPPER") == Some("y");
    let wrapper = u8::from(wrapper);
    let version = KernelVersion::current().map_or_else(
        |_| String::new(),
        |version| format!("LINUX_KERNEL_VERSION={}\n", version.code()),
    );
    format!("{version}LINUX_HAS_BPF_COOKIE={cookie}\n{WRAPPER}={wrapper}\n")
}

/// The running kernel's configuration: its own word for it, else what its distribution put down.
fn configuration() -> io::Result<String> {
    let own = || {
        let mut bytes = Vec::new();
        let file = File::open("/proc/config.gz")?;
        GzDecoder::new(file).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let bytes = own()
        .or_else(|_| fs::read(format!("/lib/modules/{release}/config")))
        .or_else(|_| fs::read(format!("/boot/config-{release}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the running kernel has been built with a feature, or has it as a module.
pub(super) fn enabled(name: &str) -> io::Result<bool> {
    let configuration = configuration()?;
    Ok(matches!(look_up(&configuration, name), Some("y" | "m")))
}

#[cfg(test)]
mod tests;
