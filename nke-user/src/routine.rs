//! An extension's routines: the programs that nke runs when it has been loaded (`init`) and before
//! it goes (`exit`), with its maps at hand. They are programs of type SYSCALL, run by
//! `BPF_PROG_TEST_RUN` (since Linux 5.14, `bpf_prog_test_run_syscall` of net/bpf/test_run.c).
//!
//! What a routine answers is 0, or why not: a negative errno, by custom. Their context says what
//! they are run for: `struct { __u32 event; }`, host byte order.
//!
//! ```ignore
//! let answer = routine::run(&source, "start", Event::Load)?;
//! assert_eq!(answer, 0);
//! ```

use std::{fmt, io};

use nke_ebpf::abi::Event;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    extension::Source,
    kernel::Version,
    loader::{self, Maps},
    sys::program::{self, TestRun},
};

/// The first kernel that has programs of type SYSCALL.
const SINCE: Version = Version::new(5, 14);

/// A routine of a loaded extension, and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routine {
    /// The program's symbol.
    pub program: String,
    /// What it answered when it was last run; `null` if it has not been.
    pub answer: Option<i32>,
}

impl Routine {
    /// One that has not been run.
    pub(crate) fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            answer: None,
        }
    }
}

impl fmt::Display for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, answer } = self;
        match answer {
            None => write!(f, "{program}, not run yet"),
            Some(answer) => write!(f, "{program}, answered {}", in_words(*answer)),
        }
    }
}

/// An answer, with the errno that it may be.
pub(crate) fn in_words(answer: i32) -> String {
    const LOWEST_ERRNO: i32 = -4095;
    match answer {
        0 => "0 (well)".to_owned(),
        LOWEST_ERRNO..0 => {
            let text = io::Error::from_raw_os_error(-answer).to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            format!("{answer} ({text})")
        }
        _ => answer.to_string(),
    }
}

/// Runs a program of an extension once, and returns its answer.
pub(crate) fn run(source: &Source, symbol: &str, event: Event) -> Result<i32> {
    let object = source.object.name();
    if Version::running() < SINCE {
        return Err(Error::TooOld {
            object: object.to_owned(),
            feature: format!("the program {symbol}, of type SYSCALL,"),
            since: SINCE,
            running: Version::running(),
        });
    }
    let linked = source.link(symbol, &Maps::new(), None)?;
    let program = loader::load_routine(object, symbol, &linked)?;
    let context = (event as u32).to_ne_bytes();
    let run = TestRun {
        context: &context,
        ..TestRun::default()
    };
    let ran = program::test_run(program, &run).map_err(|source| Error::Kernel {
        object: object.to_owned(),
        stage: "run its routine",
        source,
        remedy: "have the routine read no more than 4 bytes of its context",
    });
    ran.map(|(answer, _)| answer.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_words() {
        let check = |answer, words: &str| assert_eq!(in_words(answer), words);
        check(0, "0 (well)");
        check(-16, "-16 (Device or resource busy)");
        check(7, "7");
        check(i32::MIN, "-2147483648");
    }
}
