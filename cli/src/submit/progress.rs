//! How far a batch is, on a terminal; where none sees it, nothing is written.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::input::Whole;
use crate::output::Talk;
use crate::time::grouped;

/// How often a person sees it change: often enough to see that it goes on.
const PERIOD: Duration = Duration::from_millis(100);

/// How often it is drawn while nothing changes but the time.
const TICK_PERIOD: Duration = Duration::from_secs(1);

/// What has been gone through of a file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Amount {
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

impl Amount {
    /// Both together.
    pub(super) const fn and(self, more: Self) -> Self {
        Self {
            bytes: self.bytes + more.bytes,
            rows: self.rows + more.rows,
        }
    }

    /// As much of it as `some` are of `all`.
    pub(super) fn part(self, some: u64, all: u64) -> Self {
        let part =
            |whole: u64| (u128::from(whole) * u128::from(some) / u128::from(all.max(1))) as u64;
        Self {
            bytes: part(self.bytes),
            rows: part(self.rows),
        }
    }
}

/// Shows how far it is.
pub(super) struct Progress {
    bar: ProgressBar,
    whole: Whole,
    began: Instant,
    shown: Cell<Option<Instant>>,
}

impl Progress {
    /// Of a file with so much in it.
    pub(super) fn new(label: &str, whole: Whole, talk: Talk) -> Self {
        let bar = match (talk.shows_progress(), whole) {
            (false, _) => ProgressBar::hidden(),
            (true, Whole::Bytes(total) | Whole::Rows(total)) => styled(
                ProgressBar::new(total),
                "submitting {prefix}  {msg}  {wide_bar}  {percent} %  eta {eta}",
            ),
            (true, Whole::Unknown) => styled(
                ProgressBar::new_spinner(),
                "submitting {prefix}  {msg}  {elapsed}",
            ),
        };
        bar.set_prefix(crate::clean::for_terminal(label));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK_PERIOD);
        }
        Self {
            bar,
            whole,
            began: Instant::now(),
            shown: Cell::new(None),
        }
    }

    /// So much of the file has been gone through, and `rows` are confirmed.
    pub(super) fn show(&self, read: Amount, rows: u64) {
        let is_new = |shown: Instant| shown.elapsed() < PERIOD;
        if self.bar.is_hidden() || self.shown.get().is_some_and(is_new) {
            return;
        }
        self.shown.set(Some(Instant::now()));
        let rate = rows as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let (rows, rate) = (grouped(rows), grouped(rate as u64));
        self.bar.set_message(format!("{rows} rows  {rate}/s"));
        self.bar.set_position(match self.whole {
            Whole::Rows(_) => read.rows,
            Whole::Bytes(_) | Whole::Unknown => read.bytes,
        });
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    // The template is a literal of ours: a wrong one keeps the default look.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_chunk_counts_in_proportion() {
        let chunk = Amount {
            bytes: 1_000,
            rows: 10,
        };

        assert_eq!(
            chunk.part(3, 4),
            Amount {
                bytes: 750,
                rows: 7
            }
        );
        assert_eq!(chunk.part(4, 4), chunk);
        assert_eq!(chunk.part(0, 0), Amount::default());
        assert_eq!(chunk.and(chunk).rows, 20);
    }
}
