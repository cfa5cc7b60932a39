//! What is stored of a batch, row by row.

use std::pin::pin;

use futures::TryStreamExt as _;
use homing_protocol::{BatchId, IdSum, TaskId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::batch::batch;
use super::columns::Columns;
use super::fault::{Answer, Fault};
use super::session::Session;
use crate::audit::{BatchAudit, Counting, LoneAudit, Unclosed};
use crate::batch::BatchRef;

/// What is stored of a batch, `None` if that is nothing.
pub(crate) async fn audit_batch(db: &Session, name: &BatchRef) -> Answer<Option<BatchAudit>> {
    let Some(batch) = batch(db, name).await? else {
        return Ok(None);
    };
    let mut counting = Counting::default();
    let sql = "SELECT task, \"row\", status FROM tasks
        WHERE batch = $1 AND newest ORDER BY \"row\" NULLS FIRST";
    let mut rows = pin!(db.stream(sql, &[&batch.id.as_uuid()]).await?);
    while let Some(row) = rows.try_next().await? {
        counting.note(to_unclosed(&row)?);
    }
    let sealed = sealed_ids(db, batch.id).await?;
    Ok(Some(counting.end(batch, sealed)))
}

/// The ids of its tasks, as its producer says.
async fn sealed_ids(db: &Session, batch: BatchId) -> Answer<Option<IdSum>> {
    let sql = "SELECT ids FROM batches WHERE batch = $1";
    let Some(row) = db.query_opt(sql, &[&batch.as_uuid()]).await? else {
        return Ok(None);
    };
    let Some(ids) = row.try_get::<_, Option<&[u8]>>(0)? else {
        return Ok(None);
    };
    let ids = <[u8; 16]>::try_from(ids).map_err(|_| Fault::corrupt("no sum of ids"))?;
    Ok(Some(IdSum::from(ids)))
}

/// Every batch that something is stored of, its record or a task, the newest
/// first: ids begin with the time.
pub(crate) async fn known_batches(db: &Session) -> Answer<Vec<BatchId>> {
    let sql = "SELECT batch FROM batches UNION SELECT batch FROM batch_counts ORDER BY batch DESC";
    let rows = db.query(sql, &[]).await?;
    let id = |row| Ok(Columns::new(row, 0).next::<Uuid>()?.into());
    rows.iter().map(id).collect()
}

/// What is stored of the tasks that are in no batch.
pub(crate) async fn audit_lone(db: &Session) -> Answer<LoneAudit> {
    let unclosed = "SELECT task, \"row\", status FROM tasks
        WHERE batch IS NULL AND newest AND status IN ('pending', 'retrying')
          AND status <> 'succeeded'
        ORDER BY position";
    let unclosed = db.query(unclosed, &[]).await?;
    let closed = "SELECT count(*) FROM tasks
        WHERE batch IS NULL AND newest AND status NOT IN ('pending', 'retrying')";
    let closed = db.query_one(closed, &[]).await?;
    Ok(LoneAudit {
        closed: Columns::new(&closed, 0).natural()?,
        unclosed: unclosed.iter().map(to_unclosed).collect::<Answer<_>>()?,
    })
}

/// Those of `tasks` without an answer, in the same order.
pub(crate) async fn unclosed(db: &Session, tasks: &[TaskId]) -> Answer<Vec<Unclosed>> {
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.as_uuid()).collect();
    let sql = "SELECT k.task, t.\"row\", t.status
        FROM unnest($1::uuid[]) WITH ORDINALITY k (task, at)
        LEFT JOIN LATERAL (
            SELECT \"row\", status FROM tasks WHERE task = k.task ORDER BY run DESC LIMIT 1
        ) t ON true
        ORDER BY k.at";
    let mut found = Vec::new();
    for row in db.query(sql, &[&ids]).await? {
        let stored = match row.try_get::<_, Option<&str>>(2)? {
            Some(_) => to_unclosed(&row)?,
            None => Unclosed::nothing(Columns::new(&row, 0).task()?),
        };
        if !stored.is_closed() {
            found.push(stored);
        }
    }
    Ok(found)
}

fn to_unclosed(row: &Row) -> Answer<Unclosed> {
    let mut columns = Columns::new(row, 0);
    Ok(Unclosed {
        task: columns.task()?,
        row: columns.natural_or_none()?,
        status: Some(columns.status()?),
    })
}
