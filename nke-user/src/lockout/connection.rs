//! The SSH connection of a command: what its environment says, and what the kernel says to that.
//!
//! The environment is anybody's word; only a connection that the kernel has is believed. Where the
//! kernel cannot be asked, the word stands: it can only make nke more careful.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    iter::successors,
    net::{IpAddr, SocketAddr},
};

use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::{Flow, route::Route};
use crate::{cgroup::Cgroup, interface::Namespace, sys::process};

/// `PEER PORT LOCAL PORT` (ssh(1)).
const VARIABLE: &str = "SSH_CONNECTION";

/// Processes above a command that are asked: more than any shell is deep.
const MOST_ANCESTORS: usize = 64;

pub(super) fn of_caller() -> Option<Flow> {
    let processes: Vec<String> = lineage().collect();
    // What a shell says, its commands say as well, in whichever namespace they are.
    let mut all: Vec<_> = processes
        .iter()
        .filter_map(|process| parse(&word_of(process)?))
        .collect();
    all.dedup();
    if all.is_empty() {
        return None;
    }
    let mut known = BTreeSet::new();
    let open = |process| Namespace::open(Some(&format!("/proc/{process}/ns/net"))).ok();
    let namespaces: Vec<_> = processes
        .iter()
        .filter_map(open)
        .filter(|namespace| known.insert(namespace.inode()))
        .collect();
    let places = |ends| namespaces.iter().map(move |namespace| (namespace, ends));
    all.iter()
        .flat_map(places)
        .find_map(|(namespace, (peer, local))| found(namespace, *peer, *local))
}

/// The process itself and those that it descends from.
fn lineage() -> impl Iterator<Item = String> {
    let above = |process: &String| {
        let parent = process::parent(process).filter(|parent| *parent != 0);
        parent.as_ref().map(ToString::to_string)
    };
    successors(Some("self".to_owned()), above).take(MOST_ANCESTORS)
}

/// What a process's environment says.
fn word_of(process: &str) -> Option<String> {
    // Longer environments are possible, and none that a login makes.
    const MOST: u64 = 1 << 20;
    // The kernel looks the other process up at each read.
    let mut bytes = Vec::with_capacity(1 << 14);
    let file = File::open(format!("/proc/{process}/environ")).ok()?;
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    let variables = bytes.split(|byte| *byte == 0);
    let mut words = variables.filter_map(|variable| str::from_utf8(variable).ok());
    let word = words.find_map(|word| word.strip_prefix(VARIABLE)?.strip_prefix('='));
    word.map(str::to_owned)
}

/// The two ends: the peer's and this host's.
fn parse(word: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = word.split(' ');
    let mut end = || {
        let address = words.next()?.split('%').next()?;
        let address: IpAddr = address.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port))
    };
    let ends = (end()?, end()?);
    (ends.0.is_ipv4() == ends.1.is_ipv4()).then_some(ends)
}

/// The flow, if a namespace has a socket of it.
fn found(namespace: &Namespace, peer: SocketAddr, local: SocketAddr) -> Option<Flow> {
    let cgroup = match cgroup_of_socket(namespace, peer, local) {
        Ok(cgroup) => cgroup,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return None,
        // The kernel was built without what answers.
        Err(_) => None,
    };
    let cgroups = cgroup.and_then(Cgroup::find).map(|cgroup| {
        let line = cgroup.lineage();
        line.iter().map(Cgroup::id).collect()
    });
    let route = Route::to(namespace, peer.ip()).ok();
    let hardware = route.as_ref().and_then(|route| route.hardware(namespace));
    let interfaces = route.map(|route| route.interfaces);
    Some(Flow {
        peer,
        local,
        netns: namespace.inode(),
        interfaces: interfaces.filter(|all| !all.is_empty()),
        hardware,
        cgroups,
    })
}

/// Asks the kernel for the one TCP socket with these ends (sock_diag(7)), and its cgroup's id.
fn cgroup_of_socket(
    namespace: &Namespace,
    peer: SocketAddr,
    local: SocketAddr,
) -> io::Result<Option<u64>> {
    let mut socket = namespace
        .within(|| Socket::new(NETLINK_SOCK_DIAG))
        .map_err(io::Error::other)??;
    socket.bind_auto()?;
    let request = diag_request(peer, local);
    socket.send_to(&request, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    match kind.map(u16::from_ne_bytes) {
        Some(SOCK_DIAG_BY_FAMILY) => Ok(cgroup_in(&answer)),
        Some(NLMSG_ERROR) => {
            let errno = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
            let errno = errno.map_or(libc::EIO, i32::from_ne_bytes);
            Err(io::Error::from_raw_os_error(errno.wrapping_neg()))
        }
        Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
/// uapi/linux/inet_diag.h; since 5.9.
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn diag_request(peer: SocketAddr, local: SocketAddr) -> Vec<u8> {
    const LENGTH: u32 = 72;
    const NLM_F_REQUEST: u16 = 1;
    const TCP_ESTABLISHED: u32 = 1;
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let address = |address: IpAddr| {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => bytes = v6.octets(),
        }
        bytes
    };
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]); // sequence, port
    request.extend([family.to_ne_bytes()[0], 6, 0, 0]); // IPPROTO_TCP
    request.extend((1u32 << TCP_ESTABLISHED).to_ne_bytes());
    request.extend(local.port().to_be_bytes());
    request.extend(peer.port().to_be_bytes());
    request.extend(address(local.ip()));
    request.extend(address(peer.ip()));
    request.extend(0u32.to_ne_bytes()); // any interface
    request.extend([0xff; 8]); // any cookie
    request
}

fn cgroup_in(answer: &[u8]) -> Option<u64> {
    // Behind struct nlmsghdr and struct inet_diag_msg.
    let mut rest = answer.get(16 + 72..)?;
    while let [l0, l1, k0, k1, ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([*k0, *k1]) == INET_DIAG_CGROUP_ID {
            return Some(u64::from_ne_bytes(value.try_into().ok()?));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says() {
        let check = |word: &str, ends: Option<(&str, &str)>| {
            let ends = ends.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
            assert_eq!(parse(word), ends, "{word}");
        };
        check(
            "192.0.2.1 50000 192.0.2.2 22",
            Some(("192.0.2.1:50000", "192.0.2.2:22")),
        );
        check(
            "fe80::1%eth0 5 fe80::2%eth0 22",
            Some(("[fe80::1]:5", "[fe80::2]:22")),
        );
        check(
            "::ffff:192.0.2.1 5 192.0.2.2 22",
            Some(("192.0.2.1:5", "192.0.2.2:22")),
        );
        check("::1 5 192.0.2.2 22", None);
        check("192.0.2.1 50000 192.0.2.2", None);
        check("192.0.2.1 70000 192.0.2.2 22", None);
        check("", None);
    }

    #[test]
    fn answers_that_are_cut_short_say_nothing() {
        let mut answer = vec![0; 16 + 72];
        assert_eq!(cgroup_in(&answer), None);
        answer.extend([12, 0, 21, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        if cfg!(target_endian = "little") {
            assert_eq!(cgroup_in(&answer), Some(7));
        }
        for length in 0..answer.len() {
            assert_eq!(cgroup_in(&answer[..length]), None);
        }
        answer.truncate(16 + 72);
        answer.extend([0, 0, 21, 0, 7]);
        assert_eq!(cgroup_in(&answer), None);
    }
}
