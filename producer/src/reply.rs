use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::{Outcome, Report, Task, TaskId};
use tokio::time::timeout;

use crate::error::{OutputError, WaitError};
use crate::mailbox::Waiting;

/// A submitted task whose outcome can be awaited, of no particular type.
#[derive(Debug)]
pub struct Reply {
    id: TaskId,
    waiting: Option<Waiting>,
    deadline: Duration,
}

impl Reply {
    pub(crate) const fn new(id: TaskId, waiting: Option<Waiting>, deadline: Duration) -> Self {
        Self {
            id,
            waiting,
            deadline,
        }
    }

    /// The task's id.
    pub const fn id(&self) -> TaskId {
        self.id
    }

    /// Waits for the outcome, as it is stored.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] after the deadline given with the submission;
    /// [`WaitError::Disconnected`] if the link for replies broke meanwhile. The
    /// task goes on in both cases.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, nothing is lost: ask again.
    pub async fn report(&self) -> Result<Arc<Report>, WaitError> {
        let waiting = self.waiting.as_ref().ok_or(WaitError::Disconnected)?;
        let mut slot = waiting.slot.clone();
        let answer = slot.wait_for(Option::is_some);
        match timeout(self.deadline, answer).await {
            Ok(Ok(report)) => report.clone().ok_or(WaitError::Disconnected),
            Ok(Err(_)) => Err(WaitError::Disconnected),
            Err(_) => Err(WaitError::TimedOut {
                waited: self.deadline,
            }),
        }
    }
}

/// A submitted task whose outcome can be awaited.
///
/// Dropped, the task goes on; nothing is kept for it.
#[derive(Debug)]
pub struct Handle<T: Task> {
    reply: Reply,
    task: PhantomData<fn() -> T>,
}

impl<T: Task> Handle<T> {
    pub(crate) const fn new(reply: Reply) -> Self {
        Self {
            reply,
            task: PhantomData,
        }
    }

    /// The task's id.
    pub const fn id(&self) -> TaskId {
        self.reply.id
    }

    /// Waits for the outcome, which the worker pushes to this process.
    ///
    /// Needs no store. If the link broke meanwhile, the store has the answer:
    /// `store.wait(id)`.
    ///
    /// # Errors
    ///
    /// [`WaitError`]: there is no answer yet, or none of this type. That the
    /// task did not succeed is an answer.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, nothing is lost: ask again.
    pub async fn outcome(&self) -> Result<Outcome<T>, WaitError> {
        let report = self.reply.report().await?;
        Outcome::from_report(&report).map_err(|error| WaitError::Undecodable {
            id: self.reply.id,
            problem: error.to_string(),
        })
    }

    /// Waits for the outcome and gives its output.
    ///
    /// # Errors
    ///
    /// [`OutputError::Task`] if the task did not succeed, with its error;
    /// [`OutputError::Wait`] as for [`outcome`](Self::outcome).
    ///
    /// # Cancel safety
    ///
    /// As for [`outcome`](Self::outcome).
    pub async fn output(&self) -> Result<T::Output, OutputError<T::Error>> {
        self.outcome().await?.result.map_err(OutputError::Task)
    }
}
