//! The books: every task that was submitted has exactly one outcome, and it
//! never changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use homing_protocol::{AttemptId, Status, TaskId, Timestamp};
use homing_store::{Filter, Position, Record, Store};

use crate::world::eventually;

/// Records read at once.
const PAGE: u32 = 1_000;

/// What an outcome is told by.
pub(crate) type Mark = (Status, Option<AttemptId>);

/// Follows the log while things happen, so that what it saw can be compared
/// with what is there in the end.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    position: Position,
    outcomes: HashMap<TaskId, Vec<Mark>>,
    started_first: Option<Timestamp>,
}

/// What the books say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Books {
    /// Tasks submitted that nothing final is stored of.
    pub lost: usize,
    /// Tasks stored that were not submitted.
    pub foreign: usize,
    /// Tasks of which a final outcome changed or came twice.
    pub changed: usize,
    /// Tasks by status.
    pub statuses: BTreeMap<Status, usize>,
}

impl Books {
    /// The books of `total` tasks that all have this status, as they should be.
    pub fn balanced(status: Status, total: usize) -> Self {
        Self {
            statuses: BTreeMap::from([(status, total)]),
            ..Self::default()
        }
    }
}

impl Follower {
    /// Follows `store` from its beginning.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            position: Position::START,
            outcomes: HashMap::new(),
            started_first: None,
        }
    }

    /// Reads what is new; answers how many tasks have an outcome.
    ///
    /// # Panics
    ///
    /// Panics if the store cannot be read.
    pub async fn catch_up(&mut self) -> usize {
        loop {
            let tail = self.store.tail(&self.position, &Filter::all(), PAGE).await;
            let tail = tail.expect("the store is readable");
            tail.records.iter().for_each(|record| self.note(record));
            self.position = tail.position;
            if tail.at_end {
                return self.outcomes.len();
            }
        }
    }

    /// The earliest start of all attempts that gave an outcome, of those seen.
    pub const fn started_first(&self) -> Option<Timestamp> {
        self.started_first
    }

    /// What was seen of each task that has an outcome, in order.
    pub(crate) const fn outcomes(&self) -> &HashMap<TaskId, Vec<Mark>> {
        &self.outcomes
    }

    /// Forgets what was seen, and goes on from there.
    pub(crate) fn forget(&mut self) {
        self.outcomes.clear();
    }

    fn note(&mut self, record: &Record) {
        let report = &record.report;
        if report.status.is_closed() {
            let marks = self.outcomes.entry(report.task).or_default();
            marks.push((report.status, report.attempt_id));
            let before = self.started_first.unwrap_or(report.started_at);
            self.started_first = Some(before.min(report.started_at));
        }
    }

    /// Waits until `total` tasks have an outcome, for as long as there are always
    /// more of them: a minute without any is a failure, however many there are.
    pub async fn all(&mut self, total: usize) {
        let mut seen = self.catch_up().await;
        while seen < total {
            let what = format!("more than {seen} of {total} tasks have an outcome");
            let more = async || Some(self.catch_up().await).filter(|now| *now > seen);
            seen = eventually(&what, more).await;
        }
    }

    /// Compares what was seen with what was submitted and what is there now.
    ///
    /// # Panics
    ///
    /// Panics if the store cannot be read.
    pub async fn books(&mut self, submitted: &HashSet<TaskId>) -> Books {
        self.catch_up().await;
        let mut books = Books::default();
        for id in submitted {
            let record = self.store.record(*id).await;
            match record.expect("the store is readable") {
                Some(record) if record.report.status.is_closed() => {
                    let mark = (record.report.status, record.report.attempt_id);
                    // One final outcome in the log, and the same one now.
                    let same = self
                        .outcomes
                        .get(id)
                        .is_some_and(|seen| settled(seen) == [mark]);
                    books.changed += usize::from(!same);
                    *books.statuses.entry(mark.0).or_default() += 1;
                }
                _ => books.lost += 1,
            }
        }
        let ids = self.outcomes.keys();
        books.foreign = ids.filter(|id| !submitted.contains(id)).count();
        books
    }
}

/// What of a task's outcomes counts: a parked one may yield, once.
pub(crate) fn settled(marks: &[Mark]) -> &[Mark] {
    match marks {
        [(first, _), rest @ ..] if first.is_parked() && !rest.is_empty() => rest,
        all => all,
    }
}
