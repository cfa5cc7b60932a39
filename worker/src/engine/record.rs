//! Reports on attempts, and counts of what the worker did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use homing_protocol::{AttemptId, Envelope, Policy, QueueName, Reason, Report, Status, Timestamp};

use super::{mint, now};
use crate::handler::AttemptFailure;
use crate::worker::Stopped;

/// Counts, for the answer of `run`.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) finished: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) cut_off: AtomicU64,
    pub(super) wedged: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) -> Stopped {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stopped {
            finished: count(&self.finished),
            returned: count(&self.returned),
            cut_off: count(&self.cut_off),
            wedged: count(&self.wedged),
        }
    }
}

/// An attempt that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    id: AttemptId,
    at: Timestamp,
    /// For how long it ran: the clock on the wall may jump.
    since: Instant,
    policy: Policy,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    begun: Begun,
    pub(super) ran: Duration,
}

impl Begun {
    pub(super) fn now(policy: Policy) -> Self {
        Self {
            id: mint().into(),
            at: now(),
            since: Instant::now(),
            policy,
        }
    }

    /// When, by the clock on the wall.
    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    /// When, by the clock that goes on evenly.
    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    /// The longest it may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.policy.attempt_timeout()
    }

    pub(super) fn timeout_at(&self) -> Instant {
        // A timeout beyond what the clock can tell is none.
        let timeout = self.policy.attempt_timeout();
        let far = Duration::from_hours(24 * 365);
        self.since + timeout.min(far)
    }

    pub(super) fn ended(self) -> Past {
        Past {
            begun: self,
            ran: self.since.elapsed(),
        }
    }
}

impl Past {
    /// The policy it was run by.
    pub(super) const fn policy(&self) -> Policy {
        self.begun.policy
    }

    /// What is to be stored of the attempt.
    pub(super) fn report(
        &self,
        envelope: &Envelope,
        queue: &QueueName,
        status: Status,
        worker: &str,
    ) -> Report {
        let mut report = Report::new(envelope, status, queue.as_str(), self.begun.at);
        report.attempt = envelope.attempt.get();
        report.attempts_max = self.begun.policy.attempts();
        report.attempt_id = Some(self.begun.id);
        report.run_us = u64::try_from(self.ran.as_micros()).unwrap_or(u64::MAX);
        report.worker = worker.to_owned();
        report
    }
}

/// `report` with the error of the attempt.
pub(super) fn failed(mut report: Report, failure: AttemptFailure) -> Report {
    report.error = Some(failure.text);
    report.error_data = failure.data;
    report
}

/// What is told at once to whoever waits for a task that is a dead letter; the
/// collector stores the same from the dead letter itself.
pub(super) fn dead(envelope: &Envelope, queue: &QueueName, reason: Reason, detail: &str) -> Report {
    let mut report = Report::new(envelope, reason.status(), queue.as_str(), now());
    report.attempt = envelope.attempt.get() - 1;
    report.reason = Some(reason);
    report.error = Some(format!("{reason}: {detail}"));
    report
}

/// Host and process: `host-a/4711`.
pub(super) fn worker_name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}/{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use homing_protocol::{ContentType, Payload, Retry};
    use uuid::Uuid;

    use super::*;

    fn envelope() -> Envelope {
        let payload = Payload {
            bytes: Bytes::from_static(b"1"),
            content_type: ContentType::Json,
        };
        let submitted_at = Timestamp::from_ms(now().as_ms() - 5_000);
        Envelope::new(
            Uuid::nil().into(),
            "a".parse().unwrap(),
            payload,
            submitted_at,
        )
    }

    fn report(status: Status) -> Report {
        let envelope = envelope();
        let past = Begun::now(Policy::DEFAULT.attempts_max(3)).ended();
        past.report(&envelope, &QueueName::tasks(), status, "host/1")
    }

    #[test]
    fn a_report_names_its_attempt_and_its_worker() {
        let report = report(Status::Succeeded);

        assert_eq!((report.attempt, report.attempts_max), (1, 3));
        assert!(report.attempt_id.is_some() && report.worker == "host/1");
        assert!(
            (5_000..6_000).contains(&report.waited_ms),
            "{}",
            report.waited_ms
        );
    }

    #[test]
    fn only_what_did_not_succeed_carries_its_payload() {
        assert_eq!(report(Status::Succeeded).payload, None);
        assert_eq!(
            report(Status::Failed).payload,
            Some(Bytes::from_static(b"1"))
        );
    }

    #[test]
    fn a_failure_is_reported_with_its_text_and_data() {
        let failure = AttemptFailure {
            data: Some(Bytes::from_static(b"2")),
            ..AttemptFailure::new("it broke", Retry::Never)
        };

        let report = failed(report(Status::Failed), failure);

        assert_eq!(report.error.as_deref(), Some("it broke"));
        assert_eq!(report.error_data, Some(Bytes::from_static(b"2")));
    }

    #[test]
    fn a_dead_task_is_reported_as_the_collector_stores_it() {
        let report = dead(
            &envelope(),
            &QueueName::tasks(),
            Reason::Expired,
            "too late",
        );

        assert_eq!((report.status, report.attempt), (Status::Expired, 0));
        assert_eq!(report.error.as_deref(), Some("expired: too late"));
    }
}
