//! Settles a task: decides what becomes of it once its attempt has ended.
//!
//! Pure. [`settle`] is told how the attempt ended and answers with a
//! [`Settlement`]; the engine carries it out.
//!
//! | attempt ended                  | attempts left | settlement                            |
//! |--------------------------------|---------------|---------------------------------------|
//! | output                         | any           | `succeeded`, then ack                 |
//! | failure for good               | any           | `failed`, then ack                    |
//! | retryable failure              | yes           | `retrying` and the next attempt, ack  |
//! | retryable failure              | no            | `exhausted`, then ack                 |
//! | payload does not fit the type  | any           | dead letter `malformed`, then ack     |
//!
//! A panic and a timeout are retryable failures; an output that cannot travel is
//! a failure for good. What the drain or a crash ends is not settled at all: the
//! delivery goes back.

use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{AttemptNumber, Policy, Reason, Retry, Status};

use crate::handler::{AttemptFailure, Ended};

/// What is to become of a task whose attempt has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Settlement {
    /// It has succeeded.
    Output(Bytes),
    /// It has not succeeded: `failed` or `exhausted`.
    Failure(Status, AttemptFailure),
    /// It is tried again after a delay.
    Retry(AttemptFailure, Duration),
    /// It is a dead letter.
    Dead(Reason, String),
}

/// Decides what becomes of a task. `jitter` is in `[0, 1)`.
pub(crate) fn settle(
    ended: Ended,
    attempt: AttemptNumber,
    policy: &Policy,
    jitter: f64,
) -> Settlement {
    let failure = match ended {
        Ended::Output(output) => return Settlement::Output(output),
        Ended::Misfit(problem) => return Settlement::Dead(Reason::Malformed, problem),
        Ended::Failure(failure) => failure,
    };
    if failure.retry == Retry::Never {
        return Settlement::Failure(Status::Failed, failure);
    }
    let Some(backoff) = policy.delay_after(attempt, jitter) else {
        return Settlement::Failure(Status::Exhausted, failure);
    };
    let delay = match failure.retry {
        Retry::After(delay) => delay,
        _ => backoff,
    };
    Settlement::Retry(failure, delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: AttemptNumber = AttemptNumber::FIRST;

    fn policy() -> Policy {
        let secs = Duration::from_secs;
        Policy::DEFAULT.attempts_max(2).backoff(secs(4), secs(60))
    }

    fn failure(retry: Retry) -> AttemptFailure {
        AttemptFailure::new("it broke", retry)
    }

    fn settled(retry: Retry, attempt: AttemptNumber) -> Settlement {
        settle(Ended::Failure(failure(retry)), attempt, &policy(), 0.0)
    }

    #[test]
    fn an_output_succeeds_on_any_attempt() {
        for attempt in [FIRST, FIRST.next(), FIRST.next().next()] {
            let output = Bytes::from_static(b"1");

            let settlement = settle(Ended::Output(output.clone()), attempt, &policy(), 0.5);

            assert_eq!(settlement, Settlement::Output(output));
        }
    }

    #[test]
    fn a_failure_for_good_is_failed_on_any_attempt() {
        for attempt in [FIRST, FIRST.next()] {
            assert_eq!(
                settled(Retry::Never, attempt),
                Settlement::Failure(Status::Failed, failure(Retry::Never))
            );
        }
    }

    #[test]
    fn a_retryable_failure_is_tried_again_after_the_policys_delay() {
        assert_eq!(
            settled(Retry::Backoff, FIRST),
            Settlement::Retry(failure(Retry::Backoff), Duration::from_secs(4))
        );
    }

    #[test]
    fn a_delay_that_was_asked_for_takes_the_place_of_the_policys() {
        let retry = Retry::After(Duration::from_millis(1));

        assert_eq!(
            settled(retry, FIRST),
            Settlement::Retry(failure(retry), Duration::from_millis(1))
        );
    }

    #[test]
    fn a_retryable_failure_on_the_last_attempt_is_exhausted() {
        for retry in [Retry::Backoff, Retry::After(Duration::ZERO)] {
            for attempt in [FIRST.next(), FIRST.next().next()] {
                assert_eq!(
                    settled(retry, attempt),
                    Settlement::Failure(Status::Exhausted, failure(retry))
                );
            }
        }
    }

    #[test]
    fn a_payload_that_does_not_fit_is_a_dead_letter() {
        let settlement = settle(Ended::Misfit("no".to_owned()), FIRST, &policy(), 0.0);

        assert_eq!(
            settlement,
            Settlement::Dead(Reason::Malformed, "no".to_owned())
        );
    }
}
