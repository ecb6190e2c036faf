//! The order of a chain, its policy and its size.

use nke_tests::{
    Hook, IFACE, Stream, World,
    frame::{Frame, Ip},
    trail, udp_arrives,
};

#[test]
fn ascending_priority_and_ties_in_order_of_attachment() {
    for hook in Hook::ALL {
        let world = World::new();
        for (n, priority) in [(1, 50), (2, 10), (3, 90), (4, 50), (5, 10), (6, -7)] {
            let priority = priority.to_string();
            world.attach(hook, &trail::object(n), &["--priority", &priority]);
        }
        world.attach(hook, &trail::object(7), &[]);
        world.assert_trail(hook, &[6, 2, 5, 1, 4, 7, 3]);
        let chain = world.chain(hook).expect("the chain is there");
        let priorities: Vec<_> = chain.nodes.iter().map(|node| node.priority).collect();
        assert_eq!(priorities, [-7, 10, 10, 50, 50, 50, 90]);
        let positions: Vec<_> = chain.nodes.iter().map(|node| node.position).collect();
        assert_eq!(positions, [1, 2, 3, 4, 5, 6, 7]);
        // What is shown is what runs.
        let names = chain.names().join(" ");
        assert_eq!(names, "trail6 trail2 trail5 trail1 trail4 trail7 trail3");
    }
}

#[test]
fn before_and_after_another() {
    let world = World::new();
    let two = world.attach(Hook::Xdp, &trail::object(2), &[]).to_string();
    world.attach(Hook::Xdp, &trail::object(4), &[]);
    world.attach(Hook::Xdp, &trail::object(1), &["--before", &two]);
    world.attach(Hook::Xdp, &trail::object(3), &["--after", "trail2"]);
    world.attach(Hook::Xdp, &trail::object(5), &["--after", "trail4"]);
    world.attach(Hook::Xdp, &trail::object(0), &["--before", "trail1"]);
    world.assert_trail(Hook::Xdp, &[0, 1, 2, 3, 4, 5]);
    // Later ones find their place among these by priority as if nothing had happened.
    world.attach(Hook::Xdp, &trail::object(9), &[]);
    world.attach(Hook::Xdp, &trail::object(8), &["--priority", "49"]);
    world.assert_trail(Hook::Xdp, &[8, 0, 1, 2, 3, 4, 5, 9]);
}

#[test]
fn beside_what_is_not_there() {
    let world = World::new();
    let object = trail::object(1);
    for other in ["--before", "--after"] {
        let error = world
            .on(&["attach", &object, other, "nobody"])
            .fails("no-attachment");
        assert_eq!(
            error,
            format!(
                "nke: attachment nobody: attach beside it: none such at interface/xdp on {IFACE}; \
                 `nke chain` shows those that are\n"
            )
        );
    }
    assert_eq!((world.chains(), world.list()), (vec![], vec![]));
    // At another hook is not here.
    world.attach(Hook::In, &trail::object(2), &[]);
    let words = [
        "attach",
        &object,
        "--hook",
        "interface/out",
        "--before",
        "trail2",
    ];
    assert!(
        world
            .on(&words)
            .fails("no-attachment")
            .contains("none such at interface/out")
    );
}

#[test]
fn a_drop_ends_the_chain() {
    for hook in Hook::ALL {
        let world = World::new();
        world.attach(hook, &trail::object(1), &[]);
        world.attach(hook, &trail::dropper(2), &[]);
        world.attach(hook, &trail::object(3), &[]);
        let trail = world.trail(hook);
        assert_eq!((trail.seen, trail.answer), (vec![1, 2], hook.drop()));
    }
}

#[test]
fn thirty_two_fit_and_the_next_is_refused() {
    for hook in Hook::ALL {
        let world = World::new();
        for n in 1..=32 {
            world.attach(hook, &trail::object(n), &["--no-counters"]);
        }
        let all: Vec<u8> = (1..=32).collect();
        world.assert_trail(hook, &all);
        let before = (
            world.chains(),
            world.list(),
            nke_tests::tree(&world.state()),
        );
        let error = world
            .at(hook, &["attach", &trail::object(33)])
            .fails("chain-full");
        assert_eq!(
            error,
            format!(
                "nke: {} of {IFACE}: attach: the chain has 32 nodes and the kernel follows no \
                 more; detach one first\n",
                hook.name()
            )
        );
        assert_eq!(
            (
                world.chains(),
                world.list(),
                nke_tests::tree(&world.state())
            ),
            before
        );
        world.assert_trail(hook, &all);

        let stream = if hook == Hook::Out {
            Stream::outward(&world)
        } else {
            Stream::inward(&world)
        };
        stream.wait(100);
        let report = stream.stop();
        assert_eq!((report.lost, report.trails.len()), (vec![], 1));
        assert!(
            report.trails.contains_key(&all),
            "packets on the wire meet all of them"
        );

        // The policy has its own place behind them.
        world.at(hook, &["policy", "drop"]).ok();
        let trail = world.trail(hook);
        assert_eq!((trail.seen, trail.answer), (all.clone(), hook.drop()));
        world.at(hook, &["policy", "pass"]).ok();
        world.assert_trail(hook, &all);
        world.at(hook, &["move", "trail32", "--priority", "0"]).ok();
        world
            .at(hook, &["replace", "trail2", &trail::object(99)])
            .ok();
        let moved: Vec<u8> = [32, 1, 99].into_iter().chain(3..=31).collect();
        world.assert_trail(hook, &moved);
    }
}

#[test]
fn a_drop_policy_fails_closed() {
    for hook in [Hook::Xdp, Hook::In] {
        let world = World::with_addresses();
        // Before anything is attached.
        world.at(hook, &["policy", "drop"]).ok();
        let chain = world.chain(hook).expect("a policy is a chain");
        assert_eq!((chain.policy.as_str(), chain.nodes.len()), ("drop", 0));
        assert_eq!(world.trail(hook).answer, hook.drop());

        // What goes on is dropped at the end; what is accepted before is not.
        world.attach(hook, &trail::object(1), &[]);
        assert_eq!(world.trail(hook).answer, hook.drop());
        world.at(hook, &["detach", "trail1"]).ok();
        assert_eq!(
            world.trail(hook).answer,
            hook.drop(),
            "an empty chain still drops"
        );
        assert_eq!(world.chain(hook).expect("the policy stays").policy, "drop");

        world.at(hook, &["policy", "pass"]).ok();
        assert_eq!(world.trail(hook).answer, hook.pass());
        assert_eq!(udp_arrives(&world, false, &[1, 2]), [true, true]);
        assert!(world.programs(hook).is_empty(), "nothing is left to run");
        assert_eq!(world.chain(hook), None);
    }
}

#[test]
fn a_policy_drops_real_packets() {
    let world = World::new();
    let ip = Ip::new("10.1.0.1", "10.1.0.2");
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    world
        .on(&["policy", "drop", "--hook", "interface/xdp"])
        .ok();
    let frames = [1, 2, 3].map(|port| Frame::from_outside().ip(&ip.udp(9, port, b"")));
    let (from, to) = (world.tap_outside(), world.tap_inside());
    for frame in &frames {
        from.send(frame);
    }
    // Nothing can come through that would tell that they did not: open the chain, and see what
    // comes first.
    world
        .on(&["policy", "pass", "--hook", "interface/xdp"])
        .ok();
    let marker = Frame::from_outside().ip(&ip.udp(9, 9, b"marker"));
    assert_eq!(from.survivors(&to, &[], &marker), [true; 0]);
    let node = world
        .chain(Hook::Xdp)
        .expect("the chain is there")
        .nodes
        .remove(0);
    assert_eq!(node.packets.map(|tally| tally.go_on), Some(4));
}

#[test]
fn the_policy_is_the_one_of_the_only_chain_unless_said() {
    let world = World::new();
    let error = world.on(&["policy", "drop"]).fails("which-hook");
    assert_eq!(
        error,
        format!("nke: {IFACE}: policy: it has not just one chain; say which with --hook\n")
    );
    world.attach(Hook::In, &trail::object(1), &[]);
    world.on(&["policy", "drop"]).ok();
    assert_eq!(
        world.chain(Hook::In).expect("the chain is there").policy,
        "drop"
    );
    world.attach(Hook::Xdp, &trail::object(1), &[]);
    assert!(
        world
            .on(&["policy", "pass"])
            .fails("which-hook")
            .contains("say which with --hook")
    );
}

#[test]
fn any_sequence_of_edits_leaves_the_chain_that_they_mean() {
    for (hook, seed) in [(Hook::Xdp, 1), (Hook::In, 2), (Hook::Out, 3)] {
        Edits {
            world: World::new(),
            hook,
            model: Vec::new(),
            random: seed,
        }
        .run(40);
    }
}

/// Random edits of a chain, beside a list that says what the chain is to be.
struct Edits {
    world: World,
    hook: Hook,
    /// The trail number, id and priority of each attachment.
    model: Vec<(u8, u32, i64)>,
    random: u64,
}

impl Edits {
    fn run(mut self, count: usize) {
        for _ in 0..count {
            match self.pick(5) {
                0 | 1 if self.model.len() < 12 => self.attach(),
                2 if !self.model.is_empty() => self.detach(),
                3 if self.model.len() > 1 => self.reposition(),
                4 if !self.model.is_empty() => self.replace(),
                _ => self.attach(),
            }
            let seen: Vec<u8> = self.model.iter().map(|(number, ..)| *number).collect();
            self.world.assert_trail(self.hook, &seen);
            let chain = self.world.chain(self.hook);
            let shown = chain.iter().flat_map(|chain| &chain.nodes);
            let shown: Vec<_> = shown.map(|node| (node.id, node.priority)).collect();
            let meant: Vec<_> = self
                .model
                .iter()
                .map(|(_, id, prio)| (*id, *prio))
                .collect();
            assert_eq!(shown, meant);
        }
    }

    /// A number below `limit`, the same in every run.
    fn pick(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).expect("31 bits") % limit
    }

    fn number(&mut self) -> u8 {
        u8::try_from(1 + self.pick(20)).expect("small")
    }

    /// A position in words, and where and with which priority that is.
    fn position(&mut self) -> (Vec<String>, usize, i64) {
        if self.model.is_empty() || self.pick(2) == 0 {
            let priority = i64::try_from(self.pick(5)).expect("small");
            let at = self
                .model
                .iter()
                .take_while(|(.., its)| *its <= priority)
                .count();
            return (
                vec!["--priority".into(), priority.to_string()],
                at,
                priority,
            );
        }
        let other = self.pick(self.model.len());
        let (_, id, priority) = self.model[other];
        let (word, at) = [("--before", other), ("--after", other + 1)][self.pick(2)];
        (vec![word.into(), id.to_string()], at, priority)
    }

    fn attach(&mut self) {
        let number = self.number();
        let (words, at, priority) = self.position();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let id = self.world.attach(self.hook, &trail::object(number), &words);
        self.model.insert(at, (number, id, priority));
    }

    fn detach(&mut self) {
        let at = self.pick(self.model.len());
        let (_, id, _) = self.model.remove(at);
        self.world.nke(&["detach", &id.to_string()]).ok();
    }

    fn reposition(&mut self) {
        let from = self.pick(self.model.len());
        let (number, id, _) = self.model.remove(from);
        let (words, at, priority) = self.position();
        let id_text = id.to_string();
        let words: Vec<&str> = ["move", &id_text]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        self.world.nke(&words).ok();
        self.model.insert(at, (number, id, priority));
    }

    fn replace(&mut self) {
        let at = self.pick(self.model.len());
        let number = self.number();
        let id = self.model[at].1.to_string();
        self.world
            .nke(&["replace", &id, &trail::object(number)])
            .ok();
        self.model[at].0 = number;
    }
}
