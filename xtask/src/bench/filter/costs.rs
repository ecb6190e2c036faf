//! What a packet costs that is dropped: by one rule, and by one of many.

use anyhow::Result;
use nke::filter::shapes::{Dice, Drawn, Shape};
use serde_json::json;

use super::SIZES;
use super::candidate::{Candidate, LIVE, LIVE_DEAREST, NOTES, PACKETS, XDP_DROP, heading};
use super::frames::matching;
use super::plot::{self, Line};
use super::tools::{Tool, bare, compiled, xdp_filter};
use crate::bench::Effort;
use crate::bench::live::Generator;
use crate::bench::report::{Report, Table};
use crate::bench::rotation::Rotation;
use crate::bench::stage::Stage;

/// The rule that every tool can say.
pub(super) const ONE: Drawn = Drawn {
    six: false,
    source: (0, 0),
    destination: (0, 0),
    protocol: Some(17),
    source_ports: (0, u16::MAX),
    destination_ports: (xdp_filter::PORT, xdp_filter::PORT),
};
/// xdp-filter as it comes, and with the least that the rule needs.
const FEATURES: [(&str, &str); 2] = [
    ("xdp-filter", "all"),
    ("xdp-filter, feature udp alone", "udp"),
];
/// Rules that are a program of their own.
const COMPILED_NAME: &str = "compiled";
/// How many rules are compiled to a program, for comparison.
const COMPILED: [usize; 4] = [4, 16, 64, 256];
/// A packet of ten thousand rules, or of 1,000, or of 100, against one of one rule.
const LIMITS: [f64; 3] = [1.2, 1.4, 1.8];

/// Who is measured, and what could not be.
struct Field {
    /// All that have one rule, which is the same; the first is the bare drop.
    one: Vec<Candidate>,
    many: Vec<Candidate>,
    remarks: Vec<String>,
}

pub(super) fn measure(stage: &mut Stage<'_>, effort: Effort, report: &mut Report) -> Result<()> {
    let generator = Generator::new(stage)?;
    let rotation = Rotation::new(stage, PACKETS)?;
    let mut field = one_rule(stage)?;
    many_rules(stage, &mut field.many)?;
    compiled_rules(stage, &mut field.many)?;
    let rounds = effort.rounds.min(30);
    for round in 0..=rounds {
        stage.progress("packets that are dropped", round, rounds)?;
        for candidate in field.one.iter_mut().chain(&mut field.many) {
            candidate.round(&generator, &rotation, effort.packets / 5, round > 0)?;
            if round == 0 {
                candidate.check(stage)?;
            }
            stage.check()?;
        }
    }
    field.tell_one(report);
    field.tell_many(report);
    let path = stage.objects.file("filter.svg");
    plot::draw(&path, &field.lines())?;
    report.file("cost against rules", path);
    Ok(())
}

fn one_rule(stage: &mut Stage<'_>) -> Result<Field> {
    let mut dice = Dice::new(1);
    let laid = bare::lay(stage, XDP_DROP)?;
    let packets = matching(&[ONE], &mut dice, PACKETS, laid.cable.outside_index);
    let mut one = vec![Candidate::new(
        "bare XDP_DROP",
        (None, 0),
        1,
        laid,
        packets,
    )?];
    let mut remarks = vec![format!("the rule: {ONE}")];
    let mut add = |name: &str, laid| -> Result<()> {
        let laid: super::tools::Laid = laid;
        let packets = matching(&[ONE], &mut dice, PACKETS, laid.cable.outside_index);
        one.push(Candidate::new(name, (None, 1), 1, laid, packets)?);
        Ok(())
    };
    for tool in Tool::ALL {
        add(tool.name(), tool.lay(stage, &[ONE])?)?;
    }
    add(COMPILED_NAME, compiled::lay(stage, &[ONE])?)?;
    for (name, features) in FEATURES {
        match xdp_filter::lay(stage, features) {
            Ok(laid) => add(name, laid)?,
            Err(error) => remarks.push(format!("{name} does not run here: {error:#}")),
        }
        stage.check()?;
    }
    Ok(Field {
        one,
        many: Vec::new(),
        remarks,
    })
}

fn many_rules(stage: &mut Stage<'_>, many: &mut Vec<Candidate>) -> Result<()> {
    let mut dice = Dice::new(1);
    let all = Shape::ALL.len() * SIZES.len();
    for (shape, size) in Shape::ALL
        .iter()
        .flat_map(|shape| SIZES.map(|size| (*shape, size)))
    {
        stage.progress("rules put in force", many.len() / Tool::ALL.len(), all)?;
        let rules = shape.draw(&mut dice, size, false);
        for tool in Tool::ALL {
            let laid = tool.lay(stage, &rules)?;
            let packets = matching(&rules, &mut dice, PACKETS, laid.cable.outside_index);
            let what = (Some(shape), size);
            let patience = tool.patience(size);
            many.push(Candidate::new(tool.name(), what, patience, laid, packets)?);
            stage.check()?;
        }
    }
    Ok(())
}

/// The alternative to the search, beside the search of the same rules.
fn compiled_rules(stage: &mut Stage<'_>, many: &mut Vec<Candidate>) -> Result<()> {
    let mut dice = Dice::new(1);
    for size in COMPILED {
        let rules = Shape::Acl.draw(&mut dice, size, false);
        let both = [
            (Tool::Nke.name(), Tool::Nke.lay(stage, &rules)?),
            (COMPILED_NAME, compiled::lay(stage, &rules)?),
        ];
        for (name, laid) in both {
            let packets = matching(&rules, &mut dice, PACKETS, laid.cable.outside_index);
            // No shape: the columns by which shapes are compared are of other sizes.
            many.push(Candidate::new(name, (None, size), 1, laid, packets)?);
        }
        stage.check()?;
    }
    Ok(())
}

impl Field {
    fn tell_one(&self, report: &mut Report) {
        let mut rows = vec![heading(&["", "Mpps"])];
        for candidate in &self.one {
            let rate = format!("{:.1}", 1e3 / candidate.cost(LIVE).median());
            let mut row = vec![candidate.name.clone(), rate];
            row.extend(candidate.cells());
            rows.push(row);
        }
        let notes = NOTES
            .map(str::to_owned)
            .into_iter()
            .chain(self.remarks.clone());
        report.table(Table {
            title: "Nanoseconds of a packet that one rule drops".to_owned(),
            rows,
            notes: notes.collect(),
        });
        let values: Vec<_> = self.one.iter().map(Candidate::json).collect();
        report.value("one_rule", json!(values));
        report.value("remarks", json!(self.remarks));

        let of = |name: &str| self.one.iter().find(|one| one.name == name);
        let Some(nke) = of(Tool::Nke.name()).map(|one| one.cost(LIVE)) else {
            return;
        };
        let bare = self.one[0].cost(LIVE);
        let share = nke.times(bare).median();
        report.target(
            "one rule, live, against a bare drop",
            share,
            1.0 / 0.95,
            "times",
        );
        if let Some(other) = of(FEATURES[0].0) {
            let share = nke.times(other.cost(LIVE)).median();
            report.target(
                "one rule, live, against xdp-filter",
                share,
                1.0 / 1.5,
                "times",
            );
        }
    }

    fn tell_many(&self, report: &mut Report) {
        let mut rows = vec![heading(&["", "shape", "rules"])];
        for candidate in &self.many {
            let shape = candidate
                .shape
                .map(|shape| format!("{shape:?}").to_lowercase());
            let mut row = vec![candidate.name.clone(), shape.unwrap_or_default()];
            row.push(candidate.rules.to_string());
            row.extend(candidate.cells());
            rows.push(row);
        }
        let remark = "xdp-filter has no rules of several fields, no prefixes and no ranges";
        report.table(Table {
            title: "Nanoseconds of a packet that one of many rules drops".to_owned(),
            rows,
            notes: vec![remark.to_owned()],
        });
        let values: Vec<_> = self.many.iter().map(Candidate::json).collect();
        report.value("rules", json!(values));
        for shape in Shape::ALL {
            let row = self.row(Tool::Nke, shape);
            let [one, more @ ..] = row.as_slice() else {
                continue;
            };
            let one = one.cost(LIVE);
            for (candidate, limit) in more.iter().zip(LIMITS) {
                for (word, cost) in [("", LIVE), (", the dearest packet", LIVE_DEAREST)] {
                    let share = candidate.cost(cost).times(one).median();
                    let (rules, name) = (candidate.rules, format!("{shape:?}").to_lowercase());
                    let what = format!("{rules} rules ({name}), live, against one{word}");
                    report.target(&what, share, limit, "times");
                }
            }
        }
    }

    /// A tool's candidates with rules of one shape, by their number.
    fn row(&self, tool: Tool, shape: Shape) -> Vec<&Candidate> {
        let name = tool.name();
        let fits = |one: &&Candidate| one.name == name && one.shape == Some(shape);
        self.many.iter().filter(fits).collect()
    }

    /// What is drawn: all shapes of nke's, one of the others', and the bare drop.
    fn lines(&self) -> Vec<Line> {
        let points = |row: &[&Candidate], cost| {
            let point = |one: &&Candidate| (one.rules as f64, one.cost(cost).median());
            row.iter().map(point).collect()
        };
        let mut lines = Vec::new();
        for shape in Shape::ALL {
            let row = self.row(Tool::Nke, shape);
            let name = format!("nke, {}", format!("{shape:?}").to_lowercase());
            lines.push(Line::new(&name, points(&row, LIVE)));
        }
        for tool in Tool::ALL.into_iter().skip(1) {
            let row = self.row(tool, Shape::Acl);
            lines.push(Line::new(
                &format!("{}, acl", tool.name()),
                points(&row, LIVE),
            ));
        }
        let bare = self.one[0].cost(LIVE).median();
        let flat = SIZES.map(|size| (size as f64, bare)).into();
        lines.push(Line::new("bare XDP_DROP", flat));
        lines
    }
}
