//! How far a batch is, on a terminal; where none sees it, nothing is written.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::input::Whole;
use crate::bar::{bar, pace};
use crate::output::Talk;
use crate::time::grouped;

/// How often a person sees it change: often enough to see that it goes on.
const PERIOD: Duration = Duration::from_millis(100);

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
    pub(super) fn new(whole: Whole, talk: Talk) -> Self {
        let template = match whole {
            Whole::Unknown => "submitting  {msg}",
            Whole::Bytes(_) | Whole::Rows(_) => "submitting  {wide_bar}  {msg}",
        };
        Self {
            bar: bar(template, talk),
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
        let of = self.whole.rows(read);
        let pace = pace(
            rows,
            self.began.elapsed(),
            of.map(|of| of.rows - read.rows.min(of.rows)),
        );
        let rows = grouped(rows);
        self.bar.set_message(match of {
            None => format!("{rows} rows  {pace}"),
            Some(of) => {
                self.bar.set_length(of.rows);
                self.bar.set_position(read.rows);
                let about = if of.is_certain { "" } else { "about " };
                format!("{rows} of {about}{} rows  {pace}", grouped(of.rows))
            }
        });
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many rows there are in all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Of {
    rows: u64,
    is_certain: bool,
}

impl Whole {
    /// In rows: of a file as many as its bytes hold if the rest is like what was
    /// `read`.
    fn rows(self, read: Amount) -> Option<Of> {
        let (rows, is_certain) = match self {
            Self::Rows(rows) => (rows, true),
            Self::Bytes(bytes) if read.bytes > 0 => {
                let rows = u128::from(read.rows) * u128::from(bytes) / u128::from(read.bytes);
                (rows as u64, read.bytes == bytes)
            }
            Self::Bytes(_) | Self::Unknown => return None,
        };
        Some(Of { rows, is_certain })
    }
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

    #[test]
    fn rows_of_a_file_are_told_from_its_bytes_and_certain_at_its_end() {
        let read = |rows, bytes| Amount { bytes, rows };
        let of = |whole: Whole, read| whole.rows(read).map(|of| (of.rows, of.is_certain));

        assert_eq!(of(Whole::Bytes(1_000), read(0, 0)), None);
        assert_eq!(of(Whole::Bytes(1_000), read(25, 100)), Some((250, false)));
        assert_eq!(of(Whole::Bytes(1_000), read(200, 1_000)), Some((200, true)));
        assert_eq!(of(Whole::Rows(50), read(25, 100)), Some((50, true)));
        assert_eq!(of(Whole::Unknown, read(25, 100)), None);
    }
}
