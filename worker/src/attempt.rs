use std::sync::{Arc, OnceLock};
use std::time::Instant;

use homing_protocol::{AttemptNumber, TaskId};
use tokio_util::sync::CancellationToken;

/// One run of a handler: which task and attempt it is, until when it may go on,
/// and the worker's state.
///
/// Clones are the same attempt.
pub struct Attempt<S = ()> {
    state: Arc<S>,
    frame: Frame,
}

/// What of an attempt does not depend on the type of the worker's state.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) task: TaskId,
    pub(crate) number: AttemptNumber,
    pub(crate) is_last: bool,
    /// When its timeout ends.
    pub(crate) timeout_at: Instant,
    pub(crate) cutoff: Cutoff,
}

/// When the attempts of a worker that stops are to end, the same for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cutoff {
    /// Set once, when the drain starts.
    at: Arc<OnceLock<Instant>>,
    /// Cancelled once, when the grace has passed.
    pub(crate) passed: CancellationToken,
}

impl Cutoff {
    /// Says that the worker drains, and until when attempts may go on.
    pub(crate) fn set(&self, at: Instant) {
        // A drain starts once; a second one changes nothing.
        let _already = self.at.set(at);
    }
}

impl<S> Attempt<S> {
    pub(crate) const fn new(state: Arc<S>, frame: Frame) -> Self {
        Self { state, frame }
    }

    /// What the worker was made with.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The task's id: the same in every attempt, so it can serve as the key that
    /// makes an effect idempotent.
    pub const fn task_id(&self) -> TaskId {
        self.frame.task
    }

    /// Which attempt this is. The first is 1.
    pub const fn number(&self) -> AttemptNumber {
        self.frame.number
    }

    /// Whether a failure of this attempt is the task's.
    pub const fn is_last(&self) -> bool {
        self.frame.is_last
    }

    /// Until when it may go on: the end of its timeout or, once the worker
    /// stops, of the grace, whichever is earlier.
    pub fn deadline(&self) -> Instant {
        let timeout_at = self.frame.timeout_at;
        let drained_at = self.frame.cutoff.at.get();
        drained_at.map_or(timeout_at, |at| timeout_at.min(*at))
    }

    /// Ends when the attempt should stop: when its timeout or the grace of the
    /// drain has passed. An `async` handler is dropped a moment later.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost; ask again.
    pub async fn cancelled(&self) {
        let timeout = tokio::time::sleep_until(self.frame.timeout_at.into());
        tokio::select! {
            () = timeout => {}
            () = self.frame.cutoff.passed.cancelled() => {}
        }
    }

    /// Whether the attempt should stop: what blocking code asks now and then.
    pub fn is_cancelled(&self) -> bool {
        self.frame.cutoff.passed.is_cancelled() || Instant::now() >= self.frame.timeout_at
    }
}

impl<S> Clone for Attempt<S> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            frame: self.frame.clone(),
        }
    }
}

impl<S> std::fmt::Debug for Attempt<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.frame.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn attempt(timeout: Duration) -> (Attempt, Cutoff) {
        let cutoff = Cutoff::default();
        let frame = Frame {
            task: Uuid::nil().into(),
            number: AttemptNumber::FIRST,
            is_last: false,
            timeout_at: Instant::now() + timeout,
            cutoff: cutoff.clone(),
        };
        (Attempt::new(Arc::new(()), frame), cutoff)
    }

    #[test]
    fn the_deadline_moves_to_the_end_of_the_drain_if_that_is_earlier() {
        let (attempt, cutoff) = attempt(Duration::from_secs(100));
        let timeout_at = attempt.deadline();
        let drained_at = timeout_at - Duration::from_secs(90);

        cutoff.set(drained_at);

        assert_eq!(attempt.deadline(), drained_at);
    }

    #[tokio::test]
    async fn an_attempt_is_cancelled_by_its_timeout() {
        let (attempt, _cutoff) = attempt(Duration::ZERO);

        attempt.cancelled().await;

        assert!(attempt.is_cancelled());
    }

    #[tokio::test]
    async fn an_attempt_is_cancelled_when_the_grace_has_passed() {
        let (attempt, cutoff) = attempt(Duration::from_secs(100));
        assert!(!attempt.is_cancelled());

        cutoff.passed.cancel();
        attempt.cancelled().await;

        assert!(attempt.is_cancelled());
    }
}
