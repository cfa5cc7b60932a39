//! Dead letters: messages that no worker could settle.
//!
//! A worker publishes one with its reason in headers; RabbitMQ dead-letters one
//! with its reason in `x-death`. Either way the message itself is unchanged.

use serde::{Deserialize, Serialize};

use crate::envelope::{H_BUNDLE, H_TASK, decode_tasks};
use crate::error::DecodeError;
use crate::id::{Digest, TaskId};
use crate::limit::HEADER_BYTES_MAX;
use crate::message::{Destination, Header, HeaderValue, Message, Received};
use crate::report::Report;
use crate::status::Status;
use crate::time::Timestamp;

pub(crate) const H_REASON: &str = "homing-reason";
pub(crate) const H_DETAIL: &str = "homing-detail";
pub(crate) const H_QUEUE: &str = "homing-queue";

/// Most bytes of a detail that travel in a header: 1 KiB of the 4 there are.
const DETAIL_BYTES_MAX: usize = 1 << 10;

/// Why a message is a dead letter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Its bytes are no task.
    Malformed,
    /// No worker had a handler for its kind.
    UnknownKind,
    /// Larger than a task may be.
    Oversize,
    /// Not started in time.
    Expired,
    /// Workers died while they ran it.
    CrashLoop,
    /// Its delay ended, but the queue it was meant for does not exist.
    Unroutable,
    /// Some consumer rejected it.
    Rejected,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::UnknownKind,
        Self::Oversize,
        Self::Expired,
        Self::CrashLoop,
        Self::Unroutable,
        Self::Rejected,
    ];

    /// The reason as a word, as everywhere outside the program.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKind => "unknown-kind",
            Self::Oversize => "oversize",
            Self::Expired => "expired",
            Self::CrashLoop => "crash-loop",
            Self::Unroutable => "unroutable",
            Self::Rejected => "rejected",
        }
    }

    /// The reason of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// The status a task gets that is dead for this reason.
    pub const fn status(self) -> Status {
        match self {
            Self::Expired => Status::Expired,
            _ => Status::Dead,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<&DecodeError> for Reason {
    fn from(error: &DecodeError) -> Self {
        match error {
            DecodeError::TooLarge { .. } => Self::Oversize,
            _ => Self::Malformed,
        }
    }
}

/// A message that no worker could settle, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// The same in more words.
    pub detail: String,
    /// The queue it was in, without the namespace if ours.
    pub queue: String,
    /// The tasks in it, as outcomes; empty if none can be told.
    pub reports: Vec<Report>,
    /// The message.
    pub received: Received,
}

impl DeadLetter {
    /// The message a worker publishes for a delivery it cannot settle: the
    /// delivery with the reason beside it.
    pub fn message(
        received: &Received,
        reason: Reason,
        detail: &str,
        queue: &str,
        message_id: String,
    ) -> Message {
        let task = id_of(received);
        let mut properties = received.properties.clone();
        properties.message_id = Some(message_id);
        properties.headers.retain(|(name, _)| {
            !name.starts_with("x-") && ![H_REASON, H_DETAIL, H_QUEUE].contains(&name.as_str())
        });
        let mut said: Vec<Header> = vec![
            (H_REASON.to_owned(), reason.as_str().into()),
            (H_DETAIL.to_owned(), clip(detail, DETAIL_BYTES_MAX).into()),
            (H_QUEUE.to_owned(), queue.into()),
        ];
        if let Some(task) = task.filter(|_| properties.header(H_TASK).is_none()) {
            said.push((H_TASK.to_owned(), task.to_string().as_str().into()));
        }
        properties.headers.extend(said);
        if properties.header_bytes() > HEADER_BYTES_MAX {
            properties
                .headers
                .retain(|(name, _)| name.starts_with("homing-"));
        }
        Message {
            destination: Destination::Dead,
            properties,
            body: received.body.clone(),
        }
    }

    /// Reads a delivery from the queue of dead letters.
    ///
    /// `strip` takes the namespace off a queue's name. Never fails: what cannot
    /// be told of the task is left out, the message stays whole.
    pub fn decode(received: Received, strip: impl Fn(&str) -> String, now: Timestamp) -> Self {
        let (reason, detail, queue) = said(&received).unwrap_or_else(|| died(&received, strip));
        let reports = reports(&received, reason, &detail, &queue, now);
        Self {
            reason,
            detail,
            queue,
            reports,
            received,
        }
    }
}

/// The reason a worker gave.
fn said(received: &Received) -> Option<(Reason, String, String)> {
    let properties = &received.properties;
    let reason = Reason::parse(properties.text(H_REASON)?)?;
    let text = |name| properties.text(name).unwrap_or_default().to_owned();
    Some((reason, text(H_DETAIL), text(H_QUEUE)))
}

/// The reason the broker gave.
fn died(received: &Received, strip: impl Fn(&str) -> String) -> (Reason, String, String) {
    let Some(death) = received.deaths.first() else {
        let detail = format!("no queue takes `{}`", received.routing_key);
        return (Reason::Unroutable, detail, String::new());
    };
    let queue = strip(&death.queue);
    if queue.starts_with("delay.") {
        let detail = format!("no queue takes `{}`", received.routing_key);
        return (Reason::Unroutable, detail, queue);
    }
    let (reason, detail) = match death.reason.as_str() {
        "delivery_limit" => (
            Reason::CrashLoop,
            format!("delivered from `{queue}` again and again, never settled"),
        ),
        "expired" => (
            Reason::Expired,
            format!("its time to live ended in `{queue}`"),
        ),
        other => (
            Reason::Rejected,
            format!("dead-lettered from `{queue}`: {other}"),
        ),
    };
    (reason, detail, queue)
}

fn reports(
    received: &Received,
    reason: Reason,
    detail: &str,
    queue: &str,
    now: Timestamp,
) -> Vec<Report> {
    // A kind that a task lacks does not matter here; `?` is no valid one, so
    // it is set afterwards.
    let unknown = "unknown".parse().ok();
    let minted = || TaskId::from(uuid::Uuid::nil());
    let complete = |mut report: Report| {
        report.status = reason.status();
        report.reason = Some(reason);
        report.error = Some(format!("{reason}: {detail}"));
        report
    };
    match decode_tasks(received, unknown.as_ref(), now, minted) {
        Ok(identity) if !identity.minted => {
            let reports = identity.tasks.iter().map(|task| {
                let mut report = Report::new(task, reason.status(), queue, now);
                report.attempt = task.attempt.get() - 1;
                complete(report)
            });
            reports.collect()
        }
        Ok(_) => Vec::new(),
        Err(_) => undecoded(received, queue, now)
            .map(complete)
            .into_iter()
            .collect(),
    }
}

/// A report on a message that is no valid task but has an id.
fn undecoded(received: &Received, queue: &str, now: Timestamp) -> Option<Report> {
    let properties = &received.properties;
    if properties.header(H_BUNDLE).is_some() {
        return None;
    }
    let empty = crate::codec::Payload {
        bytes: received.body.clone(),
        content_type: crate::codec::ContentType::Json,
    };
    let kind = "unknown".parse().ok()?;
    let submitted_at = properties.published_at().unwrap_or(now);
    let envelope = crate::envelope::Envelope::new(id_of(received)?, kind, empty, submitted_at);
    let mut report = Report::new(&envelope, Status::Dead, queue, now);
    report.kind = properties.kind.clone().unwrap_or_else(|| "?".to_owned());
    report.digest = Digest::of(&received.body);
    Some(report)
}

/// The id of the task in `received`, as far as its properties tell.
fn id_of(received: &Received) -> Option<TaskId> {
    let properties = &received.properties;
    if let Some(task) = properties.text(H_TASK) {
        return task.parse().ok();
    }
    let correlation_id = properties.correlation_id.as_deref().unwrap_or_default();
    if matches!(
        properties.header(crate::envelope::H_VERSION),
        Some(HeaderValue::Int(_))
    ) {
        return correlation_id.parse().ok();
    }
    match properties.message_id.as_deref() {
        Some(text) if !text.is_empty() => Some(TaskId::of_text(text)),
        _ => correlation_id.parse().ok(),
    }
}

/// The first bytes of `text`, at most `bytes_max`, ended between characters.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
