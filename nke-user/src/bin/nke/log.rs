//! `nke log`: the log lines of extensions, as they come.
//!
//! An extension writes its lines with aya-log, into a ring buffer of its own. The lock is held
//! only while looking for extensions, never while waiting for lines.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use nke::control::{Control, NodeStatus, Scope};
use tokio::{
    io::unix::AsyncFd,
    signal,
    task::{AbortHandle, JoinSet, LocalSet},
    time,
};

use crate::output;

/// How often new extensions are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Prints an extension's lines.
struct Printer {
    extension: String,
}

impl Log for Printer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        let (level, extension) = (record.level(), &self.extension);
        output::line(format_args!(
            "{now} {level:<5} {extension}: {}",
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// Streams until interrupted.
pub(crate) fn run(state: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("log: cannot wait for events")?;
    // What aya-log panics at is said in a line of its own.
    std::panic::set_hook(Box::new(|_| {}));
    LocalSet::new().block_on(&runtime, stream(state, name))
}

async fn stream(state: &Path, name: Option<&str>) -> anyhow::Result<()> {
    // A reader that has ended stays here, so that its extension is not tried again and again.
    let mut open: BTreeMap<u32, AbortHandle> = BTreeMap::new();
    let mut readers = JoinSet::new();
    let mut look = time::interval(LOOK);
    while output::is_read() {
        tokio::select! {
            _ = look.tick() => {
                let nodes = attached(state, name)?;
                // What is detached would be kept alive by its reader.
                open.retain(|kmid, reader| {
                    let stays = nodes.contains_key(kmid);
                    if !stays {
                        reader.abort();
                    }
                    stays
                });
                for (kmid, node) in nodes {
                    if let Entry::Vacant(entry) = open.entry(kmid) {
                        entry.insert(readers.spawn_local(read(node)));
                    }
                }
            }
            Some(ended) = readers.join_next() => {
                // One that was aborted has nothing to tell.
                if let Ok(Err(error)) = ended {
                    output::error(&error, false);
                }
            }
            interrupted = signal::ctrl_c() => return Ok(interrupted?),
        }
    }
    Ok(())
}

/// A node of each attached extension, by their kmids.
fn attached(state: &Path, name: Option<&str>) -> anyhow::Result<BTreeMap<u32, NodeStatus>> {
    let chains = Control::open(state)?.chains(&Scope::default())?;
    let nodes = chains.into_iter().flat_map(|chain| chain.nodes);
    let wanted = nodes.filter(|node| name.is_none_or(|name| name == node.extension));
    Ok(wanted.map(|node| (node.kmid, node)).collect())
}

/// Prints one extension's lines, while anybody reads them.
async fn read(node: NodeStatus) -> anyhow::Result<()> {
    let printer = Printer {
        extension: node.extension.clone(),
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
