//! One record for each TCP connection when it ends: who, from, to, bytes each way, how long, how it
//! ended, round trip time.
//!
//!     nke attach tcplog --cgroup /sys/fs/cgroup
//!     nke log tcplog
//!
//! The connection's figures are the kernel's own, less the SYN and FIN that it counts as bytes. Whose
//! it is is known of those that a process here has connected, or has accepted and asked for the
//! peer's address; of others only once it closes them, and never guessed. Of a connection that was
//! there before, nobody knows since when. It never denies anything.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use nke_ebpf::{
    Call, Context as _, Existing, Send as _, SockOps, Storage as _,
    abi::records::{Connection, End, Socket},
    aya_ebpf::{
        bindings::{
            BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
            BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT,
            BPF_TCP_CLOSING, BPF_TCP_ESTABLISHED, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2,
            BPF_TCP_LAST_ACK, BPF_TCP_LISTEN, BPF_TCP_SYN_RECV, BPF_TCP_SYN_SENT,
        },
        btf_maps::{PerCpuArray, RingBuf, SkStorage},
        macros::btf_map,
    },
    lose, now, own,
};

nke_ebpf::manifest!(concat!(
    "version = '",
    env!("CARGO_PKG_VERSION"),
    "'\n",
    r#"identifier = "io.github.nke-rs.tcplog"
description = "One record for each TCP connection when it ends: see nke log"
license = "MIT OR Apache-2.0"
hooks = ["socket/events", "socket/connect", "socket/getpeername", "socket/release"]
records = "connection"
requires = { kernel = "5.15", features = ["btf"] }
existing = true
"#
));

nke_ebpf::observe!(connection => events);
nke_ebpf::observe!(connects => connect);
nke_ebpf::observe!(holds => getpeername, release);
nke_ebpf::existing!(existing => tcp);

#[btf_map]
static RECORDS: RingBuf<Connection, { 256 << 10 }> = RingBuf::new();

#[btf_map]
static LOST: PerCpuArray<u64, 1> = PerCpuArray::new();

/// What is kept of a socket until it ends.
#[repr(C)]
struct Kept {
    socket: Socket,
    /// When it was established, or began to connect.
    since: u64,
    /// Bits of what has happened.
    past: u64,
}

#[btf_map]
static KEPT: SkStorage<Kept> = SkStorage::new();

const CONNECTED_OUT: u64 = 1;
const ESTABLISHED: u64 = 1 << 1;
/// Which end sent its FIN first.
const CLOSED_HERE: u64 = 1 << 2;
const CLOSED_THERE: u64 = 1 << 3;
/// This end's FIN was acknowledged.
const FIN_ACKNOWLEDGED: u64 = 1 << 4;
/// The record is sent. The cgroups above may have this extension too, and share what is kept.
const SENT: u64 = 1 << 5;
/// It was established before anybody saw it.
const OLDER: u64 = 1 << 6;
/// Its figures do not say which end has connected.
const EITHER_END: u64 = 1 << 7;

fn connects(call: &impl Call) {
    if let Some(kept) = KEPT.kept(call) {
        own(&mut kept.socket, call);
    }
}

/// A process that asks who the peer is (as `accept` with an address does), or that closes the
/// socket, holds it.
fn holds(call: &impl Call) {
    if let Some(kept) = KEPT.found(call)
        && kept.socket.pid == Socket::UNKNOWN
    {
        own(&mut kept.socket, call);
    }
}

fn connection(event: &SockOps) {
    match event.operation() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => begin(event, CONNECTED_OUT),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => establish(event, CONNECTED_OUT),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => establish(event, 0),
        BPF_SOCK_OPS_STATE_CB => change(event),
        _ => {}
    }
}

/// A socket may connect more than once.
#[inline(always)]
fn begin(event: &SockOps, past: u64) {
    if let Some(kept) = KEPT.kept(event) {
        kept.past = past;
        kept.since = now();
        event.watch_states();
    }
}

#[inline(always)]
fn establish(event: &SockOps, past: u64) {
    if let Some(kept) = KEPT.kept(event) {
        kept.past = kept.past & CONNECTED_OUT | ESTABLISHED | past;
        kept.since = now();
        event.watch_states();
    }
}

/// A connection that is there already: its state says what has happened to it. An event of it can
/// have come before.
fn existing(found: &Existing<true>) {
    let state = found.state();
    if matches!(state, BPF_TCP_LISTEN | BPF_TCP_CLOSE) || KEPT.found(found).is_some() {
        return;
    }
    let Some(kept) = KEPT.kept(found) else {
        lose(&LOST);
        return;
    };
    kept.since = now();
    kept.past = match state {
        BPF_TCP_SYN_SENT => CONNECTED_OUT,
        BPF_TCP_SYN_RECV => 0,
        _ => ESTABLISHED | OLDER | closed(state) | connected(found),
    };
    found.watch_states();
}

#[inline(always)]
fn closed(state: u32) -> u64 {
    match state {
        BPF_TCP_FIN_WAIT1 | BPF_TCP_CLOSING => CLOSED_HERE,
        BPF_TCP_FIN_WAIT2 => CLOSED_HERE | FIN_ACKNOWLEDGED,
        BPF_TCP_CLOSE_WAIT | BPF_TCP_LAST_ACK => CLOSED_THERE,
        _ => 0,
    }
}

#[inline(always)]
fn connected(found: &Existing<true>) -> u64 {
    match found.has_connected() {
        Some(true) => CONNECTED_OUT,
        Some(false) => 0,
        None => EITHER_END,
    }
}

#[inline(always)]
fn change(event: &SockOps) {
    let (old, new) = event.states();
    let Some(kept) = KEPT.found(event) else {
        return;
    };
    let first = kept.past & (CLOSED_HERE | CLOSED_THERE) == 0;
    match new {
        BPF_TCP_FIN_WAIT1 if first => kept.past |= CLOSED_HERE,
        BPF_TCP_CLOSE_WAIT if first => kept.past |= CLOSED_THERE,
        BPF_TCP_FIN_WAIT2 => kept.past |= FIN_ACKNOWLEDGED,
        BPF_TCP_CLOSE if old != BPF_TCP_LISTEN && kept.past & SENT == 0 => {
            kept.past |= SENT;
            end(event, kept, old);
        }
        _ => {}
    }
}

#[inline(always)]
fn end(event: &SockOps, kept: &mut Kept, old: u32) {
    event.describe(&mut kept.socket);
    let (received, acknowledged) = event.bytes();
    let past = |bit| u64::from(kept.past & bit != 0);
    let whole = kept.socket.error == 0 && matches!(old, BPF_TCP_CLOSING | BPF_TCP_LAST_ACK);
    let syn = past(CONNECTED_OUT) & past(ESTABLISHED);
    let fin = past(FIN_ACKNOWLEDGED) | u64::from(whole);
    kept.socket.what = how(kept, old) as u8;
    let connection = Connection {
        socket: kept.socket,
        received: received.saturating_sub(u64::from(event.peer_has_finished())),
        sent: acknowledged.saturating_sub(syn + fin),
        duration: if past(OLDER) == 1 {
            Connection::UNKNOWN
        } else {
            kept.socket.time.saturating_sub(kept.since)
        },
        rtt: event.rtt(),
        role: if past(EITHER_END) == 1 {
            0
        } else if past(CONNECTED_OUT) == 1 {
            Connection::CLIENT
        } else {
            Connection::SERVER
        },
    };
    RECORDS.send(&connection, &LOST);
}

// uapi/asm-generic/errno.h
const EPIPE: u8 = 32;
const ECONNABORTED: u8 = 103;
const ECONNRESET: u8 = 104;
const ETIMEDOUT: u8 = 110;
const ECONNREFUSED: u8 = 111;

/// How a connection ended that was in the state `old`. The kernel notes an error before it gives a
/// connection up (tcp_done_with_error); without one it is this end's doing.
#[inline(always)]
fn how(kept: &Kept, old: u32) -> End {
    match (kept.socket.error, old) {
        (0, BPF_TCP_ESTABLISHED | BPF_TCP_SYN_RECV | BPF_TCP_CLOSE_WAIT | BPF_TCP_FIN_WAIT1) => {
            End::ResetByUs
        }
        (0, _) if kept.past & CLOSED_THERE != 0 => End::ClosedByPeer,
        (0, _) => End::ClosedByUs,
        (ECONNRESET | EPIPE, _) => End::ResetByPeer,
        (ETIMEDOUT, _) => End::Timeout,
        (ECONNREFUSED, _) => End::Refused,
        (ECONNABORTED, _) => End::Aborted,
        _ => End::Failed,
    }
}
