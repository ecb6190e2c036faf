//! Chains that cannot be called where they are asked to be: one line says why, and nothing has
//! changed.

use std::process::Command;

use aya_obj::generated::bpf_cmd::{self, BPF_LINK_CREATE, BPF_PROG_LOAD};
use nke_tests::{IFACE, Ran, World, look_old, refuse};

/// A world with a chain at `ip/in`, at the default priority.
fn world() -> World {
    let world = World::new();
    let place = ["--netns", world.inside.name(), "--hook", "ip/in"];
    world
        .nke(&[&["attach", "counter"][..], &place].concat())
        .ok();
    world
}

/// `nke attach` at a hook with these options fails so; `{}` in the line is the namespace.
#[track_caller]
fn refused(hook: &str, options: &[&str], prepare: impl Fn(&mut Command), name: &str, line: &str) {
    refused_of(
        &["counter", "packet-filter"],
        hook,
        options,
        prepare,
        (name, line),
    );
}

/// The same of these extensions.
#[track_caller]
fn refused_of(
    extensions: &[&str],
    hook: &str,
    options: &[&str],
    prepare: impl Fn(&mut Command),
    (name, line): (&str, &str),
) {
    let world = world();
    let before = world.standing();
    for extension in extensions {
        let place = ["--netns", world.inside.name(), "--hook", hook];
        let words = [&["attach", extension], &place[..], options].concat();
        let mut command = world.command(&words);
        prepare(&mut command);
        let error = Ran::of(&mut command).fails(name);
        let line = line.replace("{}", world.inside.name());
        if name != "usage" {
            assert_eq!(error, format!("nke: {line}\n"), "{words:?}");
        } else {
            assert!(error.contains(&line), "{words:?}: {error}");
        }
        world.assert_standing(&before);
    }
}

/// What a manifest asks of the kernel is missed before the hook is.
const ASKS_NOTHING: &[&str] = &["counter"];

/// On a kernel that looks old and refuses a kind of `bpf(2)`.
fn old(kind: bpf_cmd, errno: i32) -> impl Fn(&mut Command) {
    move |command| {
        look_old(command);
        refuse(command, kind, errno);
    }
}

#[test]
fn a_kernel_without_netfilter_programs() {
    for kind in [BPF_PROG_LOAD, BPF_LINK_CREATE] {
        refused_of(
            ASKS_NOTHING,
            "ip/out",
            &[],
            old(kind, libc::EINVAL),
            (
                "kernel-too-old",
                "ip/out of network namespace {}: attach: this hook needs Linux 6.4 or newer, this is \
                 2.6; update the kernel",
            ),
        );
    }
}

#[test]
fn a_kernel_that_puts_nothing_together() {
    refused_of(
        ASKS_NOTHING,
        "ip/out",
        &["--defrag"],
        old(BPF_LINK_CREATE, libc::EOPNOTSUPP),
        (
            "kernel-too-old",
            "ip/out of network namespace {}: attach: --defrag needs Linux 6.6 or newer, this is 2.6; \
             update the kernel",
        ),
    );
    for (errno, text) in [
        (
            libc::EAFNOSUPPORT,
            "Address family not supported by protocol",
        ),
        (libc::ENOENT, "No such file or directory"),
    ] {
        let line = format!(
            "ip/out of network namespace {{}}: attach: the kernel cannot put packets together \
             ({text} (os error {errno})); use one with CONFIG_NF_DEFRAG_IPV4 and \
             CONFIG_NF_DEFRAG_IPV6, or leave --defrag out"
        );
        let prepare = |command: &mut Command| refuse(command, BPF_LINK_CREATE, errno);
        refused("ip/out", &["--defrag"], prepare, "no-defrag", &line);
    }
}

#[test]
fn another_place_than_the_chain_has() {
    for options in [
        &["--netfilter-priority", "filter"][..],
        &["--netfilter-priority=-1", "--defrag"],
        &["--defrag"],
    ] {
        refused(
            "ip/in",
            options,
            |_| (),
            "netfilter-mismatch",
            "ip/in of network namespace {}: attach: the chain runs at netfilter priority filter - \
             1, without --defrag; detach all of it to change that",
        );
    }
}

#[test]
fn priorities_that_cannot_be() {
    for priority in [
        "-2147483648",
        "2147483647",
        "99999999999",
        "filter + 2147483647",
    ] {
        refused(
            "ip/out",
            &["--netfilter-priority", priority],
            |_| (),
            "usage",
            "a priority is more than -2147483648 and less than 2147483647: the kernel keeps these \
             two for itself",
        );
    }
    for priority in ["first", "", "filter 1", "1.5", "filter -"] {
        refused(
            "ip/out",
            &["--netfilter-priority", priority],
            |_| (),
            "usage",
            "a priority is a number, one of raw, mangle, dstnat, filter, security, srcnat, or \
             both, such as \"filter - 10\"",
        );
    }
    for priority in ["-400", "-401", "-2147483647"] {
        refused(
            "ip/out",
            &["--defrag", "--netfilter-priority", priority],
            |_| (),
            "defrag-too-early",
            &format!(
                "ip/out: attach: at netfilter priority {priority} packets are in fragments yet; \
                 with --defrag it must be more than -400"
            ),
        );
    }
}

#[test]
fn hooks_of_other_layers() {
    let world = world();
    let before = world.standing();
    for (option, value) in [("--netfilter-priority", Some("raw")), ("--defrag", None)] {
        for hook in ["interface/xdp", "interface/in"] {
            let place = ["-i", IFACE, "--netns", world.inside.name(), "--hook", hook];
            let words: Vec<_> = ["attach", "counter", option]
                .into_iter()
                .chain(value)
                .chain(place)
                .collect();
            let error = world.nke(&words).fails("not-netfilter");
            let line = format!("nke: {hook}: attach: {option} is for the ip hooks; leave it out\n");
            assert_eq!(error, line);
            world.assert_standing(&before);
        }
    }
}
