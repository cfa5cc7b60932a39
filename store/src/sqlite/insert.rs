//! The statements that put reports and batch records into their tables.

use homing_protocol::{BatchEvent, BatchRecord, ContentType, IdSum, Report, Timestamp, to_json};
use rusqlite::{Connection, Statement, ToSql, params};

use super::columns::integer;
use super::fault::Answer;

/// The columns of a row of `tasks`.
const TASK: [&str; 28] = [
    "position",
    "stored_at",
    "task",
    "run",
    "kind",
    "status",
    "attempt",
    "attempts_max",
    "attempt_id",
    "digest",
    "queue",
    "batch",
    "\"row\"",
    "correlation_id",
    "submitted_at",
    "started_at",
    "waited_ms",
    "run_us",
    "worker",
    "content_type",
    "error",
    "reason",
    "retry_at",
    "error_data",
    "payload",
    "output",
    "output_derived",
    "newest",
];

/// The columns of a row of the log.
const LOG: [&str; 6] = ["position", "stored_at", "task", "run", "status", "attempt"];

/// Inserts so many runs that nothing is stored of.
pub(super) fn task_sql(rows: usize) -> String {
    format!(
        "{} ON CONFLICT (task, run) DO NOTHING",
        insert_sql("tasks", &TASK, rows)
    )
}

/// Inserts so many entries into the log.
pub(super) fn log_sql(rows: usize) -> String {
    insert_sql("log", &LOG, rows)
}

fn insert_sql(table: &str, columns: &[&str], rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let (columns, rows) = (columns.join(", "), vec![row; rows].join(", "));
    format!("INSERT INTO {table} ({columns}) VALUES {rows}")
}

const INSERT_ATTEMPT: &str = "
    INSERT INTO attempts (task, run, attempt_id, status, attempt, late, stored_at, attempts_max,
        queue, started_at, waited_ms, run_us, worker, content_type, error, reason, retry_at,
        error_data, output)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
    ON CONFLICT DO NOTHING";

const INSERT_CONFLICT: &str = "
    INSERT INTO conflicts (stored_at, task, run, kind, status, attempt, attempts_max, attempt_id,
        digest, queue, batch, \"row\", correlation_id, submitted_at, started_at, waited_ms, run_us,
        worker, content_type, error, reason, retry_at, error_data, payload, output)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
        ?19, ?20, ?21, ?22, ?23, ?24, ?25)
    ON CONFLICT DO NOTHING";

/// The later of two seals counts: a batch may be resumed and sealed again.
const INSERT_BATCH: &str = "
    INSERT INTO batches (batch, label, opened_at, sealed_at, total, ids, reopened_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?3)
    ON CONFLICT DO UPDATE SET
        label = iif(label = '', excluded.label, label),
        opened_at = coalesce(min(opened_at, excluded.opened_at), opened_at, excluded.opened_at),
        reopened_at = coalesce(
            max(reopened_at, excluded.reopened_at), reopened_at, excluded.reopened_at),
        total = iif(excluded.sealed_at >= coalesce(sealed_at, excluded.sealed_at),
            excluded.total, total),
        ids = iif(excluded.sealed_at >= coalesce(sealed_at, excluded.sealed_at),
            excluded.ids, ids),
        sealed_at = coalesce(max(sealed_at, excluded.sealed_at), sealed_at, excluded.sealed_at)";

/// A row of `tasks`.
pub(super) struct Row<'a> {
    pub(super) report: &'a Report,
    pub(super) position: i64,
    pub(super) stored_at: Timestamp,
    /// Whether no later run of the task is known.
    pub(super) newest: bool,
}

/// A change of a run, and the number of the attempt that is behind it.
pub(super) struct LogEntry<'a> {
    pub(super) row: &'a Row<'a>,
    pub(super) attempt: Option<i64>,
}

/// Inserts rows of runs, by a statement for as many. Answers how many of them nothing
/// was stored of.
pub(super) fn tasks(statement: &mut Statement<'_>, rows: &[Row<'_>]) -> Answer<usize> {
    let mut values = Values::of(statement);
    rows.iter().try_for_each(|row| task(&mut values, row))?;
    Ok(statement.raw_execute()?)
}

fn task(values: &mut Values<'_, '_>, row: &Row<'_>) -> Answer<()> {
    let report = row.report;
    values.bind(row.position)?;
    values.bind(row.stored_at.as_ms())?;
    values.bind(report.task.as_bytes())?;
    values.bind(report.run.get())?;
    values.bind(&report.kind)?;
    values.bind(report.status.as_str())?;
    values.bind(report.attempt)?;
    values.bind(report.attempts_max)?;
    values.bind(report.attempt_id.as_ref().map(|id| &id.as_bytes()[..]))?;
    values.bind(report.digest.as_bytes())?;
    values.bind(&report.queue)?;
    values.bind(report.batch.as_ref().map(|id| &id.as_bytes()[..]))?;
    values.bind(report.row.map(integer))?;
    values.bind(&report.correlation_id)?;
    values.bind(report.submitted_at.as_ms())?;
    values.bind(report.started_at.as_ms())?;
    values.bind(integer(report.waited_ms))?;
    values.bind(integer(report.run_us))?;
    values.bind(&report.worker)?;
    values.bind(report.content_type.as_str())?;
    values.bind(&report.error)?;
    values.bind(report.reason.map(|reason| reason.as_str()))?;
    values.bind(report.retry_at.map(Timestamp::as_ms))?;
    values.bind(report.error_data.as_deref())?;
    values.bind(report.payload.as_deref())?;
    values.bind(report.output.as_deref())?;
    values.bind(derived(report))?;
    values.bind(row.newest)
}

/// Inserts entries into the log, by a statement for as many.
pub(super) fn log(statement: &mut Statement<'_>, entries: &[LogEntry<'_>]) -> Answer<()> {
    let mut values = Values::of(statement);
    for LogEntry { row, attempt } in entries {
        values.bind(row.position)?;
        values.bind(row.stored_at.as_ms())?;
        values.bind(row.report.task.as_bytes())?;
        values.bind(row.report.run.get())?;
        values.bind(row.report.status.as_str())?;
        values.bind(*attempt)?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// The parameters of a statement, one after the other.
struct Values<'s, 'c> {
    statement: &'s mut Statement<'c>,
    bound: usize,
}

impl<'s, 'c> Values<'s, 'c> {
    const fn of(statement: &'s mut Statement<'c>) -> Self {
        Self {
            statement,
            bound: 0,
        }
    }

    fn bind(&mut self, value: impl ToSql) -> Answer<()> {
        self.bound += 1;
        Ok(self.statement.raw_bind_parameter(self.bound, value)?)
    }
}

/// Stores `report` as an attempt, and answers its number.
pub(super) fn attempt(db: &Connection, report: &Report, late: bool, now: Timestamp) -> Answer<i64> {
    let changed = db.prepare_cached(INSERT_ATTEMPT)?.execute(params![
        report.task.as_bytes(),
        report.run.get(),
        attempt_id(report),
        report.status.as_str(),
        report.attempt,
        late,
        now.as_ms(),
        report.attempts_max,
        report.queue,
        report.started_at.as_ms(),
        integer(report.waited_ms),
        integer(report.run_us),
        report.worker,
        report.content_type.as_str(),
        report.error,
        report.reason.map(|reason| reason.as_str()),
        report.retry_at.map(Timestamp::as_ms),
        report.error_data.as_deref(),
        report.output.as_deref(),
    ])?;
    if changed > 0 {
        return Ok(db.last_insert_rowid());
    }
    // Stored already: it came again.
    let number = db
        .prepare_cached(
            "SELECT number FROM attempts WHERE task = ?1 AND run = ?2 AND attempt_id = ?3
             AND status = ?4 AND attempt = ?5",
        )?
        .query_row(
            params![
                report.task.as_bytes(),
                report.run.get(),
                attempt_id(report),
                report.status.as_str(),
                report.attempt,
            ],
            |row| row.get(0),
        )?;
    Ok(number)
}

/// Stores `report` beside the task whose id it claims.
pub(super) fn conflict(db: &Connection, report: &Report, now: Timestamp) -> Answer<()> {
    db.prepare_cached(INSERT_CONFLICT)?.execute(params![
        now.as_ms(),
        report.task.as_bytes(),
        report.run.get(),
        report.kind,
        report.status.as_str(),
        report.attempt,
        report.attempts_max,
        attempt_id(report),
        report.digest.as_bytes(),
        report.queue,
        report.batch.as_ref().map(|id| &id.as_bytes()[..]),
        report.row.map(integer),
        report.correlation_id,
        report.submitted_at.as_ms(),
        report.started_at.as_ms(),
        integer(report.waited_ms),
        integer(report.run_us),
        report.worker,
        report.content_type.as_str(),
        report.error,
        report.reason.map(|reason| reason.as_str()),
        report.retry_at.map(Timestamp::as_ms),
        report.error_data.as_deref(),
        report.payload.as_deref(),
        report.output.as_deref(),
    ])?;
    Ok(())
}

/// Stores what a producer says of a batch.
pub(super) fn batch(db: &Connection, record: &BatchRecord) -> Answer<()> {
    let at = record.at.as_ms();
    let (opened_at, sealed_at, total, ids) = match record.event {
        BatchEvent::Opened => (Some(at), None, None, None),
        BatchEvent::Sealed { total, ids } => (None, Some(at), Some(integer(total)), ids),
    };
    db.prepare_cached(INSERT_BATCH)?.execute(params![
        record.batch.as_bytes(),
        record.label,
        opened_at,
        sealed_at,
        total,
        ids.as_ref().map(IdSum::as_bytes),
    ])?;
    Ok(())
}

/// The attempt's id, empty if there was none: unlike null, it is equal to
/// itself in an index.
fn attempt_id(report: &Report) -> &[u8] {
    report
        .attempt_id
        .as_ref()
        .map_or(&[], |id| &id.as_bytes()[..])
}

/// The output as JSON, where its own bytes are not.
fn derived(report: &Report) -> Option<String> {
    let output = report.output.as_ref()?;
    match report.content_type {
        ContentType::MessagePack => to_json(output, report.content_type),
        _ => None,
    }
}
