//! What the measurement of the upper layers found.

use serde_json::{Map, Value, json};

use super::super::nodes::{cell, heading};
use super::super::report::{Report, Table};
use super::super::samples::Samples;
use super::{Candidate, LENGTHS, PLACES, Place, WAYS, Way};

/// The most nanoseconds that a node may cost at the packet hooks.
const BUDGET: f64 = 4.0;

pub(super) fn tell(
    candidates: &[Candidate],
    bare: &[Samples; 2],
    bare_run: &Samples,
    report: &mut Report,
) {
    let mut values = Map::new();
    let mut live = vec![heading(&LENGTHS)];
    let mut runs = live.clone();
    for place in &PLACES {
        let mut of_hook = Map::new();
        for (way, name, key) in WAYS {
            let row: Vec<_> = candidates
                .iter()
                .filter(|c| c.place == place && c.way == way)
                .collect();
            if row.is_empty() {
                continue;
            }
            let cells = |samples: fn(&Candidate) -> &Samples| {
                let title = [format!("{}: {name}", place.hook)].into_iter();
                title
                    .chain(row.iter().map(|c| cell(samples(c))))
                    .collect::<Vec<_>>()
            };
            live.push(cells(|candidate| &candidate.live));
            if row.iter().all(|candidate| candidate.root.is_some()) {
                runs.push(cells(|candidate| &candidate.run));
            }
            let by_length = row.iter().map(|c| {
                let both = json!({"live": c.live.json(), "test_run": c.root.as_ref().map(|_| c.run.json())});
                (c.nodes.to_string(), both)
            });
            of_hook.insert(key.to_owned(), Value::Object(by_length.collect()));
        }
        values.insert(place.hook.to_owned(), Value::Object(of_hook));
        targets(place, candidates, report);
    }
    report.table(Table {
        title: "Nanoseconds that a program adds, by BPF_PROG_TEST_RUN; programs:".to_owned(),
        rows: runs,
        notes: vec![format!("an empty program alone: {} ns", bare_run.told(1))],
    });
    report.table(Table {
        title: "Nanoseconds that a program or rule adds to a datagram, or to a connect; programs:"
            .to_owned(),
        rows: live,
        notes: vec![
            format!("a datagram with empty hooks: {} ns", bare[0].told(0)),
            format!("a connect with an empty hook: {} ns", bare[1].told(0)),
        ],
    });
    values.insert("datagram".to_owned(), bare[0].json());
    values.insert("connect".to_owned(), bare[1].json());
    report.value("layers", Value::Object(values));
}

/// A hook's targets, at the longest chain.
fn targets(place: &Place, candidates: &[Candidate], report: &mut Report) {
    let Place { hook, nftables, .. } = place;
    let longest = LENGTHS[LENGTHS.len() - 1];
    let of = |way: Way| {
        candidates
            .iter()
            .find(|c| c.place == place && (c.way, c.nodes) == (way, longest))
    };
    let live = |way: Way| of(way).map_or(f64::NAN, |candidate| candidate.live.median());
    for (way, what) in [(Way::Plain, "without"), (Way::Counted, "with")] {
        let node = format!("{hook}: a node of {longest}, {what} counters");
        if let Some(candidate) = of(way).filter(|candidate| candidate.root.is_some()) {
            report.target(&node, candidate.run.median(), BUDGET, "ns");
        }
        if nftables.is_some() {
            report.target(
                &format!("{node}, against a rule"),
                live(way),
                live(Way::Nftables),
                "ns",
            );
        }
        report.target(
            &format!("{node}, against the list"),
            live(way),
            live(Way::List),
            "ns",
        );
    }
}
