//! The verbs, and where each goes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Exit;
use crate::settings::Settings;
use crate::trouble::Trouble;
use crate::{collector, help, list, queues, show, stats, submit, tail, topology, wait, worker};

/// Typed tasks over RabbitMQ, and a stored outcome for every one of them.
#[derive(Debug, Parser)]
#[command(
    name = "homing",
    version,
    help_template = help::TEMPLATE,
    after_help = help::EXITS,
    max_term_width = 80,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Worker(worker::StockWorkerArgs),
    Collector(collector::CollectorArgs),
    Submit(submit::SubmitArgs),
    Wait(wait::WaitArgs),
    Show(show::ShowArgs),
    Tail(tail::TailArgs),
    List(list::ListArgs),
    Stats(stats::StatsArgs),
    Queues(queues::QueuesArgs),
    Topology(topology::TopologyArgs),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: why not.
    pub(crate) fn run(self) -> Result<ExitCode, Trouble> {
        // Workers run on a runtime of their own, one in each process.
        if let Verb::Worker(args) = self.verb {
            return worker::run(args, &self.settings);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Trouble::bug(&error))?;
        let ended = runtime.block_on(one(self.verb, &self.settings));
        // A thread may be reading a terminal that says nothing more.
        runtime.shutdown_background();
        ended.map(Into::into)
    }
}

async fn one(verb: Verb, settings: &Settings) -> Result<Exit, Trouble> {
    match verb {
        Verb::Worker(_) => Ok(Exit::Internal),
        Verb::Collector(args) => collector::run(args, settings).await,
        Verb::Submit(args) => submit::run(args, settings).await,
        Verb::Wait(args) => wait::run(args, settings).await,
        Verb::Show(args) => show::run(args, settings).await,
        Verb::Tail(args) => tail::run(args, settings).await,
        Verb::List(args) => list::run(args, settings).await,
        Verb::Stats(args) => stats::run(args, settings).await,
        Verb::Queues(args) => queues::run(args, settings).await,
        Verb::Topology(args) => topology::run(args, settings).await,
    }
}
