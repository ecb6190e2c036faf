//! What a filter says of a packet.

/// What a filter says of a packet.
///
/// It must be used: a verdict lost to a stray semicolon is a hole in a firewall.
#[must_use = "a verdict that is not returned has no effect"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Go on: to the next extension of the chain, and behind the last one into the stack.
    Pass,
    /// End here: the packet is gone, and no later extension sees it.
    Drop,
    /// End here, and tell the sender. Where no answer is allowed or possible (at the hooks of the IP layer and of
    /// sockets none ever is) this is [`Verdict::Drop`]. Whoever says it sees to it that it is not said too often.
    Reject(Refusal),
    /// End here: the packet leaves by the interface of this index, with the frame that it is. At the hooks of the IP layer and
    /// of sockets this is [`Verdict::Drop`].
    Redirect(u32),
}

/// What the sender of a packet is told: an error of ICMP (RFC 792, RFC 4443), or a RST of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Refusal {
    /// A segment of TCP is answered by a RST (RFC 9293, 3.10.7), all else as by [`Refusal::Port`].
    Usual = 0,
    /// Port unreachable.
    Port = 1,
    /// Host unreachable; of IPv6, address unreachable.
    Host = 2,
    /// Network unreachable; of IPv6, no route to the destination.
    NoRoute = 3,
    /// Administratively prohibited.
    Admin = 4,
}

impl Refusal {
    /// All there are, by their numbers.
    pub const ALL: [Self; 5] = [
        Self::Usual,
        Self::Port,
        Self::Host,
        Self::NoRoute,
        Self::Admin,
    ];

    /// The refusal of this number; the usual one if it is of none.
    #[inline(always)]
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::Port,
            2 => Self::Host,
            3 => Self::NoRoute,
            4 => Self::Admin,
            _ => Self::Usual,
        }
    }

    /// The type and the code of the error of ICMP.
    #[inline(always)]
    #[must_use]
    pub const fn icmp(self) -> [u8; 2] {
        [
            3,
            match self {
                Self::Usual | Self::Port => 3,
                Self::Host => 1,
                Self::NoRoute => 0,
                Self::Admin => 13,
            },
        ]
    }

    /// The type and the code of the error of ICMP for IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn icmp6(self) -> [u8; 2] {
        [
            1,
            match self {
                Self::Usual | Self::Port => 4,
                Self::Host => 3,
                Self::NoRoute => 0,
                Self::Admin => 1,
            },
        ]
    }
}
