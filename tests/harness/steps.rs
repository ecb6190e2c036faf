//! Programs that write down that they ran: which hooks one packet meets, and in which order.
//!
//! The extension `steps` has two programs for each of [`HOOKS`], which count up one number
//! whatever the hook: so what they wrote says in which order the kernel ran all of them.

use serde::Deserialize;

use crate::{IFACE, World, fail, kernel, stranger};

/// The hooks, as the programs in `steps.c` are numbered: two each, from 0.
pub const HOOKS: [&str; 19] = [
    "interface/xdp",
    "interface/in",
    "interface/out",
    "ip/prerouting",
    "ip/in",
    "ip/forward",
    "ip/out",
    "ip/postrouting",
    "socket/lookup",
    "socket/data-in",
    "socket/data-out",
    "socket/create",
    "socket/bind4",
    "socket/post-bind4",
    "socket/connect4",
    "socket/sendmsg4",
    "socket/recvmsg4",
    "socket/stream-in",
    "socket/stream-out",
];

/// What the packet carries: no other packet in a world is as long.
pub const PAYLOAD: [u8; 333] = [7; 333];

/// The port that it comes in at.
pub const PORT: u16 = 4444;

/// The extension's object.
#[must_use]
pub fn object() -> String {
    let payload = format!("-DPAYLOAD={}", PAYLOAD.len());
    stranger::object("steps.c", "steps", &[&payload, &format!("-DPORT={PORT}")])
}

/// `nke chain --way --json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Ways {
    ways: Vec<Way>,
}

#[derive(Debug, Deserialize)]
struct Way {
    way: String,
    hooks: Vec<At>,
}

#[derive(Debug, Deserialize)]
struct At {
    hook: String,
    chains: Vec<Chain>,
}

#[derive(Debug, Deserialize)]
struct Chain {
    hook: String,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    program: String,
}

impl World {
    /// Attaches both programs of a hook, the second in front of the first.
    pub fn attach_steps(&self, hook: &str, words: &[&str]) {
        let at = HOOKS.iter().position(|name| *name == hook);
        let at = at.unwrap_or_else(|| fail(format!("steps.c has no program for {hook}")));
        for (program, priority) in [(2 * at, "60"), (2 * at + 1, "40")] {
            let symbol = format!("step_{program}");
            let fixed = ["attach", &object(), "--hook", hook, "--program", &symbol];
            let order = ["--priority", priority];
            self.nke(&[&fixed[..], &order, words].concat()).ok();
        }
    }

    /// Which programs have run so far, in their order.
    #[must_use]
    pub fn steps(&self) -> Vec<u64> {
        let mut entries = kernel::counts(&self.state().join("extensions/steps/maps/steps"));
        let count = usize::try_from(entries.remove(0)).expect("a small number");
        assert!(
            count <= entries.len(),
            "more have run than there is room for"
        );
        entries.truncate(count);
        entries
    }

    /// The programs as `nke chain --way` prints them for one of the ways: hook and number.
    #[track_caller]
    #[must_use]
    pub fn printed_steps(&self, way: &str, words: &[&str]) -> Vec<(String, u64)> {
        let words = [&["chain", "--way", "--json"], words].concat();
        let found = self.nke(&words).json::<Ways>().ways;
        let found = found.into_iter().find(|found| found.way == way);
        let hooks = found.unwrap_or_else(|| fail(format!("no way {way}"))).hooks;
        let mut steps = Vec::new();
        for at in hooks {
            for chain in at.chains {
                assert_eq!(chain.hook, at.hook);
                let number = |node: &Node| node.program.strip_prefix("step_")?.parse().ok();
                let numbers = chain.nodes.iter().filter_map(number);
                steps.extend(numbers.map(|number| (at.hook.clone(), number)));
            }
        }
        steps
    }

    /// The words that name what a hook is attached to, in this world.
    #[must_use]
    pub fn scope<'a>(&'a self, hook: &str, cgroup: &'a str) -> Vec<&'a str> {
        let netns = ["--netns", self.inside.name()];
        match hook.split_once('/') {
            Some(("interface", _)) => [&["-i", IFACE], &netns[..]].concat(),
            Some(("socket", name)) if name != "lookup" => vec!["--cgroup", cgroup],
            _ => netns.to_vec(),
        }
    }
}
