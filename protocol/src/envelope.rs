//! A task on its way: its payload and what is said beside it.
//!
//! | part of the message | what |
//! |---|---|
//! | `message_id` | unique for each publish |
//! | `correlation_id` | the task's id; or what a foreign client put there, and the id in `homing-task` |
//! | `type` | the kind |
//! | `content_type` | how the payload is encoded |
//! | `timestamp`, `priority`, `reply_to` | as in AMQP |
//! | `homing-*` | see `docs/wire.md` |
//! | body | the payload, alone |
//!
//! Everything is built anew for each publish. Of the headers that came with a
//! delivery only ours, unknown `homing-*` ones and the trace context go on:
//! a carried `x-death` would make RabbitMQ drop the next delay as a cycle.

use crate::codec::Payload;
use crate::headers::{
    H_ATTEMPT, H_BATCH, H_DIGEST, H_DUE_AT, H_EXPIRES_AT, H_REPLY, H_ROW, H_RUN, H_SUBMITTED_AT,
    H_TASK, H_VERSION, push,
};
use crate::id::{AttemptNumber, BatchId, Digest, Run, TaskId};
use crate::message::{Destination, Header, Message, Properties};
use crate::name::TaskKind;
use crate::time::Timestamp;

/// The wire version this build writes, and the newest it reads, of all but
/// [tables](crate::table) of reports.
pub(crate) const VERSION: i64 = 1;

/// A task's place in its batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchRow {
    /// The batch.
    pub batch: BatchId,
    /// The row, from 1.
    pub row: u64,
}

/// Who asked for a task, if it was not a producer of ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requester {
    /// The correlation id to echo, verbatim.
    pub correlation_id: Option<String>,
    /// The queue the outcome is wanted in.
    pub reply_to: Option<String>,
}

/// A task on its way from a producer to a worker, once per attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The task's id, the same in every attempt and run.
    pub id: TaskId,
    /// Which handler runs it.
    pub kind: TaskKind,
    /// What the handler receives.
    pub payload: Payload,
    /// The digest of the payload.
    pub digest: Digest,
    /// How often the task was started over, from 1.
    pub run: Run,
    /// Which attempt the next one is, from 1.
    pub attempt: AttemptNumber,
    /// When the producer submitted it.
    pub submitted_at: Timestamp,
    /// No attempt is started after this.
    pub expires_at: Option<Timestamp>,
    /// No attempt is started before this.
    pub due_at: Option<Timestamp>,
    /// Its place in a batch.
    pub batch: Option<BatchRow>,
    /// The inbox of the producer of ours that awaits the outcome.
    pub reply: Option<String>,
    /// The foreign client that asked for it.
    pub requester: Requester,
    /// Higher first, 0 to 9, where the queue knows priorities.
    pub priority: u8,
    /// The trace context, and headers of newer versions of Homing.
    pub carried: Vec<Header>,
}

impl Envelope {
    /// A task that is submitted for the first time: run 1, attempt 1.
    pub fn new(id: TaskId, kind: TaskKind, payload: Payload, submitted_at: Timestamp) -> Self {
        Self {
            id,
            kind,
            digest: Digest::of(&payload.bytes),
            payload,
            run: Run::FIRST,
            attempt: AttemptNumber::FIRST,
            submitted_at,
            expires_at: None,
            due_at: None,
            batch: None,
            reply: None,
            requester: Requester::default(),
            priority: 0,
            carried: Vec::new(),
        }
    }

    /// Since when the task could have been started: when it was submitted, or
    /// when its delay ended.
    pub fn available_at(&self) -> Timestamp {
        self.due_at
            .map_or(self.submitted_at, |due| due.max(self.submitted_at))
    }

    /// The correlation id of what answers this task.
    pub fn correlation_id(&self) -> String {
        self.requester
            .correlation_id
            .clone()
            .unwrap_or_else(|| self.id.to_string())
    }

    /// The message that carries this task alone.
    pub fn to_message(&self, destination: Destination, message_id: String) -> Message {
        Message {
            destination,
            properties: self.properties(message_id),
            body: self.payload.bytes.clone(),
        }
    }

    pub(crate) fn properties(&self, message_id: String) -> Properties {
        let mut properties = self.shared_properties(message_id);
        properties.correlation_id = Some(self.correlation_id());
        properties.content_type = Some(self.payload.content_type.as_str().to_owned());
        let headers = &mut properties.headers;
        if self.requester.correlation_id.is_some() {
            push(headers, H_TASK, self.id.to_string().as_str());
        }
        push(headers, H_DIGEST, &self.digest.as_bytes()[..]);
        if self.attempt > AttemptNumber::FIRST {
            push(headers, H_ATTEMPT, i64::from(self.attempt.get()));
        }
        if self.run > Run::FIRST {
            push(headers, H_RUN, i64::from(self.run.get()));
        }
        if let Some(row) = self.batch {
            push(headers, H_ROW, i64::try_from(row.row).unwrap_or(i64::MAX));
        }
        properties
    }

    /// What all tasks of a bundle have in common.
    pub(crate) fn shared_properties(&self, message_id: String) -> Properties {
        let mut headers = Vec::with_capacity(6);
        push(&mut headers, H_VERSION, VERSION);
        push(&mut headers, H_SUBMITTED_AT, self.submitted_at.as_ms());
        if let Some(at) = self.expires_at {
            push(&mut headers, H_EXPIRES_AT, at.as_ms());
        }
        if let Some(at) = self.due_at {
            push(&mut headers, H_DUE_AT, at.as_ms());
        }
        if let Some(row) = self.batch {
            push(&mut headers, H_BATCH, row.batch.to_string().as_str());
        }
        if let Some(address) = &self.reply {
            push(&mut headers, H_REPLY, address.as_str());
        }
        headers.extend_from_slice(&self.carried);
        Properties {
            message_id: Some(message_id),
            kind: Some(self.kind.as_str().to_owned()),
            timestamp: Some(self.submitted_at.as_secs()),
            priority: (self.priority > 0).then_some(self.priority),
            reply_to: self.requester.reply_to.clone(),
            headers,
            ..Properties::default()
        }
    }
}
