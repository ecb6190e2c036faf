//! Where among nftables' chains, and others' programs, a chain is called.

use std::process::Command;

use nke_tests::{Objects, Ran, World};
use serde_json::json;

use crate::{
    RULES, WATCH,
    router::{HOOKS, Netfilter, Router, far, own},
};

/// Base chains of nftables just before and just behind a priority, at one of nftables' hooks.
fn beside(hook: &str, priority: i32) -> String {
    let (before, after) = (priority - 1, priority + 1);
    format!(
        "table inet t {{
            chain before {{ type filter hook {hook} priority {before};
                udp dport 50 counter drop; udp dport {{ 53, 54, 60 }} counter; }}
            chain after {{ type filter hook {hook} priority {after};
                udp dport 60 counter drop; udp dport 54 counter; udp dport {{ 50, 53 }} counter; }}
        }}"
    )
}

/// At every hook, and at every kind of priority that can be typed: nftables' rules of one less are
/// asked before the chain, and those of one more behind it.
#[test]
fn rules_of_nftables_on_either_side() {
    let all = ["prerouting", "input", "forward", "output", "postrouting"];
    let cases = [
        (0, "raw", -300, "raw"),
        (1, "security + 2", 52, "security + 2"),
        (2, "-1234567", -1_234_567, "-1234567"),
        (3, "mangle-5", -155, "mangle - 5"),
        (4, "100", 100, "srcnat"),
        (2, "2147483645", 2_147_483_645, "2147483645"),
        (1, "", -1, "filter - 1"),
    ];
    let router = Router::new();
    for (at, typed, priority, shown) in cases {
        let hook = HOOKS[at];
        let options = ["--netfilter-priority", typed];
        let options = if typed.is_empty() { &[] } else { &options[..] };
        router.nft(&[&beside(all[at], priority)]);
        router.filter_with(hook, options, &RULES);
        let (inside, beyond) = (&router.world.inside, &router.beyond);
        for v6 in [false, true] {
            let ports = [50, 53, 60, 54];
            let arrived = match hook {
                "ip/in" | "ip/prerouting" => router.arrive(inside, own(v6), &ports),
                "ip/out" => router.arrive_from(inside, beyond, far(v6), &ports),
                _ => router.arrive(beyond, far(v6), &ports),
            };
            assert_eq!(arrived, [false, false, false, true], "{hook} at {typed}");
        }
        assert_eq!(router.nft_packets(), [2, 6, 2, 2, 0], "{hook} at {typed}");
        assert_eq!(router.packets(hook), [2, 4], "{hook} at {typed}");
        let chain = router.chain(hook);
        let defrag = false;
        assert_eq!(chain.netfilter, Netfilter { priority, defrag });
        let text = router.world.nke(&router.at(hook, &["chain"])).ok().stdout;
        let heading = format!(", netfilter priority {shown}, policy pass\n");
        assert!(text.contains(&heading), "{text}");
        router.detach(hook, "packet-filter");
        router.nft(&["delete", "table", "inet", "t"]);
    }
}

/// A place is a chain's as long as there is a chain, whatever becomes of its extensions.
#[test]
fn a_chain_made_again_has_forgotten() {
    let router = Router::new();
    let hook = "ip/in";
    let nke = |words: &[&str]| router.world.nke(&router.at(hook, words)).ok();
    let place = || router.chain(hook).netfilter;
    let chosen = Netfilter {
        priority: -150,
        defrag: true,
    };
    let options = ["--netfilter-priority", "mangle", "--defrag"];
    nke(&[&["attach", "counter"][..], &options].concat());
    assert_eq!(place(), chosen);
    // Whoever says nothing, or the same, is content with it.
    nke(&["attach", "packet-filter"]);
    nke(&["move", "packet-filter", "--before", "counter"]);
    nke(&["policy", "drop"]);
    nke(&["policy", "pass"]);
    nke(&["attach", "packet-filter", "--netfilter-priority", "-150"]);
    nke(&["replace", "counter", "packet-filter"]);
    assert_eq!(place(), chosen);
    for node in router.chain(hook).nodes {
        assert_eq!(place(), chosen);
        nke(&["detach", &node.id.to_string()]);
    }
    assert_eq!(router.world.nke(&["chain"]).ok().stdout, "no chain\n");
    nke(&["attach", "counter"]);
    let default = Netfilter {
        priority: -1,
        defrag: false,
    };
    assert_eq!(place(), default);
}

/// A namespace that goes away while its packets are put together leaves nothing; one of the same
/// name has no chain.
#[test]
fn a_namespace_made_again_has_forgotten() {
    let world = World::new();
    let name = world.inside.name();
    let attach = |options: &[&str]| {
        for hook in HOOKS {
            let place = ["attach", "counter", "--netns", name, "--hook", hook];
            world.nke(&[&place[..], options].concat()).ok();
        }
    };
    attach(&["--netfilter-priority", "security", "--defrag"]);
    let objects = Objects::pinned_below(&world.state());
    world.outside.ip(&format!("netns del {name}"));
    Ran::of(Command::new("ip").args(["netns", "add", name])).ok();
    assert_eq!(world.nke(&["chain"]).ok().stdout, "no chain\n");
    assert!(!world.is_mounted());
    objects.assert_gone();
    attach(&[]);
    let chains = world.nke(&["chain"]).ok().stdout;
    let heading = "netfilter priority filter - 1, policy pass";
    assert_eq!(chains.matches(heading).count(), 5, "{chains}");
}

/// Another's program has its place, and nke's comes before or behind it. The other here is an nke
/// with another state.
#[test]
fn another_program_of_the_same_priority() {
    let router = Router::new();
    let world = &router.world;
    let (other, name) = (world.directory().join("other"), world.inside.name());
    let other = other.to_str().expect("a path of ours");
    let theirs = |words: &[&str]| {
        let place = ["--state", other, "--netns", name, "--hook", "ip/in"];
        world.nke(&[words, &place].concat())
    };
    theirs(&["attach", "packet-filter"]).ok();
    for rule in WATCH {
        theirs(&["filter", "add", rule]).ok();
    }
    let before = world.standing();
    for options in [&[][..], &["--netfilter-priority", "-1"]] {
        let words = [&["attach", "packet-filter"], options].concat();
        let error = world
            .nke(&router.at("ip/in", &words))
            .fails("priority-taken");
        let line = format!(
            "nke: ip/in of network namespace {name}: attach: another BPF program has netfilter \
             priority filter - 1 (`nft list hooks` shows it); choose one with \
             --netfilter-priority\n"
        );
        assert_eq!(error, line);
        world.assert_standing(&before);
    }
    router.filter_with("ip/in", &["--netfilter-priority", "-2"], &RULES);
    assert_eq!(
        router.arrive(&world.inside, own(false), &[53, 54]),
        [false, true]
    );
    assert_eq!(router.packets("ip/in"), [1, 1]);
    let seen: serde_json::Value = theirs(&["filter", "list", "--json"]).json();
    let packets = |n: usize| &seen["filters"][0]["rules"][n]["packets"];
    assert_eq!((packets(0), packets(1)), (&json!(0), &json!(1)), "{seen}");
    theirs(&["detach", "packet-filter"]).ok();
}
