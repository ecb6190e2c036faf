//! A declared extension whose file is another one: it gets that version, wherever it is attached.

use std::collections::BTreeSet;

use nke_tests::{Hook, Stream, World, kernel, stranger};
use serde_json::{Value, json};

use crate::{apply, assert_nothing_to_change, attachments, declare, trails};

fn manifest(id: u8) -> String {
    format!("version = '{id}.0.0'\nattachment-maps = ['mine']\ntarget-maps = ['ours']\n")
}

/// The object of a version, with flags for the compiler.
pub(crate) fn object(id: u8, flags: &[&str]) -> String {
    let text = format!("-DMANIFEST={:?}", manifest(id));
    let number = format!("-DID={id}");
    let flags = [&[number.as_str(), text.as_str()], flags].concat();
    stranger::object("versions.c", "versions", &flags)
}

/// An attachment of an object, or a name.
pub(crate) fn attach(what: &str, hook: &str, more: &str) -> String {
    format!("[[attach]]\nextension = \"{what}\"\nhook = \"{hook}\"\nHERE\n{more}\n")
}

/// What packets meet at interface/xdp, /in and /out.
fn met(world: &World) -> [Vec<u8>; 3] {
    Hook::ALL.map(|hook| world.trail(hook).seen)
}

fn seen(world: &World) -> u64 {
    let counts = kernel::counts(&world.state().join("extensions/versions/maps/seen"));
    counts.iter().sum()
}

fn version(world: &World) -> Value {
    let list: Value = world.nke(&["list", "--json"]).json();
    let all = list["extensions"].as_array().expect("a list").iter();
    let one = all.filter(|e| e["name"] == "versions");
    one.map(|e| e["version"].clone()).next().unwrap_or_default()
}

#[test]
fn another_version_comes_in_force_with_all_else_that_is_declared() {
    let world = World::new();
    trails(&world, [9]);
    let [one, two] = [1, 2].map(|id| object(id, &[]));
    declare(
        &world,
        "a.toml",
        &(attach(&one, "interface/xdp", "") + &attach(&one, "interface/in", "")),
    );
    apply(&world, "a.toml").ok();
    // By hand, where nothing is declared.
    world.attach(Hook::Out, "versions", &[]);
    assert_eq!(met(&world), [vec![1], vec![1], vec![1]]);
    let before = seen(&world);
    let ids = |world: &World| -> Vec<u32> {
        let mut chains = world.chains();
        chains.sort_by(|one, other| one.hook.cmp(&other.hook));
        let nodes = chains.into_iter().flat_map(|chain| chain.nodes);
        let own = nodes.filter(|node| node.extension == "versions");
        own.map(|node| node.id).collect()
    };
    let first = ids(&world);

    let declared = attachments(&[9])
        + &attach(&two, "interface/in", "priority = 60")
        + &attach(&two, "interface/xdp", "")
        + "[[set]]\nextension = \"versions\"\nsettings = { version = 7 }\n";
    declare(&world, "b.toml", &declared);
    let standing = world.standing();
    let diff = world.nke(&["diff", "b.toml"]);
    assert_eq!(diff.code, Some(1), "{diff:?}");
    let versions = "@@ versions @@\n-versions 1.0.0\n+versions 2.0.0\n";
    assert!(diff.stdout.contains(versions), "{}", diff.stdout);
    assert!(!diff.stdout.contains("interface/xdp"), "{}", diff.stdout);
    world.assert_standing(&standing);

    let told = apply(&world, "b.toml").ok().stdout;
    assert!(
        told.starts_with("upgraded versions from 1.0.0 to 2.0.0\n"),
        "{told}"
    );
    assert_eq!(met(&world), [vec![2], vec![9, 2], vec![2]]);
    assert_eq!(ids(&world), first, "attachments are the same");
    assert_eq!(version(&world), "2.0.0");
    assert!(seen(&world) > before, "the map is kept");
    let got: Value = world.nke(&["get", "versions", "version", "--json"]).json();
    assert_eq!(got["settings"][0]["value"], json!(7));
    assert_nothing_to_change(&world, "b.toml");

    // A file that is named is what is wanted, also an older one.
    apply(&world, "a.toml").ok();
    assert_eq!(met(&world), [vec![1], vec![1], vec![1]]);
    assert_nothing_to_change(&world, "a.toml");
}

#[test]
fn under_traffic_each_packet_meets_one_version_at_each_hook() {
    let world = World::new();
    trails(&world, [9]);
    let bring = |id: u8| {
        let versions = object(id, &[]);
        let more = if id.is_multiple_of(2) {
            "priority = 10"
        } else {
            ""
        };
        let text = attach("trail9", "interface/in", more)
            + &attach(&versions, "interface/xdp", "")
            + &attach(&versions, "interface/in", "priority = 20");
        declare(&world, "a.toml", &text);
        apply(&world, "a.toml").ok();
    };
    bring(1);
    let stream = Stream::inward(&world);
    for id in 2..=6 {
        stream.wait(60);
        bring(id);
    }
    stream.wait(60);
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0], "of {}", report.sent);
    let mut met = BTreeSet::new();
    for trail in report.trails.keys() {
        // Each once at each hook: one version, and at the second the other extension besides.
        let [first, rest @ ..] = trail.as_slice() else {
            nke_tests::fail("a packet met nothing")
        };
        let versions: Vec<u8> = rest.iter().copied().filter(|id| *id != 9).collect();
        assert!((1..=6).contains(first) && rest.len() == 2, "{trail:?}");
        // Chains change one after the other.
        let near = |id: &u8| id.abs_diff(*first) <= 1;
        assert!(
            versions.len() == 1 && versions.iter().all(near),
            "{trail:?}"
        );
        met.insert(*first);
    }
    assert_eq!(met, (1..=6).collect());
    let counts = kernel::counts(&world.state().join("extensions/versions/maps/seen"));
    assert_eq!(counts.iter().sum::<u64>(), 2 * report.sent, "{counts:?}");
}

#[test]
fn a_name_means_the_newest_that_is_found() {
    let world = World::new();
    let install = |id: u8| {
        let path = world.extensions().join("versions.o");
        std::fs::copy(object(id, &[]), path).expect("the directory is the test's");
    };
    install(2);
    declare(&world, "a.toml", &attach("versions", "interface/xdp", ""));
    apply(&world, "a.toml").ok();
    install(3);
    apply(&world, "a.toml").ok();
    assert_eq!(version(&world), "3.0.0");
    world.assert_trail(Hook::Xdp, &[3]);
    install(1);
    assert_nothing_to_change(&world, "a.toml");
    std::fs::remove_file(world.extensions().join("versions.o")).expect("it is there");
    assert_nothing_to_change(&world, "a.toml");
    // By its name, it is what is declared with its file.
    let two = object(2, &[]);
    let both = attach("versions", "interface/in", "") + &attach(&two, "interface/xdp", "");
    declare(&world, "b.toml", &both);
    apply(&world, "b.toml").ok();
    assert_eq!(met(&world), [vec![2], vec![2], vec![]]);
    let both = attach(&object(1, &[]), "interface/in", "") + &attach(&two, "interface/xdp", "");
    declare(&world, "c.toml", &both);
    drop(apply(&world, "c.toml").fails("name-clash"));
}

#[test]
fn an_upgrade_that_is_not_confirmed_goes_back() {
    let world = World::new();
    let [one, two] = [1, 2].map(|id| {
        let path = world.extensions().join(format!("versions-{id}.0.0.o"));
        std::fs::copy(object(id, &[]), &path).expect("the directory is the test's");
        path
    });
    declare(&world, "a.toml", &attach("versions", "interface/xdp", ""));
    let aside = two.with_extension("aside");
    std::fs::rename(&two, &aside).expect("it is there");
    apply(&world, "a.toml").ok();
    world.assert_trail(Hook::Xdp, &[1]);
    std::fs::rename(&aside, &two).expect("it is there");
    world.nke(&["apply", "--confirm", "100", "a.toml"]).ok();
    assert_eq!(version(&world), "2.0.0");
    // By its name it would be the newer one again.
    world.set_deadline(0);
    assert!(nke_tests::Deadline::generous().until(|| version(&world) == "1.0.0"));
    world.assert_trail(Hook::Xdp, &[1]);
    assert!(one.exists());
    world.assert_no_timer();
}

#[test]
fn a_version_that_cannot_follow_changes_nothing() {
    let world = World::new();
    trails(&world, [9]);
    declare(
        &world,
        "a.toml",
        &attach(&object(1, &[]), "interface/xdp", ""),
    );
    apply(&world, "a.toml").ok();
    world.attach(Hook::Out, "versions", &[]);
    let before = world.standing();
    let refused = |flags: &[&str], name: &str, part: &str| {
        let text = attachments(&[9]) + &attach(&object(2, flags), "interface/xdp", "");
        declare(&world, "b.toml", &text);
        for verb in ["apply", "diff"] {
            if (verb, name) == ("diff", "verifier") {
                continue;
            }
            let said = world.nke(&[verb, "b.toml"]).fails(name);
            assert!(said.starts_with("nke: b.toml:7: "), "{said}");
            assert!(said.contains(part), "{said}");
            world.assert_standing(&before);
        }
    };
    refused(&["-DENTRIES=512"], "map-changed", "map flows has changed");
    refused(
        &["-DONLY_XDP"],
        "no-program",
        "no program for interface/out",
    );
    refused(&["-DREFUSED"], "verifier", "version_out");
    assert_eq!(met(&world), [vec![1], vec![], vec![1]]);
}
