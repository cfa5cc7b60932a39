use std::ops::RangeInclusive;

use homing_protocol::{IdSum, Status, TaskId};

use crate::batch::Batch;

/// What is stored of a batch, counted by its rows and not by its counters.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchAudit {
    /// The batch, as [`Store::batch`](crate::Store::batch) knows it.
    pub batch: Batch,
    /// How many of its tasks have an answer, each counted once, by its newest
    /// run.
    pub closed: u64,
    /// Its tasks that something is stored of, but no answer.
    pub unclosed: Vec<Unclosed>,
    /// Whether those with an answer are others than its producer said, as far as
    /// it did. As many are then no proof.
    pub others: bool,
    /// The row numbers, from 1 to the total or to the last row that is stored,
    /// whichever is more, without a closed task; in order. A row that was
    /// rejected when the batch was submitted never had a task.
    pub rows: Vec<RangeInclusive<u64>>,
}

/// What is stored of the tasks that are in no batch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct LoneAudit {
    /// How many have an answer.
    pub closed: u64,
    /// Those that something is stored of, but no answer.
    pub unclosed: Vec<Unclosed>,
}

/// A task whose last stored word is not an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Unclosed {
    /// The task.
    pub task: TaskId,
    /// Its row in the batch, if it is in one.
    pub row: Option<u64>,
    /// What is stored of it; `None` if that is nothing.
    pub status: Option<Status>,
}

impl Unclosed {
    /// A task of which nothing is stored.
    pub(crate) const fn nothing(task: TaskId) -> Self {
        Self {
            task,
            row: None,
            status: None,
        }
    }

    /// Whether it has an answer after all.
    pub(crate) fn is_closed(&self) -> bool {
        self.status.is_some_and(Status::is_closed)
    }
}

/// Counts the tasks of a batch.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    closed: u64,
    unclosed: Vec<Unclosed>,
    ids: IdSum,
    gaps: Gaps,
}

impl Counting {
    /// Notes a task by its newest run. They come in the order of their rows.
    pub(crate) fn note(&mut self, found: Unclosed) {
        if found.is_closed() {
            self.closed += 1;
            self.ids.add(found.task);
            found.row.into_iter().for_each(|row| self.gaps.note(row));
        } else {
            self.unclosed.push(found);
        }
    }

    /// What was noted of `batch`, of whose ids its producer may have `sealed` the
    /// sum.
    pub(crate) fn end(self, batch: Batch, sealed: Option<IdSum>) -> BatchAudit {
        BatchAudit {
            closed: self.closed,
            unclosed: self.unclosed,
            others: sealed.is_some_and(|sealed| sealed != self.ids),
            rows: self.gaps.end(batch.total.unwrap_or(0)),
            batch,
        }
    }
}

/// Collects the numbers that are not there, as ranges.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    gaps: Vec<RangeInclusive<u64>>,
    last: u64,
}

impl Gaps {
    /// Notes that `row` is there. Rows come in order, and may come twice.
    pub(crate) fn note(&mut self, row: u64) {
        self.up_to(row.saturating_sub(1));
        self.last = self.last.max(row);
    }

    /// The numbers up to `total` that were not noted.
    pub(crate) fn end(mut self, total: u64) -> Vec<RangeInclusive<u64>> {
        self.up_to(total);
        self.gaps
    }

    fn up_to(&mut self, row: u64) {
        if row > self.last {
            self.gaps.push(self.last + 1..=row);
            self.last = row;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(rows: &[u64], total: u64) -> Vec<RangeInclusive<u64>> {
        let mut gaps = Gaps::default();
        rows.iter().for_each(|row| gaps.note(*row));
        gaps.end(total)
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(gaps(&[1, 2, 3], 3), []);
        assert_eq!(gaps(&[], 3), [1..=3]);
        assert_eq!(gaps(&[2, 2, 5, 6], 8), [1..=1, 3..=4, 7..=8]);
    }

    #[test]
    fn a_row_beyond_the_total_follows_rejected_ones() {
        assert_eq!(gaps(&[1, 4], 2), [2..=3]);
    }

    #[test]
    fn a_row_that_no_file_has_is_one_range_more() {
        assert_eq!(gaps(&[1, u64::MAX], 2), [2..=u64::MAX - 1]);
        assert_eq!(gaps(&[0], 0), []);
    }
}
