use homing_protocol::{Envelope, Report, Run, Status, Timestamp};

use crate::error::StoreError;
use crate::record::RepairNote;
use crate::url::{Address, StoreUrl};
use crate::writer::Holder;
use crate::{postgres, sqlite};

/// Writes down what somebody does about tasks that did not succeed, beside the
/// collector that may write at the same time. Blocking.
///
/// One process at a time replays: a run that is written down and not confirmed
/// is therefore one that nobody will publish any more.
#[derive(Debug)]
pub struct Repairs(Backend);

/// What writes it down.
#[derive(Debug)]
enum Backend {
    Sqlite(Box<sqlite::Repairs>),
    Postgres(Box<postgres::Repairs>),
}

/// What came of wanting to replay.
#[derive(Debug)]
pub enum Turn {
    /// It is our turn.
    Ours(Repairs),
    /// Another process replays.
    Taken(Holder),
}

/// A run that is about to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    pub(crate) report: Report,
    pub(crate) was: Option<(Run, Status)>,
    pub(crate) dead: Option<u64>,
}

/// Whether a run may be published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Began {
    /// It is written down.
    Yes,
    /// The task is no longer as it was, or this replay began the run before:
    /// nothing is written down.
    Changed,
}

impl NewRun {
    /// The run of `task` that goes to `queue`. `was` is the newest run stored
    /// and its status, `None` if nothing is stored of the task; `dead` the dead
    /// letter it is made from.
    pub fn new(
        task: &Envelope,
        queue: &str,
        was: Option<(Run, Status)>,
        dead: Option<u64>,
    ) -> Self {
        let report = Report::new(task, Status::Pending, queue, task.submitted_at);
        Self { report, was, dead }
    }
}

impl Repairs {
    /// Takes the turn to replay, unless another process has it. Never creates
    /// or migrates a store.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it is not there, cannot be written, is not ours, or of
    /// another version.
    pub fn replay(url: &StoreUrl, note: RepairNote) -> Result<Turn, StoreError> {
        let turn = match &url.0 {
            Address::Sqlite(path) => sqlite::Repairs::replay(path, note)?
                .map(|repairs| Backend::Sqlite(Box::new(repairs))),
            Address::Postgres(address) => postgres::Repairs::replay(address, note)?
                .map(|repairs| Backend::Postgres(Box::new(repairs))),
        };
        Ok(match turn {
            Ok(backend) => Turn::Ours(Self(backend)),
            Err(holder) => Turn::Taken(holder),
        })
    }

    /// Writes down, in one transaction, that these runs are about to be
    /// published. Those whose task has changed are left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: none is written down.
    pub fn begin(&mut self, runs: &[NewRun], now: Timestamp) -> Result<Vec<Began>, StoreError> {
        match &mut self.0 {
            Backend::Sqlite(repairs) => repairs.begin(runs, now),
            Backend::Postgres(repairs) => repairs.begin(runs, now),
        }
    }

    /// Writes down, in one transaction, that the broker has these runs: from
    /// here on they are the newest of their tasks, `pending`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: none is written down. The same call can be made again.
    pub fn confirm(&mut self, runs: &[NewRun], now: Timestamp) -> Result<(), StoreError> {
        match &mut self.0 {
            Backend::Sqlite(repairs) => repairs.confirm(runs, now),
            Backend::Postgres(repairs) => repairs.confirm(runs, now),
        }
    }

    /// Removes, in one transaction, the content of these dead letters and of
    /// the runs that ended in them. That they were there stays. Answers for
    /// each whether it was there and not discarded before.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: nothing is changed.
    pub fn discard(
        url: &StoreUrl,
        numbers: &[u64],
        note: &RepairNote,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        match &url.0 {
            Address::Sqlite(path) => sqlite::Repairs::discard(path, numbers, note, now),
            Address::Postgres(address) => postgres::Repairs::discard(address, numbers, note, now),
        }
    }
}
