//! Submits the rows of a file to a batch that is open, and seals it.
//!
//! Rows are read ahead, published through the producer's window and noted in
//! the journal as their confirms come, in whatever order. Nothing here grows
//! with the file but, when a batch is resumed, the ids it has already.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use homing_faults::{Point, crash_point};
use homing_producer::{Batch, SubmitError, bundles};
use homing_protocol::{Envelope, IdSum, TaskId};
use tokio::time::Interval;

use super::SubmitArgs;
use super::batch::{Ended, failed, journal_file, left_open};
use super::checked::endless;
use super::input::Input;
use super::journal::Journal;
use super::plan::Plan;
use super::progress::{Amount, Progress};
use super::rejects::Rejects;
use super::report::{Counts, Report};
use super::rows::{Chunk, Row};
use crate::exit::Exit;
use crate::pace::Pace;
use crate::schema::CHECK_TIME_MAX;
use crate::settings::Link;
use crate::stop::{LAST_CONFIRMS_TIME, Stop};
use crate::trouble::Trouble;

/// How long rows on their way may take once this is to end, as long as there is
/// one confirm after the other.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How often confirmed rows are written to the journal, at least.
const JOURNAL_PERIOD: Duration = Duration::from_millis(200);

/// The rows of a message, with their tasks.
type Confirmed = Result<Vec<(u64, TaskId)>, SubmitError>;

/// A batch on its way.
pub(super) struct Submission<'a> {
    args: &'a SubmitArgs,
    link: &'a Link,
    batch: Batch,
    plan: Plan,
    journal: Journal,
    rejects: Rejects,
    /// Messages without a confirm yet; the publisher's window bounds them.
    on_their_way: FuturesUnordered<BoxFuture<'static, Confirmed>>,
    left_out: u64,
    /// The rows of those messages.
    unconfirmed: u64,
    confirmed: u64,
    /// How much of the file has been gone through.
    read: Amount,
    pace: Option<Pace>,
    journal_period: Interval,
    /// Of what is confirmed, also by earlier runs.
    ids: IdSum,
    progress: Progress,
}

impl<'a> Submission<'a> {
    /// Of a batch whose first record is confirmed.
    pub(super) fn new(
        args: &'a SubmitArgs,
        link: &'a Link,
        batch: Batch,
        (plan, journal, progress): (Plan, Journal, Progress),
    ) -> Self {
        let pace = |rate| Pace::new(rate, tokio::time::Instant::now());
        Self {
            args,
            link,
            batch,
            journal,
            rejects: Rejects::new(plan.rejects.clone()),
            ids: plan.known.iter().copied().collect(),
            plan,
            on_their_way: FuturesUnordered::new(),
            left_out: 0,
            unconfirmed: 0,
            confirmed: 0,
            read: Amount::default(),
            pace: args.many.rate.map(pace),
            journal_period: tokio::time::interval(JOURNAL_PERIOD),
            progress,
        }
    }

    /// Submits all rows and seals the batch with their number, which it answers;
    /// `None` if it was interrupted.
    pub(super) async fn run(
        mut self,
        input: Input,
        report: &Report<'_>,
        mut stop: Stop,
    ) -> Result<Option<(Exit, u64)>, Trouble> {
        self.note_record()?;
        let (id, began) = (self.batch.id(), Instant::now());
        let fed = self.feed(input, &mut stop).await;
        if fed.is_err() {
            self.drain(&mut stop).await;
        }
        self.progress.clear();
        self.keep(fed.is_ok())?;
        let counts = self.counts(began.elapsed());
        if fed.is_ok() {
            self.note_record()?;
        }
        let ended = match fed {
            Ok(()) => tokio::select! {
                biased;
                () = stop.asked() => Err(Ended::Interrupted),
                sealed = self.batch.seal_with(counts.total, self.ids) => sealed.map_err(failed(self.link, id)),
            },
            Err(ended) => Err(ended),
        };
        if let Err(ended) = ended {
            left_open(report, ended, &counts)?;
            return Ok(None);
        }
        report.done(&counts, &self.rejects)?;
        let rejected = self.rejects.count() > 0;
        let exit = if rejected { Exit::Partly } else { Exit::Done };
        Ok(Some((exit, counts.total)))
    }

    async fn feed(&mut self, input: Input, stop: &mut Stop) -> Result<(), Ended> {
        let mut watch = input.watch();
        let mut is_endless = move || {
            let watch = watch.as_mut();
            watch.is_some_and(|watch| watch.is_stuck(CHECK_TIME_MAX, Instant::now()))
        };
        let mut chunks = input.read();
        loop {
            tokio::select! {
                biased;
                () = stop.asked() => return Err(Ended::Interrupted),
                _ = self.journal_period.tick() => {
                    self.write_journal()?;
                    if is_endless() {
                        return Err(Ended::Failed(endless()));
                    }
                },
                Some(confirmed) = self.on_their_way.next() => self.note(confirmed)?,
                chunk = chunks.recv() => match chunk {
                    Some(Ok(chunk)) => self.take(chunk, stop).await?,
                    Some(Err(error)) => return Err(Ended::Failed(Trouble::file("read", "the rows", &error))),
                    None => break,
                },
            }
        }
        while !self.on_their_way.is_empty() {
            tokio::select! {
                () = stop.asked() => return Err(Ended::Interrupted),
                Some(confirmed) = self.on_their_way.next() => self.note(confirmed)?,
                _ = self.journal_period.tick() => self.write_journal()?,
            }
        }
        Ok(())
    }

    async fn take(&mut self, chunk: Chunk, stop: &mut Stop) -> Result<(), Ended> {
        let amount = Amount {
            bytes: chunk.bytes,
            rows: chunk.rows.len() as u64,
        };
        let mut tasks = Vec::with_capacity(chunk.rows.len());
        for row in chunk.rows {
            tasks.extend(self.task(row)?);
        }
        let (mut gone, all) = (0, tasks.len() as u64);
        for bundle in bundles(tasks, self.bundle_max()) {
            self.turn(bundle.len() as u32, stop).await?;
            self.submit(&bundle, stop).await?;
            while let Some(Some(confirmed)) = self.on_their_way.next().now_or_never() {
                self.note(confirmed)?;
            }
            gone += bundle.len() as u64;
            let read = self.read.and(amount.part(gone, all));
            self.progress.show(read, self.confirmed);
        }
        self.read = self.read.and(amount);
        self.progress.show(self.read, self.confirmed);
        Ok(())
    }

    /// Tasks that go together: not more than may go in a second.
    fn bundle_max(&self) -> u16 {
        let most = self.args.many.bundle.get();
        let rate = self
            .args
            .many
            .rate
            .map_or(u32::MAX, |rate| rate.per_sec().get());
        u16::try_from(rate).map_or(most, |rate| rate.min(most))
    }

    /// Waits until the next `tasks` may go, if there is a rate to keep to.
    async fn turn(&mut self, tasks: u32, stop: &mut Stop) -> Result<(), Ended> {
        let Some(pace) = &mut self.pace else {
            return Ok(());
        };
        let due = pace.turn(tasks);
        loop {
            tokio::select! {
                biased;
                () = stop.asked() => return Err(Ended::Interrupted),
                _ = self.journal_period.tick() => self.write_journal()?,
                Some(confirmed) = self.on_their_way.next() => self.note(confirmed)?,
                () = tokio::time::sleep_until(due) => return Ok(()),
            }
        }
    }

    /// The task of a row; `None` if it is rejected, or confirmed already.
    fn task(&mut self, row: Row) -> Result<Option<Envelope>, Ended> {
        let payload = match row.payload {
            Ok(payload) => payload,
            Err(rejected) => {
                let kept = self.rejects.keep(row.line, &rejected);
                kept.map_err(|error| self.rejects_trouble(&error))?;
                return Ok(None);
            }
        };
        let kind = self.plan.head.kind.clone();
        let mut envelope = self.batch.envelope(row.number, kind, payload);
        if self.plan.known.contains(&envelope.id) {
            self.left_out += 1;
            return Ok(None);
        }
        self.args.each.apply(&mut envelope);
        Ok(Some(envelope))
    }

    async fn submit(&mut self, bundle: &[Envelope], stop: &mut Stop) -> Result<(), Ended> {
        let pushed = tokio::select! {
            biased;
            () = stop.asked() => return Err(Ended::Interrupted),
            pushed = self.batch.push_bundle(bundle, &self.args.each.queue) => {
                pushed.map_err(failed(self.link, self.batch.id()))?
            }
        };
        let row = |task: &Envelope| (task.batch.map_or(0, |place| place.row), task.id);
        let rows: Vec<_> = bundle.iter().map(row).collect();
        self.unconfirmed += rows.len() as u64;
        let confirm = async move {
            pushed.await?;
            Ok(rows)
        };
        self.on_their_way.push(confirm.boxed());
        Ok(())
    }

    fn note(&mut self, confirmed: Confirmed) -> Result<(), Ended> {
        let rows = confirmed.map_err(failed(self.link, self.batch.id()))?;
        crash_point(Point::SubmitConfirmed);
        self.note_rows(rows)
            .map_err(|error| self.journal_trouble(&error))
    }

    fn note_rows(&mut self, rows: Vec<(u64, TaskId)>) -> io::Result<()> {
        for (_, task) in &rows {
            self.confirmed += 1;
            self.unconfirmed -= 1;
            self.ids.add(*task);
        }
        let mut rows = rows.into_iter();
        rows.try_for_each(|(row, task)| self.journal.note(row, task))
    }

    /// Gives what is on its way a moment for its confirms.
    async fn drain(&mut self, stop: &mut Stop) {
        let all = async {
            while let Ok(Some(confirmed)) =
                tokio::time::timeout(LAST_CONFIRMS_TIME, self.on_their_way.next()).await
            {
                // Why it ends is known already; what is confirmed still counts.
                if let Ok(rows) = confirmed {
                    let _kept = self.note_rows(rows);
                }
            }
        };
        tokio::select! {
            () = all => {}
            () = tokio::time::sleep(DRAIN_TIME_MAX) => {}
            () = stop.asked() => {}
        }
    }

    fn keep(&mut self, complete: bool) -> Result<(), Trouble> {
        let journal = self.journal.finish();
        journal.map_err(|error| journal_file(self.journal.path(), &error))?;
        let rejects = self.rejects.finish(complete);
        rejects.map_err(|error| rejects_file(self.rejects.path(), &error))
    }

    /// Notes the time of a record of the batch that is, or is about to be,
    /// published, for whoever goes on with it.
    fn note_record(&mut self) -> Result<(), Trouble> {
        let noted = self.journal.note_record(self.batch.record_time());
        noted.map_err(|error| journal_file(self.journal.path(), &error))
    }

    fn write_journal(&mut self) -> Result<(), Ended> {
        let written = self.journal.write();
        written.map_err(|error| self.journal_trouble(&error))
    }

    fn counts(&self, took: Duration) -> Counts {
        Counts {
            confirmed: self.confirmed,
            left_out: self.left_out,
            unconfirmed: self.unconfirmed,
            rejected: self.rejects.count(),
            total: self.plan.known.len() as u64 + self.confirmed,
            took,
        }
    }

    fn journal_trouble(&self, error: &io::Error) -> Ended {
        Ended::Failed(journal_file(self.journal.path(), error))
    }

    fn rejects_trouble(&self, error: &io::Error) -> Ended {
        Ended::Failed(rejects_file(self.rejects.path(), error))
    }
}

fn rejects_file(path: &Path, error: &io::Error) -> Trouble {
    let shown = path.display().to_string();
    Trouble::file("write the rejects", &shown, error).fix("name another: --rejects FILE")
}
