use homing_protocol::{DecodeError, Outcome, Reason, Report, Task, TaskId, Timestamp, to_json};

use crate::position::Position;

/// What was stored of a task at one position of the log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The position right after it.
    pub position: Position,
    /// When it was stored; never earlier than a record before it.
    pub stored_at: Timestamp,
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
    /// Bytes of its body.
    pub bytes: u64,
}
