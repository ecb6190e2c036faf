//! The archive that a kernel unpacks as its first file system: the cpio format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).
//!
//! Files keep the paths that they have on this machine, so that whatever names one finds it there.
//!
//! ```ignore
//! let mut archive = Archive::default();
//! archive.file("/init", b"#!/bin/sh\n", 0o755);
//! fs::write("initrd", archive.finish())?;
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive under way.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    there: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a directory, and those above it.
    pub(crate) fn directory(&mut self, path: &str) {
        let mut at = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = if at.is_empty() {
                part.to_owned()
            } else {
                format!("{at}/{part}")
            };
            if self.there.insert(at.clone()) {
                self.entry(&at, DIRECTORY | 0o755, b"");
            }
        }
    }

    /// Adds a file; what is at its path already stays.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8], mode: u32) {
        self.put(path, FILE | mode, contents);
    }

    /// Adds a symbolic link, likewise.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.put(path, LINK | 0o777, target.as_bytes());
    }

    /// Adds a directory of this machine with all that is in it, as `to`.
    pub(crate) fn tree(&mut self, from: &Path, to: &str) -> Result<()> {
        self.directory(to);
        let failed = || format!("cannot read {}", from.display());
        for entry in fs::read_dir(from).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let to = format!("{to}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().with_context(failed)?;
            if kind.is_dir() {
                self.tree(&entry.path(), &to)?;
            } else if kind.is_file() {
                let contents = fs::read(entry.path()).with_context(failed)?;
                self.file(&to, &contents, 0o644);
            }
        }
        Ok(())
    }

    /// The archive's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn put(&mut self, path: &str, mode: u32, contents: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        if self.there.insert(path.to_owned()) {
            self.entry(path, mode, contents);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let (size, length) = (contents.len(), name.len() + 1);
        // Inode, mode, owner, group, links, time, size, four device numbers, name's length, checksum.
        let fields = [
            self.entries as usize,
            mode as usize,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            length,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_is_headers_names_and_contents() {
        let mut archive = Archive::default();
        archive.file("/a/b", b"hello", 0o755);
        archive.file("a/b", b"again", 0o755);
        archive.link("/c", "a/b");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 4);
        assert_eq!(bytes.len() % 4, 0);
        let file = text.find("a/b\0").expect("the file's name is there");
        // 6 bytes of magic and 13 fields in front of a name; the mode is the second.
        let header = &text[file - 110..file];
        assert_eq!(&header[14..22], "000081ed");
        assert_eq!(&header[54..62], "00000005");
        assert!(text[file..].starts_with("a/b\0\0\0hello\0"), "{text}");
        assert!(!text.contains("again"));
    }
}
