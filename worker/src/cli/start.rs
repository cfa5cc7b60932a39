use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use homing_broker::{Broker, BrokerError, BrokerUrl, Patience, connect};
use homing_protocol::chain;
use homing_protocol::topology::Topology;
use tokio::runtime::{Builder, Runtime};

use super::args::WorkerArgs;
use super::log;
use super::processes::supervise;
use super::signals::{Signals, is_child};
use super::trouble::{CONFIG, CUT_OFF, INTERNAL, Trouble, WEDGED};
use crate::attempt_error::BoxError;
use crate::config::WorkerConfig;
use crate::error::RunError;
use crate::worker::{Stopped, Worker};

/// Why a worker program could not make its worker: any error, by `?`.
///
/// For that reason it is not itself a [`std::error::Error`].
pub struct StartError(BoxError);

impl<E: Into<BoxError>> From<E> for StartError {
    fn from(cause: E) -> Self {
        Self(cause.into())
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The flags of a program that has no others.
#[derive(Debug, clap::Parser)]
#[command(
    about = "Run tasks",
    long_about = "Run tasks\n\nTakes tasks from the broker, runs each, publishes its outcome, and only then \
                  takes the task off the queue. After a crash a task is run again: what a handler does must \
                  be safe to do twice.",
    max_term_width = 80
)]
pub(super) struct Program {
    #[command(flatten)]
    pub(super) args: WorkerArgs,
}

/// The whole `main` of a worker program: reads the flags of [`WorkerArgs`],
/// makes the worker with `build`, runs it until SIGTERM or Ctrl-C, and answers
/// with the exit code.
///
/// `build` is run after the flags are read, once in each process: `--help` needs
/// no database, and `--processes 4` opens four pools, not five.
///
/// The first signal drains, the second stops at once. An error goes to stderr
/// in three parts: what failed, the setting it came from, and the fix.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use homing_worker::{Worker, worker_main};
///
/// fn main() -> ExitCode {
///     worker_main(async || {
///         let bucket = std::env::var("BUCKET")?;
///         Ok(Worker::with_state(bucket))
///     })
/// }
/// ```
pub fn worker_main<S, F>(build: F) -> ExitCode
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce() -> Result<Worker<S>, StartError>,
{
    worker_main_with(Program::parse().args, build)
}

/// As [`worker_main`], for a program with flags of its own beside `args`.
pub fn worker_main_with<S, F>(args: WorkerArgs, build: F) -> ExitCode
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce() -> Result<Worker<S>, StartError>,
{
    log::install(&args.log);
    let ended = if args.run.processes > 1 && !is_child() {
        supervise_all(args.run.processes)
    } else {
        run(args, build)
    };
    match ended {
        Ok(code) => code.into(),
        Err(trouble) => {
            eprintln!("{trouble}");
            trouble.code.into()
        }
    }
}

fn system(error: &std::io::Error) -> Trouble {
    Trouble::new(INTERNAL, format!("cannot start: {error}"))
        .fix("look at the limits of this user: ulimit -a")
}

/// Only watches over the processes that do the work.
fn supervise_all(processes: u16) -> Result<u8, Trouble> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let supervised = runtime.map_err(|error| system(&error))?.block_on(async {
        let signals = Signals::new()?;
        supervise(processes, signals).await
    });
    supervised.map_err(|error| system(&error))
}

fn run<S, F>(args: WorkerArgs, build: F) -> Result<u8, Trouble>
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce() -> Result<Worker<S>, StartError>,
{
    let (broker, from) = broker(&args)?;
    let runtime = Runtime::new().map_err(|error| system(&error))?;
    let ended = runtime.block_on(async {
        let signals = Signals::new().map_err(|error| system(&error))?;
        let config = WorkerConfig::from(args.run);
        tokio::select! {
            ended = work(build, broker, config, &signals) => {
                let stopped = ended?.map_err(|error| Trouble::of_run(&error, &from))?;
                Ok(if stopped.wedged > 0 { WEDGED } else { 0 })
            }
            () = signals.asked(2) => {
                tracing::warn!("stopped at once; what was not acked goes back and runs again");
                Ok(CUT_OFF)
            }
        }
    });
    // A blocking handler that does not end must not hold up the process.
    runtime.shutdown_background();
    ended
}

async fn work<S, F>(
    build: F,
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
    signals: &Signals,
) -> Result<Result<Stopped, RunError>, Trouble>
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce() -> Result<Worker<S>, StartError>,
{
    let worker = tokio::select! {
        worker = build() => worker.map_err(|error| not_built(&error))?,
        () = signals.asked(1) => return Ok(Ok(Stopped::default())),
    };
    Ok(worker.run(broker, config, signals.asked(1)).await)
}

fn not_built(error: &StartError) -> Trouble {
    Trouble::new(
        CONFIG,
        format!("cannot make the worker: {}", chain(error.0.as_ref())),
    )
    .from("this program's own `main`")
}

/// The way to the broker, and where its address came from.
fn broker(args: &WorkerArgs) -> Result<(Arc<dyn Broker>, String), Trouble> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let flag = args.broker.origin.as_deref().unwrap_or("--broker ");
    let sources = [
        (flag, args.broker.broker.clone()),
        ("HOMING_BROKER=", variable("HOMING_BROKER")),
        ("AMQP_URL=", variable("AMQP_URL")),
    ];
    let found = sources
        .into_iter()
        .find_map(|(origin, url)| Some((origin, url?)));
    let Some((origin, text)) = found else {
        return Err(Trouble::new(CONFIG, "no broker is set")
            .from("--broker, HOMING_BROKER and AMQP_URL, none of which is there")
            .fix("export AMQP_URL=amqp://guest:guest@localhost:5672/%2f"));
    };
    // A text that is no URL is not shown: nobody can tell where it has a
    // password.
    let url = BrokerUrl::shared(&text).map_err(|error| {
        let trouble = Trouble::of_broker(&BrokerError::Url(error));
        trouble.from(origin.trim_end_matches(['=', ' ']))
    })?;
    let from = format!("{origin}{url}");
    let topology = Topology::new(
        args.broker.namespace.clone(),
        args.run.queues.iter().cloned(),
    );
    let link_name = format!("homing worker {}", std::process::id());
    Ok((connect(url, topology, Patience::Forever, link_name), from))
}
