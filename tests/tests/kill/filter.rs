//! The rules of packet filters.

use crate::Case;

const FILTER: &[&str] = &[
    "attach packet-filter HERE",
    "filter add HERE 'drop in proto udp from any to any port 53'",
    "filter add HERE 'pass in proto tcp from 10.0.0.0/8 to any'",
];

#[test]
fn add_a_rule() {
    let command = "filter add HERE --at 2 'drop in from fd00::/8 to any'";
    Case {
        before: FILTER,
        command,
        undo: &["filter delete HERE 2"],
    }
    .check();
}

#[test]
fn delete_a_rule() {
    let undo = &["filter add HERE --at 1 'drop in proto udp from any to any port 53'"];
    Case {
        before: FILTER,
        command: "filter delete HERE 1",
        undo,
    }
    .check();
}

#[test]
fn change_the_default_of_a_filter() {
    let undo = &["filter default HERE pass"];
    Case {
        before: FILTER,
        command: "filter default HERE drop --force",
        undo,
    }
    .check();
}
