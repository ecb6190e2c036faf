//! The table of flows as an extension has it: a map that all its attachments to one target share.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    helpers::generated::bpf_ktime_get_ns,
};

use super::{Buckets, Found, Probe, enter, find};
use crate::{
    Packet,
    abi::{Subject, facts, field, states::Bucket},
    flow::Straight,
};

/// `BPF_F_MMAPABLE`, so that the elements begin at a page (since 5.5), and `BPF_F_INNER_MAP`, so that one
/// of any size can take its place (since 5.10).
const FLAGS: usize = 1 << 10 | 1 << 12;

/// A table: as many buckets as it needs.
type StateTable = Array<Bucket, 1, FLAGS>;

/// The table in force, in a map of its own so that another can take its place at once. There is none until
/// a rule keeps state.
pub type StateTables = ArrayOfMaps<StateTable, 1>;

impl Buckets for StateTable {
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&Bucket> {
        self.get(index)
    }
}

/// Who has a table of flows: see [`keeps_state!`](crate::keeps_state).
pub trait KeepsState {
    /// Where the table is.
    fn tables() -> &'static StateTables;

    /// The rule of a probe's flow; 0 if it is not known.
    fn find(probe: *mut Probe) -> u64;

    /// Enters a probe's flow, if a packet like this makes an entry. 1 if there was room.
    fn enter(probe: *mut Probe) -> u64;
}

/// Declares the table of flows of an extension, and a type that stands for it: `keeps_state!(STATES, Flows)`.
///
/// The functions that find a flow and enter one are global, so that the verifier goes through them once and not on each
/// way that leads to them; and two, because what both have on their stacks together is too much.
#[macro_export]
macro_rules! keeps_state {
    ($tables:ident, $states:ident) => {
        /// The flows that were let through.
        #[$crate::aya_ebpf::macros::btf_map]
        static $tables: $crate::states::StateTables = $crate::states::StateTables::new();

        /// Whether there are any: see `nke_ebpf::abi::states::KEPT`.
        #[$crate::aya_ebpf::macros::btf_map]
        static KEPT: $crate::aya_ebpf::btf_maps::Array<u64, 1> =
            $crate::aya_ebpf::btf_maps::Array::new();

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn nke_flow_find(probe: *mut $crate::states::Probe) -> u64 {
            // SAFETY: null, or a probe of the caller's: the verifier knows its size.
            unsafe { $crate::states::find_in(&$tables, probe) }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn nke_flow_enter(probe: *mut $crate::states::Probe) -> u64 {
            // SAFETY: as above.
            unsafe { $crate::states::enter_in(&$tables, probe) }
        }

        struct $states;

        impl $crate::states::KeepsState for $states {
            #[inline(always)]
            fn tables() -> &'static $crate::states::StateTables {
                &$tables
            }

            #[inline(always)]
            fn find(probe: *mut $crate::states::Probe) -> u64 {
                nke_flow_find(probe)
            }

            #[inline(always)]
            fn enter(probe: *mut $crate::states::Probe) -> u64 {
                nke_flow_enter(probe)
            }
        }
    };
}

/// The rule of a probe's flow; 0 if it is not known. The ends are put in order here, and not on each way
/// that leads here.
///
/// # Safety
///
/// The probe must be null or valid.
#[inline(always)]
#[expect(unsafe_code, reason = "an argument from another function")]
pub unsafe fn find_in(tables: &StateTables, probe: *mut Probe) -> u64 {
    // SAFETY: promised by the caller. (Since Linux 6.8 the verifier wants it tested.)
    let (Some(probe), Some(table)) = (unsafe { probe.as_mut() }, tables.get(0)) else {
        return 0;
    };
    probe.sort();
    // SAFETY: the helper reads a number of the kernel. (Netfilter programs have no coarser clock.)
    let clock = || unsafe { bpf_ktime_get_ns() };
    find(table, probe, clock).map_or(0, |Found(rule)| rule)
}

/// Enters a probe's flow, if a packet like this makes an entry. 1 if there was room.
///
/// # Safety
///
/// As [`find_in`].
#[inline(always)]
#[expect(unsafe_code, reason = "an argument from another function")]
pub unsafe fn enter_in(tables: &StateTables, probe: *mut Probe) -> u64 {
    // SAFETY: as in `find_in`.
    let (Some(probe), Some(table)) = (unsafe { probe.as_mut() }, tables.get(0)) else {
        return 0;
    };
    probe.sort();
    // SAFETY: as in `find_in`.
    let now = unsafe { bpf_ktime_get_ns() };
    u64::from(probe.begins() && enter(table, probe, now))
}

/// The rule of the flow that a packet is of, or 0 if that is not known. With a rule, its flow is entered for that, if a
/// packet like this makes an entry.
#[inline(always)]
pub(crate) fn ask<S: KeepsState>(packet: &impl Packet, subject: &Subject, rule: u64) -> u64 {
    let mut probe = Probe::nothing(subject.word(field::FACTS));
    probe.read(packet, subject);
    if !probe.is_flow() {
        return 0;
    }
    if rule == 0 {
        return S::find(&raw mut probe);
    }
    probe.enter_for(rule);
    S::enter(&raw mut probe)
}

/// What is the rule of no flow: the packet is not as nearly all are, and must be asked the long way.
pub(crate) const NOT: u64 = u64::MAX;

/// As [`ask`] without a rule, of a packet as nearly all are: without a case. Of all others it says [`NOT`].
#[inline(always)]
pub(crate) fn find_straight<S: KeepsState>(packet: &impl Packet) -> u64 {
    let Some(Straight::V4(flow) | Straight::V6(flow)) = Straight::of(packet, false) else {
        return NOT;
    };
    let subject = Subject::of_flow(&flow, facts::direction(packet.direction()));
    ask::<S>(packet, &subject, 0)
}
