//! Socket options of any level and name.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// `setsockopt(2)`.
///
/// # Errors
///
/// What the kernel says.
pub fn set_option(fd: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).expect("a value is small");
    // SAFETY: the value outlives the call, and its length is given.
    let answer = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `getsockopt(2)` with room for `room` bytes.
///
/// # Errors
///
/// What the kernel says.
pub fn option(fd: impl AsFd, level: i32, name: i32, room: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0; room];
    let mut length = libc::socklen_t::try_from(room).expect("a value is small");
    // SAFETY: the value has as much room as is said, and both outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(length as usize);
    Ok(value)
}
