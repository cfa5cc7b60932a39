use bytes::Bytes;
use homing_protocol::{
    DecodeError, Outcome, Reason, Report, Run, Task, TaskId, Timestamp, to_json,
};

use crate::position::Position;

/// Attempts, conflicts, replays and runs that are read of one task. A task has as
/// many as its policy allows, and a few after crashes; without a bound a poisoned
/// one could fill the memory of whoever looks at it.
pub(crate) const HISTORY_MAX: u32 = 1_000;

/// What was stored of a task at one position of the log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The position right after it.
    pub position: Position,
    /// When it was stored; never earlier than a record before it.
    pub stored_at: Timestamp,
    /// Whether its payload, output and error were removed by age.
    pub removed: bool,
    /// What it says.
    pub report: Report,
}

impl Record {
    /// The output as JSON, `None` if there is none or it is not valid.
    pub fn output_json(&self) -> Option<String> {
        to_json(self.report.output.as_ref()?, self.report.content_type)
    }

    /// The payload as JSON, `None` if it is not kept or not valid. Kept of
    /// every outcome but `succeeded`.
    pub fn payload_json(&self) -> Option<String> {
        to_json(self.report.payload.as_ref()?, self.report.content_type)
    }

    /// The outcome of a task of this type.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Payload`] if the output is not of this type.
    pub fn outcome<T: Task>(&self) -> Result<Outcome<T>, DecodeError> {
        Outcome::from_report(&self.report)
    }
}

/// All that is stored of one task.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskRecord {
    /// What is known of its newest run.
    pub record: Record,
    /// What is known of the runs before, the newest first.
    pub earlier: Vec<Record>,
    /// The attempts of all runs, the oldest first, without those that became
    /// the outcome `succeeded`: that is `record`.
    pub attempts: Vec<AttemptRecord>,
    /// What claims to be this task but has another payload, the oldest first.
    pub conflicts: Vec<ConflictRecord>,
    /// The replays of it, the oldest first.
    pub replays: Vec<ReplayRecord>,
}

/// An attempt that failed or came too late, or an outcome without an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Whether it changed nothing, since something stronger was there already.
    pub late: bool,
    /// What it says.
    pub report: Report,
}

/// A report with the id of a task and another payload.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConflictRecord {
    /// When it was stored.
    pub stored_at: Timestamp,
    /// What it says.
    pub report: Report,
}

/// What somebody did about tasks that did not succeed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RepairRecord {
    /// Its number in this store.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who did it, and how.
    pub note: RepairNote,
}

/// Who repairs, what was asked for, and why: kept with all that is done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RepairNote {
    /// The user and the host.
    pub who: String,
    /// What was typed.
    pub asked: String,
    /// Why, if that was said.
    pub why: String,
}

/// A run that somebody began by a replay.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReplayRecord {
    /// The run.
    pub run: Run,
    /// When it was about to be published.
    pub at: Timestamp,
    /// The kind it was given.
    pub kind: String,
    /// The queue it was meant for.
    pub queue: String,
    /// The dead letter it was made from.
    pub dead: Option<u64>,
    /// When the broker was known to have it; `None` if it may never have been
    /// published.
    pub confirmed_at: Option<Timestamp>,
    /// The replay it was part of.
    pub repair: RepairRecord,
}

/// A message that no worker could settle, without its body.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadRecord {
    /// Its number in this store.
    pub number: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Why it is here.
    pub reason: Reason,
    /// The same in more words.
    pub detail: String,
    /// The queue it was in.
    pub queue: String,
    /// AMQP's `type`: the kind, valid or not.
    pub kind: Option<String>,
    /// Its task, the first if it carried several; `None` if that cannot be told.
    pub task: Option<TaskId>,
    /// Bytes of its body; 0 once it is discarded.
    pub bytes: u64,
    /// Which death of its task this is, from 1: a task that is replayed may die
    /// again. 0 if the task cannot be told.
    pub death: u64,
    /// How many tasks are in it.
    pub tasks: u64,
    /// Whether its content was removed.
    pub discarded: bool,
}

/// A message that no worker could settle, whole.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterRecord {
    /// What is known of it without its content.
    pub record: DeadRecord,
    /// The exchange it came through last.
    pub exchange: String,
    /// The routing key it came with.
    pub routing_key: String,
    /// Its properties: a JSON object.
    pub properties: String,
    /// Its headers: a JSON array of pairs of name and value.
    pub headers: String,
    /// Where the broker dead-lettered it, the newest first: a JSON array.
    pub deaths: String,
    /// Its body, byte for byte; empty once it is discarded.
    pub body: Bytes,
    /// The tasks in it, each with the run that ended in it.
    pub tasks: Vec<(TaskId, Run)>,
    /// Who removed its content.
    pub discarded: Option<RepairRecord>,
}
