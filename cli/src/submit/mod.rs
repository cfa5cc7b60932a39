//! `homing submit`: one task, or one for each row of a file.

mod batch;
mod journal;
mod one;
mod plan;
mod rejects;
mod report;
mod rows;

use std::path::PathBuf;
use std::time::Duration;

use homing_broker::BrokerError;
use homing_producer::SubmitError;
use homing_protocol::{BatchId, Envelope, QueueName, TaskKind};

use crate::exit::Exit;
use crate::settings::{Link, Settings};
use crate::time::parse_duration;
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
stdout: the task's id, or the batch's. With --wait, the task's output, or the
batch's counts. A row's id is made from its batch, its line number, the kind and
the payload: an edited row is a new task. Confirmed rows are noted in a journal
beside the file; --resume leaves out those and what is stored. Rows that were
not confirmed when this was killed may run twice; each has one outcome. Edit
no row that may have been among them: its old task may be queued uncounted.

Examples:
  homing submit demo.checksum '{\"path\":\"Cargo.toml\"}' --wait
  homing submit image.resize @one.json --delay 10m
  homing submit image.resize --rows images.ndjson --batch night-42 --wait
  generate-rows | homing submit image.resize --rows -";

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
    waiting: Waiting,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Many tasks")]
struct Many {
    /// One task for each line of JSON; - is stdin
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,

    /// What to call them [default: KIND and the time]
    #[arg(long, value_name = "LABEL", requires = "rows")]
    batch: Option<String>,

    /// Go on with a batch: leave out rows that are confirmed or stored
    #[arg(long, value_name = "BATCH-ID", requires = "rows")]
    resume: Option<BatchId>,

    /// Rows that were not submitted [default: FILE.rejects]
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

    /// One task for this kind and key: submitted twice, stored once
    #[arg(long, value_name = "KEY", conflicts_with = "rows")]
    key: Option<String>,
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
    args.each.check()?;
    match &args.many.rows {
        Some(rows) => {
            let rows = rows.clone();
            batch::run(args, rows, settings).await
        }
        None => one::run(args, settings).await,
    }
}

impl Each {
    /// Refuses what can never run.
    fn check(&self) -> Result<(), Trouble> {
        match (self.delay, self.expires) {
            (Some(delay), Some(expires)) if expires <= delay => Err(Trouble::new(
                Exit::Usage,
                "the task would expire before its delay ends",
            )
            .from("--expires, which counts from now, as --delay does")
            .fix("give a longer --expires, or none")),
            _ => Ok(()),
        }
    }

    /// Gives `envelope` what holds for each task.
    fn apply(&self, envelope: &mut Envelope) {
        let now = envelope.submitted_at;
        envelope.due_at = self
            .delay
            .filter(|delay| !delay.is_zero())
            .map(|delay| now.after(delay));
        envelope.expires_at = self.expires.map(|wait| now.after(wait));
        envelope.priority = self.priority;
    }
}

/// A broker that cannot be used.
pub(crate) fn broker_trouble(link: &Link) -> impl Fn(BrokerError) -> Trouble + '_ {
    |error| link.trouble(&error)
}

/// A task or a record that was not submitted, or is not known to be.
pub(crate) fn submit_trouble(link: &Link) -> impl Fn(SubmitError) -> Trouble + '_ {
    |error| match &error {
        SubmitError::Encode { source, .. } => Trouble::payload(source, "what was given"),
        SubmitError::Label { source, .. } => Trouble::payload(source, "--batch"),
        SubmitError::Publish { source, .. } | SubmitError::Record { source, .. } => {
            link.publish_trouble(source)
        }
        other => Trouble::bug(other),
    }
}
