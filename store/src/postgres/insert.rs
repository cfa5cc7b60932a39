//! The statements that put reports and batch records into their tables, each for
//! many rows at once: a column of them is one array.

use std::borrow::Cow;

use homing_protocol::{BatchEvent, BatchRecord, IdSum, Report, Timestamp};
use uuid::Uuid;

use super::columns::integer;
use super::count::column;
use super::jsonb;
use super::session::Step;
use super::text::stored;

const INSERT_TASKS: &str = "
    INSERT INTO tasks (position, stored_at, task, run, kind, status, attempt, attempts_max,
        attempt_id, digest, queue, batch, \"row\", correlation_id, submitted_at, started_at,
        waited_ms, run_us, worker, content_type, reason, retry_at, content_at, newest)
    SELECT k.position, $2, k.task, k.run, k.kind, k.status, k.attempt, k.attempts_max,
        k.attempt_id, k.digest, k.queue, k.batch, k.\"row\", k.correlation_id, k.submitted_at,
        k.started_at, k.waited_ms, k.run_us, k.worker, k.content_type, k.reason, k.retry_at,
        k.content_at, k.newest
    FROM unnest($1::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::bigint[],
        $8::bigint[], $9::uuid[], $10::bytea[], $11::text[], $12::uuid[], $13::bigint[],
        $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::text[],
        $20::text[], $21::text[], $22::bigint[], $23::bigint[], $24::boolean[])
    AS k (position, task, run, kind, status, attempt, attempts_max, attempt_id, digest, queue,
        batch, \"row\", correlation_id, submitted_at, started_at, waited_ms, run_us, worker,
        content_type, reason, retry_at, content_at, newest)";

const INSERT_CONTENTS: &str = "
    INSERT INTO contents (stored_at, position, error, error_data, payload, output, output_json)
    SELECT $1, k.position, k.error, k.error_data, k.payload, k.output, k.output_json::jsonb
    FROM unnest($2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[], $7::text[])
    AS k (position, error, error_data, payload, output, output_json)";

const INSERT_ATTEMPTS: &str = "
    INSERT INTO attempts (stored_at, task, run, attempt_id, status, attempt, late, attempts_max,
        queue, started_at, waited_ms, run_us, worker, content_type, error, reason, retry_at,
        error_data, output)
    SELECT $1, k.task, k.run, k.attempt_id, k.status, k.attempt, k.late, k.attempts_max,
        k.queue, k.started_at, k.waited_ms, k.run_us, k.worker, k.content_type, k.error, k.reason,
        k.retry_at, k.error_data, k.output
    FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::bigint[], $7::boolean[],
        $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[],
        $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bytea[], $19::bytea[])
    WITH ORDINALITY
    AS k (task, run, attempt_id, status, attempt, late, attempts_max, queue, started_at, waited_ms,
        run_us, worker, content_type, error, reason, retry_at, error_data, output, at)
    ORDER BY k.at
    ON CONFLICT DO NOTHING";

const INSERT_CONFLICTS: &str = "
    INSERT INTO conflicts (stored_at, task, run, kind, status, attempt, attempts_max, attempt_id,
        digest, queue, batch, \"row\", correlation_id, submitted_at, started_at, waited_ms, run_us,
        worker, content_type, error, reason, retry_at, error_data, payload, output)
    SELECT $1, k.task, k.run, k.kind, k.status, k.attempt, k.attempts_max, k.attempt_id, k.digest,
        k.queue, k.batch, k.\"row\", k.correlation_id, k.submitted_at, k.started_at, k.waited_ms,
        k.run_us, k.worker, k.content_type, k.error, k.reason, k.retry_at, k.error_data,
        k.payload, k.output
    FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
        $8::uuid[], $9::bytea[], $10::text[], $11::uuid[], $12::bigint[], $13::text[],
        $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::text[],
        $20::text[], $21::text[], $22::bigint[], $23::bytea[], $24::bytea[], $25::bytea[])
    WITH ORDINALITY
    AS k (task, run, kind, status, attempt, attempts_max, attempt_id, digest, queue, batch, \"row\",
        correlation_id, submitted_at, started_at, waited_ms, run_us, worker, content_type, error,
        reason, retry_at, error_data, payload, output, at)
    ORDER BY k.at
    ON CONFLICT DO NOTHING";

/// After the attempts: an entry that is no success names its attempt.
const INSERT_LOG: &str = "
    INSERT INTO log (position, stored_at, task, run, status, attempt)
    SELECT k.position, $2, k.task, k.run, k.status,
        CASE WHEN k.status <> 'succeeded' THEN (
            SELECT a.number FROM attempts a
            WHERE a.task = k.task AND a.run = k.run AND a.status = k.status
              AND a.attempt = k.attempt AND a.attempt_id IS NOT DISTINCT FROM k.attempt_id
        ) END
    FROM unnest($1::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::uuid[])
    AS k (position, task, run, status, attempt, attempt_id)";

/// The later of two seals counts: a batch may be resumed and sealed again.
const INSERT_BATCH: &str = "
    INSERT INTO batches AS b (batch, label, opened_at, sealed_at, total, ids, reopened_at)
    VALUES ($1, $2, $3, $4, $5, $6, $3)
    ON CONFLICT (batch) DO UPDATE SET
        label = CASE WHEN b.label = '' THEN excluded.label ELSE b.label END,
        opened_at = least(b.opened_at, excluded.opened_at),
        reopened_at = greatest(b.reopened_at, excluded.reopened_at),
        total = CASE WHEN excluded.sealed_at >= coalesce(b.sealed_at, excluded.sealed_at)
            THEN excluded.total ELSE b.total END,
        ids = CASE WHEN excluded.sealed_at >= coalesce(b.sealed_at, excluded.sealed_at)
            THEN excluded.ids ELSE b.ids END,
        sealed_at = greatest(b.sealed_at, excluded.sealed_at)";

/// Whether outputs are stored as `jsonb` too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Derive {
    Yes,
    No,
}

/// A row of `tasks`.
pub(super) struct Placed<'a> {
    pub(super) report: &'a Report,
    pub(super) position: i64,
    /// Whether no later run of the task is known.
    pub(super) newest: bool,
}

/// A row of `log`.
pub(super) struct Logged<'a> {
    pub(super) report: &'a Report,
    pub(super) position: i64,
}

/// A row of `attempts`.
pub(super) struct Attempt<'a> {
    pub(super) report: &'a Report,
    /// Whether it changed nothing.
    pub(super) late: bool,
}

/// Inserts rows of runs, of which there are none yet, without their contents.
pub(super) fn tasks<'a>(rows: &[Placed<'a>], now: Timestamp) -> Option<Step<'a>> {
    let reports: Vec<_> = rows.iter().map(|row| row.report).collect();
    let step = Step::new(INSERT_TASKS)
        .with(column(rows, |row| row.position))
        .with(now.as_ms())
        .with(column(&reports, |report| report.task.as_uuid()))
        .with(column(&reports, |report| i64::from(report.run.get())))
        .with(texts(&reports, |report| &report.kind))
        .with(column(&reports, |report| report.status.as_str()))
        .with(column(&reports, |report| i64::from(report.attempt)))
        .with(column(&reports, |report| i64::from(report.attempts_max)))
        .with(column(&reports, |report| attempt_id(report)))
        .with(column(&reports, |report| report.digest.as_bytes().to_vec()));
    let step = measured(placed(step, &reports), &reports)
        .with(column(&reports, |report| reason(report)))
        .with(column(&reports, |report| retry_at(report)))
        .with(column(&reports, |report| {
            has_content(report).then_some(now.as_ms())
        }))
        .with(column(rows, |row| row.newest));
    (!rows.is_empty()).then_some(step)
}

/// Inserts what is large of them.
pub(super) fn contents<'a>(
    rows: &[Placed<'a>],
    now: Timestamp,
    derive: Derive,
) -> Option<Step<'a>> {
    let json = |report: &Report| match derive {
        Derive::Yes => jsonb::output(report),
        Derive::No => None,
    };
    let rows = rows.iter().filter(|row| has_content(row.report));
    let (positions, reports): (Vec<_>, Vec<_>) = rows.map(|row| (row.position, row.report)).unzip();
    let any = !reports.is_empty();
    let step = Step::new(INSERT_CONTENTS)
        .with(now.as_ms())
        .with(positions)
        .with(column(&reports, |report| error(report)))
        .with(bytes(&reports, |report| report.error_data.as_deref()))
        .with(bytes(&reports, |report| report.payload.as_deref()))
        .with(bytes(&reports, |report| report.output.as_deref()))
        .with(column(&reports, |report| json(report)));
    any.then_some(step)
}

/// Whether there is anything of it that is large.
fn has_content(report: &Report) -> bool {
    report.error.is_some()
        || report.error_data.is_some()
        || report.payload.is_some()
        || report.output.is_some()
}

/// Stores reports as attempts, but those that are stored already.
pub(super) fn attempts<'a>(attempts: &[Attempt<'a>], now: Timestamp) -> Option<Step<'a>> {
    let reports: Vec<_> = attempts.iter().map(|attempt| attempt.report).collect();
    let step = Step::new(INSERT_ATTEMPTS)
        .with(now.as_ms())
        .with(column(&reports, |report| report.task.as_uuid()))
        .with(column(&reports, |report| i64::from(report.run.get())))
        .with(column(&reports, |report| attempt_id(report)))
        .with(column(&reports, |report| report.status.as_str()))
        .with(column(&reports, |report| i64::from(report.attempt)))
        .with(column(attempts, |attempt| attempt.late))
        .with(column(&reports, |report| i64::from(report.attempts_max)))
        .with(texts(&reports, |report| &report.queue))
        .with(column(&reports, |report| report.started_at.as_ms()));
    let step = failed(measured(step, &reports), &reports)
        .with(bytes(&reports, |report| report.output.as_deref()));
    (!attempts.is_empty()).then_some(step)
}

/// Stores reports beside the tasks whose ids they claim.
pub(super) fn conflicts<'a>(reports: &[&'a Report], now: Timestamp) -> Option<Step<'a>> {
    let step = Step::new(INSERT_CONFLICTS)
        .with(now.as_ms())
        .with(column(reports, |report| report.task.as_uuid()))
        .with(column(reports, |report| i64::from(report.run.get())))
        .with(texts(reports, |report| &report.kind))
        .with(column(reports, |report| report.status.as_str()))
        .with(column(reports, |report| i64::from(report.attempt)))
        .with(column(reports, |report| i64::from(report.attempts_max)))
        .with(column(reports, |report| attempt_id(report)))
        .with(column(reports, |report| report.digest.as_bytes().to_vec()));
    let step = failed(measured(placed(step, reports), reports), reports)
        .with(bytes(reports, |report| report.payload.as_deref()))
        .with(bytes(reports, |report| report.output.as_deref()));
    (!reports.is_empty()).then_some(step)
}

/// Adds to the log.
pub(super) fn log<'a>(log: &[Logged<'a>], now: Timestamp) -> Option<Step<'a>> {
    let step = Step::new(INSERT_LOG)
        .with(column(log, |entry| entry.position))
        .with(now.as_ms())
        .with(column(log, |entry| entry.report.task.as_uuid()))
        .with(column(log, |entry| i64::from(entry.report.run.get())))
        .with(column(log, |entry| entry.report.status.as_str()))
        .with(column(log, |entry| i64::from(entry.report.attempt)))
        .with(column(log, |entry| attempt_id(entry.report)));
    (!log.is_empty()).then_some(step)
}

/// Stores what a producer says of a batch.
pub(super) fn batch(record: &BatchRecord) -> Step<'_> {
    let at = record.at.as_ms();
    let (opened_at, sealed_at, total, ids) = match record.event {
        BatchEvent::Opened => (Some(at), None, None, None),
        BatchEvent::Sealed { total, ids } => (None, Some(at), Some(integer(total)), ids),
    };
    Step::new(INSERT_BATCH)
        .with(record.batch.as_uuid())
        .with(stored(&record.label))
        .with(opened_at)
        .with(sealed_at)
        .with(total)
        .with(ids.as_ref().map(IdSum::as_bytes).map(|ids| ids.to_vec()))
}

/// The columns from the queue to when it started.
fn placed<'a>(step: Step<'a>, reports: &[&'a Report]) -> Step<'a> {
    step.with(texts(reports, |report| &report.queue))
        .with(column(reports, |report| {
            report.batch.map(|id| id.as_uuid())
        }))
        .with(column(reports, |report| report.row.map(integer)))
        .with(column(reports, |report| {
            report.correlation_id.as_deref().map(stored)
        }))
        .with(column(reports, |report| report.submitted_at.as_ms()))
        .with(column(reports, |report| report.started_at.as_ms()))
}

/// The columns from how long it waited to the content type.
fn measured<'a>(step: Step<'a>, reports: &[&'a Report]) -> Step<'a> {
    step.with(column(reports, |report| integer(report.waited_ms)))
        .with(column(reports, |report| integer(report.run_us)))
        .with(texts(reports, |report| &report.worker))
        .with(column(reports, |report| report.content_type.as_str()))
}

/// The columns from the error to its data.
fn failed<'a>(step: Step<'a>, reports: &[&'a Report]) -> Step<'a> {
    step.with(column(reports, |report| error(report)))
        .with(column(reports, |report| reason(report)))
        .with(column(reports, |report| retry_at(report)))
        .with(bytes(reports, |report| report.error_data.as_deref()))
}

fn error(report: &Report) -> Option<Cow<'_, str>> {
    report.error.as_deref().map(stored)
}

fn reason(report: &Report) -> Option<&'static str> {
    report.reason.map(|reason| reason.as_str())
}

fn retry_at(report: &Report) -> Option<i64> {
    report.retry_at.map(Timestamp::as_ms)
}

fn texts<'a>(reports: &[&'a Report], text: fn(&Report) -> &String) -> Vec<Cow<'a, str>> {
    reports.iter().map(|report| stored(text(report))).collect()
}

fn bytes<'a>(reports: &[&'a Report], bytes: fn(&Report) -> Option<&[u8]>) -> Vec<Option<&'a [u8]>> {
    reports.iter().map(|report| bytes(report)).collect()
}

fn attempt_id(report: &Report) -> Option<Uuid> {
    report.attempt_id.map(|id| id.as_uuid())
}
