//! Decides what is removed by age, and which partitions there must be.
//!
//! | what                                           | once it was stored longer ago than it is kept |
//! |------------------------------------------------|-----------------------------------------------|
//! | content of a run that is in no batch           | removed                                       |
//! | content of a run whose batch is finished       | removed                                       |
//! | content of a run whose batch is not finished   | stays until it is                             |
//! | the log                                        | removed, the oldest entry first               |
//! | the row of a run: id, run, status, times       | stays                                         |
//! | counts, batches, repairs                       | stay                                          |
//!
//! *Content* is payload, output and error, the attempts of a run, what claimed
//! its id, and the body of a dead letter.
//!
//! # Invariants
//!
//! The row of a run stays, so what is removed is never stored as new nor counted
//! again, and an audit finds it. What is decided holds whenever it is carried out
//! later: nothing that is old enough becomes younger without being stored anew.

use std::time::Duration;

use homing_protocol::Timestamp;

use crate::error::StoreError;
use crate::record::RepairNote;
use crate::url::{Address, StoreUrl};
use crate::{postgres, sqlite};

/// The longest and the shortest time that a partition spans.
const SPAN_MAX: Duration = Duration::from_hours(30 * 24);
const SPAN_MIN: Duration = Duration::from_hours(24);

/// Partitions in the time that content is kept: so much later than it could be
/// is it removed, and few enough for every query to look into all of them.
const PARTITIONS: u32 = 12;

/// How long content is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Keep {
    /// For ever.
    #[default]
    Forever,
    /// So long after it was stored, and then until it is removed.
    For(Duration),
}

impl Keep {
    /// What was stored before is old enough at `now`; `None` if nothing ever is.
    pub(crate) fn cutoff(self, now: Timestamp) -> Option<Timestamp> {
        let Self::For(time) = self else { return None };
        Some(Timestamp::from_ms(now.as_ms().saturating_sub(ms(time))))
    }

    /// The time that a partition spans.
    pub(crate) fn span(self) -> Duration {
        match self {
            Self::Forever => SPAN_MAX,
            Self::For(time) => (time / PARTITIONS).clamp(SPAN_MIN, SPAN_MAX),
        }
    }
}

/// Where the partitions end that have to be made after the last one, which ends at
/// `until`, so that there is one for `now` and for all the time `ahead` of it. Each
/// begins where the one before ends; the first of them may span more than `span`.
pub(crate) fn partition_ends(
    until: Timestamp,
    now: Timestamp,
    ahead: Duration,
    span: Duration,
) -> Vec<Timestamp> {
    let (now, span) = (now.as_ms(), ms(span).max(1));
    let needed = now.saturating_add(ms(ahead));
    let (mut ends, mut until) = (Vec::new(), until.as_ms());
    while until <= needed && until < i64::MAX {
        until = (now.max(until).div_euclid(span) + 1).saturating_mul(span);
        ends.push(Timestamp::from_ms(until));
    }
    ends
}

/// SQL of both stores: whether the batch of this id is finished, or there is no
/// batch. As [`Batch::is_closed`](crate::Batch::is_closed): it is sealed, and every
/// task of it has an answer.
pub(crate) fn finished(batch: &str) -> String {
    format!(
        "({batch} IS NULL OR EXISTS (
            SELECT 1 FROM batches k WHERE k.batch = {batch}
              AND k.sealed_at >= coalesce(k.reopened_at, k.sealed_at)
              AND k.total <= (SELECT coalesce(sum(n.tasks), 0) FROM batch_counts n
                  WHERE n.batch = {batch} AND n.status NOT IN ('pending', 'retrying'))))"
    )
}

/// What letters that are emptied by age name as the reason.
pub(crate) fn removal_note() -> RepairNote {
    RepairNote {
        who: "the collector".to_owned(),
        asked: "homing collector --keep".to_owned(),
        why: "removed by age".to_owned(),
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Removed {
    /// Partitions of the log and of contents, dropped whole.
    pub partitions: u64,
    /// Entries of the log, one by one.
    pub entries: u64,
    /// Runs whose content was removed, one by one.
    pub runs: u64,
    /// Attempts, and what claimed the id of another task.
    pub attempts: u64,
    /// Dead letters whose content was removed.
    pub letters: u64,
}

impl Removed {
    /// Whether that is nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Removes what is old enough at `now`, beside whoever writes, in small steps that
/// are each one transaction; makes the partitions that will be needed. After each
/// step `go_on` is told how long that took, and says whether there is a next one.
/// Cut off, however that happens, it is done by the next call. If another process
/// does the same, this one does nothing. Blocking; never creates or migrates a
/// store.
///
/// # Errors
///
/// [`StoreError`]: not all of it is removed.
pub fn remove_old(
    store: &StoreUrl,
    keep: Keep,
    now: Timestamp,
    mut go_on: impl FnMut(Duration) -> bool,
) -> Result<Removed, StoreError> {
    match &store.0 {
        Address::Sqlite(path) => sqlite::remove_old(path, keep, now, &mut go_on),
        Address::Postgres(address) => postgres::remove_old(address, keep, now, &mut go_on),
    }
}

/// `time` in milliseconds.
fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn days(days: u64) -> Duration {
        Duration::from_hours(24 * days)
    }

    #[test]
    fn what_is_kept_for_ever_is_never_old_enough() {
        assert_eq!(Keep::Forever.cutoff(at(i64::MAX)), None);
        assert_eq!(Keep::For(days(2)).cutoff(at(5 * DAY)), Some(at(3 * DAY)));
    }

    #[test]
    fn a_partition_spans_a_twelfth_of_what_is_kept_within_bounds() {
        assert_eq!(Keep::For(days(120)).span(), days(10));
        assert_eq!(Keep::For(days(3)).span(), days(1));
        assert_eq!(Keep::For(days(4_000)).span(), days(30));
        assert_eq!(Keep::Forever.span(), days(30));
    }

    #[test]
    fn a_store_that_was_idle_for_long_gets_one_partition_for_that_time() {
        let ends = partition_ends(at(DAY), at(100 * DAY + 5), days(0), days(7));

        assert_eq!(ends, [at(105 * DAY)]);
    }

    #[test]
    fn no_partition_is_made_before_it_is_needed() {
        assert_eq!(
            partition_ends(at(9 * DAY), at(8 * DAY), days(0), days(1)),
            []
        );
        assert_eq!(
            partition_ends(at(9 * DAY), at(8 * DAY), days(1), days(1)),
            [at(10 * DAY)]
        );
    }

    proptest! {
        #[test]
        fn partitions_follow_each_other_and_reach_past_what_is_needed(
            until in 0..400 * DAY,
            now in 0..400 * DAY,
            ahead in 0_u64..40,
            span in 1_u64..40,
        ) {
            let ends = partition_ends(at(until), at(now), days(ahead), days(span));

            let mut last = until;
            for end in &ends {
                prop_assert!(end.as_ms() > last);
                last = end.as_ms();
            }
            prop_assert!(last > now + ms(days(ahead)));
        }
    }
}
