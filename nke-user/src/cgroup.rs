//! Cgroups of version 2, and their ids.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// uapi/linux/magic.h
const CGROUP2_MAGIC: i64 = 0x6367_7270;
const CGROUP1_MAGIC: i64 = 0x0027_e0eb;

/// A cgroup, held open.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) directory: File,
    id: u64,
    path: PathBuf,
}

impl Cgroup {
    /// Opens the cgroup at a path, such as `/sys/fs/cgroup/system.slice`.
    ///
    /// # Errors
    ///
    /// [`Error::NoCgroup`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause: String| Error::NoCgroup {
            path: path.to_owned(),
            cause,
        };
        let directory = File::open(path).map_err(|error| failed(error.to_string()))?;
        let found = rustix::fs::fstatfs(&directory).map_err(|error| failed(error.to_string()))?;
        match found.f_type {
            CGROUP2_MAGIC => {}
            CGROUP1_MAGIC => return Err(failed("it is of cgroup version 1".to_owned())),
            _ => return Err(failed("it is not a cgroup".to_owned())),
        }
        let metadata = directory
            .metadata()
            .map_err(|error| failed(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(failed(
                "it is a file of a cgroup, not the cgroup".to_owned(),
            ));
        }
        let path = fs::canonicalize(path).map_err(|error: io::Error| failed(error.to_string()))?;
        Ok(Self {
            directory,
            id: metadata.ino(),
            path,
        })
    }

    /// The cgroup of this id, if it is below a mount of the hierarchy.
    pub fn find(id: u64) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let roots = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
        let roots = roots
            .filter_map(|line| line.split(' ').nth(4))
            .map(PathBuf::from);
        let mut left: Vec<PathBuf> = roots.collect();
        while let Some(path) = left.pop() {
            if fs::metadata(&path).is_ok_and(|found| found.ino() == id) {
                return Self::open(&path).ok();
            }
            let children = fs::read_dir(&path).into_iter().flatten().flatten();
            let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|t| t.is_dir());
            left.extend(children.filter(is_directory).map(|entry| entry.path()));
        }
        None
    }

    /// The cgroup that the calling process is in, if it can be seen.
    pub fn of_caller() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        // man 7 cgroups: the hierarchy of version 2 has number 0, and no controllers are named.
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let roots = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
        // A mount shows the hierarchy from its root on, which need not be that of the hierarchy.
        let paths = roots.filter_map(|line| {
            let mut words = line.split(' ').skip(3);
            let (root, mounted) = (words.next()?, words.next()?);
            let below = Path::new(own).strip_prefix(root).ok()?;
            Some(Path::new(mounted).join(below))
        });
        paths.into_iter().find_map(|path| Self::open(&path).ok())
    }

    /// The cgroups above it, the nearest first, up to the root of the hierarchy or what can be
    /// seen of it.
    pub fn above(&self) -> impl Iterator<Item = Self> {
        let above = self.path.ancestors().skip(1);
        above.map_while(|path| Self::open(path).ok())
    }

    /// This cgroup and those above it.
    pub fn lineage(self) -> Vec<Self> {
        let mut line: Vec<_> = self.above().collect();
        line.insert(0, self);
        line
    }

    /// The kernel's id: the inode of the directory.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
