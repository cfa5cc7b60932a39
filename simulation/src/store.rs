//! A model of the store: what `store/src/sqlite/group.rs` does with a group of
//! entries, around the real [`fold`].

use std::collections::{BTreeMap, BTreeSet};

use homing_protocol::{AttemptId, Reason, Run, Status, TaskId};

use crate::Sabotage;
use crate::fold::{Fold, State, fold};
use crate::message::{Word, number};

/// Something to store.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Report(Word),
    /// A dead letter: the message it came in, why, and its tasks.
    Dead(u64, Reason, Vec<Word>),
}

/// What is committed; it outlives every crash.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) tasks: BTreeMap<(TaskId, Run), State>,
    pub(crate) attempts: BTreeSet<(TaskId, Run, u32, Status, Option<AttemptId>)>,
    dead_letters: BTreeSet<(u64, &'static str)>,
    pub(crate) conflicts: usize,
    /// What was final once, to see that it stays.
    finals: BTreeMap<(TaskId, Run), State>,
    /// Reports that came again or too late.
    pub(crate) absorbed: u64,
}

impl Store {
    /// Commits a group. Answers what it broke, if it broke a promise.
    pub(crate) fn commit(
        &mut self,
        entries: &[Entry],
        sabotage: Option<Sabotage>,
    ) -> Option<String> {
        for entry in entries {
            match entry {
                Entry::Report(word) => self.report(word, sabotage),
                Entry::Dead(message, reason, words) => {
                    if self.dead_letters.insert((*message, reason.as_str())) {
                        words.iter().for_each(|word| self.report(word, sabotage));
                    }
                }
            }
        }
        for ((task, run), was) in &self.finals {
            let is = self.tasks.get(&(*task, *run));
            if is != Some(was) {
                let number = number(*task);
                return Some(format!(
                    "the final record of task {number} changed from {was:?} to {is:?}"
                ));
            }
        }
        let now_final = self
            .tasks
            .iter()
            .filter(|(_, state)| state.status.is_final());
        self.finals = now_final.map(|(key, state)| (*key, *state)).collect();
        None
    }

    fn report(&mut self, word: &Word, sabotage: Option<Sabotage>) {
        let key = (word.task, word.run);
        let Some(stored) = self.tasks.get(&key) else {
            return self.place(word);
        };
        let mut decided = fold(stored, &word.state);
        if sabotage == Some(Sabotage::LastWins) && decided == Fold::Late {
            decided = Fold::Replace;
        }
        match decided {
            Fold::Same => self.absorbed += 1,
            Fold::Conflict => self.conflicts += 1,
            Fold::Late => {
                self.absorbed += 1;
                self.attempt(word);
            }
            Fold::Replace => self.place(word),
        }
    }

    fn place(&mut self, word: &Word) {
        self.tasks.insert((word.task, word.run), word.state);
        if word.state.status != Status::Succeeded {
            self.attempt(word);
        }
    }

    fn attempt(&mut self, word: &Word) {
        let State {
            status,
            attempt,
            attempt_id,
            ..
        } = word.state;
        self.attempts
            .insert((word.task, word.run, attempt, status, attempt_id));
    }
}
