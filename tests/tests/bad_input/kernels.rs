//! Kernels that lack something or forbid it: the command says which, and changes nothing.

use std::process::Command;

use aya_obj::generated::bpf_cmd::{self, BPF_LINK_CREATE, BPF_MAP_CREATE, BPF_PROG_LOAD};
use nke_tests::{Hook, IFACE, Ran, World, binaries, look_old, refuse, trail};

const CAPABILITIES: &str = "Operation not permitted (os error 1); it takes CAP_BPF, \
    CAP_NET_ADMIN and CAP_SYS_ADMIN, which root in a container may lack";

/// `nke attach counter` with these words fails with this line, on a kernel that refuses a kind of
/// `bpf(2)`.
#[track_caller]
fn fails(words: &[&str], prepare: impl Fn(&mut Command), kind: bpf_cmd, errno: i32, line: &str) {
    // One that has a chain already, at a hook that is not asked for.
    let busy = World::new();
    busy.attach(Hook::Out, &trail::object(1), &[]);
    for world in [busy, World::new()] {
        let before = world.standing();
        let mut command = world.command(&world.target(&[&["attach", "counter"], words].concat()));
        prepare(&mut command);
        refuse(&mut command, kind, errno);
        let error = Ran::of(&mut command).fails_somehow().1;
        assert_eq!(error, format!("nke: {line}\n"), "of {words:?}");
        world.assert_standing(&before);
    }
}

#[test]
fn too_old_for_the_hook() {
    fails(
        &["--hook", "interface/xdp"],
        look_old,
        BPF_LINK_CREATE,
        libc::EINVAL,
        "interface/xdp of eth0: attach: this hook needs Linux 5.9 or newer, this is 2.6; update \
         the kernel",
    );
}

#[test]
fn too_old_for_the_mode() {
    fails(
        &["--hook", "interface/in", "--mode", "tcx"],
        look_old,
        BPF_LINK_CREATE,
        libc::EINVAL,
        "interface/in of eth0: attach: mode tcx needs Linux 6.6 or newer, this is 2.6; update the \
         kernel",
    );
}

/// Left to itself, the command falls back to what the old kernel has.
#[test]
fn an_old_kernel_gets_the_old_mode() {
    let world = World::new();
    let object = trail::object(1);
    let words = ["attach", &object, "--hook", "interface/in"];
    let mut command = world.command(&world.target(&words));
    look_old(&mut command);
    refuse(&mut command, BPF_LINK_CREATE, libc::EINVAL);
    let attached = Ran::of(&mut command).ok().stdout;
    assert!(attached.contains("of eth0 (clsact)"), "{attached}");
    assert_eq!(world.trail(Hook::In).seen, [1]);
}

#[test]
fn root_that_lacks_capabilities() {
    let line = |what: &str| format!("{what}: {CAPABILITIES}");
    for (kind, what) in [
        (BPF_MAP_CREATE, "counter: keep the object"),
        (BPF_PROG_LOAD, "counter: load"),
        (BPF_LINK_CREATE, "interface/xdp of eth0: attach"),
    ] {
        let words = ["--hook", "interface/xdp"];
        fails(&words, |_| (), kind, libc::EPERM, &line(what));
    }
}

#[test]
fn a_locked_down_kernel() {
    let world = World::new();
    // A mount namespace of the command's own, in which the kernel says what it cannot say here.
    let script = "mount -t tmpfs none /sys/kernel/security \
        && echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown && exec \"$@\"";
    let mut command = Command::new("unshare");
    world.dress(&mut command);
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(binaries::nke());
    command.args(world.target(&["attach", "counter"]));
    refuse(&mut command, BPF_PROG_LOAD, libc::EPERM);
    assert_eq!(
        Ran::of(&mut command).fails("locked-down"),
        "nke: counter: load: the kernel is locked down (confidentiality), which forbids BPF \
         programs; boot without lockdown=confidentiality\n",
        "on {IFACE}"
    );
    assert!(!world.is_mounted(), "nothing is left");
}
