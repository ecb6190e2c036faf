//! The way of a packet that is forwarded, as `nke chain --way` prints it.

use nke_tests::{
    Deadline, IFACE,
    steps::{PAYLOAD, PORT},
};

use crate::router::{Router, far};

/// The numbers of the programs at some hooks, as they are printed for one of the ways.
fn printed(router: &Router, way: &str, hooks: &[&str]) -> Vec<u64> {
    let inside = router.world.inside.name();
    let steps = router.world.printed_steps(way, &["--netns", inside]);
    let asked = steps
        .into_iter()
        .filter(|(hook, _)| hooks.contains(&hook.as_str()));
    asked.map(|(_, number)| number).collect()
}

#[test]
fn a_forwarded_datagram_meets_the_hooks_in_the_printed_order() {
    let router = Router::new();
    let world = &router.world;
    let netns = ["--netns", world.inside.name()];
    for hook in ["interface/xdp", "interface/in"] {
        world.attach_steps(hook, &[&["-i", IFACE], &netns[..]].concat());
    }
    world.attach_steps("interface/out", &[&["-i", "eth1"], &netns[..]].concat());
    for hook in crate::router::HOOKS {
        world.attach_steps(hook, &netns);
    }
    let server = router
        .beyond
        .enter(|| std::net::UdpSocket::bind((far(false), PORT)));
    let server = server.expect("the port is free");
    let client = router.client(false);
    client
        .send_to(&PAYLOAD, (far(false), PORT))
        .expect("it goes out");
    assert!(Deadline::generous().readable(&server));

    let before = printed(
        &router,
        "in",
        &["interface/xdp", "interface/in", "ip/prerouting"],
    );
    let past = printed(&router, "forward", &["ip/forward"]);
    let behind = printed(&router, "out", &["ip/postrouting", "interface/out"]);
    assert_eq!([before.len(), past.len(), behind.len()], [6, 2, 4]);
    assert_eq!(world.steps(), [before, past, behind].concat());
}
