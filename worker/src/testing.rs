//! Runs single attempts, for a kit that tests handlers without a broker.
//!
//! What decides is what decides in a worker: the registry, the handlers with their
//! types forgotten, the timeout and the panics of [`execute`], and `settle`.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{Envelope, Reason, Status};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Cutoff, Frame};
use crate::config::WorkerConfig;
use crate::engine::{Bounds, Executed, execute};
use crate::error::RunError;
use crate::handler::Brief;
use crate::registry::Kinds;
use crate::settle::{Settlement, settle};
use crate::worker::Worker;

/// The handlers of a worker, to be run an attempt at a time.
pub struct Attempts {
    kinds: Kinds,
}

/// What becomes of a task after an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Settled {
    /// It has succeeded, with this output, encoded as the task.
    Output(Bytes),
    /// It has not: the status, the error's text, and the error as the task's own
    /// type, encoded as the task.
    Failure(Status, String, Option<Bytes>),
    /// It is tried again after this delay, because of this error.
    Retry(String, Duration),
    /// It is a dead letter, for this reason, which is also said in words.
    Dead(Reason, String),
    /// The process that ran it died: nothing is known of it, and it comes again.
    Crashed,
}

impl Attempts {
    /// Those of `worker`, by the policies that its kinds have.
    ///
    /// # Errors
    ///
    /// [`RunError`], as [`Worker::run`] would give.
    pub fn of<S: Send + Sync + 'static>(worker: Worker<S>) -> Result<Self, RunError> {
        let kinds = worker.into_registry().resolve(&WorkerConfig::default())?;
        Ok(Self { kinds })
    }

    /// Runs one attempt at a task. With `crash_at` the process dies when the handler
    /// waits for that many times, the first being 0; one that waits less often, or
    /// blocks its thread, is run to its end.
    pub async fn run(&self, task: &Envelope, crash_at: Option<u32>) -> Settled {
        let Some(entry) = self.kinds.get(&task.kind) else {
            let detail = format!("no handler for kind `{}`", task.kind);
            return Settled::Dead(Reason::UnknownKind, detail);
        };
        let timeout = entry.policy.attempt_timeout();
        let timeout_at = tokio::time::Instant::now().into_std() + timeout.min(FAR);
        let frame = Frame {
            task: task.id,
            number: task.attempt,
            is_last: entry.policy.is_last(task.attempt),
            timeout_at,
            cutoff: Cutoff::default(),
        };
        let bounds = Bounds {
            timeout,
            timeout_at,
            grace: Duration::from_secs(1),
            dropped: CancellationToken::new(),
        };
        let launch = (entry.handler)(Brief {
            kind: task.kind.clone(),
            payload: task.payload.clone(),
            frame,
        });
        match until(execute(launch, &bounds), crash_at).await {
            None | Some(Executed::CutOff | Executed::Wedged) => Settled::Crashed,
            Some(Executed::Ended(ended)) => settle(ended, task.attempt, &entry.policy, 0.0).into(),
        }
    }
}

/// A timeout beyond what the clock can tell is none.
const FAR: Duration = Duration::from_hours(24 * 365);

/// Runs `attempt` to its end, or until it waits for the time `waits`.
async fn until<T>(attempt: impl Future<Output = T>, waits: Option<u32>) -> Option<T> {
    let mut attempt = pin!(attempt);
    let mut waited = 0;
    poll_fn(move |context| match attempt.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if waits == Some(waited) => Poll::Ready(None),
        Poll::Pending => {
            waited += 1;
            Poll::Pending
        }
    })
    .await
}

impl From<Settlement> for Settled {
    fn from(settlement: Settlement) -> Self {
        match settlement {
            Settlement::Output(output) => Self::Output(output),
            Settlement::Failure(status, failure) => {
                Self::Failure(status, failure.text, failure.data)
            }
            Settlement::Retry(failure, delay) => Self::Retry(failure.text, delay),
            Settlement::Dead(reason, detail) => Self::Dead(reason, detail),
        }
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}
