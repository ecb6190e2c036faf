//! The last word in a cgroup: a root behind which others have put their programs goes to the end
//! of the cgroup's list again.
//!
//! The kernel runs all programs of a cgroup, in the order in which they were attached, and each can
//! undo the denial of one before it (`bpf_set_retval`, since 5.18; `bpf_prog_run_array_cg` of
//! kernel/bpf/cgroup.c). No flag keeps the last place: `BPF_F_AFTER` (6.17) is of the moment too.
//! This module must never leave a moment in which no root is called: for one moment two are, and a
//! call that comes then meets the chain twice.
//!
//! ```text
//! root → theirs          theirs was attached behind the root
//! root → theirs → root′  both enter the chain
//! theirs → root′
//! ```

use super::{Chain, build::make_root, node_directory, points_to};
use crate::{
    error::{Error, Result},
    foreign,
    mode::Mode,
    state::State,
    sys::{self, link},
    target::Spot,
};

/// Has a chain speak last again in its cgroup, if it does not.
pub(crate) fn speak_last(state: &State, chain: &Chain) -> Result<()> {
    if !chain.hook.can_be_undone() {
        return Ok(());
    }
    let spot = Spot::find(chain.target);
    let (Mode::Cgroup, Some(Spot::Cgroup(cgroup))) = (chain.anchor.mode, spot) else {
        return Ok(());
    };
    let attach_type = chain.hook.row().attach_type;
    let last = foreign::last_of(&cgroup, attach_type);
    if last.is_none_or(|last| last == chain.anchor.root()) {
        return Ok(());
    }
    let first = points_to(&chain.first)?;
    let first = first.map(|node| node_directory(&chain.directory, node).join("program"));
    let first = first.map(|path| state.get(&path)).transpose()?;
    let (root, mut pending) =
        make_root(state, chain.hook, &chain.directory, first.as_ref(), false)?;
    let link = link::create_at(&root.program, &cgroup.directory, attach_type);
    let link = link.map_err(|source| Error::Kernel {
        object: format!("{} of {}", chain.hook, cgroup.path().display()),
        stage: "attach behind the others",
        source,
        remedy: "64 programs of a hook are the most that a cgroup takes",
    })?;
    // A command that is killed before the rename leaves it to be swept with the root's directory.
    let aside = pending.directory.join("link");
    state.pin(&link, &aside)?;
    state.rename(&aside, &chain.directory.join("link"))?;
    pending.keep();
    chain.anchor.detach()?;
    sys::grace_period();
    state.remove(&node_directory(&chain.directory, chain.anchor.root()))
}
