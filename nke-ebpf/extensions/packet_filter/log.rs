//! The lines that rules with `log` write, in the words of the rule language.

use aya_log_ebpf::info;
use nke_ebpf::{
    Decision, Direction, Family, Flow, Limit, Packet, Window,
    abi::{Rule, facts},
    aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map},
};

nke_ebpf::setting!(
    /// How many lines each CPU may write in a second. What is beyond is counted, and
    /// not written.
    LOG_LINES: u32 = 100
);

#[btf_map]
static LOG_LIMIT: PerCpuArray<Window, 1> = PerCpuArray::new();

/// Writes one line for a packet.
#[inline(always)]
pub(crate) fn line(packet: &impl Packet, flow: &Flow, decision: &Decision) {
    if !LOG_LIMIT.allows(0, LOG_LINES.get().into()) {
        return;
    }
    // Both of one length: the verifier knows how much is copied.
    let action = if decision.outcome & Rule::DROP != 0 {
        "drop"
    } else {
        "pass"
    };
    let way = match packet.direction() {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Forward => "forward",
    };
    let length = packet.len();
    let number = decision.number;
    // What is not known is 0 already; asking whether it is would be a branch each.
    let protocol = (flow.facts() >> facts::PROTOCOL_SHIFT) as u8;
    let source_port = flow.ports() as u16;
    let destination_port = (flow.ports() >> 32) as u16;
    match flow.family() {
        Family::V4 => info!(
            packet,
            "rule {}: {} {} proto {} from {:i} port {} to {:i} port {}, {} bytes",
            number,
            action,
            way,
            protocol,
            flow.source_v4(),
            source_port,
            flow.destination_v4(),
            destination_port,
            length
        ),
        Family::V6 => info!(
            packet,
            "rule {}: {} {} proto {} from {:i} port {} to {:i} port {}, {} bytes",
            number,
            action,
            way,
            protocol,
            flow.source_v6(),
            source_port,
            flow.destination_v6(),
            destination_port,
            length
        ),
        Family::Other => info!(
            packet,
            "rule {}: {} {} not IP, {} bytes", number, action, way, length
        ),
    }
}
