//! What a filter says of a packet.

/// What a filter says of a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on to the next extension, and at the end of the chain into the stack.
    Pass,
    /// End here: the packet is gone.
    Drop,
}
