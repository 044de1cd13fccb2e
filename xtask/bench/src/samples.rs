use std::time::{Duration, Instant};

/// Times of one kind of work, in seconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Does `work` and keeps how long one of its `parts` took.
    pub(crate) fn time<T>(
        &mut self,
        parts: u32,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let begin = Instant::now();
        let done = work()?;
        self.add(seconds(begin.elapsed()) / f64::from(parts));
        Ok(done)
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In the order in which they were added.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }

    /// The middle one, the higher of two; zero where there is none.
    pub(crate) fn median(self) -> f64 {
        self.percentile(0.5)
    }

    /// The smallest that exceeds `part` of all, of which 1 is the greatest; zero where there is
    /// none.
    pub(crate) fn percentile(mut self, part: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let last = self.0.len().saturating_sub(1);
        let index = (self.0.len() as f64 * part) as usize;
        self.0.get(index.min(last)).copied().unwrap_or_default()
    }
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// `950.0 ns`, `1.2 ms`: three digits before the point at most.
pub(crate) fn shown(seconds: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)];
    let (unit, factor) = UNITS.into_iter().find(|unit| seconds >= unit.1).unwrap_or(UNITS[3]);
    format!("{:.1} {unit}", seconds / factor)
}

/// Whether a goal was reached, in a word.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::{Samples, shown};

    #[test]
    fn one_slow_sample_does_not_move_the_median() {
        let mut samples = Samples::default();
        [2.0, 900.0, 1.0, 3.0, 2.5].into_iter().for_each(|value| samples.add(value));
        assert_eq!(samples.median().to_bits(), 2.5_f64.to_bits());
    }

    #[test]
    fn percentiles_are_samples() {
        let mut samples = Samples::default();
        (1..=200).rev().for_each(|value| samples.add(f64::from(value)));
        let found = [0.5, 0.99, 1.0].map(|part| samples.clone().percentile(part));
        assert_eq!(found.map(f64::to_bits), [101.0, 199.0, 200.0].map(f64::to_bits));
        assert_eq!(Samples::default().percentile(0.99).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn times_are_shown_in_the_unit_that_fits() {
        let shown = [1.5, 0.0214, 9.5e-4, 3.2e-7].map(shown);
        assert_eq!(shown, ["1.5 s", "21.4 ms", "950.0 us", "320.0 ns"]);
    }
}
