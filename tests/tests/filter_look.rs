//! `nke filter check`, `explain`, `optimise` and `import`: rules looked at, and nothing changed.

use std::{fs, path::PathBuf};

use nke_tests::{Hook, IFACE, World};
use serde_json::{Value, json};

/// A file of a test's own.
fn file(world: &World, name: &str, text: &str) -> String {
    let path: PathBuf = world.directory().join(name);
    fs::write(&path, text).expect("the directory is the test's");
    path.into_os_string().into_string().expect("it is ASCII")
}

#[test]
fn check_shows_every_mistake() {
    let world = World::new();
    let good = file(&world, "good", "default drop\npass proto { tcp, udp }\n");
    let said = world.nke(&["filter", "check", &good]).ok().stdout;
    assert_eq!(said, format!("{good}: 2 rules, default drop\n"));

    let bad = file(&world, "bad", "pas\npass\ndrop frm any\n");
    let told = world
        .nke(&["filter", "check", &bad])
        .fails("malformed-rules");
    assert!(
        told.contains(
            "line 1, column 1: expected `set`, `default`, `pass`, `drop`, `reject`, `redirect`, `count` or `mark`"
        ),
        "{told}"
    );
    assert!(
        told.contains("did you mean `from`?\n    drop frm any\n         ^^^"),
        "{told}"
    );
    assert!(told.contains("2 of its lines are no rules"), "{told}");
    let ran = world.nke(&["filter", "check", "--json", &bad]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_eq!(report["rules"], Value::Null);
    let places: Vec<_> = [0, 1].map(|at| &report["mistakes"][at]["line"]).into();
    assert_eq!(places, [&json!(1), &json!(3)]);
    assert!(ran.exited_with("malformed-rules"), "{ran:?}");

    let calls = file(&world, "calls", "drop bind port 80\n");
    world.nke(&["guard", "check", &calls]).ok();
    let told = world
        .nke(&["filter", "check", &calls])
        .fails("malformed-rules");
    assert!(told.contains("use `nke guard`"), "{told}");
    assert!(!world.is_mounted(), "to look at a file leaves no state");
}

#[test]
fn check_shows_no_more_mistakes_than_anybody_reads() {
    let world = World::new();
    let bad = file(&world, "bad", &"drp\n".repeat(5000));
    let told = world
        .nke(&["filter", "check", &bad])
        .fails("malformed-rules");
    assert_eq!(told.matches("column 1").count(), 100);
    assert!(told.contains("and 4900 more mistakes\n"), "{told}");
    assert!(told.contains("5000 of its lines are no rules"), "{told}");
    let ran = world.nke(&["filter", "check", "--json", &bad]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_eq!(report["mistakes"].as_array().map(Vec::len), Some(100));
    assert_eq!(report["more_mistakes"], 4900);
}

#[test]
fn check_reads_the_files_of_members() {
    let world = World::new();
    let wrong = file(&world, "wrong", "192.0.2.1\n10/8\n");
    let other = file(&world, "other", "http\n");
    let sets = "set a addresses from \"wrong\"\nset b addresses from \"other\"\n\
                set c ports from \"nowhere\"\n";
    let rules = file(&world, "rules", &format!("{sets}drop from @a\n"));
    let ran = world.nke(&["filter", "check", "--json", &rules]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    let mistakes = &report["mistakes"];
    let place = ["file", "line", "column", "width"].map(|key| &mistakes[0][key]);
    assert_eq!(place, [&json!(wrong), &json!(2), &json!(1), &json!(4)]);
    assert_eq!(mistakes[0]["text"], "10/8");
    assert_eq!(mistakes[1]["file"], json!(other));
    let nowhere = mistakes[2]["problem"].as_str().expect("it is told");
    assert!(nowhere.contains("nowhere"), "{nowhere}");
    assert_eq!(report["rules"], 1);
    assert_ne!(ran.code, Some(0));
    let (_, told) = world.nke(&["filter", "check", &rules]).fails_somehow();
    for origin in [&wrong, &other, "nowhere"] {
        assert!(told.contains(origin), "{told}");
    }

    // Beside what is no rule.
    let both = file(
        &world,
        "both",
        "drop frm any\nset a addresses from \"wrong\"\n",
    );
    let told = world
        .nke(&["filter", "check", &both])
        .fails("malformed-rules");
    assert!(told.contains("drop frm any\n         ^^^"), "{told}");
    assert!(told.contains("    10/8\n    ^^^^"), "{told}");
    let ran = world.nke(&["filter", "check", "--json", &both]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    let files = [0, 1].map(|at| &report["mistakes"][at]["file"]);
    assert_eq!(files, [&json!(both), &json!(wrong)]);
    assert!(ran.exited_with("malformed-rules"), "{ran:?}");
}

#[test]
fn files_of_other_editors_are_read_or_refused_clearly() {
    let world = World::new();
    let check = |bytes: &[u8]| {
        let path = world.directory().join("rules");
        fs::write(&path, bytes).expect("the directory is the test's");
        let path = path.into_os_string().into_string().expect("it is ASCII");
        world.nke(&["filter", "check", &path])
    };
    check(b"\xef\xbb\xbfdefault drop\r\npass in\r\n").ok();
    let told = check(b"drop in\npass # caf\xe9\n").fails("malformed-rule");
    assert!(told.contains("line 2, column 11: the byte 0xe9"), "{told}");
    let told = check(b"\xff\xfed\0r\0o\0p\0").fails("malformed-rule");
    assert!(told.contains("UTF-16"), "{told}");
    let told = check(b"pass in tcp dport 22\n").fails("malformed-rules");
    let meant = "did you mean `pass in proto tcp to any port 22`?\n";
    assert!(told.contains(meant), "{told}");
    let long = format!("drop {}\n", "x".repeat(100_000));
    let told = check(long.as_bytes()).fails("malformed-rules");
    assert!(told.len() < 1000, "{}", told.len());
}

#[test]
fn check_refuses_what_load_would_refuse_anywhere() {
    let world = World::new();
    let check = |text: &str| {
        let rules = file(&world, "rules", text);
        world.nke(&["filter", "check", &rules])
    };
    let expressions: String = (0..65)
        .map(|at| format!("drop expr 'tcp[{at}] = 1'\n"))
        .collect();
    let alike: String = (0..700).map(|it| format!("drop length {it}\n")).collect();
    let limits: String = (0..4097)
        .map(|it| {
            format!(
                "drop in from 10.0.{}.{} limit over 5/s\n",
                it / 256,
                it % 256
            )
        })
        .collect();
    let sets: String = (0..1025)
        .map(|it| format!("set s{it} ports {{ }}\n"))
        .collect();
    let lengths: Vec<_> = (1..10).map(|it| format!("10.0.0.0/{it}")).collect();
    let lengths = format!("set a addresses timeout 1h {{ {} }}", lengths.join(", "));
    for (text, code) in [
        (expressions.as_str(), "expressions-full"),
        (&alike, "rules-full"),
        (&limits, "limits-full"),
        (&sets, "many-sets"),
        (&lengths, "set-too-large"),
        ("reject in proto tcp\ndrop out\n", "rule-never-matches"),
        (
            "set web ports { 80 }\npass\ndrop from @web\n",
            "malformed-rules",
        ),
    ] {
        drop(check(text).fails(code));
    }
    let told = check("set web ports { 80 }\ndrop from { ::1, @web }\n").fails("malformed-rules");
    let marked = "    drop from { ::1, @web }\n                     ^^^^\n";
    assert!(told.contains("line 2, column 18"), "{told}");
    assert!(told.contains(marked), "{told}");
    drop(check("reject out\ndrop in\n").fails_somehow());

    // What sets there are is known where the filter is loaded.
    let told = check("drop from @office\n").ok().stderr;
    assert!(
        told.contains("not checked whether there is @office"),
        "{told}"
    );
    world
        .nke(&["filter", "set", "create", "office", "addresses"])
        .ok();
    check("drop from @office\n").ok();
    for (text, code) in [
        ("drop from @ofice\n", "no-set"),
        ("drop to any port @office\n", "set-kind"),
        ("set office ports { }\n", "set-exists"),
    ] {
        let told = check(text).fails(code);
        assert!(told.contains("rules: line 1, column "), "{told}");
    }
    let rules = file(&world, "rules", "pass\ndrop to any port @office\n");
    let ran = world.nke(&["filter", "check", "--json", &rules]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    let place = ["file", "line", "column", "width"].map(|key| &report["mistakes"][0][key]);
    assert_eq!(place, [&json!(rules), &json!(2), &json!(18), &json!(7)]);
    check("set home ports { }\ndrop from @office port @home\n").ok();
}

#[test]
fn check_says_where_what_load_would_refuse_stands() {
    let world = World::new();
    let check = |text: &str| {
        let rules = file(&world, "rules", text);
        world.nke(&["filter", "check", &rules])
    };
    let lengths: Vec<_> = (1..10).map(|it| format!("10.0.0.0/{it}")).collect();
    let lengths = format!("set a addresses timeout 1h {{ {} }}", lengths.join(", "));
    let told = check("pass\nreject in proto tcp\ndrop out\n").fails("rule-never-matches");
    assert!(
        told.contains("rules: line 3, column 1: no hook takes all"),
        "{told}"
    );
    assert!(told.ends_with("    drop out\n    ^^^^^^^^\n"), "{told}");
    let told = check(&format!("pass\n{lengths}\n")).fails("set-too-large");
    assert!(told.contains("rules: line 2, column 5: set a: "), "{told}");
    let rules = file(&world, "rules", "pass\nset a ports from \"nowhere\"\n");
    let told = world.nke(&["filter", "check", &rules]).fails("read");
    assert!(told.contains("rules: line 2: "), "{told}");
}

#[test]
fn explain_knows_the_mark_that_a_rule_has_set() {
    let world = World::new();
    let rules = "mark 7 in proto udp to any port 5001\ndrop in mark 7\ndrop in mark 8\n";
    let rules = file(&world, "rules", rules);
    let explain = ["filter", "explain", "--file", &rules];
    let said = |packet: &str, more: &[&str]| {
        let words = [&explain[..], &[packet], more].concat();
        world.nke(&words).ok().stdout
    };
    let told = said("udp 10.0.0.1:1 > 10.0.0.2:5001", &["-v"]);
    assert_eq!(
        told,
        format!(
            "rule 1 (line 1): mark 0x7 in proto udp to any port 5001\n\
             {rules}: drop by rule 2 (line 2): drop in mark 0x7\n"
        )
    );
    let told = said("udp 10.0.0.1:1 > 10.0.0.2:5002 mark 9", &["-v"]);
    assert!(told.contains("    mark: 0x9, not 0x8\n"), "{told}");
    assert!(told.contains("pass by default"), "{told}");
}

#[test]
fn explain_names_the_rule_that_decides() {
    let world = World::new();
    let rules = "pass in proto icmp\ndrop in proto tcp from 10.0.0.0/8 to any port 22\n";
    let rules = file(&world, "rules", &format!("# a comment\n{rules}"));
    let packet = "tcp 10.1.2.3:999 > 10.0.0.1:22";
    let explain = ["filter", "explain", "--file", &rules, packet];
    let rule = "drop in proto tcp from 10.0.0.0/8 to any port 22";
    assert_eq!(
        world.nke(&explain).ok().stdout,
        format!("{rules}: drop by rule 2 (line 3): {rule}\n")
    );
    let all = world.nke(&[&explain[..], &["-v"]].concat()).ok().stdout;
    assert!(
        all.starts_with("rule 1 (line 2): pass in proto icmp\n    protocol: tcp, not icmp\n"),
        "{all}"
    );
    let half = ["filter", "explain", "--file", &rules, "tcp 10.0.0.1"];
    let told = world.nke(&half).fails("malformed-rule");
    assert!(told.contains("an address and a port"), "{told}");

    // In force, at two hooks: only the one that it comes by is told about.
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    world
        .on(&["filter", "load", "--hook", "interface/xdp", &rules])
        .ok();
    let explained =
        |packet: &str| -> Value { world.on(&["filter", "explain", "--json", packet]).json() };
    let explained = |packet: &str| explained(packet)["explanations"].clone();
    let both = explained(packet);
    assert_eq!(both.as_array().map(Vec::len), Some(2));
    assert_eq!(both[0]["hooks"], json!(["interface/xdp"]));
    assert_eq!(
        (&both[0]["number"], &both[0]["action"]),
        (&json!(2), &json!("drop"))
    );
    assert_eq!(
        both[0]["before"][0]["misses"],
        json!(["protocol: tcp, not icmp"])
    );
    assert_eq!(
        (&both[1]["number"], &both[1]["action"]),
        (&Value::Null, &json!("pass"))
    );
    let one = explained(&format!("in {packet}"));
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    let nowhere = ["filter", "explain", "-i", "nowhere", packet];
    let (_, told) = world.nke(&nowhere).fails_somehow();
    assert!(told.contains("nowhere"), "{told}");
}

#[test]
fn rules_of_an_interface_that_is_gone_are_told_of_as_the_kernel_takes_them() {
    let world = World::new();
    let netns = world.inside.name().to_owned();
    let place = ["--netns", &netns, "--hook", "ip/in"];
    let nke = |words: &[&str]| world.nke(&[words, &place].concat());
    let make = || world.inside.ip("link add gone0 type veth peer name gone1");
    make();
    nke(&["attach", "packet-filter"]).ok();
    let rules = "drop on gone0 proto udp\npass on not gone0 proto tcp\ndrop proto tcp\n";
    nke(&["filter", "load", &file(&world, "rules", rules)]).ok();
    let decides = |packet: &str| {
        let said: Value = nke(&["filter", "explain", "--json", packet]).json();
        said["explanations"][0].clone()
    };
    let (udp, tcp) = (
        "udp 192.0.2.1:1 > 192.0.2.2:2 on gone0",
        "tcp 192.0.2.1:1 > 192.0.2.2:2 on gone0",
    );
    assert_eq!(decides(udp)["number"], 1);
    assert_eq!(decides(tcp)["number"], 3);
    world.inside.ip("link delete gone0");
    for made_again in [false, true] {
        if made_again {
            make();
        }
        let wanted = match made_again {
            true => "the gone0 that there was before",
            false => "gone0, which is not there now",
        };
        let told = decides(udp);
        assert_eq!(told["number"], Value::Null, "{told}");
        let miss = json!([format!("interface: gone0, not {wanted}")]);
        assert_eq!(told["before"][0]["misses"], miss);
        assert_eq!(decides(tcp)["number"], 2);
        // A rule of the interface that there is now does what that of the old one does not.
        if made_again {
            nke(&["filter", "add", "drop on gone0 proto udp"]).ok();
            assert_eq!(decides(udp)["number"], 4);
        }
        let said = nke(&["filter", "optimise"]).ok().stdout;
        let dead = "rule 1 matches nothing: drop on gone0 proto udp\n    there is no gone0 now that it means\n\
                    rule 3 never decides: drop proto tcp\n";
        assert!(said.starts_with(dead), "{said}");
        assert!(!said.contains("rule 4"), "{said}");
    }
    let report: Value = nke(&["filter", "optimise", "--json"]).json();
    assert_eq!(report["reports"][0]["findings"][0]["finding"], "dead");
}

#[test]
fn a_file_is_explained_as_load_would_have_it() {
    let world = World::new();
    let explain = |text: &str, more: &[&str]| {
        let rules = file(&world, "rules", text);
        let words = ["filter", "explain", "--file", &rules];
        world.nke(&[&words[..], more].concat())
    };
    let said = explain("default drop\npass proto tcp", &["arp"])
        .ok()
        .stdout;
    let added = "pass by rule 2 (added by `load` without --force): pass arp";
    assert!(said.contains(added), "{said}");
    let packet = "tcp 10.0.0.1:1 > 10.0.0.2:2";
    // Each is refused where it is said to be, and if there is no place for it.
    for (rules, more) in [
        ("reject in proto tcp", &["--hook", "ip/in"][..]),
        ("mark 1", &["--hook", "interface/xdp"]),
        ("reject in proto tcp\nreject out proto tcp", &[]),
        ("pass in\npass out", &["-i", "lo"]),
    ] {
        let (_, told) = explain(rules, &[more, &[packet]].concat()).fails_somehow();
        let hook = more.get(1).filter(|_| more[0] == "--hook");
        let at = match hook {
            Some(hook) => format!("rules at {hook}: "),
            None => "rules: no hook takes all of its rules; at interface/xdp: ".to_owned(),
        };
        assert!(told.contains(&at), "{told}");
    }
    explain("mark 1", &[packet]).ok();
    // What is forwarded goes both ways.
    let said = explain("drop out proto tcp", &["--hook", "ip/forward", packet]);
    let said = said.ok().stdout;
    assert!(said.contains("drop by rule 1 (line 1)"), "{said}");
}

#[test]
fn optimise_finds_what_can_go() {
    let world = World::new();
    world.attach(Hook::Xdp, "packet-filter", &[]);
    for rule in [
        "pass from 10.0.0.0/8",
        "drop from 10.1.0.0/16",
        "pass from 192.0.2.1",
    ] {
        world.on(&["filter", "add", rule]).ok();
    }
    let report: Value = world.on(&["filter", "optimise", "--json"]).json();
    let findings = &report["reports"][0]["findings"];
    assert_eq!(
        findings[0],
        json!({
            "finding": "shadowed", "number": 2, "line": null, "rule": "drop from 10.1.0.0/16",
            "by": [1], "otherwise": true,
        })
    );
    let numbers: Vec<_> = [1, 2].map(|at| &findings[at]["number"]).into();
    assert_eq!(numbers, [&json!(1), &json!(3)]);
    let said = world.on(&["filter", "optimise"]).ok().stdout;
    let place = format!("interface/xdp of {IFACE} in {}", world.inside.name());
    assert!(
        said.ends_with(&format!(
            "{place}: 3 of 3 rules can be deleted, 0 pairs overlap\n"
        )),
        "{said}"
    );
}

#[test]
fn import_lists_what_it_cannot_say() {
    let world = World::new();
    let saved = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n";
    let good = file(&world, "good", &format!("{saved}COMMIT\n"));
    let rules = world.nke(&["filter", "import", &good]).ok().stdout;
    assert_eq!(
        rules,
        "pass in inet proto tcp to any port 22\ndrop in inet\ndefault pass\n"
    );
    let rules = file(&world, "rules", &rules);
    world.attach(Hook::Xdp, "packet-filter", &[]);
    world.on(&["filter", "load", &rules]).ok();

    let bad = format!("{saved}-A INPUT -m owner --uid-owner 0 -j ACCEPT\nCOMMIT\n");
    let bad = file(&world, "bad", &bad);
    let ran = world.nke(&["filter", "import", &bad]);
    assert!(
        ran.stdout
            .contains("# line 4, not translated: -A INPUT -m owner"),
        "{}",
        ran.stdout
    );
    assert!(ran.exited_with("untranslated"), "{ran:?}");
    let told = &ran.stderr;
    assert!(
        told.contains("line 4: not translated: `-m owner`"),
        "{told}"
    );
    let told = world
        .nke(&["filter", "import", &rules])
        .fails("foreign-rules");
    assert!(told.contains("neither"), "{told}");
}

/// The rules of the only filter.
#[test]
fn import_says_where_a_rule_cannot_be() {
    let world = World::new();
    let mac = "-A INPUT -m mac --mac-source 02:00:00:00:00:0A -j DROP\n";
    let saved = format!(
        "*filter\n:INPUT ACCEPT [0:0]\n{mac}{mac}-A INPUT -m mark --mark 1 -j DROP\nCOMMIT\n"
    );
    let saved = file(&world, "saved", &saved);
    let import = |more: &[&str]| {
        let ran = world.nke(&[&["filter", "import", &saved], more].concat());
        ran.ok().stderr
    };
    let rule = "`drop in inet ether from 02:00:00:00:00:0a` is refused there";
    let told = import(&[]);
    let note = format!(
        "note: {saved}: there is no frame at ip/prerouting, ip/in, ip/forward: {rule}; it can be at interface/xdp, interface/in\n"
    );
    assert_eq!(told, format!("nke: {note}"));
    let told = import(&["-i", "eth0"]);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains("there is no mark of packets at interface/xdp: "),
        "{told}"
    );
}

fn rules(world: &World) -> Vec<String> {
    let listed: Value = world.on(&["filter", "list", "--json"]).json();
    let rules = listed["filters"][0]["rules"].as_array().cloned();
    let text = |rule: &Value| rule["rule"].as_str().map(str::to_owned);
    rules.unwrap_or_default().iter().filter_map(text).collect()
}

#[test]
fn a_default_of_drop_shuts_nobody_out() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let mine = "pass in proto udp to any port 53";
    world.on(&["filter", "add", mine]).ok();
    let ran = world.on(&["filter", "default", "drop"]).ok();
    let added = [
        "pass arp",
        "pass proto icmp6 icmp6-type nd-router-solicit",
        "pass proto icmp6 icmp6-type nd-router-advert",
        "pass proto icmp6 icmp6-type nd-neighbor-solicit",
        "pass proto icmp6 icmp6-type nd-neighbor-advert",
    ];
    assert_eq!(rules(&world), [&[mine][..], &added].concat());
    for rule in added {
        assert!(
            ran.stderr.contains(&format!("added `{rule}`")),
            "{}",
            ran.stderr
        );
    }
    // Once is enough, and what is deleted on purpose is gone.
    let again = world.on(&["filter", "default", "drop"]).ok();
    assert_eq!(again.stderr, "");
    world
        .on(&["filter", "delete", "--force", "2", "3", "4", "5", "6"])
        .ok();
    assert_eq!(rules(&world), [mine]);
    world.on(&["filter", "flush"]).ok();
    assert_eq!(rules(&world), added);
}

#[test]
fn self_is_what_the_namespace_has() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    world
        .on(&["filter", "add", "pass in proto tcp to self port 22"])
        .ok();
    let rules = rules(&world);
    for own in ["10.1.0.2", "fd01::2"] {
        let rule = format!("pass in proto tcp to {own} port 22");
        assert!(rules.contains(&rule), "{rules:?}");
    }
}
