//! `nke upgrade` and `nke rollback` of what has init and exit programs; those of three chains at once
//! are in `tests/upgrade`.

use crate::Case;

const BEFORE: &[&str] = &[
    "attach trail2 HERE",
    "load routine",
    "attach routine HERE --priority 10",
];

#[test]
fn upgrade_with_an_init_program() {
    Case {
        before: BEFORE,
        command: "upgrade ./v2/routine.o",
        undo: &["rollback routine"],
    }
    .check();
}

#[test]
fn rollback_with_an_init_program() {
    Case {
        before: &[
            "attach trail2 HERE",
            "load routine",
            "attach routine HERE --priority 10",
            "upgrade ./v2/routine.o",
        ],
        command: "rollback routine",
        undo: &["upgrade ./v2/routine.o"],
    }
    .check();
}
