//! What an object needs from the kernel, worked out from the object itself: the helpers and
//! kernel functions that it calls, the types of its maps and programs, the kernel's own types
//! that it is fitted to, and values of its configuration.
//!
//! Each with the first kernel that has it, where that is known, and whether the running one has
//! it, where its types tell. A call in a branch that the verifier never reaches counts too.
//!
//! ```no_run
//! # let object = nke::object::Object::parse("counter", Vec::new())?;
//! for need in &object.needs().helpers {
//!     println!("{}", need.name);
//! }
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};

use object::{Endianness, Object as _, ObjectSection as _, read::elf::ElfFile64};
use serde::Serialize;

use super::{
    Feature, Object, Program, btf, co_re,
    externs::{CALL, CGROUP, LOAD_IMM64, OFFSET},
    kconfig,
    reach::Place,
};
use crate::{
    error::{Error, Result},
    hook::Hook,
    kernel::{
        Version,
        known::{self, Kind},
    },
};

/// One thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// What the kernel calls it.
    pub name: String,
    /// The first kernel that has it; `null` if that is not known.
    pub since: Option<Version>,
    /// Whether the object can do without.
    pub optional: bool,
    /// Whether the running kernel has it; `null` if that cannot be told.
    pub here: Option<bool>,
}

/// What one program needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramNeeds {
    /// Its symbol.
    pub program: String,
    /// Its section.
    pub section: String,
    /// The type that it is loaded as; `null` if nke loads none of its kind.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// The hooks that it serves.
    pub hooks: Vec<Hook>,
    /// Its instructions, before anything is linked to it.
    pub instructions: usize,
    /// The first kernel that can run it, as far as is known: at one of its hooks, and with all that
    /// it calls and its object's maps are.
    pub since: Version,
}

/// What an object needs from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// The first kernel that can run one of its programs, as far as is known.
    pub kernel: Option<Version>,
    /// Its programs, each with the first kernel for it.
    pub programs: Vec<ProgramNeeds>,
    /// Types of programs.
    pub program_types: Vec<Need>,
    /// Types of maps.
    pub map_types: Vec<Need>,
    /// Functions that are called by number.
    pub helpers: Vec<Need>,
    /// Functions that are called by name.
    pub kfuncs: Vec<Need>,
    /// Variables.
    pub variables: Vec<Need>,
    /// Types, and members of types, that it is fitted to (CO-RE).
    pub types: Vec<Need>,
    /// Values of the kernel's configuration.
    pub config: Vec<Need>,
}

impl Needs {
    /// Everything that the running kernel surely lacks and the object cannot do without.
    pub fn missing(&self) -> impl Iterator<Item = (&'static str, &Need)> {
        let Self {
            kernel: _,
            programs: _,
            program_types,
            map_types,
            helpers,
            kfuncs,
            variables,
            types,
            config,
        } = self;
        let kinds = [
            ("program type", program_types),
            ("map type", map_types),
            ("helper", helpers),
            ("kernel function", kfuncs),
            ("kernel variable", variables),
            ("kernel type", types),
            ("configuration value", config),
        ];
        let all = kinds
            .into_iter()
            .flat_map(|(kind, needs)| needs.iter().map(move |n| (kind, n)));
        all.filter(|(_, need)| need.here == Some(false) && !need.optional)
    }
}

/// Whether the running kernel has something; `None` if it shows no types.
fn kernel_has(kind: Kind, name: &str) -> Option<bool> {
    let types = btf::Types::of_kernel()?;
    let upper = name.to_ascii_uppercase();
    match kind {
        Kind::Helper => types.has_value(b"bpf_func_id", format!("BPF_FUNC_{name}").as_bytes()),
        Kind::Map => types.has_value(b"bpf_map_type", format!("BPF_MAP_TYPE_{upper}").as_bytes()),
        Kind::Program => types.has_value(
            b"bpf_prog_type",
            format!("BPF_PROG_TYPE_{upper}").as_bytes(),
        ),
        Kind::Kfunc => Some(types.find(btf::KIND_FUNC, name.as_bytes()).is_some()),
    }
}

/// As [`kernel_has`]; where the kernel shows no types, by its version.
pub(super) fn has_or_is_newer(kind: Kind, name: &str) -> Option<bool> {
    kernel_has(kind, name)
        .or_else(|| known::since(kind, name).map(|since| Version::running() >= since))
}

/// Why the running kernel has not a feature that a manifest requires, in words.
fn unmet(feature: &Feature) -> Option<String> {
    let has = |kind, name: &str| has_or_is_newer(kind, name).unwrap_or_default();
    let met = match feature {
        Feature::Btf => btf::Types::of_kernel().is_some(),
        Feature::Config(name) => match kconfig::enabled(name) {
            Ok(enabled) => enabled,
            Err(error) => {
                return Some(format!(
                    "{feature}, and its configuration cannot be read ({error})"
                ));
            }
        },
        Feature::Kfunc(name) => has(Kind::Kfunc, name),
        Feature::Type(name) => {
            let types = btf::Types::of_kernel();
            types.is_some_and(|types| types.find(btf::KIND_STRUCT, name.as_bytes()).is_some())
        }
        Feature::Helper(name) => has(Kind::Helper, name.strip_prefix("bpf_").unwrap_or(name)),
        Feature::Map(name) => has(Kind::Map, name),
        Feature::Program(name) => has(Kind::Program, name),
    };
    (!met).then(|| feature.to_string())
}

fn need(kind: Kind, name: &str, optional: bool) -> Need {
    Need {
        name: match kind {
            Kind::Helper => format!("bpf_{name}"),
            Kind::Map | Kind::Program | Kind::Kfunc => name.to_owned(),
        },
        since: known::since(kind, name),
        optional,
        here: has_or_is_newer(kind, name),
    }
}

/// A number of an enumeration by its name; one that is not known is left a number, which a newer
/// kernel may know.
fn numbered(kind: Kind, number: u32) -> Need {
    match known::name(kind, number) {
        Some(name) => need(kind, name, false),
        None => Need {
            name: format!("#{number}"),
            since: None,
            optional: false,
            here: None,
        },
    }
}

impl Object {
    /// What its manifest requires and the running kernel lacks, in words.
    pub(crate) fn unmet(&self) -> Vec<String> {
        let requires = &self.manifest.requires;
        let newer = requires
            .kernel
            .filter(|kernel| *kernel > Version::running());
        let kernel = newer.map(|kernel| format!("Linux {kernel}"));
        let features = requires.features.iter().filter_map(unmet);
        kernel.into_iter().chain(features).collect()
    }

    /// Refuses an object whose manifest requires what the running kernel lacks.
    ///
    /// # Errors
    ///
    /// [`Error::Unmet`].
    pub(crate) fn refuse_unmet(&self) -> Result<()> {
        let lacks = self.unmet();
        if lacks.is_empty() {
            return Ok(());
        }
        Err(Error::Unmet {
            object: self.name.clone(),
            running: Version::running(),
            lacks,
        })
    }

    /// What it needs from the kernel.
    pub fn needs(&self) -> Needs {
        let helpers = self.helpers();
        let all: BTreeSet<u32> = helpers.values().flatten().copied().collect();
        let maps: BTreeSet<u32> = self.maps().map(|(_, map)| map.map_type()).collect();
        let (kfuncs, variables) = self.symbols();
        let mut needs = Needs {
            kernel: None,
            programs: Vec::new(),
            program_types: Vec::new(),
            map_types: maps.iter().map(|kind| numbered(Kind::Map, *kind)).collect(),
            helpers: all.iter().map(|id| self.helper(*id)).collect(),
            kfuncs,
            variables,
            types: self.kernel_types(),
            config: self.config(),
        };
        for program in &self.programs {
            let own = self.program_needs(program, &helpers, &needs.map_types);
            if let Some(kind) = own.kind
                && !needs.program_types.iter().any(|need| need.name == kind)
            {
                needs.program_types.push(need(Kind::Program, kind, false));
            }
            needs.programs.push(own);
        }
        let runnable = needs
            .programs
            .iter()
            .filter(|program| program.kind.is_some());
        needs.kernel = runnable.map(|program| program.since).min();
        needs
    }

    fn helper(&self, number: u32) -> Need {
        Need {
            optional: self.does_without(number),
            ..numbered(Kind::Helper, number)
        }
    }

    /// The helpers that each function calls, by number.
    fn helpers(&self) -> BTreeMap<Place, BTreeSet<u32>> {
        let filled_in: HashSet<_> = self.externs.iter().map(|e| e.place).collect();
        let mut helpers: BTreeMap<Place, BTreeSet<u32>> = BTreeMap::new();
        for function in self.parsed.functions.values() {
            let section = function.section_index.0;
            for (at, instruction) in function.instructions.iter().enumerate() {
                let offset = function.section_offset + at * size_of_val(instruction);
                let called = instruction.code == CALL
                    && instruction.src_reg() == 0
                    && !filled_in.contains(&(section, offset as u64));
                if let (true, Ok(id)) = (called, u32::try_from(instruction.imm)) {
                    let function = (section, function.section_offset as u64);
                    helpers.entry(function).or_default().insert(id);
                }
            }
        }
        helpers
    }

    fn program_needs(
        &self,
        program: &Program,
        helpers: &BTreeMap<Place, BTreeSet<u32>>,
        maps: &[Need],
    ) -> ProgramNeeds {
        let section = program.section_index;
        let reached = self.reached(section);
        let called = helpers
            .iter()
            .filter(|(function, _)| reached.contains(function));
        let called = called.flat_map(|(_, ids)| ids);
        let called = called.filter(|id| !self.does_without(**id));
        let helper = |id: &u32| known::since(Kind::Helper, known::name(Kind::Helper, *id)?);
        let strong = self.externs_of(section).filter(|e| !e.weak);
        let kfunc = |symbol: &str| known::since(Kind::Kfunc, symbol);
        let kind = if program.is_syscall() {
            Some("syscall")
        } else if program.is_iterator() {
            Some("tracing")
        } else {
            let types = program
                .hooks
                .iter()
                .map(|hook| hook.row().program_type as u32);
            types
                .into_iter()
                .find_map(|number| known::name(Kind::Program, number))
        };
        let hook = program.hooks.iter().map(|hook| hook.row().since).min();
        let sinces = hook
            .into_iter()
            .chain(kind.and_then(|kind| known::since(Kind::Program, kind)))
            .chain(called.filter_map(helper))
            .chain(strong.filter_map(|e| kfunc(&e.symbol)))
            .chain(maps.iter().filter_map(|need| need.since));
        let functions = self.parsed.functions.values();
        let own = functions.filter(|function| function.section_index.0 == section);
        ProgramNeeds {
            program: program.symbol.clone(),
            section: program.section.clone(),
            kind,
            hooks: program.hooks.clone(),
            instructions: own.map(|function| function.instructions.len()).sum(),
            since: sinces.max().unwrap_or(Version::new(0, 0)),
        }
    }

    /// The kernel's functions, and its variables, that it leaves undefined.
    fn symbols(&self) -> (Vec<Need>, Vec<Need>) {
        let (mut functions, mut variables): (Vec<Need>, Vec<Need>) = (Vec::new(), Vec::new());
        for reference in &self.externs {
            if reference.symbol.starts_with(OFFSET) || reference.symbol == CGROUP {
                continue;
            }
            let is_call = self.code_at(reference.place) == Some(CALL);
            let list = if is_call {
                &mut functions
            } else {
                &mut variables
            };
            match list.iter_mut().find(|need| need.name == reference.symbol) {
                Some(known) => known.optional &= reference.weak,
                None if is_call => list.push(need(Kind::Kfunc, &reference.symbol, reference.weak)),
                None => list.push(Need {
                    name: reference.symbol.clone(),
                    since: None,
                    optional: reference.weak,
                    here: btf::Types::of_kernel().map(|types| {
                        types
                            .find(btf::KIND_VAR, reference.symbol.as_bytes())
                            .is_some()
                    }),
                }),
            }
        }
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        variables.sort_by(|one, other| one.name.cmp(&other.name));
        (functions, variables)
    }

    fn code_at(&self, (section, offset): (usize, u64)) -> Option<u8> {
        self.parsed.functions.values().find_map(|function| {
            let here = function.section_index.0 == section;
            let offset = usize::try_from(offset)
                .ok()?
                .checked_sub(function.section_offset)?;
            let instruction = function.instructions.get(offset / 8).filter(|_| here)?;
            Some(instruction.code).filter(|code| [CALL, LOAD_IMM64].contains(code))
        })
    }

    /// The kernel's types that it is fitted to, by CO-RE or by symbols of its own.
    fn kernel_types(&self) -> Vec<Need> {
        let uses = || {
            let file = ElfFile64::<Endianness>::parse(self.bytes.as_slice()).ok()?;
            let section = |name| file.section_by_name(name)?.data().ok();
            Some(co_re::uses(section(".BTF")?, section(".BTF.ext")?))
        };
        let mut uses = uses().unwrap_or_default();
        let offsets = self.externs.iter().filter_map(|reference| {
            let (structure, member) = reference.symbol.strip_prefix(OFFSET)?.split_once("__")?;
            Some(co_re::Use {
                name: structure.to_owned(),
                kind: btf::KIND_STRUCT,
                member: Some(member.to_owned()),
                weak: reference.weak,
            })
        });
        uses.extend(offsets);
        uses.sort();
        uses.dedup();
        uses.iter().map(kernel_type).collect()
    }

    fn config(&self) -> Vec<Need> {
        let values = self.kconfig.wanted();
        let value = |(name, optional): (&str, bool)| Need {
            name: name.to_owned(),
            since: None,
            optional,
            here: None,
        };
        values.map(value).collect()
    }
}

fn kernel_type(used: &co_re::Use) -> Need {
    let co_re::Use {
        name,
        kind,
        member,
        weak,
    } = used;
    let here = btf::Types::of_kernel().map(|types| {
        let found = types.find(*kind, name.as_bytes());
        let has = |id| match member {
            Some(member) => types.has_member(id, member.as_bytes(), 4),
            None => true,
        };
        found.is_some_and(has)
    });
    Need {
        name: match member {
            Some(member) => format!("{name}.{member}"),
            None => name.clone(),
        },
        since: None,
        optional: *weak,
        here,
    }
}
