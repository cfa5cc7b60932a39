use std::convert::Infallible;
use std::str::FromStr;

use homing_protocol::{BatchId, Status, Timestamp};

use crate::stats::Counts;

/// Names a batch: by its id, or by its label.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BatchRef {
    /// The batch of this id.
    Id(BatchId),
    /// The batch with this label that was opened last.
    Label(String),
}

impl FromStr for BatchRef {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::Label(text.to_owned()), Self::Id))
    }
}

/// What is known of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// What its producer calls it; empty if that is not known.
    pub label: String,
    /// When it was opened; `None` if that record has not arrived.
    pub opened_at: Option<Timestamp>,
    /// When it was sealed; `None` while it is open, or open again.
    pub sealed_at: Option<Timestamp>,
    /// The time of the last record of it that is stored.
    pub recorded_at: Option<Timestamp>,
    /// How many tasks it has; `None` while it is open.
    pub total: Option<u64>,
    /// The tasks of it that something is stored of.
    pub counts: Counts,
}

impl Batch {
    /// How many tasks wait, are delayed or running: nothing is stored of them,
    /// or only that they were replayed. `None` while the batch is open.
    pub fn pending(&self) -> Option<u64> {
        let reported = self.counts.total() - self.counts.get(Status::Pending);
        Some(self.total?.saturating_sub(reported))
    }

    /// How many tasks have no answer yet, retrying ones among them. `None` while
    /// the batch is open.
    pub fn unclosed(&self) -> Option<u64> {
        Some(self.total?.saturating_sub(self.counts.closed()))
    }

    /// Whether it is sealed and every task of it has an answer.
    pub fn is_closed(&self) -> bool {
        self.unclosed() == Some(0)
    }
}
