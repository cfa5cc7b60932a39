//! One task for each row of a file, as a batch.
//!
//! Rows are read ahead, published through the producer's window and noted in
//! the journal as their confirms come, in whatever order. Nothing here grows
//! with the file but, when a batch is resumed, the ids it has already.
//!
//! # Failure
//!
//! Ctrl-C and every error end the same way, from the batch's first record to its
//! last: what is on its way gets a moment for its confirms, the journal is
//! written, the batch stays open, and the person is told how to go on. A kill
//! leaves the journal without its last chunk; those rows keep their ids when they
//! are submitted again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use homing_broker::Window;
use homing_faults::{Point, crash_point};
use homing_producer::{Batch, Producer, SubmitError, bundles};
use homing_protocol::{BatchId, Envelope, IdSum, TaskId};
use homing_store::BatchRef;
use tokio::sync::mpsc;

use super::journal::Journal;
use super::plan::{Plan, plan};
use super::rejects::Rejects;
use super::report::{Counts, Progress, Report};
use super::rows::{self, Chunk, Row, Source};
use super::{SubmitArgs, broker_trouble, submit_trouble};
use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::{Link, Settings};
use crate::stop::{LAST_CONFIRMS_TIME, Stop};
use crate::trouble::Trouble;
use crate::wait;

/// How long a row may wait for its confirm, across reconnects: a broker that
/// recovers large queues takes minutes.
const CONFIRM_TIME_MAX: Duration = Duration::from_mins(10);

/// How long rows on their way may take once this is to end, as long as there is
/// one confirm after the other.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a resumed batch waits until its new seal is stored: a collector that
/// runs takes milliseconds.
const SEAL_TIME_MAX: Duration = Duration::from_secs(2);

/// How often confirmed rows are written to the journal, at least.
const JOURNAL_PERIOD: Duration = Duration::from_millis(200);

pub(super) async fn run(
    args: SubmitArgs,
    file: PathBuf,
    settings: &Settings,
) -> Result<Exit, Trouble> {
    let (source, bytes) = open(&file)?;
    let link = settings.link(std::slice::from_ref(&args.each.queue))?;
    let plan = plan(&args, &file, settings).await?;
    let window = Window {
        deadline: Some(CONFIRM_TIME_MAX),
        ..Window::DEFAULT
    };
    let producer = Producer::open_with(link.broker.clone(), window).await;
    let producer = producer.map_err(broker_trouble(&link))?;
    let journal = open_journal(&plan)?;
    crash_point(Point::SubmitJournalCreated);
    let (id, label) = (plan.head.batch, plan.head.label.clone());
    let talk = Talk::new(settings);
    let report = Report::new(&args, &file, plan.head.clone(), settings);
    let mut stop = Stop::new()?;
    let opened = tokio::select! {
        biased;
        () = stop.asked() => Err(Ended::Interrupted),
        opened = producer.resume(id, label.clone(), plan.recorded_at) => opened.map_err(failed(&link, id)),
    };
    let batch = match opened {
        Ok(batch) => batch,
        Err(ended) => {
            left_open(&report, ended, &Counts::none(plan.known.len() as u64))?;
            return Ok(Exit::Partly);
        }
    };
    let mut submission = Submission {
        args: &args,
        link: &link,
        batch,
        journal,
        rejects: Rejects::new(plan.rejects.clone()),
        ids: plan.known.iter().copied().collect(),
        plan,
        on_their_way: FuturesUnordered::new(),
        left_out: 0,
        unconfirmed: 0,
        confirmed: 0,
        progress: Progress::new(&label, bytes, talk),
    };
    submission.note_record()?;
    let Some((exit, total)) = submission.run(source, &report, stop).await? else {
        return Ok(Exit::Partly);
    };
    if args.many.resume.is_some() {
        new_seal(id, total, settings).await?;
    }
    if !args.waiting.wait {
        return Ok(exit);
    }
    let store = settings.open_store().await?;
    let name = BatchRef::Id(id);
    let waited = wait::of_batch(&store, &name, args.waiting.timeout, settings).await?;
    // All that were submitted succeeded, but some rows were not.
    Ok(if waited == Exit::Done { exit } else { waited })
}

/// Waits until the store no longer has the seal that a resumed batch had before:
/// whoever waits for the batch next would be answered by its old total.
async fn new_seal(id: BatchId, total: u64, settings: &Settings) -> Result<(), Trouble> {
    // A producer needs no store; without one nobody waits from here.
    let Ok(store) = settings.open_store().await else {
        return Ok(());
    };
    let told = |error| Trouble::store(&error);
    let name = BatchRef::Id(id);
    let stored = async {
        let mut watch = store.watch().await.map_err(told)?;
        loop {
            let batch = watch.look(|| store.batch(&name)).await.map_err(told)?;
            let known = batch.and_then(|batch| batch.total);
            if known.is_none_or(|known| known == total) {
                return Ok(());
            }
            watch.changed().await.map_err(told)?;
        }
    };
    // Without a collector it never comes.
    let in_time = tokio::time::timeout(SEAL_TIME_MAX, stored).await;
    in_time.unwrap_or(Ok(()))
}

fn open(file: &Path) -> Result<(Source, Option<u64>), Trouble> {
    if file == Path::new("-") {
        return Ok((Source::Stdin, None));
    }
    let shown = file.display().to_string();
    let failed = |error| Trouble::file("read", &shown, &error);
    let opened = File::open(file).map_err(failed)?;
    let found = opened.metadata().map_err(failed)?;
    if found.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    Ok((Source::File(opened), found.is_file().then_some(found.len())))
}

fn open_journal(plan: &Plan) -> Result<Journal, Trouble> {
    let path = plan.journal.clone();
    match &plan.noted {
        Some(noted) => Journal::resume(path, noted),
        None => Journal::create(path, &plan.head),
    }
    .map_err(|error| journal_file(&plan.journal, &error))
}

/// Why rows are submitted no further.
enum Ended {
    /// Somebody asked for it.
    Interrupted,
    Failed(Trouble),
}

fn failed(link: &Link, batch: BatchId) -> impl Fn(SubmitError) -> Ended + '_ {
    let again = format!("--resume {batch} goes on with the rest");
    move |error| Ended::Failed(submit_trouble(link, &again)(error))
}

/// Says how to go on with a batch that is not sealed.
fn left_open(report: &Report<'_>, ended: Ended, counts: &Counts) -> Result<(), Trouble> {
    match ended {
        Ended::Interrupted => report.interrupted(counts),
        Ended::Failed(trouble) => {
            report.failed(counts);
            Err(trouble)
        }
    }
}

/// The rows of a message, with their tasks.
type Confirmed = Result<Vec<(u64, TaskId)>, SubmitError>;

struct Submission<'a> {
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
    /// Of what is confirmed, also by earlier runs.
    ids: IdSum,
    progress: Progress,
}

impl Submission<'_> {
    /// Submits all rows and seals the batch with their number, which it answers;
    /// `None` if it was interrupted.
    async fn run(
        mut self,
        source: Source,
        report: &Report<'_>,
        mut stop: Stop,
    ) -> Result<Option<(Exit, u64)>, Trouble> {
        let (id, began) = (self.batch.id(), Instant::now());
        let fed = self.feed(source, &mut stop).await;
        if fed.is_err() {
            self.drain(&mut stop).await;
        }
        self.keep(fed.is_ok())?;
        self.progress.clear();
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

    async fn feed(&mut self, source: Source, stop: &mut Stop) -> Result<(), Ended> {
        let mut chunks: mpsc::Receiver<io::Result<Chunk>> = rows::read(source);
        let mut period = tokio::time::interval(JOURNAL_PERIOD);
        loop {
            tokio::select! {
                biased;
                () = stop.asked() => return Err(Ended::Interrupted),
                _ = period.tick() => self.write_journal()?,
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
                _ = period.tick() => self.write_journal()?,
            }
        }
        Ok(())
    }

    async fn take(&mut self, chunk: Chunk, stop: &mut Stop) -> Result<(), Ended> {
        let mut tasks = Vec::with_capacity(chunk.rows.len());
        for row in chunk.rows {
            tasks.extend(self.task(row)?);
        }
        for bundle in bundles(tasks, self.args.many.bundle.get()) {
            self.submit(&bundle, stop).await?;
            while let Some(Some(confirmed)) = self.on_their_way.next().now_or_never() {
                self.note(confirmed)?;
            }
        }
        self.progress
            .read(chunk.bytes, self.confirmed + self.left_out);
        Ok(())
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
        let mut envelope = self.batch.envelope(row.line, kind, payload);
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

fn journal_file(path: &Path, error: &io::Error) -> Trouble {
    let shown = path.display().to_string();
    Trouble::file("write the journal", &shown, error).fix("name another: --journal FILE")
}

fn rejects_file(path: &Path, error: &io::Error) -> Trouble {
    let shown = path.display().to_string();
    Trouble::file("write the rejects", &shown, error).fix("name another: --rejects FILE")
}
