//! From many measurements to the few numbers that are shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long single tasks took on an idle system.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Lone {
    /// Half of them at most, milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 at most, milliseconds.
    pub p99_ms: f64,
}

impl Lone {
    /// Of these tasks; 0 of none.
    pub fn of(times: &[Duration]) -> Self {
        let mut ms: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_unstable_by(f64::total_cmp);
        Self {
            p50_ms: quantile(&ms, 0.50),
            p99_ms: quantile(&ms, 0.99),
        }
    }
}

/// The value that a `share` of the sorted values are at most: the nearest rank.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// One figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self {
            median: f64::midpoint(low, high),
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();

        let lone = Lone::of(&times);

        assert_eq!((lone.p50_ms, lone.p99_ms), (100.0, 198.0));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();

        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
    }

    #[test]
    fn nothing_has_no_spread() {
        assert_eq!(Spread::of([]), None);
    }
}
