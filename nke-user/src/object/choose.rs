//! Which of an object's programs is meant.
//!
//! What is not said is the first that fits. This must never choose one of several that fit alike.
//!
//! ```no_run
//! use nke::{hook::Kind, object::Object};
//!
//! let object = Object::parse("counter", std::fs::read("counter.o").unwrap())?;
//! let (hook, program) = object.choose(Kind::Interface, None, None)?;
//! println!("{} serves {hook}", program.symbol);
//! # Ok::<(), nke::error::Error>(())
//! ```

use super::{
    Object, Program, elf,
    externs::{Known, known},
};
use crate::{
    error::{Error, Result},
    hook::{Hook, Kind},
};

/// A program that the kernel runs over all objects of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iteration<'a> {
    pub(crate) symbol: &'a str,
    /// The id of the kernel's function that stands for the kind.
    pub(crate) function: u32,
}

impl Object {
    /// Chooses the program and the hook that an attachment means: what is not said is the first
    /// that fits, of hooks in their order; but of several programs for one hook none is chosen.
    ///
    /// # Errors
    ///
    /// [`Error::NoProgram`], [`Error::ManyPrograms`].
    pub fn choose(
        &self,
        kind: Kind,
        hook: Option<Hook>,
        symbol: Option<&str>,
    ) -> Result<(Hook, &Program)> {
        let named = |program: &&Program| symbol.is_none_or(|symbol| program.symbol == symbol);
        let serving = |hook: Hook| {
            let programs = self.programs.iter().filter(named);
            programs
                .filter(|program| program.hooks.contains(&hook))
                .collect::<Vec<_>>()
        };
        let asked = |candidate: &Hook| hook.is_none_or(|hook| hook == *candidate);
        let mut hooks = Hook::all()
            .filter(|hook| hook.row().kind == kind)
            .filter(asked);
        let Some((hook, programs)) = hooks.find_map(|hook| {
            let programs = serving(hook);
            (!programs.is_empty()).then_some((hook, programs))
        }) else {
            return Err(self.no_program(kind, hook, symbol));
        };
        match programs.as_slice() {
            [program] => Ok((hook, program)),
            several => Err(Error::ManyPrograms {
                object: self.name.clone(),
                hook,
                programs: several
                    .iter()
                    .map(|program| program.symbol.clone())
                    .collect(),
            }),
        }
    }

    fn no_program(&self, kind: Kind, hook: Option<Hook>, symbol: Option<&str>) -> Error {
        let named = symbol.map_or_else(String::new, |symbol| format!("named {symbol} "));
        let place = hook.map_or_else(|| kind.to_string(), |hook| hook.to_string());
        let has = self.programs.iter();
        let has = has
            .map(|program| format!("{} ({})", program.symbol, program.section))
            .collect();
        let kinds: Vec<_> = self.hooks().iter().map(|hook| hook.row().kind).collect();
        let remedy = match kinds.first() {
            _ if kinds.contains(&kind) => "choose another with --hook or --program",
            Some(Kind::Interface) => "name an interface with -i",
            Some(Kind::Namespace) => "leave out -i and --cgroup",
            Some(Kind::Cgroup) => "name a cgroup with --cgroup",
            None => "name the section of one as libbpf does, such as \"xdp\" or \"tc\"",
        };
        Error::NoProgram {
            object: self.name.clone(),
            wanted: format!("{named}for {place}"),
            has,
            remedy,
        }
    }

    pub(super) fn no_symbol(&self, symbol: &str) -> Error {
        let has = self
            .programs
            .iter()
            .map(|program| program.symbol.clone())
            .collect();
        Error::NoProgram {
            object: self.name.clone(),
            wanted: format!("named {symbol}"),
            has,
            remedy: "choose another with --program",
        }
    }

    /// Its programs for the kernel to run over what there is: those in sections `iter/tcp`,
    /// `iter/udp`, `iter/unix`, and so on.
    ///
    /// # Errors
    ///
    /// [`Error::NoSymbol`] if this kernel has no such iterator.
    pub(crate) fn iterators(&self) -> Result<Vec<Iteration<'_>>> {
        let mut found = Vec::new();
        for program in &self.programs {
            let Some(over) = program.section.strip_prefix(elf::ITERATOR) else {
                continue;
            };
            let function = format!("bpf_iter_{over}");
            let Some(Known::Id(id)) = known(&function) else {
                return Err(self.no_kernel_symbol(&function));
            };
            found.push(Iteration {
                symbol: &program.symbol,
                function: id,
            });
        }
        Ok(found)
    }
}
