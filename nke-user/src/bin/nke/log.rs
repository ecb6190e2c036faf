//! `nke log`: the log lines of extensions, as they come.
//!
//! An extension writes its lines with aya-log, into a ring buffer of its own. The lock is held
//! only while looking for extensions, never while waiting for lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use nke::control::{Control, Scope};
use tokio::{
    io::unix::AsyncFd,
    signal,
    task::{JoinSet, LocalSet},
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
    LocalSet::new().block_on(&runtime, stream(state, name))
}

async fn stream(state: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let mut open = BTreeSet::new();
    let mut readers = JoinSet::new();
    let mut look = time::interval(LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {
                for (kmid, logger) in find(state, name, &open)? {
                    open.insert(kmid);
                    readers.spawn_local(read(kmid, logger));
                }
            }
            Some(ended) = readers.join_next() => ended??,
            interrupted = signal::ctrl_c() => return Ok(interrupted?),
        }
    }
}

/// Opens the logs of attached extensions that are not open yet, by their kmids.
fn find(
    state: &Path,
    name: Option<&str>,
    open: &BTreeSet<u32>,
) -> anyhow::Result<BTreeMap<u32, EbpfLogger<Printer>>> {
    let control = Control::open(state)?;
    let mut found = BTreeMap::new();
    for node in control
        .chains(&Scope::default())?
        .into_iter()
        .flat_map(|chain| chain.nodes)
    {
        let wanted = name.is_none_or(|name| name == node.extension);
        if !wanted || open.contains(&node.kmid) {
            continue;
        }
        let printer = Printer {
            extension: node.extension,
        };
        // Most extensions have no log.
        if let Ok(logger) = EbpfLogger::init_from_id_with_logger(node.program_id, printer) {
            found.insert(node.kmid, logger);
        }
    }
    Ok(found)
}

/// Prints one extension's lines, for ever.
async fn read(kmid: u32, logger: EbpfLogger<Printer>) -> anyhow::Result<()> {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; a logger keeps its descriptor"
    )]
    let mut logger = AsyncFd::new(logger)?;
    loop {
        let mut ready = logger.readable_mut().await?;
        // aya-log panics on records that are not its own.
        let flushed = catch_unwind(AssertUnwindSafe(|| ready.get_inner_mut().flush()));
        if flushed.is_err() {
            bail!(
                "extension {kmid}: log: its records are not aya-log's; rebuild it with aya-log 0.2"
            );
        }
        ready.clear_ready();
    }
}
