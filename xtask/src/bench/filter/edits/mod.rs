//! How long it takes to load ten thousand rules, and to add or delete one among them: the library, the whole
//! command, and the commands of nftables and iptables.

mod commands;
mod library;

use std::path::Path;

use anyhow::{Result, ensure};
use nke::filter::shapes::{Dice, Shape};
use serde_json::{Map, Value};

use self::commands::Command;
use self::library::Library;
use super::memory;
use crate::bench::Effort;
use crate::bench::report::{Report, Table};
use crate::bench::samples::Samples;
use crate::bench::stage::Stage;

/// How many rules there are.
const RULES: usize = 10_000;
/// Where one is added, and deleted.
const MIDDLE: usize = RULES / 2;

/// What may be taken, in milliseconds, and by what.
const LIMITS: [(&str, f64); 6] = [
    ("load", 100.0),
    ("add", 5.0),
    ("delete", 5.0),
    ("nke_load", 100.0),
    ("nke_add", 5.0),
    ("nke_delete", 5.0),
];

pub(super) fn measure(
    stage: &mut Stage<'_>,
    effort: Effort,
    nke: &Path,
    report: &mut Report,
) -> Result<()> {
    ensure!(nke.exists(), "there is no {}", nke.display());
    let [rules, others] = [1, 2].map(|seed| Shape::Fw.draw(&mut Dice::new(seed), RULES, false));
    let mut library = Library::new(stage, [&rules, &others])?;
    let mut commands = commands::all(stage, nke, [&rules, &others])?;
    let rounds = effort.rounds / 3;
    for round in 0..=rounds {
        stage.progress("edits of 10,000 rules", round, rounds)?;
        library.round(round > 0)?;
        for command in &mut commands {
            // The first round reads everything from disk.
            command.round(stage, round > 0)?;
            stage.check()?;
        }
    }
    tell(&library, &commands, report);
    memory::measure(stage, report)
}

fn tell(library: &Library, commands: &[Command], report: &mut Report) {
    let own = library.found();
    let others = commands.iter().map(Command::found);
    let all: Vec<(&str, &str, &Samples)> = own.chain(others).collect();
    let row = |(key, name, samples): &(&str, &str, &Samples)| {
        let limit = LIMITS.iter().find(|(limited, _)| limited == key);
        let limit = limit.map_or(String::new(), |(_, limit)| format!("{limit:.0}"));
        vec![(*name).to_owned(), samples.told(1), limit]
    };
    let heading = ["", "milliseconds", "wanted"].map(str::to_owned).to_vec();
    report.table(Table {
        title: "Milliseconds of a load and of an edit".to_owned(),
        rows: [heading].into_iter().chain(all.iter().map(row)).collect(),
        notes: vec![
            "rules of the shape fw; the library by itself, or a whole process".to_owned(),
            "nke loads them in the place of 10,000 others".to_owned(),
            "nft and iptables replace all rules as a load; nft adds behind the others, where it is quickest".to_owned(),
        ],
    });
    let values: Map<String, Value> = all
        .iter()
        .map(|(key, _, samples)| ((*key).to_owned(), samples.json()))
        .collect();
    report.value("edit_milliseconds", Value::Object(values));
    for (key, limit) in LIMITS {
        if let Some((_, name, samples)) = all.iter().find(|(its, ..)| *its == key) {
            report.target(name, samples.median(), limit, "ms");
        }
    }
}
