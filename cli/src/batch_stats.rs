//! What came of the tasks of one batch, told by their ids.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use homing_protocol::{BatchId, Report, Status, TaskId, Timestamp};
use homing_store::{Batch, Filter, Position, Store};
use serde::Serialize;

use crate::stats::{KindLine, Times};
use crate::trouble::Trouble;

/// Records read from the store at once.
const PAGE: u32 = 1_000;

/// The tasks of a batch. About 100 bytes for each.
#[derive(Default)]
pub(crate) struct BatchStats {
    kinds: Vec<String>,
    tasks: HashMap<TaskId, Known>,
    first_submitted: Option<Timestamp>,
    last_stored: Option<Timestamp>,
}

/// What is known of one task: its newest record.
struct Known {
    kind: usize,
    run: u32,
    status: Status,
    waited: Duration,
    /// `None` if no attempt was made.
    ran: Option<Duration>,
}

/// A batch as one line: when its tasks came, and whether they all did.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) batch: String,
    pub(crate) label: String,
    /// Tasks, as its producer sealed it; `None` while it is open.
    pub(crate) submitted: Option<u64>,
    /// Tasks with an outcome, each counted once by its id.
    pub(crate) closed: u64,
    /// Seconds from the first submitted to the last stored.
    pub(crate) secs: f64,
    pub(crate) per_sec: Option<f64>,
}

impl Summary {
    /// Whether every task that was submitted has its one outcome.
    pub(crate) fn balances(&self) -> bool {
        self.submitted == Some(self.closed)
    }
}

impl BatchStats {
    /// Reads all that is stored of the batch.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if the store cannot be read.
    pub(crate) async fn read(store: &Store, batch: BatchId) -> Result<Self, Trouble> {
        let filter = Filter::all().batch(batch);
        let mut stats = Self::default();
        let mut position = Position::START;
        loop {
            let tail = store.tail(&position, &filter, PAGE).await;
            let tail = tail.map_err(|error| Trouble::store(&error))?;
            for record in &tail.records {
                stats.add(&record.report, record.stored_at);
            }
            if tail.at_end {
                return Ok(stats);
            }
            position = tail.position;
        }
    }

    /// Takes in the next record of the log, in its order.
    fn add(&mut self, report: &Report, stored_at: Timestamp) {
        let first = self.first_submitted.get_or_insert(report.submitted_at);
        *first = report.submitted_at.min(*first);
        let kind = self.kind(&report.kind);
        let run = report.run.get();
        if let Some(known) = self.tasks.get(&report.task)
            && (run < known.run || (run == known.run && !known.status.yields_to(report.status)))
        {
            return;
        }
        if report.status.is_closed() {
            self.last_stored = self.last_stored.max(Some(stored_at));
        }
        let known = Known {
            kind,
            run,
            status: report.status,
            waited: Duration::from_millis(report.waited_ms),
            ran: report
                .attempt_id
                .map(|_| Duration::from_micros(report.run_us)),
        };
        self.tasks.insert(report.task, known);
    }

    fn kind(&mut self, name: &str) -> usize {
        let found = self.kinds.iter().position(|kind| kind == name);
        found.unwrap_or_else(|| {
            self.kinds.push(name.to_owned());
            self.kinds.len() - 1
        })
    }

    /// One line for each kind, by its name, and one for all if there are
    /// several.
    pub(crate) fn lines(&self) -> Vec<KindLine> {
        let names: BTreeMap<_, _> = self.kinds.iter().zip(0..).collect();
        let mut lines: Vec<_> = names
            .into_iter()
            .map(|(name, kind)| self.line(name, |task| task.kind == kind))
            .collect();
        if lines.len() > 1 {
            lines.push(self.line("all", |_| true));
        }
        lines
    }

    fn line(&self, name: &str, which: impl Fn(&Known) -> bool) -> KindLine {
        let tasks: Vec<_> = self.tasks.values().filter(|task| which(task)).collect();
        let mut counts = BTreeMap::<Status, u64>::new();
        for task in &tasks {
            *counts.entry(task.status).or_default() += 1;
        }
        let attempted = || {
            tasks
                .iter()
                .filter_map(|task| Some((task.waited, task.ran?)))
        };
        KindLine::new(
            name,
            |status| counts.get(&status).copied().unwrap_or(0),
            times(attempted().map(|(waited, _)| waited).collect()),
            times(attempted().map(|(_, ran)| ran).collect()),
        )
    }

    /// The batch as a whole.
    pub(crate) fn summary(&self, batch: &Batch) -> Summary {
        let closed = self.tasks.values().filter(|task| task.status.is_closed());
        let closed = closed.count() as u64;
        let took = match (self.first_submitted, self.last_stored) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        };
        let per_sec = (!took.is_zero()).then(|| closed as f64 / took.as_secs_f64());
        Summary {
            batch: batch.id.to_string(),
            label: batch.label.clone(),
            submitted: batch.total,
            closed,
            secs: took.as_secs_f64(),
            per_sec,
        }
    }
}

/// The quantiles of `all`, by nearest rank; `None` if there are none.
fn times(mut all: Vec<Duration>) -> Option<Times> {
    all.sort_unstable();
    let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).checked_sub(1)?);
    Some(Times::new(*rank(50)?, *rank(95)?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use homing_protocol::{AttemptId, ContentType, Envelope, Payload, Run};
    use uuid::Uuid;

    use super::*;

    fn report(task: u128, kind: &str, status: Status) -> Report {
        let payload = Payload {
            bytes: Bytes::from_static(b"1"),
            content_type: ContentType::Json,
        };
        let id = Uuid::from_u128(task).into();
        let at = Timestamp::from_ms(1_000);
        let envelope = Envelope::new(id, kind.parse().unwrap(), payload, at);
        let mut report = Report::new(&envelope, status, "tasks", at);
        report.attempt_id = Some(AttemptId::from(Uuid::from_u128(task)));
        report
    }

    fn closed(stats: &BatchStats) -> usize {
        let tasks = stats.tasks.values();
        tasks.filter(|task| task.status.is_closed()).count()
    }

    #[test]
    fn a_task_counts_once_by_what_it_came_to() {
        let mut stats = BatchStats::default();
        let at = Timestamp::from_ms(2_000);
        for status in [
            Status::Retrying,
            Status::Dead,
            Status::Succeeded,
            Status::Failed,
        ] {
            stats.add(&report(1, "a", status), at);
        }
        stats.add(&report(2, "b", Status::Retrying), at);

        let lines = serde_json::to_value(stats.lines()).unwrap();

        assert_eq!((stats.tasks.len(), closed(&stats)), (2, 1));
        assert_eq!(
            (&lines[0]["succeeded"], &lines[0]["tasks"]),
            (&1.into(), &1.into())
        );
        assert_eq!(
            (&lines[1]["retrying"], &lines[2]["kind"]),
            (&1.into(), &"all".into())
        );
    }

    #[test]
    fn a_newer_run_takes_the_place_of_an_older_one() {
        let mut stats = BatchStats::default();
        let at = Timestamp::from_ms(2_000);
        let mut again = report(1, "a", Status::Retrying);
        again.run = Run::FIRST.next();
        stats.add(&report(1, "a", Status::Failed), at);
        stats.add(&again, at);
        stats.add(&report(1, "a", Status::Succeeded), at);

        assert_eq!(closed(&stats), 0);
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let ms = |range: std::ops::RangeInclusive<u64>| range.map(Duration::from_millis).collect();

        assert_eq!(times(Vec::new()), None);
        assert_eq!(times(ms(7..=7)).unwrap().p95_ms.round(), 7.0);
        let hundred = times(ms(1..=100)).unwrap();
        assert_eq!(
            (hundred.p50_ms.round(), hundred.p95_ms.round()),
            (50.0, 95.0)
        );
    }
}
