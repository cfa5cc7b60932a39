//! What was asked for, and whether the world ended as Homing promises.

use std::collections::BTreeSet;

use homing_protocol::{Envelope, Run, Status, TaskId};
use uuid::Uuid;

use crate::fold::State;
use crate::message::{Body, number};
use crate::store::Store;

/// Attempts a task has in this world.
pub(crate) const ATTEMPTS_MAX: u32 = 4;

/// What a handler does with a task: decided once, so that whoever runs it, the
/// outcome is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Succeeds after so many attempts that fail.
    SucceedAfter(u32),
    /// Fails for good in that attempt.
    FailAt(u32),
    /// Asks to be tried again after so many seconds, once, then succeeds.
    Later(u64),
    /// Ends its worker the first so many times it is run, then succeeds.
    PoisonFor(u32),
    /// Ends its worker whenever it is run.
    Poison,
    /// Does not fit its type.
    Misfit,
    /// No worker has a handler for it.
    Unknown,
    /// Its message cannot be read.
    Spoilt,
}

/// A task of this world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) fate: Fate,
    /// Came from a client that gave it no id.
    pub(crate) nameless: bool,
    pub(crate) has_deadline: bool,
    /// The broker confirmed it.
    pub(crate) confirmed: bool,
    /// It reached the broker.
    pub(crate) sent: bool,
    /// How often a handler was started.
    pub(crate) executions: u32,
    /// How often it came back, counted, from the queue of suspects.
    pub(crate) returned_alone: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) tasks: Vec<Facts>,
    /// The attempts of which the broker has, or had, a record.
    recorded: BTreeSet<(TaskId, Run, u32)>,
}

impl Oracle {
    pub(crate) fn facts(&mut self, task: TaskId) -> &mut Facts {
        &mut self.tasks[number(task)]
    }

    pub(crate) fn sent(&mut self, task: &Envelope) {
        self.facts(task.id).sent = true;
    }

    /// Takes note of what the broker has now. Answers what is wrong if it is an
    /// attempt whose predecessor left no record.
    pub(crate) fn stored(&mut self, body: &Body) -> Option<String> {
        if let Body::Reports(words) = body {
            let attempts = words.iter();
            self.recorded
                .extend(attempts.map(|word| (word.task, word.run, word.state.attempt)));
        }
        let is_early = |task: &&Envelope| {
            let last = task.attempt.get() - 1;
            last > 0 && !self.recorded.contains(&(task.id, task.run, last))
        };
        let early = body.tasks().iter().find(is_early)?;
        let (number, last) = (number(early.id), early.attempt.get() - 1);
        Some(format!(
            "task {number} is tried again without a record of attempt {last}"
        ))
    }

    pub(crate) fn returned_alone(&mut self, tasks: &[Envelope]) {
        for task in tasks {
            self.facts(task.id).returned_alone += 1;
        }
    }

    /// The first promise that does not hold.
    pub(crate) fn check(&self, store: &Store) -> Option<String> {
        if store.conflicts > 0 {
            return Some(format!("{} conflicts of ids", store.conflicts));
        }
        if let Some(((task, _), _)) = store.tasks.iter().find(|((task, _), _)| {
            !self
                .tasks
                .get(number(*task))
                .is_some_and(|facts| facts.sent)
        }) {
            return Some(format!(
                "task {} has a record and was never sent",
                number(*task)
            ));
        }
        for (number, facts) in self.tasks.iter().enumerate() {
            let named = TaskId::from(Uuid::from_u128(number as u128));
            let records: Vec<_> = store
                .tasks
                .iter()
                .filter(|((task, _), _)| crate::message::number(*task) == number)
                .collect();
            if facts.confirmed && records.is_empty() {
                return Some(format!("task {number} is lost: {facts:?}"));
            }
            for ((task, run), state) in records {
                if !facts.nameless && *task != named {
                    return Some(format!("task {number} has a record by another id"));
                }
                if let Some(wrong) = facts.wrong(*state) {
                    return Some(format!("task {number}: {wrong}; {facts:?}"));
                }
                if let Some(gap) = gap(store, *task, *run, *state) {
                    return Some(format!("task {number}: attempt {gap} has no record"));
                }
            }
        }
        None
    }
}

impl Facts {
    /// What is wrong with how the task ended.
    fn wrong(&self, state: State) -> Option<String> {
        let status = state.status;
        let crash_loop = status == Status::Dead && self.returned_alone >= 10;
        let expected = match self.fate {
            Fate::SucceedAfter(failures) if failures < ATTEMPTS_MAX => Status::Succeeded,
            Fate::SucceedAfter(_) => Status::Exhausted,
            Fate::FailAt(_) => Status::Failed,
            Fate::Later(_) | Fate::PoisonFor(_) => Status::Succeeded,
            Fate::Poison | Fate::Misfit | Fate::Unknown | Fate::Spoilt => Status::Dead,
        };
        let expired = status == Status::Expired && self.has_deadline;
        if !status.is_closed() {
            return Some(format!("it is still {status}"));
        }
        if status != expected && !expired && !crash_loop {
            return Some(format!("it is {status}, not {expected}"));
        }
        if status == Status::Succeeded && self.executions == 0 {
            return Some("it succeeded and was never run".to_owned());
        }
        if self.fate == Fate::Poison && !expired && self.returned_alone < 10 {
            return Some(format!(
                "it is dead after {} crashes alone",
                self.returned_alone
            ));
        }
        None
    }
}

/// An attempt before that of `state` that nothing is stored of. The next attempt
/// is published only after the record of the one before is confirmed.
fn gap(store: &Store, task: TaskId, run: Run, state: State) -> Option<u32> {
    let before = match state.status {
        Status::Dead | Status::Expired => state.attempt,
        _ => state.attempt - 1,
    };
    (1..=before).find(|attempt| {
        !store
            .attempts
            .iter()
            .any(|(t, r, a, _, _)| (*t, *r, a) == (task, run, attempt))
    })
}
