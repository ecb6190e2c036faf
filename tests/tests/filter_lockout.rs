//! `nke filter` does not cut the connection that it was typed over, unless it is told to.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use nke_tests::{Hook, Ran, World};

/// A connection from outside to inside that stands, as ssh(1) would tell of it.
struct Session {
    _ends: [TcpStream; 2],
    peer: SocketAddr,
    local: SocketAddr,
}

impl Session {
    fn open(world: &World, v6: bool) -> Self {
        let address = SocketAddr::new(World::inside_address(v6), 0);
        let listener = world.inside.enter(|| TcpListener::bind(address));
        let listener = listener.expect("any port is free");
        let local = listener.local_addr().expect("it is bound");
        let client = world.outside.enter(|| TcpStream::connect(local));
        let (server, peer) = listener.accept().expect("it is connected");
        Self {
            _ends: [client.expect("the wire is there"), server],
            peer,
            local,
        }
    }

    fn word(&self) -> String {
        let (peer, local) = (self.peer, self.local);
        let (far, near) = (peer.ip(), local.ip());
        format!("{far} {} {near} {}", peer.port(), local.port())
    }

    /// Runs a command about the inside's interface as one typed at its far end.
    fn run(&self, world: &World, words: &[&str]) -> Ran {
        self.run_as_is(world, &world.target(words))
    }

    /// The same of any command.
    fn run_as_is(&self, world: &World, words: &[&str]) -> Ran {
        let mut command = world.command(words);
        command.env("SSH_CONNECTION", self.word());
        world.inside.enter(|| Ran::of(&mut command))
    }

    /// The same by a shell at its far end, in a network namespace of its own.
    fn run_apart(&self, world: &World, words: &[&str]) -> Ran {
        let inner = world.command(&world.target(words));
        let mut command = Command::new("sh");
        world.dress(&mut command);
        command.args(["-c", "unshare --net \"$@\"; exit $?", "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.env("SSH_CONNECTION", self.word());
        world.inside.enter(|| Ran::of(&mut command))
    }
}

#[test]
fn a_default_of_drop_lets_the_connection_live() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    world.attach(Hook::Out, "packet-filter", &[]);
    // Both stand before there is a rule: later none could be made.
    let sessions = [false, true].map(|v6| Session::open(&world, v6));
    for session in sessions {
        let (far, near) = (session.peer.ip(), session.local);
        let (here, port) = (near.ip(), near.port());
        let rules = [
            (
                "interface/in",
                format!("pass proto tcp from {far} to {here} port {port}"),
            ),
            (
                "interface/out",
                format!("pass proto tcp from {here} port {port} to {far}"),
            ),
        ];
        for (hook, rule) in rules {
            let drop = ["filter", "default", "--hook", hook, "drop"];
            let said = session.run(&world, &drop).ok().stderr;
            assert!(said.contains(&format!("added `{rule}`")), "{said}");
        }
    }
}

#[test]
fn flows_that_the_connection_lives_by_are_not_forgotten() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let session = Session::open(&world, false);
    let (from, port) = (session.peer.ip(), session.local.port());
    // It began before, so that no flow is known of it: but whoever says what a connection begins with, means to keep it.
    let rules = format!(
        "default drop\npass arp\npass proto tcp from {from} to any port {port} flags S/SA keep state"
    );
    let file = world.directory().join("rules");
    std::fs::write(&file, rules).expect("the directory is the test's");
    let file = file.to_str().expect("it is text");
    session
        .run(&world, &["filter", "load", "--force", file])
        .ok();
    for change in [&["--flush"][..], &["--limit", "64"]] {
        let words = [&["filter", "states"], change].concat();
        let said = session.run(&world, &words).fails("lock-out");
        assert!(said.contains("forget flows"), "{said}");
        session
            .run(&world, &[&words[..], &["--force"]].concat())
            .ok();
    }
    session.run(&world, &["filter", "states"]).ok();
    world.on(&["filter", "states", "--flush"]).ok();
}

/// What rules ask besides ends and ports: named sets, frames, lengths, limits.
#[test]
fn whatever_a_rule_asks_it_is_refused_if_the_connection_has_it() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let session = Session::open(&world, false);
    let far = session.peer.ip().to_string();
    let set = |words: &[&str]| {
        world.nke(&[&["filter", "set"], words].concat()).ok();
    };
    set(&["create", "mine", "addresses"]);
    set(&["add", "mine", &far]);
    set(&["create", "none", "addresses"]);
    let add = |rule: &str| session.run(&world, &["filter", "add", rule]);
    for rule in [
        "drop proto tcp from @mine",
        "drop proto tcp from not @none",
        "drop length 0-2000",
        "drop proto tcp limit over 1/m burst 1",
        "drop expr 'tcp and greater 1000'",
        // Whose frames it comes by, as the host knows its neighbours.
        "drop ether from 02:00:00:00:00:01",
    ] {
        let told = add(rule).fails("lock-out");
        assert!(told.contains(&format!("{far}:")), "{told}");
    }
    add("drop proto tcp from @none").ok();
    add("drop ether from 02:00:00:00:12:34").ok();
    add("pass from @mine").ok();
    // What is behind a rule that lets it live, it never meets.
    add("drop proto tcp").ok();
}

/// The rules that ask for a set stay as they are, and other packets match them.
#[test]
fn an_edit_of_a_set_that_would_cut_the_connection_is_refused() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let session = Session::open(&world, false);
    let far = session.peer.ip().to_string();
    let set = |words: &[&str]| world.nke(&[&["filter", "set"], words].concat());
    let refused = |ran: Ran, by: &str| {
        let told = ran.fails("lock-out");
        assert!(told.contains(by), "{told}");
    };
    let edit = |words: &[&str]| session.run_as_is(&world, &[&["filter", "set"], words].concat());
    set(&["create", "blocked", "addresses"]).ok();
    world
        .on(&["filter", "add", "drop proto tcp from @blocked"])
        .ok();
    edit(&["add", "blocked", "192.0.2.77"]).ok();
    refused(
        edit(&["add", "blocked", &far]),
        "(rule 1: drop proto tcp from @blocked)",
    );
    assert!(!set(&["show", "blocked"]).ok().stdout.contains(&far));
    edit(&["add", "--force", "blocked", &far]).ok();
    // It is cut already.
    edit(&["add", "blocked", "0.0.0.0/1"]).ok();
    edit(&["flush", "blocked"]).ok();

    set(&["create", "office", "addresses"]).ok();
    set(&["add", "office", &far, "192.0.2.0/24"]).ok();
    world.on(&["filter", "add", "pass from @office"]).ok();
    world.on(&["filter", "default", "drop"]).ok();
    edit(&["delete", "office", "192.0.2.0/24"]).ok();
    refused(edit(&["delete", "office", &far]), "(default drop)");
    refused(edit(&["flush", "office"]), "(default drop)");
    edit(&["flush", "office", "--force"]).ok();
}

/// A rule that is taken to cut the connection because it might come by another interface.
#[test]
fn a_rule_of_another_interface_excuses_no_other() {
    let world = World::with_addresses();
    let layer = ["--hook", "ip/in"];
    let session = Session::open(&world, false);
    let run = |words: &[&str]| session.run_as_is(&world, &[words, &layer].concat());
    run(&["attach", "packet-filter"]).ok();
    let (port, other) = (session.local.port(), "drop in on lo proto tcp");
    run(&["filter", "add", "--force", other]).ok();
    let rule = format!("drop in proto tcp to any port {port}");
    let told = run(&["filter", "add", &rule]).fails("lock-out");
    assert!(told.contains(&format!("rule 2: {rule}")), "{told}");
    run(&["filter", "add", "drop proto udp"]).ok();
}

#[test]
fn a_rule_that_would_cut_the_connection_is_refused() {
    let world = World::with_addresses();
    world.attach(Hook::In, "packet-filter", &[]);
    let session = Session::open(&world, false);
    let rule = format!("drop in proto tcp to any port {}", session.local.port());
    let told = session
        .run(&world, &["filter", "add", &rule])
        .fails("lock-out");
    assert!(told.contains(&format!("rule 1: {rule}")), "{told}");
    let told = session
        .run_apart(&world, &["filter", "add", &rule])
        .fails("lock-out");
    assert!(told.contains(&format!("rule 1: {rule}")), "{told}");
    session
        .run(&world, &["filter", "add", "--force", &rule])
        .ok();
    // It is cut already: what comes now is not to blame.
    session
        .run(&world, &["filter", "add", "drop proto udp"])
        .ok();
    // Who has no such connection is not asked.
    world.on(&["filter", "flush"]).ok();
    world.on(&["filter", "add", &rule]).ok();
}
