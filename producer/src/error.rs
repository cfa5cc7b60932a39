use std::time::Duration;

use homing_broker::{BrokerError, PublishError, UrlError};
use homing_protocol::{BatchId, EncodeError, Failure, NameError, TaskId};

use crate::tasks::BoxError;

/// Why a producer cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither `HOMING_BROKER` nor `AMQP_URL` is set.
    #[error(
        "no broker is named: set HOMING_BROKER or AMQP_URL to amqp://USER:PASSWORD@HOST:PORT/VHOST"
    )]
    NoBroker,
    /// The broker's URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] NameError),
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Why a task is not known to be submitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It cannot travel. Nothing was sent.
    #[error("cannot submit task {id}")]
    Encode {
        /// The task.
        id: TaskId,
        /// Why it cannot.
        #[source]
        source: EncodeError,
    },
    /// The broker did not take it, or is not known to have.
    ///
    /// With [`PublishError::Unconfirmed`] or [`PublishError::Closed`] it may be
    /// queued: submit it again with the same id.
    #[error("task {id} is not known to be submitted")]
    Publish {
        /// The task.
        id: TaskId,
        /// Why not.
        #[source]
        source: PublishError,
    },
    /// The record of a batch could not be published.
    #[error("the record of batch {batch} is not known to be submitted")]
    Record {
        /// The batch.
        batch: BatchId,
        /// Why not.
        #[source]
        source: PublishError,
    },
    /// The label of a batch cannot travel.
    #[error("cannot open batch {batch}")]
    Label {
        /// The batch.
        batch: BatchId,
        /// Why it cannot.
        #[source]
        source: EncodeError,
    },
    /// The iterator or stream of tasks gave an error. Those before it are
    /// submitted; the batch stays open.
    #[error("the tasks of batch {batch} ended with an error after row {rows}")]
    Source {
        /// The batch.
        batch: BatchId,
        /// How many tasks it gave before.
        rows: u64,
        /// Its error.
        #[source]
        source: BoxError,
    },
}

/// Why there is no outcome to give yet. The task goes on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The deadline passed first. Ask again, or ask the store.
    #[error("no outcome within {} s; the task goes on", waited.as_secs())]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// The link that outcomes are pushed over broke, or never stood. The
    /// store has the outcome, or will.
    #[error("the link for replies broke; the store has the outcome, or will")]
    Disconnected,
    /// The outcome is there, but not of this task's type.
    #[error("the outcome of task {id} cannot be read: {problem}")]
    Undecodable {
        /// The task.
        id: TaskId,
        /// What does not fit.
        problem: String,
    },
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum OutputError<E: std::error::Error + 'static> {
    /// The task did not succeed.
    #[error(transparent)]
    Task(Failure<E>),
    /// There is no answer yet: not the task's fault.
    #[error(transparent)]
    Wait(#[from] WaitError),
}
