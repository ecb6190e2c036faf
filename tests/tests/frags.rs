//! Packets of several fragments: a chain takes them only if all its programs do.

use nke_tests::{Feature, Hook, IFACE, Stream, Tap, World, trail};

/// A world whose wire takes frames that no single page holds.
fn jumbo() -> World {
    let world = World::new();
    for end in [&world.inside, &world.outside] {
        end.ip(&format!("link set {IFACE} mtu 9000"));
    }
    world
}

/// A trail frame of a size that takes several pages.
fn large(sequence: u64) -> Vec<u8> {
    let mut frame = trail::frame(sequence);
    frame.resize(8000, 5);
    frame
}

#[test]
fn large_frames_meet_a_chain_that_takes_them() {
    if Feature::Frags.missing() {
        return;
    }
    let world = jumbo();
    world.attach(Hook::Xdp, &trail::frags(1), &[]);
    world.attach(Hook::Xdp, &trail::frags(2), &[]);
    let to = Tap::open_for(&world.inside, IFACE, trail::KIND);
    let from = world.tap_outside();
    for sequence in 0..5 {
        from.send(&large(sequence));
        let came = to.expect("the large frame", |_| true);
        assert_eq!(came.len(), 8000);
        assert_eq!(trail::read(&came), Some((sequence, vec![1, 2])));
    }
    let bytes = world.chain(Hook::Xdp).expect("the chain is there").nodes[1].bytes;
    assert_eq!(
        bytes.map(|tally| tally.go_on),
        Some(5 * 8000),
        "with all their fragments"
    );
}

#[test]
fn one_that_does_not_take_them_is_refused_where_they_come() {
    if Feature::Frags.missing() {
        return;
    }
    let world = jumbo();
    let before = nke_tests::tree(&world.state());
    let error = world.on(&["attach", &trail::object(1)]);
    // Alone it can still run behind the driver, unless native was asked for.
    if error.code == Some(0) {
        let chain = world.chain(Hook::Xdp).expect("the chain is there");
        assert_eq!(chain.mode.as_deref(), Some("generic"));
        world.nke(&["detach", "trail1"]).ok();
    }
    let error = world
        .on(&["attach", &trail::object(1), "--mode", "native"])
        .fails("kernel");
    assert!(
        error.starts_with(&format!("nke: interface/xdp of {IFACE}: attach: ")),
        "{error}"
    );
    assert!(
        error.contains("MTU"),
        "it says what stands in the way: {error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(nke_tests::tree(&world.state()), before);

    world.attach(Hook::Xdp, &trail::frags(2), &[]);
    let before = (
        world.chains(),
        world.list(),
        nke_tests::tree(&world.state()),
    );
    let error = world.on(&["attach", &trail::object(1)]).fails("kernel");
    assert!(error.contains("MTU"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(
        (
            world.chains(),
            world.list(),
            nke_tests::tree(&world.state())
        ),
        before
    );
    world.assert_trail(Hook::Xdp, &[2]);
    let to = Tap::open_for(&world.inside, IFACE, trail::KIND);
    world.tap_outside().send(&large(7));
    assert_eq!(
        trail::read(&to.expect("the large frame", |_| true)),
        Some((7, vec![2]))
    );
}

#[test]
fn a_chain_gives_them_up_for_one_that_does_not_and_takes_them_again() {
    if Feature::Frags.missing() {
        return;
    }
    let world = World::new();
    world.attach(Hook::Xdp, &trail::frags(1), &[]);
    world.attach(Hook::Xdp, &trail::frags(2), &[]);
    let stream = Stream::inward(&world);
    for _ in 0..5 {
        stream.wait(50);
        world.attach(Hook::Xdp, &trail::object(3), &["--after", "frags1"]);
        stream.wait(50);
        world.nke(&["detach", "trail3"]).ok();
    }
    stream.wait(50);
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0]);
    let trails: Vec<_> = report.trails.into_keys().collect();
    assert_eq!(trails, [vec![1, 2], vec![1, 3, 2]]);

    for end in [&world.inside, &world.outside] {
        end.ip(&format!("link set {IFACE} mtu 9000"));
    }
    let to = Tap::open_for(&world.inside, IFACE, trail::KIND);
    world.tap_outside().send(&large(7));
    let came = to.expect("the large frame", |_| true);
    assert_eq!(trail::read(&came), Some((7, vec![1, 2])));
}
