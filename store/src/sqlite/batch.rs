//! Batches, and the tasks of one.

use homing_protocol::{BatchId, TaskId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns;
use super::fault::{Answer, Fault};
use crate::batch::{Batch, BatchRef};
use crate::position::Position;
use crate::stats::Counts;

/// The seal of a batch that was opened again after it says nothing any more.
const SELECT: &str = "
    SELECT batch, label, opened_at,
        iif(sealed_at >= coalesce(reopened_at, sealed_at), sealed_at, NULL),
        iif(sealed_at >= coalesce(reopened_at, sealed_at), total, NULL),
        max(coalesce(sealed_at, reopened_at), coalesce(reopened_at, sealed_at))
    FROM batches";

/// The last opened first.
const ORDER: &str = "ORDER BY coalesce(opened_at, sealed_at) DESC, batch DESC";

/// A batch, with its counts.
pub(crate) fn batch(db: &Connection, batch: &BatchRef) -> Answer<Option<Batch>> {
    match batch {
        BatchRef::Id(id) => by_id(db, *id),
        BatchRef::Label(label) => Ok(batches(db, Some(label), 1)?.pop()),
    }
}

fn by_id(db: &Connection, id: BatchId) -> Answer<Option<Batch>> {
    let known = db
        .prepare_cached(&format!("{SELECT} WHERE batch = ?1"))?
        .query_row([id.as_bytes()], to_batch)
        .optional()?;
    let counts = counts(db, id)?;
    // Outcomes may arrive before the record that the batch was opened.
    let unknown = || {
        (counts.total() > 0).then(|| Batch {
            id,
            label: String::new(),
            opened_at: None,
            sealed_at: None,
            recorded_at: None,
            total: None,
            counts,
        })
    };
    Ok(known
        .map(|known| Batch { counts, ..known })
        .or_else(unknown))
}

/// The batches there are records of, only those of `label` if there is one.
pub(crate) fn batches(db: &Connection, label: Option<&str>, limit: u32) -> Answer<Vec<Batch>> {
    let mut statement = db.prepare_cached(&match label {
        Some(_) => format!("{SELECT} WHERE label = ?1 {ORDER} LIMIT ?2"),
        None => format!("{SELECT} WHERE ?1 IS NULL {ORDER} LIMIT ?2"),
    })?;
    let found = statement.query_map(params![label, limit], to_batch)?;
    let mut batches = found.collect::<Result<Vec<_>, _>>()?;
    for batch in &mut batches {
        batch.counts = counts(db, batch.id)?;
    }
    Ok(batches)
}

fn to_batch(row: &Row<'_>) -> rusqlite::Result<Batch> {
    let id = columns::uuid_or_none(row, 0)?.ok_or_else(|| Fault::corrupt(0, "no id"))?;
    let total: Option<i64> = row.get(4)?;
    Ok(Batch {
        id: id.into(),
        label: row.get(1)?,
        opened_at: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_ms),
        sealed_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_ms),
        recorded_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_ms),
        total: total.map(i64::unsigned_abs),
        counts: Counts::default(),
    })
}

fn counts(db: &Connection, batch: BatchId) -> Answer<Counts> {
    let mut statement =
        db.prepare_cached("SELECT status, tasks FROM batch_counts WHERE batch = ?1")?;
    let mut rows = statement.query([batch.as_bytes()])?;
    let mut counts = Counts::default();
    while let Some(row) = rows.next()? {
        counts.set(columns::status(row, 0)?, columns::natural(row, 1)?);
    }
    Ok(counts)
}

/// The tasks of a batch at positions after `after`, and the last one's. A task
/// that changes moves to the end, so it may come twice but is never passed.
pub(crate) fn batch_tasks(
    db: &Connection,
    batch: BatchId,
    after: Position,
    limit: u32,
) -> Answer<(Vec<TaskId>, Position)> {
    let mut statement = db.prepare_cached(
        "SELECT position, task FROM tasks
         WHERE batch = ?1 AND position > ?2 ORDER BY position LIMIT ?3",
    )?;
    let mut rows = statement.query(params![batch.as_bytes(), after.number(), limit])?;
    let (mut tasks, mut position) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        position = Position::new(row.get(0)?);
        let id = columns::uuid_or_none(row, 1)?.ok_or_else(|| Fault::corrupt(1, "no id"))?;
        tasks.push(TaskId::from(id));
    }
    Ok((tasks, position))
}
