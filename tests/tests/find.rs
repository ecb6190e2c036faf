//! Which file a name means: the search path, versions, identifiers, and the current directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nke_tests::{Ran, World, trail};
use serde_json::Value;

/// A world with three directories on the search path, and the files in them.
struct Library {
    world: World,
    directories: [PathBuf; 3],
}

impl Library {
    fn new() -> Self {
        let world = World::new();
        let directories = ["boot", "local", "system"].map(|name| world.directory().join(name));
        for directory in &directories {
            fs::create_dir(directory).expect("it is a fresh world");
        }
        Self { world, directories }
    }

    /// Puts an object into a directory, with a manifest beside it if there is any text.
    fn put(&self, directory: usize, name: &str, number: u8, manifest: &str) -> String {
        let path = self.directories[directory].join(name);
        put(&path, number, manifest)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        let path = std::env::join_paths(&self.directories).expect("no name has a colon");
        command.env("NKE_PATH", path);
        command
    }

    fn nke(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.command(words))
    }

    /// The file that a name is loaded from.
    #[track_caller]
    fn loads(&self, name: &str) -> String {
        self.nke(&["load", name]).ok();
        let mut list = self.world.list();
        assert_eq!(list.len(), 1, "{list:?}");
        let extension = list.remove(0);
        self.nke(&["unload", &extension.name]).ok();
        let shown: Value = self.nke(&["path", name, "--json"]).json();
        assert_eq!(shown["names"][0]["path"], extension.path.as_str());
        extension.path
    }
}

fn put(path: &Path, number: u8, manifest: &str) -> String {
    fs::copy(trail::object(number), path).expect("it can be copied");
    if !manifest.is_empty() {
        fs::write(path.with_extension("toml"), manifest).expect("it can be written");
    }
    path.display().to_string()
}

#[test]
fn the_highest_version_wins_in_whichever_directory() {
    let library = Library::new();
    let old = library.put(0, "thing.o", 1, "version = '1.9.0'");
    let new = library.put(1, "thing-1.10.0.o", 2, "version = '1.10.0'");
    let none = library.put(2, "thing.o", 3, "");
    assert_eq!(library.loads("thing"), new);
    // A file's whole name means just that.
    assert_eq!(library.loads("thing-1.10.0.o"), new);
    assert_eq!(library.loads("thing.o"), old);

    let told = library.nke(&["path", "thing"]).ok().stdout;
    let lines = [
        format!("thing is {new}"),
        format!("  1.10.0     {new}: the highest version"),
        format!("  1.9.0      {old}: a lower version"),
        format!("  0.0.0      {none}: a lower version"),
    ];
    assert_eq!(told, lines.join("\n") + "\n");

    fs::remove_file(&new).expect("it is there");
    assert_eq!(library.loads("thing"), old);
}

#[test]
fn of_equal_versions_the_earlier_directory_wins() {
    let library = Library::new();
    let late = library.put(2, "thing.o", 3, "");
    assert_eq!(library.loads("thing"), late);
    let early = library.put(1, "thing.o", 2, "");
    assert_eq!(library.loads("thing"), early);
}

#[test]
fn a_broken_file_does_not_hide_a_whole_one() {
    let library = Library::new();
    let broken = library.put(0, "thing.o", 1, "version = 'ten'");
    let whole = library.put(1, "thing.o", 2, "");
    assert_eq!(library.loads("thing"), whole);
    let told = library.nke(&["path", "thing"]).ok().stdout;
    assert!(
        told.contains(&format!("{broken}: not readable: ")),
        "{told}"
    );
    fs::remove_file(&whole).expect("it is there");
    let said = library.nke(&["load", "thing"]).fails("manifest");
    assert!(said.starts_with("nke: thing: manifest: "), "{said}");
}

#[test]
fn an_identifier_finds_its_file() {
    let library = Library::new();
    let manifest = |version| format!("identifier = 'org.example.thing'\nversion = '{version}'");
    let old = library.put(0, "one.o", 1, &manifest("1.0.0"));
    let new = library.put(1, "two.o", 2, &manifest("2.0.0"));
    library.put(
        0,
        "other.o",
        3,
        "identifier = 'org.example.things'\nversion = '3.0.0'",
    );
    assert_eq!(library.loads("org.example.thing"), new);

    // What is loaded of that identifier is it, whatever lies on the path.
    library.nke(&["load", &old]).ok();
    library.nke(&["load", "org.example.thing"]).ok();
    let list = library.world.list();
    assert_eq!((list.len(), list[0].loads, &list[0].path), (1, 2, &old));
    let kmid = library.nke(&["query", "org.example.thing"]).ok().stdout;
    assert_eq!(kmid, format!("{}\n", list[0].kmid));
    library.nke(&["unload", "org.example.thing"]).ok();
    library.nke(&["unload", "one"]).ok();
    assert_eq!(library.world.list(), []);

    let _: String = library
        .nke(&["load", "org.example.nothing"])
        .fails("no-extension");
}

#[test]
fn a_name_with_a_slash_is_used_as_it_is() {
    let library = Library::new();
    library.put(0, "thing.o", 1, "version = '9.0.0'");
    let here = put(&library.world.directory().join("thing.o"), 2, "");
    assert_eq!(library.nke(&["load", "./thing.o"]).ok().stderr, "");
    assert_eq!(library.world.list()[0].path, here);
    library.nke(&["unload", "thing"]).ok();
    // Unlike loadext's, which puts its directory before `a/b` too.
    let inner = library.directories[0].join("inner");
    fs::create_dir(&inner).expect("it is a fresh world");
    put(&inner.join("deep.o"), 1, "");
    let _: String = library.nke(&["load", "inner/deep.o"]).fails("read");
}

#[test]
fn a_name_that_exists_here_too_gets_a_note() {
    let library = Library::new();
    let found = library.put(0, "thing.o", 1, "");
    put(&library.world.directory().join("thing.o"), 2, "");
    let note = format!(
        "nke: note: ./thing.o is not meant by thing, which is {found}; write ./thing.o to have it\n"
    );
    let ran = library.nke(&["load", "thing"]).ok();
    let kmid = library.world.list()[0].kmid;
    let line = format!("loaded thing {kmid} from {found}, load count 1\n");
    assert_eq!((ran.stdout, ran.stderr), (line, note.clone()));
    library.nke(&["unload", "thing"]).ok();

    let ran = library
        .nke(&library.world.target(&["attach", "thing"]))
        .ok();
    assert!(
        ran.stdout
            .contains(&format!("from {found}, load count 0\n")),
        "{ran:?}"
    );
    assert_eq!(ran.stderr, note);
    assert_eq!(library.nke(&["load", "-q", "thing"]).ok().stderr, "");
    library.nke(&["unload", "--force", "thing"]).ok();

    // Nothing is ever taken from there.
    fs::remove_file(&found).expect("it is there");
    let _: String = library.nke(&["load", "thing"]).fails("no-extension");
    let _: String =
        Ran::of(library.command(&["load", "thing"]).env("NKE_PATH", "::")).fails("no-extension");
}

#[test]
fn the_search_path_is_shown() {
    let library = Library::new();
    fs::remove_dir(&library.directories[1]).expect("it is empty");
    let shown: Value = library.nke(&["path", "--json"]).json();
    let rows: Vec<_> = shown["directories"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let exists: Vec<_> = rows.iter().map(|row| row["exists"].as_bool()).collect();
    assert_eq!(exists, [Some(true), Some(false), Some(true)]);

    let told = Ran::of(library.command(&["path"]).env_remove("NKE_PATH"))
        .ok()
        .stdout;
    let order = ["/run/nke-extensions", "/usr/local/lib/nke", "/usr/lib/nke"];
    let places: Vec<_> = order.iter().map(|path| told.find(path)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{told}"
    );

    let said = library.nke(&["path", "nothing"]).fails("no-extension");
    assert!(said.starts_with("nke: extension nothing: find: "), "{said}");
}

#[test]
fn what_counts_is_what_is_in_the_file_and_never_its_path() {
    let library = Library::new();
    let one = put(&library.world.directory().join("thing.o"), 1, "");
    let same = library.put(0, "thing.o", 1, "");
    let other = library.put(1, "thing.o", 2, "");
    library.nke(&["load", &one]).ok();
    library.nke(&["load", &same]).ok();
    assert_eq!(library.world.list()[0].loads, 2);
    let _: String = library.nke(&["load", &other]).fails("name-clash");
    assert_eq!(library.world.list()[0].loads, 2);
}
