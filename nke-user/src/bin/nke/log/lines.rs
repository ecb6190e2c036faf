//! The log lines of one extension, as aya-log has them.
//!
//! A line of the packet filter's says when its packet came by, and where: see [`STAMPED`]. Of others it is not known when
//! they were written, but when they are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::bail;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use nke::{
    control::{ChainStatus, NodeStatus},
    filter,
    interface::Namespace,
};
use nke_ebpf::abi::STAMPED;
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;

use crate::output;

/// Where an extension is attached: its lines name interfaces by their indexes, which each namespace has for itself.
#[derive(Debug, Default)]
pub(super) struct Places {
    interfaces: BTreeMap<u32, BTreeSet<String>>,
    /// Those whose IP layer it is attached to; of the caller's own there is nothing.
    namespaces: BTreeSet<Option<String>>,
}

/// The same, as it is now.
pub(super) type Known = Arc<Mutex<Places>>;

impl Places {
    /// Notes a chain that the extension is in.
    pub(super) fn note(&mut self, chain: &ChainStatus) {
        match (&chain.interface, chain.ifindex) {
            (Some(name), Some(index)) => {
                self.interfaces
                    .entry(index)
                    .or_default()
                    .insert(name.clone());
            }
            (_, None) if chain.cgroup.is_none() => {
                self.namespaces.insert(chain.netns.clone());
            }
            (_, Some(_) | None) => {}
        }
    }

    /// The name of an interface, if only one can be meant.
    fn name(&self, index: u32) -> Option<String> {
        let mut names = self.interfaces.get(&index).cloned().unwrap_or_default();
        let found = self.namespaces.iter().filter_map(|name| {
            let namespace = Namespace::open(name.as_deref()).ok()?;
            namespace.interface(index)
        });
        names.extend(found);
        let only = names.pop_first();
        only.filter(|_| names.is_empty())
    }
}

/// What a line says beside its text.
struct Stamp<'a> {
    time: SystemTime,
    interface: Option<u32>,
    text: &'a str,
}

impl<'a> Stamp<'a> {
    /// What stands in front of the text of a line that has it.
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (then, interface) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let ago = Duration::from_nanos(filter::now().saturating_sub(then));
        let time = SystemTime::now().checked_sub(ago);
        Some(Self {
            time: time.unwrap_or(SystemTime::UNIX_EPOCH),
            interface: Some(interface).filter(|index| *index != 0),
            text: words.next()?,
        })
    }
}

/// Prints an extension's lines.
struct Printer {
    extension: String,
    places: Known,
    json: bool,
}

impl Log for Printer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        let stamped = (record.target() == STAMPED).then(|| Stamp::of(&line));
        let stamp = stamped.flatten().unwrap_or_else(|| Stamp {
            time: SystemTime::now(),
            interface: None,
            text: &line,
        });
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let name = stamp.interface.and_then(|index| places.name(index));
        self.print(record.level().as_str(), &stamp, name);
    }

    fn flush(&self) {}
}

impl Printer {
    fn print(&self, level: &str, stamp: &Stamp<'_>, name: Option<String>) {
        let time = humantime::format_rfc3339_millis(stamp.time);
        let (extension, text) = (&self.extension, stamp.text);
        if self.json {
            let mut line = json!({
                "record": "line",
                "time": time.to_string(),
                "extension": extension,
                "level": level,
                "message": text,
            });
            if let Some(index) = stamp.interface {
                line["ifindex"] = Value::from(index);
                line["interface"] = Value::from(name);
            }
            output::line(format_args!("{line}"));
            return;
        }
        let place = match (name, stamp.interface) {
            (Some(name), _) => format!(", on {name}"),
            (None, Some(index)) => format!(", on interface {index}"),
            (None, None) => String::new(),
        };
        output::line(format_args!("{time} {level:<5} {extension}: {text}{place}"));
    }
}

/// Prints one extension's lines, while anybody reads them.
pub(super) async fn read(node: NodeStatus, places: Known, json: bool) -> anyhow::Result<()> {
    let printer = Printer {
        extension: node.extension.clone(),
        places,
        json,
    };
    // Most extensions have no log.
    let Ok(logger) = EbpfLogger::init_from_id_with_logger(node.program_id, printer) else {
        return Ok(());
    };
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; a logger keeps its descriptor"
    )]
    let mut logger = AsyncFd::new(logger)?;
    while output::is_read() {
        let mut ready = logger.readable_mut().await?;
        // aya-log panics on records that are not its own.
        let flushed = catch_unwind(AssertUnwindSafe(|| ready.get_inner_mut().flush()));
        if flushed.is_err() {
            bail!(
                "extension {} ({}): log: its records are not aya-log's; rebuild it with aya-log 0.2",
                node.extension,
                node.kmid
            );
        }
        ready.clear_ready();
    }
    Ok(())
}
