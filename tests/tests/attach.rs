//! `nke attach`: what it says, what it makes, and what it picks when little is said.

use std::fs;

use nke_tests::{
    Deadline, Hook, IFACE, Tap, World, frame::Frame, frame::Ip, stranger, tcp_exchange, trail,
    udp_arrives,
};
use serde_json::Value;

#[test]
fn it_says_what_it_did() {
    let world = World::new();
    let object = trail::object(1);
    let first = world.on(&["attach", &object]).ok();
    let id = world.chain(Hook::Xdp).expect("the chain is there").nodes[0].id;
    let kmid = world.list()[0].kmid;
    let loaded = format!("loaded trail1 {kmid} from {object}, load count 0\n");
    assert_eq!(
        first.stdout,
        format!(
            "{loaded}attached trail1 {id} to interface/xdp of {IFACE} (native), position 1 of 1\n"
        )
    );
    assert_eq!(first.stderr, "");

    world.nke(&["load", &trail::object(2)]).ok();
    let second = world.on(&["attach", "trail2", "--priority", "10"]).ok();
    let id = world.chain(Hook::Xdp).expect("the chain is there").nodes[0].id;
    assert_eq!(
        second.stdout,
        format!("attached trail2 {id} to interface/xdp of {IFACE} (native), position 1 of 2\n")
    );
}

#[test]
fn it_says_it_in_json() {
    for hook in Hook::ALL {
        let world = World::new();
        let said: Value = world
            .at(hook, &["attach", &trail::object(1), "--json"])
            .json();
        let node = world
            .chain(hook)
            .expect("the chain is there")
            .nodes
            .remove(0);
        assert_eq!(said["id"], node.id);
        assert_eq!(said["extension"], "trail1");
        assert_eq!(said["program_id"], node.program_id);
        assert_eq!(said["hook"], hook.name());
        assert_eq!(said["interface"], IFACE);
        assert_eq!(said["netns"], world.inside.name());
        assert_eq!(said["priority"], 50);
        assert_eq!(said["position"], 1);
    }
}

#[test]
fn packets_meet_it_at_every_hook() {
    for hook in Hook::ALL {
        let world = World::new();
        world.attach(hook, &trail::object(1), &[]);
        world.attach(hook, &trail::object(2), &[]);
        let (from, to, frame) = match hook {
            Hook::Xdp | Hook::In => {
                let behind = Tap::open_for(&world.inside, IFACE, trail::KIND);
                (world.tap_outside(), behind, trail::frame(5))
            }
            Hook::Out => (world.tap_inside(), world.tap_outside(), trail::frame_out(5)),
        };
        from.send(&frame);
        let came = to.expect("the frame", |frame| trail::read(frame).is_some());
        assert_eq!(trail::read(&came), Some((5, vec![1, 2])));
        world.assert_trail(hook, &[1, 2]);
    }
}

#[test]
fn what_it_drops_stops_and_the_rest_flows() {
    for hook in [Hook::Xdp, Hook::In] {
        let world = World::with_addresses();
        world.attach(
            hook,
            &stranger::object("block.c", "block", &["-DPORT=5353"]),
            &[],
        );
        for v6 in [false, true] {
            assert_eq!(
                udp_arrives(&world, v6, &[5353, 5354, 53]),
                [false, true, true]
            );
            assert!(tcp_exchange(
                &world,
                v6,
                80,
                std::time::Duration::from_secs(10)
            ));
        }
        let node = world
            .chain(hook)
            .expect("the chain is there")
            .nodes
            .remove(0);
        assert_eq!(node.packets.map(|tally| tally.dropped), Some(2));
    }
}

#[test]
fn what_leaves_is_dropped_too() {
    let world = World::with_addresses();
    world.attach(
        Hook::Out,
        &stranger::object("block.c", "block", &["-DPORT=5353"]),
        &[],
    );
    let ip = Ip::new("10.1.0.2", "10.1.0.1");
    let frames = [5353, 53].map(|port| Frame::from_inside().ip(&ip.udp(9, port, b"")));
    let marker = Frame::from_inside().ip(&ip.udp(9, 9, b"marker"));
    let arrived = world
        .tap_inside()
        .survivors(&world.tap_outside(), &frames, &marker);
    assert_eq!(arrived, [false, true]);
}

#[test]
fn the_packet_is_sent_back_if_it_says_so() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world.attach(
        Hook::Xdp,
        &stranger::object("reflect.c", "reflect", &[]),
        &[],
    );
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    // A veth takes what its peer's XDP sends back only if it has a program itself.
    let object = trail::object(9);
    world
        .outside
        .ip(&format!("link set {IFACE} xdp object {object} section xdp"));
    let outside = world.tap_outside();
    outside.send(&trail::frame(1));
    let came = outside.expect("the reflection", |frame| trail::read(frame).is_some());
    assert_eq!(
        trail::read(&came),
        Some((1, vec![1, 9])),
        "the node behind is not met"
    );
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    let tallies: Vec<_> = chain.nodes.iter().filter_map(|node| node.packets).collect();
    let counts = tallies
        .iter()
        .map(|tally| (tally.go_on, tally.dropped, tally.other));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [(1, 0, 0), (0, 0, 1), (0, 0, 0)]
    );
}

#[test]
fn a_name_is_searched_on_the_extension_path() {
    let world = World::new();
    fs::copy(trail::object(1), world.extensions().join("mine.o")).expect("it can be copied");
    world.on(&["attach", "mine"]).ok();
    assert_eq!(
        world.chain(Hook::Xdp).expect("the chain is there").names(),
        ["mine"]
    );
}

#[test]
fn the_bundled_extensions_are_found() {
    let world = World::new();
    world.on(&["attach", "counter"]).ok();
    world.on(&["attach", "packet-filter"]).ok();
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    assert_eq!(chain.names(), ["counter", "packet-filter"]);
}

#[test]
fn a_path_is_relative_to_where_one_is() {
    let world = World::new();
    fs::copy(trail::object(1), world.directory().join("here.o")).expect("it can be copied");
    world.on(&["attach", "./here.o"]).ok();
    assert_eq!(
        world.list()[0].path,
        world.directory().join("here.o").display().to_string()
    );
}

#[test]
fn what_is_attached_is_loaded_and_goes_with_its_last_attachment() {
    let world = World::new();
    let first = world.attach(Hook::Xdp, &trail::object(1), &[]);
    let second = world.attach(Hook::In, &trail::object(1), &[]);
    assert_ne!(first, second);
    let [extension] = &world.list()[..] else {
        panic!("one is loaded: {:?}", world.list())
    };
    assert_eq!((extension.loads, extension.uses), (0, 2));
    assert_eq!(
        extension.hooks,
        ["interface/xdp", "interface/in", "interface/out"]
    );

    world.nke(&["detach", &first.to_string()]).ok();
    assert_eq!(world.list()[0].uses, 1);
    world.nke(&["detach", &second.to_string()]).ok();
    assert_eq!(world.list(), []);
}

#[test]
fn one_extension_can_be_in_a_chain_many_times() {
    let world = World::new();
    for _ in 0..3 {
        world.attach(Hook::Xdp, &trail::object(1), &[]);
    }
    world.assert_trail(Hook::Xdp, &[1, 1, 1]);
    assert_eq!(world.list()[0].uses, 3);
}

#[test]
fn attachments_of_an_extension_share_its_maps() {
    let world = World::new();
    let object = stranger::object("block.c", "block", &["-DPORT=5353"]);
    world.attach(Hook::Xdp, &object, &[]);
    world.attach(Hook::In, &object, &[]);
    let ip = Ip::new("10.1.0.1", "10.1.0.2");
    let [blocked, free] = [5353, 53].map(|port| Frame::from_outside().ip(&ip.udp(9, port, b"")));
    let (from, to) = (world.tap_outside(), world.tap_inside());
    assert_eq!(from.survivors(&to, &[blocked], &free), [false]);
    let pin = world.state().join("extensions/block/maps/seen");
    // Two at the first hook, and the one that was not dropped at the second.
    let mut counts = Vec::new();
    let done = Deadline::generous().until(|| {
        counts = nke_tests::kernel::counts(&pin);
        counts == [3, 1]
    });
    assert!(done, "{counts:?}");
}

#[test]
fn of_several_programs_one_must_be_named() {
    let world = World::new();
    let object = stranger::object("several.c", "several", &[]);
    let error = world.on(&["attach", &object]).fails("many-programs");
    assert_eq!(
        error,
        "nke: several: attach: several programs serve interface/xdp: alpha, beta, gamma; choose \
         with --program\n"
    );
    assert_eq!((world.chains(), world.list()), (vec![], vec![]));
    world.on(&["attach", &object, "--program", "beta"]).ok();
    let node = world
        .chain(Hook::Xdp)
        .expect("the chain is there")
        .nodes
        .remove(0);
    assert_eq!(node.program, "beta");
}

#[test]
fn counters_can_be_left_out() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &["--no-counters"]);
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    let counted: Vec<_> = chain
        .nodes
        .iter()
        .map(|node| node.packets.is_some())
        .collect();
    assert_eq!(counted, [false, true]);
    assert_eq!(chain.nodes[0].bytes, None);
    world.assert_trail(Hook::Xdp, &[1, 2]);
}

#[test]
fn ids_are_never_used_again() {
    let world = World::new();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let id = world.attach(Hook::Xdp, &trail::object(1), &[]);
        let kmid = world.list()[0].kmid;
        assert!(!seen.contains(&(id, kmid)), "{seen:?} {id} {kmid}");
        seen.push((id, kmid));
        world.nke(&["detach", "trail1"]).ok();
    }
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
    );
}

#[test]
fn another_object_of_the_name_of_a_loaded_one_is_refused() {
    let world = World::new();
    let path = world.directory().join("twin.o");
    fs::copy(trail::object(1), &path).expect("it can be copied");
    let text = path.display().to_string();
    world.on(&["attach", &text]).ok();
    fs::copy(trail::object(2), &path).expect("it can be copied");
    let before = (world.chains(), world.list());
    let error = world.on(&["attach", &text]).fails("name-clash");
    assert_eq!(
        error,
        format!(
            "nke: extension twin: load: another object of this name is loaded, from {text}; \
             unload it, or rename the file (`nke replace` takes it where the loaded one has no \
             other attachment)\n"
        )
    );
    assert_eq!((world.chains(), world.list()), before);
    // By its name the one that is loaded is meant.
    world.on(&["attach", "twin"]).ok();
    world.assert_trail(Hook::Xdp, &[1, 1]);
}
