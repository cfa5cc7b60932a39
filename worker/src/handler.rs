//! Forgets a task's type: from a handler to bytes in, bytes out.
//!
//! The only place where the worker knows `T`. What a handler gives is encoded
//! here, in the encoding of its task, and its error is looked at for `T::Error`;
//! from here on a task is its kind and its bytes.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use homing_protocol::limit::{ERROR_BYTES_MAX, ERROR_DATA_BYTES_MAX, OUTPUT_BYTES_MAX};
use homing_protocol::{ContentType, Payload, Retry, Task, TaskKind, chain};

use crate::attempt::{Attempt, Frame};
use crate::attempt_error::AttemptError;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// With an output, encoded as its task.
    Output(Bytes),
    /// With an error.
    Failure(AttemptFailure),
    /// Before it began: the payload does not fit the kind's type.
    Misfit(String),
}

/// An error that ended an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttemptFailure {
    /// Its text, causes included, at most [`ERROR_BYTES_MAX`].
    pub(crate) text: String,
    /// The error as the task's own type, encoded as its task.
    pub(crate) data: Option<Bytes>,
    /// What it asks for.
    pub(crate) retry: Retry,
}

impl AttemptFailure {
    pub(crate) fn new(text: &str, retry: Retry) -> Self {
        Self {
            text: clip(text, ERROR_BYTES_MAX).to_owned(),
            data: None,
            retry,
        }
    }
}

/// The first bytes of `text`, at most `bytes_max`, ended between characters.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// What a handler is told of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Brief {
    pub(crate) kind: TaskKind,
    pub(crate) payload: Payload,
    pub(crate) frame: Frame,
}

/// An attempt that is ready to run.
pub(crate) enum Launch {
    /// On the async threads; dropped when it is to end.
    Async(BoxFuture<'static, Ended>),
    /// On a thread of its own; cannot be ended from outside.
    Blocking(Box<dyn FnOnce() -> Ended + Send>),
}

/// A handler of any kind of task.
pub(crate) type Handler = Arc<dyn Fn(Brief) -> Launch + Send + Sync>;

pub(crate) fn of_async<T, S, F, Fut>(state: Arc<S>, handler: F) -> Handler
where
    T: Task,
    S: Send + Sync + 'static,
    F: Fn(T, Attempt<S>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T::Output, AttemptError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |brief| {
        let attempt = Attempt::new(Arc::clone(&state), brief.frame);
        let (handler, payload) = (Arc::clone(&handler), brief.payload);
        let content_type = payload.content_type;
        let run = async move {
            let task = match decode::<T>(&payload) {
                Ok(task) => task,
                Err(misfit) => return misfit,
            };
            drop(payload);
            ended::<T>(handler(task, attempt).await, content_type)
        };
        Launch::Async(run.boxed())
    })
}

pub(crate) fn of_blocking<T, S, F>(state: Arc<S>, handler: F) -> Handler
where
    T: Task,
    S: Send + Sync + 'static,
    F: Fn(T, Attempt<S>) -> Result<T::Output, AttemptError> + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |brief| {
        let attempt = Attempt::new(Arc::clone(&state), brief.frame);
        let (handler, payload) = (Arc::clone(&handler), brief.payload);
        Launch::Blocking(Box::new(move || match decode::<T>(&payload) {
            Ok(task) => ended::<T>(handler(task, attempt), payload.content_type),
            Err(misfit) => misfit,
        }))
    })
}

fn decode<T: Task>(payload: &Payload) -> Result<T, Ended> {
    payload.decode().map_err(|problem| {
        Ended::Misfit(format!("the payload is no `{}` task: {problem}", T::KIND))
    })
}

fn ended<T: Task>(result: Result<T::Output, AttemptError>, content_type: ContentType) -> Ended {
    match result {
        Ok(output) => encode(&output, content_type),
        Err(error) => Ended::Failure(failure::<T::Error>(&error, content_type)),
    }
}

/// An output that cannot travel is a failure for good: the next attempt would
/// make the same one.
fn encode<V: serde::Serialize>(output: &V, content_type: ContentType) -> Ended {
    match Payload::encode("the output", output, content_type, OUTPUT_BYTES_MAX) {
        Ok(payload) => Ended::Output(payload.bytes),
        Err(error) => Ended::Failure(AttemptFailure::new(&chain(&error), Retry::Never)),
    }
}

fn failure<E: homing_protocol::TaskError>(
    error: &AttemptError,
    content_type: ContentType,
) -> AttemptFailure {
    let own = error.find::<E>();
    let data = own.and_then(|own| content_type.encode("the error", own).ok());
    AttemptFailure {
        // A larger one is left to its text.
        data: data
            .filter(|data| data.len() <= ERROR_DATA_BYTES_MAX)
            .map(Bytes::from),
        ..AttemptFailure::new(&error.text(), error.retry(own))
    }
}
