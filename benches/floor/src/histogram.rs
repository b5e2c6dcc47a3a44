//! Latencies in log-linear buckets: every power of two is cut into 128, so a value is off by less than 1 %.

/// log2 of the buckets in a power of two.
const SUB_BITS: u32 = 7;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) << SUB_BITS;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// The smallest recorded value, rounded up to its bucket's end, that `share` of all values do not exceed.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max);
            }
        }
        self.max
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    (u64::from(shift + 1) * SUB + ((value >> shift) - SUB)) as usize
}

/// The greatest value of a bucket.
fn upper(index: usize) -> u64 {
    let (power, sub) = (index as u64 / SUB, index as u64 % SUB);
    if power == 0 { sub } else { (((SUB + sub + 1) as u128) << (power - 1)).wrapping_sub(1) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: impl IntoIterator<Item = u64>, share: f64, expected: u64) {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.record(value));
        let found = histogram.quantile(share);
        assert!(found >= expected && found - expected <= expected / 128, "{found} for {expected}");
    }

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        check(1..=100, 0.50, 50);
        check(1..=1_000_000, 0.50, 500_000);
        check(1..=1_000_000, 0.99, 990_000);
        check(1..=1_000_000, 0.999, 999_000);
        check([7], 0.999, 7);
        check([u64::MAX], 0.5, u64::MAX);
        check([], 0.5, 0);
    }

    #[test]
    fn every_value_lies_in_the_bucket_that_ends_next_above_it() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]) {
            let index = bucket(value);
            assert!(upper(index) >= value && (index == 0 || upper(index - 1) < value), "{value} in {index}");
        }
    }
}
