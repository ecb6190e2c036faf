//! The picture of cost against rules: an SVG file, both axes logarithmic.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (960, 600);
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 90, 181),
    RGBColor(64, 160, 43),
    RGBColor(136, 57, 239),
    RGBColor(220, 50, 32),
    RGBColor(255, 140, 0),
    RGBColor(121, 85, 72),
    RGBColor(216, 27, 96),
    RGBColor(0, 150, 136),
    RGBColor(90, 90, 90),
];

/// A line of the picture: how many rules, and nanoseconds of a packet.
pub(super) struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Line {
    pub(super) fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            points,
        }
    }
}

/// Draws them into a file.
pub(super) fn draw(path: &Path, lines: &[Line]) -> Result<()> {
    let mut text = String::new();
    // The library's errors hold what cannot leave a thread.
    drawn(&mut text, lines).map_err(|error| anyhow!("cannot draw: {error}"))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn drawn(text: &mut String, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let costs = || points().map(|(_, cost)| *cost);
    let (low, high) = (
        costs().fold(f64::INFINITY, f64::min),
        costs().fold(1.0, f64::max),
    );
    let most = points().map(|(rules, _)| *rules).fold(10.0, f64::max);

    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Cost of a packet that is dropped, under live traffic",
            ("sans-serif", 20),
        )
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (1.0..most * 1.2).log_scale(),
            (low * 0.7..high * 1.5).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("rules")
        .y_desc("nanoseconds")
        .x_label_formatter(&|rules| format!("{rules:.0}"))
        .y_label_formatter(&|cost| format!("{cost:.0}"))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_every_line_and_its_name() {
        let line = |name| Line::new(name, vec![(1.0, 100.0), (10_000.0, 200.0)]);
        let mut text = String::new();
        drawn(&mut text, &[line("trees"), line("lists")]).unwrap();
        assert!(text.starts_with("<svg"), "{text}");
        assert!(text.contains("trees") && text.contains("lists"));
        assert!(text.matches("<polyline").count() >= 2);
    }
}
