//! What is known of tasks.

use std::ops::RangeInclusive;

use homing_protocol::TaskId;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::Columns;
use super::fault::Answer;
use super::repair;
use super::session::{Parameter, Session};
use super::tail::first_since;
use super::text;
use crate::filter::{Filter, KindPattern};
use crate::position::Position;
use crate::record::{AttemptRecord, ConflictRecord, HISTORY_MAX, Record, TaskRecord};

/// Joins the contents `c` of a row `t` of `tasks`, which are elsewhere, or in the
/// row itself.
pub(super) const CONTENTS: &str =
    "LEFT JOIN contents c ON c.stored_at = t.content_at AND c.position = t.position";

/// Whether they were removed by age.
pub(super) const REMOVED: &str = "t.content_at IS NOT NULL AND c.position IS NULL";

/// The columns of [`Columns::report`] of a row `t` of `tasks` and its contents.
const OF_TASK: &str = "
    t.task, t.run, t.kind, t.status, t.attempt, t.attempts_max, t.attempt_id, t.digest, t.queue,
    t.batch, t.\"row\", t.correlation_id, t.submitted_at, t.started_at, t.waited_ms, t.run_us,
    t.worker, t.content_type, coalesce(c.error, t.error), t.reason, t.retry_at,
    coalesce(c.error_data, t.error_data), coalesce(c.payload, t.payload),
    coalesce(c.output, t.output)";

/// The same of a row `t` of `conflicts`.
const OF_CONFLICT: &str = "
    t.task, t.run, t.kind, t.status, t.attempt, t.attempts_max, t.attempt_id, t.digest, t.queue,
    t.batch, t.\"row\", t.correlation_id, t.submitted_at, t.started_at, t.waited_ms, t.run_us,
    t.worker, t.content_type, t.error, t.reason, t.retry_at, t.error_data, t.payload, t.output";

/// The same of an attempt `a` at the task `t`; of the task itself if `a` has no
/// row. A retrying attempt has no payload, whatever the task has by now.
pub(super) const OF_ATTEMPT: &str = "
    t.task, t.run, t.kind,
    CASE WHEN a.number IS NULL THEN t.status ELSE a.status END,
    CASE WHEN a.number IS NULL THEN t.attempt ELSE a.attempt END,
    CASE WHEN a.number IS NULL THEN t.attempts_max ELSE a.attempts_max END,
    CASE WHEN a.number IS NULL THEN t.attempt_id ELSE a.attempt_id END,
    t.digest,
    CASE WHEN a.number IS NULL THEN t.queue ELSE a.queue END,
    t.batch, t.\"row\", t.correlation_id, t.submitted_at,
    CASE WHEN a.number IS NULL THEN t.started_at ELSE a.started_at END,
    CASE WHEN a.number IS NULL THEN t.waited_ms ELSE a.waited_ms END,
    CASE WHEN a.number IS NULL THEN t.run_us ELSE a.run_us END,
    CASE WHEN a.number IS NULL THEN t.worker ELSE a.worker END,
    CASE WHEN a.number IS NULL THEN t.content_type ELSE a.content_type END,
    CASE WHEN a.number IS NULL THEN coalesce(c.error, t.error) ELSE a.error END,
    CASE WHEN a.number IS NULL THEN t.reason ELSE a.reason END,
    CASE WHEN a.number IS NULL THEN t.retry_at ELSE a.retry_at END,
    CASE WHEN a.number IS NULL THEN coalesce(c.error_data, t.error_data) ELSE a.error_data END,
    CASE WHEN a.status = 'retrying' THEN NULL ELSE coalesce(c.payload, t.payload) END,
    CASE WHEN a.number IS NULL THEN coalesce(c.output, t.output) ELSE a.output END";

/// The newest run of a task.
pub(crate) async fn record(db: &Session, id: TaskId) -> Answer<Option<Record>> {
    let sql = format!(
        "SELECT t.position, t.stored_at, {REMOVED}, {OF_TASK} FROM tasks t {CONTENTS}
         WHERE t.task = $1 ORDER BY t.run DESC LIMIT 1"
    );
    let found = db.query_opt(&sql, &[&id.as_uuid()]).await?;
    found.as_ref().map(to_record).transpose()
}

/// The tasks with ids in this range, the lowest first.
pub(crate) async fn between(
    db: &Session,
    ids: &RangeInclusive<TaskId>,
    limit: u32,
) -> Answer<Vec<TaskId>> {
    let sql = "SELECT DISTINCT task FROM tasks WHERE task BETWEEN $1 AND $2 ORDER BY task LIMIT $3";
    let (first, last) = (ids.start().as_uuid(), ids.end().as_uuid());
    let rows = db.query(sql, &[&first, &last, &i64::from(limit)]).await?;
    rows.iter().map(|row| Columns::new(row, 0).task()).collect()
}

/// All that is stored of a task.
pub(crate) async fn task(db: &Session, id: TaskId) -> Answer<Option<TaskRecord>> {
    let sql = format!(
        "SELECT t.position, t.stored_at, {REMOVED}, {OF_TASK} FROM tasks t {CONTENTS}
         WHERE t.task = $1 ORDER BY t.run DESC LIMIT {HISTORY_MAX}"
    );
    let runs = db.query(&sql, &[&id.as_uuid()]).await?;
    let mut runs = runs.iter().map(to_record);
    let Some(record) = runs.next() else {
        return Ok(None);
    };
    Ok(Some(TaskRecord {
        record: record?,
        earlier: runs.collect::<Answer<_>>()?,
        attempts: attempts(db, id).await?,
        conflicts: conflicts(db, id).await?,
        replays: repair::replays(db, id).await?,
    }))
}

async fn attempts(db: &Session, id: TaskId) -> Answer<Vec<AttemptRecord>> {
    let sql = format!(
        "SELECT a.stored_at, a.late, {OF_ATTEMPT}
         FROM attempts a JOIN tasks t ON t.task = a.task AND t.run = a.run {CONTENTS}
         WHERE a.task = $1 AND a.status <> 'pending' ORDER BY a.number LIMIT {HISTORY_MAX}"
    );
    let rows = db.query(&sql, &[&id.as_uuid()]).await?;
    let attempt = |row| {
        let mut columns = Columns::new(row, 0);
        Ok(AttemptRecord {
            stored_at: columns.time()?,
            late: columns.next()?,
            report: columns.report()?,
        })
    };
    rows.iter().map(attempt).collect()
}

async fn conflicts(db: &Session, id: TaskId) -> Answer<Vec<ConflictRecord>> {
    let sql = format!(
        "SELECT t.stored_at, {OF_CONFLICT} FROM conflicts t
         WHERE t.task = $1 ORDER BY t.number LIMIT {HISTORY_MAX}"
    );
    let rows = db.query(&sql, &[&id.as_uuid()]).await?;
    let conflict = |row| {
        let mut columns = Columns::new(row, 0);
        Ok(ConflictRecord {
            stored_at: columns.time()?,
            report: columns.report()?,
        })
    };
    rows.iter().map(conflict).collect()
}

/// The tasks that match at positions after `after` up to `until`, in their
/// order, and the position of the last.
pub(crate) async fn matching(
    db: &Session,
    filter: &Filter,
    after: Position,
    until: Position,
    limit: u32,
) -> Answer<(Vec<TaskId>, Position)> {
    let mut matching = newest(db, filter).await?;
    matching.add("t.position >", after.number());
    matching.add("t.position <=", until.number());
    let sql = format!(
        "SELECT t.position, t.task FROM tasks t
         WHERE {} ORDER BY t.position LIMIT {limit}",
        matching.sql()
    );
    let (mut tasks, mut position) = (Vec::new(), after);
    for row in db.query(&sql, &matching.values()).await? {
        let mut columns = Columns::new(&row, 0);
        position = Position::new(columns.next()?);
        tasks.push(columns.task()?);
    }
    Ok((tasks, position))
}

/// The tasks that match, the last stored first.
pub(crate) async fn list(db: &Session, filter: &Filter, limit: u32) -> Answer<Vec<Record>> {
    let matching = newest(db, filter).await?;
    let sql = format!(
        "SELECT t.position, t.stored_at, {REMOVED}, {OF_TASK} FROM tasks t {CONTENTS}
         WHERE {} ORDER BY t.position DESC LIMIT {limit}",
        matching.sql()
    );
    let rows = db.query(&sql, &matching.values()).await?;
    rows.iter().map(to_record).collect()
}

/// What chooses the newest runs that match.
async fn newest(db: &Session, filter: &Filter) -> Answer<Matching> {
    let mut matching = Matching::new(filter, "t");
    matching.all.push("t.newest".to_owned());
    if let Some(since) = filter.since {
        let first = first_since(db, "tasks", since).await?;
        matching.add("t.position >=", first);
    }
    Ok(matching)
}

/// A filter as SQL.
pub(super) struct Matching {
    all: Vec<String>,
    values: Vec<Parameter<'static>>,
}

impl Matching {
    pub(super) const fn everything() -> Self {
        Self {
            all: Vec::new(),
            values: Vec::new(),
        }
    }

    /// What `filter` says of kind, status and batch, with the status in the
    /// table `of` and the rest in `t`.
    pub(super) fn new(filter: &Filter, of: &str) -> Self {
        let mut matching = Self::everything();
        if let Some(kind) = &filter.kind {
            matching.kind("t", kind);
        }
        if let Some(batch) = filter.batch {
            matching.add("t.batch =", batch.as_uuid());
        }
        if filter.statuses.is_empty() {
            return matching;
        }
        let words = filter.statuses.iter().map(|status| format!("'{status}'"));
        let words = words.collect::<Vec<_>>().join(", ");
        matching.all.push(format!("{of}.status IN ({words})"));
        let succeeds =
            |status: &homing_protocol::Status| *status == homing_protocol::Status::Succeeded;
        if !filter.statuses.iter().any(succeeds) {
            // As the index on other statuses has it, or it is not used.
            matching.all.push(format!("{of}.status <> 'succeeded'"));
        }
        matching
    }

    /// The kind in the table `of` matches.
    pub(super) fn kind(&mut self, of: &str, pattern: &KindPattern) {
        match pattern {
            KindPattern::Is(kind) => {
                self.add(&format!("{of}.kind ="), text::stored(kind).into_owned());
            }
            KindPattern::StartsWith(prefix) => {
                let prefix = text::stored(prefix).into_owned();
                self.add(&format!("{of}.kind ^@"), prefix);
            }
        }
    }

    /// The `left` side of a condition, whose right side is `value`.
    pub(super) fn add(&mut self, left: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        self.all.push(format!("{left} ${}", self.values.len()));
    }

    /// A condition without a value.
    pub(super) fn also(&mut self, condition: &str) {
        self.all.push(condition.to_owned());
    }

    pub(super) fn sql(&self) -> String {
        if self.all.is_empty() {
            return "true".to_owned();
        }
        self.all.join(" AND ")
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        let values = self.values.iter();
        values
            .map(|value| &**value as &(dyn ToSql + Sync))
            .collect()
    }
}

/// A position, a time, whether its content was removed, and a report.
pub(super) fn to_record(row: &Row) -> Answer<Record> {
    let mut columns = Columns::new(row, 0);
    Ok(Record {
        position: Position::new(columns.next()?),
        stored_at: columns.time()?,
        removed: columns.next()?,
        report: columns.report()?,
    })
}
