//! `homing bench`: tasks a second and latency, on this broker and this store.
//!
//! Producer, worker and collector run in this process, as users have them, with
//! queues in a namespace and a store of their own.

mod line;
mod load;
mod pipeline;
mod plot;

use std::fs::OpenOptions;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressState};

use crate::exit::Exit;
use crate::output::{Output, Talk};
use crate::settings::Settings;
use crate::space::Space;
use crate::stop::Stop;
use crate::time::grouped;
use crate::trouble::Trouble;

use line::BenchLine;
use load::Curve;
use pipeline::{Ends, Services, until_received};

const EXAMPLES: &str = "\
Runs producer, worker and collector in this process, with payloads of 100 bytes
and handlers that do nothing: what broker and store take. Queues are in a
namespace of their own and are deleted at the end. A store that is a file is
measured by another one in its folder, which is deleted too; a database has to
be an empty one, and keeps what was stored.

  single   all at once, each task in a message of its own
  bundled  five times as many, 100 in a message
  half     single tasks for five seconds, at half the rate of `single`
  lone     one after the other, on an idle system; half of them are awaited, the
           others looked for in the store every 0.1 ms

WAITED is from when a task could have begun until it did, AWAITED until its
outcome was back at the producer, STORED until it could be read in the store.

Examples:
  homing bench
  homing bench --tasks 200000 --svg bench.svg
  homing bench --broker memory:
  homing bench --store postgres://homing@localhost/homing_bench --json";

/// Tasks per second and latency on this broker and this store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// Single tasks at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u64).range(1..=10_000_000)
    )]
    tasks: u64,

    /// Lone tasks, one after the other
    #[arg(
        long,
        value_name = "N",
        default_value_t = 200,
        value_parser = clap::value_parser!(u64).range(2..=100_000)
    )]
    lone: u64,

    /// Attempts at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    concurrency: u16,

    /// Draw throughput over time and latencies into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Everything that was measured.
struct Measured {
    lines: Vec<BenchLine>,
    /// Of the single tasks.
    curve: Curve,
    /// Until stored, milliseconds, at half the rate and alone.
    half_ms: Vec<f64>,
    lone_ms: Vec<f64>,
}

pub(crate) async fn run(args: BenchArgs, settings: &Settings) -> Result<Exit, Trouble> {
    if let Some(file) = &args.svg {
        // Before the minutes it takes, not after them.
        let mut open = OpenOptions::new();
        let written = open.append(true).create(true).open(file);
        written.map_err(|error| Trouble::file("write", &file.display().to_string(), &error))?;
    }
    let mut stop = Stop::new()?;
    let talk = Talk::new(settings);
    let space = Space::make("bench", Some(settings.own_broker_url()?), settings).await?;
    talk.say(format!("bench      {} -> {}", space.place(), space.store()));
    let mut services = Services::start(&space, args.concurrency);
    let measured = tokio::select! {
        measured = measure_all(&args, &space, talk) => measured.map(Some),
        trouble = services.ended(&space) => Err(trouble),
        () = stop.asked() => Ok(None),
    };
    let stopped = services.stop(&space).await;
    let left = space.remove().await;
    let measured = measured?;
    stopped.and(left)?;
    let Some(measured) = measured else {
        talk.say("stopped; its queues are deleted");
        return Ok(Exit::No);
    };
    Output::new(settings).lines(&measured.lines)?;
    if let Some(file) = &args.svg {
        plot::draw(file, &measured.curve, &measured.half_ms, &measured.lone_ms)?;
    }
    Ok(Exit::Done)
}

async fn measure_all(args: &BenchArgs, space: &Space, talk: Talk) -> Result<Measured, Trouble> {
    until_received(space).await?;
    let ends = Ends::open(space).await?;
    let single = load::single(&ends, args.tasks, &bar(talk, "single")).await?;
    let rate = single.line.stored_per_sec;
    let bundled = load::bundled(&ends, 5 * args.tasks, &bar(talk, "bundled")).await?;
    let half = load::half(&ends, rate / 2.0, &bar(talk, "half")).await?;
    let lone = load::lone(&ends, args.lone, &bar(talk, "lone")).await?;
    ends.producer.close().await;
    Ok(Measured {
        lines: vec![single.line, bundled.line, half.line, lone.line],
        curve: single.curve,
        half_ms: half.stored_ms,
        lone_ms: lone.stored_ms,
    })
}

fn bar(talk: Talk, load: &'static str) -> ProgressBar {
    let template = "{prefix:<8} {human_pos} of {human_len}  {wide_bar}  {pace}  {eta}";
    let bar = crate::bar::bar(template, talk);
    let pace = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
        let _whole = write!(to, "{}/s", grouped(state.per_sec() as u64));
    };
    bar.set_style(bar.style().with_key("pace", pace));
    bar.with_prefix(load)
}
