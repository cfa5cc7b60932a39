//! The verbs, and where each goes.

use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser, Subcommand};

use crate::exit::Exit;
use crate::settings::Settings;
use crate::trouble::Trouble;
use crate::{
    audit, bench, chaos, collector, completions, context, dead, doctor, help, init, list, man,
    queues, replay, schema, show, stats, store, submit, tail, topology, up, wait, worker,
};

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
    // Has a runtime of its own, in each of its processes.
    Worker(worker::StockWorkerArgs),
    #[command(flatten)]
    Other(OtherVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum OtherVerb {
    Up(up::UpArgs),
    Init(init::InitArgs),
    Collector(collector::CollectorArgs),
    Submit(submit::SubmitArgs),
    Schema(schema::SchemaArgs),
    Wait(wait::WaitArgs),
    Show(show::ShowArgs),
    Tail(tail::TailArgs),
    List(list::ListArgs),
    Stats(stats::StatsArgs),
    Queues(queues::QueuesArgs),
    Doctor(doctor::DoctorArgs),
    Audit(audit::AuditArgs),
    Topology(topology::TopologyArgs),
    Replay(replay::ReplayArgs),
    Dead(dead::DeadArgs),
    Store(store::StoreArgs),
    Context(context::ContextArgs),
    Bench(bench::BenchArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Chaos(chaos::ChaosArgs),
    /// Run the tasks of `homing chaos`
    #[command(hide = true)]
    ChaosWorker(chaos::ChaosWorkerArgs),
    /// Store the outcomes of `homing chaos`
    #[command(hide = true)]
    ChaosCollector(collector::CollectorArgs),
}

/// The command line. Its help names the variables, not their values.
pub(crate) fn command() -> Command {
    Cli::command().mut_subcommands(|verb| verb.mut_args(|arg| arg.hide_env_values(true)))
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: why not.
    pub(crate) fn run(self) -> Result<ExitCode, Trouble> {
        let verb = match self.verb {
            Verb::Worker(args) => return worker::run(args, self.settings),
            Verb::Other(verb) => verb,
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if !matches!(verb, OtherVerb::Bench(_) | OtherVerb::Up(_)) {
            runtime.worker_threads(1);
        }
        let runtime = runtime
            .enable_all()
            .build()
            .map_err(|error| Trouble::bug(&error))?;
        let ended = runtime.block_on(verb.run(&self.settings));
        // A thread may be reading a terminal that says nothing more.
        runtime.shutdown_background();
        ended.map(Into::into)
    }
}

impl OtherVerb {
    async fn run(self, settings: &Settings) -> Result<Exit, Trouble> {
        match self {
            Self::Up(args) => up::run(args, settings).await,
            Self::Init(args) => init::run(&args, settings),
            Self::Collector(args) => collector::run(args, settings).await,
            Self::Submit(args) => submit::run(args, settings).await,
            Self::Schema(args) => schema::run(args, settings).await,
            Self::Wait(args) => wait::run(args, settings).await,
            Self::Show(args) => show::run(args, settings).await,
            Self::Tail(args) => tail::run(args, settings).await,
            Self::List(args) => list::run(args, settings).await,
            Self::Stats(args) => stats::run(args, settings).await,
            Self::Queues(args) => queues::run(args, settings).await,
            Self::Doctor(args) => doctor::run(args, settings).await,
            Self::Audit(args) => audit::run(args, settings).await,
            Self::Topology(args) => topology::run(args, settings).await,
            Self::Replay(args) => replay::run(args, settings).await,
            Self::Dead(args) => dead::run(args, settings).await,
            Self::Store(args) => store::run(args, settings).await,
            Self::Context(args) => context::run(&args, settings),
            Self::Bench(args) => bench::run(args, settings).await,
            Self::Completions(args) => completions::run(&args, settings),
            Self::Man(args) => man::run(&args, settings),
            Self::Chaos(args) => chaos::run(args, settings).await,
            Self::ChaosWorker(args) => chaos::run_worker(args, settings).await,
            Self::ChaosCollector(args) => chaos::run_collector(args, settings).await,
        }
    }
}
