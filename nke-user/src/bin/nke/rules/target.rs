//! Whose rules: what differs between `nke filter` and `nke guard`.
//!
//! The two words on the command line that differ are types here; everything else about rules is
//! written once, for whatever [`Target`] there is.

use std::{fmt::Debug, path::PathBuf};

use clap::Args;
use nke::{
    control::Scope,
    filter::Dialect,
    hook::{Family, Hook, Kind},
};

use super::Found;

/// The rules of one attached extension, as the command line names them.
pub(crate) trait Target: Args + Debug {
    /// Where to list rules: a scope from which nothing need be named.
    type Place: Args + Debug;

    /// The extension whose rules these are.
    const EXTENSION: &'static str;
    /// The words of its rules.
    const DIALECT: Dialect;
    /// What `--help` says of a rule.
    const SYNTAX: &'static str;
    /// What `--help` shows.
    const EXAMPLE: &'static str;
    /// What tells two at one place apart; and two at one hook of it.
    const OPTIONS: [&'static str; 2];
    /// What is printed where no rules are.
    const NONE: &'static str;

    /// Everything that a place to list names.
    fn everywhere(place: &Self::Place) -> Self;

    /// Where to look for it.
    fn scope(&self) -> Scope;

    /// Whether rules that were found are at the place that this names.
    fn is(&self, found: &Found) -> bool;

    /// Whether it names a place, so that there must be rules.
    fn is_named(&self) -> bool;

    /// Whether it says at which hook.
    fn has_hook(&self) -> bool;

    /// Whether to see to it that nobody is locked out.
    fn is_guarded(&self) -> bool;

    /// The place, as messages name it.
    fn place(&self) -> String;

    /// The words that name the place.
    fn words(&self) -> String;
}

/// Which filter.
#[derive(Args, Debug)]
pub(crate) struct FilterTarget {
    /// The interface; left out, the filter at a hook of the IP layer is meant
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// The interface's network namespace, or the IP layer's: a name of `ip netns`, or a path
    #[arg(long, value_name = "NS")]
    netns: Option<String>,
    /// The hook; needed if packet-filter is attached to several and the rule does not tell
    #[arg(long)]
    hook: Option<Hook>,
    /// The attachment's id; needed if packet-filter is attached to one hook several times
    #[arg(long, value_name = "ID")]
    id: Option<u32>,
    /// Even if it cuts your own SSH connection, ARP or neighbour discovery: without this, rules that
    /// pass them are put behind the others where the default would drop them
    #[arg(long)]
    force: bool,
}

/// Which filters.
#[derive(Args, Debug)]
pub(crate) struct Filters {
    /// The interface; all of them if left out
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// Its network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NS")]
    netns: Option<String>,
    /// Only the filter at this hook
    #[arg(long)]
    hook: Option<Hook>,
}

impl Target for FilterTarget {
    type Place = Filters;

    const EXTENSION: &'static str = "packet-filter";
    const DIALECT: Dialect = Dialect::Packets;
    const SYNTAX: &'static str = "Add a rule behind the others, or at a place among them\n\n\
        RULE is an action, and what a packet must be, in this order (docs/filter-language.md has all of it):\n\n  \
        pass|drop|reject [with ERROR]|redirect to IFACE|count|mark N[/MASK]\n  \
        [in|out] [log [1/N]] [on IFACE] [arp|inet|inet6] [proto P]\n  \
        [from ADDRESS|@SET [port PORT|@SET]] [to ADDRESS|@SET [port PORT|@SET]]\n\n\
        and behind that, in any order:\n\n  \
        flags F/G   icmp-type T [code C]   icmp6-type T [code C]\n  \
        fragment [none|first|later]   dscp D   vlan N|any|none   length N[-M]\n  \
        mark N[/MASK]   ether from|to MAC   expr 'TCPDUMP EXPRESSION'\n  \
        limit [over] N/s|m|h|d [bytes] [burst B] [per source]\n\n\
        and `keep state` last, of `pass`. `not` may stand in front of most values. A list in braces stands for a rule each.";
    const EXAMPLE: &'static str = "Examples:\n  \
        nke filter add -i eth0 'drop in proto tcp from 10.0.0.0/8 to any port 22'\n  \
        nke filter add -i eth0 'pass proto { tcp, udp } to any port { 53, 8000-8080 }'\n  \
        nke filter add -i eth0 'pass in proto tcp to any port 443 flags S/SA keep state'\n  \
        nke filter add -i eth0 'drop in log 1/100 from not { 10.0.0.0/8, @partners }'\n  \
        nke filter add -i eth0 'reject with admin-prohibited in proto tcp to any port @web'\n  \
        nke filter add -i eth0 'redirect to ids0 in proto udp to any port domain'\n  \
        nke filter add -i eth0 'count in icmp-type echo-request length 1000-65535'\n  \
        nke filter add -i eth0 'mark 0x10/0xf0 in vlan 100 dscp ef'\n  \
        nke filter add -i eth0 'drop in arp ether from not 02:00:00:00:00:01'\n  \
        nke filter add -i eth0 'drop in proto tcp to any port 22 limit over 3/m burst 5 per source'\n  \
        nke filter add -i eth0 \"drop in expr 'udp[8:4] = 0x53414d50'\"\n  \
        nke filter add 'drop in on eth0 fragment'";
    const OPTIONS: [&'static str; 2] = ["--hook or --id", "--id"];
    const NONE: &'static str = "no packet filter is attached";

    fn everywhere(place: &Filters) -> Self {
        let Filters {
            interface,
            netns,
            hook,
        } = place;
        Self {
            interface: interface.clone(),
            netns: netns.clone(),
            hook: *hook,
            id: None,
            force: false,
        }
    }

    fn scope(&self) -> Scope {
        let Self {
            interface,
            netns,
            hook,
            id: _,
            force: _,
        } = self;
        Scope {
            interface: interface.clone(),
            netns: netns.clone(),
            cgroup: None,
            hook: hook.map(Family::from),
        }
    }

    fn is(&self, found: &Found) -> bool {
        let Self {
            interface,
            netns,
            hook: _,
            id,
            force: _,
        } = self;
        // Without a name the namespace is the caller's own, and not every one.
        let here = interface.is_some() || netns.is_some() || found.netns.is_none();
        let kind = if interface.is_some() {
            Kind::Interface
        } else {
            Kind::Namespace
        };
        match id {
            Some(id) => found.id == *id,
            None => here && found.hooks.iter().all(|hook| hook.row().kind == kind),
        }
    }

    fn is_named(&self) -> bool {
        self.interface.is_some()
    }

    fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    fn is_guarded(&self) -> bool {
        !self.force
    }

    fn place(&self) -> String {
        let Self {
            interface,
            netns,
            hook: _,
            id: _,
            force: _,
        } = self;
        match (interface, netns) {
            (Some(interface), _) => interface.clone(),
            (None, Some(netns)) => format!("namespace {netns}"),
            (None, None) => "this namespace".to_owned(),
        }
    }

    fn words(&self) -> String {
        let Self {
            interface,
            netns,
            hook,
            id: _,
            force: _,
        } = self;
        let mut words = Vec::new();
        words.extend(interface.as_ref().map(|name| format!("-i {name}")));
        words.extend(netns.as_ref().map(|name| format!("--netns {name}")));
        words.extend(hook.map(|hook| format!("--hook {hook}")));
        if interface.is_none() && hook.is_none() {
            words.push("--hook ip/in".to_owned());
        }
        words.join(" ")
    }
}

/// Which guard.
#[derive(Args, Debug)]
pub(crate) struct GuardTarget {
    /// The cgroup: its directory
    #[arg(long, value_name = "DIR", required = true)]
    cgroup: Option<PathBuf>,
    /// The hook; needed only where attachments have rules of their own
    #[arg(long)]
    hook: Option<Family>,
}

/// Which guards.
#[derive(Args, Debug)]
pub(crate) struct Guards {
    /// The cgroup: its directory; all of them if left out
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Only the guard at this hook
    #[arg(long)]
    hook: Option<Family>,
}

impl Target for GuardTarget {
    type Place = Guards;

    const EXTENSION: &'static str = "connection-guard";
    const DIALECT: Dialect = Dialect::Calls;
    const SYNTAX: &'static str = "Add a rule behind the others, or at a place among them\n\n\
        RULE is: pass|drop [out|connect|sendmsg|bind] [inet|inet6] [proto P] [to ADDRESS] \
        [port N]. `out` is connect and sendmsg; the address of bind is the socket's own. A list \
        in braces stands for a rule each; ADDRESS and port can be a named set, @SET, and have `not` in front.";
    const EXAMPLE: &'static str = "Examples:\n  \
        nke guard add --cgroup /sys/fs/cgroup/web 'drop out proto tcp to 10.0.0.0/8 port 22'\n  \
        nke guard add --cgroup /sys/fs/cgroup/web 'pass connect to @databases port { 443, 5432 }'\n  \
        nke guard add --cgroup /sys/fs/cgroup/web 'drop bind port not 8080'";
    const OPTIONS: [&'static str; 2] = ["--hook"; 2];
    const NONE: &'static str = "no connection guard is attached";

    fn everywhere(place: &Guards) -> Self {
        let Guards { cgroup, hook } = place;
        Self {
            cgroup: cgroup.clone(),
            hook: hook.clone(),
        }
    }

    fn scope(&self) -> Scope {
        let Self { cgroup, hook } = self;
        Scope {
            interface: None,
            netns: None,
            cgroup: cgroup.clone(),
            hook: hook.clone(),
        }
    }

    fn is(&self, _: &Found) -> bool {
        true
    }

    fn is_named(&self) -> bool {
        self.cgroup.is_some()
    }

    fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    // It judges what programs ask for, and nothing that is on its way.
    fn is_guarded(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        let cgroup = self.cgroup.as_ref();
        cgroup.map_or_else(|| "a cgroup".to_owned(), |path| path.display().to_string())
    }

    fn words(&self) -> String {
        let hook = self.hook.as_ref();
        let hook = hook.map_or_else(String::new, |hook| format!(" --hook {hook}"));
        format!("--cgroup {}{hook}", self.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that examples of `--help` have, in quotes behind all other words.
    fn rules(examples: &str) -> Vec<&str> {
        let lines = examples.lines().filter(|line| line.contains("nke "));
        lines
            .filter_map(|line| {
                let start = line.find(['\'', '"'])?;
                line[start + 1..].strip_suffix(&line[start..=start])
            })
            .collect()
    }

    #[test]
    fn examples_of_help_are_rules() {
        for (examples, dialect, count) in [
            (FilterTarget::EXAMPLE, Dialect::Packets, 12),
            (GuardTarget::EXAMPLE, Dialect::Calls, 3),
        ] {
            let rules = rules(examples);
            assert_eq!(rules.len(), count, "{examples}");
            for rule in rules {
                assert!(dialect.rules(rule).is_ok(), "{rule}");
            }
        }
    }
}
