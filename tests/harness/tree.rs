//! Directories as lists of lines, for comparing and for showing.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What iproute2 puts into the first bpffs that it finds, which on a host without one at
/// /sys/fs/bpf is that of a test.
const OF_IPROUTE2: [&str; 3] = ["ip", "tc", "xdp"];

/// Every file, directory and symlink below a directory, relative to it and sorted; symlinks
/// with their targets. Without what iproute2 leaves in a bpffs.
#[must_use]
pub fn tree(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(directory, &mut |path, kind| {
        let short = path.strip_prefix(directory).unwrap_or(path);
        if OF_IPROUTE2.iter().any(|name| short.starts_with(name)) {
            return;
        }
        let short = short.display();
        lines.push(match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => format!("{short}/"),
            (_, true) => {
                let target = fs::read_link(path).unwrap_or_default();
                format!("{short} -> {}", target.display())
            }
            _ => short.to_string(),
        });
    });
    lines.sort();
    lines
}

/// Every file below a directory that is neither directory nor symlink.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(directory, &mut |path, kind| {
        if !kind.is_dir() && !kind.is_symlink() {
            files.push(path.to_owned());
        }
    });
    files
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path, fs::FileType)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        visit(&entry.path(), kind);
        if kind.is_dir() {
            walk(&entry.path(), visit);
        }
    }
}
