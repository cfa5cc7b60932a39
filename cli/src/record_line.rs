//! A stored record as one line, for `tail`, `list` and everything that names
//! outcomes.

use std::time::Duration;

use homing_protocol::{AttemptId, BatchId, Reason, Report, Status, TaskId, to_json};
use homing_store::Record;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clean::one_line;
use crate::output::Line;
use crate::table::{Cell, Column, Fit};
use crate::time::{full, short, span};
use crate::which::now;

/// Characters of an output that a line shows at most; the terminal cuts it
/// further. JSON and `show` have it whole.
const SHOWN_CHARS_MAX: usize = 400;

/// A stored record as one line.
#[derive(Debug, Serialize)]
pub(crate) struct RecordLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at: Option<String>,
    /// Whether output, payload and error were removed by age.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(flatten)]
    said: Said,
    #[serde(skip)]
    shown_at: String,
}

/// What a report says, as JSON for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct Said {
    status: Status,
    kind: String,
    id: TaskId,
    run: u32,
    attempt: u32,
    attempts_max: u32,
    attempt_id: Option<AttemptId>,
    queue: String,
    batch: Option<BatchId>,
    row: Option<u64>,
    correlation_id: Option<String>,
    submitted_at: String,
    started_at: String,
    waited_ms: u64,
    run_us: u64,
    worker: String,
    reason: Option<Reason>,
    error: Option<String>,
    output: Option<Box<RawValue>>,
    payload: Option<Box<RawValue>>,
    retry_at: Option<String>,
}

impl Said {
    pub(crate) fn new(report: &Report) -> Self {
        let json = |bytes: &Option<bytes::Bytes>| {
            let text = to_json(bytes.as_ref()?, report.content_type)?;
            RawValue::from_string(one_line(&text)).ok()
        };
        Self {
            status: report.status,
            kind: report.kind.clone(),
            id: report.task,
            run: report.run.get(),
            attempt: report.attempt,
            attempts_max: report.attempts_max,
            attempt_id: report.attempt_id,
            queue: report.queue.clone(),
            batch: report.batch,
            row: report.row,
            correlation_id: report.correlation_id.clone(),
            submitted_at: full(report.submitted_at),
            started_at: full(report.started_at),
            waited_ms: report.waited_ms,
            run_us: report.run_us,
            worker: report.worker.clone(),
            reason: report.reason,
            error: report.error.clone(),
            output: json(&report.output),
            payload: json(&report.payload),
            retry_at: report.retry_at.map(full),
        }
    }

    /// Which attempt of how many: `5 of 5`, `1`, `-`; with the run if it is a
    /// later one.
    pub(crate) fn attempt(&self) -> String {
        let attempt = match (self.attempt, self.status) {
            (0, _) => "-".to_owned(),
            (attempt, Status::Succeeded) => attempt.to_string(),
            (attempt, _) => format!("{attempt} of {}", self.attempts_max),
        };
        match self.run {
            1 => attempt,
            run => format!("{attempt}, run {run}"),
        }
    }

    /// How long the handler ran, `-` if none did.
    pub(crate) fn ran(&self) -> String {
        if self.attempt_id.is_none() {
            return "-".to_owned();
        }
        span(Duration::from_micros(self.run_us))
    }

    /// The output, or why there is none.
    pub(crate) fn detail(&self) -> &str {
        match (&self.output, &self.error) {
            (Some(output), _) => output.get(),
            (None, Some(error)) => error,
            (None, None) => "",
        }
    }

    /// What became of it, for the person who waits: one line, and the error
    /// below it if there is one.
    pub(crate) fn summary(&self) -> String {
        let waited = span(Duration::from_millis(self.waited_ms));
        let (status, id, attempt, ran) = (self.status, self.id, self.attempt(), self.ran());
        let line = format!("{status:<9}  {id}  attempt {attempt}  waited {waited}  ran {ran}");
        match &self.error {
            Some(error) => format!("{line}\n  {}", crate::clean::for_terminal(error)),
            None => line,
        }
    }

    /// The output alone, as JSON.
    pub(crate) fn output(&self) -> Option<&str> {
        self.output.as_deref().map(RawValue::get)
    }
}

impl RecordLine {
    /// The line of a stored record.
    pub(crate) fn stored(record: &Record) -> Self {
        Self {
            position: Some(record.position.to_string()),
            stored_at: Some(full(record.stored_at)),
            removed: record.removed,
            said: Said::new(&record.report),
            shown_at: short(record.stored_at, now()),
        }
    }

    /// The line of an outcome that was pushed to whoever waits for it.
    pub(crate) fn pushed(report: &Report) -> Self {
        Self {
            position: None,
            stored_at: None,
            removed: false,
            said: Said::new(report),
            shown_at: String::new(),
        }
    }

    /// What the report says.
    pub(crate) const fn said(&self) -> &Said {
        &self.said
    }
}

impl Line for RecordLine {
    const COLUMNS: &'static [Column] = &[
        ("STORED", Fit::Left),
        ("STATUS", Fit::Left),
        ("KIND", Fit::Left),
        ("TASK", Fit::Left),
        ("ATTEMPT", Fit::Left),
        ("RAN", Fit::Right),
        ("DETAIL", Fit::Free),
    ];

    const SPARE: &'static [&'static str] = &["RAN", "ATTEMPT", "STORED"];

    fn cells(&self) -> Vec<Cell> {
        let said = &self.said;
        let detail = said.detail();
        let shown: String = detail.chars().take(SHOWN_CHARS_MAX).collect();
        vec![
            Cell::either(&self.shown_at, self.stored_at.clone().unwrap_or_default()),
            Cell::status(said.status),
            Cell::text(&said.kind),
            Cell::text(said.id.to_string()),
            Cell::text(said.attempt()),
            Cell::text(said.ran()),
            Cell::either(crate::clean::for_terminal(&shown), detail),
        ]
    }
}
