//! What rules take of the kernel's memory: what the kernel itself says of their map (`memlock` in
//! `/proc/self/fdinfo`).

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nke::filter::shapes::{Dice, Shape};
use nke::sys::{self, map};
use serde_json::json;

use super::SIZES;
use super::tools::nke::{Filter, rule_set};
use crate::bench::report::{Report, Table};
use crate::bench::stage::Stage;

/// The map that holds the rules in force.
const RULES: &str = "RULES";

pub(super) fn measure(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    let cable = stage.cable()?;
    let filter = Filter::attach(stage, &cable)?;
    let heading = ["", "rules", "bytes", "bytes a rule"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut values = Vec::new();
    for shape in Shape::ALL {
        let mut dice = Dice::new(1);
        for size in SIZES {
            let rules = shape.draw(&mut dice, size, false);
            filter.table()?.write(&rule_set(&rules)?)?;
            let bytes = bytes_of(&in_force(&filter)?)?;
            let each = bytes as f64 / size as f64;
            let name = format!("{shape:?}").to_lowercase();
            values.push(json!({"shape": name, "rules": size, "bytes": bytes}));
            let numbers = [size.to_string(), bytes.to_string(), format!("{each:.0}")];
            rows.push([name].into_iter().chain(numbers).collect());
            stage.check()?;
        }
    }
    report.table(Table {
        title: "What rules take of the kernel's memory".to_owned(),
        rows,
        notes: vec!["as the kernel says, counts included".to_owned()],
    });
    report.value("memory", json!(values));
    Ok(())
}

/// The map of the rules in force.
fn in_force(filter: &Filter) -> Result<OwnedFd> {
    let sets = sys::get(&filter.maps.join(RULES)).context("cannot open the rules")?;
    let mut id = [0; 4];
    map::lookup(&sets, &0u32.to_ne_bytes(), &mut id)
        .context("cannot read the rules")?
        .context("there are no rules")?;
    map::open(u32::from_ne_bytes(id)).context("cannot open the rules in force")
}

/// What the kernel has taken for a map.
pub(super) fn bytes_of(map: &OwnedFd) -> Result<u64> {
    let path = format!("/proc/thread-self/fdinfo/{}", map.as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.context("the kernel does not say what a map takes")
}
