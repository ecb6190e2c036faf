//! A crowd of `nke` that each do whatever they like: every chain stays whole, and every count right.

use std::{collections::BTreeMap, sync::Mutex, thread, time::Duration};

use nke_tests::{Deadline, Dice, Hook, Stream, World, fail, trail};

use crate::effort;

/// Extensions that all of them load and unload.
const SHARED: [u8; 3] = [60, 61, 62];
/// At both ends of every chain, and never touched.
const ENDS: [u8; 2] = [100, 101];
/// How many numbers a packet can carry: behind them, nobody knows what it met.
const ROOM: usize = 41;

/// What one of the crowd must find in the end.
#[derive(Debug, Default)]
struct Ledger {
    /// Loads less unloads that were said to have worked, by extension.
    loads: BTreeMap<u8, i64>,
    /// Verbs that worked, and that were refused.
    done: usize,
    refused: usize,
}

#[test]
fn a_crowd_breaks_no_chain_and_no_count() {
    let world = World::new();
    let time = effort(Duration::from_secs(6), Duration::from_secs(60));
    let crowd = effort(16, 64);
    let hooks = Hook::ALL;
    for hook in hooks {
        for (n, priority) in ENDS.into_iter().zip(["-1000", "1000"]) {
            world.attach(hook, &trail::object(n), &["--priority", priority]);
        }
    }
    for n in SHARED {
        // Held once, so that their names always mean something.
        world.nke(&["load", &trail::object(n)]).ok();
    }
    let stream = Stream::inward(&world);
    let total = Mutex::new(Ledger::default());
    thread::scope(|scope| {
        for member in 0..crowd {
            let (world, total) = (&world, &total);
            scope.spawn(move || {
                let own = one(world, member, Deadline::after(time));
                let mut total = total.lock().expect("nobody panics with it");
                for (n, loads) in own.loads {
                    *total.loads.entry(n).or_default() += loads;
                }
                total.done += own.done;
                total.refused += own.refused;
            });
        }
    });
    let report = stream.stop();
    let total = total.into_inner().expect("nobody panicked with it");
    eprintln!(
        "{crowd} at once: {} verbs done, {} refused, {} packets",
        total.done, total.refused, report.sent
    );

    assert_eq!(report.lost, [] as [u64; 0]);
    for trail in report.trails.keys() {
        assert!(is_whole(trail), "a packet met {trail:?}");
    }
    for n in SHARED {
        let name = format!("trail{n}");
        let list = world.list();
        let found = list.iter().find(|extension| extension.name == name);
        let loads = found.map_or(0, |extension| i64::from(extension.loads));
        let counted = 1 + total.loads.get(&n).copied().unwrap_or_default();
        assert_eq!(loads, counted, "{name}: {list:#?}");
    }
    // Nobody's own attachments are left, since each took its own away.
    for hook in hooks {
        let chain = world.chain(hook).expect("its ends are there");
        assert_eq!(chain.names(), ["trail100", "trail101"], "{chain:#?}");
    }
}

/// Both hooks on the way in have the ends about what is in between, which comes in order.
fn is_whole(trail: &[u8]) -> bool {
    if trail.len() == ROOM {
        return true;
    }
    let mut chains = trail.split_inclusive(|n| *n == ENDS[1]);
    let whole = |chain: &[u8]| {
        let mut seen = chain.to_vec();
        seen.sort_unstable();
        seen.dedup();
        chain.first() == Some(&ENDS[0])
            && chain.last() == Some(&ENDS[1])
            && seen.len() == chain.len()
    };
    chains.clone().count() == 2 && chains.all(whole)
}

/// What one member does until the time is over: it leaves nothing but what it tells of loads.
fn one(world: &World, member: u8, end: Deadline) -> Ledger {
    let mut dice = Dice::new(u64::from(member) + 1);
    let mut ledger = Ledger::default();
    // Its own, so that no packet meets a number twice.
    let number = if member < 59 { member + 1 } else { member + 4 };
    let object = trail::object(number);
    let mut own: Option<(Hook, u32)> = None;
    while !end.passed() {
        let worked = match (dice.below(8), own) {
            (0 | 1, _) => {
                let n = dice.pick(&SHARED);
                let worked = worked(world, &["load", &trail::object(n)]);
                *ledger.loads.entry(n).or_default() += i64::from(worked);
                worked
            }
            (2, _) => {
                let n = dice.pick(&SHARED);
                if ledger.loads.get(&n).is_none_or(|loads| *loads == 0) {
                    continue;
                }
                let worked = worked(world, &["unload", &format!("trail{n}")]);
                *ledger.loads.entry(n).or_default() -= i64::from(worked);
                worked
            }
            (3 | 4, None) => {
                let hook = dice.pick(&Hook::ALL);
                let priority = dice.below(100).to_string();
                own = attach(world, hook, &object, &priority);
                own.is_some()
            }
            (3 | 4, Some((_, id))) => {
                let worked = worked(world, &["detach", &id.to_string()]);
                if !worked {
                    fail(format!("attachment {id} is member {member}'s alone"));
                }
                own = None;
                worked
            }
            (5, Some((_, id))) => {
                let priority = dice.below(100).to_string();
                worked(world, &["move", &id.to_string(), "--priority", &priority])
            }
            (6, Some((_, id))) => worked(world, &["replace", &id.to_string(), &object]),
            _ => worked(world, &["chain", "--json"]),
        };
        ledger.done += usize::from(worked);
        ledger.refused += usize::from(!worked);
    }
    if let Some((_, id)) = own {
        world.nke(&["detach", &id.to_string()]).ok();
    }
    ledger
}

/// Attaches, unless the chain is full.
fn attach(world: &World, hook: Hook, object: &str, priority: &str) -> Option<(Hook, u32)> {
    #[derive(serde::Deserialize)]
    struct Attached {
        id: u32,
    }
    let ran = world.at(hook, &["attach", object, "--priority", priority, "--json"]);
    if ran.code != Some(0) && ran.stderr.contains("32 nodes") {
        return None;
    }
    Some((hook, ran.json::<Attached>().id))
}

/// Whether a verb worked; if not, it said why in a line.
fn worked(world: &World, words: &[&str]) -> bool {
    let ran = world.nke(words);
    let told = ran.stderr.starts_with("nke: ");
    if ran.code != Some(0) && !told || ran.code.is_none() || ran.stderr.contains("panicked") {
        fail(format!("`{}`:\n{ran:#?}", ran.words));
    }
    ran.code == Some(0)
}
