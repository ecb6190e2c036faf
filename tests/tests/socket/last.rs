//! Who has the last word: programs of others on the same cgroup, and on one above it.
//!
//! The programs of others here undo every denial that comes before them (`bpf_set_retval(0)`).

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nke_tests::{Cgroup, Deadline, End, Feature, Objects, Ran, kernel, stranger, trace};

use crate::place::{Foreign, Place, deny, errno, inside, mark, watch};

const HOOKS: [(&str, u32, bool); 2] = [
    ("socket/connect4", 10, false),
    ("socket/connect6", 11, true),
];

/// `BPF_F_…` of uapi/linux/bpf.h.
const MULTI: u32 = 1 << 1;
const BEFORE: u32 = 1 << 3;
const AFTER: u32 = 1 << 4;
const PREORDER: u32 = 1 << 6;

/// Programs of another's, one for each of [`HOOKS`]: their pins and ids.
struct Theirs([(PathBuf, u32); 2]);

impl Theirs {
    fn load(place: &Place, name: &str, flags: &[&str]) -> Self {
        let all = place.world.reference().join(name);
        let object = stranger::object("undo.c", name, flags);
        let mut bpftool = Command::new("bpftool");
        Ran::of(bpftool.args(["prog", "loadall", &object]).arg(&all)).ok();
        Self(["theirs4", "theirs6"].map(|symbol| {
            let pin = all.join(symbol);
            let id = kernel::pinned_id(&pin).expect("bpftool has pinned it");
            (pin, id)
        }))
    }

    fn attach(&self, cgroup: &Cgroup, flags: u32) {
        for ((pin, _), (_, point, _)) in self.0.iter().zip(HOOKS) {
            let attached = cgroup.attach_foreign(pin, point, flags);
            attached.expect("the kernel takes it");
        }
    }

    fn detach(&self, cgroup: &Cgroup) {
        for ((pin, _), (_, point, _)) in self.0.iter().zip(HOOKS) {
            cgroup.detach_foreign(pin, point).expect("it is there");
        }
    }

    /// The only others at each hook are these, before the chain or behind it.
    #[track_caller]
    fn assert_shown(&self, place: &Place, before: bool, above: Option<&Cgroup>) {
        for ((_, program_id), (hook, _, v6)) in self.0.iter().zip(HOOKS) {
            let foreign = Foreign {
                program_id: *program_id,
                name: if v6 { "theirs6" } else { "theirs4" }.to_owned(),
                how: "cgroup".to_owned(),
                before,
                above: above.map(|cgroup| cgroup.path().to_owned()),
            };
            assert_eq!(place.chain(hook).foreign, [foreign]);
        }
    }
}

/// Whether a marked socket's connection is denied; it must be so for both families or for none.
#[track_caller]
fn is_denied(place: &Place) -> bool {
    let denied = HOOKS.map(|(_, _, v6)| {
        let udp = place.udp(v6);
        mark(&udp);
        let connected = udp.connect(inside(v6, 7));
        connected.is_err() && errno(connected) == libc::EPERM
    });
    assert_eq!(denied[0], denied[1]);
    denied[0]
}

/// A change of both chains that changes nothing.
fn touch(place: &Place) {
    for (hook, ..) in HOOKS {
        place.nke(&["policy", "pass", "--hook", hook]).ok();
    }
}

#[test]
fn those_before_cannot_undo_a_denial() {
    let place = Place::new();
    let theirs = Theirs::load(&place, "undo", &[]);
    theirs.attach(&place.cgroup, MULTI);
    let shown = place.chains("socket/connect");
    assert!(
        shown
            .iter()
            .all(|c| c.mode.is_none() && !c.foreign[0].before)
    );
    place.attach("socket/connect", &deny());
    assert!(is_denied(&place));
    theirs.assert_shown(&place, true, None);
    let text = place.nke(&["chain"]).ok().stdout;
    let line = format!("cgroup program {} (theirs4), not nke's", theirs.0[0].1);
    let at = |what: &str| text.find(what).unwrap_or_else(|| nke_tests::fail(&text));
    assert!(at(&line) < at("deny"), "{text}");
    theirs.detach(&place.cgroup);
}

#[test]
fn those_behind_can_until_the_chain_is_changed() {
    let place = Place::new();
    place.attach("socket/connect", &deny());
    assert!(is_denied(&place));
    let theirs = Theirs::load(&place, "undo", &[]);
    theirs.attach(&place.cgroup, MULTI);
    theirs.assert_shown(&place, false, None);
    assert!(!is_denied(&place), "the kernel lets them");
    let before: Vec<_> = HOOKS.map(|(hook, ..)| place.chain(hook).nodes).into();
    let old = Objects::pinned_below(&place.world.state());

    touch(&place);
    assert!(is_denied(&place));
    theirs.assert_shown(&place, true, None);
    // The nodes are the same, and have counted on.
    for (nodes, (hook, ..)) in before.iter().zip(HOOKS) {
        let now = place.chain(hook).nodes;
        assert_eq!(now[0].program_id, nodes[0].program_id);
        assert_eq!(place.tallies(hook), [(0, 3)]);
    }
    let now = Objects::pinned_below(&place.world.state());
    old.without(&now).assert_gone();
    assert_eq!(now.count(), old.count());

    // One change after the other: each goes behind those that have come.
    place.attach("socket/connect", &watch("first"));
    let links = |place: &Place| Objects::pinned_below(&place.world.state());
    let unmoved = links(&place);
    touch(&place);
    assert_eq!(links(&place), unmoved, "nobody has come in between");
    for (pin, (_, point, _)) in theirs.0.iter().map(|(pin, _)| pin).zip(HOOKS) {
        place
            .cgroup
            .detach_foreign(pin, point)
            .expect("it is there");
    }
    theirs.attach(&place.cgroup, MULTI);
    place
        .nke(&["detach", "first", "--hook", "socket/connect"])
        .ok();
    assert!(is_denied(&place));
    place
        .nke(&["detach", "deny", "--hook", "socket/connect"])
        .ok();
    assert!(!is_denied(&place));
    assert!(!place.world.is_mounted());
    now.assert_gone();
    theirs.detach(&place.cgroup);
}

#[test]
fn those_in_front_by_their_own_wish() {
    if Feature::CgroupOrder.missing() {
        return;
    }
    let place = Place::new();
    place.attach("socket/connect", &deny());
    let theirs = Theirs::load(&place, "undo", &[]);
    for (flags, before) in [(BEFORE, true), (PREORDER, true), (AFTER, false)] {
        theirs.attach(&place.cgroup, MULTI | flags);
        theirs.assert_shown(&place, before, None);
        assert_eq!(is_denied(&place), before);
        touch(&place);
        theirs.assert_shown(&place, true, None);
        assert!(is_denied(&place));
        theirs.detach(&place.cgroup);
    }
}

#[test]
fn those_above_can_unless_the_chain_is_there() {
    let mut place = Place::new();
    let parent = std::mem::replace(&mut place.cgroup, Cgroup::new());
    place.cgroup = parent.child();
    let theirs = Theirs::load(&place, "undo", &[]);
    theirs.attach(&parent, MULTI);
    place.attach("socket/connect", &deny());
    theirs.assert_shown(&place, false, Some(&parent));
    assert!(!is_denied(&place), "the kernel runs them after all below");
    touch(&place);
    assert!(!is_denied(&place));
    let text = place.nke(&["chain"]).ok().stdout;
    let of = format!(
        "cgroup program {} (theirs4) of {}, not nke's",
        theirs.0[0].1,
        parent.path()
    );
    assert!(text.contains(&of), "{text}");

    // A chain of the cgroup above runs behind them, and is not shown as another's.
    for (hook, ..) in HOOKS {
        let words = ["attach", &deny(), "--hook", hook, "--cgroup", parent.path()];
        place.world.nke(&words).ok();
    }
    assert!(is_denied(&place));
    theirs.assert_shown(&place, false, Some(&parent));
    theirs.detach(&parent);
    place
        .nke(&["detach", "deny", "--hook", "socket/connect"])
        .ok();
    assert!(is_denied(&place), "the cgroup above denies for those below");
    let words = [
        "detach",
        "deny",
        "--hook",
        "socket/connect",
        "--cgroup",
        parent.path(),
    ];
    place.world.nke(&words).ok();
    assert!(!is_denied(&place));
    drop(place);
    drop(parent);
}

/// Some allow no other program beside them, nor on cgroups below.
#[test]
fn those_that_stand_no_others() {
    let mut place = Place::new();
    let parent = std::mem::replace(&mut place.cgroup, Cgroup::new());
    place.cgroup = parent.child();
    let theirs = Theirs::load(&place, "undo", &[]);
    for cgroup in [&place.cgroup, &parent] {
        theirs.attach(cgroup, 0);
        let line = format!(
            "nke: socket/connect4 of {}: attach: a program that is not nke's, there or on a cgroup \
             above, allows no other beside it; `bpftool cgroup tree` shows it\n",
            place.cgroup.path()
        );
        let words = ["attach", &deny(), "--hook", "socket/connect"];
        let words = [&words[..], &["--cgroup", place.cgroup.path()]].concat();
        place.world.refuses(&words, &line);
        theirs.detach(cgroup);
    }
    assert!(!place.world.is_mounted());
    drop(place);
    drop(parent);
}

/// There is no moment without the chain while it goes to the end of the list.
#[test]
fn no_call_slips_through_while_the_chain_moves() {
    let place = Place::new();
    place.attach("socket/connect", &deny());
    let quiet = Theirs::load(&place, "quiet", &["-DQUIET"]);
    let done = AtomicBool::new(false);
    let (first, calls) = thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut calls = 0u64;
            while !done.load(Ordering::Relaxed) {
                assert!(is_denied(&place));
                calls += 1;
            }
            calls
        });
        let first = Objects::pinned_below(&place.world.state());
        for _ in 0..20 {
            quiet.attach(&place.cgroup, MULTI);
            touch(&place);
            quiet.assert_shown(&place, true, None);
            quiet.detach(&place.cgroup);
        }
        done.store(true, Ordering::Relaxed);
        (first, caller.join().expect("every call was denied"))
    });
    assert!(calls > 0);
    // A call in the moment of a move may meet the chain twice; none meets it not at all.
    for (hook, ..) in HOOKS {
        let (_, denied) = place.tallies(hook)[0];
        assert!(
            (calls..=calls + 20).contains(&denied),
            "{denied} of {calls}"
        );
    }
    let now = Objects::pinned_below(&place.world.state());
    assert_eq!(now.count(), first.count());
}

/// Killed at any point of the move, a command leaves the chain in force, and the next command takes
/// away what is there twice.
#[test]
fn a_move_that_is_killed_leaves_the_chain() {
    let place = Place::new();
    place.attach("socket/connect", &deny());
    let theirs = Theirs::load(&place, "undo", &[]);
    let pinned = || Objects::pinned_below(&place.world.state()).count();
    let before = pinned();
    let words = ["policy", "pass", "--hook", "socket/connect4", "--cgroup"];
    let command = || {
        let words = [&words[..], &[place.cgroup.path()]].concat();
        place.world.command(&words)
    };
    let mut kills = 0;
    let mut moved = [0, 0];
    loop {
        // Their programs come behind the chains.
        theirs.attach(&place.cgroup, MULTI);
        let mut left = kills;
        let killed = trace(&mut command(), |call| {
            let here = call.changes_the_world() && left == 0;
            left -= usize::from(call.changes_the_world() && left > 0);
            here
        });
        // Where the chain was or behind them, and once.
        let shown = || {
            let foreign = place.chain("socket/connect4").foreign;
            foreign.len() == 1 && foreign[0].program_id == theirs.0[0].1
        };
        assert!(Deadline::generous().until(shown), "killed at {kills}");
        moved[usize::from(place.chain("socket/connect4").foreign[0].before)] += 1;
        theirs.detach(&place.cgroup);
        assert!(is_denied(&place), "killed at {kills}");
        assert_eq!(pinned(), before, "killed at {kills}");
        if killed.end != End::Killed {
            assert_eq!(killed.end, End::Exited(0), "{}", killed.stderr);
            break;
        }
        kills += 1;
    }
    assert!(
        kills > 5 && moved[0] > 0 && moved[1] > 1,
        "{kills} {moved:?}"
    );
}
