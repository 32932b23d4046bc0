//! How long things took: a count for each step of a fixed scale, so that several can be added up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The ends of the steps, in microseconds: from what a file in memory takes to what a slow tool does. Whatever takes longer is
/// counted beyond the last.
pub const BOUNDS: [u64; 18] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// The steps, and what is beyond them.
const STEPS: usize = BOUNDS.len() + 1;

/// Durations as they are counted.
#[derive(Debug, Default)]
pub struct Histogram {
    steps: [AtomicU64; STEPS],
    micros: AtomicU64,
}

/// Durations as they were counted up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    steps: [u64; STEPS],
    micros: u64,
}

impl Histogram {
    /// Counts one more.
    pub fn add(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let step = BOUNDS.partition_point(|bound| *bound < micros);
        self.steps[step].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Durations {
        let steps = self.steps.each_ref().map(|step| step.load(Ordering::Relaxed));
        Durations { steps, micros: self.micros.load(Ordering::Relaxed) }
    }
}

impl Durations {
    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        for (sum, step) in self.steps.iter_mut().zip(others.steps) {
            *sum += step;
        }
        self.micros += others.micros;
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.steps.iter().sum()
    }

    /// How long they took together, in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        Duration::from_micros(self.micros).as_secs_f64()
    }

    /// How many fell into each step, with its end in seconds; the last has none.
    #[must_use]
    pub fn steps(&self) -> Vec<(f64, u64)> {
        let ends = BOUNDS.iter().map(|micros| Duration::from_micros(*micros).as_secs_f64());
        ends.chain([f64::INFINITY]).zip(self.steps).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_step_that_ends_with_it() {
        let histogram = Histogram::default();
        for micros in [0, 250, 251, 1_000, 300_000_000, 300_000_001, u64::MAX / 4] {
            histogram.add(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let counted: Vec<_> = read.steps().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(0.000_25, 2), (0.000_5, 1), (0.001, 1), (300.0, 1), (f64::INFINITY, 2)]);
        assert_eq!(read.count(), 7);
    }

    #[test]
    fn several_are_added_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.add(Duration::from_millis(20));
        other.add(Duration::from_millis(20));
        other.add(Duration::from_secs(2));
        let mut both = one.read();
        both.add(&other.read());
        assert_eq!((both.count(), both.sum()), (3, 2.04));
        assert!(both.steps().contains(&(0.025, 2)) && both.steps().contains(&(2.5, 1)));
    }
}
