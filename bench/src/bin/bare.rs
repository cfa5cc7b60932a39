//! The bare program: one stage a process, one line of JSON at the end.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use homing_bench::bare::{self, Queues};
use homing_bench::clock::now_ns;
use homing_bench::driver::LONE_PAUSE;
use homing_bench::report::Report;

/// The least amqprs code that does what Homing does
#[derive(Debug, Parser)]
struct Args {
    /// amqp://USER:PASSWORD@HOST:PORT/VHOST
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    broker: String,

    /// Prefix of both queues
    #[arg(long, env = "HOMING_NAMESPACE")]
    namespace: String,

    #[command(subcommand)]
    stage: Stage,
}

#[derive(Debug, Subcommand)]
enum Stage {
    /// Create both queues
    Declare,
    /// Publish tasks
    Publish(Tasks),
    /// Answer tasks with themselves
    Work(Tasks),
    /// Store outcomes
    Collect(Stored),
    /// Publish tasks one at a time, each until it is stored
    Lone(Stored),
    /// Publish tasks one at a time, each until its outcome comes back
    Awaited(Tasks),
    /// Delete both queues
    Delete,
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
    let args = Args::parse();
    let ended = run(&args).await.and_then(|report| report.print());
    homing_bench::exit(ended.map(|()| ExitCode::SUCCESS))
}

async fn run(args: &Args) -> anyhow::Result<Report> {
    let (url, queues) = (&args.broker, Queues::new(&args.namespace));
    let start_ns = now_ns();
    match &args.stage {
        Stage::Declare => {
            queues.declare(url).await?;
            Report::new("declare", 0, start_ns, now_ns())
        }
        Stage::Publish(Tasks { tasks }) => bare::publish(url, &queues, *tasks).await,
        Stage::Work(Tasks { tasks }) => bare::work(url, &queues, *tasks).await,
        Stage::Collect(Stored { tasks, store }) => {
            bare::collect(url, &queues, tasks.tasks, store).await
        }
        Stage::Lone(Stored { tasks, store }) => {
            bare::lone(url, &queues, tasks.tasks, store, LONE_PAUSE).await
        }
        Stage::Awaited(Tasks { tasks }) => bare::awaited(url, &queues, *tasks, LONE_PAUSE).await,
        Stage::Delete => {
            queues.delete(url).await?;
            Report::new("delete", 0, start_ns, now_ns())
        }
    }
}
