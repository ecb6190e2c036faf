//! What cannot be read is not taken for gone: a command that meets it fails, or does without, and
//! nothing that is in use is unloaded, detached or unmounted.
//!
//! Each system call that reads is made to fail, one in each run. The next command finds all there.

use nke_tests::{Call, Chain, End, Extension, Hook, World, stranger, trace_failing, trail, tree};

/// An extension of version `id`.0.0.
fn version(id: u8) -> String {
    let number = format!("-DID={id}");
    let manifest = format!("-DMANIFEST={:?}", format!("version = '{id}.0.0'\n"));
    stranger::object("versions.c", "versions", &[&number, &manifest])
}

/// Attached and not loaded by name: nothing but its attachments holds each.
fn world() -> World {
    let world = World::new();
    world.attach(Hook::Xdp, &version(1), &[]);
    world.attach(Hook::In, &trail::object(9), &["--mode", "clsact"]);
    let netns = ["--netns", world.inside.name()];
    let attach = ["attach", "packet-filter", "--hook", "ip/in"];
    world.nke(&[&attach[..], &netns].concat()).ok();
    world
}

/// What is in force, and all that is written of it.
fn picture(world: &World) -> (Vec<String>, Vec<Chain>, Vec<Extension>, [Vec<u8>; 2]) {
    let met = [Hook::Xdp, Hook::In].map(|hook| world.trail(hook).seen);
    let mut chains = world.chains();
    for node in chains.iter_mut().flat_map(|chain| &mut chain.nodes) {
        (node.packets, node.bytes) = (None, None);
    }
    (tree(&world.state()), chains, world.list(), met)
}

/// Runs a command again and again, each time with another of its reads failing, and `then` after it,
/// with whether it has failed. Returns how many reads there are.
fn each_read(world: &World, words: &[&str], mut then: impl FnMut(Call, bool)) -> usize {
    for nth in 0.. {
        let (mut left, mut at) = (nth, None);
        let ran = trace_failing(&mut world.command(words), |call| {
            if at.is_some() || !call.reads_the_world() {
                return false;
            }
            if left > 0 {
                left -= 1;
                return false;
            }
            at = Some(*call);
            true
        });
        let Some(at) = at else {
            return nth;
        };
        then(at, ran.end != End::Exited(0));
    }
    0
}

#[test]
fn nothing_goes_that_a_command_fails_to_read() {
    let world = world();
    let before = picture(&world);
    let mut failures = 0;
    let reads = each_read(&world, &["list"], |at, failed| {
        assert_eq!(picture(&world), before, "{at:?} failed");
        failures += usize::from(failed);
    });
    assert!(failures > 20, "{failures} of {reads}");
}

#[test]
fn nothing_in_use_goes_after_a_change_that_is_not_read_again() {
    let world = world();
    let uses = |world: &World| -> Vec<(String, u32)> {
        let list = world.list().into_iter();
        let mut uses: Vec<_> = list.map(|e| (e.name, e.uses)).collect();
        uses.sort();
        uses
    };
    let expected = uses(&world);
    let [one, two] = [1, 2].map(version);
    let reads = each_read(&world, &["upgrade", &two], |at, _| {
        let met = world.trail(Hook::Xdp).seen;
        assert!(
            [[1], [2]].iter().any(|one| one == &met[..]),
            "{at:?} failed: {met:?}"
        );
        assert_eq!(uses(&world), expected, "{at:?} failed");
        assert_eq!(world.trail(Hook::Xdp).seen, met, "{at:?} failed");
        assert_eq!(world.trail(Hook::In).seen, [9], "{at:?} failed");
        if met == [2] {
            world.nke(&["upgrade", &one, "--force"]).ok();
        }
    });
    assert!(reads > 20, "{reads}");
}
