//! Removes what is old enough, in steps that are each one short transaction.
//!
//! The same as [`postgres::retention`](crate::postgres) does, row by row: a file
//! has no partitions. What is freed is used again for what comes.

use std::path::Path;
use std::time::{Duration, Instant};

use homing_protocol::Timestamp;
use rusqlite::{Connection, Row, params};

use super::fault::Answer;
use super::repair::{self, in_transaction};
use super::tail;
use crate::error::StoreError;
use crate::retention::{Keep, Removed, finished, removal_note};

/// Rows that a step looks at: some milliseconds.
const STEP_ROWS: i64 = 500;

/// Dead letters of a step, each of which may be large.
const STEP_LETTERS: i64 = 50;

/// What a row of `tasks` has of contents.
const CONTENT: &str = "(error IS NOT NULL OR error_data IS NOT NULL OR payload IS NOT NULL
    OR output IS NOT NULL)";

/// Takes them out.
const EMPTIED: &str = "error = NULL, error_data = NULL, payload = NULL, output = NULL,
    output_derived = NULL, content_at = 0";

/// Removes what is old enough at `now`.
pub(crate) fn remove_old(
    path: &Path,
    keep: Keep,
    now: Timestamp,
    go_on: &mut dyn FnMut(Duration) -> bool,
) -> Result<Removed, StoreError> {
    let Some(cutoff) = keep.cutoff(now) else {
        return Ok(Removed::default());
    };
    let (connection, path, _) = repair::open(path)?;
    let mut removal = Removal {
        connection,
        cutoff,
        now,
        go_on,
        removed: Removed::default(),
    };
    removal.run().map_err(|fault| fault.at(&path))?;
    Ok(removal.removed)
}

/// One call.
struct Removal<'a> {
    connection: Connection,
    cutoff: Timestamp,
    now: Timestamp,
    go_on: &'a mut dyn FnMut(Duration) -> bool,
    removed: Removed,
}

/// What a step came to: how many rows it removed, and whether there is a next one.
type Step = (u64, bool);

impl Removal<'_> {
    fn run(&mut self) -> Answer<()> {
        let cutoff = self.cutoff.as_ms();
        let entries = tail::first_since(&self.connection, "log", self.cutoff)?;
        let old = tail::first_since(&self.connection, "tasks", self.cutoff)? - 1;
        // Attempts after the log: what it names stays as long as that.
        if self.log(entries)?
            && self.contents(old)?
            && self.held(old)?
            && self.attempts("attempts", cutoff)?
            && self.attempts("conflicts", cutoff)?
        {
            self.letters(cutoff)?;
        }
        Ok(())
    }

    /// Takes a step after the other until one answers that there is none. Answers
    /// how many rows they removed, and whether the work was not cut off.
    fn steps(&mut self, mut step: impl FnMut(&Connection) -> Answer<Step>) -> Answer<(u64, bool)> {
        let mut removed = 0;
        loop {
            let since = Instant::now();
            let (some, more) = in_transaction(&mut self.connection, &mut step)?;
            removed += some;
            if !(self.go_on)(since.elapsed()) {
                return Ok((removed, false));
            }
            if !more {
                return Ok((removed, true));
            }
        }
    }

    fn log(&mut self, end: i64) -> Answer<bool> {
        let sql = "DELETE FROM log WHERE position IN (
            SELECT position FROM log WHERE position < ?1 ORDER BY position LIMIT ?2)";
        let (removed, done) = self.steps(|db| {
            let some = db.prepare_cached(sql)?.execute([end, STEP_ROWS])?;
            Ok((some as u64, some > 0))
        })?;
        self.removed.entries += removed;
        Ok(done)
    }

    /// Removes the contents of rows up to the position `old`, and notes the batches
    /// that are not finished.
    fn contents(&mut self, old: i64) -> Answer<bool> {
        let finished = finished("t.batch");
        let some = "t.position <= ?1
            AND t.position > (SELECT value FROM meta WHERE name = 'inline_removed')";
        let hold = format!(
            "INSERT INTO held SELECT DISTINCT t.batch FROM tasks t
             WHERE {some} AND {CONTENT} AND NOT {finished} ON CONFLICT DO NOTHING"
        );
        let empty =
            format!("UPDATE tasks AS t SET {EMPTIED} WHERE {some} AND {CONTENT} AND {finished}");
        let (removed, done) = self.steps(|db| {
            let last = "SELECT max(position), count(*) FROM (
                SELECT position FROM tasks WHERE position <= ?1
                  AND position > (SELECT value FROM meta WHERE name = 'inline_removed')
                ORDER BY position LIMIT ?2)";
            let (last, rows): (Option<i64>, i64) = db
                .prepare_cached(last)?
                .query_row([old, STEP_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some(last) = last else {
                return Ok((0, false));
            };
            db.prepare_cached(&hold)?.execute([last])?;
            let emptied = db.prepare_cached(&empty)?.execute([last])?;
            db.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'inline_removed'")?
                .execute([last])?;
            Ok((emptied as u64, rows == STEP_ROWS))
        })?;
        self.removed.runs += removed;
        Ok(done)
    }

    /// Removes the contents of batches that were not finished when it was their
    /// turn, and are now.
    fn held(&mut self, old: i64) -> Answer<bool> {
        let sql = format!("SELECT batch FROM held WHERE {}", finished("held.batch"));
        let batches: Vec<Vec<u8>> = self
            .connection
            .prepare(&sql)?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for batch in batches {
            if !self.held_one(&batch, old)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn held_one(&mut self, batch: &[u8], old: i64) -> Answer<bool> {
        let finished = finished("?1");
        let some = format!(
            "SELECT position FROM tasks WHERE batch = ?1 AND position > ?2 AND position <= ?3
               AND content_at IS NULL AND {CONTENT} AND {finished} ORDER BY position LIMIT ?4"
        );
        let empty = format!("UPDATE tasks SET {EMPTIED} WHERE position = ?1");
        let forget = format!(
            "DELETE FROM held WHERE batch = ?1 AND {finished} AND NOT EXISTS (
                 SELECT 1 FROM tasks WHERE batch = ?1 AND content_at IS NULL AND {CONTENT}
                   AND position <= (SELECT value FROM meta WHERE name = 'inline_removed'))"
        );
        let mut after = 0;
        let (removed, done) = self.steps(|db| {
            let positions: Vec<i64> = db
                .prepare_cached(&some)?
                .query_map(params![batch, after, old, STEP_ROWS], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for position in &positions {
                db.prepare_cached(&empty)?.execute([position])?;
                after = *position;
            }
            if positions.is_empty() {
                // Unless it was opened again meanwhile, or there is more that is not old yet.
                db.prepare_cached(&forget)?.execute([batch])?;
            }
            Ok((positions.len() as u64, !positions.is_empty()))
        })?;
        self.removed.runs += removed;
        Ok(done)
    }

    /// Removes old attempts of old runs.
    fn attempts(&mut self, table: &str, cutoff: i64) -> Answer<bool> {
        let page = format!(
            "SELECT max(number), coalesce(max(stored_at) < ?2, 0) FROM (
                 SELECT number, stored_at FROM {table}
                 WHERE number > ?1 ORDER BY number LIMIT ?3)"
        );
        let delete = format!(
            "DELETE FROM {table} AS a WHERE a.number > ?1 AND a.number <= ?3 AND a.stored_at < ?2
               AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.task = a.task AND t.run = a.run
                   AND (t.stored_at >= ?2 OR NOT {}))",
            finished("t.batch")
        );
        let mut after = 0;
        let (removed, done) = self.steps(|db| {
            let (last, more): (Option<i64>, bool) = db
                .prepare_cached(&page)?
                .query_row([after, cutoff, STEP_ROWS], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            let Some(last) = last else {
                return Ok((0, false));
            };
            let deleted = db.prepare_cached(&delete)?.execute([after, cutoff, last])?;
            after = last;
            Ok((deleted as u64, more))
        })?;
        self.removed.attempts += removed;
        Ok(done)
    }

    /// Removes the bodies of old letters whose tasks are old too.
    fn letters(&mut self, cutoff: i64) -> Answer<()> {
        let page = format!(
            "SELECT l.number, l.stored_at < ?2, l.discarded IS NULL AND NOT EXISTS (
                 SELECT 1 FROM dead_tasks d JOIN tasks t ON t.task = d.task
                 WHERE d.number = l.number AND (t.stored_at >= ?2 OR NOT {}))
             FROM dead_letters l WHERE l.number > ?1 ORDER BY l.number LIMIT {STEP_LETTERS}",
            finished("t.batch")
        );
        // What they name as the reason that they are empty.
        let mut repair = None;
        let (now, mut after) = (self.now, 0);
        let (removed, _) = self.steps(|db| {
            let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let letters: Vec<(i64, bool, bool)> = db
                .prepare_cached(&page)?
                .query_map([after, cutoff], columns)?
                .collect::<rusqlite::Result<_>>()?;
            let mut emptied = 0;
            for (number, is_old, is_free) in &letters {
                after = *number;
                if *is_old && *is_free {
                    let noted = match repair {
                        Some(noted) => noted,
                        None => repair::insert(db, "discard", &removal_note(), now)?,
                    };
                    empty_letter(db, *number, noted)?;
                    repair = Some(noted);
                    emptied += 1;
                }
            }
            Ok((
                emptied,
                letters.last().is_some_and(|(_, is_old, _)| *is_old),
            ))
        })?;
        self.removed.letters += removed;
        Ok(())
    }
}

fn empty_letter(db: &Connection, number: i64, repair: i64) -> Answer<()> {
    let sql = "UPDATE dead_letters SET discarded = ?2, body = x'', headers = '[]',
        properties = '{}' WHERE number = ?1";
    db.prepare_cached(sql)?.execute([number, repair])?;
    Ok(())
}
