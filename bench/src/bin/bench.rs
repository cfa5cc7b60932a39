//! `make bench`: Homing and the bare program in turn, and their ratios.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use homing_bench::driver::{self, Kept, Plan, RSS_GROWTH_MIB_MAX, Side};
use serde::Serialize;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Tasks queued in the run that memory is compared with.
const QUEUED_FEW: u64 = 10_000;

/// Measure Homing beside the least program that does the same
#[derive(Debug, Parser)]
#[command(max_term_width = 80)]
struct Args {
    /// amqp://USER:PASSWORD@HOST:PORT/VHOST
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    broker: String,

    /// Tasks of each run of the whole pipeline; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    tasks: u64,

    /// Tasks queued before worker and collector begin; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    backlog: u64,

    /// Tasks of each run of the whole pipeline with 128 in a message, which the
    /// bare program has nothing beside; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    bundled: u64,

    /// Tasks of each run of tasks that sleep for 10 ms; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    sleep: u64,

    /// Tasks of each run of tasks that keep a core busy for some 40 ms, by
    /// one worker process and by two; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 400)]
    spin: u64,

    /// Lone tasks of each round, stored and awaited; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 300)]
    lone: u64,

    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,

    /// Measure this side alone
    #[arg(long, value_name = "SIDE")]
    only: Option<Side>,

    /// Measure memory instead, with 10,000 and with N tasks queued
    /// [N: 1,000,000]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000000")]
    memory: Option<u64>,

    /// Fail if a ratio is worse than in FILE by more than 15 %
    #[arg(long, value_name = "FILE", conflicts_with = "memory")]
    check: Option<PathBuf>,

    /// Keep the ratios in the file of `--check` instead
    #[arg(long, requires = "check")]
    renew: bool,

    /// One line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Dropped in the middle, a run ends its processes and deletes its queues.
    let ended = tokio::select! {
        ended = run(&args) => ended,
        interrupted = interrupted() => Err(match interrupted {
            Ok(()) => anyhow!("interrupted"),
            Err(error) => anyhow!(error).context("cannot wait for signals"),
        }),
    };
    homing_bench::exit(ended)
}

/// Ends with Ctrl-C, or with SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = ctrl_c() => pressed,
        _ = terminated.recv() => Ok(()),
    }
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(queued) = args.memory {
        return memory(args, queued).await;
    }
    let plan = Plan {
        url: args.broker.clone(),
        tasks: args.tasks,
        backlog: args.backlog,
        bundled: args.bundled,
        sleep: args.sleep,
        spin: args.spin,
        lone: args.lone,
        rounds: args.rounds,
        only: args.only,
    };
    // Before the minutes it takes, not after them.
    let kept = match &args.check {
        Some(file) if !args.renew => Some(Kept::read(file)?),
        _ => None,
    };
    let comparison = driver::compare(&plan).await?;
    print(args, &comparison, &comparison.to_string())?;
    if let (Some(file), true) = (&args.check, args.renew) {
        comparison.keep(file)?;
    }
    let Some(kept) = kept else {
        return Ok(ExitCode::SUCCESS);
    };
    let verdict = comparison.judged(&kept);
    write!(std::io::stderr(), "{verdict}")?;
    Ok(if verdict.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Fails when a process grew with the work.
async fn memory(args: &Args, queued: u64) -> anyhow::Result<ExitCode> {
    let few = driver::memory(&args.broker, QUEUED_FEW).await?;
    let many = driver::memory(&args.broker, queued).await?;
    let growth = many.growth_since(&few);
    let flat = growth <= RSS_GROWTH_MIB_MAX;
    let verdict = if flat { "flat" } else { "not flat" };
    let table =
        format!("{few}\n{many}\n{verdict}: {growth:+.1} MiB, at most {RSS_GROWTH_MIB_MAX}\n");
    print(args, &[few, many], &table)?;
    Ok(if flat {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(args: &Args, figures: &impl Serialize, table: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    if args.json {
        return Ok(writeln!(stdout, "{}", serde_json::to_string(figures)?)?);
    }
    Ok(write!(stdout, "{table}")?)
}
