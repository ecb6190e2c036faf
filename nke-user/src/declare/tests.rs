//! Declarations are read as they are written, and mistakes are found where they are.

use super::*;
use crate::order::Selector;

fn parse(text: &str) -> Declaration {
    match Declaration::parse("a.toml", text) {
        Ok(declaration) => declaration,
        Err(error) => unreachable!("{error}:\n{text}"),
    }
}

const WHOLE: &str = r#"[[load]]
extension = "tcplog"

[[attach]]
extension = "packet-filter"
interface = "eth0"
netns = "blue"
hook = "interface/in"
program = "packet_filter_in"
priority = -10
mode = "clsact"
no-counters = true
rules = '''
set office addresses timeout 1h {
    192.0.2.0/24 timeout 1h
    192.0.2.7 timeout 5m
}
set web ports {
    80
    443
}
default drop
pass in proto tcp to any port 22
'''

[[attach]]
extension = "/opt/\"odd\".o"
instance = "b"
netns = "blue"
hook = "ip/in"
before = "packet-filter"
netfilter-priority = "raw + 5"
defrag = true

[[attach]]
extension = "connection-guard"
cgroup = "/sys/fs/cgroup/web"
hook = "socket/connect"
after = "tcplog"
opt-in = true
disabled = true

[[policy]]
interface = "eth0"
netns = "blue"
hook = "interface/in"
policy = "drop"

[[set]]
extension = "packet-filter"
settings = { log-lines = 10, "odd name" = "a \"b\"", on = true, low = -5, big = "0x1f" }
"#;

#[test]
fn what_is_written_is_read_as_the_same() {
    let declaration = parse(WHOLE);
    assert_eq!(text(&declaration), WHOLE);
    let [filter, odd, guard] = &declaration.attachments[..] else {
        unreachable!("{declaration:#?}")
    };
    assert_eq!(filter.origin.to_string(), "a.toml:4");
    assert_eq!(filter.what.position, Some(Position::Priority(-10)));
    assert!(!filter.what.manner.counters && !filter.what.manner.opt_in && guard.what.manner.opt_in);
    assert_eq!(
        filter.what.rules.as_ref().map(|set| set.rules.len()),
        Some(1)
    );
    let [office, web] = &filter.what.sets[..] else {
        unreachable!("{:#?}", filter.what.sets)
    };
    assert_eq!((office.line, web.line), (14, 18));
    let before = Selector::Name("packet-filter".to_owned());
    assert_eq!(odd.what.position, Some(Position::Before(before)));
    assert_eq!(
        odd.what.manner.netfilter.priority.map(|p| p.number()),
        Some(-295)
    );
    assert_eq!(
        guard.what.hook.as_ref().map(|family| family.hooks().len()),
        Some(3)
    );
    assert_eq!(declaration.policies[0].what.policy, Policy::Drop);
}

#[test]
fn what_is_not_said_is_what_the_command_line_takes() {
    let declaration = parse("[[attach]]\nextension = 'counter'\ninterface = 'eth0'");
    let Attachment {
        hook,
        program,
        position,
        manner,
        rules,
        ..
    } = &declaration.attachments[0].what;
    assert!(hook.is_none() && program.is_none() && position.is_none() && rules.is_none());
    assert_eq!((manner.mode, manner.netfilter.given()), (None, None));
    assert!(manner.counters && !manner.opt_in);
    assert!(parse("# nothing\n").attachments.is_empty());
    let numbers = parse("[[attach]]\nextension = 'a'\npriority = 0x10\nnetfilter-priority = -5");
    let attachment = &numbers.attachments[0].what;
    assert_eq!(attachment.position, Some(Position::Priority(16)));
    assert_eq!(
        attachment.manner.netfilter.priority.map(|p| p.number()),
        Some(-5)
    );
}

#[test]
fn paths_are_from_the_file_on() {
    let text =
        "[[load]]\nextension = './a.o'\n[[load]]\nextension = '/b.o'\n[[load]]\nextension = 'c'";
    let declaration = Declaration::parse("/etc/nke/x.toml", text).unwrap();
    let paths: Vec<_> = declaration
        .loads
        .iter()
        .map(|l| l.what.to_string())
        .collect();
    assert_eq!(paths, ["/etc/nke/./a.o", "/b.o", "c"]);
}

/// The text is refused, at this line, for a reason that has this part.
fn check(text: &str, place: &str, part: &str) {
    let error = Declaration::parse("a.toml", text).expect_err(text);
    let error = error.to_string();
    assert!(
        error.starts_with(&format!("a.toml:{place}: ")),
        "{text}: {error}"
    );
    assert!(error.contains(part), "{text}: {error}");
    assert!(!error.contains('\n'), "{text}: {error}");
}

#[test]
fn mistakes_in_tables_are_found_where_they_are() {
    check("[[atach]]\n", "1", "did you mean \"attach\"?");
    check("[[nothing]]\n", "1", "there are load, attach, policy, set");
    check("\n[attach]\nextension = 'a'", "2", "write [[attach]]");
    check("attach = 3", "1", "write [[attach]]");
    check("attach = [3]", "1", "write [[attach]]");
    check("[[attach]]\nextension = \n", "2", "syntax");
    let twice = "[[load]]\nextension = 'a'\nextension = 'b'";
    check(twice, "3", "duplicate");
    check("\n\n[[load]]\n", "3", "load");
    check("[[load]]\nextension = ''", "2", "empty");
    check("[[load]]\nextension = 7", "2", "a number; write text");
}

#[test]
fn mistakes_in_attachments_are_found_where_they_are() {
    let here = "[[attach]]\nextension = 'counter'\ninterface = 'eth0'\n";
    let attach = |more: &str, line: &str, part: &str| check(&format!("{here}{more}"), line, part);
    attach(
        "hok = 'interface/in'",
        "4",
        "no such key; did you mean \"hook\"?",
    );
    attach("colour = 1", "4", "attach.colour: no such key; there are");
    attach("hook = 'interface/im'", "4", "no such hook");
    attach(
        "hook = 'ip/in'",
        "1",
        "ip/in is a hook of a network namespace",
    );
    attach("priority = 2147483648", "4", "a number from -2147483648");
    attach("priority = '5'", "4", "this is text; write a whole number");
    attach(
        "priority = 1\nbefore = 'x'",
        "1",
        "one of \"priority\", \"before\"",
    );
    attach("before = '17'", "4", "and no number");
    attach("mode = 'fast'", "4", "no such mode");
    attach("defrag = 'yes'", "4", "true or false");
    attach(
        "netfilter-priority = 'first'",
        "4",
        "a priority is a number",
    );
    attach("netfilter-priority = 1.5", "4", "a number, or a name");
    attach("cgroup = '/x'", "4", "cannot be with");
    attach(
        "rules = 'drop'",
        "4",
        "only packet-filter and connection-guard",
    );
    let bare = |more: &str, part: &str| {
        check(&format!("[[attach]]\nextension = 'a'\n{more}"), "3", part);
    };
    bare("netns = ''", "it is empty");
    bare("interface = 'a-name-too-long-for-it'", "15 bytes");
    bare("interface = 'e/th'", "15 bytes");
    bare("program = \"a\\u0000b\"", "character 0");
}

#[test]
fn mistakes_in_rules_and_policies_are_found_where_they_are() {
    let head = "[[attach]]\nextension = 'packet-filter'\n\nrules = ";
    let rules = |text: &str, line: &str, part: &str| check(&format!("{head}{text}"), line, part);
    rules(
        "\'\'\'\npass\ndrop in proto tpc\n\'\'\'",
        "6",
        "did you mean `tcp`?",
    );
    rules(
        "\'\'\'\nset a addresses {\n192.0.2.1\n192.0.2.256\n}\ndrop from @a\'\'\'",
        "7",
        "a prefix",
    );
    rules("\'\'\'drop bind\'\'\'", "4", "nke guard");
    rules("'drop bind'", "4", "nke guard");
    let policy = |more: &str, line: &str, part: &str| {
        check(&format!("[[policy]]\n{more}"), line, part);
    };
    policy(
        "interface = 'e'\nhook = 'interface/in'",
        "1",
        "it says no policy",
    );
    policy("interface = 'e'\npolicy = 'drop'", "1", "it names no hook");
    policy(
        "hook = 'interface/in'\npolicy = 'drop'",
        "1",
        "name one with",
    );
    policy(
        "policy = 'no'\nhook = 'ip/in'",
        "2",
        "a policy is pass or drop",
    );
    let events = "cgroup = '/x'\nhook = 'socket/events'\npolicy = 'drop'";
    policy(events, "1", "no other answer");
}

#[test]
fn mistakes_in_settings_are_found_where_they_are() {
    let head = "[[set]]\nextension = 'a'\n";
    let set = |more: &str, line: &str, part: &str| check(&format!("{head}{more}"), line, part);
    set("", "1", "it sets nothing");
    set("settings = 'a=1'", "3", "write { SETTING = VALUE");
    set("settings.a = [1]", "3", "set.settings.a: write a number");
    set(
        "[set.settings]\na = 1\nb = { c = 1 }",
        "5",
        "set.settings.b",
    );
    set("settings.a = \"\\u0000\"", "3", "character 0");
    set("interface = 'eth0'\nsettings = {}", "3", "no such key");
    let read = parse(&format!("{head}settings = {{ b = 0x1F, a = 1.5 }}"));
    let values = read.settings[0].what.values.iter();
    let values: Vec<_> = values.map(|value| value.what.1.as_str()).collect();
    assert_eq!(values, ["31", "1.5"]);
}

#[test]
fn hostile_text_is_refused_and_no_more() {
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(Declaration::parse("a.toml", &deep).is_err());
    let long = format!("[[load]]\nextension = '{}'", "x".repeat(1 << 20));
    assert!(Declaration::parse("a.toml", &long).is_ok());
}

#[test]
fn the_pages_examples_are_declarations() {
    let page = include_str!("../../../docs/apply.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 4);
    let [one, set, sets, host] = blocks.as_slice() else {
        return;
    };
    assert_eq!(parse(sets).attachments[0].what.sets.len(), 2);
    assert_eq!(parse(one).attachments.len(), 1);
    assert_eq!(parse(set).settings.len(), 1);
    assert_eq!(parse(host).attachments.len(), 2);
}
