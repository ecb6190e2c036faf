//! The SDK for nke extensions.
#![no_std]
#![allow(unsafe_code)]
#![allow(missing_docs)]

#[cfg(feature = "bpf")]
pub mod entry;
pub mod headers;
pub mod packet;
pub mod verdict;
#[cfg(feature = "bpf")]
pub use aya_ebpf;
pub use packet::Packet;
pub use verdict::Verdict;
