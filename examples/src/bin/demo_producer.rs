//! The producer of `make demo`: two tasks for each file, all as one batch, and
//! their outcomes as they are stored.
//!
//! Reads names of files from stdin, each ended by a zero byte.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use homing::prelude::*;
use homing::protocol::BatchId;
use homing::store::{BatchRef, Filter, Position, Record, Store, StoreUrl};
use homing_examples::{Checksum, Words};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::tz::TimeZone;

/// Outcomes that are shown one by one; a screen has room for no more.
const SHOWN_MAX: usize = 20;

/// Successes of one kind that are shown, so that there is room for the other
/// kind and for what fails.
const SHOWN_OF_KIND_MAX: usize = 9;

/// Records read from the store at once.
const PAGE: u32 = 500;

/// Characters of an output that are shown: what is left of 120 columns.
const OUTPUT_CHARS_MAX: usize = 32;

/// Characters of an error that are shown, on a second line if need be.
const ERROR_CHARS_MAX: usize = 120;

/// How long nothing may be stored before that counts as never: a worker that
/// died is noticed at once, a broker that stalls recovers in seconds.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// After this many files comes the task that fails.
const FILES_BEFORE_FAILURE: usize = 2;

fn main() -> ExitCode {
    match produce() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn produce() -> Result<()> {
    let [label, folder, store] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .ok()
        .context("usage: demo_producer LABEL FOLDER STORE, names of files on stdin")?;
    let files = files()?;
    ensure!(!files.is_empty(), "there are no files in {folder}");
    let store = Store::open(&store.parse::<StoreUrl>()?).await?;
    let producer = Producer::from_env().await?;

    let start = store.end().await?;
    let batch = producer.batch(&*label).await?;
    let total = 2 * files.len() as u64 + 1;
    say(&format!(
        "\n{total} tasks from {} files of {folder} as batch {label}\n",
        files.len()
    ))?;
    let mut show = Show::new(store, batch.id(), total);
    tokio::try_join!(submit(batch, files), show.follow(start))?;
    Ok(())
}

fn files() -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    std::io::stdin().read_to_end(&mut names)?;
    // A name that is no text cannot travel in a payload that is.
    let names = names
        .split(|byte| *byte == 0)
        .filter_map(|name| str::from_utf8(name).ok());
    let names = names.filter(|name| !name.is_empty() && !name.contains(char::is_control));
    Ok(names.map(PathBuf::from).collect())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Submits a checksum and a word count for each file. One task fails, so that a
/// failure is seen.
async fn submit(mut batch: Batch, files: Vec<PathBuf>) -> Result<()> {
    let mut failure = Some(Words {
        path: "made-up.txt (on purpose)".into(),
    });
    let count = files.len();
    for (number, path) in (1..).zip(files) {
        batch.submit(Checksum { path: path.clone() }).await?;
        batch.submit(Words { path }).await?;
        if number == FILES_BEFORE_FAILURE.min(count)
            && let Some(task) = failure.take()
        {
            batch.submit(task).await?;
        }
    }
    batch.seal().await?;
    Ok(())
}

/// Shows outcomes as they are stored.
struct Show {
    store: Store,
    batch: BatchId,
    total: u64,
    /// How many were shown, and of each kind how many successes.
    shown: usize,
    of_kind: HashMap<String, usize>,
    bar: ProgressBar,
}

impl Show {
    fn new(store: Store, batch: BatchId, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stdout());
        Self {
            store,
            batch,
            total,
            shown: 0,
            of_kind: HashMap::new(),
            bar: bar.with_style(style()),
        }
    }

    /// Shows what is stored of the batch after `position`, until all is.
    async fn follow(&mut self, mut position: Position) -> Result<()> {
        let filter = Filter::all().batch(self.batch);
        let mut watch = self.store.watch().await?;
        loop {
            let tail = self.store.tail(&position, &filter, PAGE).await?;
            position = tail.position;
            tail.records
                .iter()
                .try_for_each(|record| self.show(record))?;
            let closed = self.closed().await?;
            self.bar.set_position(closed);
            if tail.at_end && closed >= self.total {
                return self.finish(closed);
            }
            if tail.at_end
                && tokio::time::timeout(PAUSE_MAX, watch.changed())
                    .await
                    .is_err()
            {
                let secs = PAUSE_MAX.as_secs();
                bail!(
                    "nothing was stored for {secs} s; {closed} of {} outcomes are",
                    self.total
                );
            }
        }
    }

    async fn closed(&self) -> Result<u64> {
        let batch = self.store.batch(&BatchRef::Id(self.batch)).await?;
        Ok(batch.map_or(0, |batch| batch.counts.closed()))
    }

    fn show(&mut self, record: &Record) -> Result<()> {
        let report = &record.report;
        if report.status == Status::Succeeded {
            let of_kind = self.of_kind.entry(report.kind.clone()).or_default();
            *of_kind += 1;
            if *of_kind > SHOWN_OF_KIND_MAX {
                return Ok(());
            }
        }
        self.shown += 1;
        if self.shown > SHOWN_MAX {
            return Ok(());
        }
        self.bar.suspend(|| say(&line(record)))
    }

    fn finish(&self, closed: u64) -> Result<()> {
        let others = closed.saturating_sub(self.shown.min(SHOWN_MAX) as u64);
        if others > 0 {
            self.bar.suspend(|| say(&format!("and {others} others")))?;
        }
        if std::io::stdout().is_terminal() {
            self.bar.finish();
            return say("\n");
        }
        say(&format!("{closed} of {}\n", self.total))
    }
}

fn style() -> ProgressStyle {
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        // A rate that cannot be written leaves its place empty.
        let _written = write!(text, "{:.0}/s", state.per_sec());
    };
    let template = "{human_pos} of {human_len}  {bar:40}  {percent} %  {rate}";
    let style = ProgressStyle::with_template(template);
    // The template is a literal of ours: a wrong one keeps the default look.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", rate).progress_chars("━╸─")
}

/// An outcome on one line.
fn line(record: &Record) -> String {
    let report = &record.report;
    let (status, kind, task) = (report.status, &report.kind, report.task);
    let detail = match (record.output_json(), &report.error) {
        (Some(output), _) => shortened(&output, OUTPUT_CHARS_MAX),
        (None, Some(error)) => shortened(error, ERROR_CHARS_MAX),
        (None, None) => String::new(),
    };
    let ran = report.run_us / 1_000;
    let at = time(record);
    format!("{at}  {status:<9}  {kind:<13}  {task}  {ran:>4} ms  {detail}")
}

fn time(record: &Record) -> String {
    jiff::Timestamp::from_millisecond(record.stored_at.as_ms()).map_or_else(
        |_| record.stored_at.to_string(),
        |at| {
            at.to_zoned(TimeZone::system())
                .strftime("%H:%M:%S%.3f")
                .to_string()
        },
    )
}

/// The first `max` characters of `text`, without what could steer a terminal.
fn shortened(text: &str, max: usize) -> String {
    let mut plain = text.chars().filter(|c| !c.is_control());
    let start: String = plain.by_ref().take(max).collect();
    if plain.next().is_some() {
        start + "…"
    } else {
        start
    }
}
