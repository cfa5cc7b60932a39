//! What a worker says of an attempt.
//!
//! Reports travel in the body of a message to `results`, 1 to
//! [`BUNDLE_MAX`](crate::limit::BUNDLE_MAX) of them. One alone is a map in a
//! MessagePack array, and the message's `correlation_id` and `type` name its
//! task and kind as well; several are a [table]. An array of
//! several maps is read, as earlier versions wrote it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bundle::{check_body, check_count, decode_bundle};
use crate::codec::{ContentType, Payload};
use crate::dead::Reason;
use crate::envelope::{BatchRow, Envelope, VERSION};
use crate::error::{DecodeError, EncodeError};
use crate::headers::{H_VERSION, Headers};
use crate::id::{AttemptId, BatchId, Digest, Run, TaskId};
use crate::message::{Destination, HeaderValue, Message, Properties, Received};
use crate::status::Status;
use crate::table;
use crate::time::Timestamp;

/// The content type of a message that carries reports as maps.
const CONTENT_TYPE: &str = "application/vnd.homing.outcomes+msgpack";

/// What is to be stored of one attempt at a task, or of a task that got none.
///
/// With status `retrying` it is an attempt record: another attempt follows.
/// With any other it is the task's outcome.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The task.
    pub task: TaskId,
    /// The run of the task, from 1.
    pub run: Run,
    /// The task's kind; for a dead letter without a valid one `?`.
    pub kind: String,
    /// What is known of the task from here on.
    pub status: Status,
    /// Which attempt this was, from 1; 0 if there was none.
    pub attempt: u32,
    /// The most attempts the worker's policy allows; 0 if no worker ran it.
    pub attempts_max: u32,
    /// The attempt, `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<AttemptId>,
    /// The digest of the task's payload.
    pub digest: Digest,
    /// The queue it was taken from, without the namespace.
    pub queue: String,
    /// Its batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Its row in the batch, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The correlation id of the foreign client that asked for it, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When the task was submitted.
    pub submitted_at: Timestamp,
    /// When the attempt began, or the task was found dead.
    pub started_at: Timestamp,
    /// Milliseconds between when the attempt could have begun and when it did.
    pub waited_ms: u64,
    /// Microseconds the handler ran.
    pub run_us: u64,
    /// The worker: host and process.
    pub worker: String,
    /// How output, payload and error data are encoded.
    pub content_type: ContentType,
    /// What the handler returned; only with `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Bytes>,
    /// The error, its causes included; never with `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The error as the task's own type, encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_data: Option<Bytes>,
    /// Why it is a dead letter; only with `dead` and `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The task's payload, unchanged; with every outcome but `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Bytes>,
    /// When the next attempt is due; only with `retrying`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl Report {
    /// A report on `envelope` with this status and nothing else known: no
    /// attempt, output or error.
    pub fn new(envelope: &Envelope, status: Status, queue: &str, started_at: Timestamp) -> Self {
        let carries_payload = status.is_closed() && status != Status::Succeeded;
        Self {
            queue: queue.to_owned(),
            batch: envelope.batch.map(|place| place.batch),
            row: envelope.batch.map(|place| place.row),
            correlation_id: envelope.requester.correlation_id.clone(),
            submitted_at: envelope.submitted_at,
            started_at,
            waited_ms: u64::try_from(started_at.since(envelope.available_at()).as_millis())
                .unwrap_or(u64::MAX),
            content_type: envelope.payload.content_type,
            payload: carries_payload.then(|| envelope.payload.bytes.clone()),
            ..Self::bare(
                envelope.id,
                envelope.run,
                envelope.kind.as_str().to_owned(),
                status,
                envelope.digest,
            )
        }
    }

    /// A report of which only this is known; everything else is empty.
    pub const fn bare(
        task: TaskId,
        run: Run,
        kind: String,
        status: Status,
        digest: Digest,
    ) -> Self {
        Self {
            task,
            run,
            kind,
            status,
            attempt: 0,
            attempts_max: 0,
            attempt_id: None,
            digest,
            queue: String::new(),
            batch: None,
            row: None,
            correlation_id: None,
            submitted_at: Timestamp::from_ms(0),
            started_at: Timestamp::from_ms(0),
            waited_ms: 0,
            run_us: 0,
            worker: String::new(),
            content_type: ContentType::MessagePack,
            output: None,
            error: None,
            error_data: None,
            reason: None,
            payload: None,
            retry_at: None,
        }
    }

    /// The task's place in its batch.
    pub fn batch_row(&self) -> Option<BatchRow> {
        Some(BatchRow {
            batch: self.batch?,
            row: self.row.unwrap_or(0),
        })
    }

    /// The output with its encoding.
    pub fn output(&self) -> Option<Payload> {
        Some(Payload {
            bytes: self.output.clone()?,
            content_type: self.content_type,
        })
    }

    /// About how many bytes it takes on the wire alone; among others, fewer.
    pub fn bytes(&self) -> usize {
        400 + self.data_bytes()
    }

    /// How many bytes its data and the text of its error have.
    pub(crate) fn data_bytes(&self) -> usize {
        let parts = [&self.output, &self.error_data, &self.payload];
        let data: usize = parts.into_iter().flatten().map(Bytes::len).sum();
        data + self.error.as_ref().map_or(0, String::len)
    }
}

/// The message that carries `reports` to `destination`.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] if together they are more than
/// [`BODY_BYTES_MAX`](crate::limit::BODY_BYTES_MAX); one alone is not, if its
/// parts keep to their limits. [`EncodeError::Invalid`] if there are none or more
/// than [`BUNDLE_MAX`](crate::limit::BUNDLE_MAX).
pub fn encode_reports(
    reports: &[Report],
    destination: Destination,
    message_id: String,
    now: Timestamp,
) -> Result<Message, EncodeError> {
    check_count(reports.len())?;
    let alone = match reports {
        [report] => Some(report),
        _ => None,
    };
    let (body, content_type, version) = match alone {
        Some(_) => (
            ContentType::MessagePack.encode("reports", reports)?,
            CONTENT_TYPE,
            VERSION,
        ),
        None => (table::encode(reports)?, table::CONTENT_TYPE, table::VERSION),
    };
    check_body("reports", &body)?;
    let properties = Properties {
        message_id: Some(message_id),
        correlation_id: alone.map(|report| report.task.to_string()),
        kind: alone.map(|report| report.kind.clone()),
        content_type: Some(content_type.to_owned()),
        timestamp: Some(now.as_secs()),
        headers: vec![(H_VERSION.to_owned(), HeaderValue::Int(version))],
        ..Properties::default()
    };
    Ok(Message {
        destination,
        properties,
        body: body.into(),
    })
}

/// Reads the reports a delivery carries.
///
/// # Errors
///
/// [`DecodeError`]: it is not from a worker of this or an older version.
pub fn decode_reports(received: &Received) -> Result<Vec<Report>, DecodeError> {
    let headers = Headers(&received.properties);
    let got = headers.int(H_VERSION)?.ok_or(DecodeError::Header {
        name: H_VERSION,
        expected: "there",
    })?;
    if got > table::VERSION {
        let supported = table::VERSION;
        return Err(DecodeError::Version { got, supported });
    }
    match received.properties.content_type.as_deref() {
        Some(table::CONTENT_TYPE) => table::decode(&received.body),
        Some(CONTENT_TYPE) => decode_bundle(&received.body, CONTENT_TYPE),
        other => Err(DecodeError::Body {
            expected: CONTENT_TYPE,
            problem: format!("its content type is `{}`", other.unwrap_or_default()),
        }),
    }
}
