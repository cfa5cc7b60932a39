//! Decides what a report does to what is stored of its task.
//!
//! Reports come again, late and out of order. Those of one run of a task form a
//! ladder that a task only climbs, so the order they come in does not matter:
//!
//! | stored            | report                        | what becomes of it            |
//! |-------------------|-------------------------------|-------------------------------|
//! | any               | of another payload            | a conflict                    |
//! | any               | the same attempt and status   | nothing: it came again        |
//! | `retrying`        | `retrying`, a later attempt   | it takes the place            |
//! | `retrying`        | any closing status            | it takes the place            |
//! | `expired`, `dead` | a final status                | it takes the place            |
//! | otherwise         |                               | kept as an attempt, too late  |
//!
//! # Invariants
//!
//! A final status never changes. A report that once took the place never takes
//! it again.

use homing_faults::{Sabotage, is_broken};
use homing_protocol::{AttemptId, Digest, Report, Status};

/// What is compared of a stored run and of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    pub(crate) attempt_id: Option<AttemptId>,
    pub(crate) digest: Digest,
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fold {
    /// It is stored already.
    Same,
    /// It is about another task with the same id.
    Conflict,
    /// It takes the place of what is stored.
    Replace,
    /// What is stored stays; the report is kept beside it.
    Late,
}

impl From<&Report> for State {
    fn from(report: &Report) -> Self {
        Self {
            status: report.status,
            attempt: report.attempt,
            attempt_id: report.attempt_id,
            digest: report.digest,
        }
    }
}

/// What `incoming` does to `stored`, both of one run of one task.
pub(crate) fn fold(stored: &State, incoming: &State) -> Fold {
    if stored.digest != incoming.digest {
        return Fold::Conflict;
    }
    if stored == incoming {
        return Fold::Same;
    }
    let climbs = match (stored.status, incoming.status) {
        (Status::Retrying, Status::Retrying) => incoming.attempt > stored.attempt,
        (stored, incoming) => {
            stored.yields_to(incoming) || (incoming.is_closed() && is_broken(Sabotage::NoFencing))
        }
    };
    if climbs { Fold::Replace } else { Fold::Late }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(status: Status, attempt: u32, id: u128) -> State {
        State {
            status,
            attempt,
            attempt_id: (id > 0).then(|| uuid::Uuid::from_u128(id).into()),
            digest: Digest::of(b""),
        }
    }

    fn any_state() -> impl Strategy<Value = State> {
        // `pending` is never reported.
        let status = prop::sample::select(&Status::ALL[1..]);
        (status, 1_u32..4, 1_u128..6).prop_map(|(status, attempt, id)| state(status, attempt, id))
    }

    fn run(reports: &[State]) -> Vec<State> {
        let mut places = vec![reports[0]];
        for report in &reports[1..] {
            if fold(places.last().unwrap(), report) == Fold::Replace {
                places.push(*report);
            }
        }
        places
    }

    fn rung(status: Status) -> u8 {
        u8::from(status.is_closed()) + u8::from(status.is_final())
    }

    proptest! {
        #[test]
        fn a_final_status_never_changes(stored in any_state(), incoming in any_state()) {
            prop_assume!(stored.status.is_final());

            prop_assert_ne!(fold(&stored, &incoming), Fold::Replace);
        }

        #[test]
        fn the_order_of_reports_does_not_change_how_far_a_task_comes(
            reports in prop::collection::vec(any_state(), 1..8), seed in any::<u64>(),
        ) {
            let mut shuffled = reports.clone();
            shuffled.sort_by_key(|report| {
                let id = report.attempt_id.unwrap().as_uuid().as_u128() as u64;
                (id * 31 + u64::from(report.attempt) * 7 + rung(report.status) as u64)
                    .wrapping_mul(seed | 1)
            });

            let (one, other) = (run(&reports), run(&shuffled));

            let (one, other) = (one.last().unwrap(), other.last().unwrap());
            prop_assert_eq!(rung(one.status), rung(other.status));
            if one.status == Status::Retrying {
                prop_assert_eq!(one.attempt, other.attempt);
            }
        }

        #[test]
        fn with_one_outcome_any_order_ends_with_it(
            retries in prop::collection::vec(1_u32..5, 0..6),
            outcome in prop::sample::select(&Status::ALL[2..]),
            place in any::<prop::sample::Index>(),
        ) {
            let mut reports: Vec<_> = retries
                .iter()
                .map(|attempt| state(Status::Retrying, *attempt, u128::from(*attempt)))
                .collect();
            reports.insert(place.index(retries.len() + 1), state(outcome, 5, 9));

            prop_assert_eq!(run(&reports).last().unwrap().status, outcome);
        }

        #[test]
        fn what_came_before_never_takes_the_place_again(
            reports in prop::collection::vec(any_state(), 1..8),
        ) {
            let places = run(&reports);

            for report in &reports {
                prop_assert_ne!(fold(places.last().unwrap(), report), Fold::Replace);
            }
        }
    }

    #[test]
    fn a_late_success_is_the_truth_about_a_dead_task() {
        for parked in [Status::Expired, Status::Dead] {
            let fold = fold(&state(parked, 0, 0), &state(Status::Succeeded, 1, 1));

            assert_eq!(fold, Fold::Replace);
        }
    }

    #[test]
    fn another_payload_is_a_conflict_whatever_its_status() {
        for status in Status::ALL {
            let other = State {
                digest: Digest::of(b"other"),
                ..state(status, 1, 1)
            };

            assert_eq!(fold(&state(status, 1, 1), &other), Fold::Conflict);
        }
    }
}
