//! A fuzzer of everything that reads what others have written: rules, packets in words, saved rules
//! of other filters, captures.
//!
//! It takes texts that are right (the examples of the language's page, and what is in
//! `tests/corpus`), puts them together and spoils them, and hands them to every parser. None may
//! panic, or run on; and what it prints of what it has read must be read as the same.
//!
//! In the tests it does so for a second; `cargo xtask fuzz` gives it longer (`NKE_FUZZ_SECONDS`).
//! An input that broke something belongs into `tests/corpus`: each file there is tried first, as
//! it is.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::{Duration, Instant},
};

use super::*;

/// No input may take longer: the slowest are a few milliseconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Longer inputs find nothing more.
const LARGEST: usize = 4096;

/// What is said behind the lists of the grammar, and what often lies at an edge.
const WORDS: [&str; 28] = [
    "{",
    "}",
    ",",
    "#",
    "/",
    "-",
    ":",
    "!",
    "\n",
    " ",
    "\t",
    "any",
    "not",
    "65535",
    "65536",
    "256",
    "0",
    "::/0",
    "0.0.0.0/0",
    "/33",
    "flags S/SA",
    "fragment later",
    "default drop",
    "-A INPUT",
    "\"",
    "\u{fe0f}",
    "{\"nftables\":[",
    "]}",
];

/// A generator of numbers that are good enough (xorshift64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// What is right to begin with.
fn seeds() -> Vec<Vec<u8>> {
    let page = include_str!("../../../docs/filter-language.md");
    let blocks = page.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    let mut seeds: Vec<_> = blocks.map(|(_, text)| text.as_bytes().to_vec()).collect();
    let lines = page.lines().filter(|line| line.starts_with("    "));
    seeds.extend(lines.map(|line| line.trim().as_bytes().to_vec()));
    seeds.extend(corpus());
    seeds
}

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Spoils a few places.
fn spoil(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(12)).min(bytes.len());
        match dice.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, WORDS[dice.below(WORDS.len())].bytes())),
            2 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(end..end, copy));
            }
            3 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                let to = (from + dice.below(80)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            4 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.next().to_le_bytes()[0];
                }
            }
        }
    }
    bytes.truncate(LARGEST);
    bytes
}

/// Hands an input to every parser.
fn read_by_all(bytes: &[u8]) {
    if let Ok(mut capture) = Capture::new(bytes) {
        while let Ok(Some(packet)) = capture.next_packet() {
            let _: Result<_, _> = dissect(&packet.bytes, Direction::In);
        }
    }
    // Compiling an expression is another program's work, and takes that long.
    let text = String::from_utf8_lossy(bytes).replace("expr", "exp");
    for dialect in [Dialect::Packets, Dialect::Calls] {
        match dialect.source(&text) {
            Ok(source) => {
                let printed = source.rules.to_string();
                assert_eq!(dialect.rule_set(&printed), Ok(source.rules.clone()));
                assert_eq!(source.lines.len(), source.rules.rules.len());
                // A list of lists makes more rules than there is time to compare.
                if source.rules.rules.len() < 100 {
                    let _: Vec<_> = source.rules.findings();
                }
            }
            Err(mistakes) => {
                assert!(!mistakes.is_empty());
                for mistake in mistakes {
                    assert!(mistake.column >= 1 && mistake.width >= 1);
                    assert!(!mistake.marked().is_empty() && !mistake.to_string().is_empty());
                }
            }
        }
        let line = text.lines().next().unwrap_or_default();
        // What words do not say is as a command has it.
        let way = match dialect {
            Dialect::Packets => Way::In,
            Dialect::Calls => Way::Connect,
        };
        if let Ok(packet) = dialect.packet(line, way) {
            assert_eq!(dialect.packet(&packet.to_string(), Way::Bind), Ok(packet));
        }
    }
    if let Ok(imported) = import::from_text(&text, &import::Wanted::default()) {
        let printed = imported.text();
        // More than fits into a filter may come of it, and nothing else that is wrong.
        if let Err(error) = printed.parse::<RuleSet>() {
            let many = matches!(error.problem, Problem::TooMany { .. });
            assert!(many, "{error}\n{printed}");
        }
    }
}

/// What is said of an input that broke something.
fn tried(bytes: &[u8]) {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| read_by_all(bytes)));
    let took = started.elapsed();
    if result.is_err() || took > LONGEST {
        let file = env::temp_dir().join(format!("nke-fuzz-{}", std::process::id()));
        fs::write(&file, bytes).unwrap();
        eprintln!(
            "after {took:?}: {}: {:?}",
            file.display(),
            String::from_utf8_lossy(bytes)
        );
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
    assert!(took <= LONGEST, "it took {took:?}");
}

#[test]
fn nothing_that_is_read_breaks_a_parser() {
    for bytes in corpus() {
        tried(&bytes);
    }
    let seconds = env::var("NKE_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(1, |text| text.parse().unwrap());
    // The same inputs in every run of the tests; others where there is time.
    let seed = if seconds == 1 {
        1
    } else {
        std::process::id().into()
    };
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
    let seeds = seeds();
    let (end, mut inputs) = (Instant::now() + Duration::from_secs(seconds), 0u64);
    while Instant::now() < end {
        tried(&spoil(&mut dice, &seeds));
        inputs += 1;
    }
    println!("{inputs} inputs in {seconds} s, seed {seed}");
    assert!(inputs > 10, "it runs at all");
}
