//! `nke log`: the lines of extensions as packets make them, for as long as somebody reads.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use nke::{
    control::{Control, Scope},
    filter::{RuleSet, Table},
    order::Selector,
};
use nke_tests::{Deadline, Hook, IFACE, Ran, World, binaries, fail, stranger, trail, udp_arrives};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `nke log`; dropping it ends it.
struct Log {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Log {
    fn start(world: &World, words: &[&str]) -> Self {
        let mut command = world.command(&[&["log"], words].concat());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command can be run");
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    /// The next line.
    #[track_caller]
    fn line(&mut self) -> String {
        let output = self.output.as_mut().expect("it is read");
        if output.buffer().is_empty() && !Deadline::generous().readable(output.get_ref()) {
            fail("no line comes");
        }
        let mut line = String::new();
        output.read_line(&mut line).expect("a line can be read");
        line
    }

    /// Sends it a signal; how it ended, what it still had to say, and its complaints.
    fn end(mut self, signal: Signal) -> (ExitStatus, String, String) {
        let rest = self.output.take().map(|output| output.into_inner());
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        self.child.stdout = rest;
        let child = std::mem::replace(&mut self.child, silent());
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
        (output.status, text(output.stdout), text(output.stderr))
    }
}

/// A process that has nothing to say and ends at once.
fn silent() -> Child {
    Command::new("true").spawn().expect("it is always there")
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Attaches packet-filter under a name, and writes rules that log what goes to port 53.
fn attach_logging(world: &World, name: &str) {
    let place = world.extensions().join(format!("{name}.o"));
    fs::copy(binaries::extensions().join("packet-filter.o"), &place).expect("it was built");
    let id = world.attach(Hook::Xdp, name, &[]);
    let control = Control::open(&world.state()).expect("the state is there");
    let (_, maps) = control
        .attachment_maps(&Selector::Id(id), &Scope::default())
        .expect("it is attached");
    let rules: RuleSet = "pass log proto udp to any port 53".parse().expect("a rule");
    let mut table = Table::open(&maps).expect("it is a packet filter");
    table.write(&rules).expect("it holds a rule");
}

/// Sends a packet that is logged.
fn send(world: &World) {
    assert_eq!(udp_arrives(world, false, &[53]), [true]);
}

#[test]
fn a_setting_says_how_many_lines() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    let mut log = Log::start(&world, &["packet-filter"]);
    world.nke(&["set", "packet-filter", "log-lines=0"]).ok();
    send(&world);
    world.nke(&["set", "packet-filter", "log-lines=100"]).ok();
    send(&world);
    // What was left out may be said before.
    let (line, other) = (log.line(), log.line());
    let lines = [&line, &other];
    assert!(
        lines.iter().any(|line| line.contains("rule 1: pass in")),
        "{lines:?}"
    );
    let left_out = "packet-filter: 1 line left out, 1 in all: more than it may write in a second\n";
    assert!(
        lines.iter().any(|line| line.ends_with(left_out)),
        "{lines:?}"
    );
    let (_, rest, _) = log.end(Signal::INT);
    assert_eq!(rest, "", "there is one line for two packets");
}

#[test]
fn what_is_left_out_is_counted() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    world.nke(&["set", "packet-filter", "log-lines=0"]).ok();
    let mut log = Log::start(&world, &["packet-filter", "--json"]);
    let (mut lines, mut total) = (0, 0);
    for sent in 1..=3 {
        send(&world);
        while total < sent {
            let told: Value = serde_json::from_str(&log.line()).expect("it is JSON");
            assert_eq!(told["record"], "left-out");
            assert_eq!(told["extension"], "packet-filter");
            lines += told["lines"].as_u64().expect("a number");
            total = told["total"].as_u64().expect("a number");
        }
        assert_eq!((lines, total), (sent, sent));
    }
    let (_, rest, _) = log.end(Signal::INT);
    assert_eq!(rest, "", "nothing is said twice");
}

#[test]
fn who_waits_for_what_is_not_attached_is_told_so() {
    let world = World::with_addresses();
    attach_logging(&world, "first");
    let mut log = Log::start(&world, &["second"]);
    let error = BufReader::new(log.child.stderr.take().expect("it is read"));
    let told = error
        .lines()
        .next()
        .expect("it is told")
        .expect("it is text");
    let expected = "nke: note: extension second: log: it is not attached, and is waited for; attached are: first";
    assert_eq!(told, expected);
    attach_logging(&world, "second");
    send(&world);
    assert!(log.line().contains(" second: rule 1"));
}

#[test]
fn a_line_says_when_and_who_and_what() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    let mut log = Log::start(&world, &[]);
    send(&world);
    let line = log.line();
    let mut words = line.split_whitespace();
    let time = words.next().unwrap_or_default();
    assert_eq!(
        (time.len(), time.ends_with('Z')),
        ("2026-01-02T03:04:05.678Z".len(), true),
        "{line}"
    );
    assert_eq!(words.next(), Some("INFO"), "{line}");
    assert_eq!(words.next(), Some("packet-filter:"), "{line}");
    assert!(
        line.contains("rule 1: pass in proto 17 from 10.1.0.1 port "),
        "{line}"
    );
    assert!(
        line.ends_with(&format!(" bytes, on {IFACE}\n")),
        "it came in by an interface: {line}"
    );
}

#[test]
fn the_time_is_the_packets_and_not_the_readers() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    let before = SystemTime::now();
    send(&world);
    let after = SystemTime::now();
    // The line waits in its ring till then.
    let mut log = Log::start(&world, &["--json"]);
    let told: Value = serde_json::from_str(&log.line()).expect("it is JSON");
    let time = told["time"].as_str().expect("a time");
    let time = humantime::parse_rfc3339(time).expect("a time");
    let rounded = Duration::from_millis(2);
    assert!(
        before - rounded <= time && time <= after + rounded,
        "{before:?} {time:?} {after:?}"
    );
    assert_eq!(told["interface"], IFACE, "{told}");
    assert!(told["ifindex"].is_u64(), "{told}");
    let message = told["message"].as_str().expect("text");
    assert!(message.starts_with("rule 1: pass in proto 17"), "{told}");
}

#[test]
fn at_the_ip_layer_a_line_says_the_interface_too() {
    let world = World::with_addresses();
    let words = ["attach", "packet-filter", "--hook", "ip/in"];
    let netns = ["--netns", world.inside.name()];
    world.nke(&[&words[..], &netns].concat()).ok();
    let rule = "pass log proto udp to any port 53";
    world
        .nke(&[&["filter", "add", rule][..], &netns].concat())
        .ok();
    let mut log = Log::start(&world, &[]);
    send(&world);
    let line = log.line();
    assert!(line.ends_with(&format!(", on {IFACE}\n")), "{line}");
}

#[test]
fn one_reads_at_a_time() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    let mut first = Log::start(&world, &["packet-filter"]);
    send(&world);
    drop(first.line());
    let refused = world.nke(&["log", "packet-filter"]);
    assert_eq!(refused.code, Some(33), "{refused:?}");
    let who = format!("process {} (nke) reads it already", first.child.id());
    assert!(refused.stderr.contains(&who), "{refused:?}");
    // Who reads all is told so, and waits.
    let mut second = Log::start(&world, &[]);
    let error = BufReader::new(second.child.stderr.take().expect("it is read"));
    let told = error.lines().next().expect("it is told");
    let told = told.expect("it is text");
    assert!(told.contains(&who), "{told}");
    send(&world);
    assert!(first.line().contains("packet-filter: rule 1"));
    drop(first);
    send(&world);
    assert!(second.line().contains("packet-filter: rule 1"));
}

#[test]
fn an_extension_attached_later_is_heard_too() {
    let world = World::with_addresses();
    let mut log = Log::start(&world, &[]);
    for name in ["first", "second"] {
        attach_logging(&world, name);
        send(&world);
        // The line waits in its ring until it is read.
        let line = log.line();
        assert!(line.contains(&format!(" {name}: rule 1")), "{line}");
        world.nke(&["detach", name]).ok();
    }
}

#[test]
fn only_the_one_that_is_named() {
    let world = World::with_addresses();
    let mut log = Log::start(&world, &["second"]);
    attach_logging(&world, "first");
    attach_logging(&world, "second");
    send(&world);
    send(&world);
    for _ in 0..2 {
        let line = log.line();
        assert!(line.contains(" second: "), "{line}");
    }
    let (_, rest, _) = log.end(Signal::INT);
    assert_eq!(rest, "", "first has nothing to say here");
}

#[test]
fn an_interrupt_ends_it_well() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    for packets in [0, 3] {
        let mut log = Log::start(&world, &[]);
        for _ in 0..packets {
            send(&world);
            drop(log.line());
        }
        if packets == 0 {
            // It may not have come so far as to catch signals: the first line says so.
            send(&world);
            drop(log.line());
        }
        let (status, rest, error) = log.end(Signal::INT);
        assert_eq!(
            (status.code(), rest.as_str(), error.as_str()),
            (Some(0), "", "")
        );
    }
    assert_eq!(world.chains().len(), 1, "the chain stays");
}

#[test]
fn it_is_in_nobodys_way() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    let mut log = Log::start(&world, &[]);
    send(&world);
    drop(log.line());
    // Were the lock held, these would wait for ever.
    for (words, target) in [
        (&["list"][..], false),
        (&["chain"], false),
        (&["attach", &trail::object(1)], true),
        (&["move", "trail1", "--priority", "1"], true),
        (&["filter", "default", "pass"], true),
        (&["replace", "trail1", "counter"], true),
        (&["detach", "counter"], true),
        (&["load", "counter"], false),
        (&["unload", "counter"], false),
    ] {
        let words = if target {
            world.target(words)
        } else {
            words.to_vec()
        };
        let mut command = Command::new("timeout");
        world.dress(&mut command);
        Ran::of(command.arg("20").arg(binaries::nke()).args(words)).ok();
    }
    send(&world);
    assert!(log.line().contains("packet-filter: rule 1"));
}

#[test]
fn it_keeps_nothing_alive() {
    let world = World::with_addresses();
    let mut log = Log::start(&world, &[]);
    attach_logging(&world, "packet-filter");
    send(&world);
    drop(log.line());
    let objects = world.objects();
    world.nke(&["detach", "packet-filter"]).ok();
    objects.assert_gone();
    // And it is heard again when it comes back.
    attach_logging(&world, "packet-filter");
    send(&world);
    assert!(log.line().contains("packet-filter: rule 1"));
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let world = World::with_addresses();
    attach_logging(&world, "packet-filter");
    let mut log = Log::start(&world, &[]);
    send(&world);
    drop(log.line());
    drop(log.output.take());
    let ended = Deadline::generous().until(|| {
        send(&world);
        matches!(log.child.try_wait(), Ok(Some(_)))
    });
    assert!(ended, "it goes on for nobody");
    let status = log.child.wait().expect("it has ended");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn one_that_babbles_is_passed_over() {
    let world = World::with_addresses();
    let babble = stranger::object("babble.c", "babble", &[]);
    let kmid = |name: &str| {
        let all = world.list().into_iter();
        let mut kmids = all.filter(|e| e.name == name).map(|e| e.kmid);
        kmids.next().expect("it is loaded")
    };
    world.attach(Hook::Xdp, &babble, &[]);
    attach_logging(&world, "packet-filter");
    let mut log = Log::start(&world, &[]);
    for _ in 0..3 {
        send(&world);
        assert!(log.line().contains("packet-filter: rule 1"));
    }
    let kmid = kmid("babble");
    let (status, _, error) = log.end(Signal::INT);
    let line = format!(
        "nke: extension babble ({kmid}): log: its records are not aya-log's; rebuild it with \
         aya-log 0.2\n"
    );
    assert_eq!((status.code(), error), (Some(0), line));
}
