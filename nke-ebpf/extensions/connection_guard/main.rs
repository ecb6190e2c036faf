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

use nke_ebpf::{InForce, SocketCall, Verdict, abi::Rule};

nke_ebpf::manifest!(concat!(
    "version = '",
    env!("CARGO_PKG_VERSION"),
    "'\n",
    r#"identifier = "io.github.nke-rs.connection-guard"
description = "Allows or denies connect, sendmsg and bind by rules: see nke guard"
license = "MIT OR Apache-2.0"
hooks = ["socket/connect", "socket/sendmsg", "socket/bind"]
target-maps = ["RULES"]
requires.kernel = "5.12"
"#
));

nke_ebpf::guard!(connection_guard => connect, sendmsg, bind);

// The counts are of calls, as packets without bytes.
nke_ebpf::rules!(RULES, nke_judge);

fn connection_guard(call: &impl SocketCall) -> Verdict {
    let outcome = InForce::judge_call(call, nke_judge);
    if outcome & Rule::DROP != 0 {
        Verdict::Drop
    } else {
        Verdict::Pass
    }
}
