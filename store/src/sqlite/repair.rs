//! What people do about tasks that did not succeed.
//!
//! Written by a connection of its own, beside the collector's: each change is
//! one short immediate transaction, which reads whatever it depends on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use homing_protocol::{Digest, Payload, Run, Status, TaskId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use super::columns::{self, integer};
use super::dead;
use super::fault::Answer;
use super::file::{self, FileId};
use super::group::Group;
use super::lock::{self, Lock};
use super::query;
use super::schema;
use crate::error::StoreError;
use crate::record::{HISTORY_MAX, RepairNote, RepairRecord, ReplayRecord};
use crate::repair::{Began, NewRun};
use crate::replay::{Intended, PAYLOADS_BYTES_MAX, Replayable};
use crate::writer::Holder;

/// How long a repair waits for its turn to write. A collector under load commits
/// one group after the other, and SQLite has no queue: it may take many tries
/// to come in between.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that repairs.
#[derive(Debug)]
pub(crate) struct Repairs {
    // Before the lock, so that it is closed before the next process has it.
    connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
    note: RepairNote,
    /// Written with the first thing that is done.
    number: Option<i64>,
    _lock: Lock,
}

impl Repairs {
    /// Takes the turn to replay, or says who has it.
    pub(crate) fn replay(
        path: &Path,
        note: RepairNote,
    ) -> Result<Result<Self, Holder>, StoreError> {
        let (connection, path, file) = open(path)?;
        Ok(lock::try_lock(&path, lock::REPLAY)?.map(|lock| Self {
            connection,
            path,
            file,
            note,
            number: None,
            _lock: lock,
        }))
    }

    /// Writes down runs that are about to be published.
    pub(crate) fn begin(
        &mut self,
        runs: &[NewRun],
        now: Timestamp,
    ) -> Result<Vec<Began>, StoreError> {
        let (note, known) = (&self.note, self.number);
        let begun = in_transaction(&mut self.connection, |db| {
            let number = match known {
                Some(number) => number,
                None => insert(db, "replay", note, now)?,
            };
            let began = |run| begin(db, number, run, now);
            let began: Answer<Vec<_>> = runs.iter().map(began).collect();
            Ok((number, began?))
        });
        let (number, began) = begun.map_err(|fault| fault.at(&self.path))?;
        self.check_file()?;
        self.number = Some(number);
        Ok(began)
    }

    /// Writes down that the broker has these runs.
    pub(crate) fn confirm(&mut self, runs: &[NewRun], now: Timestamp) -> Result<(), StoreError> {
        let number = self.number;
        let confirmed = in_transaction(&mut self.connection, |db| {
            let mut group = Group::new(db, now)?;
            for run in runs {
                confirm(db, &mut group, number, run, now)?;
            }
            group.finish()
        });
        confirmed.map_err(|fault| fault.at(&self.path))?;
        self.check_file()
    }

    /// Removes the content of dead letters.
    pub(crate) fn discard(
        path: &Path,
        numbers: &[u64],
        note: &RepairNote,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let (mut connection, path, _) = open(path)?;
        let discarded = in_transaction(&mut connection, |db| {
            let repair = insert(db, "discard", note, now)?;
            let discard = |number: &u64| dead::discard(db, *number, repair);
            numbers.iter().map(discard).collect()
        });
        discarded.map_err(|fault| fault.at(&path))
    }

    /// A file that was deleted or replaced takes writes as before, and they are
    /// gone with the last handle of it.
    fn check_file(&self) -> Result<(), StoreError> {
        if file::file_id(&self.path) == self.file {
            return Ok(());
        }
        let path = self.path.clone();
        Err(StoreError::Gone { path })
    }
}

/// Opens a store that is there and has the newest schema, for writing.
pub(super) fn open(path: &Path) -> Result<(Connection, PathBuf, Option<FileId>), StoreError> {
    // Told as to a reader: why it is not there, not readable, or not ours.
    drop(file::open_reader(path)?);
    let path = path
        .canonicalize()
        .map_err(|source| file::unwritable(path, source))?;
    let file = file::file_id(&path);
    let connection = file::open_writer(&path)?;
    schema::check_readable(&connection, &path)?;
    let prepare = || -> Answer<()> {
        file::make_durable(&connection)?;
        Ok(connection.busy_timeout(BUSY_TIMEOUT)?)
    };
    prepare().map_err(|fault| fault.at(&path))?;
    Ok((connection, path, file))
}

pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Answer<T>,
) -> Answer<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

pub(super) fn insert(
    db: &Connection,
    verb: &str,
    note: &RepairNote,
    now: Timestamp,
) -> Answer<i64> {
    db.prepare_cached(
        "INSERT INTO repairs (verb, at, who, asked, why) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![verb, now.as_ms(), note.who, note.asked, note.why])?;
    Ok(db.last_insert_rowid())
}

fn begin(db: &Connection, repair: i64, run: &NewRun, now: Timestamp) -> Answer<Began> {
    let report = &run.report;
    if newest(db, report.task)? != run.was {
        return Ok(Began::Changed);
    }
    let mut insert = db.prepare_cached(
        "INSERT INTO replays (task, run, repair, at, kind, queue, dead)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
         WHERE NOT EXISTS (SELECT 1 FROM replays WHERE task = ?1 AND repair = ?3)",
    )?;
    let begun = insert.execute(params![
        report.task.as_bytes(),
        report.run.get(),
        repair,
        now.as_ms(),
        report.kind,
        report.queue,
        run.dead.map(integer),
    ])?;
    if begun == 0 {
        // Named twice, it was begun by this very replay.
        return Ok(Began::Changed);
    }
    // A letter without an id of its own belongs to its task from here on.
    if run.was.is_none()
        && let Some(number) = run.dead
    {
        dead::link(db, integer(number), report.task, report.run)?;
    }
    Ok(Began::Yes)
}

/// The newest run that is stored of `task`, and its status.
fn newest(db: &Connection, task: TaskId) -> Answer<Option<(Run, Status)>> {
    let newest = db
        .prepare_cached("SELECT run, status FROM tasks WHERE task = ?1 ORDER BY run DESC LIMIT 1")?
        .query_row([task.as_bytes()], |row| {
            Ok((columns::run(row, 0)?, columns::status(row, 1)?))
        })
        .optional()?;
    Ok(newest)
}

fn confirm(
    db: &Connection,
    group: &mut Group<'_>,
    repair: Option<i64>,
    run: &NewRun,
    now: Timestamp,
) -> Answer<()> {
    let report = &run.report;
    db.prepare_cached(
        "UPDATE replays SET confirmed_at = ?4 WHERE task = ?1 AND run = ?2 AND repair = ?3",
    )?
    .execute(params![
        report.task.as_bytes(),
        report.run.get(),
        repair,
        now.as_ms()
    ])?;
    group.open(report)
}

/// The repair of this number.
pub(super) fn repair(db: &Connection, number: i64) -> Answer<RepairRecord> {
    let repair = db
        .prepare_cached("SELECT number, at, who, asked, why FROM repairs WHERE number = ?1")?
        .query_row([number], |row| to_repair(row, 0))?;
    Ok(repair)
}

/// A repair in the columns from `first` on.
fn to_repair(row: &Row<'_>, first: usize) -> rusqlite::Result<RepairRecord> {
    Ok(RepairRecord {
        number: columns::natural(row, first)?,
        at: Timestamp::from_ms(row.get(first + 1)?),
        note: RepairNote {
            who: row.get(first + 2)?,
            asked: row.get(first + 3)?,
            why: row.get(first + 4)?,
        },
    })
}

/// The replays of a task, the oldest first.
pub(super) fn replays(db: &Connection, task: TaskId) -> Answer<Vec<ReplayRecord>> {
    let sql = format!(
        "SELECT p.run, p.at, p.kind, p.queue, p.dead, p.confirmed_at,
             r.number, r.at, r.who, r.asked, r.why
         FROM replays p JOIN repairs r ON r.number = p.repair
         WHERE p.task = ?1 ORDER BY p.run, p.repair LIMIT {HISTORY_MAX}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let replays = statement.query_map([task.as_bytes()], |row| {
        Ok(ReplayRecord {
            run: columns::run(row, 0)?,
            at: Timestamp::from_ms(row.get(1)?),
            kind: row.get(2)?,
            queue: row.get(3)?,
            dead: row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
            confirmed_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_ms),
            repair: to_repair(row, 6)?,
        })
    })?;
    Ok(replays.collect::<Result<_, _>>()?)
}

/// What a replay of these tasks needs, of as many as fit.
pub(crate) fn replayable(db: &Connection, tasks: &[TaskId]) -> Answer<Vec<Option<Replayable>>> {
    let (mut found, mut bytes) = (Vec::with_capacity(tasks.len()), 0);
    for task in tasks {
        let one = replayable_one(db, *task)?;
        let payload = one.as_ref().and_then(|one| one.payload.as_ref());
        bytes += payload.map_or(0, |payload| payload.bytes.len());
        found.push(one);
        if bytes > PAYLOADS_BYTES_MAX {
            break;
        }
    }
    Ok(found)
}

fn replayable_one(db: &Connection, task: TaskId) -> Answer<Option<Replayable>> {
    let Some(record) = query::record(db, task)? else {
        return Ok(None);
    };
    let kept = kept(db, task)?;
    let whole = kept.as_ref().is_none_or(|(payload, digest)| {
        // Bits of a file may turn in years.
        Digest::of(&payload.bytes) == *digest
    });
    Ok(Some(Replayable {
        record,
        payload: kept.filter(|_| whole).map(|(payload, _)| payload),
        damaged: !whole,
        intended: intended(db, task)?,
    }))
}

/// The payload of a task and its digest, from the newest run that has it.
fn kept(db: &Connection, task: TaskId) -> Answer<Option<(Payload, Digest)>> {
    let kept = db
        .prepare_cached(
            "SELECT payload, content_type, digest FROM tasks
             WHERE task = ?1 AND payload IS NOT NULL ORDER BY run DESC LIMIT 1",
        )?
        .query_row([task.as_bytes()], |row| {
            let payload = Payload {
                bytes: row.get::<_, Vec<u8>>(0)?.into(),
                content_type: columns::content_type(row, 1)?,
            };
            Ok((payload, columns::digest(row, 2)?))
        })
        .optional()?;
    Ok(kept)
}

/// The last run that a replay of the task began.
fn intended(db: &Connection, task: TaskId) -> Answer<Option<Intended>> {
    let intended = db
        .prepare_cached(
            "SELECT run, kind, queue, max(confirmed_at IS NOT NULL) FROM replays
             WHERE task = ?1 AND run = (SELECT max(run) FROM replays WHERE task = ?1)
             GROUP BY run",
        )?
        .query_row([task.as_bytes()], |row| {
            Ok(Intended {
                run: columns::run(row, 0)?,
                kind: row.get(1)?,
                queue: row.get(2)?,
                confirmed: row.get(3)?,
            })
        })
        .optional()?;
    Ok(intended)
}
