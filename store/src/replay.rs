//! Decides which run a replay of a task is.
//!
//! A replay is written down, published, and written down again once the broker
//! has it. Whoever dies in between leaves a run that may be published or not:
//!
//! | last replay of the task                              | the next one is     |
//! |------------------------------------------------------|---------------------|
//! | none, or its run is stored                           | the run after those |
//! | perhaps published, to the same queue, as this kind   | that run once more  |
//! | perhaps published, in another way                    | the run after it    |
//!
//! # Invariants
//!
//! Two messages of one run are alike, so it does not matter which of them runs:
//! the first final outcome counts.

use homing_protocol::{Payload, Run};

use crate::record::Record;

/// Payloads that are read at once, in bytes, up to the task that passes it.
pub(crate) const PAYLOADS_BYTES_MAX: usize = 16 << 20;

/// What a replay of a task needs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Replayable {
    /// What is known of its newest run.
    pub record: Record,
    /// Its payload, from the newest run that has it; `None` if it is not kept.
    pub payload: Option<Payload>,
    /// Whether the payload is no longer what it was, so that it is not given.
    pub damaged: bool,
    /// The last run that a replay began.
    pub intended: Option<Intended>,
}

/// A run that a replay began, published or not.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Intended {
    /// The run.
    pub run: Run,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Whether the broker is known to have it.
    pub confirmed: bool,
}

/// The run that a replay of `task` as `kind` to `queue` is.
pub fn next_run(task: &Replayable, kind: &str, queue: &str) -> Run {
    let newest = task.record.report.run;
    match &task.intended {
        Some(intended) if intended.run > newest => {
            let alike = intended.kind == kind && intended.queue == queue;
            if alike && !intended.confirmed {
                return intended.run;
            }
            intended.run.next()
        }
        _ => newest.next(),
    }
}

#[cfg(test)]
mod tests {
    use homing_protocol::{Digest, Report, Status, TaskId, Timestamp};

    use super::*;
    use crate::position::Position;

    fn run(number: u32) -> Run {
        Run::new(number).unwrap()
    }

    fn task(newest: u32, intended: Option<(u32, bool)>) -> Replayable {
        let id = TaskId::of_text("a");
        let kind = "demo.echo".to_owned();
        Replayable {
            record: Record {
                position: Position::START,
                stored_at: Timestamp::from_ms(0),
                removed: false,
                report: Report::bare(id, run(newest), kind, Status::Failed, Digest::of(b"")),
            },
            payload: None,
            damaged: false,
            intended: intended.map(|(number, confirmed)| Intended {
                run: run(number),
                kind: "demo.echo".to_owned(),
                queue: "tasks".to_owned(),
                confirmed,
            }),
        }
    }

    #[test]
    fn a_replay_is_the_run_after_the_newest() {
        for intended in [None, Some((2, true)), Some((2, false)), Some((1, false))] {
            assert_eq!(next_run(&task(2, intended), "demo.echo", "tasks"), run(3));
        }
    }

    #[test]
    fn a_run_that_was_perhaps_published_is_begun_again_in_the_same_way() {
        let task = task(1, Some((2, false)));

        assert_eq!(next_run(&task, "demo.echo", "tasks"), run(2));
    }

    #[test]
    fn another_kind_or_queue_is_another_run() {
        let task = task(1, Some((2, false)));

        assert_eq!(next_run(&task, "demo.other", "tasks"), run(3));
        assert_eq!(next_run(&task, "demo.echo", "tasks.big"), run(3));
    }
}
