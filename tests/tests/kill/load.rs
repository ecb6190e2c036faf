//! `nke load` and `nke unload`.

use crate::Case;

#[test]
fn load() {
    Case {
        before: &[],
        command: "load packet-filter",
        undo: &["unload packet-filter"],
    }
    .check();
}

#[test]
fn load_with_what_it_needs() {
    Case {
        before: &[],
        command: "load limit",
        undo: &["unload limit"],
    }
    .check();
}

#[test]
fn unload_with_what_only_it_needed() {
    Case {
        before: &["attach trail1 HERE", "load base", "load limit"],
        command: "unload limit",
        undo: &["load limit"],
    }
    .check();
}

#[test]
fn load_again() {
    Case {
        before: &["load trail1"],
        command: "load trail1",
        undo: &["unload trail1"],
    }
    .check();
}

#[test]
fn unload() {
    let before = &["attach trail2 HERE", "load packet-filter"];
    Case {
        before,
        command: "unload packet-filter",
        undo: &["load packet-filter"],
    }
    .check();
}

#[test]
fn unload_one_of_two_requests() {
    Case {
        before: &["load trail1", "load trail1"],
        command: "unload trail1",
        undo: &["load trail1"],
    }
    .check();
}

#[test]
fn unload_what_is_attached() {
    Case {
        before: &[
            "attach trail2 HERE",
            "load trail1",
            "attach trail1 HERE --priority 10",
        ],
        command: "unload --force trail1",
        undo: &["load trail1", "attach trail1 HERE --priority 10"],
    }
    .check();
}

#[test]
fn load_a_copy() {
    Case {
        before: &["load trail1"],
        command: "load trail1 --instance lab",
        undo: &["unload trail1@lab"],
    }
    .check();
}

#[test]
fn load_with_an_init_program() {
    Case {
        before: &["attach trail2 HERE"],
        command: "load routine",
        undo: &["unload routine"],
    }
    .check();
}

#[test]
fn unload_with_an_exit_program() {
    Case {
        before: &["attach trail2 HERE", "load routine"],
        command: "unload routine",
        undo: &["load routine"],
    }
    .check();
}

/// It waits until nothing of it is left, so whoever kills it before may find it leaving.
#[test]
fn unload_and_wait() {
    Case {
        before: &[
            "attach trail2 HERE",
            "load trail1",
            "attach trail1 HERE --priority 10",
            "attach trail1 HERE --hook interface/out",
        ],
        command: "unload --wait trail1",
        undo: &[
            "load trail1",
            "attach trail1 HERE --priority 10",
            "attach trail1 HERE --hook interface/out",
        ],
    }
    .check();
}

#[test]
fn unload_and_wait_with_an_exit_program() {
    Case {
        before: &[
            "attach trail2 HERE",
            "load routine",
            "attach routine HERE --priority 10",
        ],
        command: "unload --wait routine",
        undo: &["load routine", "attach routine HERE --priority 10"],
    }
    .check();
}
