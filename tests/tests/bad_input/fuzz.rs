//! Damaged objects: thousands that only the library reads, and some that the command attaches.
//!
//! Damage comes from seeds, so a failure can be had again; whatever a damaged object makes of
//! itself, nobody panics and nothing that is attached changes. `NKE_FUZZ=20` damages twenty times
//! as often, in as much more time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    ops::Range,
    os::fd::{AsFd as _, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use nke::{
    hook::Hook,
    object::Object,
    place::{self, forms},
};
use nke_tests::{Dice, binaries, fail, stranger, trail};
use serde_json::Value;

use super::world;

/// How often each object is damaged for the library; those of Rust are large and slow.
const ROUNDS: u64 = 220;
const ROUNDS_OF_LARGE: u64 = 25;
/// How often each object is damaged for the command.
const ATTACHED: u64 = 40;

/// Seeds, as many as usual or as were asked for.
fn seeds(usual: u64) -> Range<u64> {
    let times = std::env::var("NKE_FUZZ").ok();
    let times: Option<u64> = times.and_then(|times| times.parse().ok());
    0..usual * times.unwrap_or(1)
}

/// Strangers of every kind that is parsed in a way of its own.
fn strangers() -> Vec<String> {
    let object = |source: &str| {
        let name = source.strip_suffix(".c").unwrap_or(source);
        stranger::object(source, name, &[])
    };
    let sources = [
        "core.c",
        "data.c",
        "every_map.c",
        "kfuncs.c",
        "maps.c",
        "settings.c",
        "several.c",
        "subprograms.c",
        "tailcalls.c",
    ];
    let mut all: Vec<_> = sources.map(object).into();
    all.push(trail::object(1));
    // A map that it only names, beside others and alone.
    for flags in [&["-DEXTERN", "-DMORE"][..], &["-DEXTERN"]] {
        all.push(stranger::object("limit.c", "limit", flags));
    }
    all.push(stranger::object_without_btf("plain.c", "plain", &["-DMAP"]));
    all
}

fn bytes_of(path: &str) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| fail(format!("{path}: {error}")))
}

#[test]
fn the_library_reads_damaged_strangers() {
    let originals: Vec<_> = strangers().iter().map(|path| bytes_of(path)).collect();
    let mut placed = 0;
    for (number, original) in (0..).zip(&originals) {
        let other = &originals[(number + 1) % originals.len()];
        let reader = Reader::of(original);
        placed += seeds(ROUNDS)
            .filter(|&seed| reader.read(&damaged(original, other, seed), seed))
            .count();
    }
    // Or the damage would be so bad that it is not worth a look.
    assert!(placed > 9 * 100, "only {placed} came to a program");
}

#[test]
fn the_library_reads_damaged_extensions() {
    for name in ["counter.o", "packet-filter.o"] {
        let path = binaries::extensions().join(name);
        let original = bytes_of(&path.display().to_string());
        let reader = Reader::of(&original);
        for seed in seeds(ROUNDS_OF_LARGE) {
            let _: bool = reader.read(&damaged(&original, &original, seed), seed);
        }
    }
}

/// What reads the damaged copies of one object.
struct Reader {
    nothing: File,
    /// Whatever could be a map's name.
    names: Vec<String>,
}

impl Reader {
    fn of(original: &[u8]) -> Self {
        let names = original.split(|byte| *byte == 0);
        let text = |name: &[u8]| Some(str::from_utf8(name).ok()?.to_owned());
        Self {
            nothing: File::open("/dev/null").expect("it is always there"),
            names: names
                .filter(|name| (1..64).contains(&name.len()))
                .filter_map(text)
                .collect(),
        }
    }

    /// All that nke does with an object's bytes before the kernel sees a program of it; whether
    /// it came to a program.
    fn read(&self, bytes: &[u8], seed: u64) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.link_and_place(bytes)))
            .unwrap_or_else(|_| fail(format!("seed {seed} of an object with {:?}", self.names)))
    }

    fn link_and_place(&self, bytes: &[u8]) -> bool {
        let Ok(object) = Object::parse("damaged", bytes.to_vec()) else {
            return false;
        };
        let mut placed = false;
        let maps: BTreeMap<String, BorrowedFd<'_>> = self
            .names
            .iter()
            .map(|name| (name.clone(), self.nothing.as_fd()))
            .collect();
        for hook in Hook::all() {
            let Ok((_, program)) = object.choose(hook.row().kind, Some(hook), None) else {
                continue;
            };
            let Ok(linked) = object.link(&program.symbol, &maps) else {
                continue;
            };
            let body = linked.body();
            for form in forms(&body) {
                let maps = place::Maps {
                    next: 3,
                    counters: Some(place::Counters {
                        map: 4,
                        first_row: 128,
                        rows: 2,
                    }),
                    guard: None,
                };
                let rule = hook.rule(program.frags);
                placed |= place::place(&body, &rule, form, &maps).is_ok();
            }
        }
        placed
    }
}

#[test]
fn the_command_refuses_damaged_objects() {
    let world = world();
    let before = world.standing();
    let path = world.directory().join("damaged.o").display().to_string();
    // Without maps: a damaged one could ask for all of the machine's memory, and get it.
    let plain = stranger::object("plain.c", "plain", &[]);
    let large = stranger::object("long.c", "long", &[]);
    let originals = [trail::object(2), plain, large].map(|path| bytes_of(&path));
    let mut attached = 0;
    for (number, original) in (0..).zip(&originals) {
        let other = &originals[(number + 1) % originals.len()];
        for seed in seeds(ATTACHED) {
            fs::write(&path, damaged(original, other, seed)).expect("the directory is ours");
            let ran = world.on(&["attach", &path, "--json"]);
            if ran.code == Some(0) {
                // The damage was to nothing that matters, or made another good program of it.
                attached += 1;
                world.nke(&["detach", "damaged"]).ok();
            } else {
                let (name, error) = ran.fails_somehow();
                let told: Value = serde_json::from_str(&error).expect("one object");
                assert_eq!(told["error"], name, "seed {seed}: {error}");
                let message = told["message"].as_str().unwrap_or_default();
                assert!(message.starts_with("damaged: "), "seed {seed}: {error}");
                assert_eq!(error.lines().count(), 1, "seed {seed}: {error}");
            }
            world.assert_standing(&before);
        }
    }
    assert!(attached > 0, "not all damage is deadly");
}

/// An object with some damage.
fn damaged(original: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = original.to_vec();
    let parts = parts(original);
    for _ in 0..=dice.below(4) {
        // Every part is hit as often, however small it is.
        let (start, length) = dice.pick(&parts);
        let at = (start + dice.below(length)).min(bytes.len().saturating_sub(1));
        match dice.below(10) {
            0..5 => bytes[at] ^= 1 << dice.below(8),
            5..8 => {
                let words: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 1 << 31, u64::MAX, 1 << 62];
                let width = dice.pick(&[1, 2, 4, 8]);
                let word = dice.pick(&words).to_le_bytes();
                let aligned = at / width * width;
                for (to, from) in bytes[aligned..].iter_mut().zip(&word[..width]) {
                    *to = *from;
                }
            }
            8 => {
                let from = dice.below(other.len());
                let length = dice.below(64.min(other.len() - from));
                for (to, from) in bytes[at..].iter_mut().zip(&other[from..from + length]) {
                    *to = *from;
                }
            }
            _ if dice.once_in(4) => bytes.truncate(at.max(1)),
            _ => drop(bytes.splice(at..at, dice.bytes(8))),
        }
    }
    bytes
}

/// Where an ELF file's header, table of sections, and sections are: start and length.
fn parts(bytes: &[u8]) -> Vec<(usize, usize)> {
    let number = |at: usize, length: usize| {
        let mut word = [0; 8];
        word[..length].copy_from_slice(&bytes[at..at + length]);
        usize::try_from(u64::from_le_bytes(word)).expect("small")
    };
    let (table, count) = (number(40, 8), number(60, 2));
    let mut parts = vec![(0, 64), (table, 64 * count)];
    for header in (0..count).map(|nth| table + 64 * nth) {
        let (start, length) = (number(header + 24, 8), number(header + 32, 8));
        if length > 0 && start + length <= bytes.len() {
            parts.push((start, length));
        }
    }
    parts
}
