//! Where the things under test are: the command, and the bundled extensions.
//!
//! `NKE_BIN` and `NKE_PATH` say so; else they are found beside the test's own executable, in the
//! target directory where `cargo xtask build` puts them. Never the ones of the installed system.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::fail;

/// The command `nke`.
#[must_use]
pub fn nke() -> &'static Path {
    static NKE: OnceLock<PathBuf> = OnceLock::new();
    NKE.get_or_init(|| {
        let path = std::env::var_os("NKE_BIN")
            .map_or_else(|| profile_directory().join("nke"), PathBuf::from);
        if !path.is_file() {
            fail(format!(
                "no command at {}: `cargo xtask build` makes it",
                path.display()
            ));
        }
        path
    })
}

/// Where the bundled extensions are.
#[must_use]
pub fn extensions() -> PathBuf {
    std::env::var_os("NKE_PATH").map_or_else(|| target_directory().join("lib/nke"), PathBuf::from)
}

/// Where tests may keep what they compile, from one run to the next.
pub(crate) fn target_directory() -> PathBuf {
    profile_directory()
        .parent()
        .expect("a profile's directory lies in target")
        .to_owned()
}

fn profile_directory() -> PathBuf {
    // target/<profile>/deps/<test>-<hash>
    let this = std::env::current_exe().expect("a test knows its own path");
    let deps = this.parent().expect("an executable lies in a directory");
    deps.parent()
        .expect("deps lies in a profile's directory")
        .to_owned()
}
