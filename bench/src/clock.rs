//! A clock that all processes of a run share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970. Of the system, so that the start taken by one
/// process and the end taken by another can be subtracted.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Seconds from `start_ns` to `end_ns`; 0 if the clock was set back in between.
pub fn secs_between(start_ns: u64, end_ns: u64) -> f64 {
    std::time::Duration::from_nanos(end_ns.saturating_sub(start_ns)).as_secs_f64()
}
