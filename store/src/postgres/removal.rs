//! Removes what is old enough row by row: what is in no partition.
//!
//! # Invariants
//!
//! How far contents were removed from `tasks` is noted in the transaction that
//! does it, and so are the batches that were left out.

use std::time::Instant;

use homing_protocol::Timestamp;
use uuid::Uuid;

use super::columns::Columns;
use super::fault::Answer;
use super::retention::{Part, Removal, STEP_ROWS};
use super::tail::first_since;
use super::{WRITE_TIMEOUT, in_time, repair};
use crate::retention::{finished, removal_note};

/// Dead letters of a step, each of which may be large.
const STEP_LETTERS: i64 = 100;

/// What a row of `tasks` has of contents.
const INLINE: &str = "(t.error IS NOT NULL OR t.error_data IS NOT NULL OR t.payload IS NOT NULL
    OR t.output IS NOT NULL OR t.output_json IS NOT NULL)";

/// Takes them out.
const EMPTIED: &str = "error = NULL, error_data = NULL, payload = NULL, output = NULL,
    output_json = NULL, content_at = 0";

/// Takes a step after the other until one answers that there is none.
macro_rules! steps {
    ($removal:ident, $step:expr) => {
        loop {
            let since = Instant::now();
            let more: bool = in_time(WRITE_TIMEOUT, $step).await?;
            if !($removal.go_on)(since.elapsed()) {
                return Ok(Part::CutOff);
            }
            if !more {
                break;
            }
        }
    };
}

impl Removal<'_> {
    /// Removes contents that are in the rows of `tasks`, as they were before there
    /// were partitions.
    pub(super) async fn inline(&mut self, cutoff: Timestamp) -> Answer<Part> {
        let old = first_since(&self.db, "tasks", cutoff).await? - 1;
        steps!(self, self.inline_some(old));
        Ok(Part::Done)
    }

    async fn inline_some(&mut self, old: i64) -> Answer<bool> {
        self.begin().await?;
        let sql = "SELECT max(s.position), count(*) FROM (
                SELECT t.position FROM tasks t WHERE t.position <= $1
                  AND t.position <= (SELECT value FROM meta WHERE name = 'inline_end')
                  AND t.position > (SELECT value FROM meta WHERE name = 'inline_removed')
                ORDER BY t.position LIMIT $2) s";
        let row = self.db.query_one(sql, &[&old, &STEP_ROWS]).await?;
        let Some(last) = row.try_get::<_, Option<i64>>(0)? else {
            self.commit().await?;
            return Ok(false);
        };
        let some = "t.position <= $1
            AND t.position > (SELECT value FROM meta WHERE name = 'inline_removed')";
        let hold = format!(
            "INSERT INTO held SELECT DISTINCT t.batch FROM tasks t
             WHERE {some} AND {INLINE} AND NOT {} ON CONFLICT DO NOTHING",
            finished("t.batch")
        );
        self.db.query(&hold, &[&last]).await?;
        let empty = format!(
            "UPDATE tasks t SET {EMPTIED} WHERE {some} AND {INLINE} AND {} RETURNING 1",
            finished("t.batch")
        );
        self.removed.runs += self.db.query(&empty, &[&last]).await?.len() as u64;
        let note = "UPDATE meta SET value = $1 WHERE name = 'inline_removed'";
        self.db.query(note, &[&last]).await?;
        self.commit().await?;
        Ok(row.try_get::<_, i64>(1)? == STEP_ROWS)
    }

    /// Removes the contents of batches that were not finished when it was their
    /// turn, and are now.
    pub(super) async fn held(&mut self, cutoff: Timestamp) -> Answer<Part> {
        let old = first_since(&self.db, "tasks", cutoff).await? - 1;
        let sql = format!("SELECT h.batch FROM held h WHERE {}", finished("h.batch"));
        for row in self.db.query(&sql, &[]).await? {
            let batch: Uuid = row.try_get(0)?;
            let mut after = 0;
            steps!(self, self.held_some(batch, old, &mut after));
        }
        Ok(Part::Done)
    }

    async fn held_some(&mut self, batch: Uuid, old: i64, after: &mut i64) -> Answer<bool> {
        self.begin().await?;
        let sql = format!(
            "UPDATE tasks t SET {EMPTIED} WHERE t.batch = $1 AND t.position IN (
                 SELECT t.position FROM tasks t WHERE t.batch = $1 AND t.position > $2
                   AND t.position <= $3 AND t.content_at IS NULL AND {INLINE}
                 ORDER BY t.position LIMIT {STEP_ROWS})
               AND {} RETURNING t.position",
            finished("$1::uuid")
        );
        let emptied = self.db.query(&sql, &[&batch, after, &old]).await?;
        for row in &emptied {
            *after = (*after).max(row.try_get(0)?);
        }
        self.removed.runs += emptied.len() as u64;
        if emptied.is_empty() {
            // Unless it was opened again meanwhile, or there is more that is not old yet.
            let sql = format!(
                "DELETE FROM held h WHERE h.batch = $1 AND {} AND NOT EXISTS (
                     SELECT 1 FROM tasks t WHERE t.batch = h.batch AND t.content_at IS NULL
                       AND {INLINE})",
                finished("h.batch")
            );
            self.db.query(&sql, &[&batch]).await?;
        }
        self.commit().await?;
        Ok(!emptied.is_empty())
    }

    /// Removes old attempts of old runs; what the log names stays as long as that.
    pub(super) async fn attempts(&mut self, table: &str, cutoff: Timestamp) -> Answer<Part> {
        let sql = "SELECT stored_at FROM log ORDER BY position LIMIT 1";
        let log = match self.db.query_opt(sql, &[]).await? {
            Some(row) => row.try_get(0)?,
            None => i64::MAX,
        };
        let (cutoff, mut after) = (cutoff.as_ms().min(log), 0);
        steps!(self, self.attempts_some(table, cutoff, &mut after));
        Ok(Part::Done)
    }

    async fn attempts_some(&mut self, table: &str, cutoff: i64, after: &mut i64) -> Answer<bool> {
        let sql = format!(
            "WITH page AS MATERIALIZED (
                 SELECT number, stored_at, task, run FROM {table}
                 WHERE number > $1 ORDER BY number LIMIT {STEP_ROWS}),
             gone AS (
                 DELETE FROM {table} a USING page s
                 WHERE a.number = s.number AND s.stored_at < $2 AND NOT EXISTS (
                     SELECT 1 FROM tasks t WHERE t.task = s.task AND t.run = s.run
                       AND (t.stored_at >= $2 OR NOT {}))
                 RETURNING 1)
             SELECT max(number), coalesce(max(stored_at) < $2, false),
                 (SELECT count(*) FROM gone)
             FROM page",
            finished("t.batch")
        );
        self.begin().await?;
        let row = self.db.query_one(&sql, &[&*after, &cutoff]).await?;
        self.commit().await?;
        *after = row.try_get::<_, Option<i64>>(0)?.unwrap_or(*after);
        self.removed.attempts += Columns::new(&row, 2).natural()?;
        Ok(row.try_get(1)?)
    }

    /// Removes the bodies of old letters whose tasks are old too.
    pub(super) async fn letters(&mut self, cutoff: Timestamp) -> Answer<Part> {
        let mut after = 0;
        steps!(self, self.letters_some(cutoff.as_ms(), &mut after));
        Ok(Part::Done)
    }

    async fn letters_some(&mut self, cutoff: i64, after: &mut i64) -> Answer<bool> {
        let sql = format!(
            "SELECT l.number, l.stored_at < $2, l.discarded IS NULL AND NOT EXISTS (
                 SELECT 1 FROM dead_tasks d JOIN tasks t ON t.task = d.task
                 WHERE d.number = l.number AND (t.stored_at >= $2 OR NOT {}))
             FROM dead_letters l WHERE l.number > $1 ORDER BY l.number LIMIT {STEP_LETTERS}",
            finished("t.batch")
        );
        self.begin().await?;
        let (mut old, mut more) = (Vec::new(), false);
        for row in self.db.query(&sql, &[&*after, &cutoff]).await? {
            *after = row.try_get(0)?;
            more = row.try_get(1)?;
            if more && row.try_get(2)? {
                old.push(*after);
            }
        }
        if !old.is_empty() {
            let repair = match self.repair {
                Some(repair) => repair,
                None => repair::insert(&self.db, "discard", &removal_note(), self.now).await?,
            };
            let sql = "UPDATE dead_letters SET discarded = $2, body = '', headers = '[]',
                properties = '{}' WHERE number = ANY ($1)";
            self.db.query(sql, &[&old, &repair]).await?;
            self.repair = Some(repair);
        }
        self.commit().await?;
        self.removed.letters += old.len() as u64;
        Ok(more)
    }
}
