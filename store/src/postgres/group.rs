//! Writes a group of entries in one transaction.
//!
//! ```text
//! BEGIN, take the lock, read what is stored of the tasks    one round trip
//! fold                                                      in memory
//! write rows, log and counts, notify, COMMIT                one round trip
//! ```
//!
//! # Invariants
//!
//! Whoever writes holds one lock of the database from before it reads until its
//! commit. So nothing that is read changes before it is written, two writers
//! never wait for each other in a circle, and commits are in the order of the
//! positions they gave.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use homing_faults::{Point, crash_point};
use homing_protocol::{
    BatchRecord, DeadLetter, Digest, KindRecord, Report, Run, Status, TaskId, Timestamp,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::Columns;
use super::fault::Answer;
use super::insert::Derive;
use super::schema::{self, LOCKS};
use super::session::{BEGIN, Session, Step};
use super::{count, dead, insert, kind, partition, tail};
use crate::fold::{Fold, State, fold};
use crate::letter;
use crate::tally::{Place, Tally};
use crate::writer::Entry;

/// The half of the advisory lock that the one has who writes. The server gives it
/// back with the end of the transaction.
pub(super) const WRITING: i32 = 2;

/// A transaction that is being filled.
pub(super) struct Group<'a> {
    now: Timestamp,
    /// The end of the last partition.
    until: Timestamp,
    /// The position the next change of a task gets.
    position: i64,
    /// The runs of the tasks, by what is stored and what was placed since.
    tasks: HashMap<TaskId, Vec<Known<'a>>>,
    /// The runs that a replay wrote down before they were published.
    begun: HashSet<(TaskId, Run)>,
    letters_stored: HashSet<Digest>,
    changes: Changes<'a>,
    tally: Tally,
}

/// What is known of a run of a task.
struct Known<'a> {
    run: Run,
    state: State,
    place: Place,
    /// Whether no later run of the task is known.
    newest: bool,
    stored: Stored,
    /// The report that took the place, and its position.
    placed: Option<(&'a Report, i64)>,
}

/// What the table has of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stored {
    Nothing,
    Newest,
    Older,
}

/// What is added to tables, in the order it came.
#[derive(Default)]
struct Changes<'a> {
    log: Vec<insert::Logged<'a>>,
    attempts: Vec<insert::Attempt<'a>>,
    conflicts: Vec<&'a Report>,
    batches: Vec<&'a BatchRecord>,
    kinds: Vec<&'a KindRecord>,
    letters: Vec<(&'a DeadLetter, Option<Digest>)>,
}

impl<'a> Group<'a> {
    /// Begins a transaction of `db`, at time `now`, that writes about these tasks
    /// and letters.
    pub(super) async fn begin(
        db: &Session,
        now: Timestamp,
        tasks: HashSet<TaskId>,
        letters: &[Digest],
    ) -> Answer<Self> {
        let ids: Vec<Uuid> = tasks.iter().map(|task| task.as_uuid()).collect();
        let letters: Vec<_> = letters
            .iter()
            .map(|digest| &digest.as_bytes()[..])
            .collect();
        let steps = [
            Step::new(BEGIN),
            Step::new("SELECT pg_advisory_xact_lock($1, $2)")
                .with(LOCKS)
                .with(WRITING),
            // Each sees what was committed before it began, which is after the lock
            // was there.
            Step::new(schema::STATE),
            Step::new(partition::LAST),
            Step::new(tail::NEWEST),
            Step::new(
                "SELECT t.task, t.run, t.newest, t.attempt, t.attempt_id, t.digest, t.kind,
                     t.status, t.batch
                 FROM unnest($1::uuid[]) k (task) JOIN tasks t ON t.task = k.task",
            )
            .with(&ids),
            Step::new(
                "SELECT DISTINCT p.task, p.run
                 FROM unnest($1::uuid[]) k (task) JOIN replays p ON p.task = k.task",
            )
            .with(&ids),
            Step::new("SELECT identity FROM dead_letters WHERE identity = ANY ($1)").with(letters),
        ];
        let [_, _, state, last, end, stored, begun, letters] = rows(db.run(&steps).await?);
        schema::check_state(&state)?;
        let mut group = Self {
            now,
            until: partition::end(last.first())?,
            position: 1,
            tasks: HashMap::with_capacity(tasks.len()),
            begun: HashSet::new(),
            letters_stored: HashSet::new(),
            changes: Changes::default(),
            tally: Tally::default(),
        };
        if let Some(newest) = end.first() {
            let mut columns = Columns::new(newest, 0);
            group.position = columns.next::<i64>()? + 1;
            // Clocks differ and may be set back, but the log's times never go back.
            group.now = now.max(columns.time()?);
        }
        for row in &stored {
            let (task, known) = known(row)?;
            group.tasks.entry(task).or_default().push(known);
        }
        for row in &begun {
            let mut columns = Columns::new(row, 0);
            group.begun.insert((columns.task()?, columns.run()?));
        }
        for row in &letters {
            group.letters_stored.insert(Columns::new(row, 0).digest()?);
        }
        Ok(group)
    }

    /// Writes `entries` in one transaction that is on the disk when this returns.
    pub(super) async fn write(
        db: &Session,
        entries: &'a [Entry],
        now: Timestamp,
        derive: Derive,
    ) -> Answer<()> {
        let letters = entries.iter().filter_map(|entry| match entry {
            Entry::Dead(letter) => letter::identity(letter),
            _ => None,
        });
        let letters: Vec<_> = letters.collect();
        let mut group = Self::begin(db, now, tasks_of(entries), &letters).await?;
        crash_point(Point::StoreBegun);
        entries.iter().for_each(|entry| group.entry(entry));
        group.commit(db, derive, Vec::new()).await?;
        crash_point(Point::StoreCommitted);
        Ok(())
    }

    fn entry(&mut self, entry: &'a Entry) {
        match entry {
            Entry::Report(report) => self.report(report),
            Entry::Batch(record) => self.changes.batches.push(record),
            Entry::Kind(record) => self.changes.kinds.push(record),
            Entry::Dead(letter) => self.letter(letter),
        }
    }

    fn letter(&mut self, letter: &'a DeadLetter) {
        let identity = letter::identity(letter);
        if let Some(identity) = identity
            && !self.letters_stored.insert(identity)
        {
            return;
        }
        self.changes.letters.push((letter, identity));
        letter.reports.iter().for_each(|report| self.report(report));
    }

    fn report(&mut self, report: &'a Report) {
        if report.run != Run::FIRST && !self.begun.contains(&(report.task, report.run)) {
            // Somebody made it up: it takes no real run's place.
            self.changes.conflicts.push(report);
            return;
        }
        let Some(known) = self.known(report) else {
            self.place(report);
            return;
        };
        match fold(&known.state, &State::from(report)) {
            Fold::Same => {}
            Fold::Conflict => self.changes.conflicts.push(report),
            Fold::Late => self
                .changes
                .attempts
                .push(insert::Attempt { report, late: true }),
            Fold::Replace => {
                if known.newest {
                    let place = known.place.clone();
                    self.tally.leave(&place);
                }
                self.place(report);
            }
        }
    }

    /// Makes a run that was just published, and is `pending`, known. Changes
    /// nothing if a report on it was faster.
    pub(super) fn open(&mut self, run: &'a Report) {
        if self.known(run).is_none() {
            self.place(run);
        }
    }

    fn known(&self, report: &Report) -> Option<&Known<'a>> {
        let runs = self.tasks.get(&report.task)?;
        runs.iter().find(|known| known.run == report.run)
    }

    /// Makes `report` what is known of its run.
    fn place(&mut self, report: &'a Report) {
        let position = self.position;
        self.position += 1;
        if report.status != Status::Succeeded {
            let attempt = insert::Attempt {
                report,
                late: false,
            };
            self.changes.attempts.push(attempt);
        }
        self.changes.log.push(insert::Logged { report, position });
        self.tally.measure(report);

        let runs = self.tasks.entry(report.task).or_default();
        let newest = runs.iter().all(|known| known.run <= report.run);
        if newest {
            // The runs before are no longer counted.
            let earlier = runs.iter_mut().filter(|known| known.run < report.run);
            for known in earlier.filter(|known| known.newest) {
                known.newest = false;
                self.tally.leave(&known.place);
            }
            self.tally.enter(report);
        }
        let before = runs.iter().position(|known| known.run == report.run);
        let stored = before.map_or(Stored::Nothing, |at| runs.swap_remove(at).stored);
        runs.push(Known {
            run: report.run,
            state: State::from(report),
            place: Place::from(report),
            newest,
            stored,
            placed: Some((report, position)),
        });
    }

    /// Writes all of it, with what else belongs to it, and commits.
    pub(super) async fn commit(
        self,
        db: &Session,
        derive: Derive,
        others: Vec<Step<'a>>,
    ) -> Answer<()> {
        if self.now >= self.until {
            partition::make(db, self.now, Duration::ZERO, partition::SPAN).await?;
        }
        let rows = self.rows();
        let mut steps = others;
        steps.extend(self.forgotten());
        steps.extend(insert::tasks(&rows, self.now));
        steps.extend(insert::contents(&rows, self.now, derive));
        steps.extend(insert::attempts(&self.changes.attempts, self.now));
        steps.extend(insert::conflicts(&self.changes.conflicts, self.now));
        steps.extend(insert::log(&self.changes.log, self.now));
        steps.extend(
            self.changes
                .batches
                .iter()
                .map(|record| insert::batch(record)),
        );
        let kinds = self.changes.kinds.iter();
        steps.extend(kinds.map(|record| kind::declare(record, self.now)));
        for (letter, identity) in &self.changes.letters {
            steps.push(dead::insert(letter, identity.as_ref(), self.now));
        }
        steps.extend(count::write(&self.tally));
        // Told to whoever listens once it is committed. A commit that adds nothing
        // to the server's log waits for no disk and no standby: of a group that is
        // stored already, the first one may not have either.
        steps.push(Step::new(
            "SELECT pg_notify('homing', ''), pg_logical_emit_message(true, 'homing', '')",
        ));
        steps.push(Step::new("COMMIT"));
        crash_point(Point::StoreBeforeCommit);
        db.run(&steps).await?;
        Ok(())
    }

    /// The rows that were placed, in the order of their positions.
    fn rows(&self) -> Vec<insert::Placed<'a>> {
        let known = self.tasks.values().flatten();
        let placed = known.filter_map(|known| {
            let (report, position) = known.placed?;
            Some(insert::Placed {
                report,
                position,
                newest: known.newest,
            })
        });
        let mut placed: Vec<_> = placed.collect();
        placed.sort_unstable_by_key(|row| row.position);
        placed
    }

    /// Takes the rows away whose place is taken, and those that are no longer the
    /// newest out of the newest.
    fn forgotten(&self) -> Vec<Step<'a>> {
        let known = || {
            let tasks = self.tasks.iter();
            tasks.flat_map(|(task, runs)| runs.iter().map(move |known| (task, known)))
        };
        let key =
            |(task, known): (&TaskId, &Known<'_>)| (task.as_uuid(), i64::from(known.run.get()));
        let replaced = known()
            .filter(|(_, known)| known.placed.is_some() && known.stored != Stored::Nothing)
            .map(key);
        let superseded = known()
            .filter(|(_, known)| {
                known.placed.is_none() && known.stored == Stored::Newest && !known.newest
            })
            .map(key);
        let of_keys = |sql, keys: Vec<(Uuid, i64)>| {
            let (tasks, runs): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
            (!tasks.is_empty()).then(|| Step::new(sql).with(tasks).with(runs))
        };
        let delete = "WITH gone AS (
                DELETE FROM tasks t USING unnest($1::uuid[], $2::bigint[]) k (task, run)
                WHERE t.task = k.task AND t.run = k.run RETURNING t.content_at, t.position)
            DELETE FROM contents c USING gone g
            WHERE c.stored_at = g.content_at AND c.position = g.position";
        let update = "UPDATE tasks t SET newest = false
            FROM unnest($1::uuid[], $2::bigint[]) k (task, run)
            WHERE t.task = k.task AND t.run = k.run";
        [
            of_keys(delete, replaced.collect()),
            of_keys(update, superseded.collect()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The tasks that entries are about.
fn tasks_of(entries: &[Entry]) -> HashSet<TaskId> {
    let mut tasks = HashSet::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Entry::Report(report) => _ = tasks.insert(report.task),
            Entry::Batch(_) | Entry::Kind(_) => {}
            Entry::Dead(letter) => {
                tasks.extend(letter.reports.iter().map(|report| report.task));
            }
        }
    }
    tasks
}

fn known<'a>(row: &Row) -> Answer<(TaskId, Known<'a>)> {
    let mut columns = Columns::new(row, 0);
    let (task, run) = (columns.task()?, columns.run()?);
    let newest = columns.next()?;
    let attempt = columns.next::<i64>()?;
    let attempt_id = columns.next::<Option<Uuid>>()?.map(Into::into);
    let digest = columns.digest()?;
    let place = Place {
        kind: columns.text()?,
        status: columns.status()?,
        batch: columns.batch()?,
    };
    let state = State {
        status: place.status,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        attempt_id,
        digest,
    };
    let known = Known {
        run,
        state,
        place,
        newest,
        stored: if newest {
            Stored::Newest
        } else {
            Stored::Older
        },
        placed: None,
    };
    Ok((task, known))
}

/// The answers to as many steps.
fn rows<const N: usize>(answers: Vec<Vec<Row>>) -> [Vec<Row>; N] {
    <[Vec<Row>; N]>::try_from(answers).expect("every step is answered")
}
