//! Extensions by clang and libbpf's conventions, which know nothing of nke: in a chain each does
//! exactly what it does alone.

use nke_tests::{Feature, Hook, Likeness, World, stranger, trail};

/// The same source for XDP and for both directions of traffic control.
#[track_caller]
fn on_every_hook(source: &str, program: &str, flags: &[&str], more: impl Fn(&mut Likeness<'_>)) {
    let tc_flags = [flags, &["-DTC"]].concat();
    let name = source.strip_suffix(".c").expect("a C source");
    for hook in Hook::ALL {
        let flags = if hook == Hook::Xdp { flags } else { &tc_flags };
        let object = stranger::object(source, name, flags);
        let mut likeness = Likeness::of(&object, program, hook);
        more(&mut likeness);
        likeness.check();
    }
}

#[track_caller]
fn everywhere(source: &str, program: &str, flags: &[&str]) {
    on_every_hook(source, program, flags, |_| ());
}

#[test]
fn every_verdict() {
    everywhere("verdicts.c", "verdicts", &[]);
}

#[test]
fn global_data() {
    everywhere("data.c", "data", &[]);
}

#[test]
fn static_subprograms() {
    everywhere("subprograms.c", "subprograms", &[]);
}

#[test]
fn global_functions() {
    everywhere("globals.c", "globals", &[]);
}

#[test]
fn bounded_loops_and_callbacks() {
    if !Feature::Loop.missing() {
        everywhere("loops.c", "loops", &[]);
    }
}

#[test]
fn open_coded_iterators() {
    if !Feature::OpenIterators.missing() {
        everywhere("iterators.c", "iterators", &[]);
    }
}

#[test]
fn kernel_functions() {
    if !Feature::PacketDynptr.missing() {
        everywhere("kfuncs.c", "kfuncs", &[]);
    }
}

#[test]
fn a_weak_kernel_function_that_is_not_there() {
    if !Feature::PacketDynptr.missing() {
        everywhere("kfuncs.c", "kfuncs", &["-DWEAK"]);
    }
}

#[test]
fn values_of_the_kernels_configuration() {
    everywhere("externs.c", "externs", &[]);
}

#[test]
fn timers() {
    everywhere("timers.c", "timed", &[]);
}

#[test]
fn co_re() {
    everywhere("core.c", "core", &[]);
}

#[test]
fn maps_that_hold_data() {
    if !Feature::Loop.missing() {
        // A ring's positions are not read as entries.
        everywhere("maps.c", "maps", &[]);
    }
}

#[test]
fn maps_that_hold_kernel_objects() {
    // These show the ids of what they hold.
    on_every_hook("kinds.c", "kinds", &[], |likeness| {
        likeness.incomparable = &["outer"]
    });
}

#[test]
fn own_tail_calls() {
    everywhere("tailcalls.c", "tailcalls", &[]);
}

#[test]
fn own_tail_calls_through_an_array_that_the_object_fills() {
    on_every_hook("tailcalls.c", "tailcalls", &["-DFILLED"], |likeness| {
        likeness.incomparable = &["jumps"];
    });
}

#[test]
fn a_stack_used_to_its_last_byte() {
    everywhere("stack.c", "stack", &[]);
}

#[test]
fn a_deep_stack_with_a_subprogram_below() {
    everywhere("stack.c", "stack", &["-DBELOW"]);
}

#[test]
fn a_packet_that_is_moved_about() {
    everywhere("adjust.c", "adjust", &[]);
}

#[test]
fn a_body_too_long_for_a_short_jump() {
    everywhere("long.c", "body", &[]);
}

#[test]
fn a_licence_that_is_not_the_gpl() {
    everywhere("verdicts.c", "verdicts", &["-DLICENSE=\"Proprietary\""]);
}

#[test]
fn several_programs_in_one_object() {
    for program in ["alpha", "beta", "gamma"] {
        everywhere("several.c", program, &[]);
    }
}

#[test]
fn a_program_that_calls_another_program() {
    let reference = |tc: &[&'static str]| {
        stranger::object(
            "calls_program.c",
            "calls_program",
            &[&["-DREFERENCE"], tc].concat(),
        )
    };
    for hook in Hook::ALL {
        let tc: &[&str] = if hook == Hook::Xdp { &[] } else { &["-DTC"] };
        let object = stranger::object("calls_program.c", "calls_program", tc);
        let reference = reference(tc);
        Likeness {
            reference: &reference,
            ..Likeness::of(&object, "caller", hook)
        }
        .check();
    }
}

#[test]
fn no_btf() {
    for hook in Hook::ALL {
        let tc: &[&str] = if hook == Hook::Xdp { &[] } else { &["-DTC"] };
        let object = stranger::object_without_btf("plain.c", "plain", tc);
        Likeness::of(&object, "plain", hook).check();
    }
}

#[test]
fn no_btf_and_maps_of_the_oldest_kind() {
    // libbpf has given up on those: what they do is compared with the same program without map.
    for hook in Hook::ALL {
        let tc: &[&str] = if hook == Hook::Xdp { &[] } else { &["-DTC"] };
        let object = stranger::object_without_btf("plain.c", "plain", &[tc, &["-DMAP"]].concat());
        let reference = stranger::object_without_btf("plain.c", "plain", tc);
        let mut likeness = Likeness {
            reference: &reference,
            ..Likeness::of(&object, "plain", hook)
        };
        likeness.only_in_nke = &["seen"];
        likeness.check();
    }
}

#[test]
fn packets_of_several_fragments() {
    if Feature::Frags.missing() {
        return;
    }
    let object = stranger::object("frags.c", "frags", &[]);
    let mut likeness = Likeness::of(&object, "frags", Hook::Xdp);
    likeness.neighbours = [1, 2].map(trail::frags);
    for (number, size) in [(1, 5000), (2, 9000), (3, 20000), (4, 60)] {
        let mut packet = trail::frame(number);
        packet.resize(size.max(packet.len()), 7);
        likeness.packets.push(packet);
    }
    likeness.check();
}

#[test]
fn every_section_name_of_the_interface_hooks() {
    let check = |section: &str, known: &str, tc: &[&'static str], hooks: &[Hook]| {
        let with = |section: &str| {
            let section = format!("-DSECTION=\"{section}\"");
            stranger::object("verdicts.c", "verdicts", &[tc, &[&section]].concat())
        };
        let (object, reference) = (with(section), with(known));
        for &hook in hooks {
            let mut likeness = Likeness::of(&object, "verdicts", hook);
            likeness.reference = &reference;
            if section.starts_with("xdp.frags") {
                likeness.neighbours = [1, 2].map(trail::frags);
            }
            likeness.check();
        }
    };
    for section in ["xdp", "xdp/name", "xdp.frags", "xdp.frags/name"] {
        if section.contains("frags") && Feature::Frags.missing() {
            return;
        }
        let known = if section.contains("frags") {
            "xdp.frags"
        } else {
            "xdp"
        };
        check(section, known, &[], &[Hook::Xdp]);
    }
    for section in ["tc", "classifier", "classifier/name", "action", "tc/name"] {
        check(section, "tc", &["-DTC"], &[Hook::In, Hook::Out]);
    }
    for section in ["tc/ingress", "tcx/ingress"] {
        check(section, "tc", &["-DTC"], &[Hook::In]);
    }
    for section in ["tc/egress", "tcx/egress"] {
        check(section, "tc", &["-DTC"], &[Hook::Out]);
    }
    for section in ["netkit/primary", "netkit/peer"] {
        check(section, "tc", &["-DTC"], &[Hook::In, Hook::Out]);
    }
}

#[test]
fn the_form_is_the_one_that_the_body_needs() {
    let world = World::new();
    for (source, program, form) in [
        ("verdicts.c", "verdicts", "inline"),
        ("maps.c", "maps", "inline"),
        ("subprograms.c", "subprograms", "inline"),
        ("loops.c", "loops", "inline"),
        ("tailcalls.c", "tailcalls", "stub"),
        ("long.c", "body", "stub"),
    ] {
        let object = stranger::object(source, program, &[]);
        world.attach(Hook::Xdp, &object, &["--program", program]);
        let chain = world.chain(Hook::Xdp).expect("the chain is there");
        assert_eq!(chain.node(program).form, form, "{source}");
    }
}
