//! What happens to sockets, event by event: connecting, connected, disconnecting, disconnected, bound,
//! closing, cannot-send-more, cannot-receive-more.
//!
//!     nke attach socket-events --cgroup /sys/fs/cgroup
//!     nke log socket-events
//!
//! TCP sockets have all of them, others those that are calls of a process: bound, connecting, closing.
//! A socket that is there already when this is attached is one event, existing, unless another event
//! of it comes first.
//!
//! Whose a socket is is who last created, bound or connected it. An accepted one is nobody's until a
//! process asks for the peer's address (as `accept` with an address does) or closes it. It never denies
//! anything.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use nke_ebpf::{
    Call, Context as _, Existing, Send as _, SockOps, Storage as _,
    abi::records::{Event, Socket},
    aya_ebpf::{
        bindings::{
            BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
            BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT,
            BPF_TCP_CLOSING, BPF_TCP_FIN_WAIT1, BPF_TCP_FIN_WAIT2, BPF_TCP_LAST_ACK,
            BPF_TCP_LISTEN,
        },
        btf_maps::{PerCpuArray, RingBuf, SkStorage},
        macros::btf_map,
    },
    current_cgroup, lose, own,
};

nke_ebpf::manifest!(concat!(
    "version = '",
    env!("CARGO_PKG_VERSION"),
    "'\n",
    r#"identifier = "io.github.nke-rs.socket-events"
description = "What happens to sockets, event by event: see nke log"
license = "MIT OR Apache-2.0"
hooks = ["socket/events", "socket/create", "socket/post-bind", "socket/connect", "socket/getpeername", "socket/release"]
records = "event"
requires = { kernel = "5.15", features = ["btf"] }
existing = true
"#
));

nke_ebpf::observe!(created => create);
nke_ebpf::observe!(bound => post_bind);
nke_ebpf::observe!(connects => connect);
nke_ebpf::observe!(holds => getpeername);
nke_ebpf::observe!(closing => release);
nke_ebpf::observe!(event => events);
nke_ebpf::existing!(existing => tcp, udp);

#[btf_map]
static RECORDS: RingBuf<Socket, { 256 << 10 }> = RingBuf::new();

#[btf_map]
static LOST: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The last that was known of a socket.
#[btf_map]
static KEPT: SkStorage<Socket> = SkStorage::new();

const IPPROTO_TCP: u8 = 6;

#[inline(always)]
fn tell(socket: &mut Socket, event: Event) {
    socket.what = event as u8;
    // It is of a moment, and no other context says it.
    if !matches!(event, Event::Existing) {
        socket.state = 0;
    }
    RECORDS.send(socket, &LOST);
}

fn created(call: &impl Call) {
    if let Some(socket) = KEPT.kept(call) {
        call.describe(socket);
        own(socket, call);
        socket.cgroup = current_cgroup(call);
    }
}

fn bound(call: &impl Call) {
    if let Some(socket) = KEPT.kept(call) {
        call.describe(socket);
        own(socket, call);
        tell(socket, Event::Bound);
    }
}

/// Of TCP the stack says when it connects, and with what address.
fn connects(call: &impl Call) {
    if let Some(socket) = KEPT.kept(call) {
        call.describe(socket);
        own(socket, call);
        if socket.protocol != IPPROTO_TCP {
            tell(socket, Event::Connecting);
        }
    }
}

fn holds(call: &impl Call) {
    if let Some(socket) = KEPT.found(call)
        && socket.pid == Socket::UNKNOWN
    {
        own(socket, call);
    }
}

/// Who closes a socket last may be a child that was forked a moment ago, and knows nothing of it.
fn closing(call: &impl Call) {
    if let Some(socket) = KEPT.kept(call) {
        call.describe(socket);
        if socket.pid == Socket::UNKNOWN {
            own(socket, call);
        }
        tell(socket, Event::Closing);
    }
}

fn event(event: &SockOps) {
    let (old, new) = event.states();
    let operation = event.operation();
    let happened = match operation {
        BPF_SOCK_OPS_TCP_CONNECT_CB => Event::Connecting,
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            Event::Connected
        }
        BPF_SOCK_OPS_STATE_CB => match new {
            BPF_TCP_FIN_WAIT1 | BPF_TCP_LAST_ACK => Event::CannotSendMore,
            BPF_TCP_CLOSE_WAIT | BPF_TCP_CLOSING => Event::CannotReceiveMore,
            BPF_TCP_CLOSE if old != BPF_TCP_LISTEN => Event::Disconnected,
            _ => return,
        },
        _ => return,
    };
    let Some(socket) = KEPT.kept(event) else {
        return;
    };
    event.describe(socket);
    if operation != BPF_SOCK_OPS_STATE_CB {
        event.watch_states();
    }
    // The FIN that is waited for last ends the connection at once.
    if happened as u8 == Event::Disconnected as u8
        && old == BPF_TCP_FIN_WAIT2
        && event.peer_has_finished()
    {
        tell(socket, Event::CannotReceiveMore);
    }
    tell(socket, happened);
    if happened as u8 == Event::CannotSendMore as u8 {
        tell(socket, Event::Disconnecting);
    }
}

/// What is kept of a socket says whether it has been told of: by an event that came between, or by an
/// attachment of this extension to another cgroup. One that was made when only the first of the programs was
/// attached is kept, and nobody has heard of it.
fn existing<const TCP: bool>(found: &Existing<TCP>) {
    let Some(socket) = KEPT.kept(found) else {
        lose(&LOST);
        return;
    };
    if socket.what != 0 {
        return;
    }
    found.describe(socket);
    tell(socket, Event::Existing);
    // Connections that a listener makes are told of when they are made.
    if found.state() != BPF_TCP_LISTEN {
        found.watch_states();
    }
}
