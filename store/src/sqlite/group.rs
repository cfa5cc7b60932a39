//! Writes a group of entries inside one transaction.
//!
//! A report of a task nobody has heard of costs one insert into `tasks` and one
//! into `log`, and no query. Only if there is a row already is it read and
//! [`fold`](crate::fold::fold) asked.

use homing_protocol::{
    BatchEvent, BatchRecord, ContentType, Report, Run, Status, Timestamp, to_json,
};
use rusqlite::{CachedStatement, Connection, params};

use super::columns::{self, integer};
use super::dead;
use super::fault::Answer;
use super::tail;
use super::tally::{Place, Tally};
use crate::fold::{Fold, State, fold};
use crate::writer::Entry;

const INSERT_TASK: &str = "
    INSERT INTO tasks (position, stored_at, task, run, kind, status, attempt, attempts_max,
        attempt_id, digest, queue, batch, \"row\", correlation_id, submitted_at, started_at,
        waited_ms, run_us, worker, content_type, error, reason, retry_at, error_data, payload,
        output, output_derived, newest)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
        ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)
    ON CONFLICT DO NOTHING";

const INSERT_LOG: &str = "
    INSERT INTO log (position, stored_at, task, run, status, attempt)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const INSERT_ATTEMPT: &str = "
    INSERT INTO attempts (task, run, attempt_id, status, attempt, late, stored_at, attempts_max,
        queue, started_at, waited_ms, run_us, worker, content_type, error, reason, retry_at,
        error_data, output)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
    ON CONFLICT DO NOTHING";

const INSERT_CONFLICT: &str = "
    INSERT INTO conflicts (stored_at, task, run, kind, status, attempt, attempts_max, attempt_id,
        digest, queue, batch, \"row\", correlation_id, submitted_at, started_at, waited_ms, run_us,
        worker, content_type, error, reason, retry_at, error_data, payload, output)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
        ?19, ?20, ?21, ?22, ?23, ?24, ?25)
    ON CONFLICT DO NOTHING";

/// The later of two seals counts: a batch may be resumed and sealed again.
const INSERT_BATCH: &str = "
    INSERT INTO batches (batch, label, opened_at, sealed_at, total)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET
        label = iif(label = '', excluded.label, label),
        opened_at = coalesce(min(opened_at, excluded.opened_at), opened_at, excluded.opened_at),
        total = iif(excluded.sealed_at >= coalesce(sealed_at, excluded.sealed_at),
            excluded.total, total),
        sealed_at = coalesce(max(sealed_at, excluded.sealed_at), sealed_at, excluded.sealed_at)";

/// A transaction that is being filled.
pub(super) struct Group<'a> {
    db: &'a Connection,
    now: Timestamp,
    /// The position the next change of a task gets.
    position: i64,
    /// Whether any task has more than one run.
    replayed: bool,
    tally: Tally,
    insert_task: CachedStatement<'a>,
    insert_log: CachedStatement<'a>,
}

/// What is stored of a run of a task.
struct Stored {
    position: i64,
    newest: bool,
    state: State,
    place: Place,
}

impl<'a> Group<'a> {
    pub(super) fn new(db: &'a Connection, now: Timestamp) -> Answer<Self> {
        let replayed = db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'replayed')")?
            .query_row([], |row| row.get(0))?;
        Ok(Self {
            db,
            now,
            position: tail::end(db)?.number() + 1,
            replayed,
            tally: Tally::default(),
            insert_task: db.prepare_cached(INSERT_TASK)?,
            insert_log: db.prepare_cached(INSERT_LOG)?,
        })
    }

    pub(super) fn write(&mut self, entry: &Entry) -> Answer<()> {
        match entry {
            Entry::Report(report) => self.report(report),
            Entry::Batch(record) => self.batch(record),
            Entry::Dead(letter) => {
                if dead::insert(self.db, letter, self.now)? {
                    letter
                        .reports
                        .iter()
                        .try_for_each(|report| self.report(report))?;
                }
                Ok(())
            }
        }
    }

    /// Writes what goes with the entries as a whole.
    pub(super) fn finish(self) -> Answer<()> {
        self.tally.write(self.db)
    }

    fn report(&mut self, report: &Report) -> Answer<()> {
        if self.place(report)? {
            return Ok(());
        }
        let stored = self.stored(report)?;
        match fold(&stored.state, &State::from(report)) {
            Fold::Same => Ok(()),
            Fold::Conflict => self.conflict(report),
            Fold::Late => self.attempt(report, true).map(drop),
            Fold::Replace => self.replace(&stored, report),
        }
    }

    /// Makes `report` what is known of its run, unless something is known.
    fn place(&mut self, report: &Report) -> Answer<bool> {
        let newest = self.is_newest(report)?;
        if !self.insert(report, newest)? {
            return Ok(false);
        }
        let attempt = match report.status {
            Status::Succeeded => None,
            _ => Some(self.attempt(report, false)?),
        };
        self.insert_log.execute(params![
            self.position,
            self.now.as_ms(),
            report.task.as_bytes(),
            report.run.get(),
            report.status.as_str(),
            attempt,
        ])?;
        self.position += 1;
        self.tally.measure(report);
        if newest {
            self.supersede(report)?;
            self.tally.enter(report);
        }
        Ok(true)
    }

    /// Whether no later run of the task is known. Only once there was a replay
    /// does it take a query.
    fn is_newest(&mut self, report: &Report) -> Answer<bool> {
        if report.run > Run::FIRST && !self.replayed {
            self.replayed = true;
            self.db
                .prepare_cached("INSERT INTO meta VALUES ('replayed', '1') ON CONFLICT DO NOTHING")?
                .execute([])?;
        }
        if !self.replayed {
            return Ok(true);
        }
        let newest = self
            .db
            .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM tasks WHERE task = ?1 AND run > ?2)")?
            .query_row(params![report.task.as_bytes(), report.run.get()], |row| {
                row.get(0)
            })?;
        Ok(newest)
    }

    /// Inserts the row of a run. Answers false if there is one.
    fn insert(&mut self, report: &Report, newest: bool) -> Answer<bool> {
        let changed = self.insert_task.execute(params![
            self.position,
            self.now.as_ms(),
            report.task.as_bytes(),
            report.run.get(),
            report.kind,
            report.status.as_str(),
            report.attempt,
            report.attempts_max,
            report.attempt_id.as_ref().map(|id| &id.as_bytes()[..]),
            report.digest.as_bytes(),
            report.queue,
            report.batch.as_ref().map(|id| &id.as_bytes()[..]),
            report.row.map(integer),
            report.correlation_id,
            report.submitted_at.as_ms(),
            report.started_at.as_ms(),
            integer(report.waited_ms),
            integer(report.run_us),
            report.worker,
            report.content_type.as_str(),
            report.error,
            report.reason.map(|reason| reason.as_str()),
            report.retry_at.map(Timestamp::as_ms),
            report.error_data.as_deref(),
            report.payload.as_deref(),
            report.output.as_deref(),
            derived(report),
            newest,
        ])?;
        Ok(changed > 0)
    }

    /// Takes the runs before that of `report` out of the counts.
    fn supersede(&mut self, report: &Report) -> Answer<()> {
        if report.run == Run::FIRST {
            return Ok(());
        }
        let mut statement = self.db.prepare_cached(
            "UPDATE tasks SET newest = 0 WHERE task = ?1 AND run < ?2 AND newest
             RETURNING kind, status, batch",
        )?;
        let places = statement
            .query_map(params![report.task.as_bytes(), report.run.get()], |row| {
                place(row, 0)
            })?;
        for place in places {
            self.tally.leave(&place?);
        }
        Ok(())
    }

    fn stored(&self, report: &Report) -> Answer<Stored> {
        let mut statement = self.db.prepare_cached(
            "SELECT position, newest, attempt, attempt_id, digest, kind, status, batch
             FROM tasks WHERE task = ?1 AND run = ?2",
        )?;
        let stored =
            statement.query_row(params![report.task.as_bytes(), report.run.get()], |row| {
                let place = place(row, 5)?;
                Ok(Stored {
                    position: row.get(0)?,
                    newest: row.get(1)?,
                    state: State {
                        status: place.status,
                        attempt: row.get(2)?,
                        attempt_id: columns::uuid_or_none(row, 3)?.map(Into::into),
                        digest: columns::digest(row, 4)?,
                    },
                    place,
                })
            });
        Ok(stored?)
    }

    /// Makes `report` what is known of its run, instead of what is stored.
    fn replace(&mut self, stored: &Stored, report: &Report) -> Answer<()> {
        self.db
            .prepare_cached("DELETE FROM tasks WHERE position = ?1")?
            .execute([stored.position])?;
        if stored.newest {
            self.tally.leave(&stored.place);
        }
        self.place(report).map(drop)
    }

    /// Stores `report` as an attempt, and answers its number.
    fn attempt(&self, report: &Report, late: bool) -> Answer<i64> {
        let changed = self.db.prepare_cached(INSERT_ATTEMPT)?.execute(params![
            report.task.as_bytes(),
            report.run.get(),
            attempt_id(report),
            report.status.as_str(),
            report.attempt,
            late,
            self.now.as_ms(),
            report.attempts_max,
            report.queue,
            report.started_at.as_ms(),
            integer(report.waited_ms),
            integer(report.run_us),
            report.worker,
            report.content_type.as_str(),
            report.error,
            report.reason.map(|reason| reason.as_str()),
            report.retry_at.map(Timestamp::as_ms),
            report.error_data.as_deref(),
            report.output.as_deref(),
        ])?;
        if changed > 0 {
            return Ok(self.db.last_insert_rowid());
        }
        // Stored already: it came again.
        let number = self
            .db
            .prepare_cached(
                "SELECT number FROM attempts WHERE task = ?1 AND run = ?2 AND attempt_id = ?3
                 AND status = ?4 AND attempt = ?5",
            )?
            .query_row(
                params![
                    report.task.as_bytes(),
                    report.run.get(),
                    attempt_id(report),
                    report.status.as_str(),
                    report.attempt,
                ],
                |row| row.get(0),
            )?;
        Ok(number)
    }

    fn conflict(&self, report: &Report) -> Answer<()> {
        self.db.prepare_cached(INSERT_CONFLICT)?.execute(params![
            self.now.as_ms(),
            report.task.as_bytes(),
            report.run.get(),
            report.kind,
            report.status.as_str(),
            report.attempt,
            report.attempts_max,
            attempt_id(report),
            report.digest.as_bytes(),
            report.queue,
            report.batch.as_ref().map(|id| &id.as_bytes()[..]),
            report.row.map(integer),
            report.correlation_id,
            report.submitted_at.as_ms(),
            report.started_at.as_ms(),
            integer(report.waited_ms),
            integer(report.run_us),
            report.worker,
            report.content_type.as_str(),
            report.error,
            report.reason.map(|reason| reason.as_str()),
            report.retry_at.map(Timestamp::as_ms),
            report.error_data.as_deref(),
            report.payload.as_deref(),
            report.output.as_deref(),
        ])?;
        Ok(())
    }

    fn batch(&self, record: &BatchRecord) -> Answer<()> {
        let at = record.at.as_ms();
        let (opened_at, sealed_at, total) = match record.event {
            BatchEvent::Opened => (Some(at), None, None),
            BatchEvent::Sealed { total } => (None, Some(at), Some(integer(total))),
        };
        self.db.prepare_cached(INSERT_BATCH)?.execute(params![
            record.batch.as_bytes(),
            record.label,
            opened_at,
            sealed_at,
            total,
        ])?;
        Ok(())
    }
}

/// The kind, status and batch in three columns from `first` on.
fn place(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Place> {
    Ok(Place {
        kind: row.get(first)?,
        status: columns::status(row, first + 1)?,
        batch: columns::uuid_or_none(row, first + 2)?.map(Into::into),
    })
}

/// The attempt's id, empty if there was none: unlike null, it is equal to
/// itself in an index.
fn attempt_id(report: &Report) -> &[u8] {
    report
        .attempt_id
        .as_ref()
        .map_or(&[], |id| &id.as_bytes()[..])
}

/// The output as JSON, where its own bytes are not.
fn derived(report: &Report) -> Option<String> {
    let output = report.output.as_ref()?;
    match report.content_type {
        ContentType::MessagePack => to_json(output, report.content_type),
        _ => None,
    }
}
