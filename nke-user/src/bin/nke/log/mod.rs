//! `nke log`: the log lines and records of extensions, as they come.
//!
//! An extension writes its lines with aya-log, into a ring buffer of its own, and sends records of
//! sockets through another. The lock is held only while looking for extensions, never while waiting
//! for lines.

mod records;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    os::fd::AsFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    rc::Rc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use nke::{
    control::{NodeStatus, Scope},
    left_out::{LeftOut, Lines},
    records::Tail,
};
use serde_json::json;
use tokio::{
    io::unix::AsyncFd,
    signal::{self, unix::SignalKind},
    task::{AbortHandle, JoinSet, LocalSet},
    time,
};

use crate::{failure, open, output};

/// How often new extensions are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Prints an extension's lines.
struct Printer {
    extension: String,
    json: bool,
}

impl Log for Printer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let (level, extension) = (record.level(), &self.extension);
        if self.json {
            let line = json!({
                "record": "line",
                "time": now.to_string(),
                "extension": extension,
                "level": level.as_str(),
                "message": record.args().to_string(),
            });
            output::line(format_args!("{line}"));
            return;
        }
        output::line(format_args!(
            "{now} {level:<5} {extension}: {}",
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// The records of an extension, which its reader waits for; the loop reads the rest of them when the
/// extension goes.
type Records = Rc<RefCell<Tail>>;

/// What reads an extension.
struct Reader {
    tasks: Vec<AbortHandle>,
    records: Option<Records>,
    left_out: Option<LeftOut>,
}

impl Reader {
    /// Prints the rest, and ends.
    fn end(&mut self, json: bool) -> anyhow::Result<()> {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.drain(json)
    }

    fn drain(&mut self, json: bool) -> anyhow::Result<()> {
        if let Some(left_out) = &mut self.left_out {
            tell_left_out(left_out, json)?;
        }
        let records = self.records.as_ref();
        records.map_or(Ok(()), |tail| records::drain(&mut tail.borrow_mut(), json))
    }
}

/// An extension that is attached, and what is read of it besides its lines.
struct Found {
    node: NodeStatus,
    /// Nothing if they are read already.
    records: Option<Tail>,
    left_out: Option<LeftOut>,
}

/// Streams until interrupted.
pub(crate) fn run(state: &Path, name: Option<&str>, json: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("log: cannot wait for events")?;
    // What aya-log panics at is said in a line of its own.
    std::panic::set_hook(Box::new(|_| {}));
    LocalSet::new().block_on(&runtime, stream(state, name, json))
}

async fn stream(state: &Path, name: Option<&str>, json: bool) -> anyhow::Result<()> {
    if let Some(name) = name {
        say_if_absent(state, name)?;
    }
    // A reader that has ended stays here, so that its extension is not tried again and again.
    let mut open: BTreeMap<u32, Reader> = BTreeMap::new();
    let mut readers = JoinSet::new();
    let mut look = time::interval(LOOK);
    // From here on, an interrupt loses nothing that is there to be read.
    let mut interrupt = signal::unix::signal(SignalKind::interrupt())?;
    while output::is_read() {
        tokio::select! {
            _ = look.tick() => {
                let nodes = attached(state, name, &open)?;
                // What is detached would be kept alive by its reader.
                let gone: Vec<_> = open.keys().copied().filter(|kmid| !nodes.contains_key(kmid)).collect();
                for mut reader in gone.iter().filter_map(|kmid| open.remove(kmid)) {
                    report(reader.end(json));
                }
                // A loss wakes nobody.
                open.values_mut().for_each(|reader| report(reader.drain(json)));
                for (kmid, Found { node, records, left_out }) in nodes {
                    if let Entry::Vacant(entry) = open.entry(kmid) {
                        let mut tasks = vec![readers.spawn_local(read(node, json))];
                        let records = records.map(|tail| Rc::new(RefCell::new(tail)));
                        if let Some(records) = records.clone() {
                            tasks.push(readers.spawn_local(follow(records, json)));
                        }
                        entry.insert(Reader { tasks, records, left_out });
                    }
                }
            }
            Some(ended) = readers.join_next() => {
                // One that was aborted has nothing to tell.
                if let Ok(ended) = ended {
                    report(ended);
                }
            }
            _ = interrupt.recv() => {
                open.values_mut().for_each(|reader| report(reader.end(json)));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// An extension can be attached later. Who has its name wrong would wait for ever.
fn say_if_absent(state: &Path, name: &str) -> anyhow::Result<()> {
    let chains = open::look(state)?.chains(&Scope::default())?;
    let nodes = chains.into_iter().flat_map(|chain| chain.nodes);
    let attached: BTreeSet<_> = nodes.map(|node| node.extension).collect();
    if !attached.contains(name) {
        let attached: Vec<_> = attached.into_iter().collect();
        let others = match attached.len() {
            0 => "nothing is".to_owned(),
            _ => format!("attached are: {}", attached.join(", ")),
        };
        output::note(format_args!(
            "note: extension {name}: log: it is not attached, and is waited for; {others}"
        ));
    }
    Ok(())
}

/// What goes wrong with one extension is said, and the others go on.
fn report(done: anyhow::Result<()>) {
    if let Err(error) = done {
        let _: ExitCode = failure::tell(&error, failure::Manner::default());
    }
}

/// Says how many lines an extension has left out since it was said last.
fn tell_left_out(left_out: &mut LeftOut, json: bool) -> anyhow::Result<()> {
    let Some(Lines { new, total }) = left_out.next()? else {
        return Ok(());
    };
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let extension = left_out.extension();
    if json {
        let told = json!({
            "record": "left-out",
            "time": now.to_string(),
            "extension": extension,
            "lines": new,
            "total": total,
        });
        output::line(format_args!("{told}"));
    } else {
        output::line(format_args!(
            "{now} {extension}: {} left out, {total} in all: more than it may write in a second",
            output::count(usize::try_from(new).unwrap_or(usize::MAX), "line")
        ));
    }
    Ok(())
}

/// An attachment of each extension that is attached, by kmid, and the records of those that are not
/// read yet.
fn attached(
    state: &Path,
    name: Option<&str>,
    open: &BTreeMap<u32, Reader>,
) -> anyhow::Result<BTreeMap<u32, Found>> {
    let control = open::look(state)?;
    let chains = control.chains(&Scope::default())?;
    let nodes = chains.into_iter().flat_map(|chain| chain.nodes);
    let wanted = nodes.filter(|node| name.is_none_or(|name| name == node.extension));
    let mut found = BTreeMap::new();
    for node in wanted {
        if let Entry::Vacant(entry) = found.entry(node.kmid) {
            let new = !open.contains_key(&node.kmid);
            let records = new.then(|| control.records(node.kmid)).transpose()?;
            let left_out = new.then(|| control.left_out(node.kmid)).transpose()?;
            entry.insert(Found {
                node,
                records: records.flatten(),
                left_out: left_out.flatten(),
            });
        }
    }
    Ok(found)
}

/// Prints one extension's records, while anybody reads them.
async fn follow(records: Records, json: bool) -> anyhow::Result<()> {
    let descriptor = records.borrow().as_fd().try_clone_to_owned()?;
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; the ring keeps its descriptor"
    )]
    let ring = AsyncFd::new(descriptor)?;
    while output::is_read() {
        let mut ready = ring.readable().await?;
        records::drain(&mut records.borrow_mut(), json)?;
        ready.clear_ready();
    }
    Ok(())
}

/// Prints one extension's lines, while anybody reads them.
async fn read(node: NodeStatus, json: bool) -> anyhow::Result<()> {
    let printer = Printer {
        extension: node.extension.clone(),
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
