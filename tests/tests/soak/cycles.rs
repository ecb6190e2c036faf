//! Loads and unloads: the kernel is the same after the last as after the first.

use nke_tests::{Deadline, World, kernel, trail};

use crate::{Progress, effort, is_long, kernel_memory};

/// Rounds that fill caches and pools, before anything is compared.
const WARM_UP: usize = 50;
/// KiB that a round may leave behind: far less than the smallest object, which is a page.
const NOISE: f64 = 0.1;

#[test]
fn loads_and_unloads_leave_nothing() {
    let world = World::new();
    // Its being there keeps the state, so that what a round leaves would stay.
    world.nke(&["load", &trail::object(99)]).ok();
    let object = trail::object(1);
    let round = || {
        world.nke(&["load", &object]).ok();
        world.nke(&["unload", "trail1"]).ok();
    };
    (0..WARM_UP.min(effort(5, WARM_UP))).for_each(|_| round());
    let (tree, objects) = (nke_tests::tree(&world.state()), world.objects());
    let (population, memory) = (kernel::population(), kernel_memory());

    let rounds = effort(100, 100_000);
    let mut progress = Progress::new("loads and unloads", rounds);
    for done in 0..rounds {
        round();
        progress.tell(done);
    }

    assert_eq!(nke_tests::tree(&world.state()), tree);
    assert_eq!(world.objects(), objects);
    if is_long() {
        let flat = || kernel::population() == population;
        assert!(
            Deadline::generous().until(flat),
            "{population:?} became {:?}",
            kernel::population()
        );
        let now = kernel_memory();
        let more: i64 = now.values().sum::<i64>() - memory.values().sum::<i64>();
        let each = more as f64 / rounds as f64;
        eprintln!("{rounds} rounds of load and unload: {more:+} KiB of kernel memory");
        assert!(
            each < NOISE,
            "{each} KiB a round: {memory:?} became {now:?}"
        );
    }
}
