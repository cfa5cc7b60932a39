//! The headers of ours: their names, and how they are read.

use crate::error::DecodeError;
use crate::message::{Header, HeaderValue, Properties};
use crate::time::Timestamp;

pub(crate) const H_VERSION: &str = "homing-version";
pub(crate) const H_TASK: &str = "homing-task";
pub(crate) const H_ATTEMPT: &str = "homing-attempt";
pub(crate) const H_RUN: &str = "homing-run";
pub(crate) const H_BATCH: &str = "homing-batch";
pub(crate) const H_ROW: &str = "homing-row";
pub(crate) const H_DIGEST: &str = "homing-digest";
pub(crate) const H_SUBMITTED_AT: &str = "homing-submitted-at";
pub(crate) const H_EXPIRES_AT: &str = "homing-expires-at";
pub(crate) const H_DUE_AT: &str = "homing-due-at";
pub(crate) const H_REPLY: &str = "homing-reply";
pub(crate) const H_BUNDLE: &str = "homing-bundle";
pub(crate) const H_REASON: &str = "homing-reason";
pub(crate) const H_DETAIL: &str = "homing-detail";
pub(crate) const H_QUEUE: &str = "homing-queue";
pub(crate) const H_MESSAGE: &str = "homing-message";
pub(crate) const H_DECLARED_AT: &str = "homing-declared-at";

/// What is wrong with the properties of a message, said by a link that read
/// them all the same. No publisher's word: a link takes that away.
pub const H_UNREADABLE: &str = "homing-unreadable";

/// Such properties as they are on the wire.
pub const H_PROPERTIES: &str = "homing-properties";

/// For how many seconds a task was put off so far, since no worker could run it.
pub const H_PARKED: &str = "homing-parked";

/// Every header of ours that this version understands, so that the others are
/// carried along.
const KNOWN: [&str; 19] = [
    H_UNREADABLE,
    H_PROPERTIES,
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
    H_REASON,
    H_DETAIL,
    H_QUEUE,
    H_MESSAGE,
    H_DECLARED_AT,
];

/// The trace context, by its W3C names: <https://www.w3.org/TR/trace-context/>.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Whether this version understands the header.
pub(crate) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether the header goes on with a task that is published again, although
/// this version does not understand it.
pub(crate) fn is_carried(name: &str) -> bool {
    TRACE.contains(&name) || (name.starts_with("homing-") && !is_known(name))
}

pub(crate) fn push(headers: &mut Vec<Header>, name: &str, value: impl Into<HeaderValue>) {
    headers.push((name.to_owned(), value.into()));
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

    pub(crate) fn bytes(&self, name: &'static str) -> Result<Option<&[u8]>, DecodeError> {
        match self.0.header(name) {
            None => Ok(None),
            Some(HeaderValue::Bytes(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(DecodeError::Header {
                name,
                expected: "bytes",
            }),
        }
    }

    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
        Ok(self.int(name)?.map(Timestamp::from_ms))
    }

    pub(crate) fn counter<T>(
        &self,
        name: &'static str,
        new: fn(u32) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let number = self.int(name)?.unwrap_or(1);
        let counter = u32::try_from(number).ok().and_then(new);
        counter.ok_or(DecodeError::Header {
            name,
            expected: "a number from 1",
        })
    }
}
