//! Writes a group of entries inside one transaction.
//!
//! A report of a task nobody has heard of costs a row of `tasks` and one of `log`, and
//! no query; those of tasks that succeeded are inserted several at a time, which saves
//! a fifth. Only if there is a row already is it read and
//! [`fold`] asked.

use homing_protocol::{Report, Run, Status, Timestamp};
use rusqlite::{CachedStatement, Connection, params};

use super::columns;
use super::count;
use super::dead;
use super::fault::Answer;
use super::insert;
use super::kind;
use super::tail;
use crate::fold::{Fold, State, fold};
use crate::tally::{Place, Tally};
use crate::writer::Entry;

/// Rows of one statement. With twice as many each costs as much.
const ROWS: usize = 16;

/// A transaction that is being filled.
pub(super) struct Group<'a> {
    db: &'a Connection,
    now: Timestamp,
    /// The position the next change of a task gets.
    position: i64,
    /// Whether any task has more than one run.
    replayed: bool,
    tally: Tally,
    insert: Insert<'a>,
    insert_many: Insert<'a>,
}

/// What puts so many runs into `tasks`, and into the log.
struct Insert<'a> {
    tasks: CachedStatement<'a>,
    log: CachedStatement<'a>,
}

impl<'a> Insert<'a> {
    fn of(db: &'a Connection, rows: usize) -> Answer<Self> {
        Ok(Self {
            tasks: db.prepare_cached(&insert::task_sql(rows))?,
            log: db.prepare_cached(&insert::log_sql(rows))?,
        })
    }
}

/// What is stored of a run of a task.
struct Stored {
    position: i64,
    newest: bool,
    state: State,
    place: Place,
}

impl<'a> Group<'a> {
    /// Begins to fill the transaction of `db`, at time `now`.
    pub(super) fn new(db: &'a Connection, now: Timestamp) -> Answer<Self> {
        // The clock may be set back, and other processes write too, but the
        // log's times never go back.
        let now = now.max(tail::newest(db)?);
        let replayed = db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'replayed')")?
            .query_row([], |row| row.get(0))?;
        Ok(Self {
            db,
            now,
            position: tail::end(db)?.number() + 1,
            replayed,
            tally: Tally::default(),
            insert: Insert::of(db, 1)?,
            insert_many: Insert::of(db, ROWS)?,
        })
    }

    pub(super) fn write(&mut self, entries: &[Entry]) -> Answer<()> {
        let mut rest = entries;
        while let Some((entry, others)) = rest.split_first() {
            rest = match self.many(rest) {
                Some((reports, others)) => {
                    self.place_many(&reports)?;
                    others
                }
                None => {
                    self.entry(entry)?;
                    others
                }
            };
        }
        Ok(())
    }

    /// The first entries, if they can be inserted together, and those behind them.
    fn many<'e>(&self, entries: &'e [Entry]) -> Option<([&'e Report; ROWS], &'e [Entry])> {
        let (first, others) = entries.split_first_chunk::<ROWS>()?;
        let has_no_other_run = |report: &Report| {
            !self.replayed && report.run == Run::FIRST && report.status == Status::Succeeded
        };
        let report = |entry: &'e Entry| match entry {
            Entry::Report(report) if has_no_other_run(report) => Some(report),
            _ => None,
        };
        let reports: Vec<_> = first.iter().map_while(report).collect();
        Some((reports.try_into().ok()?, others))
    }

    fn entry(&mut self, entry: &Entry) -> Answer<()> {
        match entry {
            Entry::Report(report) => self.report(report),
            Entry::Batch(record) => insert::batch(self.db, record),
            Entry::Kind(record) => kind::declare(self.db, record, self.now),
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

    /// Makes a run that was just published, and is `pending`, known. Changes
    /// nothing if a report on it was faster.
    pub(super) fn open(&mut self, run: &Report) -> Answer<()> {
        self.place(run).map(drop)
    }

    /// Writes what goes with the entries as a whole.
    pub(super) fn finish(self) -> Answer<()> {
        self.db
            .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'log_end'")?
            .execute([self.position - 1])?;
        count::write(self.db, &self.tally)
    }

    fn report(&mut self, report: &Report) -> Answer<()> {
        if !self.is_begun(report)? {
            // Somebody made it up: it takes no real run's place.
            return insert::conflict(self.db, report, self.now);
        }
        if self.place(report)? {
            return Ok(());
        }
        let stored = self.stored(report)?;
        match fold(&stored.state, &State::from(report)) {
            Fold::Same => Ok(()),
            Fold::Conflict => insert::conflict(self.db, report, self.now),
            Fold::Late => insert::attempt(self.db, report, true, self.now).map(drop),
            Fold::Replace => self.replace(&stored, report),
        }
    }

    /// Makes `report` what is known of its run, unless something is known.
    fn place(&mut self, report: &Report) -> Answer<bool> {
        let newest = self.is_newest(report)?;
        let row = self.row(report, self.position, newest);
        if insert::tasks(&mut self.insert.tasks, std::slice::from_ref(&row))? == 0 {
            return Ok(false);
        }
        let attempt = match report.status {
            Status::Succeeded => None,
            _ => Some(insert::attempt(self.db, report, false, self.now)?),
        };
        let entry = insert::LogEntry { row: &row, attempt };
        insert::log(&mut self.insert.log, &[entry])?;
        self.position += 1;
        self.tally.measure(report);
        if newest {
            self.supersede(report)?;
            self.tally.enter(report);
        }
        Ok(true)
    }

    /// Places first runs of tasks that succeeded.
    fn place_many(&mut self, reports: &[&Report; ROWS]) -> Answer<()> {
        let first = self.position;
        let rows = (first..).zip(reports);
        let rows: Vec<_> = rows
            .map(|(at, report)| self.row(report, at, true))
            .collect();
        let entry = |row| insert::LogEntry { row, attempt: None };
        if insert::tasks(&mut self.insert_many.tasks, &rows)? == ROWS {
            let entries: Vec<_> = rows.iter().map(entry).collect();
            insert::log(&mut self.insert_many.log, &entries)?;
            self.position += ROWS as i64;
            reports.iter().for_each(|report| self.count(report));
            return Ok(());
        }
        // Of some there was a row already, which may be one of these.
        let placed = self.positions(first)?;
        self.position = placed.last().map_or(first, |last| last + 1);
        for row in &rows {
            if placed.contains(&row.position) {
                insert::log(&mut self.insert.log, &[entry(row)])?;
                self.count(row.report);
            } else {
                self.report(row.report)?;
            }
        }
        Ok(())
    }

    /// The positions from `first` on that are taken.
    fn positions(&self, first: i64) -> Answer<Vec<i64>> {
        let sql = "SELECT position FROM tasks WHERE position >= ?1 ORDER BY position";
        let mut statement = self.db.prepare_cached(sql)?;
        let positions = statement.query_map([first], |row| row.get(0))?;
        Ok(positions.collect::<Result<_, _>>()?)
    }

    /// Counts a run that was placed as the newest one of its task.
    fn count(&mut self, report: &Report) {
        self.tally.measure(report);
        self.tally.enter(report);
    }

    /// The row of a run, at `position`.
    fn row<'r>(&self, report: &'r Report, position: i64, newest: bool) -> insert::Row<'r> {
        insert::Row {
            report,
            position,
            stored_at: self.now,
            newest,
        }
    }

    /// Whether this run is the first, or one that a replay wrote down before it was
    /// published.
    fn is_begun(&self, report: &Report) -> Answer<bool> {
        if report.run == Run::FIRST {
            return Ok(true);
        }
        let begun = self
            .db
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM replays WHERE task = ?1 AND run = ?2)")?
            .query_row(params![report.task.as_bytes(), report.run.get()], |row| {
                row.get(0)
            })?;
        Ok(begun)
    }

    /// Whether no later run of the task is known. Only once there was a replay
    /// does it take a query.
    fn is_newest(&mut self, report: &Report) -> Answer<bool> {
        if report.run > Run::FIRST && !self.replayed {
            self.replayed = true;
            self.db
                .prepare_cached("INSERT INTO meta VALUES ('replayed', 1) ON CONFLICT DO NOTHING")?
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
}

/// The kind, status and batch in three columns from `first` on.
fn place(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Place> {
    Ok(Place {
        kind: row.get(first)?,
        status: columns::status(row, first + 1)?,
        batch: columns::uuid_or_none(row, first + 2)?.map(Into::into),
    })
}
