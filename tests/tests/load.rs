//! `nke load` and `nke unload`: extensions held by name, and counted.

use nke_tests::{End, Extension, Hook, IFACE, World, trace_interrupting, trail};

fn only(world: &World) -> Extension {
    let mut list = world.list();
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

#[test]
fn it_is_held_until_it_is_unloaded() {
    let world = World::new();
    let object = trail::object(1);
    let ran = world.nke(&["load", &object]).ok();
    let extension = only(&world);
    let Extension { kmid, .. } = extension;
    assert_eq!(
        ran.stdout,
        format!("loaded trail1 {kmid} from {object}, load count 1\n")
    );
    assert_eq!((extension.loads, extension.uses), (1, 0));
    assert_eq!(extension.path, object);
    let size = std::fs::metadata(&object)
        .expect("the object is there")
        .len();
    assert_eq!(extension.size, size);

    let ran = world.nke(&["unload", "trail1"]).ok();
    assert_eq!(ran.stdout, "unloaded trail1\n");
    assert_eq!(world.list(), []);
}

#[test]
fn loads_are_counted() {
    let world = World::new();
    let object = trail::object(1);
    for count in 1..=3 {
        world.nke(&["load", &object]).ok();
        assert_eq!(only(&world).loads, count);
    }
    let kmid = only(&world).kmid;
    assert_eq!(
        world.nke(&["unload", "trail1"]).ok().stdout,
        "released trail1, still held by root (2 loads)\n"
    );
    assert_eq!(
        world.nke(&["unload", "trail1"]).ok().stdout,
        "released trail1, still held by root (1 load)\n"
    );
    assert_eq!((only(&world).kmid, only(&world).loads), (kmid, 1));
    assert_eq!(
        world.nke(&["unload", "trail1"]).ok().stdout,
        "unloaded trail1\n"
    );
    let error = world.nke(&["unload", "trail1"]).fails("not-loaded");
    assert_eq!(
        error,
        "nke: extension trail1: unload: it is not loaded; `nke list` shows those that are\n"
    );
}

#[test]
fn a_loaded_one_outlives_its_attachments() {
    let world = World::new();
    world.nke(&["load", &trail::object(1)]).ok();
    let kmid = only(&world).kmid;
    world.on(&["attach", "trail1"]).ok();
    assert_eq!((only(&world).loads, only(&world).uses), (1, 1));
    world.on(&["detach", "trail1"]).ok();
    assert_eq!(
        (only(&world).loads, only(&world).uses, only(&world).kmid),
        (1, 0, kmid)
    );
    world.nke(&["unload", "trail1"]).ok();
    assert_eq!(world.list(), []);
}

#[test]
fn an_attached_one_can_be_loaded_too() {
    let world = World::new();
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    assert_eq!(only(&world).loads, 0);
    world.nke(&["load", "trail1"]).ok();
    assert_eq!(only(&world).loads, 1);
    world.on(&["detach", "trail1"]).ok();
    assert_eq!((only(&world).loads, only(&world).uses), (1, 0));
}

#[test]
fn what_is_in_use_is_not_unloaded_and_the_holders_are_named() {
    let world = World::new();
    world.nke(&["load", &trail::object(1)]).ok();
    let ids = [Hook::Xdp, Hook::Out].map(|hook| world.attach(hook, "trail1", &[]));
    let before = (world.chains(), world.list());
    let error = world.nke(&["unload", "trail1"]).fails("in-use");
    let netns = world.inside.name();
    assert_eq!(
        error,
        format!(
            "nke: extension trail1: unload: it is in use by {} (interface/xdp of {IFACE} in \
             {netns}), {} (interface/out of {IFACE} in {netns}); detach it first\n",
            ids[0], ids[1]
        )
    );
    assert_eq!((world.chains(), world.list()), before);
    world.assert_trail(Hook::Xdp, &[1]);

    world.nke(&["detach", &ids[0].to_string()]).ok();
    assert!(
        world
            .nke(&["unload", "trail1"])
            .fails("in-use")
            .contains(&ids[1].to_string())
    );
    world.nke(&["detach", &ids[1].to_string()]).ok();
    world.nke(&["unload", "trail1"]).ok();
}

#[test]
fn the_file_may_go_once_it_is_loaded() {
    let world = World::new();
    let path = world.directory().join("gone.o");
    std::fs::copy(trail::object(1), &path).expect("it can be copied");
    world.nke(&["load", &path.display().to_string()]).ok();
    std::fs::remove_file(&path).expect("it is there");
    world.on(&["attach", "gone"]).ok();
    world.attach(Hook::Xdp, &trail::object(2), &[]);
    world.nke(&["move", "gone", "--after", "trail2"]).ok();
    world.assert_trail(Hook::Xdp, &[2, 1]);
}

#[test]
fn a_load_that_fails_leaves_nothing() {
    let world = World::new();
    let path = world.directory().join("broken.o");
    let whole = std::fs::read(trail::object(1)).expect("the object is there");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("it can be written");
    let error = world
        .nke(&["load", &path.display().to_string()])
        .fails("not-an-object");
    assert!(error.starts_with("nke: broken: parse: "), "{error}");
    assert_eq!(world.list(), []);
    assert_eq!(nke_tests::tree(&world.state()), [] as [&str; 0]);
}

#[test]
fn all_its_objects_go_with_it() {
    let world = World::new();
    world
        .nke(&["load", &nke_tests::stranger::object("maps.c", "maps", &[])])
        .ok();
    let objects = world.objects();
    assert!(objects.count() > 14, "{objects:?}");
    world.nke(&["unload", "maps"]).ok();
    objects.assert_gone();
}

#[test]
fn a_verifier_that_a_signal_has_interrupted_is_asked_again() {
    let world = World::new();
    let words = world.target(&["attach", "packet-filter"]);
    let mut loads = 0;
    let ran = trace_interrupting(&mut world.command(&words), |call| {
        loads += usize::from(call.loads_a_program());
        call.loads_a_program() && loads % 4 != 0
    });
    assert_eq!(ran.end, End::Exited(0), "{}", ran.stderr);
    assert!(loads >= 4, "{loads}");
}
