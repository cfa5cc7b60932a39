//! This host's clock, beside those that wrote into the store.

use std::time::Duration;

use homing_protocol::Timestamp;
use homing_store::Record;

use super::finding::Finding;
use crate::time::{full, span};

/// What hosts whose clocks are set by NTP never differ by.
const BEHIND_MAX: Duration = Duration::from_secs(2);

const CHECK: &str = "clock";

/// When the newest record was stored, or its attempt began if that is later: the
/// clocks of a collector and of a worker.
pub(super) fn newest(record: &Record) -> Timestamp {
    record.stored_at.max(record.report.started_at)
}

/// Whether the clock is behind what was written before. Pure.
pub(super) fn compare(newest: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(newest) = newest else {
        return Finding::unknown(CHECK, "nothing is stored to compare it with");
    };
    let (behind, at) = (newest.since(now), full(newest));
    if behind > BEHIND_MAX {
        return Finding::warning(
            CHECK,
            format!(
                "{} behind what was stored: the newest is of {at}",
                span(behind)
            ),
            "set the clocks of all hosts: timedatectl set-ntp true",
        );
    }
    Finding::ok(CHECK, format!("not behind what was stored, last at {at}"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_clock_behind_what_is_stored_is_a_warning() {
        let now = Timestamp::from_ms(1_795_230_848_000);
        let verdict = |ms| compare(Some(Timestamp::from_ms(now.as_ms() + ms)), now).verdict;

        assert_eq!(verdict(-3_600_000), Verdict::Ok);
        assert_eq!(verdict(2_000), Verdict::Ok);
        assert_eq!(verdict(2_001), Verdict::Warning);
        assert_eq!(compare(None, now).verdict, Verdict::Unknown);
    }
}
