//! One attached packet filter: its rules, and packets through it.

use std::{io::ErrorKind, path::PathBuf};

use nke::{
    control::{Control, Scope},
    filter::{Action, Decider, Direction, Error, Listing, RuleSet, Table},
    order::Selector,
};
use nke_tests::{Deadline, Hook, IFACE, Tap, World, fail, kernel};

/// The extension under test.
const EXTENSION: &str = "packet-filter";

pub(crate) struct Filter {
    hook: Hook,
    id: u32,
    state: PathBuf,
    /// The node's own program, and its fast path if there is one.
    programs: Vec<u32>,
    table: Table,
}

impl Filter {
    /// Attaches the bundled filter to the inside's interface.
    #[track_caller]
    pub(crate) fn attach(world: &World, hook: Hook) -> Self {
        #[derive(serde::Deserialize)]
        struct Attached {
            id: u32,
            program_id: u32,
        }
        let Attached { id, program_id } = world.at(hook, &["attach", EXTENSION, "--json"]).json();
        Self {
            hook,
            id,
            state: world.state(),
            programs: vec![program_id],
            table: Self::table(world, id),
        }
    }

    /// The maps of an attachment, found as the command finds them.
    pub(crate) fn table(world: &World, id: u32) -> Table {
        let control = Control::open(&world.state()).expect("the state is there");
        let scope = Scope {
            interface: Some(IFACE.to_owned()),
            netns: Some(world.inside.name().to_owned()),
            ..Scope::default()
        };
        let (_, maps) = control
            .attachment_maps(&Selector::Id(id), &scope)
            .expect("the attachment is there");
        let table = Table::open(&maps).expect("its maps are there");
        table.with_sets(control.sets(EXTENSION).ok())
    }

    pub(crate) fn direction(&self) -> Direction {
        match self.hook {
            Hook::Xdp | Hook::In => Direction::In,
            Hook::Out => Direction::Out,
        }
    }

    #[track_caller]
    pub(crate) fn write(&mut self, rules: &RuleSet) {
        self.try_write(rules).expect("the kernel takes the rules");
    }

    pub(crate) fn try_write(&mut self, rules: &RuleSet) -> Result<(), Error> {
        self.table.write(rules)?;
        self.hasten();
        Ok(())
    }

    /// Writes rules as who knows nothing of chains.
    #[track_caller]
    pub(crate) fn write_alone(&mut self, rules: &RuleSet) {
        self.table.write(rules).expect("the kernel takes the rules");
    }

    /// What becomes of a packet by the fast path, which must be there.
    #[track_caller]
    pub(crate) fn run_fast(&self, packet: &[u8]) -> Action {
        let [_, fast] = self.programs[..] else {
            fail("there is no fast path");
        };
        runner(self.hook, fast)(packet).expect("the kernel runs it")
    }

    /// Has the node get the fast path that its rules can have.
    #[track_caller]
    fn hasten(&mut self) {
        let mut control = Control::open(&self.state).expect("the state is there");
        control.hasten();
        let chains = control.own_chains(&Scope::default()).expect("chains");
        let mut nodes = chains.iter().flat_map(|chain| &chain.nodes);
        let node = nodes.find(|node| node.id == self.id);
        let fast = node.expect("it is attached").fast_path_id;
        self.programs.truncate(1);
        self.programs.extend(fast);
    }

    /// The attachment's number.
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// Whether there is a fast path.
    pub(crate) const fn is_fast(&self) -> bool {
        self.programs.len() > 1
    }

    #[track_caller]
    pub(crate) fn read(&self) -> Listing {
        self.table.read().expect("the kernel shows the rules")
    }

    /// How many bytes its rules take.
    #[track_caller]
    pub(crate) fn memory(&self) -> u64 {
        self.table.memory().expect("the kernel shows the rules")
    }

    /// What becomes of a packet; nothing if the kernel does not run the program on it: a TC
    /// program is run only on packets whose IP header is whole. On the wire there is no such
    /// mercy, and [`Filter::send`] has none.
    #[track_caller]
    pub(crate) fn run(&self, packet: &[u8]) -> Option<Action> {
        runner(self.hook, self.program(packet))(packet)
    }

    /// One of the node's programs, which all must say the same.
    fn program(&self, packet: &[u8]) -> u32 {
        let sum: usize = packet.iter().map(|byte| usize::from(*byte)).sum();
        self.programs[sum % self.programs.len()]
    }

    /// The same, for another thread.
    pub(crate) fn runner(&self) -> impl Fn(&[u8]) -> Option<Action> + Send + use<> {
        runner(self.hook, self.programs[0])
    }

    /// The same of its own program and of its fast path.
    pub(crate) fn runners(&self) -> Vec<impl Fn(&[u8]) -> Option<Action> + Send + Sync + use<>> {
        let programs = self.programs.iter();
        programs
            .map(|program| runner(self.hook, *program))
            .collect()
    }

    /// What the program answers of a packet, and what it has made of it.
    #[track_caller]
    pub(crate) fn made_over(&self, packet: &[u8]) -> kernel::TestRun {
        kernel::test_run(self.program(packet), packet).unwrap_or_else(|error| fail(error))
    }

    /// What the program answers of a packet; nothing if the kernel does not run it.
    pub(crate) fn run_code(&self, packet: &[u8]) -> Option<u32> {
        kernel::test_run(self.program(packet), packet)
            .ok()
            .map(|run| run.answer)
    }

    /// Sends a packet over the wire, and sees from the hits who decided about it.
    #[track_caller]
    pub(crate) fn send(&self, tap: &Tap, packet: &[u8]) -> Decider {
        self.sees(packet, || tap.send(packet))
    }

    /// Who decides about a packet that is sent now.
    #[track_caller]
    pub(crate) fn sees(&self, packet: &[u8], send: impl FnOnce()) -> Decider {
        let before = Deciders::of(&self.read());
        send();
        let mut decider = None;
        let came = Deadline::generous().until(|| {
            decider = Deciders::of(&self.read()).more_than(&before);
            decider.is_some()
        });
        assert!(came, "the filter never saw {packet:02x?}");
        decider.expect("it came")
    }

    /// The end of the wire from which packets come by.
    pub(crate) fn tap(&self, world: &World) -> Tap {
        match self.direction() {
            Direction::In => world.tap_outside(),
            Direction::Out => world.tap_inside(),
        }
    }
}

/// Who has decided how often.
struct Deciders(Vec<(Decider, u64)>);

impl Deciders {
    fn of(listing: &Listing) -> Self {
        let rules = listing.rules.iter().enumerate();
        let mut all: Vec<_> = rules
            .map(|(index, (_, hits))| (Decider::Rule(index), hits.packets))
            .collect();
        all.push((Decider::Default, listing.default_hits.packets));
        all.push((Decider::Obscured, listing.obscured_hits.packets));
        Self(all)
    }

    fn more_than(&self, before: &Self) -> Option<Decider> {
        let mut both = self.0.iter().zip(&before.0);
        both.find(|(now, before)| now.1 > before.1)
            .map(|(now, _)| now.0)
    }
}

fn runner(hook: Hook, program: u32) -> impl Fn(&[u8]) -> Option<Action> + Send {
    move |packet| {
        let answer = match kernel::test_run(program, packet) {
            Ok(run) => run.answer,
            Err(error) if error.kind() == ErrorKind::InvalidInput && hook != Hook::Xdp => {
                return None;
            }
            Err(error) => fail(format!("{error} of packet {packet:02x?}")),
        };
        if answer == hook.pass() {
            Some(Action::Pass)
        } else if answer == hook.drop() {
            Some(Action::Drop)
        } else {
            fail(format!("{answer} is neither pass nor drop"))
        }
    }
}
