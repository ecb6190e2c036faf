//! Names that nothing has, or that too many things have; and words that mean nothing.

use nke_tests::{Hook, IFACE, trail};

use super::{refused, world};

#[test]
fn no_such_interface() {
    let world = world();
    let netns = world.inside.name();
    for verb in [
        &["attach", "counter"][..],
        &["detach", "trail1"],
        &["move", "trail1", "--priority", "1"],
        &["replace", "trail1", "counter"],
        &["policy", "drop", "--hook", "interface/in"],
        &["chain"],
        &["filter", "list"],
        &["filter", "add", "drop"],
    ] {
        // The first is no name for an interface at all.
        for name in ["an-interface-with-a-long-name", "nope", ""] {
            let words = [verb, &["-i", name, "--netns", netns]].concat();
            let line = format!(
                "nke: interface {name}: not found in network namespace {netns}; `ip link` shows \
                 those that exist\n"
            );
            world.refuses(&words, &line);
        }
    }
}

#[test]
fn no_such_namespace() {
    let world = world();
    let missing = "No such file or directory (os error 2)";
    let other = "it is not a network namespace";
    for (name, cause) in [
        ("nke-no-such", missing),
        ("", other),
        ("/nke/no/such", missing),
        ("/etc/passwd", other),
        ("/", other),
        ("/dev/zero", other),
        ("/proc/self/ns/mnt", other),
    ] {
        for verb in [&["attach", "counter"][..], &["chain"], &["filter", "list"]] {
            let words = [verb, &["-i", IFACE, "--netns", name]].concat();
            let line = format!(
                "nke: network namespace {name}: open: {cause}; `ip netns list` shows those with a \
                 name\n"
            );
            world.refuses(&words, &line);
        }
    }
}

#[test]
fn no_such_extension() {
    let world = world();
    let searched = |name: &str| {
        let places = [world.extensions(), nke_tests::binaries::extensions()];
        let places = places.map(|place| place.display().to_string()).join(", ");
        format!(
            "extension {name}: find: there is no {name}.o in {places}; give its path with a '/', \
             or set NKE_PATH"
        )
    };
    for name in ["nope", "..", "two words"] {
        refused(&world, &["attach", name], &searched(name));
    }
    let line = "extension nope: unload: it is not loaded; `nke list` shows those that are";
    world.refuses(&["unload", "nope"], &format!("nke: {line}\n"));
    let line = "extension nope: show: it is not loaded; `nke list` shows those that are";
    world.refuses(&["show", "nope"], &format!("nke: {line}\n"));
}

#[test]
fn no_such_attachment() {
    let world = world();
    let place = format!("on {IFACE} in {}", world.inside.name());
    let hint = "`nke chain` shows those that are";
    for which in ["nope", "4294967295", "4294967296"] {
        refused(
            &world,
            &["detach", which],
            &format!("attachment {which}: detach: none such {place}; {hint}"),
        );
        let line = format!("attachment {which}: replace: none such {place}; {hint}");
        refused(&world, &["replace", which, "counter"], &line);
        let line = format!("attachment {which}: move: none such {place}; {hint}");
        refused(&world, &["move", which, "--priority", "1"], &line);
        let line = format!(
            "attachment {which}: attach beside it: none such at interface/xdp on {IFACE}; {hint}"
        );
        refused(&world, &["attach", "counter", "--after", which], &line);
    }
    let line = format!("attachment trail1: detach: none such at interface/in {place}; {hint}");
    refused(
        &world,
        &["detach", "trail1", "--hook", "interface/in"],
        &line,
    );
    let line = "attachment trail1: move: none such: the chain at interface/xdp has no other of \
                the name to move it beside; `nke chain` shows those that are";
    refused(&world, &["move", "trail1", "--after", "trail1"], line);
}

#[test]
fn too_many_fit() {
    let world = world();
    let first = world.chains()[0].nodes[0].id;
    let mut ids = vec![first];
    for _ in 0..5 {
        ids.push(world.attach(Hook::Xdp, "trail1", &[]));
    }
    let place = format!("interface/xdp of {IFACE} in {}", world.inside.name());
    let all: Vec<_> = ids[..4]
        .iter()
        .map(|id| format!("{id} ({place})"))
        .collect();
    let all = format!("{} and 2 more", all.join(", "));
    let line = format!(
        "attachment trail1: detach: several fit: {all}; name one by its id, or say where it is: -i, --netns or --cgroup, and --hook"
    );
    world.refuses(&["detach", "trail1"], &format!("nke: {line}\n"));
    let line = format!("extension trail1: unload: it is in use by {all}; detach it first");
    world.refuses(&["unload", "trail1"], &format!("nke: {line}\n"));
    let line = format!("{IFACE}: policy: it has not just one chain; say which with --hook");
    world.attach(Hook::In, "trail1", &[]);
    refused(&world, &["policy", "drop"], &line);
}

#[test]
fn a_name_is_taken() {
    let world = world();
    let ours = trail::object(1);
    let other = world.directory().join("trail1.o");
    std::fs::copy(trail::object(2), &other).expect("the directory is ours");
    let other = other.display().to_string();
    let line = format!(
        "extension trail1: load: another object of this name is loaded, from {ours}; unload it, or \
         rename the file (`nke replace` takes it where the loaded one has no other attachment)"
    );
    refused(&world, &["attach", &other], &line);
    world.refuses(&["load", &other], &format!("nke: {line}\n"));

    // The same bytes are the same extension, wherever they lie.
    std::fs::copy(&ours, &other).expect("the directory is ours");
    world.on(&["attach", &other]).ok();
    world.assert_trail(Hook::Xdp, &[1, 1]);
}

#[test]
fn no_room_in_the_chain() {
    let world = world();
    for _ in 1..32 {
        world.attach(Hook::Xdp, "trail1", &[]);
    }
    let line = format!(
        "interface/xdp of {IFACE}: attach: the chain has 32 nodes and the kernel follows no more; \
         detach one first"
    );
    refused(&world, &["attach", "trail1"], &line);
    refused(&world, &["attach", "counter", "--priority", "1"], &line);
    // What is there can be moved, and another hook has room.
    let first = world.chains()[0].nodes[0].id.to_string();
    world.on(&["move", &first, "--priority", "99"]).ok();
    world.attach(Hook::In, "trail1", &[]);
    world.assert_trail(Hook::Xdp, &[1; 32]);
}

#[test]
fn words_that_mean_nothing() {
    let world = world();
    let not_understood = |words: &[&str]| {
        let before = world.standing();
        let error = world.nke(words).fails("usage");
        assert!(error.starts_with("error: "), "{error}");
        world.assert_standing(&before);
    };
    let target = ["-i", IFACE];
    for words in [
        &[][..],
        &["attahc", "counter"],
        &["attach"],
        &["load"],
        &["detach"],
        &["policy", "reject", "-i", IFACE],
        &["list", "--jsno"],
        &["filter"],
        &["filter", "delete", "-i", IFACE, "0"],
        &["--state", "", "list"],
    ] {
        not_understood(words);
    }
    for words in [
        &["--hook", "interface/nope"][..],
        &["--hook", "xdp"],
        &["--mode", "fast"],
        &["--priority", "high"],
        &["--priority", "2147483648"],
        &["--priority", "1", "--before", "trail1"],
        &["--before", "trail1", "--after", "trail1"],
        &["--netns"],
    ] {
        not_understood(&[&["attach", "counter"], &target[..], words].concat());
    }
    not_understood(&["move", "trail1"]);
}
