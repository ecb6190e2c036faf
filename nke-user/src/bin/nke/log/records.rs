//! Records of sockets, as a line for people or a line of JSON.
//!
//! The JSON is one object a line, with the same keys in each record of a kind; what is not known
//! is `null`. docs/layers.md lists the keys.

use std::{
    fmt::{self, Write as _},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use nke::records::{Record, Tail};
use nke_ebpf::abi::records::{Connection, End, Event, Socket, State};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::output;

/// Prints all that an extension has to tell now.
pub(super) fn drain(tail: &mut Tail, as_json: bool) -> anyhow::Result<()> {
    while let Some(record) = tail.next()? {
        if !output::is_read() {
            break;
        }
        let extension = tail.extension();
        if as_json {
            output::line(format_args!("{}", object(extension, &record)));
        } else {
            output::line(format_args!(
                "{} {extension}: {}",
                time(&record),
                Line(&record)
            ));
        }
    }
    Ok(())
}

/// When it happened, by the clock on the wall.
fn time(record: &Record) -> humantime::Rfc3339Timestamp {
    let then = match record {
        Record::Connection(connection) => connection.socket.time,
        Record::Event(socket) => socket.time,
        Record::Lost { .. } => u64::MAX,
    };
    let now = clock_gettime(ClockId::Monotonic);
    let now = u64::try_from(now.tv_sec)
        .unwrap_or_default()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default());
    let ago = Duration::from_nanos(now.saturating_sub(then));
    let time = SystemTime::now().checked_sub(ago);
    humantime::format_rfc3339_millis(time.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// An address, if there is one.
fn address(octets: [u8; 16], port: u16) -> Option<SocketAddr> {
    let address = Ipv6Addr::from(octets);
    let mapped = address.to_ipv4_mapped();
    let none = octets == [0; 16] && port == 0;
    (!none).then(|| SocketAddr::new(mapped.map_or(IpAddr::V6(address), IpAddr::V4), port))
}

/// A command's name: what a process says of itself.
fn command(socket: &Socket) -> String {
    let end = socket.command.iter().position(|byte| *byte == 0);
    let name = &socket.command[..end.unwrap_or(socket.command.len())];
    String::from_utf8_lossy(name).into_owned()
}

fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        number => number.to_string(),
    }
}

/// Why it broke, in words.
fn error(number: u8) -> Option<String> {
    (number != 0).then(|| {
        let text = io::Error::from_raw_os_error(number.into()).to_string();
        let end = text.find(" (os error").unwrap_or(text.len());
        text[..end].to_lowercase()
    })
}

/// A record as JSON.
fn object(extension: &str, record: &Record) -> Value {
    let mut object = match record {
        Record::Connection(connection) => {
            let Connection {
                socket,
                received,
                sent,
                duration,
                rtt,
                role,
            } = connection;
            let mut object = socket_object(socket);
            object["record"] = json!("connection");
            object["end"] = json!(End::of(socket.what).map(End::name));
            object["role"] = json!(match *role {
                Connection::CLIENT => Some("client"),
                Connection::SERVER => Some("server"),
                _ => None,
            });
            object["received"] = json!(received);
            object["sent"] = json!(sent);
            object["duration_ns"] = json!((*duration != Connection::UNKNOWN).then_some(duration));
            object["rtt_us"] = json!(rtt);
            object
        }
        Record::Event(socket) => {
            let mut object = socket_object(socket);
            object["record"] = json!("event");
            object["event"] = json!(Event::of(socket.what).map(Event::name));
            object["state"] = json!(State::of(socket.state).map(State::name));
            object
        }
        Record::Lost { lost, total } => json!({ "record": "lost", "lost": lost, "total": total }),
    };
    object["time"] = json!(time(record).to_string());
    object["extension"] = json!(extension);
    object
}

fn socket_object(socket: &Socket) -> Value {
    let known = socket.pid != Socket::UNKNOWN;
    let local = address(socket.local, socket.local_port);
    let remote = address(socket.remote, socket.remote_port);
    json!({
        "pid": known.then_some(socket.pid),
        "uid": known.then_some(socket.uid),
        "command": known.then(|| command(socket)),
        "cgroup": (socket.cgroup != 0).then_some(socket.cgroup),
        "cookie": (socket.cookie != 0).then_some(socket.cookie),
        "protocol": protocol(socket.protocol),
        "local_address": local.map(|a| a.ip()),
        "local_port": local.map(|a| a.port()),
        "remote_address": remote.map(|a| a.ip()),
        "remote_port": remote.map(|a| a.port()),
        "error": error(socket.error),
    })
}

/// A record as a line.
struct Line<'a>(&'a Record);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::Connection(connection) => {
                let Connection {
                    socket,
                    received,
                    sent,
                    duration,
                    rtt,
                    role,
                } = connection;
                let arrow = match *role {
                    Connection::CLIENT => "->",
                    Connection::SERVER => "<-",
                    _ => "-",
                };
                write!(f, "{}", who(socket))?;
                write!(f, " {} {arrow} {}", local(socket), remote(socket))?;
                write!(f, ", sent {sent} B, received {received} B, ")?;
                if *duration == Connection::UNKNOWN {
                    write!(f, "older")?;
                } else {
                    let micros = duration / 1000;
                    write!(f, "{}.{:03} ms", micros / 1000, micros % 1000)?;
                }
                let end = End::of(socket.what).map_or("ended", End::name);
                write!(f, ", rtt {rtt} us, {end}")
            }
            Record::Event(socket) => {
                let event = Event::of(socket.what).map_or("unknown", Event::name);
                write!(f, "{event} {} {}", protocol(socket.protocol), who(socket))?;
                write!(f, " {} - {}", local(socket), remote(socket))?;
                write!(f, ", cookie {}", socket.cookie)?;
                if let Some(state) = State::of(socket.state) {
                    write!(f, ", {}", state.name())?;
                }
                error(socket.error).map_or(Ok(()), |error| write!(f, ", {error}"))
            }
            Record::Lost { lost, total } => write!(
                f,
                "{lost} records lost, {total} in all: they came faster than they were read"
            ),
        }
    }
}

fn who(socket: &Socket) -> String {
    if socket.pid == Socket::UNKNOWN {
        return "unknown".to_owned();
    }
    // What a process calls itself must not move a terminal's cursor.
    let mut text = String::new();
    for character in command(socket).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    // Writing to a string cannot fail.
    let _: fmt::Result = write!(text, "[{}]", socket.pid);
    text
}

fn local(socket: &Socket) -> String {
    address(socket.local, socket.local_port).map_or_else(|| "?".to_owned(), |a| a.to_string())
}

fn remote(socket: &Socket) -> String {
    address(socket.remote, socket.remote_port).map_or_else(|| "?".to_owned(), |a| a.to_string())
}
