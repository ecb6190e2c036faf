//! The counters of placement: packets and bytes by verdict, exact.

use nke_tests::{Deadline, Hook, Node, Tally, World, frame::Frame, frame::Ip, stranger, trail};

/// The counters of a world's only node, once they have come to rest at a sum of packets.
#[track_caller]
fn counted(world: &World, hook: Hook, sum: u64) -> (Tally, Tally) {
    let mut node: Option<Node> = None;
    let done = Deadline::generous().until(|| {
        node = world
            .chain(hook)
            .and_then(|chain| chain.nodes.into_iter().next());
        let packets = node.as_ref().and_then(|node| node.packets);
        packets.is_some_and(|tally| tally.go_on + tally.dropped + tally.other == sum)
    });
    assert!(done, "{node:#?}");
    let node = node.expect("it was there");
    (
        node.packets.expect("it counts"),
        node.bytes.expect("it counts"),
    )
}

fn tally(go_on: u64, dropped: u64, other: u64) -> Tally {
    Tally {
        go_on,
        dropped,
        other,
    }
}

#[test]
fn packets_and_bytes_by_verdict() {
    // The packet's number is the verdict, less one: see verdicts.c.
    for (hook, tc, verdicts) in [
        (
            Hook::Xdp,
            &[][..],
            [
                (3, 'g'),
                (2, 'd'),
                (1, 'd'),
                (10, 'g'),
                (11, 'd'),
                (12, 'o'),
                (50, 'o'),
            ],
        ),
        (
            Hook::In,
            &["-DTC"],
            [
                (0, 'g'),
                (4, 'g'),
                (3, 'd'),
                (10, 'g'),
                (11, 'd'),
                (12, 'o'),
                (50, 'o'),
            ],
        ),
        (
            Hook::Out,
            &["-DTC"],
            [
                (0, 'g'),
                (4, 'g'),
                (3, 'd'),
                (1, 'o'),
                (2, 'o'),
                (12, 'o'),
                (50, 'o'),
            ],
        ),
    ] {
        let world = World::new();
        world.attach(hook, &stranger::object("verdicts.c", "verdicts", tc), &[]);
        let (from, make): (_, fn(u64) -> Vec<u8>) = match hook {
            Hook::Xdp | Hook::In => (world.tap_outside(), trail::frame),
            Hook::Out => (world.tap_inside(), trail::frame_out),
        };
        let (mut packets, mut bytes) = (tally(0, 0, 0), tally(0, 0, 0));
        for (nth, (number, kind)) in (0..).zip(verdicts) {
            let mut frame = make(number);
            frame.extend(vec![0; 10 * nth]);
            from.send(&frame);
            let length = u64::try_from(frame.len()).expect("small");
            for (tally, amount) in [(&mut packets, 1), (&mut bytes, length)] {
                match kind {
                    'g' => tally.go_on += amount,
                    'd' => tally.dropped += amount,
                    _ => tally.other += amount,
                }
            }
        }
        assert_eq!(
            counted(&world, hook, 7),
            (packets, bytes),
            "{}",
            hook.name()
        );
    }
}

#[test]
fn the_bytes_are_those_of_the_frame_as_it_came() {
    let world = World::new();
    world.attach(Hook::Xdp, &stranger::object("adjust.c", "adjust", &[]), &[]);
    // Number 1 makes it 16 bytes longer and goes on, number 3 also 8 shorter, and is dropped.
    let frames = [1, 3].map(trail::frame);
    let from = world.tap_outside();
    frames.iter().for_each(|frame| from.send(frame));
    let length = u64::try_from(frames[0].len()).expect("small");
    let (packets, bytes) = counted(&world, Hook::Xdp, 2);
    assert_eq!(packets, tally(1, 1, 0));
    assert_eq!(
        bytes,
        tally(length + 16, length + 8, 0),
        "as it left the program"
    );
}

#[test]
fn large_segments_count_with_all_their_bytes() {
    // Traffic control sees what TCP gives to a device that can segment: up to 64 KiB at once.
    let world = World::with_addresses();
    world.attach(Hook::In, &trail::object(1), &[]);
    assert!(nke_tests::tcp_exchange(
        &world,
        false,
        80,
        std::time::Duration::from_secs(10)
    ));
    let node = world
        .chain(Hook::In)
        .expect("the chain is there")
        .nodes
        .remove(0);
    let bytes = node.bytes.expect("it counts").go_on;
    assert!(
        bytes > 1 << 20,
        "a megabyte came, and {bytes} bytes were counted"
    );
}

#[test]
fn every_cpu_counts() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let threads = 4;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..250 {
                    world.assert_trail(Hook::Xdp, &[1]);
                }
            });
        }
    });
    let length = u64::try_from(trail::frame(0).len()).expect("small");
    assert_eq!(
        counted(&world, Hook::Xdp, 1000),
        (tally(1000, 0, 0), tally(1000 * length, 0, 0))
    );
}

#[test]
fn what_does_not_reach_a_node_is_not_counted() {
    let world = World::new();
    world.attach(
        Hook::Xdp,
        &stranger::object("block.c", "block", &["-DPORT=53"]),
        &[],
    );
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let ip = Ip::new("10.1.0.1", "10.1.0.2");
    let [blocked, free] = [53, 54].map(|port| Frame::from_outside().ip(&ip.udp(9, port, b"")));
    let (from, to) = (world.tap_outside(), world.tap_inside());
    assert_eq!(from.survivors(&to, &[blocked], &free), [false]);
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    assert_eq!(chain.node("block").packets, Some(tally(1, 1, 0)));
    assert_eq!(chain.node("trail1").packets, Some(tally(1, 0, 0)));
}

#[test]
fn the_stub_form_counts_too() {
    let world = World::new();
    world.attach(
        Hook::Xdp,
        &stranger::object("tailcalls.c", "tailcalls", &[]),
        &[],
    );
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let mut expected = tally(0, 0, 0);
    for number in 0..20 {
        let run = world
            .run(Hook::Xdp, &trail::frame(number))
            .expect("the chain is there");
        if run.answer == Hook::Xdp.drop() {
            expected.dropped += 1;
        } else {
            expected.go_on += 1;
        }
    }
    assert!(expected.dropped > 0 && expected.go_on > 0, "{expected:?}");
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    assert_eq!(chain.nodes[0].form, "stub");
    assert_eq!(chain.nodes[0].packets, Some(expected));
    assert_eq!(chain.nodes[1].packets, Some(tally(expected.go_on, 0, 0)));
}
