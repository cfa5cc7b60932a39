//! Reads the tasks a delivery carries, whoever published it.
//!
//! Which task a message is shows in its properties alone, so that a message
//! whose body is no payload is still the task it claims to be:
//!
//! | the message has | its task |
//! |---|---|
//! | `homing-task` | that UUID |
//! | `homing-version` | the UUID in `correlation_id` |
//! | a `message_id` | that UUID, or a UUID made from the text |
//! | a UUID in `correlation_id` | that UUID |
//! | none of these | a new one: publish it again with this id first |

use bytes::Bytes;

use crate::bundle::{decode_items, salvage_items};
use crate::codec::{ContentType, Payload};
use crate::envelope::{BatchRow, Envelope, VERSION};
use crate::error::DecodeError;
use crate::headers::{
    H_ATTEMPT, H_BATCH, H_BUNDLE, H_DIGEST, H_DUE_AT, H_EXPIRES_AT, H_REPLY, H_ROW, H_RUN,
    H_SUBMITTED_AT, H_TASK, H_VERSION, Headers, is_carried, is_known,
};
use crate::id::{AttemptNumber, Digest, Run, TaskId};
use crate::limit::{HEADER_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::message::{Header, Properties, Received, header_bytes};
use crate::name::TaskKind;
use crate::time::Timestamp;

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
    check_version(&headers)?;
    let mut task = shared(&headers, default_kind, now)?;
    if let Some(count) = headers.int(H_BUNDLE)? {
        return Ok(Identity {
            tasks: decode_items(&received.body, count, &task)?,
            minted: false,
        });
    }
    let known = identify(&headers)?;
    (task.payload, task.digest) = payload_of(&received.body, &headers)?;
    task.id = known.unwrap_or_else(mint);
    echo(&mut task, &headers)?;
    Ok(Identity {
        tasks: vec![task],
        minted: known.is_none(),
    })
}

/// The tasks in a message that [`decode_tasks`] refuses, each with its id and
/// whatever else can be read; none if no id can be told.
///
/// They are not to be run: this is for the record of what is dead, so that a
/// task whose payload or one header is spoilt still counts in its batch and run.
pub(crate) fn salvage_tasks(received: &Received, kind: &TaskKind, now: Timestamp) -> Vec<Envelope> {
    let headers = Headers(&received.properties);
    let Some(mut task) = salvage_shared(&received.properties, kind, now) else {
        return Vec::new();
    };
    if received.properties.header(H_BUNDLE).is_some() {
        return salvage_items(&received.body, &task);
    }
    let Ok(Some(id)) = identify(&headers) else {
        return Vec::new();
    };
    task.id = id;
    task.payload = Payload {
        bytes: received.body.clone(),
        content_type: ContentType::parse(received.properties.content_type.as_deref())
            .unwrap_or(ContentType::Json),
    };
    task.digest = Digest::of(&received.body);
    // What cannot be echoed is left out.
    let _unreadable = echo(&mut task, &headers);
    vec![task]
}

fn check_version(headers: &Headers<'_>) -> Result<(), DecodeError> {
    match headers.int(H_VERSION)? {
        Some(got) if got > VERSION => Err(DecodeError::Version {
            got,
            supported: VERSION,
        }),
        _ => Ok(()),
    }
}

/// Which task a message is, by the table of this module; `None` if nothing
/// tells. Holds for messages of newer versions too.
pub(crate) fn identify(headers: &Headers<'_>) -> Result<Option<TaskId>, DecodeError> {
    if let Some(text) = headers.text(H_TASK)? {
        return uuid(text, H_TASK).map(Some);
    }
    let properties = headers.0;
    let correlation_id = properties.correlation_id.as_deref().unwrap_or_default();
    if headers.int(H_VERSION)?.is_some() {
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

/// Takes note of a foreign client's correlation id. On a message of ours it is
/// one only beside `homing-task`; else it is the task's id.
fn echo(task: &mut Envelope, headers: &Headers<'_>) -> Result<(), DecodeError> {
    if headers.int(H_VERSION)?.is_none() || headers.text(H_TASK)?.is_some() {
        task.requester.correlation_id = headers.0.correlation_id.clone();
    }
    Ok(())
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
    envelope.attempt = headers.counter(H_ATTEMPT, AttemptNumber::new)?;
    envelope.run = headers.counter(H_RUN, Run::new)?;
    envelope.expires_at = headers.time(H_EXPIRES_AT)?;
    envelope.due_at = headers.time(H_DUE_AT)?;
    // A longer one is no address of ours: nobody waits behind it.
    let address = headers
        .text(H_REPLY)?
        .filter(|text| text.len() <= NAME_BYTES_MAX);
    envelope.reply = address.map(str::to_owned);
    envelope.requester.reply_to = properties
        .reply_to
        .clone()
        .filter(|queue| !queue.is_empty());
    envelope.priority = properties.priority.unwrap_or(0);
    envelope.carried = carried(properties)?;
    envelope.batch = batch_row(headers)?;
    Ok(envelope)
}

/// The headers that go on with the task. They are copied for every task of a
/// bundle, so their size is checked first.
fn carried(properties: &Properties) -> Result<Vec<Header>, DecodeError> {
    let goes_on = |(name, _): &&Header| is_carried(name) || name == H_REPLY;
    let headers = || properties.headers.iter().filter(goes_on);
    size(
        "headers",
        headers().map(header_bytes).sum(),
        HEADER_BYTES_MAX,
    )?;
    Ok(headers()
        .filter(|(name, _)| name != H_REPLY)
        .cloned()
        .collect())
}

fn batch_row(headers: &Headers<'_>) -> Result<Option<BatchRow>, DecodeError> {
    let Some(text) = headers.text(H_BATCH)? else {
        return Ok(None);
    };
    let batch = uuid(text, H_BATCH)?.as_uuid().into();
    let row = headers.int(H_ROW)?.and_then(|row| u64::try_from(row).ok());
    Ok(Some(BatchRow {
        batch,
        row: row.unwrap_or(0),
    }))
}

/// [`shared`] without the headers that stand in its way.
fn salvage_shared(properties: &Properties, kind: &TaskKind, now: Timestamp) -> Option<Envelope> {
    let mut properties = properties.clone();
    // A report has no room for these, and one of them may be too large.
    properties
        .headers
        .retain(|(name, _)| is_known(name) && name != H_REPLY);
    // Each turn takes at least one header, or the kind, away.
    for _ in 0..properties.headers.len() + 2 {
        let name = match shared(&Headers(&properties), Some(kind), now) {
            Ok(envelope) => return Some(envelope),
            Err(DecodeError::Header { name, .. }) => name,
            Err(_) => return None,
        };
        if name == "type" {
            properties.kind = None;
        }
        properties.headers.retain(|(header, _)| header != name);
    }
    None
}

fn payload_of(body: &Bytes, headers: &Headers<'_>) -> Result<(Payload, Digest), DecodeError> {
    let content_type = ContentType::parse(headers.0.content_type.as_deref())?;
    let payload = payload(body.clone(), content_type)?;
    let digest = Digest::of(body);
    if let Some(said) = headers.bytes(H_DIGEST)?
        && said != digest.as_bytes()
    {
        return Err(DecodeError::Digest);
    }
    Ok((payload, digest))
}

pub(crate) fn payload(bytes: Bytes, content_type: ContentType) -> Result<Payload, DecodeError> {
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
