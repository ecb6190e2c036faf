//! `nke check`: all that is wrong, at once, with nothing left behind.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use nke_tests::{Ran, World, binaries, stranger, trail};
use serde_json::Value;

/// A check that must end with this exit code: 0, or that of an error; its reports.
#[track_caller]
fn reports(ran: &Ran, error: Option<&str>) -> Vec<Value> {
    let as_expected = error.map_or(ran.code == Some(0), |error| ran.exited_with(error));
    assert!(as_expected, "{error:?}: {ran:#?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    assert_eq!(
        ran.stderr.lines().count(),
        usize::from(error.is_some()),
        "{ran:#?}"
    );
    let value: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    value["reports"].as_array().expect("an array").clone()
}

#[track_caller]
fn report(world: &World, file: &str, error: Option<&str>) -> Value {
    let ran = world.nke(&["check", file, "--json"]);
    assert!(!world.is_mounted(), "nothing is left behind");
    let mut reports = reports(&ran, error);
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

/// The stages with their outcomes, in words.
fn outcomes(report: &Value) -> String {
    let stages = report["stages"].as_array().expect("an array").iter();
    let word = |stage: &Value, key: &str| stage[key].as_str().expect("a string").to_owned();
    let stages = stages.map(|stage| format!("{} {}", word(stage, "stage"), word(stage, "outcome")));
    stages.collect::<Vec<_>>().join(", ")
}

/// What a stage has found.
fn findings(report: &Value, stage: &str) -> Vec<String> {
    let mut stages = report["stages"].as_array().expect("an array").iter();
    let stage = stages
        .find(|found| found["stage"] == stage)
        .expect("all stages are there");
    let found = stage["findings"].as_array().expect("an array").iter();
    found
        .map(|found| found["message"].as_str().expect("a string").to_owned())
        .collect()
}

/// When a program runs: once for each hook.
fn runs(report: &Value, program: &str) -> Vec<String> {
    let runs = report["runs"].as_array().expect("an array").iter();
    let of = runs.filter(|run| run["program"] == program);
    of.map(|run| run["when"].as_str().expect("a string").to_owned())
        .collect()
}

const PASSED: &str = "find passed, parse passed, manifest passed, dependencies passed, features \
                      passed, relocation passed, verifier passed, placement passed";

#[test]
fn the_bundled_ones_are_in_order() {
    let world = World::new();
    let names = [
        "counter",
        "packet-filter",
        "connection-guard",
        "tcplog",
        "socket-events",
    ];
    let ran = world.nke(&[&["check", "--json"], &names[..]].concat());
    for report in reports(&ran, None) {
        assert_eq!(outcomes(&report), PASSED, "{report:#}");
        let runs = report["runs"].as_array().expect("an array");
        assert!(!runs.is_empty());
        // Iterators have no hook.
        let sound = |run: &Value| run["form"].is_string() || run["when"] == "iterator";
        assert!(runs.iter().all(sound), "{report:#}");
    }
    assert!(!world.is_mounted());
    let text = world.nke(&["check", "counter"]).ok().stdout;
    assert!(text.contains("\n  verifier     passed\n"), "{text}");
    assert!(
        text.contains("\n  counter_xdp runs at interface/xdp, placed inline\n"),
        "{text}"
    );
    assert!(
        text.contains("\n  counter_out runs at interface/out, with --hook, "),
        "{text}"
    );
}

#[test]
fn a_manifest_beside_a_file_that_cannot_be_parsed_is_read_too() {
    let world = World::new();
    let object = world.directory().join("broken.o");
    fs::write(&object, "no ELF").expect("the directory is the test's");
    let manifest = "version = '1.0.0'\ncompatible-since = '2.0.0'\ndescription = \"a\\nb\"\n";
    for (text, parts) in [
        (
            manifest,
            &[
                "compatible-since 2.0.0 is newer",
                "description must be one line",
            ][..],
        ),
        ("version = 'one'\n", &["version"]),
    ] {
        fs::write(object.with_extension("toml"), text).expect("the directory is the test's");
        let report = report(&world, "./broken.o", Some("check-failed"));
        assert_eq!(
            outcomes(&report),
            "find passed, parse failed, manifest failed, dependencies skipped, features skipped, \
             relocation skipped, verifier skipped, placement skipped"
        );
        let found = findings(&report, "manifest");
        assert_eq!(found.len(), parts.len(), "{found:#?}");
        for part in parts {
            assert!(found.iter().any(|found| found.contains(part)), "{found:#?}");
        }
    }
}

#[test]
fn every_failure_is_told_at_once() {
    let world = World::new();
    let manifest = "-DMANIFEST=\"init = 'nope'\\nrequires.kernel = '99.0'\"";
    let object = stranger::object("faults.c", "faults", &[manifest]);
    let report = report(&world, &object, Some("check-failed"));
    assert_eq!(
        outcomes(&report),
        "find passed, parse failed, manifest failed, dependencies skipped, features failed, \
         relocation failed, verifier failed, placement passed"
    );
    let check = |stage: &str, parts: &[&str]| {
        let found = findings(&report, stage);
        assert_eq!(found.len(), parts.len(), "{stage}: {found:#?}");
        for part in parts {
            assert!(
                found.iter().any(|found| found.contains(part)),
                "{part}: {found:#?}"
            );
        }
    };
    check(
        "parse",
        &[
            "section \"nonsense\" is no program type",
            "section \"more/nonsense\" is no program type",
            "program idle in section \"kprobe/x\" never runs",
        ],
    );
    check(
        "manifest",
        &[
            "init names nope, and the object has no such program",
            "program start in section \"syscall\" would never run; add init = \"start\" or exit = \
             \"start\"",
        ],
    );
    check(
        "features",
        &[
            "lacks Linux 99.0",
            "has no kernel function nke_no_kernel_has_this",
        ],
    );
    check("relocation", &["this kernel has no nke_no_kernel_has_this"]);
    check(
        "verifier",
        &["program careless: verifier: R1 offset is outside of the packet"],
    );
    // And what is sound is said to be.
    assert_eq!(runs(&report, "sound"), ["hook"]);
    assert_eq!(runs(&report, "idle"), ["never"]);
    let text = world.nke(&["check", &object]);
    assert!(
        text.stdout.contains("\n  verifier     FAILED\n"),
        "{text:#?}"
    );
    assert!(
        text.stdout
            .contains("\n  sound runs at interface/out, with --hook, placed "),
        "{text:#?}"
    );
    assert_eq!(
        text.stderr,
        "nke: faults: check: 8 failed; the report has each with its remedy\n"
    );
}

#[test]
fn an_entry_point_that_nobody_names_is_no_secret() {
    let world = World::new();
    let object = stranger::object("faults.c", "entry", &["-DENTRY"]);
    let found = findings(&report(&world, &object, Some("check-failed")), "manifest");
    assert!(
        found[0].contains("program start in section \"syscall\" would never run"),
        "{found:?}"
    );
    for key in ["init", "exit"] {
        let manifest = format!("-DMANIFEST=\"{key} = 'start'\"");
        let object = stranger::object("faults.c", key, &["-DENTRY", &manifest]);
        let report = report(&world, &object, None);
        assert_eq!(outcomes(&report), PASSED, "{report:#}");
        assert_eq!(runs(&report, "start"), [key]);
    }
}

#[test]
fn code_without_a_function_is_no_secret_either() {
    let world = World::new();
    let object = stranger::object("faults.c", "nameless", &["-DENTRY", "-DNAMELESS"]);
    let cause = "nameless: parse: its section \"sockops\" has code and no function, so that none of \
                 it could run; give a file made by a compiler for the bpf target";
    let report = report(&world, &object, Some("check-failed"));
    assert_eq!(findings(&report, "parse"), [cause]);
    let error = world.nke(&["load", &object]).fails("not-an-object");
    assert_eq!(error, format!("nke: {cause}\n"));
}

#[test]
fn each_hook_is_tried() {
    let world = World::new();
    let object = stranger::object("netfilter.c", "netfilter", &[]);
    let report = report(&world, &object, None);
    let runs = report["runs"].as_array().expect("an array");
    let hooks: Vec<_> = runs
        .iter()
        .filter(|run| run["form"].is_string())
        .map(|run| &run["hook"])
        .collect();
    for hook in [
        "ip/prerouting",
        "ip/in",
        "ip/forward",
        "ip/out",
        "ip/postrouting",
    ] {
        assert!(hooks.contains(&&hook.into()), "{report:#}");
    }
    // Of several programs for one hook, none is chosen: no failure, but worth to know.
    let object = stranger::object("several.c", "several", &[]);
    let ran = world.nke(&["check", &object]).ok();
    assert!(
        ran.stdout
            .contains("warning: several: attach: several programs serve"),
        "{ran:#?}"
    );
}

#[test]
fn the_priority_and_the_manifest_beside_count() {
    let world = World::new();
    let object = world.directory().join("thing.o");
    fs::copy(trail::object(1), &object).expect("the directory is ours");
    let beside = object.with_extension("toml");
    fs::write(
        &beside,
        "hooks = [{ hook = 'interface/xdp', priority = 7 }]",
    )
    .expect("it is ours");
    let object = object.display().to_string();
    let report = report(&world, &object, None);
    assert!(
        report["runs"]
            .as_array()
            .expect("an array")
            .iter()
            .any(|run| run["priority"] == 7)
    );
    fs::write(&beside, "version = 'one'").expect("it is ours");
    let report = self::report(&world, &object, Some("check-failed"));
    assert!(
        findings(&report, "manifest")[0].contains("line 1: "),
        "{report:#}"
    );
}

#[test]
fn without_root_it_says_what_it_did_not_look_at() {
    const NOBODY: u32 = 65534;
    let world = World::new();
    let place = |from: &Path, name: &str| {
        let to = world.directory().join(name);
        fs::copy(from, &to).expect("the directory is ours");
        to
    };
    let nke = place(binaries::nke(), "nke");
    place(&binaries::extensions().join("counter.o"), "counter.o");
    place(
        stranger::object("bad.c", "undefined", &["-DUNDEFINED"]).as_ref(),
        "undefined.o",
    );
    let check = |files: &[&str]| {
        let mut command = Command::new(&nke);
        world.dress(&mut command);
        command
            .args(["check", "--json"])
            .args(files)
            .uid(NOBODY)
            .gid(NOBODY);
        Ran::of(&mut command)
    };
    let all = reports(&check(&["./counter.o"]), Some("check-incomplete"));
    let skipped = PASSED.replace(
        "verifier passed, placement passed",
        "verifier skipped, placement skipped",
    );
    assert_eq!(outcomes(&all[0]), skipped);
    assert_eq!(all[0]["stages"][6]["skipped"], "needs root");
    // A failure counts for more than what was not looked at.
    let all = reports(
        &check(&["./counter.o", "./undefined.o"]),
        Some("check-failed"),
    );
    assert_eq!(outcomes(&all[0]), skipped);
    assert_eq!(findings(&all[1], "relocation").len(), 1);
}

#[test]
fn one_that_cannot_be_read_keeps_none_from_being_looked_at() {
    let world = World::new();
    let ran = world.nke(&["check", "no-such-thing", "/etc/passwd", "counter", "--json"]);
    let reports = reports(&ran, Some("check-failed"));
    assert!(
        outcomes(&reports[0]).starts_with("find failed, parse skipped"),
        "{reports:#?}"
    );
    assert!(outcomes(&reports[1]).starts_with("find passed, parse failed, manifest skipped"));
    assert_eq!(outcomes(&reports[2]), PASSED);
}

#[test]
fn damaged_objects_are_reports_too() {
    let world = World::new();
    let whole = fs::read(stranger::object("maps.c", "maps", &[])).expect("it is there");
    let path = world.directory().join("damaged.o");
    for nth in 0..48 {
        let mut bytes = whole.clone();
        // Spread over the file, and cut short now and then.
        let at = bytes.len() * nth / 48;
        bytes[at] ^= 0xff;
        if nth % 8 == 7 {
            bytes.truncate(at);
        }
        fs::write(&path, bytes).expect("the directory is ours");
        let ran = world.nke(&["check", "./damaged.o", "--json"]);
        let failed = ran.exited_with("check-failed");
        assert!(ran.code == Some(0) || failed, "byte {at}: {ran:#?}");
        assert_eq!(reports(&ran, failed.then_some("check-failed")).len(), 1);
    }
    assert!(!world.is_mounted());
}

#[test]
fn all_dependencies_that_are_not_there_are_named() {
    let world = World::new();
    let place = |directory: &Path, name: &str, manifest: &str| {
        let object = directory.join(format!("{name}.o"));
        fs::copy(trail::object(1), &object).expect("the directory is ours");
        fs::write(object.with_extension("toml"), manifest).expect("the directory is ours");
        object.display().to_string()
    };
    let needs = "[dependencies]\n'org.example.a' = '^1.2'\n'org.example.b' = '^2'\n";
    let object = place(world.directory(), "thing", needs);
    let found = || {
        findings(
            &report(&world, &object, Some("check-failed")),
            "dependencies",
        )
    };
    let both = found();
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(
        both[0].contains("org.example.a: thing needs ^1.2"),
        "{both:?}"
    );
    assert!(
        both[1].contains("org.example.b: thing needs ^2"),
        "{both:?}"
    );
    // Both bounds count: one is older than the lower.
    let extensions = world.extensions();
    place(
        &extensions,
        "a",
        "identifier = 'org.example.a'\nversion = '1.1.0'",
    );
    place(
        &extensions,
        "b",
        "identifier = 'org.example.b'\nversion = '2.5.0'",
    );
    let older = found();
    assert_eq!(older.len(), 1, "{older:?}");
    assert!(older[0].contains("1.1.0"), "{older:?}");
    place(
        &extensions,
        "a",
        "identifier = 'org.example.a'\nversion = '3.0.0'\ncompatible-since = '1.9.0'",
    );
    assert_eq!(outcomes(&report(&world, &object, None)), PASSED);
}
