//! The tasks of a chaos, whose outputs can be computed by whoever submitted them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use homing_protocol::{AnyError, AttemptNumber, Policy, Task, TaskId};
use homing_worker::{Attempt, AttemptError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::chance::Chance;

/// Numbers in a payload, at most: some hundred bytes, as most payloads are.
const NUMBERS_MAX: u64 = 16;

/// Milliseconds an attempt takes, at most: some run at any time, and wait for no
/// processor.
const RUN_MS_MAX: u64 = 20;

/// Of so many tasks one fails at first, and of these one in so many twice.
const FLAKY_ONE_IN: u64 = 10;

/// Between the attempts: the shortest that the broker keeps.
const PAUSE: Duration = Duration::from_secs(1);

/// A task whose output is the digest of its numbers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Work {
    /// How many attempts fail.
    failures: u32,
    /// How long an attempt takes.
    ms: u64,
    numbers: Vec<u64>,
}

impl Task for Work {
    const KIND: &'static str = "chaos.digest";
    const POLICY: Policy = Policy::DEFAULT.backoff(PAUSE, PAUSE);
    type Output = String;
    type Error = AnyError;
}

impl Work {
    /// The task of this number.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut chance = Chance::new(seed ^ number.rotate_left(32));
        let is_flaky = |chance: &mut Chance| chance.below(FLAKY_ONE_IN) == 0;
        let failures = match is_flaky(&mut chance) {
            true => 1 + u32::from(is_flaky(&mut chance)),
            false => 0,
        };
        let ms = chance.between(0, RUN_MS_MAX);
        let count = chance.between(1, NUMBERS_MAX);
        let numbers = (0..count).map(|_| chance.next()).collect();
        Self {
            failures,
            ms,
            numbers,
        }
    }

    /// What has to come out of it.
    pub(super) fn output(&self) -> String {
        let mut hasher = Sha256::new();
        for number in &self.numbers {
            hasher.update(number.to_le_bytes());
        }
        let digits = hasher.finalize();
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Runs one.
pub(super) async fn run(work: Work, attempt: Attempt<Runs>) -> Result<String, AttemptError> {
    attempt.state().note(attempt.task_id(), attempt.number());
    tokio::time::sleep(Duration::from_millis(work.ms)).await;
    let number = attempt.number().get();
    if number <= work.failures {
        let text = format!("attempt {number} of the {} that are to fail", work.failures);
        return Err(AttemptError::retryable(text));
    }
    Ok(work.output())
}

/// The file that every worker adds a line to for each attempt that it begins.
pub(super) struct Runs(File);

impl Runs {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).open(path).map(Self)
    }

    fn note(&self, task: TaskId, number: AttemptNumber) {
        // It is for a number in the summary, which nothing depends on.
        let line = format!("{task} {}\n", number.get());
        let _uncounted = (&self.0).write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_task_again_and_no_other_one() {
        let outputs = |seed| (0..1_000).map(move |number| Work::new(seed, number).output());

        assert!(outputs(7).eq(outputs(7)));
        let distinct: std::collections::BTreeSet<_> = outputs(7).chain(outputs(8)).collect();
        assert_eq!(distinct.len(), 2_000);
    }

    #[test]
    fn some_fail_once_or_twice_and_all_succeed_within_their_attempts() {
        let failures = (0..1_000).map(|number| Work::new(7, number).failures);
        let count = |wanted| failures.clone().filter(|found| *found == wanted).count();

        assert!((50..150).contains(&count(1)));
        assert!(count(2) > 0);
        assert_eq!(count(0) + count(1) + count(2), 1_000);
    }
}
