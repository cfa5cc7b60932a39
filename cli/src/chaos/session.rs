//! One chaos from its first process to the comparison.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use homing_protocol::{BatchId, TaskId};
use indicatif::{ProgressBar, ProgressStyle};

use super::ChaosArgs;
use super::fleet::{COLLECTORS, Fleet, RUNS, Striker};
use super::keeper::Tallies;
use super::load::{Load, unsubmitted};
use super::plan::Plan;
use super::shelf::{STALL_TIME_MAX, Shelf};
use super::summary::{Summary, killed};
use crate::output::Talk;
use crate::settings::Settings;
use crate::space::Space;
use crate::time::grouped;
use crate::trouble::Trouble;

/// Between two looks of whoever shows how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// What a chaos runs on.
pub(super) struct Session<'a> {
    pub(super) args: &'a ChaosArgs,
    pub(super) seed: u64,
    pub(super) space: &'a Space,
    pub(super) talk: Talk,
}

/// What was submitted, all of it confirmed.
struct Submitted {
    batch: BatchId,
    tasks: Vec<TaskId>,
}

impl Session<'_> {
    /// Submits and strikes until the time is up or it is `asked` to end, lets
    /// everything come to its end, and compares.
    pub(super) async fn run(
        &self,
        settings: &Settings,
        asked: impl Future<Output = ()>,
    ) -> Result<Summary, Trouble> {
        let mut fleet = Fleet::start(self.args.workers, self.space, settings)?;
        let (striker, tallies) = (fleet.striker(), fleet.tallies());
        let submitted = tokio::select! {
            submitted = self.act(striker, &tallies, asked) => submitted?,
            trouble = fleet.failed() => return Err(trouble),
        };
        let tally = fleet.stop().await?;
        let mut shelf = Shelf::new(self.space, submitted.batch);
        let books = shelf.compare(&submitted.tasks, self.seed).await?;
        Ok(Summary {
            seed: self.seed,
            batch: submitted.batch,
            books,
            tally,
            again: read_again(&self.space.folder().join(RUNS)),
        })
    }

    async fn act(
        &self,
        striker: Striker,
        tallies: &Tallies,
        asked: impl Future<Output = ()>,
    ) -> Result<Submitted, Trouble> {
        let mut load = Load::open(self.space, self.seed, self.args.rate).await?;
        let (batch, count, over) = (load.batch(), AtomicU64::new(0), AtomicBool::new(false));
        let plan = Plan::new(self.seed, self.args.workers, COLLECTORS);
        let striking = async {
            tokio::select! {
                () = striker.strike(plan) => {}
                () = tokio::time::sleep(self.args.time) => {}
                () = asked => {}
            }
            over.store(true, Ordering::Relaxed);
        };
        let acting = async {
            let (submitted, ()) = tokio::join!(load.submit(&over, &count), striking);
            let tasks = match submitted {
                Ok(()) => load.seal().await,
                Err(error) => Err(error),
            };
            let tasks = tasks.map_err(|error| unsubmitted(&error, self.space))?;
            self.settle(batch, tasks.len() as u64).await;
            Ok(Submitted { batch, tasks })
        };
        tokio::select! {
            submitted = acting => submitted,
            never = self.show(batch, &count, tallies) => never,
        }
    }

    /// Waits until every task has an outcome, or says how many have none.
    async fn settle(&self, batch: BatchId, count: u64) {
        let stored = Shelf::new(self.space, batch).until_stored(count).await;
        if stored < count {
            self.talk.say(format!(
                "{} of {} tasks have no outcome, and none came for {} s",
                grouped(count - stored),
                grouped(count),
                STALL_TIME_MAX.as_secs()
            ));
        }
    }

    /// Shows how far it is, to a person.
    async fn show<T>(&self, batch: BatchId, count: &AtomicU64, tallies: &Tallies) -> T {
        if !self.talk.shows_progress() {
            return std::future::pending().await;
        }
        let bar = Line(bar());
        let mut shelf = Shelf::new(self.space, batch);
        loop {
            let (stored, tally) = (shelf.stored().await, tallies.now());
            bar.0.set_message(format!(
                "submitted {}   stored {}   killed {}",
                grouped(count.load(Ordering::Relaxed)),
                grouped(stored),
                killed(tally),
            ));
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Cleared when it is dropped, so that what is said next has the line to itself.
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn bar() -> ProgressBar {
    // The template is a literal of ours: a wrong one keeps the default look.
    let style = ProgressStyle::with_template("{elapsed:>4}  {msg}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// How many attempts ran again, by the file that has a line for each. None if it
/// cannot be read: nothing depends on it.
fn read_again(path: &Path) -> u64 {
    let lines = File::open(path).map(|file| BufReader::new(file).lines());
    lines.map_or(0, |lines| again(lines.map_while(Result::ok)))
}

/// How many lines name an attempt that an earlier one names. What is torn is none.
fn again(lines: impl Iterator<Item = String>) -> u64 {
    let attempt = |line: String| {
        let (task, number) = line.split_once(' ')?;
        Some((task.parse::<TaskId>().ok()?, number.parse::<u32>().ok()?))
    };
    let mut seen = HashSet::new();
    let again = lines
        .filter_map(attempt)
        .filter(|attempt| !seen.insert(*attempt));
    again.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_ran_again_if_it_had_begun_and_the_next_one_had_not() {
        let task = |number| TaskId::from(uuid::Uuid::from_u128(number));
        let attempts = [(1, 1), (2, 1), (1, 1), (1, 2), (1, 1)];
        let lines = attempts.map(|(number, attempt)| format!("{} {attempt}", task(number)));

        assert_eq!(again(lines.into_iter()), 2);
        assert_eq!(again(["torn".to_owned(), String::new()].into_iter()), 0);
    }
}
