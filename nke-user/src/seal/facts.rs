//! What is to be sealed, looked up: the state's bpffs, what carries it, and the command itself.
//!
//! Everything is read once, by the command that seals, and becomes numbers in the kernel's programs.
//! This module must change nothing.
//!
//! ```ignore
//! let facts = facts::gather(&state)?;
//! ```

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
};

use super::{kernel::Unavailable, policy::Facts};
use crate::state::{State, in_outermost};

const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
/// A running program's own file, whatever became of its name.
const COMMAND: &str = "/proc/self/exe";

/// Gathers them; [`Unavailable`] if the command cannot be told from others.
pub(super) fn gather(state: &State) -> Result<Facts, Unavailable> {
    let unknown =
        |error: io::Error| Unavailable(format!("what is to be sealed cannot be found: {error}"));
    let (device, inode) = state.identity().map_err(unknown)?;
    let command = command()?;
    let (namespace, mounts) = in_outermost(|| {
        let namespace = fs::metadata("/proc/thread-self/ns/mnt")?.ino();
        Ok((
            namespace,
            fs::read_to_string("/proc/thread-self/mountinfo")?,
        ))
    })
    .and_then(|found| found)
    .map_err(unknown)?;
    let state_device = kernels(device);
    let mut beneath = beneath(&mounts, state_device);
    beneath.insert(command.0);
    beneath.remove(&state_device);
    Ok(Facts {
        state_device,
        state_inode: inode,
        namespace,
        beneath: beneath.into_iter().collect(),
        command,
    })
}

/// A state directory as a question names it: the device and the inode.
pub(super) fn words(state: &State) -> io::Result<[u32; 2]> {
    let (device, inode) = state.identity()?;
    // Both are small: bpffs has a device without a driver, and counts its inodes with 32 bits.
    Ok([kernels(device) as u32, inode as u32])
}

/// The command's file system and inode.
fn command() -> Result<(u64, u64), Unavailable> {
    let unknown = |error: io::Error| Unavailable(format!("{COMMAND}: {error}"));
    let mut file = File::open(COMMAND).map_err(unknown)?;
    let system = rustix::fs::fstatfs(&file).map_err(|error| unknown(error.into()))?;
    if system.f_type == OVERLAYFS_MAGIC {
        let why = "the command lies on an overlay, below which its file can be changed";
        return Err(Unavailable(why.to_owned()));
    }
    // The program headers follow the file's.
    let mut head = vec![0; 4096];
    let length = file.read(&mut head).map_err(unknown)?;
    head.truncate(length);
    if !is_whole(&head) {
        let why = "this build of the command takes in shared libraries, which could be exchanged";
        return Err(Unavailable(why.to_owned()));
    }
    let found = file.metadata().map_err(unknown)?;
    Ok((kernels(found.dev()), found.ino()))
}

/// Whether an ELF file needs no interpreter to load libraries. What cannot be read does.
fn is_whole(head: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| Some(u16::from_ne_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let headers = || {
        // Elf64_Ehdr: e_phoff (its low half: the table is near), e_phentsize, e_phnum.
        let (table, size, count) = (word(32)?, half(54)?, half(56)?);
        let mut kinds = Vec::new();
        for nth in 0..usize::from(count) {
            kinds.push(word(
                usize::try_from(table).ok()? + nth * usize::from(size),
            )?);
        }
        Some(kinds)
    };
    headers().is_some_and(|kinds| !kinds.is_empty() && !kinds.contains(&PT_INTERP))
}

/// The kernel's own number of a device (include/linux/kdev_t.h), from that of stat(2).
fn kernels(device: u64) -> u64 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    u64::from(major) << 20 | u64::from(minor)
}

/// The file systems of all mounts on which mounts of a file system hang, by a text as that of
/// `/proc/self/mountinfo`: to take one of them away would take those away.
fn beneath(mounts: &str, device: u64) -> BTreeSet<u64> {
    let row = |line: &str| {
        let mut words = line.split(' ');
        let (id, parent) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (major, minor) = words.next()?.split_once(':')?;
        let device = major.parse::<u64>().ok()? << 20 | minor.parse::<u64>().ok()?;
        Some((id, parent, device))
    };
    let rows: Vec<_> = mounts.lines().filter_map(row).collect();
    let mut found = BTreeSet::new();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut todo: Vec<_> = rows.iter().filter(|row| row.2 == device).collect();
    while let Some((id, parent, _)) = todo.pop() {
        if !reached.insert(id) {
            continue;
        }
        for carrier in rows.iter().filter(|row| row.0 == *parent) {
            found.insert(carrier.2);
            todo.push(carrier);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_carries_a_mount() {
        let mounts = "\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:20 / /sys rw - sysfs sysfs rw
23 21 0:21 / /run rw - tmpfs tmpfs rw
30 23 0:40 / /run/nke rw - bpf nke rw
31 22 0:40 / /sys/fs/bpf rw - bpf nke rw
not a mount
";
        let found = beneath(mounts, 40);
        assert_eq!(found, BTreeSet::from([20, 21, 8 << 20 | 1]));
        assert!(beneath("", 40).is_empty());
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_whole() {
        let head = |kinds: &[u32]| {
            let mut head = vec![0u8; 64];
            head[32] = 64;
            head[54] = 56;
            head[56] = u8::try_from(kinds.len()).expect("a few");
            for kind in kinds {
                head.extend(kind.to_ne_bytes());
                head.extend([0; 52]);
            }
            head
        };
        assert!(is_whole(&head(&[6, 1, 1])));
        assert!(!is_whole(&head(&[6, 3, 1])));
        assert!(!is_whole(&head(&[])));
        assert!(!is_whole(&head(&[1, 1])[..80]));
        assert!(!is_whole(b""));
    }
}
