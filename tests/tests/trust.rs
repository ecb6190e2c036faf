//! Trust: nothing goes into the kernel that others than root can change.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use nke_tests::{World, trail};

const SOMEBODY: u32 = 1000;

/// A directory of root's with an object in it.
fn place(world: &World) -> (PathBuf, PathBuf) {
    let directory = world.directory().join("place");
    fs::create_dir(&directory).expect("the directory is ours");
    mode(&directory, 0o755);
    let object = directory.join("thing.o");
    fs::copy(trail::object(1), &object).expect("it can be copied");
    mode(&object, 0o644);
    (directory, object)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("root may");
}

fn owner(path: &Path, uid: u32) {
    chown(path, Some(uid), None).expect("root may");
}

/// Every verb that would load the file refuses, names what is not trusted, and says the remedy;
/// then, once it is mended, it is loaded.
#[track_caller]
fn refused(world: &World, file: &Path, culprit: &Path, cause: &str, remedy: &str) {
    let file = file.to_str().expect("a path of ours");
    let before = world.standing();
    for words in [&["load", file][..], &world.target(&["attach", file])] {
        let error = world.nke(words).fails("untrusted");
        let shown = culprit.display();
        let start =
            format!("nke: {shown}: trust: {cause}, and could change what the kernel runs; ");
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(remedy), "{remedy}: {error}");
    }
    world.assert_standing(&before);
}

#[track_caller]
fn loaded(world: &World, file: &Path) {
    let file = file.to_str().expect("a path of ours");
    world.nke(&["load", file]).ok();
    world.nke(&["unload", "thing"]).ok();
}

#[test]
fn files_that_others_can_write() {
    let world = World::new();
    let (_, object) = place(&world);
    for bits in [0o666, 0o664, 0o646, 0o622] {
        mode(&object, bits);
        let cause = format!("others than root can write to it (mode {bits:04o})");
        let remedy = format!("`chmod go-w {}`", object.display());
        refused(&world, &object, &object, &cause, &remedy);
    }
    mode(&object, 0o644);
    loaded(&world, &object);
}

#[test]
fn files_of_others() {
    let world = World::new();
    let (_, object) = place(&world);
    owner(&object, SOMEBODY);
    let remedy = format!("`chown root {}`", object.display());
    refused(&world, &object, &object, "user 1000 owns it", &remedy);
    owner(&object, 0);
    loaded(&world, &object);
}

/// As in a home directory: what is in it can be replaced by its owner, whoever owns the file.
#[test]
fn directories_of_others_on_the_way() {
    let world = World::new();
    let (directory, object) = place(&world);
    let remedy = "-t /usr/local/lib/nke`";
    owner(&directory, SOMEBODY);
    refused(&world, &object, &directory, "user 1000 owns it", remedy);
    owner(&directory, 0);
    mode(&directory, 0o777);
    let cause = "others than root can write to it (mode 0777)";
    let remedy = format!("`chmod go-w {}`", directory.display());
    refused(&world, &object, &directory, cause, &remedy);
    // In a sticky directory nobody can take root's files away.
    mode(&directory, 0o1777);
    loaded(&world, &object);
}

#[test]
fn directories_of_the_search_path() {
    let world = World::new();
    let directory = world.extensions();
    fs::copy(trail::object(1), directory.join("thing.o")).expect("it can be copied");
    mode(&directory, 0o757);
    let error = world.nke(&["load", "thing"]).fails("untrusted");
    let start = format!("nke: {}: trust: others than root", directory.display());
    assert!(error.starts_with(&start), "{error}");
    mode(&directory, 0o755);
    world.nke(&["load", "thing"]).ok();
}

#[test]
fn links() {
    let world = World::new();
    let (directory, object) = place(&world);
    // Links of root's are followed, also through others' …
    let link = world.directory().join("thing.bpf.o");
    symlink(&object, &link).expect("the directory is ours");
    loaded(&world, &link);
    let relative = world.directory().join("way");
    symlink("place/../place", &relative).expect("the directory is ours");
    loaded(&world, &relative.join("thing.o"));
    // … but what they lead to is looked at,
    mode(&directory, 0o777);
    let cause = "others than root can write to it (mode 0777)";
    refused(&world, &link, &directory, cause, "chmod go-w");
    // also if they lead out of it again, or are somebody's.
    mode(&directory, 0o1777);
    let out = directory.join("out");
    symlink(world.directory(), &out).expect("the directory is ours");
    let through = out.join("place/thing.o");
    loaded(&world, &through);
    rustix::fs::chownat(
        rustix::fs::CWD,
        &out,
        Some(rustix::fs::Uid::from_raw(SOMEBODY)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("root may");
    refused(&world, &through, &out, "user 1000 owns it", "chown root");
}

/// What is said beside an object decides what of it runs, and where.
#[test]
fn a_manifest_beside_it() {
    let world = World::new();
    let (_, object) = place(&world);
    let beside = object.with_extension("toml");
    fs::write(&beside, "version = \"1.0.0\"\n").expect("the directory is ours");
    mode(&beside, 0o666);
    let cause = "others than root can write to it (mode 0666)";
    refused(&world, &object, &beside, cause, "chmod go-w");
    mode(&beside, 0o644);
    loaded(&world, &object);
}

/// Looking at a file loads nothing: anybody's will do.
#[test]
fn looking_needs_no_trust() {
    let world = World::new();
    let (_, object) = place(&world);
    owner(&object, SOMEBODY);
    let file = object.to_str().expect("a path of ours");
    let shown = world.nke(&["info", file]).ok().stdout;
    assert!(shown.contains("thing"), "{shown}");
}
