//! The kinds of maps (`enum bpf_map_type`, uapi/linux/bpf.h), and what a command can do with each.

/// What a command can do with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Entries are read, written and deleted.
    Entries,
    /// Entries are read and deleted. They are ids, and would be written as descriptors.
    Ids,
    /// Entries are read and deleted: they are sockets, of which their cookies are seen.
    Sockets,
    /// There are no keys: values are pushed, and the next one seen or popped.
    Queue,
    /// Nothing, and why.
    Nothing(&'static str),
}

/// A kind of map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) access: Access,
}

/// Kinds whose keys are prefixes of addresses.
pub(super) const LPM_TRIE: u32 = 11;
/// Kinds whose keys are numbers from 0 to as many entries as they have.
pub(super) const ARRAYS: [u32; 10] = [2, 3, 6, 12, 14, 15, 16, 17, 7, 20];
/// Kinds whose values are an interface and a program that is run there.
pub(super) const DEVMAPS: [u32; 2] = [14, 25];
/// Kinds whose values are a queue of a CPU and a program that is run there.
pub(super) const CPUMAP: u32 = 16;

const RECORDS: Access =
    Access::Nothing("its records are read once and are gone: `nke log` reads those that say how");
const STORAGE: Access = Access::Nothing(
    "its values belong to sockets, tasks, files or cgroups, and only who holds one open can ask for \
     its value",
);
const INSIDE: Access = Access::Nothing("the kernel shows nothing of what is in it");

const KINDS: [Kind; 35] = [
    kind("unspecified", INSIDE),
    kind("hash", Access::Entries),
    kind("array", Access::Entries),
    kind("prog_array", Access::Ids),
    kind("perf_event_array", RECORDS),
    kind("percpu_hash", Access::Entries),
    kind("percpu_array", Access::Entries),
    kind("stack_trace", Access::Entries),
    kind("cgroup_array", INSIDE),
    kind("lru_hash", Access::Entries),
    kind("lru_percpu_hash", Access::Entries),
    kind("lpm_trie", Access::Entries),
    kind("array_of_maps", Access::Ids),
    kind("hash_of_maps", Access::Ids),
    kind("devmap", Access::Entries),
    kind("sockmap", Access::Sockets),
    kind("cpumap", Access::Entries),
    kind("xskmap", INSIDE),
    kind("sockhash", Access::Sockets),
    kind("cgroup_storage", STORAGE),
    kind("reuseport_sockarray", Access::Sockets),
    kind("percpu_cgroup_storage", STORAGE),
    kind("queue", Access::Queue),
    kind("stack", Access::Queue),
    kind("sk_storage", STORAGE),
    kind("devmap_hash", Access::Entries),
    kind("struct_ops", INSIDE),
    kind("ringbuf", RECORDS),
    kind("inode_storage", STORAGE),
    kind("task_storage", STORAGE),
    kind(
        "bloom_filter",
        Access::Nothing("it only knows whether it may have a value, and no value of its own"),
    ),
    kind("user_ringbuf", RECORDS),
    kind("cgrp_storage", STORAGE),
    kind("arena", INSIDE),
    kind("insn_array", INSIDE),
];

const fn kind(name: &'static str, access: Access) -> Kind {
    Kind { name, access }
}

impl Kind {
    /// The kind with this number; one newer than this list shows nothing.
    pub(super) fn of(number: u32) -> Self {
        let known = usize::try_from(number).ok().and_then(|at| KINDS.get(at));
        known.copied().unwrap_or(kind("unknown", INSIDE))
    }
}
