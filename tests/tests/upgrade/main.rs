//! `nke upgrade` and `nke rollback`: another version of an extension in its place, everywhere.

mod attachments;
mod datagrams;
mod dependants;
mod failures;
mod kinds;
mod maps;
mod rollback;
mod routines;
mod settings;
mod traffic;

use std::{fs, path::PathBuf};

use nke_tests::{IFACE, Ran, World, kernel, stranger};
use serde::Deserialize;

/// `nke upgrade --json`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Upgraded {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) changed: bool,
    pub(crate) chains: usize,
    pub(crate) attachments: usize,
    pub(crate) maps: Vec<Map>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Map {
    name: String,
    fate: String,
}

impl Upgraded {
    /// What became of a map.
    pub(crate) fn fate(&self, map: &str) -> &str {
        let found = self.maps.iter().find(|found| found.name == map);
        found.map_or("not there", |map| &map.fate)
    }
}

/// The manifest of version `id`.0.0.
pub(crate) fn manifest(id: u8) -> String {
    format!("version = '{id}.0.0'\nattachment-maps = ['mine']\ntarget-maps = ['ours']\n")
}

/// The object of a version, with another manifest than the usual one, and flags.
pub(crate) fn object_of(id: u8, manifest: &str, flags: &[&str]) -> String {
    let text = format!("-DMANIFEST={manifest:?}");
    let number = format!("-DID={id}");
    stranger::object(
        "versions.c",
        "versions",
        &[&[number.as_str(), text.as_str()], flags].concat(),
    )
}

/// The object of a version.
pub(crate) fn object(id: u8) -> String {
    object_of(id, &manifest(id), &[])
}

/// Upgrades to an object.
#[track_caller]
pub(crate) fn upgrade(world: &World, object: &str) -> Upgraded {
    world.nke(&["upgrade", object, "--json"]).json()
}

/// Puts an object where the search path finds it.
pub(crate) fn install(world: &World, object: &str) -> PathBuf {
    let path = world.extensions().join("versions.o");
    fs::copy(object, &path).expect("it can be copied");
    path
}

/// Attaches the loaded extension, or this object, to a hook of the inside's interface.
#[track_caller]
pub(crate) fn attach(world: &World, what: &str, hook: &str, more: &[&str]) -> u64 {
    let words = [&["attach", what, "--hook", hook, "--json"], more].concat();
    let attached: serde_json::Value = world.nke(&words).json();
    attached["id"].as_u64().expect("an id")
}

/// The words for the inside's interface.
pub(crate) fn here(world: &World) -> [&str; 4] {
    ["-i", IFACE, "--netns", world.inside.name()]
}

/// How many packets each version has seen.
pub(crate) fn seen(world: &World) -> Vec<u64> {
    kernel::counts(&world.state().join("extensions/versions/maps/seen"))
}

/// What a failed command may not have changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Standing {
    chains: Vec<nke_tests::Chain>,
    list: Vec<nke_tests::Extension>,
    tree: Vec<String>,
}

pub(crate) fn standing(world: &World) -> Standing {
    Standing {
        chains: world.chains(),
        list: world.list(),
        tree: nke_tests::tree(&world.state()),
    }
}

/// Runs a command that must change nothing, and hands back what it said.
#[track_caller]
pub(crate) fn refused(world: &World, words: &[&str]) -> String {
    let before = standing(world);
    let Ran {
        code,
        stderr,
        stdout,
        ..
    } = world.nke(words);
    assert!(
        code != Some(0) && stdout.is_empty(),
        "{words:?}: {stdout}{stderr}"
    );
    assert_eq!(standing(world), before, "{stderr}");
    stderr
}
