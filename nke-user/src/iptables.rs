//! The tables of iptables, the old way: which of them the kernel calls at a hook.
//!
//! `iptables-legacy` makes a table when it is first asked about it, and a table is called at its
//! hooks from then on, rules or not. (`iptables-nft` makes base chains of nftables instead.) This
//! module must never make one: it reads /proc.

use std::fs;

use crate::{hook::Hook, interface::Namespace, mode::Mode};

/// What is at a hook: the table's name and its priority.
pub(crate) type Table = (String, i32);

/// A table's name, its priority at hooks `enum nf_inet_hooks` numbers from 0, and where it has none.
type Row = (&'static str, [Option<i32>; 5]);

/// `enum nf_ip_hook_priorities`, uapi/linux/netfilter_ipv4.h, and the `valid_hooks` of
/// net/ipv4/netfilter/iptable_*.c; IPv6 is the same. The hooks are those of the IP layer:
/// prerouting, in, forward, out, postrouting.
const TABLES: [Row; 5] = [
    ("raw", [Some(-300), None, None, Some(-300), None]),
    ("mangle", [Some(-150); 5]),
    ("nat", [Some(-100), Some(100), None, Some(-100), Some(100)]),
    ("filter", [None, Some(0), Some(0), Some(0), None]),
    ("security", [None, Some(50), Some(50), Some(50), None]),
];

/// The tables at a hook of a namespace, in the order of their priorities.
pub(crate) fn tables(namespace: &Namespace, hook: Hook) -> Vec<Table> {
    if !hook.row().modes.contains(&Mode::Netfilter) {
        return Vec::new();
    }
    let read = || {
        ["ip", "ip6"].map(|family| {
            let path = format!("/proc/thread-self/net/{family}_tables_names");
            fs::read_to_string(path).unwrap_or_default()
        })
    };
    let [v4, v6] = namespace.within(read).unwrap_or_default();
    let v4 = v4.lines().map(|table| ("iptables", table));
    let v6 = v6.lines().map(|table| ("ip6tables", table));
    let mut found: Vec<_> = v4
        .chain(v6)
        .filter_map(|(tool, table)| Some((format!("{tool} {table}"), priority(table, hook)?)))
        .collect();
    found.sort_by_key(|(_, priority)| *priority);
    found
}

/// A table's priority at a hook, if it is there.
fn priority(table: &str, hook: Hook) -> Option<i32> {
    let (_, priorities) = TABLES.iter().find(|(name, _)| *name == table)?;
    let number = usize::try_from(hook.row().attach_type).ok()?;
    priorities.get(number).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_at_their_hooks() {
        let check = |table, expected: [Option<i32>; 3]| {
            let hooks = ["ip/prerouting", "ip/in", "ip/postrouting"];
            let found = hooks.map(|hook| priority(table, hook.parse().unwrap()));
            assert_eq!(found, expected, "{table}");
        };
        check("raw", [Some(-300), None, None]);
        check("nat", [Some(-100), Some(100), Some(100)]);
        check("filter", [None, Some(0), None]);
        check("unheard", [None; 3]);
    }
}
