//! Numbers that were measured several times, and what is told of them.

use serde_json::{Value, json};

/// One number, measured again and again, a sample in each round.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many times another number it was, in each round: whatever else went on in a round slowed both.
    pub(super) fn times(&self, other: &Self) -> Self {
        self.with(other, |own, other| own / other)
    }

    /// How much more than another number it was, in each round.
    pub(super) fn beyond(&self, other: &Self) -> Self {
        self.with(other, |own, other| own - other)
    }

    fn with(&self, other: &Self, work: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(own, other)| work(*own, *other)).collect())
    }

    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The first and the third quartile: half of all samples lie between them.
    pub(super) fn spread(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = part * last as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        match (sorted.get(low), sorted.get(high)) {
            (Some(low), Some(high)) => low + (high - low) * at.fract(),
            _ => f64::NAN,
        }
    }

    /// The median and, in brackets, the quartiles.
    pub(super) fn told(&self, decimals: usize) -> String {
        let (low, high) = self.spread();
        format!(
            "{:.decimals$} ({low:.decimals$}-{high:.decimals$})",
            self.median()
        )
    }

    pub(super) fn json(&self) -> Value {
        let (low, high) = self.spread();
        json!({
            "median": self.median(),
            "quartiles": [low, high],
            "least": self.quantile(0.0),
            "most": self.quantile(1.0),
            "samples": self.0.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn the_median_lies_in_the_middle() {
        let mut samples = Samples::default();
        for value in [4.0, 1.0, 3.0, 2.0] {
            samples.push(value);
        }
        assert_eq!(samples.told(2), "2.50 (1.75-3.25)");
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        let (mut one, mut other) = (Samples::default(), Samples::default());
        for value in [10.0, 30.0, 20.0] {
            one.push(value * 3.0);
            other.push(value);
        }
        assert_eq!(one.times(&other).told(0), "3 (3-3)");
        assert_eq!(one.beyond(&other).told(0), "40 (30-50)");
    }
}
