//! What can be typed. Words become types here; past this module there is no text with a meaning.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use nke::{
    control::{Policy, Scope},
    find::Wanted,
    hook::{Family, Hook},
    mode::Mode,
    netfilter::Priority,
    order::{Position, Selector},
    so_nke::Descriptor,
    target::Where,
};

use crate::{
    apply::{Apply, Diff, Save},
    check, confirm, info, libs, load,
    map::Maps,
    path, query,
    rules::{Filter, Guard},
    seal::Seal,
    set,
    sign::{Keygen, Sign, Verify},
    unload,
    upgrade::{Rollback, Upgrade},
};

/// Attach packet filters to live interfaces, in order, and take them away again.
///
/// An extension is a BPF object file, made by any compiler. Attaching it makes its program a node
/// of the chain at a hook of an interface; a packet meets the nodes in order of priority until one
/// of them ends its way. The verbs take effect at once, under traffic, and without losing a packet.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Keep the state in this directory: a bpffs is mounted over it
    #[arg(
        long,
        env = "NKE_STATE",
        default_value = "/run/nke",
        value_name = "DIR",
        global = true
    )]
    pub(crate) state: PathBuf,
    /// Print the name of an error, and a refused program's whole verifier log
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "Exit status: 0 when it was done, 2 when the command line was not \
    understood, another when it was not done (and nothing has changed): each error has its own, and \
    a stable name, which -v prints; docs/errors.md lists them. With --json, a failure is one JSON \
    object on standard error.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Load extensions and hold them, attached or not
    ///
    /// What is loaded already is held once more. Of several, all are tried.
    Load(load::Load),
    /// Release an extension; it goes once nothing holds it
    ///
    /// Each `load` is undone by one `unload`, your own first. The last one is refused while an
    /// attachment or another extension uses it, and names those that do.
    Unload(unload::Unload),
    /// Say where extensions are searched for, or which file a name means
    ///
    /// The highest version wins, in whichever directory it lies; of equal ones the earlier
    /// directory's. A name with a '/' is no name but a path, and used as it is.
    Path(path::Path),
    /// Say whether an extension is loaded: its kmid, and the exit status
    Query(query::Query),
    /// Show what an extension is and needs, without loading it
    ///
    /// Needs no privilege. HERE tells whether the running kernel has what is needed.
    Info(info::Info),
    /// Show what an extension needs, and which extensions provide it
    ///
    /// A dependency is provided by what is loaded, or else by the highest version on the search path
    /// that will do; a map that no dependency names, by every extension that has one of exactly this
    /// name and layout, and the lines to add to the manifest are printed. Exit status: 0 when each
    /// is provided once, 1 when one is not provided, 2 when one is provided by several.
    Libs(libs::LibsOf),
    /// Find all that would keep extensions from running here
    ///
    /// Goes through every stage of loading and attaching them, to the verifier and the placement at
    /// each hook, and leaves nothing behind. Stages that need root are skipped without it.
    Check(check::Check),
    /// Attach an extension to an interface
    ///
    /// An extension that is not loaded is loaded, and goes again with its last attachment.
    Attach(Attach),
    /// Take an attachment out of its chain
    Detach {
        #[command(flatten)]
        which: Which,
        /// Opt this socket out: the number of a process, and of its descriptor
        #[arg(
            long,
            value_name = "PID:FD",
            conflicts_with_all = ["interface", "netns", "cgroup", "hook"]
        )]
        socket: Option<Descriptor>,
    },
    /// Give an attachment another place in its chain
    #[command(group(
        ArgGroup::new("where").args(["priority", "before", "after"]).required(true)
    ))]
    Move {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        to: To,
    },
    /// Switch an attachment off, and keep its place
    ///
    /// Every packet then goes past it to the next. Its id, priority, counters and maps stay.
    Disable(Which),
    /// Switch an attachment on again
    ///
    /// Its counters and maps go on as they were.
    Enable(Which),
    /// Put another extension in an attachment's place
    ///
    /// It gets the attachment's id, priority and place; its counters start from zero.
    Replace {
        /// The attachment's id, or its extension's name
        attachment: Selector,
        /// The extension that takes its place: a name, or a path (what holds a '/')
        new: Wanted,
        #[command(flatten)]
        place: Place,
        /// The program to take, by its symbol
        #[arg(long, value_name = "SYMBOL")]
        program: Option<String>,
    },
    /// Put another version of an extension in its place, everywhere, under traffic
    ///
    /// Attachments keep their ids, places and counters, and maps that have not changed their contents.
    /// All chains get it or none does; each by one step, in which no packet is lost.
    Upgrade(Upgrade),
    /// Go back to the version that was there before an upgrade
    Rollback(Rollback),
    /// Say what a chain does with packets that every extension lets go on
    Policy {
        /// pass or drop
        policy: Policy,
        #[command(flatten)]
        spot: Spot,
        /// The hook; needed unless there is just one chain
        #[arg(long)]
        hook: Option<Hook>,
    },
    Confirm(confirm::Confirm),
    #[command(hide = true)]
    ConfirmTimer(confirm::Timer),
    Apply(Apply),
    Diff(Diff),
    Save(Save),
    /// List the loaded extensions
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Show all of one extension or attachment
    Show {
        /// An extension's name, its kmid, or an attachment's id
        which: Selector,
        #[command(flatten)]
        format: Format,
    },
    /// Show chains: what a packet meets, in order
    ///
    /// GO-ON, DROPPED and OTHER are packets, in G, T, … once they are many. The policy is what
    /// becomes of a packet that every extension lets go on. Programs that are not nke's are shown
    /// where they run, and so are the base chains of nftables and the tables of iptables.
    ///
    /// With --way, every hook that a packet passes is shown, through all layers, in the order in
    /// which the kernel runs them: on its way in, forwarded, on its way out, and in a program's
    /// calls. What is not named is your own: the network namespace, the cgroup, all interfaces.
    /// What has no ID there is not nke's.
    Chain {
        /// Show a packet's whole way, through the interface, the network namespace, and the cgroup
        /// with those above it
        #[arg(long)]
        way: bool,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        format: Format,
    },
    /// See and change the rules of the packet filter, live
    ///
    /// A packet goes down the rules, and the first that matches decides. Every change is one step:
    /// a packet is judged by all of the old rules or by all of the new ones.
    #[command(subcommand)]
    Filter(Filter),
    /// See and change the rules of the connection guard, live
    ///
    /// What a program of the cgroup asks of a socket (connect, sendmsg, bind) goes down the rules,
    /// and the first that matches decides: `drop` makes it fail with EPERM. Every change is one
    /// step, for all of them.
    #[command(subcommand)]
    Guard(Guard),
    Seal(Seal),
    Keygen(Keygen),
    Sign(Sign),
    Verify(Verify),
    /// Change settings of an extension, live
    ///
    /// All values are checked before any is written, and each is written at once: a program sees
    /// the old one or the new one. Values are written as `get` prints them.
    Set(set::Set),
    /// Show an extension's settings: their values, and where these come from
    ///
    /// Without settings in its manifest, an extension's global variables are its settings.
    Get(set::Get),
    /// See and change the maps of loaded extensions
    ///
    /// Keys and values are printed as their object declares them: `{source: 10.0.0.1, port: 80}`,
    /// enums by name, arrays of characters as text; without types as bytes in hexadecimal. What is
    /// printed can be typed again.
    #[command(subcommand)]
    Map(Maps),
    /// Print the log lines and records of extensions as they come, until interrupted
    ///
    /// Records are what tcplog and socket-events send. What comes faster than it is read is lost, and
    /// counted: a line says how many, as it does of log lines that an extension leaves out for being too many. With
    /// --json, each line is an object.
    Log {
        /// Only this extension's, which is waited for if it is not attached yet
        name: Option<String>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Attach {
    /// A name to search in $NKE_PATH, or a path (what holds a '/')
    pub(crate) extension: Wanted,
    #[command(flatten)]
    pub(crate) spot: Spot,
    /// The hook; by default the first of the layer that the extension serves. socket/connect means
    /// socket/connect4, socket/connect6 and socket/connect-unix, as far as it serves them
    #[arg(long)]
    pub(crate) hook: Option<Family>,
    /// Have this extension provide what it lacks, if it has to be loaded: a dependency that its
    /// manifest does not name
    #[arg(long, value_name = "EXTENSION")]
    pub(crate) with: Vec<Wanted>,
    /// The program to take, by its symbol; needed if several serve the hook
    #[arg(long, value_name = "SYMBOL")]
    pub(crate) program: Option<String>,
    #[command(flatten)]
    pub(crate) to: To,
    /// How to have it called: interface/xdp native or generic, interface/in and interface/out tcx
    /// or clsact; by default the first that the driver and the kernel have
    #[arg(long)]
    pub(crate) mode: Option<Mode>,
    /// Where in netfilter to have it called (hooks ip/…), as nft says it: a number, or raw, mangle,
    /// dstnat, filter, security or srcnat, or "raw + 5"; lower runs first [default: filter - 1]
    #[arg(long, value_name = "PRIORITY", allow_negative_numbers = true)]
    pub(crate) netfilter_priority: Option<Priority>,
    /// Have packets put together from their fragments before (hooks ip/…; since Linux 6.6)
    #[arg(long)]
    pub(crate) defrag: bool,
    /// Do not count packets and bytes
    #[arg(long)]
    pub(crate) no_counters: bool,
    /// Only for sockets that opt in, by setsockopt(SO_NKE) or --socket (hooks socket/… of a cgroup)
    #[arg(long)]
    pub(crate) opt_in: bool,
    /// Opt this socket in, where the extension is attached with --opt-in: the number of a process,
    /// and of its descriptor
    #[arg(
        long,
        value_name = "PID:FD",
        conflicts_with_all = [
            "interface", "netns", "cgroup", "hook", "program", "priority", "before", "after", "mode",
            "no_counters", "opt_in", "json",
        ]
    )]
    pub(crate) socket: Option<Descriptor>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The attachment's id, or its extension's name
    pub(crate) attachment: Selector,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// What to attach to: an interface, a cgroup, or else a network namespace.
#[derive(Args, Debug)]
pub(crate) struct Spot {
    /// An interface (hooks interface/…)
    #[arg(short, long, value_name = "IFACE", conflicts_with = "cgroup")]
    interface: Option<String>,
    /// The interface's network namespace, or by itself one (hooks ip/…): a name of `ip netns`, or
    /// a path
    #[arg(long, value_name = "NS", conflicts_with = "cgroup")]
    netns: Option<String>,
    /// A cgroup of version 2 (hooks socket/…): its directory
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
}

impl From<&Spot> for Where {
    fn from(spot: &Spot) -> Self {
        let Spot {
            interface,
            netns,
            cgroup,
        } = spot;
        let netns = netns.clone();
        match (interface.clone(), cgroup.clone()) {
            (Some(name), _) => Self::Interface { name, netns },
            (None, Some(path)) => Self::Cgroup { path },
            (None, None) => Self::Namespace { netns },
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Place {
    /// Only at this interface
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// Only in this network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NS")]
    netns: Option<String>,
    /// Only at this cgroup
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Only at this hook, or the hooks of this family
    #[arg(long)]
    hook: Option<Family>,
}

impl From<&Place> for Scope {
    fn from(place: &Place) -> Self {
        let Place {
            interface,
            netns,
            cgroup,
            hook,
        } = place;
        Self {
            interface: interface.clone(),
            netns: netns.clone(),
            cgroup: cgroup.clone(),
            hook: hook.clone(),
        }
    }
}

#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct To {
    /// Its place among the others: lower runs first, equals in order of attachment [default: what
    /// its manifest says, or 50]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Just before this attachment (an id, or an extension's name)
    #[arg(long, value_name = "X")]
    before: Option<Selector>,
    /// Just after this attachment (an id, or an extension's name)
    #[arg(long, value_name = "X")]
    after: Option<Selector>,
}

impl To {
    /// The position that was asked for.
    pub(crate) fn position(&self) -> Option<Position> {
        let Self {
            priority,
            before,
            after,
        } = self;
        let before = before.clone().map(Position::Before);
        before
            .or(after.clone().map(Position::After))
            .or(priority.map(Position::Priority))
    }
}
