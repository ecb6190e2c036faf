//! What a benchmark found, for people and for programs.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::Effort;

/// The findings, part by part.
pub(super) struct Report {
    tables: Vec<Table>,
    targets: Vec<Target>,
    /// Files that were written, by what is in them.
    files: Vec<(&'static str, PathBuf)>,
    values: Map<String, Value>,
}

/// A table: its first row is the heading, its first column says what a row is.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) rows: Vec<Vec<String>>,
    /// Remarks below it.
    pub(super) notes: Vec<String>,
}

/// A number that should not be larger than another.
struct Target {
    what: String,
    found: f64,
    limit: f64,
    unit: &'static str,
}

impl Report {
    pub(super) fn new(effort: Effort) -> Self {
        let Effort {
            rounds,
            packets,
            edits,
            cycles,
            members,
        } = effort;
        let effort = json!({
            "rounds": rounds, "packets": packets, "edits": edits, "cycles": cycles, "members": members,
        });
        let uname = rustix::system::uname();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let host = json!({
            "kernel": uname.release().to_string_lossy(),
            "cores": cores,
            "processor": processor(),
            "retpolines": vulnerability("spectre_v2").contains("Retpoline"),
            "return_thunks": RETURNS.iter().any(|bug| vulnerability(bug).starts_with("Mitigation")),
        });
        let values = [("host".to_owned(), host), ("effort".to_owned(), effort)];
        Self {
            tables: Vec::new(),
            targets: Vec::new(),
            files: Vec::new(),
            values: values.into_iter().collect(),
        }
    }

    pub(super) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub(super) fn value(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), value);
    }

    pub(super) fn target(&mut self, what: &str, found: f64, limit: f64, unit: &'static str) {
        self.targets.push(Target {
            what: what.to_owned(),
            found,
            limit,
            unit,
        });
    }

    pub(super) fn file(&mut self, what: &'static str, path: PathBuf) {
        self.files.push((what, path));
    }

    pub(super) fn print(mut self, as_json: bool) -> Result<()> {
        let text = if as_json {
            let targets = self.targets.iter().map(Target::json).collect();
            self.values.insert("targets".to_owned(), targets);
            let files = self
                .files
                .iter()
                .map(|(what, path)| json!({"what": what, "path": path}));
            self.values.insert("files".to_owned(), files.collect());
            serde_json::to_string_pretty(&self.values).context("cannot write JSON")? + "\n"
        } else {
            self.text()
        };
        io::stdout()
            .write_all(text.as_bytes())
            .context("cannot print")
    }

    fn text(&self) -> String {
        let host = &self.values["host"];
        let word = |key: &str| host[key].as_str().unwrap_or_default().to_owned();
        let with = |key: &str| if host[key] == true { "with" } else { "without" };
        let mut text = format!(
            "Linux {} on {} cores, {}\n  {} retpolines, {} return thunks\n\
             Medians, with quartiles in brackets or half their distance after ±\n",
            word("kernel"),
            host["cores"],
            word("processor"),
            with("retpolines"),
            with("return_thunks"),
        );
        for table in &self.tables {
            text += &table.text();
        }
        if !self.targets.is_empty() {
            text += "\nTargets\n";
        }
        for Target {
            what,
            found,
            limit,
            unit,
        } in &self.targets
        {
            let met = if found <= limit { "met   " } else { "MISSED" };
            text += &format!("  {met}  {what}: {found:.2} of at most {limit:.2} {unit}\n");
        }
        for (what, path) in &self.files {
            text += &format!("\n{what}: {}\n", path.display());
        }
        text
    }
}

/// What makes returns slow, where the processor has the bug.
const RETURNS: [&str; 3] = [
    "retbleed",
    "spec_rstack_overflow",
    "indirect_target_selection",
];

/// What the kernel does about a bug of the processor, which decides on the price of calls.
fn vulnerability(bug: &str) -> String {
    let path = format!("/sys/devices/system/cpu/vulnerabilities/{bug}");
    fs::read_to_string(path).unwrap_or_default()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim());
    name.unwrap_or("a processor without a name").to_owned()
}

impl Target {
    fn json(&self) -> Value {
        let Self {
            what,
            found,
            limit,
            unit,
        } = self;
        json!({"what": what, "found": found, "limit": limit, "unit": unit, "met": found <= limit})
    }
}

impl Table {
    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = format!("\n{}\n", self.title);
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // What a row is stands left, numbers right.
                line += &if column == 0 {
                    format!("  {cell:<width$}")
                } else {
                    format!("  {cell:>width$}")
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        for note in &self.notes {
            text += &format!("  {note}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let table = Table {
            title: "Fruit".to_owned(),
            rows: vec![row(["", "red", "green"]), row(["apples", "1", "10"])],
            notes: vec!["ripe".to_owned()],
        };
        assert_eq!(
            table.text(),
            "\nFruit\n          red  green\n  apples    1     10\n  ripe\n"
        );
    }
}
