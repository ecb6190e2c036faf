//! `SO_NKE`: a program opts its own socket in, and only then an extension that was attached with
//! `--opt-in` sees it.
//!
//! The numbers are those of `include/nke.h`. The kernel never sees the option: nke's node at
//! `socket/setsockopt` of the socket's cgroup takes it. Where nke has none the kernel answers, with
//! `ENOPROTOOPT` or `EOPNOTSUPP`, since nothing of its own has this level.
//!
//! ```no_run
//! let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! nke::so_nke::opt_in(&socket, "counter")?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    str::FromStr,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::{
    error::{Error, Result},
    sys::socket,
};

/// The level of nke's socket options: "NKE". No protocol of Linux has one as high.
pub const SOL_NKE: i32 = 0x4e_4b_45;

/// Attaches the extension that a `struct so_nke` names to this socket: Apple's number.
pub const SO_NKE: i32 = 0x1021;

/// Bytes of a `struct so_nke`: a name, and zeros behind it. One at least, so that a name has one
/// less.
pub const NAME_LEN: usize = 64;

/// Opts a socket in for an extension, as the program that owns it may do itself.
///
/// # Errors
///
/// `EINVAL` when no extension of this name is attached with `--opt-in` to the socket's cgroup or to
/// one above it; `EEXIST` when the socket has opted in already; `ENOMEM`; `ENOPROTOOPT` or
/// `EOPNOTSUPP` when nke is not at work there.
pub fn opt_in(of: impl AsFd, name: &str) -> io::Result<()> {
    let mut value = [0; NAME_LEN];
    let length = name.len();
    if length >= NAME_LEN || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    value[..length].copy_from_slice(name.as_bytes());
    socket::set_option(of, SOL_NKE, SO_NKE, &value)
}

/// A socket of another process: its number, and the descriptor's there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The process.
    pub pid: i32,
    /// The descriptor.
    pub fd: i32,
}

impl Descriptor {
    /// A descriptor of our own for the same socket (Linux 5.6).
    pub(crate) fn open(self, extension: &str) -> Result<OwnedFd> {
        let failed = |source: Errno| Error::Socket {
            socket: self,
            stage: "open for",
            extension: extension.to_owned(),
            remedy: match source {
                Errno::SRCH | Errno::INVAL => "there is no such process: see `ss -p`",
                Errno::BADF => "the process has no such descriptor: see /proc/PID/fd",
                _ => "it takes CAP_SYS_PTRACE, which root in a container may lack",
            },
            source: source.into(),
        };
        let pid = Pid::from_raw(self.pid).ok_or_else(|| failed(Errno::SRCH))?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
        pidfd_getfd(process, self.fd, PidfdGetfdFlags::empty()).map_err(failed)
    }
}

impl FromStr for Descriptor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a socket is PID:FD, two numbers, such as 4711:3";
        let (pid, fd) = text.split_once(':').ok_or(EXPECTED)?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().ok_or(EXPECTED)
        };
        Ok(Self {
            pid: number(pid)?,
            fd: number(fd)?,
        })
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_two_numbers() {
        let check = |text: &str, expected| assert_eq!(text.parse().ok(), expected, "{text}");
        check("12:3", Some(Descriptor { pid: 12, fd: 3 }));
        for text in [
            "",
            "12",
            ":",
            "12:",
            ":3",
            "-1:3",
            "12:+3",
            "12:3:4",
            "a:b",
            "99999999999:1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn the_header_says_the_same() {
        let header = include_str!("../../include/nke.h");
        let has = |name: &str, value: &str| {
            assert!(
                header.contains(&format!("#define {name} {value}\n")),
                "{name} {value}"
            );
        };
        has("SOL_NKE", &format!("{SOL_NKE:#x}"));
        has("SO_NKE", &format!("{SO_NKE:#x}"));
        has("NKE_NAME_LEN", &NAME_LEN.to_string());
    }
}
