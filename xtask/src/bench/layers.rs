//! What a node costs at the IP and socket hooks: by test run where the kernel has it, and in datagrams
//! that a socket sends to another over the loopback interface, and in connects.
//!
//! Each candidate has a room of its own, so that its programs see only its packets. The receiving
//! socket's buffer is full from the start: a datagram goes through every hook of both ways and is
//! dropped at the very end, so that nobody need read it. All of it runs on the sender's core.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nke::control::Attach;
use nke::hook::{Hook, Kind, ProgramType};
use nke::order::Position;
use nke::sys::program::{TestRun, test_run};
use nke::sys::{self, link, program};
use nke::target::Where;
use serde_json::{Map, Value, json};

use super::Effort;
use super::nodes::{cell, heading, program as verdict};
use super::report::{Report, Table};
use super::samples::Samples;
use super::stage::{Room, STATE, Stage};

const LENGTHS: [usize; 3] = [1, 4, 16];
/// The hooks, with the object that serves each and nftables' name of the same place.
const HOOKS: [(&str, &str, Option<&str>); 5] = [
    ("ip/in", "node-netfilter", Some("input")),
    ("ip/out", "node-netfilter", Some("output")),
    ("socket/data-in", "node-ingress", None),
    ("socket/data-out", "node-egress", None),
    ("socket/connect4", "node-connect", None),
];
const CONNECT: &str = "socket/connect4";
/// Of datagrams there go fewer into a round than of test runs: each takes a hundred times as long.
const SHARE: u32 = 25;
/// The most that a node may cost at the packet hooks.
const BUDGET: f64 = 4.0;

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
    hook: usize,
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
    for hook in 0..HOOKS.len() {
        for (way, ..) in WAYS {
            if way == Way::Nftables && HOOKS[hook].2.is_none() {
                continue;
            }
            for nodes in LENGTHS {
                candidates.push(Candidate::new(stage, hook, way, nodes)?);
                stage.check()?;
            }
        }
    }
    let packets = effort.packets / SHARE;
    let mut bare = [Samples::default(), Samples::default()];
    let mut bare_run = Samples::default();
    let pass = HOOKS
        .map(|(name, ..)| empty_program(name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for round in 0..=effort.rounds {
        stage.progress("a node at the upper layers", round, effort.rounds)?;
        let base = [empty.send(packets)?, empty.connect(packets)?];
        for candidate in &mut candidates {
            let connects = HOOKS[candidate.hook].0 == CONNECT;
            let time = match connects {
                true => candidate.sockets.connect(packets)?,
                false => candidate.sockets.send(packets)?,
            };
            let pass = pass[candidate.hook].as_ref();
            let run = match (&candidate.root, pass) {
                (Some(root), Some(pass)) => Some((
                    time_of(root, effort.packets)?,
                    time_of(pass, effort.packets)?,
                )),
                _ => None,
            };
            // The first round finds cold caches.
            if round > 0 {
                let nodes = candidate.nodes as f64;
                candidate
                    .live
                    .push((time - base[usize::from(connects)]) / nodes);
                if let Some((run, base)) = run {
                    candidate.run.push((run - base) / nodes);
                    bare_run.push(base);
                }
            }
            stage.check()?;
        }
        if round > 0 {
            for (samples, time) in bare.iter_mut().zip(base) {
                samples.push(time);
            }
        }
    }
    tell(&candidates, &bare, &bare_run, report);
    Ok(())
}

impl Candidate {
    fn new(stage: &mut Stage<'_>, hook: usize, way: Way, nodes: usize) -> Result<Self> {
        let room = stage.room()?;
        let mut root = None;
        let mut links = Vec::new();
        match way {
            Way::Plain | Way::Counted => {
                root = chain(stage, &room, hook, nodes, way == Way::Counted)?
            }
            Way::Nftables => rules(&room, HOOKS[hook].2.unwrap_or_default(), nodes)?,
            Way::List => links = list(stage, &room, hook, nodes)?,
        }
        Ok(Self {
            hook,
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

fn hook(name: &str) -> Result<Hook> {
    name.parse().map_err(|_| anyhow::anyhow!("no hook {name}"))
}

/// A chain of one extension again and again; the program that the kernel calls for it, if it can be
/// run for a test.
fn chain(
    stage: &Stage<'_>,
    room: &Room,
    at: usize,
    nodes: usize,
    counters: bool,
) -> Result<Option<OwnedFd>> {
    let (name, object, _) = HOOKS[at];
    let hook = hook(name)?;
    let (place, target) = match hook.row().kind {
        Kind::Cgroup => (
            Where::Cgroup {
                path: room.cgroup.clone(),
            },
            room.cgroup.clone(),
        ),
        _ => {
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
            place: place.clone(),
            hook: Some(hook),
            counters,
            position: Position::default(),
            ..Attach::new(object, "lo")
        })?;
    }
    if !runnable(hook) {
        return Ok(None);
    }
    let inode = fs::metadata(&target)
        .context("a room without a door")?
        .ino();
    let link = format!("{STATE}/chains/{}/{inode}/link", name.replace('/', "-"));
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
fn list(stage: &Stage<'_>, room: &Room, at: usize, nodes: usize) -> Result<Vec<OwnedFd>> {
    let (name, object, _) = HOOKS[at];
    let hook = hook(name)?;
    let program = stage.objects.load(object, &[])?;
    let mut links = Vec::new();
    for nth in 0..nodes {
        links.push(
            match hook.row().kind {
                Kind::Cgroup => {
                    let cgroup = File::open(&room.cgroup).context("cannot open a cgroup")?;
                    link::create_at(&program, cgroup, hook.row().attach_type)
                }
                _ => {
                    let at = link::Netfilter {
                        family: libc::PF_INET.cast_unsigned(),
                        hook: hook.row().attach_type,
                        priority: nth as i32 - 1,
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
fn empty_program(name: &str) -> Result<Option<OwnedFd>> {
    let hook = hook(name)?;
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

fn tell(candidates: &[Candidate], bare: &[Samples; 2], bare_run: &Samples, report: &mut Report) {
    let mut values = Map::new();
    let mut live = vec![heading(&LENGTHS)];
    let mut runs = live.clone();
    for (at, (hook, ..)) in HOOKS.iter().enumerate() {
        let mut of_hook = Map::new();
        for (way, name, key) in WAYS {
            let row: Vec<_> = candidates
                .iter()
                .filter(|c| c.hook == at && c.way == way)
                .collect();
            if row.is_empty() {
                continue;
            }
            let cells = |samples: fn(&Candidate) -> &Samples| {
                let title = [format!("{hook}: {name}")].into_iter();
                title
                    .chain(row.iter().map(|c| cell(samples(c))))
                    .collect::<Vec<_>>()
            };
            live.push(cells(|candidate| &candidate.live));
            if row.iter().all(|candidate| candidate.root.is_some()) {
                runs.push(cells(|candidate| &candidate.run));
            }
            let by_length = row.iter().map(|c| {
                let both = json!({"live": c.live.json(), "test_run": c.root.as_ref().map(|_| c.run.json())});
                (c.nodes.to_string(), both)
            });
            of_hook.insert(key.to_owned(), Value::Object(by_length.collect()));
        }
        values.insert((*hook).to_owned(), Value::Object(of_hook));
        targets(at, candidates, report);
    }
    report.table(Table {
        title: "Nanoseconds that a program adds, by BPF_PROG_TEST_RUN; programs:".to_owned(),
        rows: runs,
        notes: vec![format!("an empty program alone: {} ns", bare_run.told(1))],
    });
    report.table(Table {
        title: "Nanoseconds that a program or rule adds to a datagram, or to a connect; programs:"
            .to_owned(),
        rows: live,
        notes: vec![
            format!("a datagram with empty hooks: {} ns", bare[0].told(0)),
            format!("a connect with an empty hook: {} ns", bare[1].told(0)),
        ],
    });
    values.insert("datagram".to_owned(), bare[0].json());
    values.insert("connect".to_owned(), bare[1].json());
    report.value("layers", Value::Object(values));
}

/// A hook's targets, at the longest chain.
fn targets(at: usize, candidates: &[Candidate], report: &mut Report) {
    let (hook, _, nftables) = HOOKS[at];
    let longest = LENGTHS[LENGTHS.len() - 1];
    let of = |way: Way| {
        candidates
            .iter()
            .find(|c| (c.hook, c.way, c.nodes) == (at, way, longest))
    };
    let live = |way: Way| of(way).map_or(f64::NAN, |candidate| candidate.live.median());
    for (way, what) in [(Way::Plain, "without"), (Way::Counted, "with")] {
        let node = format!("{hook}: a node of {longest}, {what} counters");
        if let Some(candidate) = of(way).filter(|candidate| candidate.root.is_some()) {
            report.target(&node, candidate.run.median(), BUDGET, "ns");
        }
        if nftables.is_some() {
            report.target(
                &format!("{node}, against a rule"),
                live(way),
                live(Way::Nftables),
                "ns",
            );
        }
        report.target(
            &format!("{node}, against the list"),
            live(way),
            live(Way::List),
            "ns",
        );
    }
}
