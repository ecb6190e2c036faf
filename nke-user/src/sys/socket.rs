//! Sockets: an option that the standard library does not know.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// Sets an option of a socket.
///
/// # Errors
///
/// The kernel's, or those of a program at `socket/setsockopt`: `ENOTSOCK` when it is none,
/// `ENOPROTOOPT` or `EOPNOTSUPP` when nobody knows the option.
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = value
        .len()
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `value` is `length` readable bytes, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
