//! A map's values as memory: of an array that the kernel made to be mapped (`BPF_F_MMAPABLE`, since
//! 5.5).

use std::{
    io,
    os::fd::AsFd,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::describe;

/// The values of an array, mapped. Programs see what is written at once.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    length: usize,
}

impl Memory {
    /// Maps an array's first value.
    ///
    /// # Errors
    ///
    /// The kernel's: `ENOTSUPP` if it was not made for it, `EPERM` if it is frozen.
    pub fn map(array: impl AsFd) -> io::Result<Self> {
        let length = describe(&array)?.value_size as usize;
        Self::map_part(array, 0, length)
    }

    /// Maps some of an array's bytes, from a multiple of the page's size on.
    ///
    /// # Errors
    ///
    /// As [`Memory::map`]; `InvalidInput` if the array has not so many bytes.
    pub fn map_part(array: impl AsFd, offset: usize, length: usize) -> io::Result<Self> {
        let described = describe(&array)?;
        // Each value begins at a multiple of 8 (`array_map_alloc`, kernel/bpf/arraymap.c).
        let step = (described.value_size as usize).next_multiple_of(8);
        let all = step.checked_mul(described.max_entries as usize);
        let end = offset.checked_add(length);
        if all.is_none_or(|all| end.is_none_or(|end| end > all)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Self::of(array, offset, length)
    }

    /// Maps so many bytes from this one on. Of an array, the kernel maps no more than it has, rounded up to
    /// pages.
    pub(crate) fn of(array: impl AsFd, offset: usize, length: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses where, so that nothing that is mapped goes, and maps no more than
        // there is.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                access,
                MapFlags::SHARED,
                &array,
                offset as u64,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, length })
    }

    /// All of it as numbers of eight bytes, but for bytes at the end that are fewer.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: it stays mapped as long as `self` lives, begins at a page, and so is aligned; who else
        // has it mapped writes it atomically, and BPF programs run in the kernel.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.length / 8) }
    }

    /// Writes many words, one behind the other, each at once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they cross the end, or do not lie at a multiple of eight.
    pub fn store_all(
        &self,
        offset: usize,
        words: impl ExactSizeIterator<Item = u64>,
    ) -> io::Result<()> {
        let length = words.len().checked_mul(8);
        let end = length.and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > self.length) || !offset.is_multiple_of(8) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let count = length.unwrap_or_default() / 8;
        for (nth, word) in words.take(count).enumerate() {
            // SAFETY: it is within the mapping, by the test above.
            let at = unsafe { self.start.add(offset + nth * 8) };
            // SAFETY: the word lies within the mapping, which starts at a page, and so is aligned.
            unsafe { AtomicU64::from_ptr(at.cast().as_ptr()).store(word, Ordering::Release) };
        }
        Ok(())
    }

    /// Reads eight bytes at once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they cross the end, or do not lie at a multiple of eight.
    pub fn load(&self, offset: usize) -> io::Result<u64> {
        if offset.checked_add(8).is_none_or(|end| end > self.length) || !offset.is_multiple_of(8) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `offset` is within the mapping, by the test above.
        let at = unsafe { self.start.add(offset) };
        // SAFETY: the bytes lie within the mapping, which starts at a page, and so are aligned.
        Ok(unsafe { AtomicU64::from_ptr(at.cast().as_ptr()).load(Ordering::Acquire) })
    }

    /// Writes 1, 2, 4 or 8 bytes at once: a program that reads them sees all of the old ones or all of
    /// the new.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if they are another number, cross the end, or do not lie at a multiple of their
    /// number.
    pub fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let end = offset.checked_add(bytes.len()).ok_or_else(invalid)?;
        if end > self.length || bytes.is_empty() || !offset.is_multiple_of(bytes.len()) {
            return Err(invalid());
        }
        // SAFETY: `offset` is within the mapping, by the test above.
        let at = unsafe { self.start.add(offset) };
        // SAFETY: the bytes lie within the mapping, which starts at a page, and so are aligned; who
        // else has them mapped writes them in the same way, and BPF programs run in the kernel.
        unsafe {
            match *bytes {
                [byte] => AtomicU8::from_ptr(at.as_ptr()).store(byte, Ordering::Release),
                [a, b] => AtomicU16::from_ptr(at.cast().as_ptr())
                    .store(u16::from_ne_bytes([a, b]), Ordering::Release),
                [a, b, c, d] => AtomicU32::from_ptr(at.cast().as_ptr())
                    .store(u32::from_ne_bytes([a, b, c, d]), Ordering::Release),
                [a, b, c, d, e, f, g, h] => AtomicU64::from_ptr(at.cast().as_ptr()).store(
                    u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                    Ordering::Release,
                ),
                _ => return Err(invalid()),
            }
        }
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is the mapping made above, and no reference into it is left. It can only fail
        // for one that is not there.
        let _: rustix::io::Result<()> = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
