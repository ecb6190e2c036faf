//! What is declared of a cgroup: families of hooks, rules that they share, sockets that opt in.

use nke_tests::{Cgroup, World};
use serde_json::Value;

use crate::{apply, assert_nothing_to_change, declare};

#[test]
fn a_guards_rules_are_shared_by_its_hooks() {
    let (world, cgroup) = (World::new(), Cgroup::new());
    let guard = |hook: &str, more: &str| {
        let path = cgroup.path();
        format!(
            "[[attach]]\nextension = \"connection-guard\"\ncgroup = \"{path}\"\n\
             hook = \"{hook}\"\n{more}\n"
        )
    };
    let rules = "rules = \"drop connect proto tcp\"";
    declare(&world, "a.toml", &guard("socket/connect", rules));
    apply(&world, "a.toml").ok();
    let listed = || -> Value { world.nke(&["guard", "list", "--json"]).json() };
    let guards = listed()["guards"].clone();
    assert_eq!(guards.as_array().map(Vec::len), Some(1), "{guards:#}");
    assert_eq!(guards[0]["rules"][0]["rule"], "drop connect proto tcp");
    assert!(
        guards[0]["hooks"]
            .as_array()
            .is_some_and(|hooks| hooks.len() >= 2)
    );
    assert_nothing_to_change(&world, "a.toml");

    // Another family comes to the same rules, and they change for all of them.
    let more = guard("socket/connect", "") + &guard("socket/bind", "rules = \"drop bind\"");
    declare(&world, "b.toml", &more);
    apply(&world, "b.toml").ok();
    let guards = listed()["guards"].clone();
    assert_eq!(guards.as_array().map(Vec::len), Some(1), "{guards:#}");
    assert_eq!(guards[0]["rules"][0]["rule"], "drop bind");
    assert_nothing_to_change(&world, "b.toml");

    let clash = guard("socket/connect", rules) + &guard("socket/bind", "rules = \"drop bind\"");
    declare(&world, "c.toml", &clash);
    let said = apply(&world, "c.toml").fails("declaration");
    assert!(said.contains("they are shared with c.toml:"), "{said}");
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    assert!(!world.is_mounted());
}

#[test]
fn sockets_can_opt_in_for_what_is_declared() {
    let (world, cgroup) = (World::new(), Cgroup::new());
    let text = format!(
        "[[attach]]\nextension = \"connection-guard\"\ncgroup = \"{}\"\nhook = \"socket/bind\"\n",
        cgroup.path()
    );
    declare(&world, "a.toml", &format!("{text}opt-in = true\n"));
    declare(&world, "b.toml", &text);
    let claims = || {
        let chains = world.chains();
        chains.iter().any(|chain| chain.hook == "socket/setsockopt")
    };
    apply(&world, "a.toml").ok();
    assert!(claims());
    assert_nothing_to_change(&world, "a.toml");
    apply(&world, "b.toml").ok();
    assert!(!claims(), "nobody has to opt in any more");
    apply(&world, "a.toml").ok();
    assert!(claims());
    let policy = format!(
        "[[policy]]\ncgroup = \"{}\"\nhook = \"interface/in\"\npolicy = \"drop\"",
        cgroup.path()
    );
    declare(&world, "c.toml", &policy);
    drop(apply(&world, "c.toml").fails("declaration"));
    declare(
        &world,
        "d.toml",
        &text.replace("bind\"", "create\"\nopt-in = true"),
    );
    drop(apply(&world, "d.toml").fails("no-program"));
}
