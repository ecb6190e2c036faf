//! What is changed in place: `nke disable`, `enable`, `replace`, `move`, `policy`.

use crate::Case;

#[test]
fn disabling() {
    Case {
        before: &["attach trail1 HERE", "attach trail2 HERE"],
        command: "disable trail1",
        undo: &["enable trail1"],
    }
    .check();
}

#[test]
fn enabling() {
    Case {
        before: &["attach trail1 HERE", "disable trail1"],
        command: "enable trail1",
        undo: &["disable trail1"],
    }
    .check();
}

#[test]
fn replace() {
    Case {
        before: &[
            "attach trail1 HERE",
            "attach trail2 HERE",
            "attach trail3 HERE",
        ],
        command: "replace trail2 trail9",
        undo: &["replace trail9 trail2"],
    }
    .check();
}

#[test]
fn replace_the_only_one() {
    Case {
        before: &["attach trail1 HERE --hook interface/in"],
        command: "replace trail1 trail9",
        undo: &["replace trail9 trail1"],
    }
    .check();
}

#[test]
fn move_over_others() {
    Case {
        before: &[
            "attach trail1 HERE --priority 10",
            "attach trail2 HERE --priority 20",
            "attach trail3 HERE --priority 30",
            "attach trail4 HERE --priority 40",
        ],
        command: "move trail1 --priority 35",
        undo: &["move trail1 --priority 10"],
    }
    .check();
}

#[test]
fn policy_of_no_chain() {
    Case {
        before: &[],
        command: "policy drop HERE --hook interface/xdp",
        undo: &["policy pass HERE --hook interface/xdp"],
    }
    .check();
}

#[test]
fn policy_of_a_chain() {
    Case {
        before: &[
            "attach trail1 HERE",
            "attach trail2 HERE",
            "policy drop HERE",
        ],
        command: "policy pass HERE",
        undo: &["policy drop HERE"],
    }
    .check();
}
