//! `keep state`: flows that were let through, so that their answers are.
//!
//! In reading order: [`Mark`] is what becomes of a flow with each packet, [`Probe`] what is read of a
//! packet, and [`find`] and [`enter`] the table. Time is the kernel's, in [`Ticks`].
//!
//! ```
//! use nke_ebpf::states::{Event, Kind, Mark, Phase};
//!
//! let opening = Mark::new(1, Kind::Tcp as u64, false, 0);
//! assert_eq!(opening.phase(), Phase::Opening);
//! let reset = opening.after(Event(Event::ANSWER | Event::RST), 5);
//! assert_eq!(reset.map(Mark::phase), Some(Phase::Closed));
//! ```
//!
//! This never waits, never allocates, and never judges by rules.

mod key;
mod mark;
mod probe;
mod seen;
mod table;

#[cfg(feature = "bpf")]
mod shared;

pub use key::Key;
pub use mark::{Event, Kind, Mark, Phase, TICK_SHIFT, Ticks};
pub use probe::Probe;
pub use seen::Seen;
#[cfg(feature = "bpf")]
pub use shared::{KeepsState, StateTables, enter_in, find_in};
#[cfg(feature = "bpf")]
pub(crate) use shared::{NOT, ask, find_straight};
pub use table::{Buckets, Found, enter, find};
