//! The harness of the end-to-end tests: a [`World`] of one's own, real packets, the real command.
//!
//! Every test makes a [`World`]: two network namespaces joined by a veth pair, and a state
//! directory that no other test knows. Nothing is global, so tests run in parallel; dropping the
//! world takes everything away again, and prints it all first when the test failed. Tests never
//! sleep: they wait on events with a [`Deadline`], or for an RCU grace period of the kernel.
//!
//! The harness never links the library `nke`: it runs the command as a user does, and asks the
//! kernel itself what is true.
//!
//! ```no_run
//! use nke_tests::{Hook, World, trail};
//!
//! let world = World::new();
//! world.on(&["attach", &trail::object(1)]).ok();
//! assert_eq!(world.trail(Hook::Xdp).seen, [1]);
//! ```

pub mod binaries;
mod caller;
mod cgroup;
mod chain;
mod command;
mod dice;
mod dump;
mod errors;
mod feature;
pub mod frame;
pub mod kernel;
mod likeness;
mod netns;
mod pending;
mod refusal;
mod sockets;
mod standing;
pub mod steps;
pub mod stranger;
mod stream;
mod sys;
mod tracer;
pub mod trail;
mod tree;
mod wait;
mod wire;
mod world;

pub use caller::{Ask, Caller, Verb};
pub use cgroup::Cgroup;
pub use chain::{Chain, Extension, Foreign, Hook, Node, Tally};
pub use command::Ran;
pub use dice::Dice;
pub use feature::{Feature, disposable};
pub use kernel::Objects;
pub use likeness::Likeness;
pub use netns::Namespace;
pub use refusal::{look_old, refuse};
pub use sockets::{tcp_exchange, told, udp_arrives, udp_exchange};
pub use standing::Standing;
pub use stream::{Report, Stream};
pub use sys::socket;
pub use tracer::{Call, End, Traced, trace, trace_failing, trace_interrupting};
pub use tree::tree;
pub use wait::Deadline;
pub use wire::Tap;
pub use world::{IFACE, INSIDE_V4, INSIDE_V6, OUTSIDE_V4, OUTSIDE_V6, World};

/// Fails the test with a message, from a place where no assertion reads well.
#[track_caller]
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn fail(message: impl std::fmt::Display) -> ! {
    panic!("{message}")
}
