//! Counts of durations, with a bounded relative error.

/// Linear steps within a power of two: the relative error is at most 1/64.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// How often which duration was seen, in nanoseconds: exact below 32 ns, within 1.6 % above.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 * STEPS as usize], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.counts[place(nanoseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest, in nanoseconds.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The duration in nanoseconds that `part` (0 to 1) of all did not exceed; 0 where nothing was counted.
    #[must_use]
    pub fn percentile(&self, part: f64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let rank = ((self.total as f64 * part).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(place as u64).min(self.max);
            }
        }
        self.max
    }
}

#[inline]
fn place(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let exponent = value.ilog2();
    let step = (value >> (exponent - STEP_BITS)) & (STEPS - 1);
    (u64::from(exponent - STEP_BITS + 1) * STEPS + step) as usize
}

/// The middle of what falls on a place.
fn middle(place: u64) -> u64 {
    if place < STEPS {
        return place;
    }
    let exponent = (place / STEPS) as u32 + STEP_BITS - 1;
    let width = 1_u64 << (exponent - STEP_BITS);
    (1_u64 << exponent) + (place % STEPS) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_series() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|number| histogram.record(number * 1000));
        for (part, expected) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (0.999, 9_990_000.0)] {
            let found = histogram.percentile(part) as f64;
            assert!((found / expected - 1.0).abs() < 0.016, "{part}: {found}");
        }
        assert_eq!((histogram.total(), histogram.max()), (10_000, 10_000_000));
    }

    #[test]
    fn every_value_lies_near_the_middle_of_its_place() {
        for value in (0..64).flat_map(|shift| [1_u64 << shift, (1_u64 << shift) + (1 << shift) / 3]) {
            let middle = middle(place(value) as u64);
            assert!(middle.abs_diff(value) <= value / 64, "{value} counts as {middle}");
        }
        assert_eq!(middle(place(31) as u64), 31);
    }

    #[test]
    fn nothing_counted_is_nothing() {
        assert_eq!(Histogram::default().percentile(0.99), 0);
    }
}
