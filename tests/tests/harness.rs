//! The harness itself, without nke: what it says must be true before anything is tested with it.

use std::{process::Command, time::Duration};

use nke_tests::{
    Call, Deadline, End, Hook, IFACE, Objects, Stream, World,
    frame::{Frame, Ip},
    stranger, tcp_exchange, trace, trail, udp_arrives, udp_exchange,
};

#[test]
fn a_frame_arrives_as_it_was_sent() {
    let world = World::new();
    let ip = Ip::new("10.1.0.1", "10.1.0.2");
    let frames = [
        Frame::from_outside().ip(&ip.udp(1000, 53, b"query")),
        Frame::from_outside().vlan(7).ip(&ip.tcp(1000, 80, 2)),
        Frame::from_outside()
            .tag(0x88a8, 9)
            .vlan(7)
            .ip(&Ip::new("fd01::1", "fd01::2").echo()),
        trail::frame(3),
    ];
    let (from, to) = (world.tap_outside(), world.tap_inside());
    assert_eq!(from.survivors(&to, &frames, &trail::frame(9)), [true; 4]);
}

#[test]
fn a_silent_world_is_silent() {
    let world = World::new();
    let (from, to) = (world.tap_outside(), world.tap_inside());
    from.send(&trail::frame(1));
    let first = to.receive(Deadline::generous());
    assert_eq!(
        first,
        Some(trail::frame(1)),
        "nothing comes before what was sent"
    );
}

#[test]
fn sockets_talk() {
    let world = World::with_addresses();
    for v6 in [false, true] {
        assert!(udp_exchange(&world, v6, 53, Duration::from_secs(10)));
        assert!(tcp_exchange(&world, v6, 80, Duration::from_secs(10)));
        assert_eq!(udp_arrives(&world, v6, &[1, 2, 3]), [true; 3]);
    }
}

#[test]
fn a_dropped_packet_is_missed() {
    let world = World::with_addresses();
    world.inside.tc(&format!("qdisc add dev {IFACE} clsact"));
    let object = stranger::object("block.c", "block", &["-DPORT=53"]);
    world.inside.tc(&format!(
        "filter add dev {IFACE} ingress bpf da obj {object} sec tc"
    ));
    assert_eq!(udp_arrives(&world, false, &[53, 54]), [false, true]);
    assert!(!udp_exchange(&world, false, 53, Duration::from_millis(200)));
}

#[test]
fn a_trail_shows_what_a_packet_met() {
    let world = World::new();
    let pin = world.reference().join("trail");
    let object = trail::object(7);
    let loaded = Command::new("bpftool")
        .args(["prog", "load", &object])
        .arg(&pin)
        .output()
        .expect("bpftool is installed");
    assert!(
        loaded.status.success(),
        "{}",
        String::from_utf8_lossy(&loaded.stderr)
    );
    world
        .inside
        .ip(&format!("link set {IFACE} xdp pinned {}", pin.display()));
    world.assert_trail(Hook::Xdp, &[7]);

    let stream = Stream::inward(&world);
    stream.wait(1000);
    let report = stream.stop();
    assert!(report.lost.is_empty(), "{report:?}");
    assert_eq!(report.trails.keys().collect::<Vec<_>>(), [&vec![7]]);
    assert!(report.sent >= 1000);

    let objects = Objects::pinned_below(&world.reference());
    assert_eq!(objects.count(), 2, "the program and its BTF: {objects:?}");
    assert_eq!(objects.alive(), objects);
    world.inside.ip(&format!("link set {IFACE} xdp off"));
    std::fs::remove_file(pin).expect("the pin is there");
    objects.assert_gone();
}

#[test]
fn a_dropper_drops() {
    let world = World::new();
    let object = trail::dropper(8);
    world
        .inside
        .ip(&format!("link set {IFACE} xdp object {object} section xdp"));
    assert_eq!(world.trail(Hook::Xdp).seen, [8]);
    assert_eq!(world.trail(Hook::Xdp).answer, Hook::Xdp.drop());
}

#[test]
fn an_object_is_compiled_once() {
    let first = stranger::object("trail.c", "trail1", &["-DID=1"]);
    assert_eq!(first, trail::object(1));
    assert_ne!(first, trail::object(2));
}

#[test]
fn a_traced_command_is_killed_where_it_should() {
    let mut command = Command::new("mkdir");
    let world = World::new();
    let path = world.directory().join("made");
    command.arg(&path);
    let whole = trace(&mut command, |_| false);
    assert_eq!(whole.end, End::Exited(0), "{}", whole.stderr);
    assert!(path.is_dir());
    std::fs::remove_dir(&path).expect("it is there");

    let killed = trace(Command::new("mkdir").arg(&path), Call::changes_the_world);
    assert_eq!((killed.end, path.exists()), (End::Killed, false));
    let mut made = false;
    let killed = trace(Command::new("mkdir").arg(&path), |call| {
        let behind = made;
        made |= call.changes_the_world();
        behind
    });
    assert_eq!((killed.end, path.exists()), (End::Killed, true));
}

#[test]
fn processes_that_a_command_starts_are_not_traced() {
    let world = World::new();
    let mut command = Command::new("sh");
    command
        .current_dir(world.directory())
        .args(["-c", "(mkdir one); (mkdir two) & wait"]);
    let whole = trace(&mut command, Call::changes_the_world);
    assert_eq!(whole.end, End::Exited(0), "{}", whole.stderr);
    assert!(
        ["one", "two"]
            .iter()
            .all(|it| world.directory().join(it).exists())
    );
}
