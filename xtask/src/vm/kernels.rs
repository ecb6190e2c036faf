//! The kernels that virtual machines boot: one table, and how a row becomes files.
//!
//! They are Debian's own, for clouds: small, and with everything that they need in modules. They are
//! fetched once, unpacked below `.tools/vm`, and never installed as the host's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::step::Steps;
use crate::workspace::Workspace;

/// A row of the table.
pub(crate) struct Kernel {
    /// What `--kernel` calls it.
    pub(crate) name: &'static str,
    /// The package that depends on the newest build of it.
    package: &'static str,
}

/// All kernels, the oldest first.
pub(crate) const TABLE: &[Kernel] = &[
    Kernel {
        name: "6.1",
        package: "linux-image-cloud-amd64",
    },
    Kernel {
        name: "6.12",
        package: "linux-image-6.12-cloud-amd64",
    },
];

/// The kernel that is booted if none is named: the newest.
pub(crate) fn default() -> &'static Kernel {
    &TABLE[TABLE.len() - 1]
}

/// The kernel of a name.
pub(crate) fn named(name: &str) -> Result<&'static Kernel> {
    let known = || TABLE.iter().map(|kernel| kernel.name).collect::<Vec<_>>();
    TABLE
        .iter()
        .find(|kernel| kernel.name == name)
        .with_context(|| format!("no kernel `{name}`; there are: {}", known().join(", ")))
}

/// A kernel's files.
pub(crate) struct Files {
    /// What is booted.
    pub(crate) image: PathBuf,
    /// Where `lib/modules` is, with its index of dependencies.
    pub(crate) root: PathBuf,
    /// As `uname -r` has it.
    pub(crate) release: String,
}

impl Kernel {
    /// Its files, fetched if they are not there. Deleting the directory fetches them anew.
    pub(crate) fn files(&self, workspace: &Workspace, steps: &mut Steps) -> Result<Files> {
        let home = workspace.tools.join("vm").join(self.name);
        if let Ok(files) = Files::in_directory(&home) {
            return Ok(files);
        }
        self.fetch(&home, steps)?;
        Files::in_directory(&home)
    }

    fn fetch(&self, home: &Path, steps: &mut Steps) -> Result<()> {
        let aside = home.with_extension("new");
        let _: std::io::Result<()> = fs::remove_dir_all(&aside);
        fs::create_dir_all(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
        let package = self.newest()?;
        steps.run(
            &format!("fetch {package}"),
            "see that apt's sources name this release, its security updates and its backports; then try again",
            Command::new("apt-get")
                .args(["--quiet", "download", &package])
                .current_dir(&aside),
        )?;
        let archive = only(&aside, |name| name.ends_with(".deb"))?;
        steps.run(
            &format!("unpack {package}"),
            "see that there is room for it",
            Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&aside),
        )?;
        fs::remove_file(&archive)
            .with_context(|| format!("cannot remove {}", archive.display()))?;
        let files = Files::in_directory_unindexed(&aside)?;
        steps.run(
            &format!("index the modules of {}", files.release),
            "install kmod",
            Command::new("depmod")
                .arg("-b")
                .arg(&aside)
                .arg(&files.release),
        )?;
        let _: std::io::Result<()> = fs::remove_dir_all(home);
        fs::rename(&aside, home).with_context(|| format!("cannot make {}", home.display()))
    }

    /// The package of the newest build, on which the one in the table depends.
    fn newest(&self) -> Result<String> {
        let output = Command::new("apt-cache")
            .args(["depends", "--important", self.package])
            .output()
            .context("cannot run apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut needs = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = needs.find(|name| name.starts_with("linux-image-"));
        match found {
            Some(name) => Ok(name.to_owned()),
            None => bail!(
                "apt knows no {}\n  remedy: apt-get update, with this release's security updates among the sources",
                self.package
            ),
        }
    }
}

impl Files {
    fn in_directory(home: &Path) -> Result<Self> {
        let files = Self::in_directory_unindexed(home)?;
        let index = home
            .join("lib/modules")
            .join(&files.release)
            .join("modules.dep");
        ensure!(index.is_file(), "{} is not there", index.display());
        Ok(files)
    }

    fn in_directory_unindexed(home: &Path) -> Result<Self> {
        const IMAGE: &str = "vmlinuz-";
        let image = only(&home.join("boot"), |name| name.starts_with(IMAGE))?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches(IMAGE).to_owned();
        Ok(Self {
            image,
            root: home.to_owned(),
            release,
        })
    }
}

/// The one file of a directory whose name fits.
fn only(directory: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        fits(&name)
    });
    found.with_context(|| format!("{} lacks a file", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_its_name() {
        for kernel in TABLE {
            assert!(named(kernel.name).is_ok_and(|found| found.package == kernel.package));
        }
        assert!(named("2.4").is_err());
    }
}
