//! Passes, drops, rejects or redirects packets by an ordered list of rules: the first that matches decides.
//!
//! The user side writes the rules (`nke filter`, docs/filter-language.md); what both agree on is
//! `nke_ebpf::abi`. An edit replaces the whole rule set by one pointer, so that a packet is judged
//! by the old one or the new one. Until there is a rule set, everything passes.
//!
//! Linux 6.4 is the first whose verifier follows what must be exact through functions: older ones, as 6.1, take
//! minutes.
//!
//! It never waits, never changes a byte of a packet that goes on, and never passes one that it cannot see through: a
//! packet that hides its protocol behind too many extension headers is dropped, and counted.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod log;

use nke_ebpf::{
    Case, Functions, InForce, Limit, Packet, Refusal, Verdict, Window,
    abi::{Rule, Subject},
    aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map},
};

nke_ebpf::manifest!(concat!(
    "version = '",
    env!("CARGO_PKG_VERSION"),
    "'\n",
    r#"identifier = "io.github.nke-rs.packet-filter"
description = "Passes or drops packets by rules: see nke filter"
license = "MIT OR Apache-2.0"
hooks = ["interface/xdp"]
attachment-maps = ["RULES"]
target-maps = ["STATES", "KEPT"]
judged-by-rules = true

[requires]
kernel = "6.4"
optional-helpers = ["bpf_loop"]

[settings.log-lines]
type = "u32"
default = 100
maximum = 1000000
description = "Log lines a second, on each CPU"

[settings.answers]
type = "u32"
default = 1000
maximum = 1000000
description = "Answers to rejected packets a second, on each CPU"
"#
));

nke_ebpf::filter!(packet_filter => xdp, in, out, ip);

nke_ebpf::rules!(RULES, nke_judge);
nke_ebpf::asks_v4!(nke_set_has_v4);
nke_ebpf::logs!(nke_log => log::line);

struct Judging;

impl Functions for Judging {
    fn judge(case: *mut Case) -> u32 {
        nke_judge(case)
    }

    fn ask_set(subject: *const Subject, question: u32) -> u32 {
        nke_set_answer(subject, question)
    }

    fn ask_set_v4(slot: u32, address: u64) -> u32 {
        nke_set_has_v4(slot, address)
    }

    fn log(case: *const Case, interface: u32) -> u32 {
        nke_log(case, interface)
    }
}

nke_ebpf::keeps_state!(STATES, Flows);

nke_ebpf::setting!(
    /// How many packets each CPU may answer in a second that are rejected. What is beyond is dropped silently, so
    /// that nobody is flooded by answers to what a third one has sent in his name.
    ANSWERS: u32 = 1000
);

#[btf_map]
static ANSWERED: PerCpuArray<Window, 1> = PerCpuArray::new();

fn packet_filter(packet: &impl Packet) -> Verdict {
    let Some(rules) = InForce::of(&RULES) else {
        return Verdict::Pass;
    };
    let Ok((outcome, interface)) = rules.judge::<Judging, Flows>(packet) else {
        return Verdict::Drop;
    };
    if outcome & Rule::REJECT != 0 && ANSWERED.allows(0, ANSWERS.get().into()) {
        return Verdict::Reject(Refusal::of(
            (outcome & Rule::REFUSAL) >> Rule::REFUSAL_SHIFT,
        ));
    }
    if outcome & Rule::REDIRECT != 0 {
        return Verdict::Redirect(interface);
    }
    if outcome & Rule::DROP != 0 {
        Verdict::Drop
    } else {
        Verdict::Pass
    }
}
