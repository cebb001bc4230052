//! A histogram of durations with a bounded relative error.

/// Buckets for each power of two: the relative error is at most 1/64.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// A histogram of durations in nanoseconds: exact below 32 ns, within 1.6 % above.
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
    /// Counts a duration.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// Number of durations counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest duration in nanoseconds.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The duration in nanoseconds that `part` (0 to 1) of all did not exceed; 0 if none was counted.
    #[must_use]
    pub fn percentile(&self, part: f64) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let rank = ((self.total as f64 * part).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(bucket as u64).min(self.max);
            }
        }
        self.max
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let exponent = value.ilog2();
    let step = (value >> (exponent - STEP_BITS)) & (STEPS - 1);
    (u64::from(exponent - STEP_BITS + 1) * STEPS + step) as usize
}

/// The middle of a bucket in nanoseconds.
fn middle(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let exponent = (bucket / STEPS) as u32 + STEP_BITS - 1;
    let width = 1_u64 << (exponent - STEP_BITS);
    (1_u64 << exponent) + (bucket % STEPS) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_series_are_within_the_error() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|number| histogram.record(number * 1000));
        for (part, expected) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (0.999, 9_990_000.0)] {
            let found = histogram.percentile(part) as f64;
            assert!((found / expected - 1.0).abs() < 0.016, "{part}: {found}");
        }
        assert_eq!((histogram.total(), histogram.max()), (10_000, 10_000_000));
    }

    #[test]
    fn values_are_near_the_middle_of_their_bucket() {
        for value in (0..64).flat_map(|shift| [1_u64 << shift, (1_u64 << shift) + (1 << shift) / 3]) {
            let middle = middle(bucket(value) as u64);
            assert!(middle.abs_diff(value) <= value / 64, "{value} counts as {middle}");
        }
        assert_eq!(middle(bucket(31) as u64), 31);
    }

    #[test]
    fn percentile_of_an_empty_histogram_is_0() {
        assert_eq!(Histogram::default().percentile(0.99), 0);
    }
}
