//! What nke reads from an ELF file itself, before aya-obj parses it: which programs there are,
//! under the section names that their author gave them, and which kernel symbols they call.
//!
//! aya-obj refuses section names that it does not know, `tc` and `tcx/ingress` among them. The
//! name only chooses a program type, which nke chooses by the hook; so every program section is
//! renamed to one that aya-obj knows, and the real names are kept here.

use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind,
    SymbolKind,
    elf::EM_BPF,
    read::elf::{ElfFile64, FileHeader as _},
};

use super::{
    btf::Types,
    define,
    initial::{self, Initial},
    kconfig::Kconfig,
    reach, rename,
};
use crate::{error::Error, hook::Hook};

/// A program as its author named it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The main function.
    pub symbol: String,
    /// The ELF section.
    pub section: String,
    /// The hooks that the section's name says, the default first.
    pub hooks: Vec<Hook>,
    /// Whether it takes packets of several buffers (`xdp.frags`).
    pub frags: bool,
    /// The ELF section's number.
    pub(super) section_index: usize,
}

impl Program {
    /// Whether it is of type SYSCALL: run by itself, and not by what packets or sockets do.
    pub fn is_syscall(&self) -> bool {
        let section = self.section.trim_start_matches('?');
        section == "syscall" || section.starts_with("syscall/")
    }

    /// Whether the kernel runs it over all objects of a kind.
    pub fn is_iterator(&self) -> bool {
        self.section.starts_with(ITERATOR)
    }
}

/// A reference to a kernel function or variable, to be filled in.
#[derive(Clone, Debug)]
pub(super) struct Extern {
    /// The section's index and the offset of the instruction in it.
    pub(super) place: (usize, u64),
    pub(super) symbol: String,
    pub(super) weak: bool,
}

/// What was read, and the file as aya-obj can parse it.
#[derive(Default)]
pub(super) struct Elf {
    pub(super) bytes: Vec<u8>,
    pub(super) programs: Vec<Program>,
    pub(super) externs: Vec<Extern>,
    pub(super) calls: reach::Calls,
    /// The maps that it only names, and another extension defines.
    pub(super) extern_maps: Vec<String>,
    pub(super) initials: Vec<Initial>,
    pub(super) kconfig: Kconfig,
    pub(super) manifest: Vec<u8>,
    /// Sections of code that are no kind of program.
    pub(super) unknown: Vec<String>,
}

/// The first part of the section names of programs that the kernel runs over what there is.
pub(super) const ITERATOR: &str = "iter/";

/// First parts of section names that libbpf knows, without those of [`Hook::of_section`].
const OTHER_PROGRAMS: &[&str] = &[
    "socket",
    "kprobe",
    "kretprobe",
    "ksyscall",
    "kretsyscall",
    "uprobe",
    "uretprobe",
    "usdt",
    "tracepoint",
    "tp",
    "raw_tracepoint",
    "raw_tp",
    "tp_btf",
    "fentry",
    "fexit",
    "fmod_ret",
    "freplace",
    "lsm",
    "lsm_cgroup",
    "iter",
    "syscall",
    "xdp_devmap",
    "xdp_cpumap",
    "perf_event",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "lwt_seg6local",
    "sockops",
    "sk_skb",
    "sk_msg",
    "lirc_mode2",
    "flow_dissector",
    "cgroup",
    "cgroup_skb",
    "sk_lookup",
    "sk_reuseport",
    "struct_ops",
    "netfilter",
];

/// Sections whose names mean something to aya-obj and that hold no program.
const NOT_PROGRAMS: &[&str] = &[
    "license", "version", "maps", ".maps", ".text", ".bss", ".data", ".rodata", ".BTF",
];

/// One without bytes in the file, as `.bss`, can claim any size, and would be given the memory.
const LARGEST_SECTION: u64 = 64 << 20;

fn serves(section: &str) -> Option<Vec<Hook>> {
    let section = section.trim_start_matches('?');
    let hooks = Hook::of_section(section);
    let first = section.split('/').next().unwrap_or_default();
    let kind = first.split('.').next().unwrap_or_default();
    let known = !hooks.is_empty()
        || OTHER_PROGRAMS.contains(&kind)
        || matches!(kind, "xdp" | "tc" | "tcx" | "netkit");
    known.then_some(hooks)
}

/// Opens an ELF file, if it is one for BPF on this machine.
fn open(bytes: &[u8]) -> Result<ElfFile64<'_, Endianness>, String> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err("it is not an ELF file".to_owned());
    }
    // 32-bit objects are never BPF, and a 64-bit parser says no more than "unsupported".
    if bytes.get(4) == Some(&1) {
        return Err("it is a 32-bit object, not for BPF".to_owned());
    }
    let malformed = |error| format!("malformed ELF: {error}");
    let file = ElfFile64::<Endianness>::parse(bytes).map_err(malformed)?;
    let machine = file.elf_header().e_machine(file.endian());
    if machine != EM_BPF {
        return Err(format!(
            "it is for machine {machine}, not for BPF ({EM_BPF})"
        ));
    }
    if file.endian() != Endianness::Little || !cfg!(target_endian = "little") {
        return Err("its byte order is not this machine's".to_owned());
    }
    Ok(file)
}

/// Reads the text of an object's manifest: none if it has none.
pub(super) fn manifest(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let malformed = |error| format!("malformed ELF: {error}");
    let file = open(bytes)?;
    let section = file.section_by_name(".nke");
    let data = section.map(|section| section.data().map_err(malformed));
    Ok(data.transpose()?.unwrap_or_default().to_vec())
}

/// Reads an object's programs.
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Elf, Error> {
    let bad = |cause: String| Error::NotAnObject {
        object: name.to_owned(),
        cause,
    };
    let malformed = |error: object::Error| bad(format!("malformed ELF: {error}"));
    let file = open(bytes).map_err(bad)?;
    let mut elf = Elf {
        initials: initial::read(&file)
            .ok_or_else(|| bad("malformed initial values of maps".to_owned()))?,
        ..Elf::default()
    };
    let mut renamed = Vec::new();
    for section in file.sections() {
        let title = section.name().map_err(malformed)?;
        if section.size() > LARGEST_SECTION {
            return Err(bad(format!("its section {title} is larger than 64 MiB")));
        }
        // Every one: aya-obj reads them all.
        if title == ".BTF"
            && let Ok(types) = section.data()
        {
            let types = Types::parse(types).ok_or_else(|| bad("malformed BTF".to_owned()))?;
            elf.extern_maps = types.extern_maps();
        }
        if title == ".nke" {
            elf.manifest = section.data().map_err(malformed)?.to_vec();
        }
        if section.kind() != SectionKind::Text || section.size() == 0 {
            continue;
        }
        externs(&file, &section, &mut elf.externs).map_err(malformed)?;
        reach::calls(&file, &section, &mut elf.calls).map_err(malformed)?;
        if NOT_PROGRAMS.iter().any(|other| title.starts_with(other)) {
            continue;
        }
        let serves = serves(title);
        let unknown = serves.is_none().then(|| title.to_owned());
        elf.unknown.extend(unknown);
        let before = elf.programs.len();
        let functions = file.symbols().filter(|symbol| {
            symbol.section_index() == Some(section.index()) && symbol.kind() == SymbolKind::Text
        });
        for symbol in functions {
            let symbol = symbol.name().map_err(malformed)?.to_owned();
            let frags = title.trim_start_matches('?').starts_with("xdp.frags");
            elf.programs.push(Program {
                symbol,
                section: title.to_owned(),
                hooks: serves.clone().unwrap_or_default(),
                frags,
                section_index: section.index().0,
            });
        }
        if elf.programs.len() == before {
            return Err(bad(format!(
                "its section {title:?} has code and no function, so that none of it could run"
            )));
        }
        renamed.push((section.index().0, title));
    }
    elf.kconfig = Kconfig::read(name, &file, &mut elf.externs)?;
    elf.externs
        .retain(|reference| !elf.extern_maps.contains(&reference.symbol));
    elf.bytes = parsable(bytes, &elf.extern_maps, &renamed)
        .ok_or_else(|| bad("malformed ELF: section table, symbols or BTF".to_owned()))?;
    Ok(elf)
}

/// The file as aya-obj can parse it.
fn parsable(bytes: &[u8], extern_maps: &[String], renamed: &[(usize, &str)]) -> Option<Vec<u8>> {
    if extern_maps.is_empty() {
        return rename::programs(bytes, renamed);
    }
    rename::programs(&define::maps(bytes, extern_maps)?, renamed)
}

/// Notes the section's references to symbols that the object does not define.
fn externs<'a>(
    file: &ElfFile64<'a, Endianness>,
    section: &impl object::ObjectSection<'a>,
    found: &mut Vec<Extern>,
) -> object::Result<()> {
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else {
            continue;
        };
        let symbol = file.symbol_by_index(index)?;
        if symbol.is_undefined() {
            found.push(Extern {
                place: (section.index().0, offset),
                symbol: symbol.name()?.to_owned(),
                weak: symbol.is_weak(),
            });
        }
    }
    Ok(())
}
