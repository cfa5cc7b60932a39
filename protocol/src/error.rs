use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limit::SCHEMA_BYTES_MAX;
use crate::results::RESULTS_QUEUES_MAX;
use crate::status::Status;
use crate::task::TaskError;

/// Why a name is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not the name of a kind.
    #[error("`{name}` is no kind: 1 to 255 of a-z 0-9 . _ -")]
    Kind {
        /// What was given.
        name: String,
    },
    /// Not the name of a queue of tasks.
    #[error("`{name}` is no queue for tasks: `tasks`, or `tasks.` and up to 94 of a-z 0-9 . _ -")]
    Queue {
        /// What was given.
        name: String,
    },
    /// Not a namespace.
    #[error("`{name}` is no namespace: up to 64 of a-z 0-9 _ -, and not `tasks`")]
    Namespace {
        /// What was given.
        name: String,
    },
    /// Not a number of queues of outcomes.
    #[error("`{text}` is no number of queues of outcomes: 1 to {RESULTS_QUEUES_MAX}")]
    ResultsQueues {
        /// What was given.
        text: String,
    },
    /// Not a status.
    #[error("`{name}` is no status: {}", Status::ALL.map(Status::as_str).join(", "))]
    Status {
        /// What was given.
        name: String,
    },
}

/// Why a delivery could not be read.
///
/// None of these goes away on a second look, so such a delivery becomes a dead
/// letter with reason `malformed` and is kept whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The publisher is newer than this build. Deploy readers first.
    #[error("wire version {got}, but this build reads up to {supported}")]
    Version {
        /// The version in the message.
        got: i64,
        /// The newest this build reads.
        supported: i64,
    },
    /// A header or property has a value it cannot have.
    #[error("`{name}` is not {expected}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// The message says neither its kind nor do we assume one.
    #[error("the message has no `type`, which names the kind of the task")]
    NoKind,
    /// The content type is none we read.
    #[error("content type `{got}` is neither application/json nor application/msgpack")]
    ContentType {
        /// What the message says.
        got: String,
    },
    /// The content type needs a body that this is not.
    #[error("the body is not valid {expected}: {problem}")]
    Body {
        /// The name of the encoding.
        expected: &'static str,
        /// What is wrong, and where.
        problem: String,
    },
    /// Larger than this part of a message may be.
    #[error("{what} of {bytes} bytes, but at most {bytes_max} are allowed")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most it may be.
        bytes_max: usize,
    },
    /// The body is not what its digest says.
    #[error("the payload does not match its digest: it was changed on the way")]
    Digest,
    /// The payload does not fit the kind's type.
    #[error("the payload is no `{kind}` task: {problem}")]
    Payload {
        /// The kind.
        kind: String,
        /// What does not fit, and where.
        problem: String,
    },
}

/// Why a value could not be made ready to travel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type's own `Serialize` failed, or the format cannot hold the value.
    #[error("cannot encode {what}: {problem}")]
    Serialize {
        /// What was encoded.
        what: &'static str,
        /// Why it failed.
        problem: String,
    },
    /// Larger than it may be. Store it elsewhere and send its name.
    #[error(
        "{what} of {bytes} bytes, but at most {bytes_max} are allowed; store it elsewhere and send its name"
    )]
    TooLarge {
        /// What was encoded.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most it may be.
        bytes_max: usize,
    },
    /// Not what the content type says, or too deep or too many values.
    #[error("{what} is not valid: {problem}")]
    Invalid {
        /// What was checked.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Why something is no JSON Schema that a kind can have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Larger than it may be.
    #[error("it has {bytes} bytes, but at most {SCHEMA_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size as JSON.
        bytes: usize,
    },
    /// No JSON, too deep, or of too many values.
    #[error("it is not valid JSON: {problem}")]
    Invalid {
        /// What is wrong with it.
        problem: String,
    },
    /// JSON, but no schema.
    #[error("it is neither an object nor true or false")]
    Form,
}

/// Why a task has no output.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure<E = AnyError> {
    /// `failed`, `exhausted`, `cancelled`, `expired` or `dead`.
    pub status: Status,
    /// The last attempt's error, causes included; for a dead letter its reason.
    pub message: String,
    /// The same as a value, if the handler returned the task's own error type.
    pub error: Option<E>,
}

impl<E> Failure<E> {
    /// A failure with this status, text and, where there is one, value.
    pub const fn new(status: Status, message: String, error: Option<E>) -> Self {
        Self {
            status,
            message,
            error,
        }
    }
}

impl<E> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task {}: {}", self.status, self.message)
    }
}

impl<E: fmt::Debug> Error for Failure<E> {}

/// The error type of a task whose errors are text only.
///
/// Has no values: a handler returns any error with `?`, and its text is kept.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum AnyError {}

impl fmt::Display for AnyError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Error for AnyError {}

impl TaskError for AnyError {}

/// An error's text with the texts of its causes, joined by `: `.
///
/// A cause whose text its effect already ends with is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
