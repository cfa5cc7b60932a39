use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01 UTC.
///
/// For people and for deadlines across machines. Durations of attempts are
/// measured with a monotonic clock instead.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `ms` milliseconds after 1970-01-01 UTC.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC, 0 before it.
    pub fn as_secs(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This point and `duration` more.
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_duration() -> impl Strategy<Value = Duration> {
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
    }

    proptest! {
        #[test]
        fn whatever_clocks_say_a_time_in_between_is_never_negative(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (Timestamp(a), Timestamp(b));

            let (there, back) = (b.since(a), a.since(b));

            prop_assert!(there.is_zero() || back.is_zero());
            prop_assert_eq!(there.is_zero(), b <= a);
        }

        #[test]
        fn no_duration_goes_round_to_the_past(at in any::<i64>(), duration in any_duration()) {
            let later = Timestamp(at).after(duration);

            prop_assert!(later >= Timestamp(at));
            prop_assert!(later.since(Timestamp(at)) <= duration);
        }

        #[test]
        fn every_time_of_a_system_is_one(secs in any::<u32>(), before in any::<bool>()) {
            let since = Duration::from_secs(secs.into());
            let time = if before { UNIX_EPOCH - since } else { UNIX_EPOCH + since };

            let at = Timestamp::from(time);

            prop_assert_eq!(at.as_secs(), if before { 0 } else { secs.into() });
        }
    }
}
