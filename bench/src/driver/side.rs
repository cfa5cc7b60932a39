use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;
use tokio::process::Command;

use super::child::Process;
use super::world::World;
use crate::bare::WINDOW;
use crate::process::Usage;
use crate::watch::Layout;

/// Which of the two pipelines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The bare program.
    Bare,
    /// Homing.
    Homing,
}

/// What a worker is given to do. The bare program knows single tasks alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Load {
    /// Tasks that do nothing.
    Single,
    /// The same, many in a message.
    Bundled,
    /// Tasks that wait for a while, [`SLEEPERS`] at once.
    Sleep,
    /// Tasks that keep a core busy, one at a time in each process.
    Spin {
        /// Of the worker.
        processes: u16,
    },
}

/// Tasks that wait at once.
const SLEEPERS: u16 = 2_000;

impl Load {
    /// Processes of the worker.
    pub(super) const fn processes(self) -> u16 {
        match self {
            Self::Spin { processes } => processes,
            _ => 1,
        }
    }

    /// What the producer is told to submit.
    const fn how(self) -> &'static str {
        match self {
            Self::Single => "all",
            Self::Bundled => "bundled",
            Self::Sleep => "sleep",
            Self::Spin { .. } => "spin",
        }
    }
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Bare, Self::Homing];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Homing => "Homing",
        }
    }

    pub(super) const fn layout(self) -> Layout {
        match self {
            Self::Bare => Layout::Bare,
            Self::Homing => Layout::Homing,
        }
    }

    pub(super) fn collector(self, world: &World, tasks: u64) -> anyhow::Result<Command> {
        if self == Self::Bare {
            return bare(world, "collect", tasks, Some(&world.store()));
        }
        let mut command = world.command("homing")?;
        let prefetch = WINDOW.to_string();
        command
            .arg("--quiet")
            .args(["collector", "--prefetch", &prefetch, "--store"]);
        command.arg(format!("sqlite:{}", world.store().display()));
        Ok(command)
    }

    pub(super) fn worker(self, world: &World, tasks: u64, load: Load) -> anyhow::Result<Command> {
        if self == Self::Bare {
            return bare(world, "work", tasks, None);
        }
        let mut command = world.command("echo_worker")?;
        command.arg("--quiet");
        let concurrency = match load {
            Load::Single | Load::Bundled => {
                command.args(["--prefetch", &WINDOW.to_string()]);
                WINDOW
            }
            Load::Sleep => SLEEPERS,
            Load::Spin { .. } => 1,
        };
        command.args(["--concurrency", &concurrency.to_string()]);
        command.args(["--processes", &load.processes().to_string()]);
        Ok(command)
    }

    /// Submits `tasks` tasks as fast as they are confirmed.
    pub(super) fn producer(self, world: &World, tasks: u64, load: Load) -> anyhow::Result<Command> {
        if self == Self::Bare {
            return bare(world, "publish", tasks, None);
        }
        let mut command = world.command("submit")?;
        command.args([load.how(), "--tasks", &tasks.to_string()]);
        Ok(command)
    }

    /// Submits `tasks` tasks one after the other, each once the one before is
    /// stored.
    pub(super) fn lone_producer(self, world: &World, tasks: u64) -> anyhow::Result<Command> {
        if self == Self::Bare {
            return bare(world, "lone", tasks, Some(&world.store()));
        }
        let mut command = world.command("submit")?;
        command.args(["lone", "--tasks", &tasks.to_string(), "--store"]);
        command.arg(world.store());
        Ok(command)
    }

    /// Submits `tasks` tasks one after the other, each once the outcome of the one
    /// before has come back.
    pub(super) fn awaiting_producer(self, world: &World, tasks: u64) -> anyhow::Result<Command> {
        if self == Self::Bare {
            return bare(world, "awaited", tasks, None);
        }
        let mut command = world.command("submit")?;
        command.args(["awaited", "--tasks", &tasks.to_string()]);
        Ok(command)
    }

    /// Ends a worker or collector, and says what it used. The bare ones end by
    /// themselves when `tasks` tasks are done.
    pub(super) async fn end(self, service: Process, tasks: u64) -> anyhow::Result<Usage> {
        if self == Self::Homing {
            return service.stop().await;
        }
        let report = service.report(tasks).await?;
        Ok(Usage {
            cpu_secs: report.cpu_secs,
            rss_peak_mib: report.rss_peak_mib,
        })
    }
}

fn bare(world: &World, stage: &str, tasks: u64, store: Option<&Path>) -> anyhow::Result<Command> {
    let mut command = world.command("bare")?;
    command.args([stage, "--tasks", &tasks.to_string()]);
    if let Some(store) = store {
        command.arg("--store").arg(store);
    }
    Ok(command)
}
