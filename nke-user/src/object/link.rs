//! The programs of an object, linked to a set of maps.
//!
//! Linking is done on a copy: an object can be linked any number of times, to other maps each time.
//! Nothing here changes the kernel but [`Linked::btf`], which is loaded type information.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use nke::object::Object;
//!
//! let object = Object::parse("guard", std::fs::read("guard.o").unwrap())?;
//! let linked = object.link("guard", &BTreeMap::new())?;
//! println!("{} instructions", linked.body().instructions.len());
//! # Ok::<(), nke::error::Error>(())
//! ```

use std::{
    collections::{BTreeMap, HashSet},
    ffi::CString,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    sync::OnceLock,
};

use aya_obj::{
    btf::Btf,
    generated::{bpf_func_info, bpf_insn, bpf_line_info},
};

use super::{
    Object, btf, causes, elf, externs::resolve, guard::guarded, kconfig, optional::leave_out,
};
use crate::{
    error::{Error, Result},
    place::{self, Body},
    sys,
};

/// A program with its maps and subprograms linked in, ready to be placed.
#[derive(Debug)]
pub struct Linked {
    /// The type information that the infos refer to, loaded; `None` without BTF.
    pub btf: Option<OwnedFd>,
    /// The licence.
    pub license: CString,
    /// Whether it takes packets of several buffers.
    pub frags: bool,
    instructions: Vec<bpf_insn>,
    main_len: usize,
    func_info: Vec<bpf_func_info>,
    line_info: Vec<bpf_line_info>,
    static_main: Option<u32>,
}

impl Linked {
    /// A program that nke wrote itself: no maps, no types.
    pub(crate) fn bare(instructions: Vec<bpf_insn>) -> Self {
        let main_len = instructions.len();
        Self {
            btf: None,
            license: c"Dual MIT/GPL".to_owned(),
            frags: true,
            instructions,
            main_len,
            func_info: Vec::new(),
            line_info: Vec::new(),
            static_main: None,
        }
    }

    /// The program as placement takes it.
    pub fn body(&self) -> Body<'_> {
        Body {
            instructions: &self.instructions,
            main_len: self.main_len,
            func_info: &self.func_info,
            line_info: &self.line_info,
            static_main: self.static_main,
        }
    }
}

/// The running kernel's types. Parsing them takes tens of milliseconds, so it is put off until
/// an object needs them.
fn kernel_btf() -> Option<&'static Btf> {
    static BTF: OnceLock<Option<Btf>> = OnceLock::new();
    BTF.get_or_init(|| Btf::from_sys_fs().ok()).as_ref()
}

impl Object {
    /// What the programs of this section may ask the kernel for, in their own code and in functions that they can come
    /// to.
    pub(super) fn externs_of(&self, section: usize) -> impl Iterator<Item = &elf::Extern> {
        let reached = self.reached(section);
        self.externs.iter().filter(move |reference| {
            let function = self.function_at(reference.place);
            function.is_some_and(|function| reached.contains(&function))
        })
    }

    /// Links the program `symbol` to these maps.
    ///
    /// # Errors
    ///
    /// [`Error::Relocation`], [`Error::NoProgram`].
    pub fn link(&self, symbol: &str, maps: &BTreeMap<String, BorrowedFd<'_>>) -> Result<Linked> {
        self.link_for(symbol, maps, None)
    }

    /// As [`Object::link`], for a program that is run for one cgroup, of this id.
    ///
    /// # Errors
    ///
    /// [`Error::Relocation`], [`Error::NoProgram`].
    pub(crate) fn link_for(
        &self,
        symbol: &str,
        maps: &BTreeMap<String, BorrowedFd<'_>>,
        cgroup: Option<u64>,
    ) -> Result<Linked> {
        let (main, main_len) = self.linked(symbol, maps, cgroup)?;
        let (btf, static_main) = self.types(&main, main_len);
        let btf = btf
            .map(|btf| sys::load_btf(&btf))
            .transpose()
            .map_err(|source| {
                let stage = "load type information";
                Error::Kernel {
                    object: self.name.clone(),
                    stage,
                    source,
                    remedy: "compile without -g",
                }
            })?;
        Ok(Linked {
            btf,
            license: self.parsed.license.clone(),
            frags: self.takes_frags(symbol),
            instructions: main.instructions,
            main_len,
            func_info: main.func_info.func_info,
            line_info: main.line_info.line_info,
            static_main,
        })
    }

    /// Whether the program `symbol` can be linked. Any descriptor stands in for the maps, and the
    /// kernel is asked for nothing but its types.
    ///
    /// # Errors
    ///
    /// As [`Object::link`].
    pub(crate) fn try_link(&self, symbol: &str, stand_in: BorrowedFd<'_>) -> Result<()> {
        let maps = self.maps().map(|(name, _)| name).chain([kconfig::MAP]);
        let maps = maps.map(|name| (name.to_owned(), stand_in)).collect();
        self.linked(symbol, &maps, Some(1)).map(drop)
    }

    /// The program's main function with all that it calls behind it, and how long it is itself.
    fn linked(
        &self,
        symbol: &str,
        maps: &BTreeMap<String, BorrowedFd<'_>>,
        cgroup: Option<u64>,
    ) -> Result<(aya_obj::Function, usize)> {
        let mut parsed = self.parsed.clone();
        parsed.programs.retain(|name, _| name == symbol);
        let program = parsed
            .programs
            .get(symbol)
            .ok_or_else(|| self.no_symbol(symbol))?;
        let key = program.function_key();
        let mut sections = self.programs.iter().filter(|p| p.symbol == symbol);
        let section = sections.next().map_or(0, |p| p.section_index);
        let main_len = parsed
            .functions
            .get(&key)
            .map_or(0, |main| main.instructions.len());
        for reference in self.externs_of(section) {
            resolve(&mut parsed, reference, cgroup)
                .map_err(|symbol| self.no_kernel_symbol(symbol))?;
        }
        self.relocate(&mut parsed, maps)?;

        let main = parsed
            .functions
            .remove(&key)
            .ok_or_else(|| self.no_symbol(symbol))?;
        Ok((main, main_len))
    }

    /// The object's types, with one for the body in a stub. A body without any gets the little
    /// that the kernel asks for if it can be placed in a stub only.
    fn types(&self, main: &aya_obj::Function, main_len: usize) -> (Option<Vec<u8>>, Option<u32>) {
        let mut btf = self.btf();
        if let Some(info) = main.func_info.func_info.first() {
            let static_main = btf
                .as_mut()
                .and_then(|btf| btf::add_static_copy(btf, info.type_id));
            return (btf, static_main);
        }
        let body = Body {
            main_len,
            ..Body::of(&main.instructions)
        };
        if place::forms(&body).next() != Some(place::Form::Stub) {
            return (btf, None);
        }
        let (btf, static_main) = place::plain_btf();
        (Some(btf), Some(static_main))
    }

    fn relocate(
        &self,
        parsed: &mut aya_obj::Object,
        maps: &BTreeMap<String, BorrowedFd<'_>>,
    ) -> Result<()> {
        let failed = |stage, cause, remedy| Error::Relocation {
            object: self.name.clone(),
            stage,
            cause,
            remedy,
        };
        let text: HashSet<usize> = parsed
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        if parsed.has_btf_relocations() {
            let remedy = "use a kernel with CONFIG_DEBUG_INFO_BTF that has these types";
            let btf = kernel_btf()
                .ok_or_else(|| failed("CO-RE", "no /sys/kernel/btf/vmlinux".to_owned(), remedy))?;
            guarded(|| parsed.relocate_btf(btf))
                .ok_or_else(|| failed("CO-RE", "malformed relocation".to_owned(), remedy))?
                .map_err(|error| failed("CO-RE", causes(&error), remedy))?;
        }
        leave_out(parsed, &self.done_without());
        let remedy = "compile it again, with a current clang or bpf-linker";
        let found: Vec<_> = self
            .parsed
            .maps
            .iter()
            .filter_map(|(name, map)| Some((name.as_str(), maps.get(name)?.as_raw_fd(), map)))
            .collect();
        if !self.kconfig.is_empty() {
            maps.get(kconfig::MAP)
                .and_then(|map| self.kconfig.link(parsed, map.as_raw_fd()))
                .ok_or_else(|| failed("relocate", "malformed __kconfig".to_owned(), remedy))?;
        }
        guarded(|| {
            parsed.relocate_maps(found.into_iter(), &text)?;
            parsed.relocate_calls(&text)
        })
        .ok_or_else(|| failed("relocate", "malformed relocation".to_owned(), remedy))?
        .map_err(|error| failed("relocate", causes(&error), remedy))?;
        Ok(())
    }
}
