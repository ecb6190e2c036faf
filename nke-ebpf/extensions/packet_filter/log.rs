//! The lines that rules with `log` write, in the words of the rule language.

use aya_log_ebpf::info;
use nke_ebpf::{
    Case, Limit, Window,
    abi::{Rule, STAMPED, facts, field},
    aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map},
    lose, since_start,
};

nke_ebpf::setting!(
    /// How many lines each CPU may write in a second. What is beyond is counted, and
    /// not written.
    LOG_LINES: u32 = 100
);

#[btf_map]
static LOG_LIMIT: PerCpuArray<Window, 1> = PerCpuArray::new();

#[btf_map]
static LEFT_OUT: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Writes one line for a packet, which has come by this interface, with the time in front.
pub(crate) fn line(case: &Case, interface: u32) {
    if !LOG_LIMIT.allows(0, LOG_LINES.get().into()) {
        lose(&LEFT_OUT);
        return;
    }
    let time = since_start();
    let (subject, decision) = (case.subject(), case.decision());
    let known = subject.word(field::FACTS);
    // Both of one length: the verifier knows how much is copied.
    let action = if decision.outcome & Rule::DROP != 0 {
        "drop"
    } else {
        "pass"
    };
    let way = match known & (facts::IN | facts::OUT) {
        facts::IN => "in",
        facts::OUT => "out",
        _ => "forward",
    };
    let (number, length) = (decision.number, case.bytes());
    // What is not known is 0 already; asking whether it is would be a branch each.
    let protocol = (known >> facts::PROTOCOL_SHIFT) as u8;
    let (source_port, destination_port) = (subject.ports() as u16, (subject.ports() >> 32) as u16);
    let [source, destination] =
        [field::SOURCE, field::DESTINATION].map(|end| [subject.word(end), subject.word(end + 1)]);
    if known & facts::V4 != 0 {
        let first = |[first, _]: [u64; 2]| (first as u32).to_ne_bytes();
        info!(
            case,
            target: STAMPED,
            "{} {} rule {}: {} {} proto {} from {:i} port {} to {:i} port {}, {} bytes",
            time,
            interface,
            number,
            action,
            way,
            protocol,
            first(source),
            source_port,
            first(destination),
            destination_port,
            length
        );
    } else if known & facts::V6 != 0 {
        info!(
            case,
            target: STAMPED,
            "{} {} rule {}: {} {} proto {} from {:i} port {} to {:i} port {}, {} bytes",
            time,
            interface,
            number,
            action,
            way,
            protocol,
            sixteen(source),
            source_port,
            sixteen(destination),
            destination_port,
            length
        );
    } else {
        info!(
            case,
            target: STAMPED,
            "{} {} rule {}: {} {} not IP, {} bytes",
            time,
            interface,
            number,
            action,
            way,
            length
        );
    }
}

/// The bytes of an IPv6 address.
fn sixteen([first, second]: [u64; 2]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = first.to_ne_bytes();
    let [i, j, k, l, m, n, o, p] = second.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}
