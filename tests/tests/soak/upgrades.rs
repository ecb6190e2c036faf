//! Upgrades under traffic, there and back: no packet is lost, and nothing piles up.

use std::fs;

use nke_tests::{Deadline, Hook, Stream, World, kernel, trail};

use crate::{Progress, effort, is_long, kernel_memory};

/// KiB that an upgrade may leave behind: far less than the smallest object, which is a page.
const NOISE: f64 = 0.5;

/// Two versions of one extension; their paths.
fn versions(world: &World) -> [String; 2] {
    [1, 2].map(|version| {
        let directory = world.directory().join(format!("v{version}"));
        fs::create_dir(&directory).expect("the directory is ours");
        let object = directory.join("thing.o");
        fs::copy(trail::object(version), &object).expect("the object is there");
        let manifest = format!("identifier = \"org.example.thing\"\nversion = \"{version}.0.0\"\n");
        fs::write(directory.join("thing.toml"), manifest).expect("the directory is ours");
        object.to_str().expect("a path of ours").to_owned()
    })
}

#[test]
fn upgrades_lose_no_packet_and_leave_nothing() {
    let world = World::new();
    let [old, new] = versions(&world);
    for hook in [Hook::Xdp, Hook::In] {
        world.attach(hook, &old, &[]);
    }
    let there_and_back = || {
        world.nke(&["upgrade", &new]).ok();
        world.nke(&["upgrade", "--force", &old]).ok();
    };
    // From then on there is always a version to go back to.
    (0..3).for_each(|_| there_and_back());
    let (names, population) = (shape(&world), kernel::population());
    let memory: i64 = kernel_memory().values().sum();

    let stream = Stream::inward(&world);
    let rounds = effort(10, 5_000);
    let mut progress = Progress::new("upgrades, there and back", rounds);
    for done in 0..rounds {
        there_and_back();
        progress.tell(done);
    }
    let report = stream.stop();

    assert_eq!(report.lost, [] as [u64; 0], "of {}", report.sent);
    // One version or the other at each of the two hooks, and neither of them twice.
    let whole = |trail: &Vec<u8>| trail.len() == 2 && trail.iter().all(|n| [1, 2].contains(n));
    assert!(report.trails.keys().all(whole), "{:?}", report.trails);
    assert_eq!(shape(&world), names);
    if is_long() {
        let flat = || kernel::population() == population;
        assert!(
            Deadline::generous().until(flat),
            "{population:?} became {:?}",
            kernel::population()
        );
        let more = kernel_memory().values().sum::<i64>() - memory;
        eprintln!(
            "{} upgrades, {} packets, none lost: {more:+} KiB of kernel memory",
            2 * rounds,
            report.sent
        );
        let each = more as f64 / (2 * rounds) as f64;
        assert!(each < NOISE, "{each} KiB an upgrade");
    }
}

/// How many files of each depth the state has: their names change with the programs.
fn shape(world: &World) -> Vec<usize> {
    let mut depths: Vec<_> = nke_tests::tree(&world.state())
        .iter()
        .map(|line| line.matches('/').count())
        .collect();
    depths.sort_unstable();
    depths
}
