//! Decides whether a task is run again, and how.
//!
//! | what is stored                        | what becomes of it                      |
//! |---------------------------------------|-----------------------------------------|
//! | it waits, is delayed or runs          | left out, unless forced                 |
//! | it succeeded                          | left out, unless forced                 |
//! | its payload is not kept, or damaged   | left out                                |
//! | its payload is not valid              | left out: it would be dead again        |
//! | its kind is none, and none is given   | left out                                |
//! | its runs are used up                  | left out                                |
//! | else                                  | run n+1                                 |
//!
//! Pure. The run is built anew: id, kind, payload, place in its batch and a
//! foreign requester's correlation id; no deadline, delay or priority, and
//! nothing the broker or a worker added.

use std::fmt;

use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{
    ContentType, Digest, Envelope, Payload, Run, Status, TaskId, TaskKind, Timestamp, chain,
    to_json,
};
use homing_store::{DeadLetterRecord, Replayable, next_run};
use uuid::Uuid;

/// How tasks are to be run again.
#[derive(Debug)]
pub(super) struct How {
    /// Instead of the kind they had.
    pub(super) as_kind: Option<TaskKind>,
    /// Also those that are on their way or have succeeded.
    pub(super) force: bool,
}

/// Why a task is not run again.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Why {
    OnItsWay,
    Succeeded,
    NotKept,
    Removed,
    Damaged,
    NoKind,
    Invalid(String),
    Discarded,
    NoTask,
    NoRun,
    Changed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnItsWay => "on its way; --force runs it all the same",
            Self::Succeeded => "it succeeded",
            Self::NotKept => "its payload is not kept",
            Self::Removed => "its payload was removed by age: submit it again",
            Self::Damaged => "its payload in the store is damaged",
            Self::NoKind => "it has no valid kind; give one: --as-kind KIND",
            Self::Invalid(problem) => {
                return write!(
                    f,
                    "its payload is not valid, so it would be dead again: {problem}"
                );
            }
            Self::Discarded => "it was discarded",
            Self::NoTask => "it is no task, but an outcome that cannot be read",
            Self::NoRun => "it has as many runs as there can be",
            Self::Changed => "it changed meanwhile",
        })
    }
}

/// Run n+1 of a task that is stored, to `queue`.
pub(super) fn of_task(
    task: &Replayable,
    how: &How,
    queue: &str,
    now: Timestamp,
) -> Result<Envelope, Why> {
    let report = &task.record.report;
    if !how.force {
        match report.status {
            Status::Pending | Status::Retrying => return Err(Why::OnItsWay),
            Status::Succeeded => return Err(Why::Succeeded),
            _ => {}
        }
    }
    if task.damaged {
        return Err(Why::Damaged);
    }
    let payload = task.payload.clone().ok_or(if task.record.removed {
        Why::Removed
    } else {
        Why::NotKept
    })?;
    let kind = kind(&report.kind, how)?;
    let run = next_run(task, kind.as_str(), queue);
    if run <= report.run {
        return Err(Why::NoRun);
    }
    let mut envelope = envelope(report.task, kind, payload, now)?;
    envelope.run = run;
    envelope.batch = report.batch_row();
    envelope
        .requester
        .correlation_id
        .clone_from(&report.correlation_id);
    Ok(envelope)
}

/// Run 1 of a dead letter that nothing told from another: its id is made from
/// the letter, so that it is the same task however often it is run again.
pub(super) fn of_letter(
    letter: &DeadLetterRecord,
    how: &How,
    now: Timestamp,
) -> Result<Envelope, Why> {
    let properties: serde_json::Value =
        serde_json::from_str(&letter.properties).unwrap_or_default();
    let content_type = ContentType::parse(properties["content_type"].as_str())
        .map_err(|error| Why::Invalid(chain(&error)))?;
    let payload = Payload {
        bytes: letter.body.clone(),
        content_type,
    };
    let kind = kind(letter.record.kind.as_deref().unwrap_or_default(), how)?;
    let mut envelope = envelope(id_of_letter(letter), kind, payload, now)?;
    envelope.run = Run::FIRST;
    Ok(envelope)
}

/// The task that a dead letter becomes which is none by itself.
pub(super) fn id_of_letter(letter: &DeadLetterRecord) -> TaskId {
    let record = &letter.record;
    let body = Uuid::from_bytes(*Digest::of(&letter.body).as_bytes());
    let (number, at) = (record.number, record.stored_at.as_ms());
    TaskId::of_text(&format!("homing dead letter {number} {at} {body}"))
}

fn kind(stored: &str, how: &How) -> Result<TaskKind, Why> {
    match &how.as_kind {
        Some(kind) => Ok(kind.clone()),
        None => stored.parse().map_err(|_| Why::NoKind),
    }
}

fn envelope(id: TaskId, kind: TaskKind, payload: Payload, now: Timestamp) -> Result<Envelope, Why> {
    if payload.bytes.len() > PAYLOAD_BYTES_MAX {
        let bytes = payload.bytes.len();
        return Err(Why::Invalid(format!("{bytes} bytes are too many")));
    }
    if to_json(&payload.bytes, payload.content_type).is_none() {
        let said = payload.content_type.as_str();
        return Err(Why::Invalid(format!("its bytes are no {said}")));
    }
    Ok(Envelope::new(id, kind, payload, now))
}
