//! Manifests that are good, contradictory and hostile: what is read of each, or said of it.

use super::*;

/// The problems of a manifest of an object with a map `M`, programs for `interface/in` and
/// `interface/out`, and `start` of type SYSCALL.
fn problems(text: &str) -> Vec<String> {
    let facts = Facts {
        has_map: &|map| map == "M",
        serves: &|hook| [Hook::INTERFACE_IN, Hook::INTERFACE_OUT].contains(&hook),
        is_syscall: &|symbol| symbol == "start",
        iterates: false,
    };
    match Manifest::read(text.as_bytes()) {
        Ok(manifest) => manifest.problems(&facts),
        Err(problem) => vec![problem],
    }
}

#[test]
fn everything_that_can_be_said_is_read() {
    let text = r#"
        identifier = "org.example.thing"
        version = "1.4.2"
        compatible-since = "1.0.0"
        description = "Does a thing"
        license = "MIT OR Apache-2.0"
        hooks = ["interface/in", { hook = "interface/out", priority = -20 }]
        init = "start"
        attachment-maps = ["M"]

        [dependencies]
        "org.example.table" = "^1.2"
        "org.example.flows" = { version = ">=1.0, <3", maps = [] }

        [requires]
        kernel = "6.4"
        features = ["btf", "kfunc:bpf_dynptr_from_skb"]

        [settings.limit]
        type = "u32"
        default = 10
        description = "Packets a second"

        [maps.M]
        migrate = "members"
    "#;
    assert_eq!(problems(text), Vec::<String>::new());
    let manifest = Manifest::read(text.as_bytes()).unwrap();
    assert_eq!(manifest.version, Version::new(1, 4, 2));
    assert_eq!(manifest.compatible_since(), &Version::new(1, 0, 0));
    assert_eq!(manifest.priority(Hook::INTERFACE_OUT), Some(-20));
    assert_eq!(manifest.priority(Hook::INTERFACE_IN), None);
    assert_eq!(manifest.dependencies.len(), 2);
    assert_eq!(manifest.requires.features.len(), 2);
    assert_eq!(manifest.maps["M"].migrate, Migrate::Members);
    // What JSON says of it is what it says itself.
    let json = serde_json::to_value(&manifest).unwrap();
    assert_eq!(json["hooks"][1]["hook"], "interface/out");
    assert_eq!(json["settings"]["limit"]["default"], 10);
    assert_eq!(json["requires"]["kernel"], "6.4");
}

#[test]
fn nothing_need_be_said() {
    assert_eq!(problems(""), Vec::<String>::new());
    let manifest = Manifest::read(b"\0").unwrap();
    assert_eq!(manifest, Manifest::default());
    assert_eq!(manifest.compatible_since(), &manifest.version);
}

#[test]
fn each_problem_is_told() {
    let check = |text: &str, part: &str| {
        let problems = problems(text);
        assert!(
            problems.iter().any(|problem| problem.contains(part)),
            "{text}: {problems:?} lacks {part:?}"
        );
    };
    check("version = '1.2'", "line 1: ");
    check("\nversion = 'x'", "line 2: ");
    check("compatible-since = '0.0.1'", "newer than version 0.0.0");
    check("identifier = 'thing'", "reverse DNS");
    check("hooks = ['interface/nowhere']", "no such hook");
    check(
        "hooks = ['interface/xdp']",
        "no program of the object serves it",
    );
    check("hooks = [{ hook = 'interface/in', prio = 1 }]", "prio");
    check("hooks = [{ priority = 1 }]", "hook");
    check(
        "hooks = [{ hook = 'interface/in', priority = 4294967296 }]",
        "i32",
    );
    check("hooks = ['interface/in', 'interface/in']", "twice");
    check("hooks = [1]", "string or a table");
    check("init = 'end'", "init names end");
    check("exit = 'end'", "exit names end");
    check("[dependencies]\n'org.example.a' = 'yes'", "no range");
    check("[dependencies]\n'a' = '1'", "reverse DNS");
    check(
        "[dependencies]\n'a.b' = { maps = ['X'] }",
        "dependencies names X",
    );
    check("identifier = 'a.b'\n[dependencies]\n'a.b' = '1'", "itself");
    check("[requires]\nkernel = 'new'", "6.4");
    check("[requires]\nfeatures = ['speed']", "no feature");
    check("[settings.'a b']\ntype = 'u8'", "letters");
    check("[settings.a]\ntype = 'u8'\nmap = 'X'", "settings names X");
    check("[settings.a]\ntype = 'u8'\ndefault = 300", "from 0 to 255");
    check("[maps.X]\nmigrate = 'reset'", "maps names X");
    check("[maps.M]\nmigrate = 'magic'", "magic");
    check("attachment-maps = ['M']\ntarget-maps = ['M']", "both");
    check("attachment-maps = ['X']", "no such map");
    check("records = 'event'", "records needs a map RECORDS");
    check("existing = true", "existing needs a program");
    check("color = 'red'", "color");
    check("version = '1.0.0'\nversion = '1.0.0'", "duplicate");
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems("compatible-since = '9.0.0'\ninit = 'a'\nexit = 'b'\ntarget-maps = ['X']");
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn hostile_text_reaches_no_terminal() {
    let escape = "\\u001b[2J";
    for text in [
        format!("description = \"{escape}\""),
        format!("license = \"{escape}\""),
        format!("init = \"{escape}\""),
        format!("target-maps = [\"{escape}\"]"),
        format!("\"{escape}\" = 1"),
        format!("identifier = \"{escape}\""),
        format!("hooks = [\"{escape}\"]"),
        format!("[settings.\"{escape}\"]\ntype = \"u8\""),
        format!("[requires]\nfeatures = [\"{escape}\"]"),
        format!("[dependencies]\n\"{escape}\" = \"1\""),
        format!("[maps.\"{escape}\"]\nmigrate = \"reset\""),
    ] {
        let found = problems(&text);
        assert!(!found.is_empty(), "{text}");
        let clean = |problem: &String| !problem.chars().any(char::is_control);
        assert!(found.iter().all(clean), "{found:?}");
    }
    assert!(!problems("description = 'a\nb'").is_empty());
    assert!(!problems(&format!("description = '{}'", "a".repeat(401))).is_empty());
    assert!(Manifest::read(&vec![b' '; LONGEST + 1]).is_err());
    assert!(Manifest::read(b"\xff").is_err());
    assert!(Manifest::read(format!("x = {}", "[".repeat(60_000)).as_bytes()).is_err());
}
