//! Allows or denies what the programs of a cgroup ask of their sockets (`connect`, `sendmsg`,
//! `bind`) by an ordered list of rules: the first that matches decides.
//!
//! The user side writes the rules (`nke guard`, docs/filter-language.md); they are laid out and
//! searched as those of the packet filter (`nke_ebpf::abi`). All six programs of a cgroup share one
//! rule set, and an edit replaces it by one pointer, so that a call is judged by the old one or the
//! new one. Until there is a rule set, everything is allowed.
//!
//! It never waits, never changes an address, and never denies without counting it.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use nke_ebpf::{
    SocketCall, Tally, Verdict,
    abi::{Count, Rule, RuleSet, SLOTS},
    aya_ebpf::{
        btf_maps::{Array, ArrayOfMaps, PerCpuArray},
        macros::btf_map,
    },
};

nke_ebpf::manifest!(concat!(
    "version = '",
    env!("CARGO_PKG_VERSION"),
    "'\n",
    r#"identifier = "io.github.nke-rs.connection-guard"
description = "Allows or denies connect, sendmsg and bind by rules: see nke guard"
license = "MIT OR Apache-2.0"
hooks = ["socket/connect", "socket/sendmsg", "socket/bind"]
target-maps = ["RULES", "HITS"]
requires.kernel = "5.10"
"#
));

nke_ebpf::guard!(connection_guard => connect, sendmsg, bind);

/// The rule set in force, in a map of its own so that another can take its place at once.
#[btf_map]
static RULES: ArrayOfMaps<Array<RuleSet, 1>, 1> = ArrayOfMaps::new();

/// Calls by rule, counted as packets without bytes. A rule keeps its slot as long as it exists.
#[btf_map]
static HITS: PerCpuArray<Count, SLOTS> = PerCpuArray::new();

fn connection_guard(call: &impl SocketCall) -> Verdict {
    let Some(rules) = RULES.get_value(0, &0) else {
        return Verdict::Pass;
    };
    let decision = rules.decide(&call.flow(), call.facts());
    HITS.add_one(decision.slot);
    if decision.outcome & Rule::DROP != 0 {
        Verdict::Drop
    } else {
        Verdict::Pass
    }
}
