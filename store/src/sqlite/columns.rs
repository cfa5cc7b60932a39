//! A report as columns, in one order for every table and query.

use bytes::Bytes;
use homing_protocol::{
    AttemptId, BatchId, ContentType, Digest, Reason, Report, Run, Status, TaskId, Timestamp,
};
use rusqlite::Row;
use rusqlite::types::{FromSql, ValueRef};
use uuid::Uuid;

use super::fault::Fault;

/// Reads the report in the columns of `row` from `first` on, in the order of
/// `OF_TASK` in [`query`](super::query).
pub(super) fn report(row: &Row<'_>, first: usize) -> rusqlite::Result<Report> {
    let mut columns = Columns { row, at: first };
    let task = columns.uuid()?;
    let run = columns.checked(Run::new, "no run")?;
    let kind = columns.next()?;
    let status = columns.status()?;
    let attempt = columns.next()?;
    let attempts_max = columns.next()?;
    let attempt_id = columns.uuid_or_none()?.map(AttemptId::from);
    let digest = columns.digest()?;
    let mut report = Report::bare(TaskId::from(task), run, kind, status, digest);
    report.attempt = attempt;
    report.attempts_max = attempts_max;
    report.attempt_id = attempt_id;
    report.queue = columns.next()?;
    report.batch = columns.uuid_or_none()?.map(BatchId::from);
    report.row = columns.natural_or_none()?;
    report.correlation_id = columns.next()?;
    report.submitted_at = columns.time()?;
    report.started_at = columns.time()?;
    report.waited_ms = columns.natural()?;
    report.run_us = columns.natural()?;
    report.worker = columns.next()?;
    report.content_type = columns.content_type()?;
    report.error = columns.next()?;
    report.reason = columns.reason()?;
    report.retry_at = columns.next::<Option<i64>>()?.map(Timestamp::from_ms);
    report.error_data = columns.bytes()?;
    report.payload = columns.bytes()?;
    report.output = columns.bytes()?;
    Ok(report)
}

/// Reads the columns of a row one after the other.
struct Columns<'a> {
    row: &'a Row<'a>,
    at: usize,
}

impl Columns<'_> {
    fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.at += 1;
        self.row.get(self.at - 1)
    }

    fn checked<T: FromSql, U>(
        &mut self,
        read: impl FnOnce(T) -> Option<U>,
        problem: &'static str,
    ) -> rusqlite::Result<U> {
        let value = self.next()?;
        read(value).ok_or_else(|| Fault::corrupt(self.at - 1, problem))
    }

    fn status(&mut self) -> rusqlite::Result<Status> {
        self.checked(|text: String| text.parse().ok(), "no status")
    }

    fn content_type(&mut self) -> rusqlite::Result<ContentType> {
        let read = |text: String| ContentType::parse(Some(&text)).ok();
        self.checked(read, "no content type")
    }

    fn digest(&mut self) -> rusqlite::Result<Digest> {
        self.checked(|bytes: Vec<u8>| Digest::from_slice(&bytes), "no digest")
    }

    fn uuid(&mut self) -> rusqlite::Result<Uuid> {
        self.uuid_or_none()?
            .ok_or_else(|| Fault::corrupt(self.at - 1, "no id"))
    }

    /// An id; none if the column is null or empty.
    fn uuid_or_none(&mut self) -> rusqlite::Result<Option<Uuid>> {
        self.at += 1;
        match self.row.get_ref(self.at - 1)? {
            ValueRef::Null | ValueRef::Blob([]) => Ok(None),
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes)
                .map(Some)
                .map_err(|_| Fault::corrupt(self.at - 1, "no id")),
            _ => Err(Fault::corrupt(self.at - 1, "no id")),
        }
    }

    fn natural(&mut self) -> rusqlite::Result<u64> {
        self.natural_or_none()?
            .ok_or_else(|| Fault::corrupt(self.at - 1, "no number"))
    }

    fn natural_or_none(&mut self) -> rusqlite::Result<Option<u64>> {
        let number: Option<i64> = self.next()?;
        number
            .map(u64::try_from)
            .transpose()
            .map_err(|_| Fault::corrupt(self.at - 1, "a negative number"))
    }

    fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.next().map(Timestamp::from_ms)
    }

    fn reason(&mut self) -> rusqlite::Result<Option<Reason>> {
        let Some(text) = self.next::<Option<String>>()? else {
            return Ok(None);
        };
        let reason = Reason::parse(&text).map(Some);
        reason.ok_or_else(|| Fault::corrupt(self.at - 1, "no reason"))
    }

    fn bytes(&mut self) -> rusqlite::Result<Option<Bytes>> {
        Ok(self.next::<Option<Vec<u8>>>()?.map(Bytes::from))
    }
}

/// `number` as SQLite holds it: at most 2^63 - 1, which none of ours reaches.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column that counts or numbers something.
pub(super) fn natural(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Columns { row, at: column }.natural()
}

/// A column that holds a status.
pub(super) fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<Status> {
    Columns { row, at: column }.status()
}

/// A column that holds an id, or nothing.
pub(super) fn uuid_or_none(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Uuid>> {
    Columns { row, at: column }.uuid_or_none()
}

/// A column that holds a task's id.
pub(super) fn task(row: &Row<'_>, column: usize) -> rusqlite::Result<TaskId> {
    Columns { row, at: column }.uuid().map(TaskId::from)
}

/// A column that holds a run.
pub(super) fn run(row: &Row<'_>, column: usize) -> rusqlite::Result<Run> {
    Columns { row, at: column }.checked(Run::new, "no run")
}

/// A column that holds a content type.
pub(super) fn content_type(row: &Row<'_>, column: usize) -> rusqlite::Result<ContentType> {
    Columns { row, at: column }.content_type()
}

/// A column that holds a digest.
pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Columns { row, at: column }.digest()
}

/// A column that holds a reason, or nothing.
pub(super) fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Reason>> {
    Columns { row, at: column }.reason()
}
