//! The same work again and again, by one and by many at once: nothing may pile up, and nothing may
//! be lost.
//!
//! The short form runs with all other tests. `cargo xtask soak` asks for the long one by
//! [`LONG`], on a machine that does nothing else: only then can what the whole kernel holds be
//! compared.

mod crowd;
mod cycles;
mod upgrades;

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Set, it asks for the long form.
const LONG: &str = "NKE_SOAK";
/// How often the long form says how far it has come.
const EVERY: Duration = Duration::from_secs(10);

/// How much is done: the first in a test run, the second in a soak.
fn effort<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

fn is_long() -> bool {
    std::env::var_os(LONG).is_some()
}

/// Says how far a long soak has come.
struct Progress {
    what: &'static str,
    all: usize,
    began: Instant,
    said: Instant,
}

impl Progress {
    fn new(what: &'static str, all: usize) -> Self {
        let now = Instant::now();
        Self {
            what,
            all,
            began: now,
            said: now,
        }
    }

    fn tell(&mut self, done: usize) {
        if !is_long() || self.said.elapsed() < EVERY {
            return;
        }
        self.said = Instant::now();
        let mut out = std::io::stderr();
        let (start, end) = if out.is_terminal() {
            ("\r\x1b[2K", "")
        } else {
            ("", "\n")
        };
        let seconds = self.began.elapsed().as_secs();
        // Nobody may be reading.
        drop(write!(
            out,
            "{start}{}: {done} of {}, {seconds} s{end}",
            self.what, self.all
        ));
    }
}

/// KiB of the kinds of memory that BPF objects are made of, by kind.
fn kernel_memory() -> BTreeMap<String, i64> {
    const KINDS: [&str; 4] = ["SUnreclaim", "Percpu", "VmallocUsed", "KernelStack"];
    let text = std::fs::read_to_string("/proc/meminfo").expect("the kernel tells its memory");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let ours = lines.filter(|(kind, _)| KINDS.contains(kind));
    ours.map(|(kind, amount)| {
        let amount = amount.trim().trim_end_matches(" kB").parse();
        (kind.to_owned(), amount.expect("a number of kB"))
    })
    .collect()
}
