//! Dead letters: the messages themselves, with everything that came with them.

use homing_protocol::{DeadLetter, Digest, Run, TaskId, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{Columns, integer};
use super::fault::{Answer, Fault};
use super::query::Matching;
use super::repair;
use super::session::{Session, Step};
use super::text::stored;
use crate::filter::DeadFilter;
use crate::letter;
use crate::record::{DeadLetterRecord, DeadRecord};

/// Stores a letter whole, that is not stored yet, with the tasks in it.
pub(super) fn insert<'a>(
    dead: &'a DeadLetter,
    identity: Option<&Digest>,
    now: Timestamp,
) -> Step<'a> {
    let sql = "WITH letter AS (
            INSERT INTO dead_letters (identity, stored_at, reason, detail, queue, kind, task,
                exchange, routing_key, properties, headers, deaths, body)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            RETURNING number)
        INSERT INTO dead_tasks (task, number, run)
        SELECT t.task, letter.number, t.run
        FROM letter, unnest($14::uuid[], $15::bigint[]) t (task, run)
        ON CONFLICT DO NOTHING";
    let received = &dead.received;
    let tasks = || dead.reports.iter();
    Step::new(sql)
        .with(identity.map(|digest| digest.as_bytes().to_vec()))
        .with(now.as_ms())
        .with(dead.reason.as_str())
        .with(stored(&dead.detail))
        .with(stored(&dead.queue))
        .with(received.properties.kind.as_deref().map(stored))
        .with(tasks().next().map(|report| report.task.as_uuid()))
        .with(stored(&received.exchange))
        .with(stored(&received.routing_key))
        .with(stored(&letter::properties(received).to_string()).into_owned())
        .with(stored(&letter::headers(&received.properties.headers).to_string()).into_owned())
        .with(stored(&letter::deaths(&received.deaths).to_string()).into_owned())
        .with(&received.body[..])
        .with(
            tasks()
                .map(|report| report.task.as_uuid())
                .collect::<Vec<_>>(),
        )
        .with(
            tasks()
                .map(|report| i64::from(report.run.get()))
                .collect::<Vec<_>>(),
        )
}

/// Notes that this run of `task` is in the letter.
pub(super) async fn link(db: &Session, number: i64, task: TaskId, run: Run) -> Answer<()> {
    let sql = "INSERT INTO dead_tasks (task, number, run) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING";
    let run = i64::from(run.get());
    db.query(sql, &[&task.as_uuid(), &number, &run]).await?;
    Ok(())
}

/// The columns of [`record`] of a letter `d`. How often its task died is known
/// of the first task in it.
const RECORD: &str = "
    d.number, d.stored_at, d.reason, d.detail, d.queue, d.kind,
    coalesce(d.task, (SELECT t.task FROM dead_tasks t WHERE t.number = d.number
                      ORDER BY t.task LIMIT 1)),
    length(d.body)::bigint,
    (SELECT count(DISTINCT earlier.number) FROM dead_tasks here
     JOIN dead_tasks earlier ON earlier.task = here.task AND earlier.number <= here.number
     WHERE here.number = d.number),
    (SELECT count(*) FROM dead_tasks t WHERE t.number = d.number),
    d.discarded IS NOT NULL";

/// The dead letters that match, the last stored first.
pub(crate) async fn dead(db: &Session, filter: &DeadFilter, limit: u32) -> Answer<Vec<DeadRecord>> {
    let matching = matching(filter);
    let sql = format!(
        "SELECT {RECORD} FROM dead_letters d
         WHERE {} ORDER BY d.number DESC LIMIT {limit}",
        matching.sql()
    );
    let rows = db.query(&sql, &matching.values()).await?;
    let record = |row| record(&mut Columns::new(row, 0));
    rows.iter().map(record).collect()
}

/// A filter as SQL.
fn matching(filter: &DeadFilter) -> Matching {
    let mut matching = Matching::everything();
    if let Some(reason) = filter.reason {
        matching.add("d.reason =", reason.as_str());
    }
    if let Some(kind) = &filter.kind {
        matching.kind("d", kind);
    }
    if let Some(since) = filter.since {
        matching.add("d.stored_at >=", since.as_ms());
    }
    if !filter.discarded {
        matching.also("d.discarded IS NULL");
    }
    matching
}

/// One dead letter, whole.
pub(crate) async fn dead_letter(db: &Session, number: u64) -> Answer<Option<DeadLetterRecord>> {
    let sql = format!(
        "SELECT {RECORD}, d.exchange, d.routing_key, d.properties, d.headers, d.deaths, d.body,
             d.discarded
         FROM dead_letters d WHERE d.number = $1"
    );
    let Some(row) = db.query_opt(&sql, &[&integer(number)]).await? else {
        return Ok(None);
    };
    let (mut letter, discarded) = whole(&row)?;
    letter.tasks = tasks(db, number).await?;
    if let Some(repair) = discarded {
        letter.discarded = Some(repair::repair(db, repair).await?);
    }
    Ok(Some(letter))
}

/// A letter without its tasks, and the number of the repair that discarded it.
fn whole(row: &Row) -> Answer<(DeadLetterRecord, Option<i64>)> {
    let mut columns = Columns::new(row, 0);
    let letter = DeadLetterRecord {
        record: record(&mut columns)?,
        exchange: columns.text()?,
        routing_key: columns.text()?,
        properties: columns.text()?,
        headers: columns.text()?,
        deaths: columns.text()?,
        body: columns.bytes()?,
        tasks: Vec::new(),
        discarded: None,
    };
    Ok((letter, columns.next()?))
}

/// The tasks in a letter, each with the run that ended in it.
async fn tasks(db: &Session, number: u64) -> Answer<Vec<(TaskId, Run)>> {
    let sql = "SELECT task, run FROM dead_tasks WHERE number = $1 ORDER BY task";
    let rows = db.query(sql, &[&integer(number)]).await?;
    let task = |row| {
        let mut columns = Columns::new(row, 0);
        Ok((columns.task()?, columns.run()?))
    };
    rows.iter().map(task).collect()
}

/// Removes the content of the letter, and that of the runs that ended in it.
/// Answers false if there is no such letter, or it is discarded already.
pub(super) async fn discard(db: &Session, number: u64, repair: i64) -> Answer<bool> {
    let number = integer(number);
    let sql = "UPDATE dead_letters SET discarded = $2, body = '', headers = '[]', properties = '{}'
        WHERE number = $1 AND discarded IS NULL RETURNING number";
    let changed = db.query(sql, &[&number, &repair]).await?;
    if changed.is_empty() {
        return Ok(false);
    }
    // Earlier runs have the same payload.
    for sql in [
        "UPDATE tasks t SET payload = NULL FROM dead_tasks d
         WHERE d.number = $1 AND t.task = d.task AND t.run <= d.run",
        "UPDATE contents c SET payload = NULL FROM dead_tasks d, tasks t
         WHERE d.number = $1 AND t.task = d.task AND t.run <= d.run
           AND c.stored_at = t.content_at AND c.position = t.position",
    ] {
        db.query(sql, &[&number]).await?;
    }
    Ok(true)
}

fn record(columns: &mut Columns<'_>) -> Answer<DeadRecord> {
    Ok(DeadRecord {
        number: columns.natural()?,
        stored_at: columns.time()?,
        reason: columns
            .reason()?
            .ok_or_else(|| Fault::corrupt("no reason"))?,
        detail: columns.text()?,
        queue: columns.text()?,
        kind: columns.text_or_none()?,
        task: columns.next::<Option<Uuid>>()?.map(TaskId::from),
        bytes: columns.natural()?,
        death: columns.natural()?,
        tasks: columns.natural()?,
        discarded: columns.next()?,
    })
}
