//! A report as columns, in one order for every table and query.

use bytes::Bytes;
use homing_protocol::{
    AttemptId, BatchId, ContentType, Digest, Reason, Report, Run, Status, TaskId, Timestamp,
};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::fault::{Answer, Fault};
use super::text;

/// Reads the columns of a row one after the other.
pub(super) struct Columns<'a> {
    row: &'a Row,
    at: usize,
}

impl<'a> Columns<'a> {
    /// Those of `row` from `first` on.
    pub(super) const fn new(row: &'a Row, first: usize) -> Self {
        Self { row, at: first }
    }

    /// A report, in the order of `OF_TASK` in [`query`](super::query).
    pub(super) fn report(&mut self) -> Answer<Report> {
        let task = self.task()?;
        let run = self.run()?;
        let kind = self.text()?;
        let status = self.status()?;
        let attempt = self.small()?;
        let attempts_max = self.small()?;
        let attempt_id = self.next::<Option<Uuid>>()?.map(AttemptId::from);
        let digest = self.digest()?;
        let mut report = Report::bare(task, run, kind, status, digest);
        report.attempt = attempt;
        report.attempts_max = attempts_max;
        report.attempt_id = attempt_id;
        report.queue = self.text()?;
        report.batch = self.batch()?;
        report.row = self.natural_or_none()?;
        report.correlation_id = self.text_or_none()?;
        report.submitted_at = self.time()?;
        report.started_at = self.time()?;
        report.waited_ms = self.natural()?;
        report.run_us = self.natural()?;
        report.worker = self.text()?;
        report.content_type = self.content_type()?;
        report.error = self.text_or_none()?;
        report.reason = self.reason()?;
        report.retry_at = self.time_or_none()?;
        report.error_data = self.bytes_or_none()?;
        report.payload = self.bytes_or_none()?;
        report.output = self.bytes_or_none()?;
        Ok(report)
    }

    pub(super) fn next<T: FromSql<'a>>(&mut self) -> Answer<T> {
        self.at += 1;
        Ok(self.row.try_get(self.at - 1)?)
    }

    pub(super) fn text(&mut self) -> Answer<String> {
        self.next().map(text::read)
    }

    pub(super) fn text_or_none(&mut self) -> Answer<Option<String>> {
        Ok(self.next::<Option<String>>()?.map(text::read))
    }

    pub(super) fn task(&mut self) -> Answer<TaskId> {
        self.next::<Uuid>().map(TaskId::from)
    }

    pub(super) fn batch(&mut self) -> Answer<Option<BatchId>> {
        Ok(self.next::<Option<Uuid>>()?.map(BatchId::from))
    }

    pub(super) fn run(&mut self) -> Answer<Run> {
        let number = self.small()?;
        Run::new(number).ok_or_else(|| Fault::corrupt("no run"))
    }

    pub(super) fn status(&mut self) -> Answer<Status> {
        let word = self.next::<&str>()?.parse();
        word.map_err(|_| Fault::corrupt("no status"))
    }

    pub(super) fn digest(&mut self) -> Answer<Digest> {
        Digest::from_slice(self.next()?).ok_or_else(|| Fault::corrupt("no digest"))
    }

    pub(super) fn content_type(&mut self) -> Answer<ContentType> {
        let read = ContentType::parse(Some(self.next()?));
        read.map_err(|_| Fault::corrupt("no content type"))
    }

    pub(super) fn reason(&mut self) -> Answer<Option<Reason>> {
        let Some(word) = self.next::<Option<&str>>()? else {
            return Ok(None);
        };
        let reason = Reason::parse(word).map(Some);
        reason.ok_or_else(|| Fault::corrupt("no reason"))
    }

    pub(super) fn natural(&mut self) -> Answer<u64> {
        let number = self.natural_or_none()?;
        number.ok_or_else(|| Fault::corrupt("no number"))
    }

    pub(super) fn natural_or_none(&mut self) -> Answer<Option<u64>> {
        let number = self.next::<Option<i64>>()?.map(u64::try_from);
        number
            .transpose()
            .map_err(|_| Fault::corrupt("a negative number"))
    }

    fn small(&mut self) -> Answer<u32> {
        let number = u32::try_from(self.natural()?);
        number.map_err(|_| Fault::corrupt("a number that is too large"))
    }

    pub(super) fn time(&mut self) -> Answer<Timestamp> {
        self.next().map(Timestamp::from_ms)
    }

    pub(super) fn time_or_none(&mut self) -> Answer<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_ms))
    }

    pub(super) fn bytes(&mut self) -> Answer<Bytes> {
        self.next().map(Bytes::copy_from_slice)
    }

    fn bytes_or_none(&mut self) -> Answer<Option<Bytes>> {
        Ok(self.next::<Option<&[u8]>>()?.map(Bytes::copy_from_slice))
    }
}

/// `number` as PostgreSQL holds it: at most 2^63 - 1, which none of ours reaches.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
