//! The maps of a state, frozen: from then on only programs write to them, and never user space, by
//! whatever descriptor (`BPF_MAP_FREEZE`, since 5.2).
//!
//! A chain's order is in such maps, and so are settings and rules. This module must not open a map by
//! its id.
//!
//! ```ignore
//! let left = frozen::freeze(&state);
//! ```

use std::{fs, path::Path};

use crate::{state::State, sys};

/// Freezes what is pinned; returns the maps that the kernel does not freeze, by their pins: those with
/// timers or kernel pointers in their values.
pub(super) fn freeze(state: &State) -> Vec<String> {
    let mut left = Vec::new();
    freeze_below(&state.extensions(), &mut left);
    freeze_below(&state.all_chains(), &mut left);
    left
}

fn freeze_below(directory: &Path, left: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => freeze_below(&path, left),
            Ok(kind) if kind.is_file() => {
                let Ok(pin) = sys::get(&path) else { continue };
                match sys::map::freeze(&pin) {
                    // A program or a link.
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                    Err(_) if !sys::map::is_frozen(&pin).unwrap_or_default() => {
                        left.push(path.display().to_string());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
