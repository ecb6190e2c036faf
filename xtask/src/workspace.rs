//! Where things are: the only place that makes paths of the repository.
//!
//! | path | what |
//! |---|---|
//! | `target/{debug,release}/nke` | the command |
//! | `target/lib/nke/NAME.o` | the bundled extensions, where that command looks for them |
//! | `target/bpf` | cargo's own directory for compiling them |
//! | `.tools` (or `$NKE_TOOLS`) | the BPF linker, and the nightly compiler where rustup fetched one |
//!
//! `.tools` is beside `target`, not in it: `cargo clean` must not cost a minute of building a
//! linker again. Deleting it is always safe.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The paths of this checkout.
pub(crate) struct Workspace {
    /// The directory of the top `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// What set-up installs for this project alone.
    pub(crate) tools: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this program was built from, and the target directory that
    /// it was built into.
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("the xtask package has no parent directory")?
            .to_path_buf();
        // target/<profile>/xtask
        let executable = env::current_exe().context("cannot tell where this program is")?;
        let target = executable
            .ancestors()
            .nth(2)
            .context("this program is not in a target directory")?
            .to_path_buf();
        let tools = env::var_os("NKE_TOOLS").map_or_else(|| root.join(".tools"), PathBuf::from);
        Ok(Self {
            root,
            target,
            tools,
        })
    }

    /// The directory of the bundled extensions' objects.
    pub(crate) fn extensions(&self) -> PathBuf {
        self.target.join("lib/nke")
    }

    /// A program that cargo built.
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// The user's own (stable) cargo, at the root of the checkout.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo.env("CARGO_TARGET_DIR", &self.target);
        without_our_cargo(&mut cargo);
        cargo
    }

    /// A path as people want to read it: relative to the checkout where it is inside.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// Takes away what `cargo run` put into the environment for this program, which would
/// rebuild or mislead another cargo.
pub(crate) fn without_our_cargo(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || matches!(name, "CARGO" | "LD_LIBRARY_PATH" | "RUST_RECURSION_COUNT")
        });
        if ours {
            command.env_remove(name);
        }
    }
}
