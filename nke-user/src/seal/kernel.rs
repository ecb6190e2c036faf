//! The kernel's part of the seal: small programs at its LSM hooks, pinned beside what they protect.
//!
//! ```text
//! seal/1/<hook>     the links of level 1, seal/2/<hook> those of level 2
//! seal/1~/…         links on their way; the next command removes them if the command was killed
//! ```
//!
//! Once its directory has its name, a level stays: the programs refuse to have their own pins
//! removed, and the mount that holds them. Whether a kernel is sealed nobody reads from files, which
//! can be hidden: the kernel is asked, and one of the programs answers. This module must take no link
//! away that has its place.
//!
//! ```ignore
//! kernel::raise(&state, Level::NoNewCode)?;
//! assert_eq!(kernel::level(), Level::NoNewCode);
//! ```

use std::{io, os::fd::OwnedFd, path::Path};

use aya_obj::generated::bpf_prog_type;

use super::{
    Level, facts,
    policy::{AM_I_TRUSTED, Facts, IS_STATE, YES, is_sealed},
    program,
};
use crate::{
    error::Result,
    state::State,
    sys::{self, program::Load},
};

/// Why the kernel cannot refuse others here.
#[derive(Debug)]
pub(super) struct Unavailable(pub(super) String);

/// `BPF_LSM_MAC` of `enum bpf_attach_type`.
const ATTACH_TYPE: u32 = 27;
/// What the links of a level are in until all are.
const UNDER_WAY: char = '~';

fn says_yes(question: u32, words: [u32; 2]) -> bool {
    sys::ask(question, words) == YES
}

/// The level at which the kernel is sealed.
pub(super) fn level() -> Level {
    let mut levels = [Level::NoChange, Level::NoNewCode].into_iter();
    levels
        .find(|level| says_yes(is_sealed(*level), [0; 2]))
        .unwrap_or(Level::Open)
}

/// Whether a sealed kernel lets this process do what it refuses others.
pub(super) fn trusts_us() -> bool {
    says_yes(AM_I_TRUSTED, [0; 2])
}

/// Whether the kernel was sealed with this state.
pub(super) fn keeps(state: &State) -> io::Result<bool> {
    let words = facts::words(state)?;
    Ok(says_yes(IS_STATE, words))
}

/// Removes what a killed command has left of a level.
pub(super) fn sweep(state: &State) -> Result<()> {
    let left = state
        .names(&state.seal())?
        .into_iter()
        .filter(|name| name.ends_with(UNDER_WAY));
    left.into_iter()
        .try_for_each(|name| state.remove(&state.seal().join(name)))
}

/// Seals the kernel, for good. What is in force already stays.
pub(super) fn raise(state: &State, to: Level) -> Result<Result<(), Unavailable>> {
    let now = level();
    let steps = [Level::NoNewCode, Level::NoChange].into_iter();
    let steps: Vec<_> = steps.filter(|step| *step > now && *step <= to).collect();
    if steps.is_empty() {
        return Ok(Ok(()));
    }
    let facts = match facts::gather(state) {
        Ok(facts) => facts,
        Err(why) => return Ok(Err(why)),
    };
    // All that this kernel may lack is tried before anything is pinned. The programs are in force
    // from here on, and gone with their descriptors if one fails.
    let mut attached = Vec::new();
    for step in steps {
        match attach(&facts, step) {
            Ok(links) => attached.push((step, links)),
            Err(why) => return Ok(Err(why)),
        }
    }
    for (step, links) in &attached {
        let place = state.seal().join(step.to_string());
        let aside = state.seal().join(format!("{step}{UNDER_WAY}"));
        if let Err(error) = pin(state, links, &aside).and_then(|()| state.rename(&aside, &place)) {
            // What cannot be removed now, the next command removes.
            let _: Result<()> = state.remove(&aside);
            return Err(error);
        }
    }
    Ok(Ok(()))
}

fn pin(state: &State, links: &[(&str, OwnedFd)], directory: &Path) -> Result<()> {
    state.make_directory(directory)?;
    links
        .iter()
        .try_for_each(|(hook, link)| state.pin(link, &directory.join(hook)))
}

/// Loads and attaches the programs of a level, and asks whether they are heard.
fn attach(facts: &Facts, level: Level) -> Result<Vec<(&'static str, OwnedFd)>, Unavailable> {
    let mut links = Vec::new();
    for hook in facts.hooks(level) {
        let made = program::make(&hook)
            .map_err(|lacks| Unavailable(format!("the kernel shows no {}", lacks.0)))?;
        let load = Load {
            program_type: bpf_prog_type::BPF_PROG_TYPE_LSM as u32,
            expected_attach_type: ATTACH_TYPE,
            attach_btf_id: made.function,
            flags: 0,
            name: "nke_seal",
            license: c"Dual MIT/GPL",
            instructions: &made.instructions,
            btf: None,
            func_info: &[],
            line_info: &[],
        };
        let refused = |error: &io::Error, why: &str| {
            Unavailable(format!(
                "the kernel takes no program at its LSM hook {}: {error}{why}",
                hook.name
            ))
        };
        let program = sys::program::load(&load).map_err(|refusal| {
            let words = refusal
                .log
                .lines()
                .rev()
                .find(|line| !line.starts_with("processed"));
            let words = words.map_or_else(String::new, |words| format!(" ({words})"));
            refused(&refusal.error, &words)
        })?;
        let link = sys::link::create_at_function(&program).map_err(|error| refused(&error, ""))?;
        links.push((hook.name, link));
    }
    if !says_yes(is_sealed(level), [0; 2]) {
        let why = "bpf is not among the LSMs that the kernel was started with (lsm=…,bpf)";
        return Err(Unavailable(why.to_owned()));
    }
    if !trusts_us() {
        let why =
            "the kernel knows the command by another inode, or it runs under a seccomp filter";
        return Err(Unavailable(why.to_owned()));
    }
    Ok(links)
}
