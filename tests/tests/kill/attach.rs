//! `nke attach` and `nke detach`.

use crate::Case;

#[test]
fn attach_the_first() {
    Case {
        before: &[],
        command: "attach trail1 HERE",
        undo: &["detach trail1"],
    }
    .check();
}

#[test]
fn attach_the_first_at_traffic_control() {
    let command = "attach trail1 HERE --hook interface/in";
    Case {
        before: &[],
        command,
        undo: &["detach trail1"],
    }
    .check();
}

/// A chain at the IP layer, with a place of its own.
const ATTACH_IP: &str = "attach counter NETNS --hook ip/in --netfilter-priority raw --defrag";
const DETACH_IP: &str = "detach counter NETNS";

#[test]
fn attach_the_first_at_the_ip_layer() {
    Case {
        // The hook's directory stays until the last chain of all has gone.
        before: &["attach trail1 HERE", ATTACH_IP, DETACH_IP],
        command: ATTACH_IP,
        undo: &[DETACH_IP],
    }
    .check();
}

#[test]
fn detach_the_last_at_the_ip_layer() {
    Case {
        before: &["attach trail1 HERE", ATTACH_IP],
        command: DETACH_IP,
        undo: &[ATTACH_IP],
    }
    .check();
}

#[test]
fn attach_between_others() {
    Case {
        before: &[
            "attach trail1 HERE --hook interface/out",
            "attach trail2 HERE --hook interface/out",
        ],
        command: "attach trail3 HERE --hook interface/out --before trail2",
        undo: &["detach trail3"],
    }
    .check();
}

#[test]
fn attach_what_is_loaded_at_the_end() {
    Case {
        before: &["load trail3", "attach trail1 HERE", "policy drop HERE"],
        command: "attach trail3 HERE",
        undo: &["detach trail3"],
    }
    .check();
}

#[test]
fn attach_with_maps_of_its_own() {
    Case {
        before: &["attach trail1 HERE"],
        command: "attach packet-filter HERE --priority 10",
        undo: &["detach packet-filter"],
    }
    .check();
}

#[test]
fn attach_what_makes_the_chain_give_up_fragments() {
    Case {
        before: &["attach frags1 HERE", "attach frags2 HERE"],
        command: "attach trail3 HERE --after frags1",
        undo: &["detach trail3"],
    }
    .check();
}

#[test]
fn detach_one_of_several() {
    Case {
        before: &[
            "attach trail1 HERE",
            "attach trail2 HERE",
            "attach trail3 HERE",
        ],
        command: "detach trail2",
        undo: &["attach trail2 HERE --after trail1"],
    }
    .check();
}

#[test]
fn detach_the_last() {
    let before = &["attach trail1 HERE"];
    Case {
        before,
        command: "detach trail1",
        undo: &["attach trail1 HERE"],
    }
    .check();
}

#[test]
fn detach_the_last_at_traffic_control() {
    let before = &["attach trail1 HERE --hook interface/in"];
    Case {
        before,
        command: "detach trail1",
        undo: before,
    }
    .check();
}

#[test]
fn attach_with_some_of_what_it_needs() {
    Case {
        before: &["attach trail1 HERE", "load base"],
        command: "attach limit HERE",
        undo: &["detach limit"],
    }
    .check();
}

#[test]
fn detach_with_what_only_it_needed() {
    Case {
        before: &["attach limit HERE"],
        command: "detach limit",
        undo: &["attach limit HERE"],
    }
    .check();
}
