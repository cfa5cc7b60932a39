//! `homing submit`: one task, or one for each row of a file.

mod batch;
mod checked;
mod columns;
mod csv;
mod input;
mod journal;
mod ndjson;
mod one;
mod opened;
mod plan;
mod progress;
mod records;
mod rejects;
mod report;
mod rows;
mod submission;

use std::num::{NonZeroU16, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use homing_broker::BrokerError;
use homing_producer::SubmitError;
use homing_protocol::limit::BUNDLE_MAX;
use homing_protocol::{BatchId, Envelope, QueueName, TaskId, TaskKind, Timestamp};

use self::columns::Column;
use self::input::Format;
use crate::exit::Exit;
use crate::near;
use crate::output::Talk;
use crate::pace::Rate;
use crate::settings::{Link, Settings};
use crate::time::{parse_duration, parse_point, span};
use crate::trouble::Trouble;
use crate::which::{now, parse_task};

/// The longest delay: a leap year.
const DELAY_MAX: Duration = Duration::from_hours(24 * 366);

const EXAMPLES: &str = "\
stdout: the task's id, or the batch's. With --wait, the task's output, or the
batch's counts.

CSV: the first line names the columns, each row is an object of strings by these
names. Where the task has other fields, or they are no strings, name them: with
--column it has the named fields alone, read as :number, :bool or :json where
that is said; there an empty cell is null.

--key: a task with another payload than before runs too, but the first outcome
stays; `homing show` has the other one as a conflict. --wait says so and prints
the first; without it nothing is said.

--limit: the batch is sealed with what is in the first N rows; --resume with a
higher limit, or with none, adds the rest and seals it anew.

A row's id is made from its batch, its number, the kind and the payload: an
edited row is a new task, and with other columns all are. A row's number is its
line, in CSV its place below the names. Rows that were not confirmed when this
was killed may run twice; each has one outcome. Edit no row that may have been
among them: its old task may be queued uncounted.

Confirmed rows are noted in a journal beside the file; --resume leaves out those
and what is stored. With --wait the journal is removed once the store has every
outcome of the batch. Without, remove it when `homing wait --batch` is done.

What is given is checked by the JSON Schema that a worker of KIND has declared,
if the store knows one (`homing schema KIND`). Of a FILE with rows that are no
JSON, or do not match, nothing is sent: they are told with their lines. With
--rejects, or from a pipe, they are kept in a file, and the others are sent.

Delayed tasks wait in the broker, to the second, for up to a year; an --at that
is past is due at once.

Examples:
  homing submit demo.checksum '{\"path\":\"Cargo.toml\"}' --wait
  homing submit image.resize @one.json --delay 10m
  homing submit report.daily --at 2026-12-01T06:00:00Z
  homing submit image.resize --rows images.ndjson --batch night-42 --wait
  homing submit image.resize --rows in.csv --column path=File \\
    --column width=Width:number --limit 100
  generate-rows | homing submit image.resize --rows - --rate 50/s";

/// Submit one task, or one for each row of a file
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "homing submit [OPTIONS] <KIND> [PAYLOAD]\n       homing submit [OPTIONS] <KIND> --rows <FILE>"
)]
pub(crate) struct SubmitArgs {
    /// Kind of the task, such as image.resize
    kind: TaskKind,

    /// JSON; @FILE reads it from a file, - from stdin [default: null]
    #[arg(conflicts_with = "rows")]
    payload: Option<String>,

    #[command(flatten)]
    many: Many,

    #[command(flatten)]
    each: Each,

    #[command(flatten)]
    checking: Checking,

    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Many tasks")]
struct Many {
    /// One task for each line of JSON, or row of CSV; - is stdin
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,

    /// ndjson or csv [default: csv if FILE ends in .csv, or ndjson]
    #[arg(
        long,
        value_name = "FORMAT",
        requires = "rows",
        hide_possible_values = true
    )]
    format: Option<Format>,

    /// CSV: a field and its column, with :number, :bool or :json; repeat it
    #[arg(long = "column", value_name = "FIELD=COLUMN", requires = "rows")]
    columns: Vec<Column>,

    /// Only the first N rows; --resume may go on past them
    #[arg(long, value_name = "N", requires = "rows")]
    limit: Option<NonZeroU64>,

    /// At most N tasks per second, evenly
    #[arg(long, value_name = "N", requires = "rows")]
    rate: Option<Rate>,

    /// What to call them [default: KIND and the time]
    #[arg(long, value_name = "LABEL", requires = "rows")]
    batch: Option<String>,

    /// Go on with a batch: leave out rows that are confirmed or stored
    #[arg(long, value_name = "BATCH-ID", requires = "rows")]
    resume: Option<BatchId>,

    /// Up to N small tasks in one message: for tasks that take milliseconds
    #[arg(
        long,
        value_name = "N",
        requires = "rows",
        default_value = "1",
        hide_default_value = true,
        value_parser = bundle
    )]
    bundle: NonZeroU16,

    /// Send the others, and keep rows that cannot be sent here
    #[arg(long, value_name = "FILE", requires = "rows")]
    rejects: Option<PathBuf>,

    /// Rows that were confirmed [default: FILE.BATCH-ID.journal]
    #[arg(long, value_name = "FILE", requires = "rows")]
    journal: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Each task")]
struct Each {
    /// Not before: 30s, 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    delay: Option<Duration>,

    /// Not before this point: 2026-12-01T06:00:00Z
    #[arg(
        long,
        value_name = "POINT",
        value_parser = parse_point,
        conflicts_with = "delay"
    )]
    at: Option<Timestamp>,

    /// Not at all, unless started within: 30s, 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    expires: Option<Duration>,

    /// 0 to 9, higher first, from RabbitMQ 4.0 on
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=9)
    )]
    priority: u8,

    /// Where workers take it from
    #[arg(
        long,
        value_name = "NAME",
        env = "HOMING_QUEUE",
        default_value = "tasks"
    )]
    queue: QueueName,

    /// One task for this kind and key: submitted again it may run again, and has
    /// one outcome
    #[arg(long, value_name = "KEY", conflicts_with = "rows")]
    key: Option<String>,

    /// The task of this id: submitted twice, stored once
    #[arg(
        long,
        value_name = "ID",
        value_parser = parse_task,
        conflicts_with_all = ["rows", "key"]
    )]
    id: Option<TaskId>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Checking")]
struct Checking {
    /// Check by this JSON Schema [default: what a worker of KIND has declared, if
    /// the store is here]
    #[arg(long, value_name = "FILE", conflicts_with = "unchecked")]
    schema: Option<PathBuf>,

    /// Send what does not match, too
    #[arg(long)]
    unchecked: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Waiting")]
struct Waiting {
    /// Wait for the outcome, and print the output
    #[arg(long)]
    wait: bool,

    /// Stop waiting after this long; the task goes on
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "wait")]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: SubmitArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let now = now();
    args.each.check(now)?;
    let talk = Talk::new(settings);
    args.each.say_past(now, talk);
    // Whoever waits for one task is told while it is on its way.
    if args.is_batch() || !args.waiting.wait {
        near::say_kind(args.kind.as_str(), settings, talk).await;
    }
    match &args.many.rows {
        Some(rows) => {
            let rows = rows.clone();
            batch::run(args, rows, settings).await
        }
        None => one::run(args, settings).await,
    }
}

impl SubmitArgs {
    /// Whether it submits rows, and so may take long.
    pub(crate) const fn is_batch(&self) -> bool {
        self.many.rows.is_some()
    }
}

#[cfg(test)]
impl Many {
    /// No flag is given.
    const fn none() -> Self {
        Self {
            rows: None,
            format: None,
            columns: Vec::new(),
            limit: None,
            rate: None,
            batch: None,
            resume: None,
            bundle: NonZeroU16::MIN,
            rejects: None,
            journal: None,
        }
    }
}

impl Each {
    /// Refuses what can never run, or not before everybody has forgotten it.
    fn check(&self, now: Timestamp) -> Result<(), Trouble> {
        let Some(due) = self.due_at(now) else {
            return Ok(());
        };
        let wait = due.since(now);
        if wait > DELAY_MAX {
            return Err(
                Trouble::new(Exit::Usage, format!("the task is due in {}", span(wait)))
                    .from(if self.at.is_some() { "--at" } else { "--delay" })
                    .fix("give a time within a year"),
            );
        }
        if self.expires.is_some_and(|expires| expires <= wait) {
            return Err(
                Trouble::new(Exit::Usage, "the task would expire before its delay ends")
                    .from(match self.at {
                        Some(_) => "--expires, which counts from now",
                        None => "--expires, which counts from now, as --delay does",
                    })
                    .fix("give a longer --expires, or none"),
            );
        }
        Ok(())
    }

    /// Says of a point in time that is past what becomes of it.
    fn say_past(&self, now: Timestamp, talk: Talk) {
        if let Some(at) = self.at.filter(|at| *at < now) {
            talk.say(format!("--at was {} ago: due at once", span(now.since(at))));
        }
    }

    /// Whether the task may be one that was submitted before.
    const fn is_named(&self) -> bool {
        self.key.is_some() || self.id.is_some()
    }

    /// When a task submitted at `now` is due, if not at once.
    fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let delayed = self.delay.map(|delay| now.after(delay));
        self.at.or(delayed).filter(|due| *due > now)
    }

    /// Gives `envelope` what holds for each task.
    fn apply(&self, envelope: &mut Envelope) {
        let now = envelope.submitted_at;
        envelope.due_at = self.due_at(now);
        envelope.expires_at = self.expires.map(|wait| now.after(wait));
        envelope.priority = self.priority;
    }
}

/// How many tasks a message may carry.
fn bundle(text: &str) -> Result<NonZeroU16, String> {
    let tasks = text.parse().ok();
    let tasks = tasks.filter(|tasks: &NonZeroU16| usize::from(tasks.get()) <= BUNDLE_MAX);
    tasks.ok_or_else(|| format!("it takes a number from 1 to {BUNDLE_MAX}"))
}

/// A broker that cannot be used.
pub(crate) fn broker_trouble(link: &Link) -> impl Fn(BrokerError) -> Trouble + '_ {
    |error| link.trouble(&error)
}

/// A task or a record that was not submitted, or is not known to be; `again` says
/// how to submit it again as the same.
pub(crate) fn submit_trouble<'a>(
    link: &'a Link,
    again: &'a str,
) -> impl Fn(SubmitError) -> Trouble + 'a {
    move |error| match &error {
        SubmitError::Encode { source, .. } => Trouble::payload(source, "what was given"),
        SubmitError::Label { source, .. } => Trouble::payload(source, "--batch"),
        SubmitError::Publish { source, .. } | SubmitError::Record { source, .. } => {
            link.publish_trouble(source, again)
        }
        other => Trouble::bug(other),
    }
}
