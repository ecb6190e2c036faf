//! Counts packets and bytes by IP protocol, and lets everything go on.
//!
//! The example to learn from. Attach it, and read what it counted:
//!
//!     nke attach counter -i eth0
//!     bpftool map dump name COUNTS
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use nke_ebpf::{
    Flow, Packet, Tally, Verdict,
    abi::Count,
    aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map},
};

// What nke shows of the extension. Any other loader ignores it.
nke_ebpf::manifest!(concat!(
    "version = '",
    env!("CARGO_PKG_VERSION"),
    "'\n",
    r#"identifier = "io.github.nke-rs.counter"
description = "Counts packets and bytes by IP protocol"
license = "MIT OR Apache-2.0"
hooks = ["interface/xdp"]
"#
));

// One function, four programs: counter_xdp, counter_in, counter_out and counter_ip. Each is an ordinary
// program of its hook, so that one object serves whichever hook it is attached to.
nke_ebpf::filter!(counter => xdp, in, out, ip);

/// Where packets are counted that are not IP, or do not show their protocol.
const OTHER: u32 = 256;

// A map outlives every single run of a program, and both sides can reach it. In this kind every
// CPU has a copy of each value, so that counting takes no lock: a reader adds the copies up.
#[btf_map]
static COUNTS: PerCpuArray<Count, 257> = PerCpuArray::new();

// The kernel calls this for every packet. It may only do what the verifier can follow: look at
// bytes whose presence was checked (hence every header is an Option), loop a bounded number of
// times, and never wait.
fn counter(packet: &impl Packet) -> Verdict {
    let protocol = match Flow::of(packet) {
        Ok(flow) => flow.protocol().map_or(OTHER, u32::from),
        Err(nke_ebpf::Obscured) => OTHER,
    };
    COUNTS.add(protocol, packet);
    Verdict::Pass
}
