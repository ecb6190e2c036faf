//! Rules on trial: packets are run through the packet filter's own program in the kernel, which is
//! attached to nothing.
//!
//! ```no_run
//! use nke::filter::{Capture, RuleSet, Trial};
//!
//! let rules: RuleSet = "drop proto udp to any port 53".parse()?;
//! let trial = Trial::load("interface/xdp".parse().unwrap())?;
//! trial.table()?.write(&rules)?;
//! let mut capture = Capture::new(std::fs::File::open("trace.pcap")?)?;
//! while let Some(packet) = capture.next_packet()? {
//!     println!("{}: {:?}", packet.number, trial.run(&packet.bytes)?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The program is loaded as it is in its file, runs by `BPF_PROG_TEST_RUN`, and goes with the
//! [`Trial`]. This never attaches, pins or sends anything.

mod capture;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

pub use self::capture::{Capture, Captured, Unreadable};
use super::dissect::dissect_behind_link;
use super::{
    Action, Direction, Followed, Frame, InterfaceName, Judgement, KnownSets, Obscured, Packet,
    RuleSet, SETS_MAP, Sets, Table, dissect,
};
use crate::{
    error::{Error, Result},
    find::{Wanted, find},
    hook::{Hook, ProgramType, Way},
    loader::{self, Manner, Maps},
    object::Object,
    seal::{Level, refuse_from},
    state,
    sys::{
        map::{self, Shape},
        program::{self, TestRun},
    },
};

/// The extension whose rules these are.
const EXTENSION: &str = "packet-filter";

/// Length of the Ethernet header.
const LINK: usize = 14;

/// What the program says of a packet that leaves, as an answer or by another interface: `XDP_TX`, `XDP_REDIRECT`,
/// `TC_ACT_REDIRECT`.
const SENT: [(ProgramType, i32); 3] = [
    (ProgramType::Xdp, 3),
    (ProgramType::Xdp, 4),
    (ProgramType::SchedCls, 7),
];

/// The filter's program, attached to nothing. Everything passes until its table has rules.
pub struct Trial {
    hook: Hook,
    /// By which packets are taken to come; or to go, if they go out.
    interface: Option<InterfaceName>,
    program: OwnedFd,
    /// The fast path of its rules, and what that hands packets over by.
    fast: Option<(OwnedFd, OwnedFd)>,
    maps: Maps,
    /// Whether none of its named sets is another's.
    own_sets: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The kernel has judged it: it passes, or is dropped.
    Judged(Action),
    /// It is rejected, and there is an answer; or it is redirected.
    Sent,
    /// The hook never sees such packets: at the IP layer, what is not IP.
    NotThere,
    /// The kernel does not run the program on it: it has no whole link header, or at hooks behind
    /// the device no whole IP header.
    Refused,
    /// It has not been run: the kernel takes its beginning only, and the rules tell that from the whole.
    TooLong,
}

impl Tried {
    /// Whether that is what an action comes to. Not all that is rejected is answered. Of what has not been judged
    /// nothing is known.
    #[must_use]
    pub fn is(self, action: Action) -> bool {
        match self {
            Self::Judged(Action::Drop) => matches!(action, Action::Drop | Action::Reject(_)),
            Self::Judged(judged) => judged == action,
            Self::Sent => matches!(action, Action::Reject(_) | Action::Redirect(_)),
            Self::NotThere | Self::Refused | Self::TooLong => true,
        }
    }
}

impl Trial {
    /// So much of a packet is run at most. The kernel's test run takes a page, less the room in front of a packet and
    /// behind it (net/bpf/test_run.c): with pages of 4,096 bytes 3,712 (`EINVAL` beyond), and 3,520 of a frame of XDP. Of
    /// those it takes up to 73,152, but in several buffers, of which a program sees the first. Kernels that were
    /// built with room for more fragments have up to 448 bytes less. All headers that are read lie within.
    pub const LONGEST: usize = 3000;

    /// Loads the bundled filter as for a hook.
    ///
    /// # Errors
    ///
    /// Those of finding and loading an extension, and of hooks that the filter does not serve;
    /// [`Error::Sealed`]: what is only tried is new code as well.
    pub fn load(hook: Hook) -> Result<Self> {
        let Ok(wanted) = EXTENSION.parse();
        Self::of(hook, &wanted)
    }

    /// The same, of a filter in this file.
    ///
    /// # Errors
    ///
    /// As [`Trial::load`].
    pub fn load_file(hook: Hook, file: &Path) -> Result<Self> {
        Self::of(hook, &Wanted::Path(file.to_owned()))
    }

    fn of(hook: Hook, wanted: &Wanted) -> Result<Self> {
        refuse_from(Level::NoNewCode)?;
        state::raise_memory_limit();
        let found = find(wanted)?;
        let object = Object::parse_beside(EXTENSION, found.bytes, found.manifest)?;
        let (_, program) = object.choose(hook.row().kind, Some(hook), None)?;
        let maps = loader::make_maps(&object, |_| true)?;
        loader::fill_maps(&object, &maps, |_| true)?;
        let descriptors: BTreeMap<_, _> = maps
            .iter()
            .map(|(name, map)| (name.clone(), map.as_fd()))
            .collect();
        let linked = object.link(&program.symbol, &descriptors)?;
        let manner = Manner::of(hook.row(), false);
        let program = loader::load_as(EXTENSION, &program.symbol, &linked, manner)?;
        Ok(Self {
            hook,
            // What the kernel runs a program on as a test comes by the loopback device.
            interface: "lo".parse().ok(),
            program,
            fast: None,
            maps,
            own_sets: false,
        })
    }

    /// Has what a fast path knows of its named sets follow their edits, as that of an attachment does. None of them may be
    /// [taken over](Sets::adopt) then.
    #[must_use]
    pub fn with_own_sets(self) -> Self {
        let own_sets = true;
        Self { own_sets, ..self }
    }

    /// The rules that it goes by.
    ///
    /// # Errors
    ///
    /// [`filter::Error`](super::Error) if the kernel does not give them out.
    pub fn table(&self) -> std::result::Result<Table, super::Error> {
        let mut table = Table::of(&self.maps)?.with_sets(self.sets());
        if let Some(interface) = self.interface {
            table.try_on(interface);
        }
        Ok(table)
    }

    /// Has packets that are run from now on go the way that they go where an attachment has these rules: by the fast path that the
    /// rules can have.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`], [`Error::Refused`] if the kernel does not take the fast path.
    pub fn hasten(&mut self) -> Result<()> {
        self.fast = None;
        let path = self.table().and_then(|table| table.fast_path(self.hook));
        let Some(path) = path.ok().flatten() else {
            return Ok(());
        };
        let failed = |source| Error::Kernel {
            object: EXTENSION.to_owned(),
            stage: "make its fast path",
            source,
            remedy: "check the memory that is free",
        };
        let slow = map::create(Shape::program_array("nke_slow")).map_err(failed)?;
        let program = self.program.as_raw_fd().to_ne_bytes();
        map::update(&slow, &[0; 4], &program).map_err(failed)?;
        let body = path.body(slow.as_raw_fd());
        let fast = loader::load_own("nke_fast", self.hook, false, &body)?;
        self.fast = Some((fast, slow));
        Ok(())
    }

    /// Has packets that are run from now on come by this interface, which need not be there; at first it is `lo`. Rules
    /// that ask for interfaces must be written anew then, by a table that was [told](Table::try_on).
    pub const fn come_by(&mut self, interface: InterfaceName) {
        self.interface = Some(interface);
    }

    /// By which interface packets come.
    #[must_use]
    pub const fn interface(&self) -> Option<InterfaceName> {
        self.interface
    }

    /// The named sets that its rules can ask for: none of them is there unless it is
    /// [taken over](Sets::adopt).
    #[must_use]
    pub fn sets(&self) -> Option<Sets> {
        let map = self.maps.get(SETS_MAP)?;
        let sets = match self.own_sets {
            true => Sets::new,
            false => Sets::on_trial,
        };
        map.try_clone().ok().map(sets)
    }

    /// Runs a packet, which begins with its Ethernet header; of one that is longer than [`Trial::LONGEST`] its beginning.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] if the kernel cannot run the program at all.
    pub fn run(&self, packet: &[u8]) -> Result<Tried> {
        let mut packet = &packet[..packet.len().min(Self::LONGEST)];
        let row = self.hook.row();
        let kind = packet.get(12..14);
        let family = match kind {
            Some([0x08, 0x00]) => Some(libc::NFPROTO_IPV4),
            Some([0x86, 0xdd]) => Some(libc::NFPROTO_IPV6),
            Some(_) | None => None,
        };
        let mut context = Vec::new();
        if row.program_type == ProgramType::Netfilter {
            let Some(family) = family else {
                return Ok(Tried::NotThere);
            };
            // struct nf_hook_state: the hook, the family, and pointers that stay the kernel's.
            context = vec![0; 8 + 5 * size_of::<usize>()];
            context[0] = row.attach_type.to_le_bytes()[0];
            context[1] = family.to_le_bytes()[0];
            if row.is_tested_without_link() {
                packet = packet.get(LINK..).unwrap_or_default();
            }
        }
        let run = TestRun {
            packet,
            context: &context,
            ..TestRun::default()
        };
        let program = self.fast.as_ref().map_or(&self.program, |(fast, _)| fast);
        match program::test_run(program, &run) {
            Ok((verdict, _)) => Ok(self.tried(verdict.cast_signed())),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Tried::Refused),
            Err(source) => Err(Error::Kernel {
                object: EXTENSION.to_owned(),
                stage: "test",
                source,
                remedy: "the kernel must have BPF_PROG_TEST_RUN for this hook: try interface/xdp",
            }),
        }
    }

    fn tried(&self, verdict: i32) -> Tried {
        let row = self.hook.row();
        if verdict == row.pass || row.go_on.contains(&verdict) {
            Tried::Judged(Action::Pass)
        } else if SENT.contains(&(row.program_type, verdict)) {
            Tried::Sent
        } else {
            Tried::Judged(Action::Drop)
        }
    }

    /// Whether the beginning of a packet, if more of it cannot be run, comes to what the whole packet comes to, by the
    /// same rules.
    #[must_use]
    pub fn is_told_by_beginning(&self, rules: &RuleSet, known: &KnownSets, packet: &[u8]) -> bool {
        if packet.len() <= Self::LONGEST {
            return true;
        }
        let (beginning, whole) = (self.dissect(packet), self.read(packet));
        let goes_on = |read: &std::result::Result<Packet, Obscured>| {
            let read = read.as_ref().ok()?;
            Some(rules.going_on_with(read, known))
        };
        rules.judge_with(&beginning, known) == rules.judge_with(&whole, known)
            && goes_on(&beginning) == goes_on(&whole)
    }

    /// What the rules can ask of a packet that is run, read by the book.
    ///
    /// # Errors
    ///
    /// [`Obscured`] if the packet hides what it carries behind too many extension headers.
    pub fn dissect(&self, packet: &[u8]) -> std::result::Result<Packet, Obscured> {
        self.read(&packet[..packet.len().min(Self::LONGEST)])
    }

    fn read(&self, packet: &[u8]) -> std::result::Result<Packet, Obscured> {
        let interface = self.interface;
        let whole = |bytes: &[u8], has_link, read: Packet| Packet {
            interface,
            frame: Some(Frame {
                bytes: bytes.into(),
                has_link,
            }),
            ..read
        };
        match (self.hook.row().program_type, packet) {
            (ProgramType::Netfilter, [_, _, _, _, _, _, _, _, _, _, _, _, high, low, ip @ ..]) => {
                let kind = u16::from_be_bytes([*high, *low]);
                let read = dissect_behind_link(kind, ip, self.way())?;
                Ok(whole(ip, false, read))
            }
            _ => Ok(whole(packet, true, dissect(packet, self.way())?)),
        }
    }

    /// What the rules say of a packet that is run behind others, with the flows that those made known.
    #[must_use]
    pub fn expected(
        &self,
        rules: &RuleSet,
        known: &KnownSets,
        followed: &Followed,
        packet: &[u8],
    ) -> Judgement {
        let dissected = self.dissect(packet);
        let packet = &packet[..packet.len().min(Self::LONGEST)];
        let has_link = self.hook.row().program_type != ProgramType::Netfilter;
        let bytes = match has_link {
            true => packet,
            false => packet.get(LINK..).unwrap_or_default(),
        };
        let judge = || rules.judge_with(&dissected, known);
        followed.judge(rules, judge, bytes, self.way(), has_link)
    }

    /// The way of what comes by the hook. What is forwarded is judged as going in.
    #[must_use]
    pub fn way(&self) -> Direction {
        match self.hook.row().way {
            Way::Out => Direction::Out,
            Way::In | Way::Forward | Way::Call => Direction::In,
        }
    }
}
