//! Records of sockets: what `tcplog` and `socket-events` send, and `nke log` prints.
//!
//! An extension whose manifest says `records = "connection"` sends a [`Connection`], one that says
//! `records = "event"` a [`Socket`], through a ring buffer named [`RECORDS`]; what did not fit into
//! it is counted in a per-CPU array named [`LOST`]. The user side reads them from bytes:
//!
//! ```
//! use nke_ebpf::abi::records::Socket;
//!
//! let socket = Socket::from_bytes(&[0; size_of::<Socket>()]).unwrap();
//! assert_eq!(socket.pid, Socket::UNKNOWN);
//! assert_eq!(Socket::from_bytes(b"short"), None);
//! ```
//!
//! Numbers have this machine's byte order, addresses the network's.

/// The ring buffer of records.
pub const RECORDS: &str = "RECORDS";
/// A per-CPU array of one `u64`: how many records did not fit into the ring buffer.
pub const LOST: &str = "LOST";

/// A socket at one moment, what happened to it, and whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Socket {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The kernel's number of the socket, not used again until reboot; 0 if unknown.
    pub cookie: u64,
    /// The id of the socket's cgroup; 0 if unknown.
    pub cgroup: u64,
    /// The process, as the first pid namespace numbers it; [`Socket::UNKNOWN`] if no call of a
    /// process on this socket has been seen, and then nothing is said of its user and command.
    pub pid: u32,
    /// The process's user.
    pub uid: u32,
    /// The command, as far as the kernel keeps it, ended by a zero.
    pub command: [u8; 16],
    /// This end's address; an IPv4 one is mapped into IPv6. All zeros if there is none.
    pub local: [u8; 16],
    /// The other end's address, likewise.
    pub remote: [u8; 16],
    /// This end's port; 0 if it has none yet.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// The IP protocol.
    pub protocol: u8,
    /// What happened: an [`Event`], or the [`End`] of a connection.
    pub what: u8,
    /// The socket's error, an errno; 0 if it has none.
    pub error: u8,
    /// Of a socket that was there before, its [`State`]; 0 of others.
    pub state: u8,
    /// Zeros.
    pub reserved: [u8; 7],
}

impl Socket {
    /// The pid of a process that is not known.
    pub const UNKNOWN: u32 = 0;

    /// The record that these bytes are; `None` if they are not as many as they should be.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let socket = Self::take(&mut bytes)?;
        bytes.is_empty().then_some(socket)
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            time: u64::from_ne_bytes(take(bytes)?),
            cookie: u64::from_ne_bytes(take(bytes)?),
            cgroup: u64::from_ne_bytes(take(bytes)?),
            pid: u32::from_ne_bytes(take(bytes)?),
            uid: u32::from_ne_bytes(take(bytes)?),
            command: take(bytes)?,
            local: take(bytes)?,
            remote: take(bytes)?,
            local_port: u16::from_ne_bytes(take(bytes)?),
            remote_port: u16::from_ne_bytes(take(bytes)?),
            family: u8::from_ne_bytes(take(bytes)?),
            protocol: u8::from_ne_bytes(take(bytes)?),
            what: u8::from_ne_bytes(take(bytes)?),
            error: u8::from_ne_bytes(take(bytes)?),
            state: u8::from_ne_bytes(take(bytes)?),
            reserved: take(bytes)?,
        })
    }
}

/// A TCP connection that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// Whose it was, and how it ended: `what` is an [`End`].
    pub socket: Socket,
    /// Bytes of data that came from the other end in order, read or not.
    pub received: u64,
    /// Bytes of data that the other end has acknowledged.
    pub sent: u64,
    /// Nanoseconds from when it was established to its end; of one that never was, from the first
    /// attempt. [`Connection::UNKNOWN`] of one that was there before the extension.
    pub duration: u64,
    /// The round trip time, smoothed, in microseconds; 0 if none was measured.
    pub rtt: u32,
    /// [`Connection::CLIENT`], [`Connection::SERVER`]; 0 if it is not known.
    pub role: u32,
}

impl Connection {
    /// The duration of a connection whose beginning nobody has seen.
    pub const UNKNOWN: u64 = u64::MAX;
    /// This end has connected.
    pub const CLIENT: u32 = 1;
    /// This end was connected to.
    pub const SERVER: u32 = 2;

    /// The record that these bytes are; `None` if they are not as many as they should be.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let connection = Self {
            socket: Socket::take(bytes)?,
            received: u64::from_ne_bytes(take(bytes)?),
            sent: u64::from_ne_bytes(take(bytes)?),
            duration: u64::from_ne_bytes(take(bytes)?),
            rtt: u32::from_ne_bytes(take(bytes)?),
            role: u32::from_ne_bytes(take(bytes)?),
        };
        bytes.is_empty().then_some(connection)
    }
}

const _: () = assert!(size_of::<Socket>() == 96);
const _: () = assert!(size_of::<Connection>() == 128);

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Names of numbers, as they are printed.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$note])* $variant = $number,)+
        }

        impl $name {
            /// What a record's number means; `None` if nothing.
            #[must_use]
            pub const fn of(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

named! {
    /// What happens to a socket, in the words of the original KPI's `sf_notify`.
    Event {
        /// A TCP socket sends its first SYN, or another is given its peer.
        Connecting = 1, "connecting";
        /// The connection is established.
        Connected = 2, "connected";
        /// This end sends its FIN.
        Disconnecting = 3, "disconnecting";
        /// The connection is over; an error says why if it broke.
        Disconnected = 4, "disconnected";
        /// The peer's FIN has come.
        CannotReceiveMore = 7, "cannot-receive-more";
        /// This end has said that it sends no more.
        CannotSendMore = 8, "cannot-send-more";
        /// The last descriptor is closed.
        Closing = 9, "closing";
        /// The socket has got the address that it asked for.
        Bound = 10, "bound";
        /// The socket was there before the extension was attached: told once, whatever has happened
        /// to it until then.
        Existing = 11, "existing";
    }
}

named! {
    /// The state of a socket, in the words of ss(8): those of TCP (include/net/tcp_states.h), of which
    /// one of UDP is `established` when it has a peer, or else `unconnected`.
    State {
        /// Connected.
        Established = 1, "established";
        /// A SYN is on its way.
        SynSent = 2, "syn-sent";
        /// A SYN has come.
        SynRecv = 3, "syn-recv";
        /// This end has closed.
        FinWait1 = 4, "fin-wait-1";
        /// This end has closed, and the other knows it.
        FinWait2 = 5, "fin-wait-2";
        /// Both have closed.
        TimeWait = 6, "time-wait";
        /// Not connected.
        Unconnected = 7, "unconnected";
        /// The other end has closed.
        CloseWait = 8, "close-wait";
        /// The other end has closed, then this one.
        LastAck = 9, "last-ack";
        /// It takes connections.
        Listening = 10, "listening";
        /// Both have closed at once.
        Closing = 11, "closing";
    }
}

named! {
    /// How a connection ended.
    End {
        /// Both ends closed; this end said so first.
        ClosedByUs = 1, "closed-by-us";
        /// Both ends closed; the other end said so first.
        ClosedByPeer = 2, "closed-by-peer";
        /// This end broke it off: it was closed with data unread, or with `SO_LINGER` of 0.
        ResetByUs = 3, "reset-by-us";
        /// The other end broke it off.
        ResetByPeer = 4, "reset-by-peer";
        /// The other end did not answer any more.
        Timeout = 5, "timeout";
        /// It never came to be: the other end refused.
        Refused = 6, "refused";
        /// An administrator destroyed the socket.
        Aborted = 7, "aborted";
        /// Something else, which the error says.
        Failed = 8, "failed";
    }
}
