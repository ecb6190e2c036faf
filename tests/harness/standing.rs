//! What stands: all that a command which fails must leave as it was.

use std::path::Path;

use crate::{Chain, Extension, Hook, World, fail, kernel, tree};

/// The state directory, the chains, the extensions and the kernel's attach points, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    state: Vec<String>,
    attached: Vec<Vec<u32>>,
    chains: Vec<Chain>,
    extensions: Vec<Extension>,
}

impl World {
    /// What stands now.
    #[track_caller]
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            // First: every command sweeps, and would hide what another has left.
            state: pins(&self.state()),
            attached: Hook::ALL.map(|hook| self.programs(hook)).to_vec(),
            chains: self.chains(),
            extensions: self.list(),
        }
    }

    /// A command must fail with a named error and exactly these words, and change nothing.
    #[track_caller]
    pub fn refuses(&self, words: &[&str], said: &str) {
        let before = self.standing();
        let (_, error) = self.nke(words).fails_somehow();
        assert_eq!(error, said, "of `nke {}`", words.join(" "));
        self.assert_standing(&before);
    }

    /// Nothing may have changed since then.
    #[track_caller]
    pub fn assert_standing(&self, before: &Standing) {
        let now = self.standing();
        if now != *before {
            fail(format!(
                "something has changed, from\n{before:#?}\nto\n{now:#?}"
            ));
        }
    }
}

/// What nke has in a bpffs, with the kernel's ids of pins, without empty directories. Other
/// programs may have something there as well: iproute2 takes the first bpffs that it finds.
fn pins(directory: &Path) -> Vec<String> {
    let id = |line: &String| kernel::pinned_id(&directory.join(line)).unwrap_or_default();
    tree(directory)
        .iter()
        .filter(|line| line.starts_with("chains/") || line.starts_with("extensions/"))
        .filter(|line| !line.ends_with('/'))
        .map(|line| format!("{line} = {}", id(line)))
        .collect()
}
