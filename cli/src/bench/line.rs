use std::time::Duration;

use serde::Serialize;

use crate::output::Line;
use crate::table::{Cell, Column, Fit};
use crate::time::{grouped, span};

/// What was measured of one load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BenchLine {
    pub(super) load: &'static str,
    pub(super) tasks: u64,
    /// Tasks confirmed in a second, from the first submit to the last confirm.
    pub(super) submitted_per_sec: f64,
    /// Tasks stored in a second, from the first submit until all are.
    pub(super) stored_per_sec: f64,
    pub(super) waited: Option<Latency>,
    pub(super) awaited: Option<Latency>,
    pub(super) stored: Option<Latency>,
}

/// Milliseconds that half of the tasks, and 99 of 100, took at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Latency {
    /// Of these times, in milliseconds; `None` of none.
    pub(super) fn of(ms: &[f64]) -> Option<Self> {
        let mut sorted = ms.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let quantile = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            p50_ms: quantile(0.50)?,
            p99_ms: quantile(0.99)?,
        })
    }

    fn shown(latency: Option<Self>) -> String {
        let span = |ms: f64| span(Duration::from_secs_f64(ms / 1_000.0));
        latency.map_or_else(
            || "-".to_owned(),
            |latency| format!("{} / {}", span(latency.p50_ms), span(latency.p99_ms)),
        )
    }
}

impl Line for BenchLine {
    const COLUMNS: &'static [Column] = &[
        ("LOAD", Fit::Left),
        ("TASKS", Fit::Right),
        ("SUBMITTED/s", Fit::Right),
        ("STORED/s", Fit::Right),
        ("STORED p50/p99", Fit::Right),
        ("AWAITED p50/p99", Fit::Right),
        ("WAITED p50/p99", Fit::Right),
    ];

    fn cells(&self) -> Vec<Cell> {
        let rate = |rate: f64| Cell::either(grouped(rate as u64), format!("{rate:.0}"));
        vec![
            Cell::text(self.load),
            Cell::number(Some(self.tasks)),
            rate(self.submitted_per_sec),
            rate(self.stored_per_sec),
            Cell::text(Latency::shown(self.stored)),
            Cell::text(Latency::shown(self.awaited)),
            Cell::text(Latency::shown(self.waited)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_one_that_was_measured() {
        let ms: Vec<_> = (1..=200).rev().map(f64::from).collect();

        let latency = Latency::of(&ms).unwrap();

        assert_eq!((latency.p50_ms, latency.p99_ms), (100.0, 198.0));
        assert_eq!(Latency::of(&[]), None);
    }
}
