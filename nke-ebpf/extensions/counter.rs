//! Counts packets and bytes by IP protocol.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use nke_ebpf::aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use nke_ebpf::{Packet, Verdict, headers::Ethernet};

nke_ebpf::manifest!("description = \"Counts packets and bytes by IP protocol\"\n");
nke_ebpf::filter!(counter => xdp, in, out);

#[btf_map]
static COUNTS: PerCpuArray<u64, 256> = PerCpuArray::new();

fn counter(packet: &impl Packet) -> Verdict {
    if let Some(e) = packet.header::<Ethernet>(0) {
        let _ = COUNTS.get((e.ethertype[1]) as u32);
    }
    Verdict::Pass
}
