//! What is stored of a batch, row by row.

use homing_protocol::{BatchId, IdSum, TaskId};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::batch::batch;
use super::columns;
use super::fault::{Answer, Fault};
use crate::audit::{BatchAudit, Counting, LoneAudit, Unclosed};
use crate::batch::BatchRef;

/// What is stored of a batch, `None` if that is nothing.
pub(crate) fn audit_batch(db: &Connection, name: &BatchRef) -> Answer<Option<BatchAudit>> {
    let Some(batch) = batch(db, name)? else {
        return Ok(None);
    };
    let mut statement = db.prepare_cached(
        "SELECT task, \"row\", status FROM tasks WHERE batch = ?1 AND newest ORDER BY \"row\"",
    )?;
    let mut rows = statement.query([batch.id.as_bytes()])?;
    let mut counting = Counting::default();
    while let Some(row) = rows.next()? {
        counting.note(to_unclosed(row)?);
    }
    let sealed = sealed_ids(db, batch.id)?;
    Ok(Some(counting.end(batch, sealed)))
}

/// The ids of its tasks, as its producer says.
fn sealed_ids(db: &Connection, batch: BatchId) -> Answer<Option<IdSum>> {
    let ids: Option<[u8; 16]> = db
        .prepare_cached("SELECT ids FROM batches WHERE batch = ?1")?
        .query_row([batch.as_bytes()], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(ids.map(IdSum::from))
}

/// Every batch that something is stored of, its record or a task, the newest
/// first: ids begin with the time.
pub(crate) fn known_batches(db: &Connection) -> Answer<Vec<BatchId>> {
    let mut statement = db.prepare_cached(
        "SELECT batch FROM batches UNION SELECT batch FROM batch_counts ORDER BY batch DESC",
    )?;
    let mut rows = statement.query([])?;
    let mut batches = Vec::new();
    while let Some(row) = rows.next()? {
        let id = columns::uuid_or_none(row, 0)?.ok_or_else(|| Fault::corrupt(0, "no id"))?;
        batches.push(id.into());
    }
    Ok(batches)
}

/// What is stored of the tasks that are in no batch.
pub(crate) fn audit_lone(db: &Connection) -> Answer<LoneAudit> {
    let closed = "SELECT count(*) FROM tasks
        WHERE batch IS NULL AND newest AND status NOT IN ('pending', 'retrying')";
    let mut statement = db.prepare_cached(
        "SELECT task, \"row\", status FROM tasks INDEXED BY tasks_other
         WHERE batch IS NULL AND newest AND status IN ('pending', 'retrying')
           AND status <> 'succeeded'
         ORDER BY position",
    )?;
    let unclosed = statement.query_map([], to_unclosed)?;
    Ok(LoneAudit {
        unclosed: unclosed.collect::<Result<_, _>>()?,
        closed: db
            .prepare_cached(closed)?
            .query_row([], |row| columns::natural(row, 0))?,
    })
}

/// Those of `tasks` without an answer, in the same order.
pub(crate) fn unclosed(db: &Connection, tasks: &[TaskId]) -> Answer<Vec<Unclosed>> {
    let mut statement = db.prepare_cached(
        "SELECT task, \"row\", status FROM tasks WHERE task = ?1 ORDER BY run DESC LIMIT 1",
    )?;
    let mut found = Vec::new();
    for task in tasks {
        let row = statement.query_row([task.as_bytes()], to_unclosed);
        let stored = row.optional()?.unwrap_or(Unclosed::nothing(*task));
        if !stored.is_closed() {
            found.push(stored);
        }
    }
    Ok(found)
}

fn to_unclosed(row: &Row<'_>) -> rusqlite::Result<Unclosed> {
    let task = columns::uuid_or_none(row, 0)?.ok_or_else(|| Fault::corrupt(0, "no id"))?;
    let number: Option<i64> = row.get(1)?;
    Ok(Unclosed {
        task: task.into(),
        row: number.map(i64::unsigned_abs),
        status: Some(columns::status(row, 2)?),
    })
}
