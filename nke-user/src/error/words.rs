//! Words that several messages share.

use std::io;

/// What `bpf` takes, what attaching to an interface does, and what mounting, and opening what is known by number, does
/// (capabilities(7)).
pub(crate) const CAPABILITIES: &str =
    "it takes CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, which root in a container may lack";

/// What helps against an errno: the one that means a lack of capabilities means it everywhere.
pub(super) fn remedy_of(source: &io::Error, otherwise: &'static str) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => CAPABILITIES,
        _ => otherwise,
    }
}

/// As many of a list as a reader may want on one line.
pub(super) fn some(all: &[String]) -> String {
    const MOST: usize = 4;
    match all.get(MOST..) {
        Some(rest @ [_, ..]) => format!("{} and {} more", all[..MOST].join(", "), rest.len()),
        Some([]) | None => all.join(", "),
    }
}

/// The same, of a list that may be empty.
pub(super) fn some_or_none(all: &[String]) -> String {
    if all.is_empty() {
        "none at all".to_owned()
    } else {
        some(all)
    }
}
