//! The producer that is measured; at its end one line of JSON.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use homing::prelude::*;
use homing_bench::clock::now_ns;
use homing_bench::driver::LONE_PAUSE;
use homing_bench::echo::{Bundled, Echo, Sleep, Spin};
use homing_bench::report::Report;
use homing_bench::sample::Lone;
use homing_bench::watch::{Layout, Watch};

/// Submits echo tasks with Homing, to the broker in `AMQP_URL`
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    /// As one batch, as fast as they are confirmed
    All(Tasks),
    /// The same, with many in each message
    Bundled(Tasks),
    /// The same, of tasks that wait for a while
    Sleep(Tasks),
    /// The same, of tasks that keep a core busy
    Spin(Tasks),
    /// One at a time, each until it is stored
    Lone(Stored),
    /// One at a time, each until its outcome comes back
    Awaited(Tasks),
}

#[derive(Debug, clap::Args)]
struct Tasks {
    /// How many
    #[arg(long, default_value_t = 100_000)]
    tasks: u64,
}

#[derive(Debug, clap::Args)]
struct Stored {
    #[command(flatten)]
    tasks: Tasks,

    /// SQLite file
    #[arg(long)]
    store: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = run(Args::parse()).await;
    homing_bench::exit(ended.map(|()| ExitCode::SUCCESS))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let producer = Producer::from_env().await?;
    let report = match args.how {
        How::All(Tasks { tasks }) => submit_all(&producer, (0..tasks).map(Echo::new)).await?,
        How::Bundled(Tasks { tasks }) => {
            submit_all(&producer, (0..tasks).map(Bundled::new)).await?
        }
        How::Sleep(Tasks { tasks }) => submit_all(&producer, (0..tasks).map(Sleep::new)).await?,
        How::Spin(Tasks { tasks }) => submit_all(&producer, (0..tasks).map(Spin::new)).await?,
        How::Awaited(Tasks { tasks }) => await_each(&producer, tasks, LONE_PAUSE).await?,
        How::Lone(Stored { tasks, store }) => {
            let watch = Watch::open(&store, Layout::Homing)?;
            submit_lone(&producer, tasks.tasks, &watch, LONE_PAUSE).await?
        }
    };
    producer.close().await;
    report.print()
}

async fn submit_all<T: Task>(
    producer: &Producer,
    tasks: impl Iterator<Item = T> + Send,
) -> anyhow::Result<Report> {
    let start_ns = now_ns();
    let batch = producer.submit_all(tasks).await?;
    Ok(Report {
        batch: Some(batch.id.to_string()),
        ..Report::new("submit", batch.total, start_ns, now_ns())?
    })
}

async fn submit_lone(
    producer: &Producer,
    tasks: u64,
    watch: &Watch,
    pause: Duration,
) -> anyhow::Result<Report> {
    let mut times = Vec::new();
    let start_ns = now_ns();
    for number in 0..tasks {
        tokio::time::sleep(pause).await;
        let since = Instant::now();
        let handle = producer.submit(Echo::new(number)).await?;
        watch.await_task(handle.id().as_bytes())?;
        times.push(since.elapsed());
    }
    Ok(Report {
        lone: Some(Lone::of(&times)),
        ..Report::new("lone", tasks, start_ns, now_ns())?
    })
}

/// As the bare one: with a task before them.
async fn await_each(producer: &Producer, tasks: u64, pause: Duration) -> anyhow::Result<Report> {
    let mut times = Vec::new();
    let start_ns = now_ns();
    for number in 0..=tasks {
        tokio::time::sleep(pause).await;
        let since = Instant::now();
        let handle = producer.submit(Echo::new(number)).await?;
        handle.output().await?;
        times.push(since.elapsed());
    }
    Ok(Report {
        lone: Some(Lone::of(&times[1..])),
        ..Report::new("awaited", tasks, start_ns, now_ns())?
    })
}
