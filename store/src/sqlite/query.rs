//! What is known of tasks.

use std::ops::RangeInclusive;

use homing_protocol::{TaskId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use super::columns;
use super::fault::Answer;
use super::repair;
use super::tail::first_since;
use crate::filter::{Filter, KindPattern};
use crate::position::Position;
use crate::record::{AttemptRecord, ConflictRecord, HISTORY_MAX, Record, TaskRecord};

/// The columns of [`columns::report`] of a row `t` of `tasks` or `conflicts`.
const OF_TASK: &str = "
    t.task, t.run, t.kind, t.status, t.attempt, t.attempts_max, t.attempt_id, t.digest, t.queue,
    t.batch, t.\"row\", t.correlation_id, t.submitted_at, t.started_at, t.waited_ms, t.run_us,
    t.worker, t.content_type, t.error, t.reason, t.retry_at, t.error_data, t.payload, t.output";

/// The same of an attempt `a` at the task `t`; of the task itself if `a` has no
/// row. A retrying attempt has no payload, whatever the task has by now.
pub(super) const OF_ATTEMPT: &str = "
    t.task, t.run, t.kind,
    iif(a.number IS NULL, t.status, a.status),
    iif(a.number IS NULL, t.attempt, a.attempt),
    iif(a.number IS NULL, t.attempts_max, a.attempts_max),
    iif(a.number IS NULL, t.attempt_id, a.attempt_id),
    t.digest,
    iif(a.number IS NULL, t.queue, a.queue),
    t.batch, t.\"row\", t.correlation_id, t.submitted_at,
    iif(a.number IS NULL, t.started_at, a.started_at),
    iif(a.number IS NULL, t.waited_ms, a.waited_ms),
    iif(a.number IS NULL, t.run_us, a.run_us),
    iif(a.number IS NULL, t.worker, a.worker),
    iif(a.number IS NULL, t.content_type, a.content_type),
    iif(a.number IS NULL, t.error, a.error),
    iif(a.number IS NULL, t.reason, a.reason),
    iif(a.number IS NULL, t.retry_at, a.retry_at),
    iif(a.number IS NULL, t.error_data, a.error_data),
    iif(a.status = 'retrying', NULL, t.payload),
    iif(a.number IS NULL, t.output, a.output)";

/// Whether the content of a row `t` of `tasks` was removed by age.
pub(super) const REMOVED: &str = "t.content_at IS NOT NULL";

/// The newest run of a task.
pub(crate) fn record(db: &Connection, id: TaskId) -> Answer<Option<Record>> {
    let sql = format!(
        "SELECT t.position, t.stored_at, {REMOVED}, {OF_TASK} FROM tasks t
         WHERE t.task = ?1 ORDER BY t.run DESC LIMIT 1"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_row([id.as_bytes()], to_record).optional();
    Ok(found?)
}

/// The tasks with ids in this range, the lowest first.
pub(crate) fn between(
    db: &Connection,
    ids: &RangeInclusive<TaskId>,
    limit: u32,
) -> Answer<Vec<TaskId>> {
    let sql = "SELECT DISTINCT task FROM tasks WHERE task BETWEEN ?1 AND ?2 ORDER BY task LIMIT ?3";
    let mut statement = db.prepare_cached(sql)?;
    let range = (ids.start().as_bytes(), ids.end().as_bytes(), limit);
    let tasks = statement.query_map(range, |row| columns::task(row, 0))?;
    Ok(tasks.collect::<Result<_, _>>()?)
}

/// All that is stored of a task.
pub(crate) fn task(db: &Connection, id: TaskId) -> Answer<Option<TaskRecord>> {
    let sql = format!(
        "SELECT t.position, t.stored_at, {REMOVED}, {OF_TASK} FROM tasks t
         WHERE t.task = ?1 ORDER BY t.run DESC LIMIT {HISTORY_MAX}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let runs = statement.query_map([id.as_bytes()], to_record)?;
    let mut runs = runs.collect::<Result<Vec<_>, _>>()?.into_iter();
    let Some(record) = runs.next() else {
        return Ok(None);
    };
    Ok(Some(TaskRecord {
        record,
        earlier: runs.collect(),
        attempts: attempts(db, id)?,
        conflicts: conflicts(db, id)?,
        replays: repair::replays(db, id)?,
    }))
}

fn attempts(db: &Connection, id: TaskId) -> Answer<Vec<AttemptRecord>> {
    let sql = format!(
        "SELECT a.stored_at, a.late, {OF_ATTEMPT}
         FROM attempts a JOIN tasks t ON t.task = a.task AND t.run = a.run
         WHERE a.task = ?1 AND a.status <> 'pending' ORDER BY a.number LIMIT {HISTORY_MAX}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let attempts = statement.query_map([id.as_bytes()], |row| {
        Ok(AttemptRecord {
            stored_at: Timestamp::from_ms(row.get(0)?),
            late: row.get(1)?,
            report: columns::report(row, 2)?,
        })
    })?;
    Ok(attempts.collect::<Result<_, _>>()?)
}

fn conflicts(db: &Connection, id: TaskId) -> Answer<Vec<ConflictRecord>> {
    let sql = format!(
        "SELECT t.stored_at, {OF_TASK} FROM conflicts t
         WHERE t.task = ?1 ORDER BY t.number LIMIT {HISTORY_MAX}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let conflicts = statement.query_map([id.as_bytes()], |row| {
        Ok(ConflictRecord {
            stored_at: Timestamp::from_ms(row.get(0)?),
            report: columns::report(row, 1)?,
        })
    })?;
    Ok(conflicts.collect::<Result<_, _>>()?)
}

/// The tasks that match at positions after `after` up to `until`, in their
/// order, and the position of the last.
pub(crate) fn matching(
    db: &Connection,
    filter: &Filter,
    after: Position,
    until: Position,
    limit: u32,
) -> Answer<(Vec<TaskId>, Position)> {
    let (mut matching, order) = newest(db, filter)?;
    matching.add("t.position > ?", after.number().into());
    matching.add("t.position <= ?", until.number().into());
    let sql = format!(
        "SELECT t.position, t.task FROM tasks t {order}
         WHERE {} ORDER BY t.position LIMIT {limit}",
        matching.sql()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(matching.values))?;
    let (mut tasks, mut position) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        position = Position::new(row.get(0)?);
        tasks.push(columns::task(row, 1)?);
    }
    Ok((tasks, position))
}

/// The tasks that match, the last stored first.
pub(crate) fn list(db: &Connection, filter: &Filter, limit: u32) -> Answer<Vec<Record>> {
    let (matching, order) = newest(db, filter)?;
    let sql = format!(
        "SELECT t.position, t.stored_at, {REMOVED}, {OF_TASK} FROM tasks t {order}
         WHERE {} ORDER BY t.position DESC LIMIT {limit}",
        matching.sql()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let records = statement.query_map(params_from_iter(matching.values), to_record)?;
    Ok(records.collect::<Result<_, _>>()?)
}

/// What chooses the newest runs that match, and the index to do it by.
fn newest(db: &Connection, filter: &Filter) -> Answer<(Matching, &'static str)> {
    let mut matching = Matching::new(filter, "t");
    matching.all.push("t.newest".to_owned());
    if let Some(since) = filter.since {
        let first = first_since(db, "tasks", since)?;
        matching.add("t.position >= ?", first.into());
    }
    Ok((matching, index(filter)))
}

/// The index by which to find what did not succeed, if only that is asked for: SQLite
/// does not know that it is little.
fn index(filter: &Filter) -> &'static str {
    if !is_of_others(filter) {
        return "";
    }
    match (filter.batch, &filter.kind) {
        (Some(_), _) => "INDEXED BY tasks_other_batch",
        (None, Some(KindPattern::Is(_))) => "INDEXED BY tasks_other_kind",
        (None, _) => "INDEXED BY tasks_other",
    }
}

/// A filter as SQL.
pub(super) struct Matching {
    all: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Matching {
    /// What `filter` says of kind, status and batch, with the status in the
    /// table `of` and the rest in `t`.
    pub(super) fn new(filter: &Filter, of: &str) -> Self {
        let mut matching = Self {
            all: Vec::new(),
            values: Vec::new(),
        };
        match &filter.kind {
            None => {}
            Some(KindPattern::Is(kind)) => matching.add("t.kind = ?", kind.clone().into()),
            Some(KindPattern::StartsWith(prefix)) => {
                let length = prefix.chars().count();
                let condition = format!("substr(t.kind, 1, {length}) = ?");
                matching.add(&condition, prefix.clone().into());
            }
        }
        if let Some(batch) = filter.batch {
            matching.add("t.batch = ?", batch.as_bytes().to_vec().into());
        }
        if !filter.statuses.is_empty() {
            let words = filter.statuses.iter().map(|status| format!("'{status}'"));
            let words = words.collect::<Vec<_>>().join(", ");
            matching.all.push(format!("{of}.status IN ({words})"));
        }
        if is_of_others(filter) {
            // As the index on other statuses has it, or it is not used.
            matching.all.push(format!("{of}.status <> 'succeeded'"));
        }
        matching
    }

    pub(super) fn add(&mut self, condition: &str, value: Value) {
        self.all.push(condition.to_owned());
        self.values.push(value);
    }

    pub(super) fn sql(&self) -> String {
        if self.all.is_empty() {
            return "true".to_owned();
        }
        self.all.join(" AND ")
    }
}

/// Whether only what did not succeed is asked for.
fn is_of_others(filter: &Filter) -> bool {
    let statuses = &filter.statuses;
    !statuses.is_empty() && !statuses.contains(&homing_protocol::Status::Succeeded)
}

/// A position, a time, whether its content was removed, and a report.
pub(super) fn to_record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        position: Position::new(row.get(0)?),
        stored_at: Timestamp::from_ms(row.get(1)?),
        removed: row.get(2)?,
        report: columns::report(row, 3)?,
    })
}
