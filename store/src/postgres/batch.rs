//! Batches, and the tasks of one.

use homing_protocol::{BatchId, TaskId};
use tokio_postgres::Row;

use super::columns::Columns;
use super::fault::Answer;
use super::session::Session;
use super::text;
use crate::batch::{Batch, BatchRef};
use crate::position::Position;
use crate::stats::Counts;

/// The seal of a batch that was opened again after it says nothing any more.
const SELECT: &str = "
    SELECT batch, label, opened_at,
        CASE WHEN sealed_at >= coalesce(reopened_at, sealed_at) THEN sealed_at END,
        CASE WHEN sealed_at >= coalesce(reopened_at, sealed_at) THEN total END,
        greatest(sealed_at, reopened_at)
    FROM batches";

/// The last opened first.
const ORDER: &str = "ORDER BY coalesce(opened_at, sealed_at) DESC, batch DESC";

/// A batch, with its counts.
pub(crate) async fn batch(db: &Session, batch: &BatchRef) -> Answer<Option<Batch>> {
    match batch {
        BatchRef::Id(id) => by_id(db, *id).await,
        BatchRef::Label(label) => Ok(batches(db, Some(label), 1).await?.pop()),
    }
}

async fn by_id(db: &Session, id: BatchId) -> Answer<Option<Batch>> {
    let sql = format!("{SELECT} WHERE batch = $1");
    let known = db.query_opt(&sql, &[&id.as_uuid()]).await?;
    let counts = counts(db, id).await?;
    let Some(known) = known else {
        // Outcomes may arrive before the record that the batch was opened.
        return Ok((counts.total() > 0).then(|| Batch::unrecorded(id, counts)));
    };
    Ok(Some(Batch {
        counts,
        ..to_batch(&known)?
    }))
}

/// The batches there are records of, only those of `label` if there is one.
pub(crate) async fn batches(db: &Session, label: Option<&str>, limit: u32) -> Answer<Vec<Batch>> {
    let rows = match label.map(text::stored) {
        Some(label) => {
            let sql = format!("{SELECT} WHERE label = $1 {ORDER} LIMIT {limit}");
            db.query(&sql, &[&label]).await?
        }
        None => {
            db.query(&format!("{SELECT} {ORDER} LIMIT {limit}"), &[])
                .await?
        }
    };
    let mut batches = Vec::new();
    for row in &rows {
        let batch = to_batch(row)?;
        let counts = counts(db, batch.id).await?;
        batches.push(Batch { counts, ..batch });
    }
    Ok(batches)
}

fn to_batch(row: &Row) -> Answer<Batch> {
    let mut columns = Columns::new(row, 0);
    let id = columns.next::<uuid::Uuid>()?.into();
    Ok(Batch {
        label: columns.text()?,
        opened_at: columns.time_or_none()?,
        sealed_at: columns.time_or_none()?,
        total: columns.natural_or_none()?,
        recorded_at: columns.time_or_none()?,
        ..Batch::unrecorded(id, Counts::default())
    })
}

async fn counts(db: &Session, batch: BatchId) -> Answer<Counts> {
    let sql = "SELECT status, tasks FROM batch_counts WHERE batch = $1";
    let mut counts = Counts::default();
    for row in db.query(sql, &[&batch.as_uuid()]).await? {
        let mut columns = Columns::new(&row, 0);
        counts.set(columns.status()?, columns.natural()?);
    }
    Ok(counts)
}

/// The tasks of a batch at positions after `after`, and the last one's. A task
/// that changes moves to the end, so it may come twice but is never passed.
pub(crate) async fn batch_tasks(
    db: &Session,
    batch: BatchId,
    after: Position,
    limit: u32,
) -> Answer<(Vec<TaskId>, Position)> {
    let sql = format!(
        "SELECT position, task FROM tasks
         WHERE batch = $1 AND position > $2 ORDER BY position LIMIT {limit}"
    );
    let (mut tasks, mut position) = (Vec::new(), after);
    for row in db.query(&sql, &[&batch.as_uuid(), &after.number()]).await? {
        let mut columns = Columns::new(&row, 0);
        position = Position::new(columns.next()?);
        tasks.push(columns.task()?);
    }
    Ok((tasks, position))
}
