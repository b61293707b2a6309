//! Series of measurements, pairs that are measured in turns, and rows of the table.

use anyhow::{Result, ensure};

/// Repeated measurements of one thing.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Of one measurement.
    pub fn one(value: f64) -> Self {
        Self(vec![value])
    }

    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// In the order of measuring.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The value below which this share (0 to 1) of all lies; NaN of nothing.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Each one turned by `of`.
    pub fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().map(|value| of(*value)).collect())
    }

    /// Round by round, this one divided by the other's.
    pub fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// Something to measure, again and again.
pub type Measured<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Measures all of them in each round, beginning with another one each time, so that a change of the machine's load meets all
/// alike. The first round warms caches up and does not count.
pub fn in_turns<const N: usize>(rounds: usize, mut measured: [Measured<'_>; N]) -> Result<[Series; N]> {
    ensure!(rounds > 0, "nothing is measured in no rounds");
    let mut series = [const { Series(Vec::new()) }; N];
    for round in 0..=rounds {
        for step in 0..N {
            let which = (round + step) % N;
            let value = measured[which]()?;
            if round > 0 {
                series[which].push(value);
            }
        }
    }
    Ok(series)
}

/// What a row has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// The ratio to the peer is at most this.
    RatioAtMost(f64),
    /// The ratio to the peer is at least this.
    RatioAtLeast(f64),
    /// The figure itself is at most this.
    AtMost(f64),
    /// Shown for comparison only.
    None,
}

/// A line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Of the figures, such as "ms".
    pub unit: &'static str,
    /// Airlock's figures.
    pub ours: Series,
    /// Beside what, and its figures; round by round.
    pub peer: Option<(String, Series)>,
    /// What it has to reach.
    pub budget: Budget,
    /// More, in words; may be empty.
    pub note: String,
}

impl Row {
    /// Beside a peer.
    pub fn pair(what: impl Into<String>, unit: &'static str, ours: &Series, peer: &str, theirs: &Series) -> Self {
        let peer = Some((peer.to_owned(), theirs.clone()));
        Self { what: what.into(), unit, ours: ours.clone(), peer, budget: Budget::None, note: String::new() }
    }

    /// Alone.
    pub fn alone(what: impl Into<String>, unit: &'static str, ours: Series) -> Self {
        Self { what: what.into(), unit, ours, peer: None, budget: Budget::None, note: String::new() }
    }

    /// With what it has to reach.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// With more in words.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Round by round, ours to the peer's.
    pub fn ratio(&self) -> Option<Series> {
        self.peer.as_ref().map(|(_, theirs)| self.ours.over(theirs))
    }

    /// Whether the median reaches the budget; nothing without one.
    pub fn holds(&self) -> Option<bool> {
        let ratio = || self.ratio().map(|ratio| ratio.median());
        match self.budget {
            Budget::RatioAtMost(most) => ratio().map(|ratio| ratio <= most),
            Budget::RatioAtLeast(least) => ratio().map(|ratio| ratio >= least),
            Budget::AtMost(most) => Some(self.ours.median() <= most),
            Budget::None => None,
        }
    }
}

/// A cost over a growing number of something.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What grows and what it costs; also the name of its picture.
    pub name: &'static str,
    /// Of what there is more and more.
    pub of: &'static str,
    /// The cost and its unit.
    pub cost: &'static str,
    /// How many, and the cost.
    pub points: Vec<(f64, f64)>,
}

/// What one part of the bench found.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Lines of the table.
    pub rows: Vec<Row>,
    /// Growth.
    pub curves: Vec<Curve>,
}

impl From<Vec<Row>> for Findings {
    fn from(rows: Vec<Row>) -> Self {
        Self { rows, curves: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        assert_eq!(Series::from_iter([9.0, 1.0, 5.0]).median(), 5.0);
    }

    #[test]
    fn the_first_round_does_not_count_and_each_round_begins_elsewhere() {
        let order = std::cell::RefCell::new(Vec::new());
        let measured = |which: usize| -> Measured<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(which);
                Ok(which as f64)
            })
        };
        let series = in_turns(2, [measured(0), measured(1)]).expect("two rounds");
        assert_eq!(*order.borrow(), [0, 1, 1, 0, 0, 1]);
        assert_eq!(series[1].values(), [1.0, 1.0]);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let row = Row::pair("x", "ms", &[2.0, 30.0, 4.0].into_iter().collect(), "peer", &Series(vec![4.0, 60.0, 8.0]));
        assert_eq!(row.clone().budget(Budget::RatioAtMost(0.5)).holds(), Some(true));
        assert_eq!(row.budget(Budget::RatioAtLeast(0.6)).holds(), Some(false));
    }
}
