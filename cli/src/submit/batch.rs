//! One task for each row of a file, as a batch.
//!
//! What comes before its rows and after them: those are submitted by the
//! [`Submission`].
//!
//! # Failure
//!
//! Ctrl-C and every error end the same way, from the batch's first record to its
//! last: what is on its way gets a moment for its confirms, the journal is
//! written, the batch stays open, and the person is told how to go on. A kill
//! leaves the journal without its last chunk; those rows keep their ids when they
//! are submitted again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homing_broker::Window;
use homing_faults::{Point, crash_point};
use homing_producer::{Producer, SubmitError};
use homing_protocol::BatchId;
use homing_store::{BatchRef, Store};

use super::journal::Journal;
use super::plan::{Plan, plan};
use super::progress::Progress;
use super::report::{Counts, Report};
use super::submission::Submission;
use super::{SubmitArgs, broker_trouble, checked, submit_trouble};
use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::{Link, Settings};
use crate::stop::Stop;
use crate::trouble::Trouble;
use crate::wait;

/// How long a row may wait for its confirm, across reconnects: a broker that
/// recovers large queues takes minutes.
const CONFIRM_TIME_MAX: Duration = Duration::from_mins(10);

/// How long a resumed batch waits until its new seal is stored: a collector that
/// runs takes milliseconds.
const SEAL_TIME_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(
    args: SubmitArgs,
    file: PathBuf,
    settings: &Settings,
) -> Result<Exit, Trouble> {
    let input = checked::rows(&args, &file, settings).await?;
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
    if let Some(fields) = &input.fields {
        let fields = crate::clean::for_terminal(fields);
        talk.say(format!(
            "fields    {fields}, each a string; others: --column FIELD=COLUMN"
        ));
    }
    let kept = plan.journal.clone();
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
    let progress = Progress::new(input.whole, talk);
    let submission = Submission::new(&args, &link, batch, (plan, journal, progress));
    let Some((exit, total)) = submission.run(input, &report, stop).await? else {
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
    if exit == Exit::Done && waited != Exit::TimedOut && args.many.journal.is_none() {
        remove_journal(&kept, (&name, total), &store).await;
    }
    // All that were submitted succeeded, but some rows were not.
    Ok(if waited == Exit::Done { exit } else { waited })
}

/// Removes the journal of a batch whose every task, `total` in all, has an outcome in
/// the store: it notes nothing that is not there. If this dies before that, or
/// cannot do it, the journal stays, and does no harm.
async fn remove_journal(journal: &Path, (batch, total): (&BatchRef, u64), store: &Store) {
    if let Ok(Some(batch)) = store.batch(batch).await
        && batch.total == Some(total)
        && batch.is_closed()
    {
        let _removed = std::fs::remove_file(journal);
    }
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

fn open_journal(plan: &Plan) -> Result<Journal, Trouble> {
    let path = plan.journal.clone();
    match &plan.noted {
        Some(noted) => Journal::resume(path, noted),
        None => Journal::create(path, &plan.head),
    }
    .map_err(|error| journal_file(&plan.journal, &error))
}

/// Why rows are submitted no further.
pub(super) enum Ended {
    /// Somebody asked for it.
    Interrupted,
    Failed(Trouble),
}

pub(super) fn failed(link: &Link, batch: BatchId) -> impl Fn(SubmitError) -> Ended + '_ {
    let again = format!("--resume {batch} goes on with the rest");
    move |error| Ended::Failed(submit_trouble(link, &again)(error))
}

/// Says how to go on with a batch that is not sealed.
pub(super) fn left_open(report: &Report<'_>, ended: Ended, counts: &Counts) -> Result<(), Trouble> {
    match ended {
        Ended::Interrupted => report.interrupted(counts),
        Ended::Failed(trouble) => {
            report.failed(counts);
            Err(trouble)
        }
    }
}

pub(super) fn journal_file(path: &Path, error: &io::Error) -> Trouble {
    let shown = path.display().to_string();
    Trouble::file("write the journal", &shown, error).fix("name another: --journal FILE")
}
