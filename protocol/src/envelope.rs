//! A task on its way: its payload and what is said beside it.
//!
//! | part of the message | what |
//! |---|---|
//! | `message_id` | unique for each publish |
//! | `correlation_id` | the task's id; or what a foreign client put there, and the id in `homing-task` |
//! | `type` | the kind |
//! | `content_type` | how the payload is encoded |
//! | `timestamp`, `priority`, `reply_to` | as in AMQP |
//! | `homing-*` | the constants of this module |
//! | body | the payload, alone |
//!
//! Everything is built anew for each publish. Of the headers that came with a
//! delivery only ours, unknown `homing-*` ones and the trace context go on:
//! a carried `x-death` would make RabbitMQ drop the next delay as a cycle.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{ContentType, Payload};
use crate::error::DecodeError;
use crate::id::{AttemptNumber, BatchId, Digest, Run, TaskId};
use crate::limit::{BODY_BYTES_MAX, BUNDLE_MAX, PAYLOAD_BYTES_MAX};
use crate::message::{Destination, Header, HeaderValue, Message, Properties, Received};
use crate::name::TaskKind;
use crate::prescan::prescan_msgpack;
use crate::time::Timestamp;

/// The wire version this build writes, and the newest it reads.
pub(crate) const VERSION: i64 = 1;

pub(crate) const H_VERSION: &str = "homing-version";
pub(crate) const H_TASK: &str = "homing-task";
const H_ATTEMPT: &str = "homing-attempt";
const H_RUN: &str = "homing-run";
const H_BATCH: &str = "homing-batch";
const H_ROW: &str = "homing-row";
const H_DIGEST: &str = "homing-digest";
const H_SUBMITTED_AT: &str = "homing-submitted-at";
const H_EXPIRES_AT: &str = "homing-expires-at";
const H_DUE_AT: &str = "homing-due-at";
const H_REPLY: &str = "homing-reply";
pub(crate) const H_BUNDLE: &str = "homing-bundle";

/// Every header of ours that this version understands, so that the others are
/// carried along.
const KNOWN: [&str; 15] = [
    H_VERSION,
    H_TASK,
    H_ATTEMPT,
    H_RUN,
    H_BATCH,
    H_ROW,
    H_DIGEST,
    H_SUBMITTED_AT,
    H_EXPIRES_AT,
    H_DUE_AT,
    H_REPLY,
    H_BUNDLE,
    crate::dead::H_REASON,
    crate::dead::H_DETAIL,
    crate::dead::H_QUEUE,
];

/// The trace context, by its W3C names: <https://www.w3.org/TR/trace-context/>.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// The content type of a message that carries several tasks.
pub(crate) const BUNDLE_CONTENT_TYPE: &str = "application/vnd.homing.tasks+msgpack";

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

/// Tasks read from a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The tasks, at least one.
    pub tasks: Vec<Envelope>,
    /// Whether the id of the only task was made just now, because the message
    /// has nothing that tells it from another. It is to be published again with
    /// this id before anything else is done with it.
    pub minted: bool,
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
    fn shared_properties(&self, message_id: String) -> Properties {
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

fn push(headers: &mut Vec<Header>, name: &str, value: impl Into<HeaderValue>) {
    headers.push((name.to_owned(), value.into()));
}

/// One task in the body of a bundle. What is not here is the same for all and
/// stands in the headers.
#[derive(Deserialize, Serialize)]
struct Item {
    task: TaskId,
    payload: Bytes,
    #[serde(default)]
    content_type: ContentType,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
}

/// Reads the tasks a delivery carries: one, or a bundle.
///
/// A message without a kind takes `default_kind`. One that nothing tells from
/// another takes the id `mint` makes. Whether it is ours or from any other AMQP
/// client shows in `homing-version`.
///
/// # Errors
///
/// [`DecodeError`]: it is no task and never will be.
pub fn decode_tasks(
    received: &Received,
    default_kind: Option<&TaskKind>,
    now: Timestamp,
    mint: impl FnOnce() -> TaskId,
) -> Result<Identity, DecodeError> {
    let headers = Headers(&received.properties);
    let version = headers.int(H_VERSION)?;
    if let Some(got) = version.filter(|version| *version > VERSION) {
        let supported = VERSION;
        return Err(DecodeError::Version { got, supported });
    }
    let shared = shared(&headers, default_kind, now)?;
    if headers.int(H_BUNDLE)?.is_some() {
        let tasks = bundle(&received.body, &shared)?;
        return Ok(Identity {
            tasks,
            minted: false,
        });
    }
    let known = identity(&headers, version.is_some())?;
    let mut task = single(&received.body, &headers, shared)?;
    let minted = known.is_none();
    task.id = known.unwrap_or_else(mint);
    if version.is_none() || headers.text(H_TASK)?.is_some() {
        task.requester.correlation_id = received.properties.correlation_id.clone();
    }
    Ok(Identity {
        tasks: vec![task],
        minted,
    })
}

/// The id a message has: ours, else its `message_id`, else a UUID in its
/// `correlation_id`.
fn identity(headers: &Headers<'_>, ours: bool) -> Result<Option<TaskId>, DecodeError> {
    if let Some(text) = headers.text(H_TASK)? {
        return uuid(text, H_TASK).map(Some);
    }
    let properties = headers.0;
    let correlation_id = properties.correlation_id.as_deref().unwrap_or_default();
    if ours {
        return uuid(correlation_id, "correlation_id").map(Some);
    }
    match properties.message_id.as_deref() {
        Some(text) if !text.is_empty() => Ok(Some(TaskId::of_text(text))),
        _ => Ok(correlation_id.parse().ok()),
    }
}

fn uuid(text: &str, name: &'static str) -> Result<TaskId, DecodeError> {
    text.parse().map_err(|_| DecodeError::Header {
        name,
        expected: "a UUID",
    })
}

/// An envelope with all that does not depend on the body; the id, payload and
/// digest in it are placeholders.
fn shared(
    headers: &Headers<'_>,
    default_kind: Option<&TaskKind>,
    now: Timestamp,
) -> Result<Envelope, DecodeError> {
    let properties = headers.0;
    let kind = match properties.kind.as_deref() {
        Some(kind) if !kind.is_empty() => kind.parse().map_err(|_| DecodeError::Header {
            name: "type",
            expected: "a kind: 1 to 255 of a-z 0-9 . _ -",
        })?,
        _ => default_kind.ok_or(DecodeError::NoKind)?.clone(),
    };
    let submitted_at = headers.time(H_SUBMITTED_AT)?;
    let empty = Payload {
        bytes: Bytes::new(),
        content_type: ContentType::Json,
    };
    let mut envelope = Envelope::new(
        TaskId::from(uuid::Uuid::nil()),
        kind,
        empty,
        submitted_at.or(properties.published_at()).unwrap_or(now),
    );
    envelope.expires_at = headers.time(H_EXPIRES_AT)?;
    envelope.due_at = headers.time(H_DUE_AT)?;
    envelope.reply = headers.text(H_REPLY)?.map(str::to_owned);
    envelope.requester.reply_to = properties
        .reply_to
        .clone()
        .filter(|queue| !queue.is_empty());
    envelope.priority = properties.priority.unwrap_or(0);
    envelope.carried = carried(properties);
    if let Some(text) = headers.text(H_BATCH)? {
        let batch = uuid(text, H_BATCH)?.as_uuid().into();
        let row = headers.int(H_ROW)?.and_then(|row| u64::try_from(row).ok());
        envelope.batch = Some(BatchRow {
            batch,
            row: row.unwrap_or(0),
        });
    }
    Ok(envelope)
}

fn carried(properties: &Properties) -> Vec<Header> {
    let goes_on = |name: &str| {
        TRACE.contains(&name) || (name.starts_with("homing-") && !KNOWN.contains(&name))
    };
    let headers = properties.headers.iter();
    headers.filter(|(name, _)| goes_on(name)).cloned().collect()
}

fn single(
    body: &Bytes,
    headers: &Headers<'_>,
    mut envelope: Envelope,
) -> Result<Envelope, DecodeError> {
    let content_type = ContentType::parse(headers.0.content_type.as_deref())?;
    envelope.payload = payload(body.clone(), content_type)?;
    envelope.digest = Digest::of(body);
    if let Some(said) = headers.bytes(H_DIGEST)?
        && said != envelope.digest.as_bytes()
    {
        return Err(DecodeError::Digest);
    }
    envelope.attempt = headers.counter(H_ATTEMPT, AttemptNumber::new)?;
    envelope.run = headers.counter(H_RUN, Run::new)?;
    Ok(envelope)
}

fn payload(bytes: Bytes, content_type: ContentType) -> Result<Payload, DecodeError> {
    size("a payload", bytes.len(), PAYLOAD_BYTES_MAX)?;
    content_type
        .prescan(&bytes)
        .map_err(|problem| DecodeError::Body {
            expected: content_type.as_str(),
            problem,
        })?;
    Ok(Payload {
        bytes,
        content_type,
    })
}

pub(crate) fn size(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), DecodeError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(DecodeError::TooLarge {
        what,
        bytes,
        bytes_max,
    })
}

fn bundle(body: &Bytes, shared: &Envelope) -> Result<Vec<Envelope>, DecodeError> {
    let items: Vec<Item> = decode_bundle(body, BUNDLE_CONTENT_TYPE)?;
    items
        .into_iter()
        .map(|item| from_item(item, shared))
        .collect()
}

/// Decodes the body of a bundle of tasks or reports: 1 to [`BUNDLE_MAX`].
pub(crate) fn decode_bundle<T: serde::de::DeserializeOwned>(
    body: &[u8],
    expected: &'static str,
) -> Result<Vec<T>, DecodeError> {
    size("a bundle", body.len(), BODY_BYTES_MAX)?;
    let items: Vec<T> = prescan_msgpack(body)
        .and_then(|()| rmp_serde::from_slice(body).map_err(|error| error.to_string()))
        .map_err(|problem| DecodeError::Body { expected, problem })?;
    if (1..=BUNDLE_MAX).contains(&items.len()) {
        return Ok(items);
    }
    Err(DecodeError::Body {
        expected,
        problem: format!("{} items, but 1 to {BUNDLE_MAX} are allowed", items.len()),
    })
}

fn from_item(item: Item, shared: &Envelope) -> Result<Envelope, DecodeError> {
    let mut envelope = shared.clone();
    envelope.id = item.task;
    envelope.payload = payload(item.payload, item.content_type)?;
    envelope.digest = Digest::of(&envelope.payload.bytes);
    if envelope.digest != item.digest {
        return Err(DecodeError::Digest);
    }
    envelope.attempt = item.attempt.unwrap_or(AttemptNumber::FIRST);
    envelope.run = item.run.unwrap_or(Run::FIRST);
    if let Some(place) = &mut envelope.batch {
        place.row = item.row.unwrap_or(0);
    }
    Ok(envelope)
}

/// The message that carries several tasks of one kind, batch, deadline and
/// submission; these are taken from the first.
///
/// # Errors
///
/// The encoder's own text; it fails for no envelope that was decoded.
///
/// # Panics
///
/// Panics if `tasks` is empty.
pub fn encode_tasks(
    tasks: &[Envelope],
    destination: Destination,
    message_id: String,
) -> Result<Message, crate::error::EncodeError> {
    let items: Vec<_> = tasks.iter().map(to_item).collect();
    let mut properties = tasks[0].shared_properties(message_id);
    properties.content_type = Some(BUNDLE_CONTENT_TYPE.to_owned());
    let count = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
    push(&mut properties.headers, H_BUNDLE, count);
    Ok(Message {
        destination,
        properties,
        body: ContentType::MessagePack.encode("a bundle", &items)?.into(),
    })
}

fn to_item(envelope: &Envelope) -> Item {
    Item {
        task: envelope.id,
        payload: envelope.payload.bytes.clone(),
        content_type: envelope.payload.content_type,
        digest: envelope.digest,
        row: envelope.batch.map(|place| place.row),
        attempt: (envelope.attempt > AttemptNumber::FIRST).then_some(envelope.attempt),
        run: (envelope.run > Run::FIRST).then_some(envelope.run),
    }
}

/// Headers by name, with an error that names the header.
pub(crate) struct Headers<'a>(pub(crate) &'a Properties);

impl Headers<'_> {
    pub(crate) fn int(&self, name: &'static str) -> Result<Option<i64>, DecodeError> {
        match self.0.header(name) {
            None => Ok(None),
            Some(HeaderValue::Int(number)) => Ok(Some(*number)),
            Some(_) => Err(DecodeError::Header {
                name,
                expected: "an integer",
            }),
        }
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, DecodeError> {
        match self.0.header(name) {
            None => Ok(None),
            Some(HeaderValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(DecodeError::Header {
                name,
                expected: "text",
            }),
        }
    }

    fn bytes(&self, name: &'static str) -> Result<Option<&[u8]>, DecodeError> {
        match self.0.header(name) {
            None => Ok(None),
            Some(HeaderValue::Bytes(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(DecodeError::Header {
                name,
                expected: "bytes",
            }),
        }
    }

    fn time(&self, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        Ok(self.int(name)?.map(Timestamp::from_ms))
    }

    fn counter<T>(&self, name: &'static str, new: fn(u32) -> Option<T>) -> Result<T, DecodeError> {
        let number = self.int(name)?.unwrap_or(1);
        let counter = u32::try_from(number).ok().and_then(new);
        counter.ok_or(DecodeError::Header {
            name,
            expected: "a number from 1",
        })
    }
}
