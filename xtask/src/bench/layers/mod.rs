//! What a node costs at the IP and socket hooks: by test run where the kernel has it, and in datagrams
//! that a socket sends to another over the loopback interface, and in connects.
//!
//! Each candidate has a room of its own, so that its programs see only its packets. The receiving
//! socket's buffer is full from the start: a datagram goes through every hook of both ways and is
//! dropped at the very end, so that nobody need read it. All of it runs on the sender's core.

mod tell;

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nke::control::{Attach, Manner};
use nke::hook::{Hook, Kind, ProgramType};
use nke::sys::program::{TestRun, test_run};
use nke::sys::{self, link, program};
use nke::target::Where;

use super::Effort;
use super::nodes::program as verdict;
use super::report::Report;
use super::samples::Samples;
use super::stage::{Room, STATE, Stage};

const LENGTHS: [usize; 3] = [1, 4, 16];
/// A hook that is measured.
#[derive(PartialEq)]
struct Place {
    hook: &'static str,
    /// The object that serves it.
    object: &'static str,
    /// nftables' name of it.
    nftables: Option<&'static str>,
    /// Whether what meets it is a connect, and not a datagram.
    connects: bool,
}

const PLACES: [Place; 5] = [
    Place {
        nftables: Some("input"),
        ..place("ip/in", "node-netfilter")
    },
    Place {
        nftables: Some("output"),
        ..place("ip/out", "node-netfilter")
    },
    place("socket/data-in", "node-ingress"),
    place("socket/data-out", "node-egress"),
    Place {
        connects: true,
        ..place("socket/connect4", "node-connect")
    },
];

const fn place(hook: &'static str, object: &'static str) -> Place {
    Place {
        hook,
        object,
        nftables: None,
        connects: false,
    }
}

impl Place {
    fn hook(&self) -> Result<Hook> {
        let hook = self.hook.parse();
        hook.map_err(|_| anyhow::anyhow!("no hook {}", self.hook))
    }
}

/// Of datagrams there go fewer into a round than of test runs: each takes a hundred times as long.
const SHARE: u32 = 25;

/// A way of having several programs, or rules, at a hook.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Counted,
    Nftables,
    List,
}

const WAYS: [(Way, &str, &str); 4] = [
    (Way::Plain, "nke, without counters", "chain"),
    (Way::Counted, "nke, with counters", "chain_with_counters"),
    (Way::Nftables, "nftables rules", "nftables"),
    (Way::List, "the kernel's own list", "list"),
];

/// A hook with programs in one way, and the sockets whose datagrams meet them.
struct Candidate {
    place: &'static Place,
    way: Way,
    nodes: usize,
    sockets: Sockets,
    /// Of a chain, the program that the kernel calls, where it can be run for a test.
    root: Option<OwnedFd>,
    _links: Vec<OwnedFd>,
    live: Samples,
    run: Samples,
}

struct Sockets {
    sender: UdpSocket,
    receiver: UdpSocket,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let empty = stage.room()?;
    let empty = Sockets::open(stage, &empty)?;
    let mut candidates = Vec::new();
    let mut passes = Vec::new();
    for place in &PLACES {
        passes.push(empty_program(place.hook()?)?);
        for (way, ..) in WAYS {
            if way == Way::Nftables && place.nftables.is_none() {
                continue;
            }
            for nodes in LENGTHS {
                candidates.push(Candidate::new(stage, place, way, nodes)?);
                stage.check()?;
            }
        }
    }
    let packets = effort.packets / SHARE;
    let mut bare = [Samples::default(), Samples::default()];
    let mut bare_run = Samples::default();
    for round in 0..=effort.rounds {
        stage.progress("a node at the upper layers", round, effort.rounds)?;
        for candidate in &mut candidates {
            let connects = candidate.place.connects;
            // Right before, for the machine's speed drifts.
            let base = empty.time(connects, packets)?;
            let time = candidate.sockets.time(connects, packets)?;
            let pass = PLACES.iter().position(|place| place == candidate.place);
            let pass = pass.and_then(|at| passes[at].as_ref());
            let run = match (&candidate.root, pass) {
                (Some(root), Some(pass)) => {
                    let run = time_of(root, effort.packets)?;
                    Some((run, time_of(pass, effort.packets)?))
                }
                _ => None,
            };
            // The first round finds cold caches.
            if round > 0 {
                let nodes = candidate.nodes as f64;
                candidate.live.push((time - base) / nodes);
                bare[usize::from(connects)].push(base);
                if let Some((run, base)) = run {
                    candidate.run.push((run - base) / nodes);
                    bare_run.push(base);
                }
            }
            stage.check()?;
        }
    }
    tell::tell(&candidates, &bare, &bare_run, report);
    Ok(())
}

impl Candidate {
    fn new(stage: &mut Stage<'_>, place: &'static Place, way: Way, nodes: usize) -> Result<Self> {
        let room = stage.room()?;
        let mut root = None;
        let mut links = Vec::new();
        match way {
            Way::Plain | Way::Counted => {
                root = chain(stage, &room, place, nodes, way == Way::Counted)?
            }
            Way::Nftables => rules(&room, place.nftables.unwrap_or_default(), nodes)?,
            Way::List => links = list(stage, &room, place, nodes)?,
        }
        Ok(Self {
            place,
            way,
            nodes,
            sockets: Sockets::open(stage, &room)?,
            root,
            _links: links,
            live: Samples::default(),
            run: Samples::default(),
        })
    }
}

impl Sockets {
    fn open(stage: &Stage<'_>, room: &Room) -> Result<Self> {
        stage.inside(room, || {
            let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind")?;
            let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind")?;
            let address = receiver.local_addr().context("cannot tell the address")?;
            rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 0)
                .context("cannot set a buffer")?;
            sender.connect(address).context("cannot connect")?;
            Ok(Self { sender, receiver })
        })
    }

    /// Nanoseconds of a connect, or of a datagram.
    fn time(&self, connects: bool, times: u32) -> Result<f64> {
        if connects {
            self.connect(times)
        } else {
            self.send(times)
        }
    }

    /// Nanoseconds of a datagram, there and up to the full buffer.
    fn send(&self, packets: u32) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..packets {
            self.sender.send(&[0; 64]).context("cannot send")?;
        }
        Ok(began.elapsed().as_nanos() as f64 / f64::from(packets))
    }

    /// Nanoseconds of a connect.
    fn connect(&self, times: u32) -> Result<f64> {
        let address = self
            .receiver
            .local_addr()
            .context("cannot tell the address")?;
        let began = Instant::now();
        for _ in 0..times {
            self.sender.connect(address).context("cannot connect")?;
        }
        Ok(began.elapsed().as_nanos() as f64 / f64::from(times))
    }
}

/// A chain of one extension again and again; the program that the kernel calls for it, if it can be
/// run for a test.
fn chain(
    stage: &Stage<'_>,
    room: &Room,
    place: &Place,
    nodes: usize,
    counters: bool,
) -> Result<Option<OwnedFd>> {
    let (object, hook) = (place.object, place.hook()?);
    let (whole, target) = match hook.row().kind {
        Kind::Cgroup => (
            Where::Cgroup {
                path: room.cgroup.clone(),
            },
            room.cgroup.clone(),
        ),
        Kind::Namespace | Kind::Interface => {
            let netns = Some(room.namespace.clone());
            (
                Where::Namespace { netns },
                Path::new("/run/netns").join(&room.namespace),
            )
        }
    };
    let mut control = stage.control()?;
    for _ in 0..nodes {
        control.attach(&Attach {
            extension: nke::find::Wanted::Path(stage.objects.path(object)),
            place: whole.clone(),
            hook: Some(hook),
            manner: Manner {
                counters,
                ..Manner::default()
            },
            position: None,
            ..Attach::new(object, "lo")
        })?;
    }
    if !runnable(hook) {
        return Ok(None);
    }
    let inode = fs::metadata(&target)
        .context("a room without a door")?
        .ino();
    let link = format!(
        "{STATE}/chains/{}/{inode}/link",
        place.hook.replace('/', "-")
    );
    let open = || program::open(link::describe(sys::get(link.as_ref())?)?.program_id);
    Ok(Some(open().with_context(|| {
        format!("cannot open the root of {link}")
    })?))
}

/// Whether the kernel has `BPF_PROG_TEST_RUN` for a hook's programs.
fn runnable(hook: Hook) -> bool {
    matches!(
        hook.row().program_type,
        ProgramType::Netfilter | ProgramType::CgroupSkb
    )
}

/// Rules that look at what the nodes look at.
fn rules(room: &Room, hook: &str, rules: usize) -> Result<()> {
    let rules = "meta protocol 0x88b5 drop\n".repeat(rules);
    let script = format!(
        "table inet bench {{\nchain c {{\ntype filter hook {hook} priority -1;\n{rules}}}\n}}\n"
    );
    let mut nft = Command::new("ip")
        .args(["netns", "exec", &room.namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run nft")?;
    let input = nft.stdin.take().context("nft takes no input")?;
    std::io::Write::write_all(&mut &input, script.as_bytes()).context("cannot speak to nft")?;
    drop(input);
    ensure!(
        nft.wait().context("nft is lost")?.success(),
        "nft refuses the rules"
    );
    Ok(())
}

/// The same program again and again on the kernel's own list.
fn list(stage: &Stage<'_>, room: &Room, place: &Place, nodes: usize) -> Result<Vec<OwnedFd>> {
    let (object, hook) = (place.object, place.hook()?);
    let program = stage.objects.load(object, &[])?;
    let mut links = Vec::new();
    for nth in 0..nodes {
        links.push(
            match hook.row().kind {
                Kind::Cgroup => {
                    let cgroup = File::open(&room.cgroup).context("cannot open a cgroup")?;
                    link::create_at(&program, cgroup, hook.row().attach_type)
                }
                Kind::Namespace | Kind::Interface => {
                    let at = link::Netfilter {
                        family: libc::PF_INET.cast_unsigned(),
                        hook: hook.row().attach_type,
                        priority: nth as i32 - 1,
                        defrag: false,
                    };
                    stage.inside(room, || Ok(link::create_netfilter(&program, at)))?
                }
            }
            .with_context(|| format!("cannot attach {object}"))?,
        );
    }
    Ok(links)
}

/// A program that does nothing, to take from a test run what is not the chain's.
fn empty_program(hook: Hook) -> Result<Option<OwnedFd>> {
    runnable(hook)
        .then(|| verdict(hook, hook.row().pass))
        .transpose()
}

/// Nanoseconds of one run on an IPv4 packet behind its Ethernet header.
fn time_of(program: &OwnedFd, packets: u32) -> Result<f64> {
    let mut packet = [0; 64];
    packet[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    let run = TestRun {
        packet: &packet,
        repeat: packets,
        ..TestRun::default()
    };
    let (verdict, nanoseconds) = test_run(program, &run).context("cannot run a program")?;
    ensure!(verdict == 1, "a chain answered {verdict}");
    Ok(f64::from(nanoseconds))
}
