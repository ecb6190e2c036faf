//! Files that are no objects at all, or not whole.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use nke_tests::{World, trail};

use super::{object_refused, world};

const CHECK: &str = "check the path and its permissions";
const COMPILE: &str = "give a file made by a compiler for the bpf target";

/// A place for a file of this name, which lasts as long as the world.
fn place(world: &World, name: &str) -> String {
    world.directory().join(name).display().to_string()
}

#[test]
fn paths_that_cannot_be_read() {
    let world = World::new();
    let check = |path: &str, cause: &str| {
        object_refused(path, &format!("{path}: read: {cause}; {CHECK}"));
    };
    check(
        &place(&world, "nope.o"),
        "No such file or directory (os error 2)",
    );
    check("/etc/passwd/x.o", "Not a directory (os error 20)");
    let long = format!("/{}.o", "x".repeat(300));
    check(&long, "File name too long (os error 36)");

    let (loops, dangling) = (place(&world, "loop.o"), place(&world, "dangling.o"));
    symlink(&loops, &loops).expect("the directory is ours");
    check(&loops, "Too many levels of symbolic links (os error 40)");
    symlink(place(&world, "nope.o"), &dangling).expect("the directory is ours");
    check(&dangling, "No such file or directory (os error 2)");

    let (pipe, huge) = (place(&world, "pipe.o"), place(&world, "huge.o"));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    let file = fs::File::create(&huge).expect("the directory is ours");
    file.set_len((64 << 20) + 1).expect("it is sparse");
    let directory = place(&world, "extensions");
    check(&huge, "it is not a regular file of 64 MiB at most");
    for path in [&pipe, &directory, "/dev/null", "/dev/zero", "/", "./"] {
        check(path, "it is not a regular file");
    }
    // A name is searched for among regular files only.
    assert!(Path::new(&pipe).exists());
    fs::rename(&pipe, world.extensions().join("pipe.o")).expect("the directory is ours");
    let error = world.nke(&["load", "pipe"]).fails("no-extension");
    assert!(error.starts_with("nke: extension pipe: find: "), "{error}");
}

#[test]
fn a_file_whose_name_names_nothing() {
    let world = world();
    for name in [".o", ".bpf.o"] {
        let path = place(&world, name);
        fs::copy(trail::object(2), &path).expect("the directory is ours");
        object_refused(
            &path,
            &format!(
                "{path}: load: its file name leaves no name for the extension; rename the file"
            ),
        );
    }
}

#[test]
fn a_path_stays_on_one_line() {
    let world = world();
    let path = place(&world, "two\nlines\u{1b}[31m.o");
    let shown = place(&world, r"two\nlines\u{1b}[31m.o");
    object_refused(
        &path,
        &format!("{shown}: read: No such file or directory (os error 2); {CHECK}"),
    );
}

#[test]
fn files_of_other_kinds() {
    let world = World::new();
    let check = |name: &str, bytes: &[u8], cause: &str| {
        let path = place(&world, &format!("{name}.o"));
        fs::write(&path, bytes).expect("the directory is ours");
        object_refused(&path, &format!("{name}: parse: {cause}; {COMPILE}"));
    };
    let no_elf = "it is not an ELF file";
    check("empty", b"", no_elf);
    check("text", b"#!/bin/sh\n", no_elf);
    check("archive", b"!<arch>\n", no_elf);
    check("bitcode", b"BC\xc0\xde", no_elf);
    check("zeroes", &[0; 4096], no_elf);
    check("short", b"\x7fEL", no_elf);
    check(
        "magic",
        b"\x7fELF",
        "malformed ELF: Invalid ELF header size or alignment",
    );
}

#[test]
fn half_written_files() {
    let whole = fs::read(trail::object(2)).expect("it was compiled");
    let world = world();
    let path = place(&world, "half.o");
    let before = world.standing();
    // The section headers stand last, so whatever is cut off is missed.
    for length in (0..whole.len())
        .step_by(whole.len() / 40)
        .chain([whole.len() - 1])
    {
        fs::write(&path, &whole[..length]).expect("the directory is ours");
        let error = world.on(&["attach", &path]).fails("not-an-object");
        let line = error.strip_suffix('\n').expect("a line");
        assert!(
            line.starts_with("nke: half: parse: ") && line.ends_with(COMPILE),
            "of the first {length} bytes: {error}"
        );
        assert!(!line.contains('\n'), "{error}");
    }
    world.assert_standing(&before);
}

#[test]
fn a_section_larger_than_memory() {
    // `.bss` has no bytes in the file: its size is only a number, and must not be believed.
    let object = nke_tests::stranger::object("data.c", "data", &[]);
    let mut bytes = fs::read(object).expect("it was compiled");
    let header = bss_header(&bytes);
    let world = World::new();
    let path = place(&world, "data.o");
    for size in [u64::MAX, 1 << 62, 1 << 45, 1 << 32, (64 << 20) + 1] {
        bytes[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
        fs::write(&path, &bytes).expect("the directory is ours");
        object_refused(
            &path,
            &format!("data: parse: its section .bss is larger than 64 MiB; {COMPILE}"),
        );
    }
}

/// Where the header of `.bss` is: the section of type NOBITS.
fn bss_header(bytes: &[u8]) -> usize {
    let number = |at: usize, length: usize| {
        let mut word = [0; 8];
        word[..length].copy_from_slice(&bytes[at..at + length]);
        usize::try_from(u64::from_le_bytes(word)).expect("small")
    };
    let (table, count) = (number(40, 8), number(60, 2));
    let mut headers = (0..count).map(|nth| table + 64 * nth);
    let is_nobits = |header: &usize| number(header + 4, 4) == 8;
    headers
        .find(is_nobits)
        .expect("data.c has zeroed variables")
}
