//! Many at once: 32 extensions on 16 interfaces.

use std::fmt::Write as _;

use nke_tests::World;

use crate::{apply, assert_nothing_to_change, declare};

#[test]
fn thirty_two_extensions_on_sixteen_interfaces() {
    let world = World::new();
    let mut text = String::new();
    for interface in 0..16 {
        world.inside.ip(&format!(
            "link add m{interface} type veth peer p{interface}"
        ));
        for copy in 0..32 {
            let declared = writeln!(
                text,
                "[[attach]]\nextension = \"counter\"\ninstance = \"c{copy}\"\n\
                 interface = \"m{interface}\"\nNETNS\nhook = \"interface/in\"\n"
            );
            declared.expect("a text takes all");
        }
    }
    declare(&world, "a.toml", &text);
    apply(&world, "a.toml").ok();
    let chains = world.chains();
    assert_eq!(chains.len(), 16);
    let expected: Vec<_> = (0..32).map(|copy| format!("counter@c{copy}")).collect();
    for chain in chains {
        assert_eq!(chain.names(), expected);
    }
    assert_nothing_to_change(&world, "a.toml");
    world.nke(&["apply", "--prune", "/dev/null"]).ok();
    assert!(!world.is_mounted(), "nothing is left");
}
