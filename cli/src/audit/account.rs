//! What should be in the store, and what is: one account for each batch, for
//! all tasks outside batches, or for the tasks that were named.

use std::ops::RangeInclusive;

use homing_protocol::{BatchId, TaskId};
use homing_store::{BatchAudit, BatchRef, Store, StoreError, Unclosed};

/// Whose books are looked at.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// Everything that something is stored of.
    All,
    /// One batch.
    Batch(BatchRef),
    /// These tasks.
    Tasks(Vec<TaskId>),
}

/// Whose account it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    Batch { id: BatchId, label: String },
    OutsideBatches,
    Named,
}

/// Whether the tasks with an answer are those that were submitted.
///
/// | ids that were said | tasks | |
/// |---|---|---|
/// | none, or those | any | `AsSubmitted` |
/// | others | as many as submitted | `Others`: one at least is missing |
/// | others | more | `Doubtful`: they may stand in for one that is missing |
/// | others | fewer | `AsSubmitted`: that some are missing is known by their number |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Identity {
    AsSubmitted,
    Others,
    Doubtful,
}

impl Identity {
    fn of(audit: &BatchAudit) -> Self {
        match audit.batch.total {
            Some(total) if audit.others && audit.closed == total => Self::Others,
            Some(total) if audit.others && audit.closed > total => Self::Doubtful,
            _ => Self::AsSubmitted,
        }
    }
}

/// What should be there, and what is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Account {
    pub(crate) subject: Subject,
    /// How many tasks there are; `None` while the batch is open.
    pub(crate) total: Option<u64>,
    /// How many of them have an answer stored.
    pub(crate) closed: u64,
    /// Those without an answer whose ids are known.
    pub(crate) tasks: Vec<TaskId>,
    /// What is known of those with an answer beyond their number.
    pub(crate) identity: Identity,
    /// Rows of the batch without an answer.
    pub(crate) rows: Vec<RangeInclusive<u64>>,
}

impl Account {
    /// How many tasks have no answer stored; `None` while the batch is open.
    pub(crate) fn missing(&self) -> Option<u64> {
        // A stored task without an answer is missing, even if a task of another
        // row came in its place and the numbers are even.
        let missing = self.total?.saturating_sub(self.closed);
        let others = u64::from(self.identity == Identity::Others);
        Some(missing.max(self.tasks.len() as u64).max(others))
    }

    /// Whether something is missing that must be somewhere.
    pub(crate) fn is_short(&self) -> bool {
        self.missing().is_some_and(|missing| missing > 0)
    }

    /// How many rows have no answer.
    pub(crate) fn rows_count(&self) -> u64 {
        let counts = self.rows.iter().map(|rows| rows.end() - rows.start() + 1);
        counts.fold(0, u64::saturating_add)
    }
}

/// Reads the accounts that are asked for; none if the batch is not stored.
///
/// # Errors
///
/// [`StoreError`]: the store cannot be read.
pub(crate) async fn read(store: &Store, asked: &Asked) -> Result<Vec<Account>, StoreError> {
    match asked {
        Asked::Tasks(tasks) => {
            let unclosed = store.unclosed(tasks.clone()).await?;
            Ok(vec![named(tasks.len(), &unclosed)])
        }
        Asked::Batch(batch) => {
            let found = store.audit_batch(batch).await?;
            Ok(found.into_iter().map(of_batch).collect())
        }
        Asked::All => {
            let mut accounts = Vec::new();
            for id in store.known_batches().await? {
                let found = store.audit_batch(&BatchRef::Id(id)).await?;
                accounts.extend(found.map(of_batch));
            }
            let lone = store.audit_lone().await?;
            let tasks = ids(&lone.unclosed);
            accounts.push(Account {
                subject: Subject::OutsideBatches,
                total: Some(lone.closed + tasks.len() as u64),
                closed: lone.closed,
                tasks,
                identity: Identity::AsSubmitted,
                rows: Vec::new(),
            });
            Ok(accounts)
        }
    }
}

fn named(total: usize, unclosed: &[Unclosed]) -> Account {
    Account {
        subject: Subject::Named,
        total: Some(total as u64),
        closed: (total - unclosed.len()) as u64,
        tasks: ids(unclosed),
        identity: Identity::AsSubmitted,
        rows: Vec::new(),
    }
}

fn of_batch(audit: BatchAudit) -> Account {
    Account {
        identity: Identity::of(&audit),
        subject: Subject::Batch {
            id: audit.batch.id,
            label: audit.batch.label,
        },
        total: audit.batch.total,
        closed: audit.closed,
        tasks: ids(&audit.unclosed),
        rows: audit.rows,
    }
}

fn ids(unclosed: &[Unclosed]) -> Vec<TaskId> {
    unclosed.iter().map(|task| task.task).collect()
}
