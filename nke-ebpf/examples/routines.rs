//! An extension with routines: it notes what they are run for, and does not go while it is told to stay.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use nke_ebpf::{
    Packet, Verdict,
    abi::Event,
    aya_ebpf::{btf_maps::Array, macros::btf_map},
};

nke_ebpf::manifest!(
    r#"description = "Notes what its routines are run for"
license = "MIT OR Apache-2.0"
hooks = ["interface/xdp"]
init = "start"
exit = "finish"

[settings.stay]
type = "bool"
default = false
description = "Refuse to be unloaded"
"#
);

nke_ebpf::routine!(start, finish);
nke_ebpf::filter!(routines => xdp);

nke_ebpf::setting!(
    /// Whether to refuse to be unloaded.
    STAY: bool = false
);

/// The last event, and one more, by routine: `start` is 0, `finish` 1.
#[btf_map]
static NOTED: Array<u32, 2> = Array::new();

/// What a routine answers to keep the extension loaded: `EBUSY`, negative.
const BUSY: i32 = -16;

fn start(event: Event) -> i32 {
    note(0, event)
}

fn finish(event: Event) -> i32 {
    let noted = note(1, event);
    if STAY.get() { BUSY } else { noted }
}

/// Answers well if it could be noted.
fn note(routine: u32, event: Event) -> i32 {
    match NOTED.set(routine, event as u32 + 1, 0) {
        Ok(()) => 0,
        Err(error) => error,
    }
}

fn routines(_packet: &impl Packet) -> Verdict {
    Verdict::Pass
}
