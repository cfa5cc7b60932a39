//! The hidden verbs that `homing chaos` starts: a worker with a handler of its
//! own, and the collector as it is.
//!
//! Their stdin is a pipe that only `homing chaos` holds: once that has ended,
//! even by `kill -9`, they end too. At once, since nobody needs them any more. One
//! that is paused then reads nothing; on Linux the system kills it.

use std::io::Read as _;
use std::path::PathBuf;
use std::process;

use homing_broker::Patience;
use homing_worker::{Worker, WorkerConfig};

use super::work::{self, Runs};
use crate::collector::{self, CollectorArgs};
use crate::exit::Exit;
use crate::settings::Settings;
use crate::stop::Stop;
use crate::trouble::Trouble;
use crate::up::{not_working, wedged};

#[derive(Debug, clap::Args)]
pub(crate) struct ChaosWorkerArgs {
    /// The file that has a line for each attempt
    #[arg(long, value_name = "FILE")]
    runs: PathBuf,
}

pub(crate) async fn run_worker(
    args: ChaosWorkerArgs,
    settings: &Settings,
) -> Result<Exit, Trouble> {
    end_with_parent();
    let mut stop = Stop::new()?;
    let runs = Runs::open(&args.runs)
        .map_err(|error| Trouble::file("write", &args.runs.display().to_string(), &error))?;
    let link = settings.link_with(&[], Patience::Forever)?;
    let worker = Worker::with_state(runs).handler(work::run);
    let config = WorkerConfig::default();
    let asked = async move { stop.asked().await };
    let stopped = worker.run(link.broker.clone(), config, asked).await;
    let stopped = stopped.map_err(|error| not_working(&error, &link))?;
    Ok(wedged(stopped))
}

pub(crate) async fn run_collector(
    args: CollectorArgs,
    settings: &Settings,
) -> Result<Exit, Trouble> {
    end_with_parent();
    collector::run(args, settings).await
}

fn end_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};

        // Without it there is the pipe.
        let _refused = set_parent_process_death_signal(Some(Signal::KILL));
    }
    // Owned by the process: it reads until the parent ends.
    std::thread::spawn(|| {
        let mut said = Vec::new();
        // What cannot be read has ended as well.
        let _read = std::io::stdin().read_to_end(&mut said);
        process::exit(0)
    });
}
