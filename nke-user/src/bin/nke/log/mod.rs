//! `nke log`: the log lines and records of extensions, as they come.
//!
//! An extension writes its lines with aya-log, into a ring buffer of its own, and sends records of
//! sockets through another. The lock is held only while looking for extensions, never while waiting
//! for lines.

mod lines;
mod records;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    os::fd::AsFd as _,
    path::Path,
    process::ExitCode,
    rc::Rc,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use nke::{
    control::{Control, NodeStatus, Scope},
    error::Error,
    left_out::{LeftOut, Lines},
    reading::Reading,
    records::Tail,
};
use serde_json::json;
use tokio::{
    io::unix::AsyncFd,
    signal::{self, unix::SignalKind},
    task::{AbortHandle, JoinSet, LocalSet},
    time,
};

use self::lines::{Known, Places};
use crate::{failure, open, output};

/// How often new extensions are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// The records of an extension, which its reader waits for; the loop reads the rest of them when the
/// extension goes.
type Records = Rc<RefCell<Tail>>;

/// What reads an extension.
struct Reader {
    tasks: Vec<AbortHandle>,
    records: Option<Records>,
    left_out: Option<LeftOut>,
    /// Where it is attached.
    places: Known,
    /// That nobody else reads it.
    _reading: Reading,
}

impl Reader {
    /// Prints the rest, and ends.
    fn end(&mut self, json: bool) -> anyhow::Result<()> {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.drain(json)
    }

    /// Knows where the extension is attached now.
    fn follow(&self, places: Places) {
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    fn drain(&mut self, json: bool) -> anyhow::Result<()> {
        if let Some(left_out) = &mut self.left_out {
            tell_left_out(left_out, json)?;
        }
        let records = self.records.as_ref();
        records.map_or(Ok(()), |tail| records::drain(&mut tail.borrow_mut(), json))
    }
}

/// An extension that is attached.
struct Found {
    node: NodeStatus,
    places: Places,
    /// Nothing if it is read already, or by another process.
    new: Option<New>,
}

/// What is read of an extension besides its lines.
struct New {
    records: Option<Tail>,
    left_out: Option<LeftOut>,
    reading: Reading,
}

/// Who reads an extension already: said once of each.
type Others = BTreeSet<u32>;

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
    let mut others = Others::new();
    let mut readers = JoinSet::new();
    let mut look = time::interval(LOOK);
    // From here on, an interrupt loses nothing that is there to be read.
    let mut interrupt = signal::unix::signal(SignalKind::interrupt())?;
    while output::is_read() {
        tokio::select! {
            _ = look.tick() => {
                let nodes = attached(state, name, &open, &mut others)?;
                // What is detached would be kept alive by its reader.
                let gone: Vec<_> = open.keys().copied().filter(|kmid| !nodes.contains_key(kmid)).collect();
                for mut reader in gone.iter().filter_map(|kmid| open.remove(kmid)) {
                    report(reader.end(json));
                }
                // A loss wakes nobody.
                open.values_mut().for_each(|reader| report(reader.drain(json)));
                for (kmid, Found { node, places, new }) in nodes {
                    match open.entry(kmid) {
                        Entry::Occupied(entry) => entry.get().follow(places),
                        Entry::Vacant(entry) => if let Some(new) = new {
                            entry.insert(start(&mut readers, node, places, new, json));
                        },
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

/// Begins to read an extension.
fn start(
    readers: &mut JoinSet<anyhow::Result<()>>,
    node: NodeStatus,
    places: Places,
    new: New,
    json: bool,
) -> Reader {
    let places = Known::new(Mutex::new(places));
    let lines = lines::read(node, Known::clone(&places), json);
    let mut tasks = vec![readers.spawn_local(lines)];
    let records = new.records.map(|tail| Rc::new(RefCell::new(tail)));
    if let Some(records) = records.clone() {
        tasks.push(readers.spawn_local(follow(records, json)));
    }
    Reader {
        tasks,
        records,
        left_out: new.left_out,
        places,
        _reading: new.reading,
    }
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

/// An attachment of each extension that is attached, by kmid, and what is to be read of those that are not read yet.
fn attached(
    state: &Path,
    name: Option<&str>,
    open: &BTreeMap<u32, Reader>,
    others: &mut Others,
) -> anyhow::Result<BTreeMap<u32, Found>> {
    let control = open::look(state)?;
    let mut found: BTreeMap<u32, Found> = BTreeMap::new();
    for chain in control.chains(&Scope::default())? {
        for node in &chain.nodes {
            if name.is_some_and(|name| name != node.extension) {
                continue;
            }
            let found = match found.entry(node.kmid) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let is_new = !open.contains_key(&node.kmid);
                    let new = is_new.then(|| New::of(&control, node.kmid)).transpose();
                    entry.insert(Found {
                        node: node.clone(),
                        places: Places::default(),
                        new: if_free(new, name, node.kmid, others)?,
                    })
                }
            };
            found.places.note(&chain);
        }
    }
    Ok(found)
}

/// What is to be read, unless another process reads it. Who has asked for that by name is refused; who reads all is told
/// so, and reads it when the other one has ended.
fn if_free(
    new: Result<Option<New>, Error>,
    name: Option<&str>,
    kmid: u32,
    others: &mut Others,
) -> Result<Option<New>, Error> {
    match new {
        Err(error @ Error::BeingRead { .. }) if name.is_none() => {
            if others.insert(kmid) {
                output::note(format_args!("note: {error}"));
            }
            Ok(None)
        }
        other => other,
    }
}

impl New {
    fn of(control: &Control, kmid: u32) -> Result<Self, Error> {
        Ok(Self {
            reading: control.reading(kmid)?,
            records: control.records(kmid)?,
            left_out: control.left_out(kmid)?,
        })
    }
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
