//! Sorts durations into buckets that grow with them.
//!
//! Below 16 each value has its own; above, every doubling is split into 16. So
//! the middle of a bucket is within 1/32 of every value in it, and whatever is
//! measured, the counts stay few.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stats::Quantiles;

/// Buckets per doubling, as a power of two: 16 keep the error below 4 %.
const SPLIT_BITS: u32 = 4;
const SPLIT: u64 = 1 << SPLIT_BITS;

/// How many values fell into each bucket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Histogram(pub(crate) BTreeMap<u16, u64>);

impl Histogram {
    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// A value that `share` (0 to 1) of all are not above; 0 if there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in &self.0 {
            below += count;
            if below >= rank {
                return middle(*bucket);
            }
        }
        0
    }

    /// The quantiles people look at, of values in `unit`; `None` without values.
    pub(crate) fn quantiles(&self, unit: fn(u64) -> Duration) -> Option<Quantiles> {
        let count = self.count();
        (count > 0).then(|| Quantiles {
            count,
            p50: unit(self.quantile(0.50)),
            p95: unit(self.quantile(0.95)),
            p99: unit(self.quantile(0.99)),
        })
    }
}

/// The bucket `value` belongs to.
pub(crate) fn bucket(value: u64) -> u16 {
    if value < SPLIT {
        return value as u16;
    }
    let shift = value.ilog2() - SPLIT_BITS;
    let within = (value >> shift) - SPLIT;
    (u64::from(shift + 1) * SPLIT + within) as u16
}

/// The value in the middle of `bucket`.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < SPLIT {
        return bucket;
    }
    // The last bucket is number 975, whose shift is 59; a larger one can only
    // come from a damaged store.
    let shift = (bucket / SPLIT - 1).min(59);
    let lowest = (SPLIT + bucket % SPLIT) << shift;
    lowest + ((1 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_middle_of_its_bucket_is_within_4_percent_of_a_value(value in any::<u64>(), shift in 0..64) {
            let value = value >> shift;

            let off = middle(bucket(value)).abs_diff(value);

            prop_assert!(off as f64 <= value as f64 * 0.04);
        }

        #[test]
        fn a_greater_value_is_never_in_a_lower_bucket(one in any::<u64>(), other in any::<u64>()) {
            prop_assert!(bucket(one.min(other)) <= bucket(one.max(other)));
        }
    }

    #[test]
    fn the_longest_time_has_a_bucket() {
        assert_eq!(bucket(u64::MAX), 975);
        assert_eq!(middle(u16::MAX), middle((59 + 1) * 16 + 15));
    }

    #[test]
    fn quantiles_are_of_the_values_put_in() {
        let mut histogram = Histogram::default();
        for value in 1..=1_000 {
            *histogram.0.entry(bucket(value)).or_default() += 1;
        }

        let quantiles = [0.5, 0.95, 0.99].map(|share| histogram.quantile(share));

        for (got, expected) in quantiles.into_iter().zip([500_u64, 950, 990]) {
            assert!(
                got.abs_diff(expected) * 25 <= expected,
                "{got} for {expected}"
            );
        }
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
