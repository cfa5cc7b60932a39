//! `make bench`: Homing and the bare program in turn, and their ratios.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use homing_bench::driver::{self, Plan, RSS_GROWTH_MIB_MAX, Side};
use serde::Serialize;

/// Tasks queued in the two runs that memory is compared in.
const QUEUED: [u64; 2] = [10_000, 1_000_000];

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

    /// Lone tasks of each round; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 300)]
    lone: u64,

    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,

    /// Measure this side alone
    #[arg(long, value_name = "SIDE")]
    only: Option<Side>,

    /// Measure memory with 10,000 and with 1,000,000 tasks queued, nothing else
    #[arg(long)]
    memory: bool,

    /// One line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // Dropped in the middle, a run ends its processes and deletes its queues.
    tokio::select! {
        ended = run(&args) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot wait for Ctrl-C")?;
            bail!("interrupted")
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.memory {
        return memory(args).await;
    }
    let plan = Plan {
        url: args.broker.clone(),
        tasks: args.tasks,
        lone: args.lone,
        rounds: args.rounds,
        only: args.only,
    };
    let comparison = driver::compare(&plan).await?;
    print(args, &comparison, &comparison.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Fails when a process grew with the work.
async fn memory(args: &Args) -> anyhow::Result<ExitCode> {
    let few = driver::memory(&args.broker, QUEUED[0]).await?;
    let many = driver::memory(&args.broker, QUEUED[1]).await?;
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
