//! Objects that cannot be loaded, and programs that cannot be attached.

use nke_tests::{Hook, World, stranger};

use super::{object_refused, refused, world};

/// `bad.c` with one mistake, compiled to an object of this name.
fn bad(name: &str, flags: &[&str]) -> String {
    stranger::object("bad.c", name, flags)
}

const COMPILE: &str = "give a file made by a compiler for the bpf target";

#[test]
fn objects_of_other_machines() {
    let check = |name: &str, target: &str, cause: &str| {
        let object = bad(name, &["-DNO_PROGRAM", "-target", target]);
        object_refused(&object, &format!("{name}: parse: {cause}; {COMPILE}"));
    };
    check("x86", "x86_64", "it is for machine 62, not for BPF (247)");
    check("arm", "aarch64", "it is for machine 183, not for BPF (247)");
    check("i386", "i386", "it is a 32-bit object, not for BPF");
    check("big", "bpfeb", "its byte order is not this machine's");
}

#[test]
fn sections_of_an_unknown_kind() {
    for section in ["nonsense", "nonsense/xdp", "xdpp", "te\\\"st"] {
        let object = bad("nonsense", &[&format!("-DSECTION=\"{section}\"")]);
        let line = format!(
            "nonsense: parse: section \"{section}\" is no program type; use a libbpf section name, \
             such as \"xdp\" or \"tc\""
        );
        object_refused(&object, &line);
    }
}

#[test]
fn no_program_for_the_hook() {
    let world = world();
    let check = |object: &str, more: &[&str], line: &str| {
        refused(&world, &[&["attach", object], more].concat(), line);
    };
    let section = "name the section of one as libbpf does, such as \"xdp\" or \"tc\"";
    check(
        &bad("empty", &["-DNO_PROGRAM"]),
        &[],
        &format!(
            "empty: attach: it has no program for an interface; it has none at all; {section}"
        ),
    );
    check(
        &bad("probe", &["-DSECTION=\"kprobe/x\""]),
        &[],
        &format!(
            "probe: attach: it has no program for an interface; it has bad (kprobe/x); {section}"
        ),
    );
    let choose = "choose another with --hook or --program";
    let only_tc = bad("only-tc", &["-DTC"]);
    check(
        &only_tc,
        &["--hook", "interface/xdp"],
        &format!("only-tc: attach: it has no program for interface/xdp; it has bad (tc); {choose}"),
    );
    check(
        &only_tc,
        &["--program", "nope"],
        &format!(
            "only-tc: attach: it has no program named nope for an interface; it has bad (tc); \
             {choose}"
        ),
    );
    refused(
        &world,
        &["replace", "trail1", &only_tc],
        &format!("only-tc: attach: it has no program for interface/xdp; it has bad (tc); {choose}"),
    );
    let line = "only-tc: attach: it has no program for a network namespace; it has bad (tc); name an \
                interface with -i";
    world.refuses(&["attach", &only_tc], &format!("nke: {line}\n"));
    // An object without a program can still be loaded: others may be waiting for its maps.
    world.nke(&["load", &bad("empty", &["-DNO_PROGRAM"])]).ok();
}

#[test]
fn several_programs_for_the_hook() {
    let world = world();
    let object = stranger::object("several.c", "several", &[]);
    let line = "several: attach: several programs serve interface/xdp: alpha, beta, gamma; choose \
                with --program";
    refused(&world, &["attach", &object], line);
    refused(&world, &["replace", "trail1", &object], line);
    world.on(&["attach", &object, "--program", "beta"]).ok();
}

#[test]
fn the_verifier_refuses() {
    let world = world();
    let unsafe_object = bad("unsafe", &["-DUNSAFE"]);
    let words = world.target(&["attach", &unsafe_object]);
    let before = world.standing();
    let short = world.nke(&words).fails("verifier");
    let whole = world.nke(&[&["-v"], &words[..]].concat()).fails("verifier");
    world.assert_standing(&before);

    let (first, last) = short.split_once('\n').expect("several lines");
    let line = "nke: unsafe: program bad: verifier: R1 offset is outside of the packet (Permission \
                denied (os error 13)); -v shows its whole log";
    assert_eq!(first, line);
    assert!(last.lines().all(|line| line.starts_with("    ")), "{last}");
    assert!(
        last.lines().count() <= 6 && last.contains("invalid access to packet"),
        "{last}"
    );

    let (first, all) = whole.split_once('\n').expect("several lines");
    assert_eq!(first, line, "-v adds lines, and changes none");
    assert!(all.len() > last.len() && all.ends_with(last), "{all}");
    assert!(all.contains("R10=fp0") && all.contains("bad.c:"), "{all}");

    // In another's place, it leaves that one where it is.
    refused(
        &world,
        &["replace", "trail1", &unsafe_object],
        short.trim_start_matches("nke: ").trim_end(),
    );
}

#[test]
fn symbols_that_the_kernel_lacks() {
    object_refused(
        &bad("undefined", &["-DUNDEFINED"]),
        "undefined: relocate: this kernel has no nke_no_kernel_has_this, which the object needs; \
         use a kernel that has it, or declare it __weak",
    );
    let world = world();
    let before = world.standing();
    let object = bad("absent", &["-DABSENT"]);
    let error = world.on(&["attach", &object]).fails("verifier");
    let line = "nke: absent: program bad: verifier: it uses a type or member that this kernel has \
                not (CO-RE) (Invalid argument (os error 22)); -v shows its whole log\n";
    assert!(error.starts_with(line), "{error}");
    world.assert_standing(&before);
}

#[test]
fn manifests_that_make_no_sense() {
    let check = |name: &str, manifest: &str, cause: &str| {
        let object = bad(name, &[&format!("-DMANIFEST=\"{manifest}\"")]);
        let line = format!("{name}: manifest: {cause}; see docs/writing-extensions.md");
        object_refused(&object, &line);
    };
    check(
        "cut-off",
        "description = ",
        "line 1: string values must be quoted, expected literal string",
    );
    check(
        "misspelt",
        "descriptoin = 'x'",
        "line 1: unknown field `descriptoin`, expected one of `identifier`, `version`, \
         `compatible-since`, `description`, `license`, `hooks`, `init`, `exit`, `dependencies`, \
         `requires`, `settings`, `maps`, `attachment-maps`, `target-maps`, `records`, \
         `existing`, `judged-by-rules`",
    );
    check(
        "mistyped",
        "attachment-maps = 'RULES'",
        "line 1: invalid type: string \"RULES\", expected a sequence",
    );
    check("bytes", "\\377\\376", "it is not UTF-8 text");
    check(
        "mapless",
        "attachment-maps = ['RULES']",
        "attachment-maps names RULES, and the object has no such map",
    );
    check(
        "targetless",
        "target-maps = ['RULES']",
        "target-maps names RULES, and the object has no such map",
    );
    // All that is wrong is told.
    check(
        "several-faults",
        "compatible-since = '1.0.0'\\ninit = 'start'\\nhooks = ['interface/in']",
        "compatible-since 1.0.0 is newer than version 0.0.0; hooks names interface/in, and no \
         program of the object serves it; init names start, and the object has no such program in \
         a section \"syscall\"",
    );
}

#[test]
fn manifests_of_what_the_kernel_lacks() {
    let check = |name: &str, manifest: &str, lacks: &str| {
        let object = bad(name, &[&format!("-DMANIFEST=\"{manifest}\"")]);
        let world = world();
        let before = world.standing();
        let error = world.on(&["attach", &object]).fails("unmet");
        assert!(
            error.starts_with(&format!("nke: {name}: requires: this kernel, ")),
            "{error}"
        );
        let end = format!(", lacks {lacks}, which its manifest requires; use one that has it\n");
        assert!(error.ends_with(&end), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(world.nke(&["load", &object]).fails("unmet"), error);
        world.assert_standing(&before);
    };
    check("too-new", "requires.kernel = '99.0'", "Linux 99.0");
    check(
        "fanciful",
        "requires.features = ['btf', 'kfunc:no_kernel_has_this', 'map:hash', 'map:heap', \
         'type:no_such_type', 'helper:bpf_redirect', 'helper:help', 'program:xdp', 'program:dtp', \
         'config:CONFIG_NO_SUCH_THING', 'config:CONFIG_NET']",
        "kfunc:no_kernel_has_this, map:heap, type:no_such_type, helper:help, program:dtp, \
         config:CONFIG_NO_SUCH_THING",
    );
}

#[test]
fn what_fails_late_leaves_nothing() {
    // Its maps are made and its program is loaded before the kernel says no to its place.
    let world = World::new();
    let object = stranger::object("several.c", "several", &[]);
    let words = ["attach", &object, "--program", "alpha", "--mode", "generic"];
    world.on(&words).ok();
    let line = format!(
        "interface/xdp of {}: attach: the chain runs in generic mode; detach all of it to change \
         that",
        nke_tests::IFACE
    );
    refused(&world, &["attach", "counter", "--mode", "native"], &line);
    world.nke(&["detach", "several"]).ok();
    assert!(world.programs(Hook::Xdp).is_empty());
    assert!(!world.is_mounted());
}
