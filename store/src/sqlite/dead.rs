//! Dead letters: the messages themselves, with everything that came with them.

use homing_protocol::{DeadLetter, Run, TaskId, Timestamp};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::columns;
use super::fault::{Answer, Fault};
use super::repair;
use crate::filter::{DeadFilter, KindPattern};
use crate::letter;
use crate::record::{DeadLetterRecord, DeadRecord};

/// Stores `letter` whole. Answers false if it is stored already.
pub(super) fn insert(db: &Connection, letter: &DeadLetter, now: Timestamp) -> Answer<bool> {
    let received = &letter.received;
    let identity = letter::identity(letter);
    let task = letter.reports.first().map(|report| report.task);
    let changed = db
        .prepare_cached(
            "INSERT INTO dead_letters (identity, stored_at, reason, detail, queue, kind, task,
                 exchange, routing_key, properties, headers, deaths, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            identity.as_ref().map(|digest| &digest.as_bytes()[..]),
            now.as_ms(),
            letter.reason.as_str(),
            letter.detail,
            letter.queue,
            received.properties.kind,
            task.as_ref().map(|id| &id.as_bytes()[..]),
            received.exchange,
            received.routing_key,
            letter::properties(received).to_string(),
            letter::headers(&received.properties.headers).to_string(),
            letter::deaths(&received.deaths).to_string(),
            &received.body[..],
        ])?;
    if changed == 0 {
        return Ok(false);
    }
    let number = db.last_insert_rowid();
    for report in &letter.reports {
        link(db, number, report.task, report.run)?;
    }
    Ok(true)
}

/// Notes that this run of `task` is in the letter.
pub(super) fn link(db: &Connection, number: i64, task: TaskId, run: Run) -> Answer<()> {
    db.prepare_cached(
        "INSERT INTO dead_tasks (task, number, run) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?
    .execute(params![task.as_bytes(), number, run.get()])?;
    Ok(())
}

/// The columns of [`record`] of a letter `d`. How often its task died is known
/// of the first task in it.
const RECORD: &str = "
    d.number, d.stored_at, d.reason, d.detail, d.queue, d.kind,
    coalesce(d.task, (SELECT t.task FROM dead_tasks t WHERE t.number = d.number LIMIT 1)),
    length(d.body),
    (SELECT count(DISTINCT earlier.number) FROM dead_tasks here
     JOIN dead_tasks earlier ON earlier.task = here.task AND earlier.number <= here.number
     WHERE here.number = d.number),
    (SELECT count(*) FROM dead_tasks t WHERE t.number = d.number),
    d.discarded IS NOT NULL";

/// The dead letters that match, the last stored first.
pub(crate) fn dead(db: &Connection, filter: &DeadFilter, limit: u32) -> Answer<Vec<DeadRecord>> {
    let (condition, values) = matching(filter);
    let sql = format!(
        "SELECT {RECORD} FROM dead_letters d
         WHERE {condition} ORDER BY d.number DESC LIMIT {limit}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let records = statement.query_map(params_from_iter(values), record)?;
    Ok(records.collect::<Result<_, _>>()?)
}

/// A filter as SQL.
fn matching(filter: &DeadFilter) -> (String, Vec<SqlValue>) {
    let (mut all, mut values) = (vec!["true".to_owned()], Vec::<SqlValue>::new());
    let mut add = |condition: String, value: SqlValue| {
        all.push(condition);
        values.push(value);
    };
    if let Some(reason) = filter.reason {
        add("d.reason = ?".to_owned(), reason.as_str().to_owned().into());
    }
    match &filter.kind {
        None => {}
        Some(KindPattern::Is(kind)) => add("d.kind = ?".to_owned(), kind.clone().into()),
        Some(KindPattern::StartsWith(prefix)) => {
            let length = prefix.chars().count();
            add(
                format!("substr(d.kind, 1, {length}) = ?"),
                prefix.clone().into(),
            );
        }
    }
    if let Some(since) = filter.since {
        add("d.stored_at >= ?".to_owned(), since.as_ms().into());
    }
    if !filter.discarded {
        all.push("d.discarded IS NULL".to_owned());
    }
    (all.join(" AND "), values)
}

/// One dead letter, whole.
pub(crate) fn dead_letter(db: &Connection, number: u64) -> Answer<Option<DeadLetterRecord>> {
    let sql = format!(
        "SELECT {RECORD}, d.exchange, d.routing_key, d.properties, d.headers, d.deaths, d.body,
             d.discarded
         FROM dead_letters d WHERE d.number = ?1"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement
        .query_row([columns::integer(number)], |row| {
            let letter = DeadLetterRecord {
                record: record(row)?,
                exchange: row.get(11)?,
                routing_key: row.get(12)?,
                properties: row.get(13)?,
                headers: row.get(14)?,
                deaths: row.get(15)?,
                body: row.get::<_, Vec<u8>>(16)?.into(),
                tasks: Vec::new(),
                discarded: None,
            };
            Ok((letter, row.get::<_, Option<i64>>(17)?))
        })
        .optional()?;
    let Some((mut letter, discarded)) = found else {
        return Ok(None);
    };
    letter.tasks = tasks(db, number)?;
    letter.discarded = discarded
        .map(|repair| repair::repair(db, repair))
        .transpose()?;
    Ok(Some(letter))
}

/// The tasks in a letter, each with the run that ended in it.
fn tasks(db: &Connection, number: u64) -> Answer<Vec<(TaskId, Run)>> {
    let mut statement =
        db.prepare_cached("SELECT task, run FROM dead_tasks WHERE number = ?1 ORDER BY task")?;
    let tasks = statement.query_map([columns::integer(number)], |row| {
        Ok((columns::task(row, 0)?, columns::run(row, 1)?))
    })?;
    Ok(tasks.collect::<Result<_, _>>()?)
}

/// Removes the content of the letter, and that of the runs that ended in it.
/// Answers false if there is no such letter, or it is discarded already.
pub(super) fn discard(db: &Connection, number: u64, repair: i64) -> Answer<bool> {
    let number = columns::integer(number);
    let changed = db
        .prepare_cached(
            "UPDATE dead_letters SET discarded = ?2, body = x'', headers = '[]', properties = '{}'
             WHERE number = ?1 AND discarded IS NULL",
        )?
        .execute([number, repair])?;
    // Earlier runs have the same payload.
    db.prepare_cached(
        "UPDATE tasks SET payload = NULL
         WHERE ?2 AND (task, run) IN (
             SELECT t.task, t.run FROM dead_tasks d JOIN tasks t
             ON t.task = d.task AND t.run <= d.run WHERE d.number = ?1)",
    )?
    .execute(params![number, changed > 0])?;
    Ok(changed > 0)
}

fn record(row: &Row<'_>) -> rusqlite::Result<DeadRecord> {
    let reason = columns::reason(row, 2)?;
    Ok(DeadRecord {
        number: columns::natural(row, 0)?,
        stored_at: Timestamp::from_ms(row.get(1)?),
        reason: reason.ok_or_else(|| Fault::corrupt(2, "no reason"))?,
        detail: row.get(3)?,
        queue: row.get(4)?,
        kind: row.get(5)?,
        task: columns::uuid_or_none(row, 6)?.map(TaskId::from),
        bytes: columns::natural(row, 7)?,
        death: columns::natural(row, 8)?,
        tasks: columns::natural(row, 9)?,
        discarded: row.get(10)?,
    })
}
