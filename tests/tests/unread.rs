//! What cannot be read is not taken for gone: a command that meets it fails, or does without, and
//! nothing that is in use is unloaded, detached or unmounted.
//!
//! Each system call that reads is made to fail, one in each run. The next command finds all there.

use nke_tests::{
    Call, Cgroup, Chain, End, Extension, Hook, World, stranger, trace_failing, trail, tree,
};

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
/// with how it ended. Returns how many reads there are.
fn each_read(world: &World, words: &[&str], mut then: impl FnMut(Call, End)) -> usize {
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
        then(at, ran.end);
    }
    0
}

#[test]
fn nothing_goes_that_a_command_fails_to_read() {
    let world = world();
    let before = picture(&world);
    let mut failures = 0;
    let reads = each_read(&world, &["list"], |at, end| {
        assert_eq!(picture(&world), before, "{at:?} failed");
        failures += usize::from(end != End::Exited(0));
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

/// A change that is in force and could not be shown.
const NOT_READ_BACK: End = End::Exited(58);

/// At one hook and, all or none, at both hooks of a family.
#[test]
fn a_change_is_whole_whatever_fails_to_be_read() {
    let world = World::new();
    for id in [1, 2] {
        world.attach(Hook::Xdp, &trail::object(id), &["--priority", "7"]);
    }
    let cgroup = Cgroup::new();
    let guard = ["connection-guard", "--cgroup", cgroup.path()];
    let hooks = ["--hook", "socket/bind"];
    world.nke(&[&["attach"], &guard[..], &hooks].concat()).ok();
    let force = || {
        let mut chains = world.chains();
        chains.retain(|chain| !chain.nodes.is_empty());
        let nodes = |chain: Chain| {
            let nodes = chain.nodes.into_iter();
            let nodes: Vec<_> = nodes.map(|node| (node.extension, node.enabled)).collect();
            (chain.hook, chain.policy, nodes)
        };
        let chains: Vec<_> = chains.into_iter().map(nodes).collect();
        (world.trail(Hook::Xdp).seen, chains)
    };
    let owned =
        |words: Vec<&str>| -> Vec<String> { words.into_iter().map(str::to_owned).collect() };
    let at_xdp = |words: &[&str]| {
        let words = [words, &["--hook", "interface/xdp"]].concat();
        owned(world.target(&words))
    };
    let everywhere = |verb: &str| owned([&[verb], &guard[..]].concat());
    let object = trail::object(1);
    let changes = [
        (everywhere("disable"), everywhere("enable")),
        (
            at_xdp(&["move", "trail1", "--after", "trail2"]),
            at_xdp(&["move", "trail1", "--before", "trail2"]),
        ),
        (at_xdp(&["policy", "drop"]), at_xdp(&["policy", "pass"])),
        (
            at_xdp(&["detach", "trail1"]),
            at_xdp(&["attach", &object, "--before", "trail2"]),
        ),
    ];
    let run = |line: &[String]| {
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        world.nke(&line).ok();
    };
    for (does, undoes) in changes {
        let before = force();
        run(&does);
        let after = force();
        assert_ne!(before, after, "{does:?}");
        run(&undoes);
        assert_eq!(force(), before, "{undoes:?}");
        let line: Vec<&str> = does.iter().map(String::as_str).collect();
        let reads = each_read(&world, &line, |at, end| {
            let found = force();
            let done = end == End::Exited(0) || end == NOT_READ_BACK;
            let expected = if done { &after } else { &before };
            assert_eq!(&found, expected, "{line:?}: {end:?} when {at:?} failed");
            if done {
                run(&undoes);
            }
        });
        assert!(reads > 20, "{reads}");
        // The last time nothing failed.
        run(&undoes);
    }
}
