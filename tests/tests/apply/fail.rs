//! A system call of an apply that fails leaves all as it was, or does not matter.
//!
//! Each call that could change something is made to fail, one in each run; so is each that brings a
//! map's memory in, by which settings are written.

use nke_tests::{Call, End, World, stranger, trace_failing};

use crate::{
    attachments, declare,
    kill::picture,
    trails,
    upgrade::{attach, object},
};

/// Rules with named sets: one stays, one changes, one goes; and one comes.
pub(crate) const OLD_RULES: &str = "\
set stays ports { 53 }
set changes addresses { 192.0.2.0/24, 198.51.100.1 }
set goes ports { 1-1023 }
drop out proto udp from @changes
drop out proto udp from any port @goes";
pub(crate) const NEW_RULES: &str = "\
set stays ports { 53 }
set changes addresses { 192.0.2.0/24, 203.0.113.1 }
set comes pairs { tcp:192.0.2.1:443 }
drop out proto tcp from @changes to @comes";

/// What a command that exits with a failure must leave alone: chains, rules of a filter that stays, named sets,
/// a setting of what is loaded, load counts, which version it is.
fn declarations(world: &World) {
    let settings = stranger::object("settings.c", "settings", &[]);
    let file = world.extensions().join("settings.o");
    std::fs::copy(settings, file).expect("the directory is the test's");
    let both = |rules: &str, port: u16| {
        format!(
            "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/out\"\nHERE\n\
             rules = '''\n{rules}\n'''\n[[load]]\nextension = \"settings\"\n\
             [[set]]\nextension = \"settings\"\nsettings = {{ drop-port = {port} }}\n"
        )
    };
    let xdp = |number| attachments(&[number]).replace("interface/in", "interface/xdp");
    let loads = |names: &[&str]| -> String {
        let one = |name: &&str| format!("[[load]]\nextension = \"{name}\"\n");
        names.iter().map(one).collect()
    };
    let old = attachments(&[1, 2]) + &both(OLD_RULES, 9) + &loads(&["counter"]);
    let new = attachments(&[2, 3]) + &xdp(1) + &both(NEW_RULES, 10) + &loads(&["trail4"]);
    let versions = |id| attach(&object(id, &[]), "interface/in", "priority = 40");
    let (old, new) = (old + &versions(1), new + &versions(2));
    declare(world, "old.toml", &old);
    declare(world, "new.toml", &new);
}

fn matters(call: &Call) -> bool {
    call.shares_memory() || call.changes_the_world()
}

#[test]
fn whichever_call_fails_all_is_as_it_was_or_as_declared() {
    let world = World::new();
    trails(&world, 1..=4);
    declarations(&world);
    let bring = |file: &str| world.nke(&["apply", "--prune", file]).ok();
    // From here on there is a version before.
    for file in ["old.toml", "new.toml", "old.toml", "new.toml"] {
        bring(file);
    }
    let new = picture(&world);
    bring("old.toml");
    let old = picture(&world);

    let (mut nth, mut failures) = (0_usize, 0);
    loop {
        let (mut left, mut at) = (nth, None);
        let words = ["apply", "--prune", "new.toml"];
        let ran = trace_failing(&mut world.command(&words), |call| {
            if at.is_some() || !matters(call) {
                return false;
            }
            if left > 0 {
                left -= 1;
                return false;
            }
            at = Some(*call);
            true
        });
        let now = picture(&world);
        if ran.end == End::Exited(0) {
            assert_eq!(now, new, "{at:?} failed, and that was not told");
            bring("old.toml");
        } else {
            failures += 1;
            assert_eq!(now, old, "{at:?} failed: {}", ran.stderr);
        }
        if at.is_none() {
            break;
        }
        nth += 1;
    }
    assert!(failures > 20, "{failures} of {nth}");
}
