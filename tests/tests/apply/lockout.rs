//! An apply that would cut the connection that its author sits at is refused.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use nke_tests::{Cgroup, Ran, World};

use crate::declare;

/// A connection from outside to inside that stands, as ssh(1) would tell of it.
struct Session {
    client: TcpStream,
    server: TcpStream,
    word: String,
}

impl Session {
    /// The address that it comes from.
    fn peer(&self) -> String {
        let peer = self.word.split(' ').next();
        peer.unwrap_or_default().to_owned()
    }

    fn open(world: &World, v6: bool) -> Self {
        let address = SocketAddr::new(World::inside_address(v6), 0);
        let listener = world.inside.enter(|| TcpListener::bind(address));
        Self::accept(world, &listener.expect("any port is free"))
    }

    fn accept(world: &World, listener: &TcpListener) -> Self {
        let local = listener.local_addr().expect("it is bound");
        let client = world.outside.enter(|| TcpStream::connect(local));
        let client = client.expect("the wire is there");
        let (server, peer) = listener.accept().expect("it is connected");
        let word = format!(
            "{} {} {} {}",
            peer.ip(),
            peer.port(),
            local.ip(),
            local.port()
        );
        Self {
            client,
            server,
            word,
        }
    }

    /// Runs a command as one typed at its far end.
    fn run(&self, world: &World, words: &[&str]) -> Ran {
        let mut command = world.command(words);
        command.env("SSH_CONNECTION", &self.word);
        world.inside.enter(|| Ran::of(&mut command))
    }

    /// Whether a byte goes to its near end and back.
    fn lives(&mut self) -> bool {
        let wait = Some(Duration::from_millis(500));
        for end in [&self.client, &self.server] {
            end.set_read_timeout(wait).expect("a time can be set");
        }
        let mut byte = [7];
        let (client, server) = (&mut self.client, &mut self.server);
        let there = client
            .write_all(&byte)
            .and_then(|()| server.read_exact(&mut byte));
        let back = there.and_then(|()| server.write_all(&byte));
        back.and_then(|()| client.read_exact(&mut byte)).is_ok()
    }

    fn port(&self) -> u16 {
        self.server.local_addr().expect("it is connected").port()
    }
}

const XDP_DROP: &str = "[[policy]]\nhook = \"interface/xdp\"\nHERE\npolicy = \"drop\"\n";

#[test]
fn a_policy_that_would_cut_it_is_refused() {
    let world = World::with_addresses();
    for v6 in [false, true] {
        let mut session = Session::open(&world, v6);
        let before = world.standing();
        for hook in [
            "interface/xdp",
            "interface/in",
            "interface/out",
            "ip/in",
            "ip/out",
            "ip/prerouting",
        ] {
            let text = XDP_DROP.replace("interface/xdp", hook);
            let text = if hook.starts_with("ip/") {
                text.replace("HERE", "NETNS")
            } else {
                text
            };
            declare(&world, "a.toml", &text);
            let said = session.run(&world, &["apply", "a.toml"]).fails("lock-out");
            assert!(
                said.contains("it would cut your own SSH connection, from "),
                "{said}"
            );
            assert!(said.contains(hook), "{said}");
            world.assert_standing(&before);
        }
        assert!(session.lives());
        declare(
            &world,
            "a.toml",
            &XDP_DROP
                .replace("HERE", "NETNS")
                .replace("interface/xdp", "ip/forward"),
        );
        session.run(&world, &["apply", "--prune", "a.toml"]).ok();
        assert!(session.lives());
        declare(&world, "a.toml", XDP_DROP);
        session
            .run(&world, &["apply", "--prune", "--force", "a.toml"])
            .ok();
        assert!(!session.lives(), "it was told");
        // What runs answers the same already.
        session.run(&world, &["apply", "a.toml"]).ok();
        world.nke(&["apply", "--prune", "/dev/null"]).ok();
    }
}

#[test]
fn what_does_not_meet_it_is_not_refused() {
    let world = World::with_addresses();
    let mut session = Session::open(&world, false);
    world.inside.ip("link add other0 type veth peer other1");
    declare(
        &world,
        "a.toml",
        &XDP_DROP.replace("HERE", "interface = \"other0\"\nNETNS"),
    );
    session.run(&world, &["apply", "a.toml"]).ok();
    assert!(session.lives());

    // Words of a connection that there is not.
    declare(&world, "a.toml", XDP_DROP);
    let mut command = world.command(&["apply", "a.toml"]);
    command.env("SSH_CONNECTION", "10.1.0.1 1 10.1.0.2 22");
    world.inside.enter(|| Ran::of(&mut command)).ok();
    assert!(!session.lives());
}

#[test]
fn rules_are_judged_as_they_are_to_be() {
    let world = World::with_addresses();
    let mut session = Session::open(&world, false);
    let port = session.port();
    let filter = |hook: &str, rules: &str| {
        let place = if hook.starts_with("ip/") {
            "NETNS"
        } else {
            "HERE"
        };
        let keys =
            format!("[[attach]]\nextension = \"packet-filter\"\nhook = \"{hook}\"\n{place}\n");
        declare(
            &world,
            "a.toml",
            &format!("{keys}rules = '''\n{rules}\n'''\n"),
        );
        session.run(&world, &["apply", "a.toml"])
    };
    // With a filter that is new, and with one that is there and gets other rules.
    for _ in 0..2 {
        // Without what the connection's own packets count.
        let before = world.nke(&["save"]).ok().stdout;
        let cut = format!("drop in proto tcp to any port {port}");
        let said = filter("interface/in", &cut).fails("lock-out");
        assert!(said.contains("interface/in of eth0"), "{said}");
        let cut = format!("default drop\npass in proto tcp to any port {}", port ^ 1);
        drop(filter("interface/in", &cut).fails("lock-out"));
        assert_eq!(world.nke(&["save"]).ok().stdout, before);
        // Nobody would find the host any more, once it is forgotten where it is.
        let keeps = format!("default drop\npass proto tcp to any port {port}");
        let said = filter("interface/in", &keeps).fails("lock-out");
        assert!(said.contains("neighbours find each other by"), "{said}");
        assert_eq!(world.nke(&["save"]).ok().stdout, before);
        let told = filter("interface/in", &format!("{keeps}\npass arp")).ok();
        assert!(
            told.stderr
                .contains("what would pass it: `pass proto icmp6 "),
            "{}",
            told.stderr
        );
        assert!(!told.stderr.contains("`pass arp`"), "{}", told.stderr);
    }
    let cut = format!("drop out proto tcp from any port {port}");
    drop(filter("interface/out", &cut).fails("lock-out"));
    filter("interface/out", &cut.replace("from", "to")).ok();
    // By the interface that it goes by, at all layers.
    for hook in ["interface/in", "ip/in", "ip/prerouting"] {
        let on = |interface: &str| format!("drop in on {interface} proto tcp to any port {port}");
        drop(filter(hook, &on("eth0")).fails("lock-out"));
        drop(filter(hook, &on("not lo")).fails("lock-out"));
        filter(hook, &on("lo")).ok();
        filter(hook, &on("not eth0")).ok();
    }
    drop(filter("ip/out", "drop out on eth0").fails("lock-out"));
    assert!(session.lives());
}

#[test]
fn what_shuts_out_neighbours_is_told() {
    let world = World::new();
    for (hook, rules, told) in [
        ("interface/in", "default drop\npass proto tcp", true),
        (
            "interface/in",
            "default drop\npass arp\npass proto icmp6",
            false,
        ),
        ("interface/in", "drop", false),
        ("interface/xdp", "default drop\ndrop limit over 5/s", true),
    ] {
        declare(&world, "a.toml", &filter(hook, rules));
        for words in [["diff", "a.toml"], ["apply", "a.toml"]] {
            let said = world.nke(&words).stderr;
            assert_eq!(
                said.contains("would pass it: `pass arp`, `pass"),
                told,
                "{rules}: {said}"
            );
        }
    }
}

#[test]
fn a_cgroup_of_the_connection_is_judged() {
    let (world, cgroup) = (World::with_addresses(), Cgroup::new());
    let other = Cgroup::new();
    let address = SocketAddr::new(World::inside_address(false), 0);
    let listener = cgroup.enter(&world.inside, || TcpListener::bind(address));
    let mut session = Session::accept(&world, &listener.expect("any port is free"));
    let policy = |hook: &str, path: &str| {
        let text = format!("[[policy]]\ncgroup = \"{path}\"\nhook = \"{hook}\"\npolicy = \"drop\"");
        declare(&world, "a.toml", &text);
        session.run(&world, &["apply", "a.toml"])
    };
    for hook in ["socket/data-in", "socket/data-out"] {
        drop(policy(hook, cgroup.path()).fails("lock-out"));
        policy(hook, other.path()).ok();
    }
    assert!(session.lives());
}

/// A filter at a hook with this text for its rules.
fn filter(hook: &str, rules: &str) -> String {
    format!(
        "[[attach]]\nextension = \"packet-filter\"\nhook = \"{hook}\"\nHERE\nrules = '''\n{rules}\n'''\n"
    )
}

/// Declares something with named sets in it, and has it applied at the connection's far end.
fn apply(world: &World, session: &Session, text: &str) -> Ran {
    declare(world, "a.toml", text);
    session.run(world, &["apply", "a.toml"])
}

/// It is refused for this hook, and all named sets are as they were.
#[track_caller]
fn assert_refused(world: &World, session: &Session, hook: &str, text: &str) {
    let saved = || world.nke(&["save"]).ok().stdout;
    let before = saved();
    let said = apply(world, session, text).fails("lock-out");
    assert!(said.contains(&format!("{hook} of eth0")), "{said}");
    assert_eq!(saved(), before);
}

#[test]
fn sets_are_judged_as_they_are_to_be() {
    let world = World::with_addresses();
    for v6 in [false, true] {
        let mut session = Session::open(&world, v6);
        let peer = session.peer();
        let blocked = |members: &str, more: &str| {
            let rules =
                format!("set blocked addresses {{ {members} }}\ndrop in from @blocked\n{more}");
            filter("interface/in", &rules)
        };
        apply(&world, &session, &blocked("192.0.2.1", "")).ok();
        // Nothing but a set changes; and rules with it.
        for more in ["", "drop proto udp"] {
            let text = blocked(&format!("192.0.2.1 {peer}"), more);
            assert_refused(&world, &session, "interface/in", &text);
        }
        assert!(session.lives());
        apply(
            &world,
            &session,
            &blocked("192.0.2.2 192.0.2.3", "drop proto udp"),
        )
        .ok();

        let friends = |members: &str, default: &str| {
            let rules = format!(
                "default {default}\nset friends addresses {{ {members} }}\npass in from @friends\npass arp\n\
                 pass proto icmp6"
            );
            filter("interface/in", &rules)
        };
        apply(&world, &session, &friends("192.0.2.1", "pass")).ok();
        // With the members that there are it would be cut, and with those that come it is not.
        apply(&world, &session, &friends(&peer, "drop")).ok();
        assert!(session.lives());
        assert_refused(
            &world,
            &session,
            "interface/in",
            &friends("192.0.2.1", "drop"),
        );
        assert!(session.lives());
        declare(&world, "a.toml", &friends("192.0.2.1", "drop"));
        session.run(&world, &["apply", "--force", "a.toml"]).ok();
        assert!(!session.lives(), "it was told");
        world.nke(&["apply", "--prune", "/dev/null"]).ok();
    }
}

#[test]
fn rules_that_are_not_declared_ask_for_sets_as_they_are_to_be() {
    let world = World::with_addresses();
    let mut session = Session::open(&world, false);
    let peer = session.peer();
    let set = |members: &str| format!("set blocked addresses {{ {members} }}");
    let rules = format!("{}\ndrop in from @blocked", set("192.0.2.1"));
    apply(&world, &session, &filter("interface/in", &rules)).ok();
    // All attachments of an extension have the same sets.
    let elsewhere = |members: &str| filter("interface/out", &set(members));
    assert_refused(&world, &session, "interface/in", &elsewhere(&peer));
    assert!(session.lives());
    apply(&world, &session, &elsewhere("192.0.2.2")).ok();
    // An attachment that stays with the rules that it has.
    let keeps = "[[attach]]\nextension = \"packet-filter\"\nhook = \"interface/in\"\nHERE\n";
    let both = |members: &str| format!("{keeps}{}", elsewhere(members));
    apply(&world, &session, &both("192.0.2.3")).ok();
    assert_refused(&world, &session, "interface/in", &both(&peer));
    assert!(session.lives());
}
