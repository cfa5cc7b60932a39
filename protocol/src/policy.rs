use std::time::Duration;

use crate::id::AttemptNumber;
use crate::limit::BUNDLE_MAX;

/// What a failed attempt asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Retry {
    /// Another attempt, after the policy's delay.
    Backoff,
    /// Another attempt, after this delay.
    After(Duration),
    /// No other attempt: trying again is no use.
    Never,
}

/// How often, how long and how patiently a kind of task is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    attempts_max: u32,
    delay_first: Duration,
    delay_max: Duration,
    timeout: Duration,
    concurrency_max: u32,
    bundle_max: u16,
}

impl Policy {
    /// 5 attempts, delays of 1 s doubling to 10 min, 5 min for an attempt, no
    /// limit of its own on how many run at once, each task in a message of its
    /// own.
    pub const DEFAULT: Self = Self {
        attempts_max: 5,
        delay_first: Duration::from_secs(1),
        delay_max: Duration::from_mins(10),
        timeout: Duration::from_mins(5),
        concurrency_max: u32::MAX,
        bundle_max: 1,
    };

    /// Runs a task at most `attempts` times; 1 means no retry.
    ///
    /// # Panics
    ///
    /// Panics if `attempts` is 0. In a `const` that is a build error.
    #[must_use]
    pub const fn attempts_max(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "a task needs at least one attempt");
        self.attempts_max = attempts;
        self
    }

    /// Waits `first` before the second attempt, twice as long before each
    /// further one, at most `max`.
    ///
    /// # Panics
    ///
    /// Panics if `first` is longer than `max`.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, max: Duration) -> Self {
        assert!(
            first.as_nanos() <= max.as_nanos(),
            "the first delay is longer than the longest one"
        );
        self.delay_first = first;
        self.delay_max = max;
        self
    }

    /// Ends an attempt after `timeout`; it counts as a retryable failure.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs at most `attempts` of this kind at once in one worker process.
    ///
    /// # Panics
    ///
    /// Panics if `attempts` is 0.
    #[must_use]
    pub const fn concurrency_max(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "a kind needs room for at least one attempt");
        self.concurrency_max = attempts;
        self
    }

    /// Lets a batch send up to `tasks` of this kind in one message, as far as
    /// they are small: what a message costs a broker is then shared by all of
    /// them. One worker gets them all, so it is for tasks that take milliseconds;
    /// 64 to 128 is where the broker is no longer the limit. Each keeps its own
    /// id, attempts, timeout and outcome.
    ///
    /// # Panics
    ///
    /// Panics if `tasks` is 0 or more than
    /// [`BUNDLE_MAX`].
    #[must_use]
    pub const fn bundle(mut self, tasks: u16) -> Self {
        assert!(
            tasks > 0 && tasks as usize <= BUNDLE_MAX,
            "no message carries as many tasks"
        );
        self.bundle_max = tasks;
        self
    }

    /// The most attempts a task of this kind gets.
    pub const fn attempts(&self) -> u32 {
        self.attempts_max
    }

    /// The longest an attempt may take.
    pub const fn attempt_timeout(&self) -> Duration {
        self.timeout
    }

    /// The most attempts of this kind at once in one worker process.
    pub const fn concurrency(&self) -> u32 {
        self.concurrency_max
    }

    /// The most tasks of this kind in one message.
    pub const fn bundle_max(&self) -> u16 {
        self.bundle_max
    }

    /// Whether `attempt` is the last one allowed.
    pub const fn is_last(&self, attempt: AttemptNumber) -> bool {
        attempt.get() >= self.attempts_max
    }

    /// The delay after a failed `attempt`, or `None` when it was the last.
    ///
    /// Doubles from the first delay up to the longest, then takes off up to
    /// half of it. `jitter` is in `[0, 1)` and comes from the caller, so that a
    /// test can fix it.
    pub fn delay_after(&self, attempt: AttemptNumber, jitter: f64) -> Option<Duration> {
        debug_assert!((0.0..1.0).contains(&jitter));
        if self.is_last(attempt) {
            return None;
        }
        let delay = 2_u32
            .checked_pow(attempt.get() - 1)
            .and_then(|factor| self.delay_first.checked_mul(factor))
            .map_or(self.delay_max, |delay| delay.min(self.delay_max));
        // Not `delay` times the rest: the longest duration is no valid float.
        Some(delay - delay.mul_f64(jitter / 2.0))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_delay_doubles_until_it_reaches_the_longest() {
        let policy = Policy::DEFAULT
            .attempts_max(5)
            .backoff(Duration::from_secs(1), Duration::from_secs(3));

        let delays: Vec<_> = std::iter::successors(Some(AttemptNumber::FIRST), |a| Some(a.next()))
            .map_while(|attempt| policy.delay_after(attempt, 0.0))
            .collect();

        assert_eq!(delays, [1, 2, 3, 3].map(Duration::from_secs));
    }

    proptest! {
        #[test]
        fn the_delay_stays_between_half_and_the_longest(
            attempt in 1_u32..200, jitter in 0.0_f64..1.0, first in 1_u64..5_000, more in 0_u64..10_000_000,
        ) {
            let (first, max) = (Duration::from_millis(first), Duration::from_millis(first + more));
            let policy = Policy::DEFAULT.attempts_max(u32::MAX).backoff(first, max);
            let attempt = AttemptNumber::new(attempt).expect("not 0");

            let delay = policy.delay_after(attempt, jitter).expect("not the last");

            prop_assert!(delay >= first.mul_f64(0.499) && delay <= max);
        }
    }
}
