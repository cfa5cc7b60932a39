//! `homing stats`: counts and times, per kind or of a batch.
//!
//! Of all tasks the store keeps counts and histograms. Those of a batch are
//! made from its records, each task told by its id, so that the balance below
//! the table is one of tasks and not of counters.

use std::time::Duration;

use homing_protocol::Status;
use homing_store::{BatchRef, Counts, KindPattern, KindStats, Quantiles};
use serde::Serialize;

use crate::batch_stats::{BatchStats, Summary};
use crate::exit::Exit;
use crate::output::{Form, Line, Output, Talk};
use crate::settings::Settings;
use crate::table::{Cell, Column, Fit};
use crate::time::{grouped, span};
use crate::trouble::Trouble;
use crate::which::find_batch;

const EXAMPLES: &str = "\
Without --batch, by the newest run of every task that was ever stored; times are
those of attempts. With --batch, the batch's tasks alone, and its balance:
submitted N = stored N, lost 0. Exit status: 0; with --batch 1 as long as a task
of it has no outcome, or its total is not known.

Examples:
  homing stats --kind 'image.*'
  homing stats --batch night-42 --json";

/// Counts, rates and times, per kind or of a batch
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatsArgs {
    /// Only these kinds; may end in `*`
    #[arg(long, value_name = "KIND", conflicts_with = "batch")]
    kind: Option<KindPattern>,

    /// Of this batch: its id or label
    #[arg(long, value_name = "BATCH")]
    batch: Option<BatchRef>,
}

/// One kind, or all together.
#[derive(Debug, Serialize)]
pub(crate) struct KindLine {
    kind: String,
    tasks: u64,
    succeeded: u64,
    failed: u64,
    exhausted: u64,
    cancelled: u64,
    expired: u64,
    dead: u64,
    retrying: u64,
    waited: Option<Times>,
    ran: Option<Times>,
}

/// Milliseconds that half of the attempts, and 95 % of them, took at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
}

impl Times {
    pub(crate) fn new(p50: Duration, p95: Duration) -> Self {
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Self {
            p50_ms: ms(p50),
            p95_ms: ms(p95),
        }
    }

    fn shown(times: Option<Self>) -> String {
        let span = |ms: f64| span(Duration::from_secs_f64(ms / 1_000.0));
        times.map_or_else(
            || "-".to_owned(),
            |times| format!("{} / {}", span(times.p50_ms), span(times.p95_ms)),
        )
    }
}

impl From<Quantiles> for Times {
    fn from(quantiles: Quantiles) -> Self {
        Self::new(quantiles.p50, quantiles.p95)
    }
}

impl KindLine {
    pub(crate) fn new(
        kind: &str,
        count: impl Fn(Status) -> u64,
        waited: Option<Times>,
        ran: Option<Times>,
    ) -> Self {
        Self {
            kind: kind.to_owned(),
            tasks: Status::ALL.into_iter().map(&count).sum(),
            succeeded: count(Status::Succeeded),
            failed: count(Status::Failed),
            exhausted: count(Status::Exhausted),
            cancelled: count(Status::Cancelled),
            expired: count(Status::Expired),
            dead: count(Status::Dead),
            retrying: count(Status::Retrying),
            waited,
            ran,
        }
    }

    fn stored(stats: &KindStats) -> Self {
        let times = |quantiles: Option<Quantiles>| quantiles.map(Times::from);
        let counts: &Counts = &stats.counts;
        Self::new(
            &stats.kind,
            |status| counts.get(status),
            times(stats.waited),
            times(stats.ran),
        )
    }
}

impl Line for KindLine {
    const COLUMNS: &'static [Column] = &[
        ("KIND", Fit::Left),
        ("TASKS", Fit::Right),
        ("SUCCEEDED", Fit::Right),
        ("FAILED", Fit::Count),
        ("EXHAUSTED", Fit::Count),
        ("DEAD", Fit::Count),
        ("WAITED p50/p95", Fit::Right),
        ("RAN p50/p95", Fit::Right),
        ("EXPIRED", Fit::Count),
        ("CANCELLED", Fit::Count),
        ("RETRYING", Fit::Count),
    ];

    fn cells(&self) -> Vec<Cell> {
        let number = |count: u64| Cell::number(Some(count));
        vec![
            Cell::text(&self.kind),
            number(self.tasks),
            number(self.succeeded),
            number(self.failed),
            number(self.exhausted),
            number(self.dead),
            Cell::text(Times::shown(self.waited)),
            Cell::text(Times::shown(self.ran)),
            number(self.expired),
            number(self.cancelled),
            number(self.retrying),
        ]
    }
}

pub(crate) async fn run(args: StatsArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let mut output = Output::new(settings);
    let Some(name) = &args.batch else {
        let kinds = store.stats(args.kind.as_ref()).await;
        let kinds = kinds.map_err(|error| Trouble::store(&error))?;
        let lines: Vec<_> = kinds.iter().map(KindLine::stored).collect();
        output.lines(&lines)?;
        if lines.is_empty() {
            let talk = Talk::new(settings);
            talk.say(match args.kind {
                None => "nothing is stored yet",
                Some(_) => "nothing is stored of such a kind",
            });
        }
        return Ok(Exit::Done);
    };

    let batch = find_batch(&store, name).await?;
    let stats = BatchStats::read(&store, batch.id).await?;

    output.lines(&stats.lines())?;
    let summary = stats.summary(&batch);
    if output.form() == Form::Json {
        output.json(&summary)?;
    } else {
        let lines = summary_text(&summary, output.form());
        lines.iter().try_for_each(|line| output.text(line))?;
    }
    Ok(if summary.balances() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn summary_text(summary: &Summary, form: Form) -> Vec<String> {
    let secs = span(Duration::from_secs_f64(summary.secs));
    let rate = summary.per_sec.map_or_else(String::new, |rate| {
        if rate < 10.0 {
            format!(", {rate:.1}/s")
        } else {
            format!(", {}/s", grouped(rate as u64))
        }
    });
    let closed = grouped(summary.closed);
    let mut lines = vec![format!("{closed} tasks in {secs}{rate}"), balance(summary)];
    if form != Form::Plain {
        // A table for people ends with an empty line.
        lines.insert(0, String::new());
    }
    lines
}

/// The balance in words. What cannot be known is said to be unknown.
fn balance(summary: &Summary) -> String {
    let stored = summary.closed;
    match summary.submitted {
        None => format!("submitted unknown (the batch is open), stored {stored}, lost unknown"),
        Some(total) if total == stored => {
            format!("submitted {total} = stored {stored}, lost 0")
        }
        Some(total) if total > stored => {
            let missing = total - stored;
            format!("submitted {total}, stored {stored}: {missing} without an outcome so far")
        }
        Some(total) => {
            let more = stored - total;
            format!("submitted {total}, stored {stored}: {more} more than its producer confirmed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(submitted: Option<u64>, closed: u64) -> Summary {
        Summary {
            batch: "b".to_owned(),
            label: String::new(),
            submitted,
            closed,
            secs: 0.4,
            per_sec: None,
        }
    }

    #[test]
    fn a_balance_says_what_is_known() {
        let cases = [
            (Some(412), 412, "submitted 412 = stored 412, lost 0"),
            (
                Some(412),
                400,
                "submitted 412, stored 400: 12 without an outcome so far",
            ),
            (
                Some(1),
                2,
                "submitted 1, stored 2: 1 more than its producer confirmed",
            ),
            (
                None,
                7,
                "submitted unknown (the batch is open), stored 7, lost unknown",
            ),
        ];
        for (submitted, closed, expected) in cases {
            assert_eq!(balance(&summary(submitted, closed)), expected);
        }
        assert!(summary(Some(2), 2).balances());
        assert!(!summary(Some(2), 1).balances() && !summary(None, 1).balances());
    }
}
