//! `nke replace`: another extension in an attachment's place.

use std::fs;

use nke_tests::{Hook, IFACE, World, stranger, trail};

#[test]
fn in_its_place_with_its_id_and_priority() {
    for hook in Hook::ALL {
        let world = World::new();
        let ids = [1, 2, 3].map(|n| {
            let priority = (10 * n).to_string();
            world.attach(hook, &trail::object(n), &["--priority", &priority])
        });
        let ran = world.nke(&["replace", "trail2", &trail::object(9)]).ok();
        assert!(
            ran.stdout
                .contains(&format!("trail2 {} with trail9", ids[1])),
            "{ran:?}"
        );
        world.assert_trail(hook, &[1, 9, 3]);
        let chain = world.chain(hook).expect("the chain is there");
        let nodes: Vec<_> = chain
            .nodes
            .iter()
            .map(|node| (node.id, node.priority))
            .collect();
        assert_eq!(nodes, [(ids[0], 10), (ids[1], 20), (ids[2], 30)]);
        assert_eq!(chain.names(), ["trail1", "trail9", "trail3"]);

        // First and last, by id.
        world
            .nke(&["replace", &ids[0].to_string(), &trail::object(8)])
            .ok();
        world
            .nke(&["replace", &ids[2].to_string(), &trail::object(7)])
            .ok();
        world.assert_trail(hook, &[8, 9, 7]);
        let mut loaded: Vec<_> = world.list().into_iter().map(|e| (e.name, e.uses)).collect();
        loaded.sort();
        let expected = [("trail7", 1), ("trail8", 1), ("trail9", 1)];
        assert_eq!(loaded, expected.map(|(name, uses)| (name.to_owned(), uses)));
    }
}

#[test]
fn it_says_what_it_did() {
    let world = World::new();
    let id = world.attach(Hook::Xdp, &trail::object(1), &[]);
    let ran = world.nke(&["replace", "trail1", &trail::object(2)]).ok();
    assert_eq!(
        ran.stdout,
        format!(
            "replaced trail1 {id} with trail2 at interface/xdp of {IFACE} (native), position 1 of 1\n"
        )
    );
}

#[test]
fn counters_start_anew() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    world.assert_trail(Hook::Xdp, &[1, 2]);
    world.nke(&["replace", "trail1", &trail::object(3)]).ok();
    world.assert_trail(Hook::Xdp, &[3, 2]);
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    assert_eq!(
        chain.node("trail3").packets.map(|tally| tally.go_on),
        Some(1)
    );
    assert_eq!(
        chain.node("trail2").packets.map(|tally| tally.go_on),
        Some(2)
    );
}

#[test]
fn by_another_program_of_the_same_object() {
    let world = World::new();
    let object = stranger::object("several.c", "several", &[]);
    world.attach(Hook::Xdp, &object, &["--program", "alpha"]);
    world
        .nke(&["replace", "several", "several", "--program", "gamma"])
        .ok();
    let node = world
        .chain(Hook::Xdp)
        .expect("the chain is there")
        .nodes
        .remove(0);
    assert_eq!(node.program, "gamma");
    assert_eq!(world.list()[0].uses, 1);
}

#[test]
fn by_one_that_does_not_serve_the_hook_is_refused() {
    let world = World::new();
    world.attach(Hook::In, &trail::object(1), &[]);
    let before = (
        world.chains(),
        world.list(),
        nke_tests::tree(&world.state()),
    );
    let object = stranger::object("verdicts.c", "verdicts", &[]);
    let error = world
        .nke(&["replace", "trail1", &object])
        .fails("no-program");
    assert_eq!(
        error,
        "nke: verdicts: attach: it has no program for interface/in; it has verdicts (xdp); choose \
         another with --hook or --program\n"
    );
    assert_eq!(
        (
            world.chains(),
            world.list(),
            nke_tests::tree(&world.state())
        ),
        before
    );
}

#[test]
fn by_one_that_the_verifier_refuses_changes_nothing() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    let before = (
        world.chains(),
        world.list(),
        nke_tests::tree(&world.state()),
    );
    let object = stranger::object("refused.c", "refused", &[]);
    let error = world.nke(&["replace", "trail1", &object]).fails("verifier");
    assert!(
        error.starts_with("nke: refused: program refused: verifier: "),
        "{error}"
    );
    assert_eq!(
        (
            world.chains(),
            world.list(),
            nke_tests::tree(&world.state())
        ),
        before
    );
    world.assert_trail(Hook::Xdp, &[1]);
}

#[test]
fn a_new_build_under_the_same_name() {
    let world = World::new();
    let path = world.directory().join("mine.o");
    let text = path.display().to_string();
    fs::copy(trail::object(1), &path).expect("it can be copied");
    world.attach(Hook::Xdp, &text, &[]);
    fs::copy(trail::object(2), &path).expect("it can be copied");
    // The clash's message says that this is the way.
    world.nke(&["replace", "mine", &text]).ok();
    world.assert_trail(Hook::Xdp, &[2]);
    let [extension] = &world.list()[..] else {
        panic!("one is loaded: {:?}", world.list())
    };
    assert_eq!((extension.name.as_str(), extension.uses), ("mine", 1));
}
