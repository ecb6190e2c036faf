//! The SDK for nke extensions: what an author of a packet filter needs besides aya-ebpf.
//!
//! An extension is one Rust function, compiled for every packet hook that it names:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use nke_ebpf::{Flow, Packet, Verdict};
//!
//! nke_ebpf::manifest!(r#"description = "Drops telnet""#);
//! nke_ebpf::filter!(no_telnet => xdp, in, out, ip);
//!
//! fn no_telnet(packet: &impl Packet) -> Verdict {
//!     match Flow::of(packet) {
//!         Ok(flow) if flow.destination_port() == Some(23) => Verdict::Drop,
//!         Ok(_) | Err(_) => Verdict::Pass,
//!     }
//! }
//! ```
//!
//! The object that comes out is an ordinary one: sections `xdp`, `tcx/ingress`, `tcx/egress` and
//! `netfilter`, BTF maps, a licence. Nothing in it knows of nke, and any libbpf-style loader takes it.
//!
//! Without the feature `bpf` the library is what runs anywhere: the parser, which host tests feed
//! with plain bytes, and [`abi`], which the user side of the bundled extensions shares.
//!
//! The library never allocates, never panics, and never hands out bytes that the verifier has not
//! seen checked.
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    expect(unstable_features, reason = "inline assembly for BPF is unstable"),
    feature(asm_experimental_arch)
)]

mod verdict;

mod packet;

pub mod headers;

mod flow;

mod branchless;

mod classic;

pub mod abi;

pub mod set;

pub mod rules;

pub mod states;

mod subject;

mod rate;

pub mod sources;

mod word;

#[cfg(feature = "bpf")]
mod answer;
#[cfg(feature = "bpf")]
#[doc(hidden)]
pub mod entry;
#[cfg(feature = "bpf")]
mod existing;
#[cfg(feature = "bpf")]
mod in_force;
#[cfg(feature = "bpf")]
mod kernel;
#[cfg(feature = "bpf")]
mod limit;
#[cfg(feature = "bpf")]
mod made_over;
#[cfg(feature = "bpf")]
mod netfilter;
#[cfg(feature = "bpf")]
mod observer;
#[cfg(feature = "bpf")]
#[doc(hidden)]
pub mod routine;
#[cfg(feature = "bpf")]
pub mod sets;
#[cfg(feature = "bpf")]
mod setting;
#[cfg(feature = "bpf")]
mod socket;
#[cfg(feature = "bpf")]
mod tally;

#[cfg(feature = "bpf")]
pub use aya_ebpf;
pub use branchless::forget;
pub use classic::answers;
#[cfg(feature = "bpf")]
pub use existing::{Existing, TcpIteration, UdpIteration};
pub use flow::{EXTENSION_HEADERS, Family, Flow, Obscured, REACH, VLAN_TAGS};
#[cfg(feature = "bpf")]
pub use in_force::{Case, Functions, InForce, Judge, RuleSets, judge};
#[cfg(feature = "bpf")]
pub use limit::{Limit, Window, since_start};
#[cfg(feature = "bpf")]
pub use netfilter::IpPacket;
#[cfg(feature = "bpf")]
pub use observer::{
    Bound, Call, Context, Send, Sock, SockAddr, SockOps, Storage, current_cgroup, lose, now, own,
};
pub use packet::{Direction, Frame, Packet};
#[cfg(feature = "bpf")]
pub use packet::{InPacket, OutPacket, XdpPacket};
#[cfg(feature = "bpf")]
#[doc(hidden)]
pub use rate::within;
pub use rules::Decision;
#[cfg(feature = "bpf")]
pub use setting::Setting;
#[cfg(feature = "bpf")]
pub use socket::{AddressCall, Operation, SocketCall};
pub use subject::tests_hold;
#[cfg(feature = "bpf")]
pub use tally::Tally;
pub use verdict::{Refusal, Verdict};
pub use word::Word;
