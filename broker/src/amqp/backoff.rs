//! How long to wait before the next try to connect.
//!
//! Pure; chance comes from the caller. The longest wait doubles with every round
//! through the hosts, and any part of it is waited, from nothing to all
//! ("full jitter"): many clients that lost one broker do not come back at once.
//!
//! How far it grows depends on what failed. Where nobody listens a try costs
//! next to nothing, so tries go on at least once a second, and a broker that is
//! back is used within a second or so. A broker that does listen, but fails, is
//! maybe overloaded and given more room.

use std::time::Duration;

/// The longest first wait after a connection broke.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait while nobody listens.
const MAX_UNHEARD: Duration = Duration::from_secs(1);

/// The longest wait after any other failure.
const MAX: Duration = Duration::from_secs(5);

/// What came of a try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// Nobody listens there.
    Unheard,
    /// Something else, or a connection that stood and broke.
    Broken,
}

impl Failure {
    const fn wait_max(self) -> Duration {
        match self {
            Self::Unheard => MAX_UNHEARD,
            Self::Broken => MAX,
        }
    }
}

/// The failures in a row that are of one sort.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<Failure>,
    failures: u32,
}

impl Backoff {
    /// Takes note that a connection stands.
    pub(super) const fn stands(&mut self) {
        self.last = None;
        self.failures = 0;
    }

    /// Takes note of a failure. Answers how long to wait, with so many `hosts` to
    /// try in turn and a `chance` in `[0, 1)`.
    pub(super) fn wait(&mut self, failure: Failure, hosts: usize, chance: f64) -> Duration {
        debug_assert!((0.0..1.0).contains(&chance));
        if self.last != Some(failure) {
            self.failures = 0;
        }
        self.last = Some(failure);
        let rounds = self.failures / u32::try_from(hosts.max(1)).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let longest = 2_u32
            .checked_pow(rounds)
            .and_then(|factor| FIRST.checked_mul(factor))
            .map_or(failure.wait_max(), |wait| wait.min(failure.wait_max()));
        longest.mul_f64(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_ms(failure: Failure, hosts: usize, count: usize) -> Vec<u128> {
        let mut backoff = Backoff::default();
        let wait = |_| backoff.wait(failure, hosts, 0.999_999).as_millis() + 1;
        (0..count).map(wait).collect()
    }

    #[test]
    fn the_longest_wait_doubles_up_to_a_limit_that_depends_on_what_failed() {
        assert_eq!(
            waits_ms(Failure::Broken, 1, 8),
            [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]
        );
        assert_eq!(
            waits_ms(Failure::Unheard, 1, 6),
            [100, 200, 400, 800, 1_000, 1_000]
        );
    }

    #[test]
    fn every_host_is_tried_before_the_wait_grows() {
        assert_eq!(
            waits_ms(Failure::Unheard, 3, 7),
            [100, 100, 100, 200, 200, 200, 400]
        );
    }

    #[test]
    fn another_sort_of_failure_and_a_connection_that_stands_begin_anew() {
        let mut backoff = Backoff::default();
        let many = |backoff: &mut Backoff, failure| {
            (0..40).fold(FIRST, |_, _| backoff.wait(failure, 1, 0.5))
        };
        assert_eq!(many(&mut backoff, Failure::Unheard), MAX_UNHEARD / 2);

        let changed = backoff.wait(Failure::Broken, 1, 0.5);
        assert_eq!(many(&mut backoff, Failure::Broken), MAX / 2);
        backoff.stands();
        let stood = backoff.wait(Failure::Broken, 1, 0.5);

        assert_eq!((changed, stood), (FIRST / 2, FIRST / 2));
    }

    #[test]
    fn any_part_of_the_longest_wait_is_waited() {
        assert_eq!(
            Backoff::default().wait(Failure::Broken, 1, 0.0),
            Duration::ZERO
        );
    }
}
