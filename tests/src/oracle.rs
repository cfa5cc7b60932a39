//! The oracle: says, of what really happened, whether it was allowed to.
//!
//! It reads what the producers noted, the store and the queues, and nothing
//! that the pipeline says of itself. The invariants:
//!
//! | | |
//! |---|---|
//! | I1 | every task that was confirmed has an outcome, and the one it must have |
//! | I2 | nothing is stored of a task that nobody submitted |
//! | I3 | an outcome that was visible once is the one that is visible now |
//! | I4 | each attempt is stored once; every outcome of a handler has an attempt |
//! | I5 | nothing waits in any queue |
//! | I6 | nothing is stuck, and no process ends by itself |
//!
//! A dead letter or an expired task is a parked outcome, which yields to a
//! handler's, once. Tasks whose producer died before their confirm may be there
//! or not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use homing_protocol::{BatchId, TaskId};
use homing_store::{BatchRef, Store};
use rusqlite::{Connection, OpenFlags};

use crate::books::{Follower, settled};
use crate::load::{Fate, Load};
use crate::world::World;

/// Most violations that are shown of a kind.
const SHOWN: usize = 5;

/// What somebody was told of tasks.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    tasks: HashMap<TaskId, Claim>,
    /// Batches that are sealed, with their totals.
    sealed: HashMap<BatchId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    fate: Fate,
    confirmed: bool,
}

/// The tasks that the journal of a producer has: those that are confirmed. A
/// line that a killed producer began is left out.
pub fn confirmed(journal: &Path) -> HashSet<TaskId> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    // The journal of `homing submit` has the row in front.
    let ids = whole
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    ids.collect()
}

impl Claims {
    /// Takes in a load: all of it is confirmed if its batch is `sealed`, else
    /// what its producer noted in `journal`.
    pub fn add(&mut self, load: &Load, journal: &Path, sealed: bool) {
        if sealed {
            self.sealed.insert(load.batch, load.rows.len() as u64);
        }
        let confirmed = confirmed(journal);
        for (id, row) in load.tasks() {
            // `homing submit` does not note rows again that are stored already.
            let confirmed = sealed || confirmed.contains(&id);
            let fate = row.fate;
            self.tasks.insert(id, Claim { fate, confirmed });
        }
    }

    /// Takes in a task that was submitted alone, and confirmed.
    pub fn expect(&mut self, id: TaskId, fate: Fate) {
        let confirmed = true;
        self.tasks.insert(id, Claim { fate, confirmed });
    }

    /// How many tasks are confirmed.
    pub fn confirmed(&self) -> usize {
        self.tasks.values().filter(|claim| claim.confirmed).count()
    }

    /// Those of them.
    fn ids(&self) -> impl Iterator<Item = TaskId> {
        let confirmed = self.tasks.iter().filter(|(_, claim)| claim.confirmed);
        confirmed.map(|(id, _)| *id)
    }
}

/// What is wrong, by invariant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    wrong: BTreeMap<&'static str, Vec<String>>,
    /// Confirmed tasks without an outcome.
    pub lost: usize,
    /// Tasks whose outcome changed.
    pub changed: usize,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Takes note of something wrong.
    pub fn add(&mut self, invariant: &'static str, what: String) {
        self.wrong.entry(invariant).or_default().push(what);
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (invariant, wrong) in &self.wrong {
            for what in wrong.iter().take(SHOWN) {
                writeln!(f, "{invariant}: {what}")?;
            }
            if wrong.len() > SHOWN {
                writeln!(f, "{invariant}: and {} more", wrong.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// Judges one world after the other run in it.
#[derive(Debug)]
pub struct Oracle {
    store: Store,
    path: PathBuf,
    follower: Follower,
    /// Tasks of earlier runs, which are over.
    past: HashSet<TaskId>,
    /// The attempts that were looked at, and up to which row.
    attempts: HashSet<Vec<u8>>,
    looked_at: [i64; 2],
    /// Reports that changed nothing, since an outcome was there already.
    absorbed: u64,
}

impl Oracle {
    /// An oracle for `world`, once it has a store.
    pub async fn new(world: &World) -> Self {
        let store = world.store().await;
        Self {
            follower: Follower::new(store.clone()),
            store,
            path: world.sqlite(),
            past: HashSet::new(),
            attempts: HashSet::new(),
            looked_at: [0; 2],
            absorbed: 0,
        }
    }

    /// How many reports were absorbed until now.
    pub const fn absorbed(&self) -> u64 {
        self.absorbed
    }

    /// The store.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// How many of the tasks that are confirmed have an outcome.
    pub async fn closed(&mut self, claims: &Claims) -> usize {
        self.follower.catch_up().await;
        let outcomes = self.follower.outcomes();
        claims.ids().filter(|id| outcomes.contains_key(id)).count()
    }

    /// Whether the store knows how many tasks each sealed batch has.
    ///
    /// # Panics
    ///
    /// Panics if the store cannot be read.
    pub async fn are_sealed(&self, claims: &Claims) -> bool {
        for (batch, total) in &claims.sealed {
            if self.total(*batch).await != Some(*total) {
                return false;
            }
        }
        true
    }

    async fn total(&self, batch: BatchId) -> Option<u64> {
        let stored = self.store.batch(&BatchRef::Id(batch)).await;
        stored.expect("the store is readable")?.total
    }

    /// How many tasks have an outcome since the last check.
    pub async fn stored(&mut self) -> usize {
        self.follower.catch_up().await
    }

    /// Everything about tasks and attempts: I1 to I4. What was claimed belongs
    /// to the past then.
    ///
    /// # Panics
    ///
    /// Panics if the store cannot be read.
    pub async fn check(&mut self, claims: &Claims) -> Findings {
        self.follower.catch_up().await;
        let mut findings = Findings::default();
        for (id, claim) in &claims.tasks {
            self.task(*id, *claim, &mut findings).await;
        }
        self.foreign(claims, &mut findings);
        for (batch, total) in &claims.sealed {
            let stored = self.total(*batch).await;
            if stored != Some(*total) {
                let what = format!("batch {batch} was sealed with {total}, stored is {stored:?}");
                findings.add("I1", what);
            }
        }
        self.attempts(&mut findings).expect("the store is readable");
        self.past.extend(claims.tasks.keys());
        self.follower.forget();
        findings
    }

    async fn task(&self, id: TaskId, claim: Claim, findings: &mut Findings) {
        let record = self.store.record(id).await;
        let record = record.expect("the store is readable");
        let record = record.filter(|record| record.report.status.is_closed());
        let seen = self.follower.outcomes().get(&id);
        let Some(record) = record else {
            if seen.is_some() {
                findings.changed += 1;
                findings.add("I3", format!("task {id} had an outcome: {seen:?}"));
            } else if claim.confirmed {
                findings.lost += 1;
                findings.add("I1", format!("task {id} was confirmed and has no outcome"));
            }
            return;
        };
        let report = &record.report;
        let mark = (report.status, report.attempt_id);
        if seen.is_none_or(|seen| settled(seen) != [mark]) {
            findings.changed += 1;
            findings.add("I3", format!("task {id}: {mark:?} now, seen {seen:?}"));
        }
        if !claim.fate.is(report) {
            let (status, reason) = (report.status, report.reason);
            let what = format!("task {id} is {status} ({reason:?}), not {:?}", claim.fate);
            findings.add("I1", what);
        }
        if report.status.is_final() && (report.attempt_id.is_none() || report.attempt == 0) {
            findings.add("I4", format!("task {id} is {} by no attempt", mark.0));
        }
    }

    /// What the log has of tasks that are not claimed.
    fn foreign(&self, claims: &Claims, findings: &mut Findings) {
        for (id, marks) in self.follower.outcomes() {
            if claims.tasks.contains_key(id) {
                continue;
            }
            if self.past.contains(id) {
                findings.changed += 1;
                findings.add("I3", format!("task {id} of an earlier run: now {marks:?}"));
            } else {
                findings.add("I2", format!("task {id} was never submitted: {marks:?}"));
            }
        }
    }

    /// Each attempt is stored once: as a row of `attempts`, or, if it succeeded
    /// in time, as the task itself.
    fn attempts(&mut self, findings: &mut Findings) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        let places = [
            "SELECT number, attempt_id, late FROM attempts WHERE number > ?1",
            "SELECT position, attempt_id, 0 FROM tasks
             WHERE position > ?1 AND status = 'succeeded'",
        ];
        for (looked_at, place) in self.looked_at.iter_mut().zip(places) {
            let mut statement = db.prepare(place)?;
            let mut rows = statement.query([*looked_at])?;
            while let Some(row) = rows.next()? {
                *looked_at = row.get::<_, i64>(0)?.max(*looked_at);
                let id: Option<Vec<u8>> = row.get(1)?;
                self.absorbed += u64::from(row.get::<_, bool>(2)?);
                let Some(id) = id.filter(|id| !id.is_empty()) else {
                    continue;
                };
                if self.attempts.contains(&id) {
                    findings.add("I4", format!("attempt {id:02x?} is stored twice"));
                }
                self.attempts.insert(id);
            }
        }
        let conflicts: i64 =
            db.query_row("SELECT count(*) FROM conflicts", [], |row| row.get(0))?;
        if conflicts > 0 {
            findings.add("I2", format!("{conflicts} conflicts are stored"));
        }
        Ok(())
    }
}

impl World {
    /// I5: what waits in queues is a finding.
    pub async fn check_queues(&self, findings: &mut Findings) {
        for (queue, ready) in self.waiting().await {
            findings.add("I5", format!("{ready} messages wait in {queue}"));
        }
    }
}
