//! Manifests: in the object, beside it, and what attachments and listings take from them.

use std::{fs, path::PathBuf};

use nke_tests::{Hook, World, trail};

/// A stranger's object in the world's own directory, with a manifest beside it.
fn beside(world: &World, name: &str, manifest: &str) -> (String, PathBuf) {
    let object = world.directory().join(format!("{name}.o"));
    fs::copy(trail::object(1), &object).expect("the directory is ours");
    let path = object.with_extension("toml");
    fs::write(&path, manifest).expect("the directory is ours");
    (object.display().to_string(), path)
}

#[test]
fn a_stranger_is_described_by_a_file_beside_it() {
    let world = World::new();
    let manifest = "identifier = 'org.example.thing'\nversion = '1.2.3'\ndescription = 'A thing'\n";
    let (object, path) = beside(&world, "thing", manifest);
    world.nke(&["load", &object]).ok();
    let check = || {
        let list = world.list();
        assert_eq!(list[0].identifier.as_deref(), Some("org.example.thing"));
        assert_eq!(
            (&*list[0].version, &*list[0].description),
            ("1.2.3", "A thing")
        );
    };
    check();
    let shown = world.nke(&["show", "thing"]).ok().stdout;
    assert!(
        shown.contains("  identifier   org.example.thing\n"),
        "{shown}"
    );
    assert!(shown.contains("  version      1.2.3\n"), "{shown}");
    let listed = world.nke(&["list"]).ok().stdout;
    assert!(listed.contains("1.2.3"), "{listed}");

    // It is part of what is loaded: another is another extension, and none is too.
    world.nke(&["load", &object]).ok();
    fs::write(&path, manifest.replace("1.2.3", "1.2.4")).expect("the directory is ours");
    let error = world.nke(&["load", &object]).fails("name-clash");
    assert!(
        error.contains("another object of this name is loaded"),
        "{error}"
    );
    fs::remove_file(&path).expect("it is there");
    let error = world.nke(&["load", &object]).fails("name-clash");
    assert!(
        error.contains("another object of this name is loaded"),
        "{error}"
    );
    check();
}

#[test]
fn the_manifest_lives_as_long_as_the_extension() {
    let world = World::new();
    let manifest = "hooks = [{ hook = 'interface/xdp', priority = 7 }]\n";
    let (object, path) = beside(&world, "thing", manifest);
    world.nke(&["load", &object]).ok();
    fs::remove_file(&path).expect("it is there");
    fs::remove_file(&object).expect("it is there");
    // Read back from the state, with neither file left.
    world.on(&["attach", "thing"]).ok();
    let chain = world.chain(Hook::Xdp).expect("it is attached");
    assert_eq!(chain.nodes[0].priority, 7);
    let objects = world.objects();
    world.on(&["detach", "thing"]).ok();
    world.nke(&["unload", "thing"]).ok();
    objects.assert_gone();
}

#[test]
fn the_manifest_says_the_priority_where_nobody_else_does() {
    let world = World::new();
    let manifest = "hooks = [{ hook = 'interface/xdp', priority = 7 }]\n";
    let (object, _) = beside(&world, "thing", manifest);
    let priorities = || {
        let chain = world.chain(Hook::Xdp).expect("it is attached");
        chain
            .nodes
            .iter()
            .map(|node| node.priority)
            .collect::<Vec<_>>()
    };
    let other = trail::object(2);
    world.attach(Hook::Xdp, &other, &[]);
    let first = world.attach(Hook::Xdp, &object, &[]);
    assert_eq!(priorities(), [7, 50]);
    world.attach(Hook::Xdp, "thing", &["--priority", "60"]);
    assert_eq!(priorities(), [7, 50, 60]);
    world.attach(Hook::Xdp, "thing", &["--after", "trail2"]);
    assert_eq!(priorities(), [7, 50, 50, 60]);
    world
        .nke(&["move", &first.to_string(), "--priority", "50"])
        .ok();
    assert_eq!(priorities(), [50, 50, 50, 60]);
}

#[test]
fn one_manifest_is_enough() {
    let world = World::new();
    let object = world.directory().join("counter.o");
    let bundled = nke_tests::binaries::extensions().join("counter.o");
    fs::copy(bundled, &object).expect("the directory is ours");
    let object = object.display().to_string();
    world.nke(&["load", &object]).ok();
    world.nke(&["unload", "counter"]).ok();
    let path = world.directory().join("counter.toml");
    fs::write(&path, "version = '9.0.0'").expect("the directory is ours");
    let error = world.nke(&["load", &object]).fails("manifest");
    assert_eq!(
        error,
        "nke: counter: manifest: it has one in its section .nke, and another lies beside it; \
         remove that; see docs/writing-extensions.md\n"
    );
    assert_eq!(world.list(), []);
}

#[test]
fn hostile_files_beside_an_object() {
    let world = World::new();
    let (object, path) = beside(&world, "thing", "");
    // An empty one says nothing.
    world.nke(&["load", &object]).ok();
    world.nke(&["unload", "thing"]).ok();
    let check = |text: &[u8], name: &str, part: &str| {
        fs::write(&path, text).expect("the directory is ours");
        let error = world.nke(&["load", &object]).fails(name);
        assert!(
            error.starts_with("nke: ") && error.contains(part),
            "{error:?}"
        );
        let line = error.trim_end_matches('\n');
        assert!(!line.chars().any(char::is_control), "{error:?}");
        assert_eq!(world.list(), []);
        assert!(!world.is_mounted());
    };
    check(b"\xff\xfe", "manifest", "it is not UTF-8 text");
    check(b"version = 1", "manifest", "line 1: invalid type");
    check(b"\n\nversion = '1'", "manifest", "line 3: ");
    check(
        b"description = \"\\u001b[31mred\"",
        "manifest",
        "one line of 400 bytes",
    );
    check("x = \"".repeat(9000).as_bytes(), "manifest", "line 1: ");
    check(&[b'['; 60_000], "manifest", "line 1: ");
    check(&[b'#'; 65_537], "read", "regular file of 64 KiB at most");
    fs::remove_file(&path).expect("it is there");
    fs::create_dir(&path).expect("the directory is ours");
    let error = world.nke(&["load", &object]).fails("read");
    assert!(error.contains("thing.toml: read: "), "{error}");
    fs::remove_dir(&path).expect("it is there");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("the directory is ours");
    let error = world.nke(&["load", &object]).fails("read");
    assert!(error.contains("regular file"), "{error}");
}
