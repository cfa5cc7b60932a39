//! Removes what is old enough, in steps that are each one short transaction.
//!
//! ```text
//! make the partitions that will be needed
//! for each partition that is old enough:
//!     move what has to stay out of it, into the rows of `tasks`
//!     drop it
//! remove, one by one: contents in rows of `tasks`, attempts, bodies of letters
//! ```
//!
//! # Invariants
//!
//! A step has the lock of those who write, and it is the last thing it waits for,
//! but for the one that drops a partition: that one waits half a second for those
//! who read, and is tried again by the next call. What a partition has of a batch
//! that is not finished is moved before it is dropped, in the same transaction as
//! it is noted in `held`. Nothing is dropped that could be written to: what is
//! written is never stored earlier than what was.

use std::time::{Duration, Instant};

use homing_protocol::{BatchId, Timestamp};
use uuid::Uuid;

use super::address::Address;
use super::columns::Columns;
use super::driver::block_on;
use super::fault::{Answer, Fault};
use super::schema::LOCKS;
use super::session::Session;
use super::tail::NEWEST;
use super::{WRITE_TIMEOUT, in_time, partition, repair};
use crate::error::StoreError;
use crate::retention::{Keep, Removed, finished, partition_ends};

/// The half of the advisory lock that the one has who removes. The server gives it
/// back when the connection ends.
const REMOVING: i32 = 4;

/// Rows that a step looks at: some milliseconds.
pub(super) const STEP_ROWS: i64 = 1_000;

/// What waits for readers while it has the turn to write lets others write soon.
const SHORT_WAIT: &str = "SET LOCAL lock_timeout = '500ms'";

/// Removes what is old enough at `now`.
pub(crate) fn remove_old(
    address: &Address,
    keep: Keep,
    now: Timestamp,
    go_on: &mut dyn FnMut(Duration) -> bool,
) -> Result<Removed, StoreError> {
    let removed = block_on(async {
        let db = in_time(WRITE_TIMEOUT, repair::open(address)).await?;
        let sql = "SELECT pg_try_advisory_lock($1, $2)";
        let row = in_time(WRITE_TIMEOUT, db.query_one(sql, &[&LOCKS, &REMOVING])).await?;
        let mut removal = Removal {
            db,
            keep,
            now,
            go_on,
            removed: Removed::default(),
            repair: None,
        };
        if row.try_get(0)? {
            removal.run().await?;
            // Not left to the server, which notices by and by that the connection ended.
            let sql = "SELECT pg_advisory_unlock($1, $2)";
            in_time(
                WRITE_TIMEOUT,
                removal.db.query_one(sql, &[&LOCKS, &REMOVING]),
            )
            .await?;
        }
        Ok(removal.removed)
    });
    removed.map_err(|fault: Fault| fault.at(address))
}

/// One call.
pub(super) struct Removal<'a> {
    pub(super) db: Session,
    keep: Keep,
    pub(super) now: Timestamp,
    pub(super) go_on: &'a mut dyn FnMut(Duration) -> bool,
    pub(super) removed: Removed,
    /// What letters name as the reason that they are empty.
    pub(super) repair: Option<i64>,
}

/// A part of the work was cut off, or there is no more of it.
pub(super) enum Part {
    Done,
    CutOff,
}

impl Removal<'_> {
    async fn run(&mut self) -> Answer<()> {
        in_time(WRITE_TIMEOUT, self.make_ahead()).await?;
        let Some(cutoff) = self.keep.cutoff(self.now) else {
            return Ok(());
        };
        if let Part::Done = self.partitions(cutoff).await?
            && let Part::Done = self.inline(cutoff).await?
            && let Part::Done = self.held(cutoff).await?
            && let Part::Done = self.attempts("attempts", cutoff).await?
            && let Part::Done = self.attempts("conflicts", cutoff).await?
        {
            self.letters(cutoff).await?;
        }
        Ok(())
    }

    /// Makes the partitions that will be needed. Whoever writes does it too.
    async fn make_ahead(&self) -> Answer<()> {
        let span = self.keep.span();
        let last = partition::end(self.db.query_opt(partition::LAST, &[]).await?.as_ref())?;
        if partition_ends(last, self.now, span, span).is_empty() {
            return Ok(());
        }
        self.begin().await?;
        self.db.batch(SHORT_WAIT).await?;
        match partition::make(&self.db, self.now, span, span).await {
            Ok(()) => self.commit().await,
            // A writer makes it if it comes to that.
            Err(fault) if fault.is_lock() => self.db.batch("ROLLBACK").await,
            Err(fault) => Err(fault),
        }
    }

    async fn partitions(&mut self, cutoff: Timestamp) -> Answer<Part> {
        let Some(newest) = self.db.query_opt(NEWEST, &[]).await? else {
            return Ok(Part::Done);
        };
        let newest = newest.try_get::<_, i64>(1)?;
        let sql = "SELECT number FROM partitions WHERE until <= $1 ORDER BY number";
        let old = cutoff.as_ms().min(newest);
        for row in self.db.query(sql, &[&old]).await? {
            let number: i64 = row.try_get(0)?;
            // Until nothing has to be moved: a batch may be opened again meanwhile.
            while self.hold(number).await? {
                if !(self.go_on)(Duration::ZERO) {
                    return Ok(Part::CutOff);
                }
            }
            let since = Instant::now();
            match in_time(WRITE_TIMEOUT, self.drop(number)).await {
                Ok(()) => self.removed.partitions += 1,
                // Somebody reads for long. The others are younger, and go after it.
                Err(fault) if fault.is_lock() => {
                    self.db.batch("ROLLBACK").await?;
                    return Ok(Part::Done);
                }
                Err(fault) => return Err(fault),
            }
            if !(self.go_on)(since.elapsed()) {
                return Ok(Part::CutOff);
            }
        }
        Ok(Part::Done)
    }

    async fn drop(&self, number: i64) -> Answer<()> {
        self.begin().await?;
        self.db.batch(SHORT_WAIT).await?;
        partition::drop(&self.db, number).await?;
        self.commit().await
    }

    /// Moves what a partition has of batches that are not finished into their rows.
    /// Answers whether there was any. Who is cut off begins anew.
    async fn hold(&mut self, number: i64) -> Answer<bool> {
        let range = format!("SELECT min(position), max(position) FROM contents_{number}");
        let row = self.db.query_one(&range, &[]).await?;
        let (Some(first), Some(last)) = (row.try_get::<_, Option<i64>>(0)?, row.try_get(1)?) else {
            return Ok(false);
        };
        let last: i64 = last;
        let mut any = false;
        for batch in self.unfinished().await? {
            loop {
                let since = Instant::now();
                let moved = in_time(WRITE_TIMEOUT, self.hold_some(batch, first, last)).await?;
                any |= moved;
                if !moved {
                    break;
                }
                if !(self.go_on)(since.elapsed()) {
                    return Ok(true);
                }
            }
        }
        Ok(any)
    }

    async fn hold_some(&self, batch: BatchId, first: i64, last: i64) -> Answer<bool> {
        let sql = format!(
            "WITH page AS MATERIALIZED (
                 SELECT c.stored_at, c.position FROM tasks t
                 JOIN contents c ON c.stored_at = t.content_at AND c.position = t.position
                 WHERE t.batch = $1 AND t.position BETWEEN $2 AND $3 AND t.content_at > 0
                 ORDER BY t.position LIMIT {STEP_ROWS}),
             moved AS (
                 DELETE FROM contents c USING page s
                 WHERE c.stored_at = s.stored_at AND c.position = s.position
                 RETURNING c.position, c.error, c.error_data, c.payload, c.output, c.output_json),
             noted AS (
                 INSERT INTO held SELECT $1 WHERE EXISTS (SELECT 1 FROM page)
                 ON CONFLICT DO NOTHING)
             UPDATE tasks t SET error = m.error, error_data = m.error_data, payload = m.payload,
                 output = m.output, output_json = m.output_json, content_at = NULL
             FROM moved m WHERE t.position = m.position RETURNING t.position"
        );
        self.begin().await?;
        let batch = batch.as_uuid();
        let moved = self.db.query(&sql, &[&batch, &first, &last]).await?;
        self.commit().await?;
        Ok(!moved.is_empty())
    }

    /// The batches that something is stored of and that are not finished.
    async fn unfinished(&self) -> Answer<Vec<BatchId>> {
        let sql = format!(
            "SELECT u.batch FROM (SELECT batch FROM batches UNION SELECT batch FROM batch_counts) u
             WHERE NOT {}",
            finished("u.batch")
        );
        let rows = self.db.query(&sql, &[]).await?;
        let batch = |row| Ok(Columns::new(row, 0).next::<Uuid>()?.into());
        rows.iter().map(batch).collect()
    }

    /// Begins a step, with the turn to write. What was begun before and not ended is
    /// undone with the connection.
    pub(super) async fn begin(&self) -> Answer<()> {
        repair::lock(&self.db).await
    }

    pub(super) async fn commit(&self) -> Answer<()> {
        self.db.batch("COMMIT").await
    }
}
