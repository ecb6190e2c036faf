//! A router: the world's inside, with a third namespace beyond it.
//!
//! ```text
//!   outside                inside (nke works here)          beyond
//!   10.1.0.1, fd01::1      10.1.0.2, fd01::2
//!   eth0 ══════════════════ eth0   eth1 ══════════════════ eth0
//!                            10.2.0.2, fd02::2               10.2.0.3, fd02::3
//! ```

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use nke_tests::{Deadline, IFACE, INSIDE_V4, INSIDE_V6, Namespace, Node, Ran, World, fail};
use serde::Deserialize;

/// The hooks of the IP layer, in the order in which packets meet them.
pub(crate) const HOOKS: [&str; 5] = [
    "ip/prerouting",
    "ip/in",
    "ip/forward",
    "ip/out",
    "ip/postrouting",
];

pub(crate) const FILTER: &str = "packet-filter";

pub(crate) struct Router {
    pub(crate) world: World,
    pub(crate) beyond: Namespace,
}

/// `nke chain --json`, as far as it matters here.
#[derive(Deserialize)]
struct Chains {
    chains: Vec<Chain>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Chain {
    pub(crate) hook: String,
    pub(crate) netfilter: Netfilter,
    pub(crate) nodes: Vec<Node>,
}

/// Where in netfilter a chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Netfilter {
    pub(crate) priority: i32,
    pub(crate) defrag: bool,
}

/// `nke filter list --json`, likewise.
#[derive(Deserialize)]
struct Filters {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
struct Filter {
    interface: Option<String>,
    rules: Vec<Hits>,
    obscured_hits: Hits,
}

/// What a rule decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Hits {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Router {
    pub(crate) fn new() -> Self {
        let world = World::with_addresses();
        let beyond = Namespace::new("beyond");
        world.inside.ip(&format!(
            "link add eth1 address 02:00:00:00:01:02 type veth \
             peer {IFACE} address 02:00:00:00:01:03 netns {}",
            beyond.name()
        ));
        for (end, link, number, peer) in [(&world.inside, "eth1", 2, 3), (&beyond, IFACE, 3, 2)] {
            end.sysctl(&format!("ipv6/conf/{link}/disable_ipv6"), "0");
            end.ip(&format!("link set {link} up"));
            end.ip(&format!("address add 10.2.0.{number}/24 dev {link}"));
            end.ip(&format!("address add fd02::{number}/64 dev {link} nodad"));
            for address in [format!("10.2.0.{peer}"), format!("fd02::{peer}")] {
                end.ip(&format!(
                    "neigh replace {address} lladdr 02:00:00:00:01:0{peer} dev {link} nud permanent"
                ));
            }
        }
        world.outside.ip("route add 10.2.0.0/24 via 10.1.0.2");
        world.outside.ip("route add fd02::/64 via fd01::2");
        beyond.ip("route add 10.1.0.0/24 via 10.2.0.2");
        beyond.ip("route add fd01::/64 via fd02::2");
        world.inside.sysctl("ipv4/ip_forward", "1");
        world.inside.sysctl("ipv6/conf/all/forwarding", "1");
        Self { world, beyond }
    }

    /// The words, followed by those that name a hook of the router.
    pub(crate) fn at<'a>(&'a self, hook: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let place = ["--netns", self.world.inside.name(), "--hook", hook];
        [words, &place].concat()
    }

    pub(crate) fn attach(&self, hook: &str, what: &str) {
        self.world.nke(&self.at(hook, &["attach", what])).ok();
    }

    pub(crate) fn detach(&self, hook: &str, what: &str) {
        self.world.nke(&self.at(hook, &["detach", what])).ok();
    }

    /// A filter at a hook, with these rules.
    pub(crate) fn filter(&self, hook: &str, rules: &[&str]) {
        self.filter_with(hook, &[], rules);
    }

    /// Likewise, in a chain that these options of `attach` make.
    pub(crate) fn filter_with(&self, hook: &str, options: &[&str], rules: &[&str]) {
        let words = [&["attach", FILTER], options].concat();
        self.world.nke(&self.at(hook, &words)).ok();
        for rule in rules {
            self.world
                .nke(&self.at(hook, &["filter", "add", rule]))
                .ok();
        }
    }

    pub(crate) fn flush(&self, hook: &str) {
        self.world.nke(&self.at(hook, &["filter", "flush"])).ok();
    }

    fn listed(&self, hook: &str) -> Filter {
        let words = self.at(hook, &["filter", "list", "--json"]);
        let mut filters = self.world.nke(&words).json::<Filters>().filters;
        assert_eq!(filters.len(), 1);
        let filter = filters.remove(0);
        assert_eq!(filter.interface, None);
        filter
    }

    /// How many packets each of a filter's rules has decided about.
    pub(crate) fn packets(&self, hook: &str) -> Vec<u64> {
        let rules = self.listed(hook).rules;
        rules.iter().map(|hits| hits.packets).collect()
    }

    /// Likewise, with bytes.
    pub(crate) fn hits(&self, hook: &str) -> Vec<Hits> {
        self.listed(hook).rules
    }

    pub(crate) fn obscured(&self, hook: &str) -> u64 {
        self.listed(hook).obscured_hits.packets
    }

    /// The only chain of a hook.
    pub(crate) fn chain(&self, hook: &str) -> Chain {
        let words = self.at(hook, &["chain", "--json"]);
        let mut chains = self.world.nke(&words).json::<Chains>().chains;
        assert_eq!(chains.len(), 1);
        chains.remove(0)
    }

    /// Runs `nft` in the router.
    pub(crate) fn nft(&self, words: &[&str]) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.world.inside.name(), "nft"]);
        Ran::of(command.args(words)).ok().stdout
    }

    /// What each of nftables' rules that count has counted, in packets.
    pub(crate) fn nft_packets(&self) -> Vec<u64> {
        let listed = self.nft(&["list", "ruleset"]);
        let counters = listed.split("counter packets ").skip(1);
        let first = |text: &str| text.split(' ').next().and_then(|word| word.parse().ok());
        counters.filter_map(first).collect()
    }

    /// Sends a datagram from the outside to each of these ports of an address in a namespace, and
    /// says which arrived. The last one must.
    pub(crate) fn arrive(&self, to: &Namespace, address: IpAddr, ports: &[u16]) -> Vec<bool> {
        self.arrive_from(&self.world.outside, to, address, ports)
    }

    /// Likewise from a namespace, whose own kernel may drop them.
    pub(crate) fn arrive_from(
        &self,
        from: &Namespace,
        to: &Namespace,
        address: IpAddr,
        ports: &[u16],
    ) -> Vec<bool> {
        let bind = |port: &u16| UdpSocket::bind(SocketAddr::new(address, *port));
        let servers = to.enter(|| ports.iter().map(bind).collect::<Result<Vec<_>, _>>());
        let servers = servers.expect("the ports are free");
        let client = socket(from, address.is_ipv6());
        for port in ports {
            match client.send_to(b"datagram", SocketAddr::new(address, *port)) {
                Err(error) if error.kind() != ErrorKind::PermissionDenied => fail(error),
                _ => {}
            }
        }
        let last = servers.last().expect("at least one port");
        assert!(Deadline::generous().readable(last), "the last is to come");
        let now = Deadline::after(Duration::ZERO);
        servers.iter().map(|server| now.readable(server)).collect()
    }

    /// A socket outside.
    pub(crate) fn client(&self, v6: bool) -> UdpSocket {
        socket(&self.world.outside, v6)
    }
}

/// A socket in a namespace.
fn socket(namespace: &Namespace, v6: bool) -> UdpSocket {
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let socket = namespace.enter(|| UdpSocket::bind(any));
    socket.expect("any port is free")
}

/// The router's own address, on the side of the outside.
pub(crate) fn own(v6: bool) -> IpAddr {
    if v6 {
        INSIDE_V6.into()
    } else {
        INSIDE_V4.into()
    }
}

/// The address beyond.
pub(crate) fn far(v6: bool) -> IpAddr {
    let text = if v6 { "fd02::3" } else { "10.2.0.3" };
    text.parse().expect("an address")
}
