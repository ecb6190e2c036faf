//! The whole world on standard error, for a test that failed.

use std::process::Command;

use crate::{
    Hook, IFACE, World,
    kernel::{self, identify},
    sys::bpf,
    tree,
};

/// Prints everything that a reader of the failure may want to know.
///
/// It runs while a panic unwinds, so a question that cannot be asked must not end the process.
pub(crate) fn print(world: &World) {
    eprintln!("──── the world of the failed test ────");
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(world)));
    if told.is_err() {
        eprintln!("the rest cannot be told");
    }
    eprintln!("──────────────────────────────────────");
}

fn tell(world: &World) {
    for namespace in [&world.inside, &world.outside] {
        show(Command::new("ip").args(["-n", namespace.name(), "-d", "-s", "link", "show", IFACE]));
    }
    for direction in ["ingress", "egress"] {
        let words = [
            "-n",
            world.inside.name(),
            "filter",
            "show",
            "dev",
            IFACE,
            direction,
        ];
        show(Command::new("tc").args(words));
    }
    eprintln!("state:");
    for line in tree(&world.state()) {
        let path = world.state().join(&line);
        let pin = bpf::pinned(&path).ok().and_then(|fd| identify(&fd));
        let pin = pin
            .map(|(kind, id)| format!("  = {kind:?} {id}"))
            .unwrap_or_default();
        eprintln!("    {line}{pin}");
    }
    eprintln!("the whole kernel: {:?}", kernel::population());
    for hook in Hook::ALL {
        eprintln!("programs at {}: {:?}", hook.name(), world.programs(hook));
    }
    for words in [&["list", "--json"][..], &["chain", "--json"]] {
        show(&mut world.command(words));
    }
}

fn show(command: &mut Command) {
    let words = crate::command::words(command);
    match command.output() {
        Ok(output) => eprintln!(
            "$ {words}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("$ {words}: {error}"),
    }
}
