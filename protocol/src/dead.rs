//! Dead letters: messages that no worker could settle.
//!
//! A worker publishes one with its reason in headers; RabbitMQ dead-letters one
//! with its reason in `x-death`. Either way the message itself is unchanged.

use serde::{Deserialize, Serialize};

use crate::decode::{decode_tasks, identify, salvage_tasks};
use crate::envelope::Envelope;
use crate::error::DecodeError;
use crate::headers::{
    H_DETAIL, H_MESSAGE, H_QUEUE, H_REASON, H_TASK, H_UNREADABLE, H_VERSION, Headers, is_carried,
    is_known, push,
};
use crate::id::TaskId;
use crate::limit::{ERROR_BYTES_MAX, HEADER_BYTES_MAX, NAME_BYTES_MAX};
use crate::message::{Destination, Header, Message, Properties, Received, header_bytes};
use crate::name::TaskKind;
use crate::report::Report;
use crate::status::Status;
use crate::time::Timestamp;

/// Most bytes of a detail that travel in a header: 1 KiB of the 4 there are.
const DETAIL_BYTES_MAX: usize = 1 << 10;

/// Said in the detail of a message whose headers do not all fit beside it.
const LEFT_OUT: &str = "; headers for which there is no room are left out";

/// The kind of a task that has no valid one.
const NO_KIND: &str = "?";

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
    ///
    /// Which task it is stays readable, although its `message_id` changes.
    /// Headers that would make it too large to publish are left out, ours last.
    pub fn message(
        received: &Received,
        reason: Reason,
        detail: &str,
        queue: &str,
        message_id: String,
    ) -> Message {
        let mut headers = received.properties.headers.clone();
        headers.retain(|(name, _)| {
            !name.starts_with("x-") && ![H_REASON, H_DETAIL, H_QUEUE].contains(&name.as_str())
        });
        headers.extend(origin(&received.properties));
        let detail = clip(detail, DETAIL_BYTES_MAX);
        let mut said = reasons(reason, detail, queue);
        if bytes(&headers) + bytes(&said) > HEADER_BYTES_MAX {
            said = reasons(reason, &format!("{detail}{LEFT_OUT}"), queue);
            fit(&mut headers, HEADER_BYTES_MAX - bytes(&said));
        }
        headers.append(&mut said);
        Message {
            destination: Destination::Dead,
            properties: Properties {
                message_id: Some(message_id),
                headers,
                ..received.properties.clone()
            },
            body: received.body.clone(),
        }
    }

    /// Reads a delivery from the queue of dead letters.
    ///
    /// `strip` takes the namespace off a queue's name. Never fails: what cannot
    /// be told of the task is left out, the message stays whole.
    pub fn decode(received: Received, strip: impl Fn(&str) -> String, now: Timestamp) -> Self {
        let (reason, detail, queue) = why(&received, strip);
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

/// What a foreign message's `message_id` tells, which another takes the place
/// of. One of ours is identified by its `correlation_id`.
fn origin(properties: &Properties) -> Vec<Header> {
    let mut origin = Vec::new();
    if properties.header(H_VERSION).is_some() {
        return origin;
    }
    if properties.header(H_TASK).is_none()
        && let Ok(Some(task)) = identify(&Headers(properties))
    {
        push(&mut origin, H_TASK, task.to_string().as_str());
    }
    if properties.header(H_MESSAGE).is_none()
        && let Some(message_id) = properties.message_id.as_deref()
    {
        push(&mut origin, H_MESSAGE, message_id);
    }
    origin
}

fn reasons(reason: Reason, detail: &str, queue: &str) -> Vec<Header> {
    vec![
        (H_REASON.to_owned(), reason.as_str().into()),
        (H_DETAIL.to_owned(), detail.into()),
        (H_QUEUE.to_owned(), clip(queue, NAME_BYTES_MAX).into()),
    ]
}

fn bytes(headers: &[Header]) -> usize {
    headers.iter().map(header_bytes).sum()
}

/// Leaves out headers until the others fit `room`: first those that mean
/// nothing to us, and large ones before small ones.
fn fit(headers: &mut Vec<Header>, mut room: usize) {
    let rank = |name: &str| match name {
        name if is_known(name) => 0,
        name if is_carried(name) => 1,
        _ => 2,
    };
    headers.sort_by_key(|header| (rank(&header.0), header_bytes(header)));
    headers.retain(|header| {
        let left = room.checked_sub(header_bytes(header));
        room = left.unwrap_or(room);
        left.is_some()
    });
}

/// Why it is here. Where the broker moved it, it is the broker that says so: a
/// header could have come with the task.
fn why(received: &Received, strip: impl Fn(&str) -> String) -> (Reason, String, String) {
    let moved = received.deaths.iter().any(|death| {
        let queue = strip(&death.queue);
        queue == "tasks" || queue.starts_with("tasks.") || queue.starts_with("delay.")
    });
    let said = if moved { None } else { said(received) };
    said.unwrap_or_else(|| died(received, strip))
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
    let unreadable = received.properties.text(H_UNREADABLE);
    let (reason, detail) = match death.reason.as_str() {
        // A link of ours rejected it.
        "rejected" if let Some(problem) = unreadable => (Reason::Malformed, problem.to_owned()),
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
    let Ok(unknown) = "unknown".parse::<TaskKind>() else {
        return Vec::new();
    };
    let error = format!("{reason}: {detail}");
    let report = |task: &Envelope| {
        let mut report = Report::new(task, reason.status(), queue, now);
        report.attempt = task.attempt.get() - 1;
        report.reason = Some(reason);
        report.error = Some(clip(&error, ERROR_BYTES_MAX).to_owned());
        if received.properties.kind.as_deref() != Some(task.kind.as_str()) {
            NO_KIND.clone_into(&mut report.kind);
        }
        report
    };
    let minted = || TaskId::from(uuid::Uuid::nil());
    let tasks = match decode_tasks(received, Some(&unknown), now, minted) {
        Ok(identity) if identity.minted => Vec::new(),
        Ok(identity) => identity.tasks,
        Err(_) => salvage_tasks(received, &unknown, now),
    };
    tasks.iter().map(report).collect()
}

/// The first bytes of `text`, at most `bytes_max`, ended between characters.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
