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
}
