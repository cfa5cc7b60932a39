//! `homing wait`: until tasks or a batch are closed, by the store.

use std::future::Future;
use std::time::{Duration, Instant};

use homing_protocol::{Status, TaskId};
use homing_store::{Batch, BatchRef, Record, Store, StoreError};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::bar::{bar, pace};
use crate::clean::for_terminal;
use crate::exit::{Exit, of_several};
use crate::named::TaskName;
use crate::near;
use crate::output::{Form, Output, Talk};
use crate::record_line::RecordLine;
use crate::settings::Settings;
use crate::stop::Stop;
use crate::time::{grouped, parse_duration};
use crate::trouble::Trouble;
use crate::which::{quoted, shown};

const EXAMPLES: &str = "\
stdout: of tasks, each output as one line of JSON; of a batch, one line with its
id and its counts. With --json an object for each. Exit status: 0 all succeeded,
1 none did, 3 some did not, 4 timed out; the tasks go on.

Examples:
  homing wait 01a1fc18-d03d-73e9-8668-5257bdd640fb --timeout 30s
  homing wait --batch night-42 --timeout 10m && ./publish.sh";

/// Wait until tasks or a batch are done
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WaitArgs {
    /// The tasks' ids, or of tasks that are stored the first digits
    #[arg(
        value_name = "ID",
        required_unless_present = "batch",
        conflicts_with = "batch"
    )]
    ids: Vec<TaskName>,

    /// Wait for all tasks of this batch: its id or label
    #[arg(long, value_name = "BATCH")]
    batch: Option<BatchRef>,

    /// Stop waiting after this long; the tasks go on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Until the first of them is done
    #[arg(long, conflicts_with = "batch")]
    any: bool,
}

pub(crate) async fn run(args: WaitArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    match args.batch {
        Some(batch) => {
            let there = store.batch(&batch).await;
            if there.map_err(|error| Trouble::store(&error))?.is_none() {
                Talk::new(settings).say(not_there(&batch, &store).await);
            }
            of_batch(&store, &batch, args.timeout, settings).await
        }
        None => {
            let mut output = Output::new(settings);
            let talk = Talk::new(settings);
            let mut ids = Vec::with_capacity(args.ids.len());
            for name in &args.ids {
                ids.push(name.find(&store).await?);
            }
            let waiting = of_tasks(&store, ids.clone(), args.any, &mut output, talk);
            let again = ids.iter().map(TaskId::to_string).collect::<Vec<_>>();
            limited(waiting, args.timeout, &again.join(" "), talk).await
        }
    }
}

/// What to say of a batch that nothing is stored of: its records may be on their
/// way, or its name is another.
async fn not_there(batch: &BatchRef, store: &Store) -> String {
    let near = match batch {
        BatchRef::Label(label) => near::batch(label, store).await,
        BatchRef::Id(_) => None,
    };
    let said = format!("nothing is stored of batch `{}` yet", shown(batch));
    match near {
        Some(near) => format!(
            "{said}, but of `{}`: is that meant? Waiting",
            for_terminal(&near)
        ),
        None => format!("{said}; waiting. `homing audit` names those that are stored"),
    }
}

/// `waiting`, ended by the timeout or Ctrl-C. The tasks go on; `again` names
/// them.
pub(crate) async fn limited(
    waiting: impl Future<Output = Result<Exit, Trouble>>,
    timeout: Option<Duration>,
    again: &str,
    talk: Talk,
) -> Result<Exit, Trouble> {
    let mut stop = Stop::new()?;
    let why = tokio::select! {
        ended = waiting => return ended,
        () = elapsed(timeout) => "the time is up",
        () = stop.asked() => "stopped waiting",
    };
    talk.say(format!("{why}; the tasks go on: homing wait {again}"));
    Ok(Exit::TimedOut)
}

async fn elapsed(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// Waits until all of `ids`, or any of them, are closed; writes the output of
/// each as it comes.
pub(crate) async fn of_tasks(
    store: &Store,
    mut ids: Vec<TaskId>,
    any: bool,
    output: &mut Output,
    talk: Talk,
) -> Result<Exit, Trouble> {
    let told = |error| Trouble::store(&error);
    let mut watch = store.watch().await.map_err(told)?;
    let (mut succeeded, mut others) = (0, 0);
    let bar = bar("waiting  {elapsed}  {msg}", talk);
    loop {
        bar.set_message(match ids.len() {
            1 => "for 1 task".to_owned(),
            tasks => format!("for {} tasks", grouped(tasks as u64)),
        });
        let mut waiting = Vec::with_capacity(ids.len());
        for id in ids {
            match closed(watch.look(|| store.record(id)).await.map_err(told)?) {
                Some(record) => {
                    let (line, status) = (RecordLine::stored(&record), record.report.status);
                    bar.suspend(|| answer(&line, status, output, talk))?;
                    match status {
                        Status::Succeeded => succeeded += 1,
                        _ => others += 1,
                    }
                }
                None => waiting.push(id),
            }
        }
        let done = waiting.is_empty() || (any && succeeded + others > 0);
        if done {
            bar.finish_and_clear();
            return Ok(of_several(succeeded, others));
        }
        ids = waiting;
        watch.changed().await.map_err(told)?;
    }
}

fn closed(record: Option<Record>) -> Option<Record> {
    record.filter(|record| record.report.status.is_closed())
}

/// Writes what came of one task: the output alone on stdout, the rest is talk.
pub(crate) fn answer(
    line: &RecordLine,
    status: Status,
    output: &mut Output,
    talk: Talk,
) -> Result<(), Trouble> {
    let said = line.said();
    talk.say(said.summary());
    if output.form() == Form::Json {
        return output.lines(std::slice::from_ref(line));
    }
    if status == Status::Succeeded {
        let json = said.output().unwrap_or("null");
        let shown = match output.form() {
            Form::Terminal { .. } => for_terminal(json),
            Form::Plain | Form::Json => json.to_owned(),
        };
        return output.text(&shown);
    }
    Ok(())
}

/// A batch's counts as one line.
#[derive(Serialize)]
struct BatchJson {
    batch: String,
    label: String,
    total: Option<u64>,
    #[serde(flatten)]
    counts: std::collections::BTreeMap<&'static str, u64>,
}

/// Waits until the batch is sealed and every task of it is closed.
pub(crate) async fn of_batch(
    store: &Store,
    name: &BatchRef,
    timeout: Option<Duration>,
    settings: &Settings,
) -> Result<Exit, Trouble> {
    let talk = Talk::new(settings);
    let again = match name {
        BatchRef::Id(id) => format!("--batch {id}"),
        BatchRef::Label(label) => format!("--batch {}", quoted(label)),
    };
    let bar = bar("waiting  {wide_bar}  {msg}", talk);
    let waiting = async {
        let batch = all_closed(store, name, &bar).await?;
        bar.finish_and_clear();
        batch_answer(&batch, settings)
    };
    limited(waiting, timeout, &again, talk).await
}

async fn all_closed(store: &Store, name: &BatchRef, bar: &ProgressBar) -> Result<Batch, Trouble> {
    let told = |error| Trouble::store(&error);
    let mut watch = store.watch().await.map_err(told)?;
    let mut began = None;
    loop {
        // Not stored yet is not an error: its records may be on their way.
        if let Some(batch) = watch.look(|| store.batch(name)).await.map_err(told)? {
            let (first, since) =
                *began.get_or_insert_with(|| (batch.counts.closed(), Instant::now()));
            show(
                bar,
                &batch,
                batch.counts.closed().saturating_sub(first),
                since.elapsed(),
            );
            if batch.is_closed() {
                let others = watch.look(|| others(store, &batch)).await;
                if !others.map_err(told)? {
                    return Ok(batch);
                }
            }
        }
        watch.changed().await.map_err(told)?;
    }
}

/// Shows how far a batch is of which `done` were done in the time that it `took`.
fn show(bar: &ProgressBar, batch: &Batch, done: u64, took: Duration) {
    let closed = batch.counts.closed();
    let of = batch.total.map_or_else(
        || format!("{} tasks so far", grouped(closed)),
        |total| format!("{} of {} tasks", grouped(closed), grouped(total)),
    );
    let left = batch.total.map(|total| total.saturating_sub(closed));
    let problems = match batch.counts.problems() {
        0 => String::new(),
        problems => format!("  {} did not succeed", grouped(problems)),
    };
    bar.set_length(batch.total.unwrap_or_else(|| batch.counts.total()).max(1));
    bar.set_position(closed);
    bar.set_message(format!("{of}  {}{problems}", pace(done, took, left)));
}

/// Whether the tasks with an answer, although as many as were submitted, are
/// others: somebody else's are among them, and one is still to come.
async fn others(store: &Store, batch: &Batch) -> Result<bool, StoreError> {
    let audit = store.audit_batch(&BatchRef::Id(batch.id)).await?;
    Ok(audit.is_some_and(|audit| audit.others && audit.batch.total == Some(audit.closed)))
}

fn batch_answer(batch: &Batch, settings: &Settings) -> Result<Exit, Trouble> {
    let output = Output::new(settings);
    let (id, counts) = (batch.id, &batch.counts);
    let succeeded = counts.get(Status::Succeeded);
    if output.form() == Form::Json {
        output.json(&BatchJson {
            batch: id.to_string(),
            label: batch.label.clone(),
            total: batch.total,
            counts: counts
                .iter()
                .map(|(status, n)| (status.as_str(), n))
                .collect(),
        })?;
    } else {
        let parts = counts.iter().filter(|(_, count)| *count > 0);
        let parts = parts.map(|(status, count)| format!("{status} {count}"));
        output.text(&format!("{id}\t{}", parts.collect::<Vec<_>>().join("\t")))?;
    }
    let others = counts.closed().saturating_sub(succeeded);
    if others > 0 {
        let next = format!("  next  homing list --problems --batch {id}");
        Talk::new(settings).say(next);
    }
    Ok(of_several(succeeded, others))
}
