//! Rejected packets on the wire: who sent them is told at once, by errors that his kernel believes. And redirected ones: they
//! leave by the other interface.

use std::{fs, io::ErrorKind};

use nke_tests::{
    Hook, IFACE, Tap, World,
    frame::{Frame, Ip},
    told, udp_arrives,
};
use serde_json::Value;

/// Puts rules in the place of all.
#[track_caller]
fn load(world: &World, hook: Hook, rules: &str) {
    let file = world.directory().join("rules");
    fs::write(&file, rules).expect("the directory is ours");
    let file = file.display().to_string();
    world.at(hook, &["filter", "load", &file]).ok();
}

const REFUSED: Option<ErrorKind> = Some(ErrorKind::ConnectionRefused);

#[track_caller]
fn refuses(world: &World, hook: Hook) {
    let out = hook == Hook::Out;
    let way = if out { "out" } else { "in" };
    load(
        world,
        hook,
        &format!(
            "reject {way} to any port 60\nreject with admin-prohibited {way} to any port 61\n\
             reject with port-unreachable {way} to any port 62\n"
        ),
    );
    for v6 in [false, true] {
        assert_eq!(told(world, out, v6, 60), [REFUSED; 2], "{hook:?}, {v6}");
        // Of the errors that a socket of UDP is told, this is the one beside port-unreachable.
        let prohibited = if v6 {
            ErrorKind::PermissionDenied
        } else {
            ErrorKind::HostUnreachable
        };
        let prohibited = [Some(prohibited); 2];
        assert_eq!(told(world, out, v6, 61), prohibited, "{hook:?}, {v6}");
        assert_eq!(told(world, out, v6, 62), [REFUSED; 2], "{hook:?}, {v6}");
    }
    let all: Value = world.at(hook, &["filter", "list", "--json"]).json();
    for rule in all["filters"][0]["rules"].as_array().expect("a list") {
        assert!(rule["packets"].as_u64() >= Some(4), "{rule}");
    }
    assert_eq!(all["filters"][0]["rules"][1]["rule"], {
        let rule = format!("reject with admin-prohibited {way} to any port 61");
        Value::from(rule)
    });
}

#[test]
fn a_program_is_told_at_once() {
    for hook in Hook::ALL {
        let world = World::with_addresses();
        world.attach(hook, "packet-filter", &[]);
        if hook == Hook::Xdp {
            // A veth is woken by answers of XDP only if it has a program of its own.
            let outside = ["--netns", world.outside.name(), "-i", IFACE];
            let words = ["attach", "packet-filter", "--hook", hook.name()];
            world.nke(&[&words[..], &outside].concat()).ok();
        }
        refuses(&world, hook);
    }
}

#[test]
fn so_it_is_told_by_generic_xdp() {
    let world = World::with_addresses();
    world.attach(Hook::Xdp, "packet-filter", &["--mode", "generic"]);
    refuses(&world, Hook::Xdp);
}

/// What the sender left to be summed up is right, whether or not somebody does so on the way back.
#[test]
fn an_answer_is_right_that_is_summed_up_late() {
    let world = World::with_addresses();
    world.sum_up_inside();
    world.attach(Hook::In, "packet-filter", &[]);
    refuses(&world, Hook::In);
}

#[test]
fn what_cannot_answer_refuses_the_rule() {
    let world = World::with_addresses();
    let place = ["--netns", world.inside.name(), "--hook", "ip/in"];
    let nke = |words: &[&str]| world.nke(&[words, &place].concat());
    nke(&["attach", "packet-filter"]).ok();
    nke(&["filter", "add", "drop in proto udp to any port 60"]).ok();
    let before = nke(&["filter", "list"]).ok().stdout;
    let error = nke(&["filter", "add", "reject in proto tcp"]).fails("rule-not-there");
    assert!(error.contains("telling the sender"), "{error}");
    let file = world.directory().join("rules");
    fs::write(&file, "pass inet\nreject with no-route").expect("the directory is ours");
    let file = file.display().to_string();
    let error = nke(&["filter", "load", &file]).fails("rule-not-there");
    assert!(error.contains("reject with no-route"), "{error}");
    assert_eq!(nke(&["filter", "list"]).ok().stdout, before);
    assert_eq!(udp_arrives(&world, false, &[60, 61]), [false, true]);
}

#[test]
fn a_rejected_packet_comes_and_goes_in_edits() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    // More than a few, so that there are trees and edits in place.
    let others: Vec<String> = (0..9)
        .map(|port| format!("drop in proto udp to any port {port}"))
        .collect();
    load(&world, Hook::In, &others.join("\n"));
    let rule = "reject with admin-prohibited in proto udp to any port 60";
    let edit = |words: &[&str]| world.at(Hook::In, words).ok();
    for _ in 0..3 {
        edit(&["filter", "add", "--at", "4", rule]);
        let listed = edit(&["filter", "list"]).stdout;
        assert!(listed.contains(rule), "{listed}");
        let [_, udp] = told(&world, false, false, 60);
        assert_eq!(udp, Some(ErrorKind::HostUnreachable));
        edit(&["filter", "delete", "4"]);
        assert_eq!(udp_arrives(&world, false, &[60, 61]), [true, true]);
    }
}

/// Makes `rd0` inside, with an end outside that takes frames of XDP.
fn wire(world: &World) -> Tap {
    let outside = world.outside.name();
    let add = format!("link add rd0 type veth peer rd1 netns {outside}");
    world.inside.ip(&add);
    world.inside.ip("link set rd0 up");
    world.outside.ip("link set rd1 up");
    let place = ["-i", "rd1", "--netns", outside, "--hook", "interface/xdp"];
    let attach = ["attach", "packet-filter"];
    world.nke(&[&attach[..], &place].concat()).ok();
    Tap::open(&world.outside, "rd1")
}

#[test]
fn what_is_redirected_leaves_by_the_other_interface() {
    for hook in Hook::ALL {
        let world = World::with_addresses();
        world.attach(hook, "packet-filter", &[]);
        let nke = |words: &[&str]| world.at(hook, words);
        let rule = "redirect to rd0 proto udp to any port 60";
        let error = nke(&["filter", "add", rule]).fails("rule-no-interface");
        assert!(error.contains("there is no interface rd0"), "{error}");
        let (sender, frame) = if hook == Hook::Out {
            (world.tap_inside(), Frame::from_inside())
        } else {
            (world.tap_outside(), Frame::from_outside())
        };
        let frame = frame.ip(&Ip::new("10.7.0.1", "10.7.0.2").udp(1, 60, b"this way"));
        let others: Vec<String> = (0..9)
            .map(|port| format!("drop proto udp to any port {port}"))
            .collect();
        let rules = format!("{}\n{rule}\n", others.join("\n"));
        // The second one has another index.
        for round in 1..=2 {
            let other = wire(&world);
            load(&world, hook, &rules);
            sender.send(&frame);
            drop(other.expect("what is redirected", |found| found == frame));
            let all: Value = nke(&["filter", "list", "--json"]).json();
            let last = &all["filters"][0]["rules"][9];
            assert_eq!(last["rule"], rule);
            assert_eq!(last["packets"], round, "{hook:?}");
            world.inside.ip("link delete rd0");
        }
    }
}

#[test]
fn at_the_ip_layer_nothing_is_redirected() {
    let world = World::with_addresses();
    let place = ["--netns", world.inside.name(), "--hook", "ip/in"];
    let nke = |words: &[&str]| world.nke(&[words, &place].concat());
    nke(&["attach", "packet-filter"]).ok();
    let rule = format!("redirect to {IFACE} in");
    let error = nke(&["filter", "add", &rule]).fails("rule-not-there");
    assert!(error.contains("sending by an interface"), "{error}");
}
