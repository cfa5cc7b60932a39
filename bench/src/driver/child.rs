use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::STALL_TIME_MAX;
use super::side::Load;
use super::world::World;
use crate::process::Usage;
use crate::report::Report;

/// Between two questions whether worker and collector receive.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Milliseconds for each task of a process that is waited for, ten times what a
/// lone one takes.
const TASK_MS_MAX: u64 = 20;

/// A process of the pipeline. Killed if it is dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    pub(super) fn start(name: &'static str, mut command: Command) -> anyhow::Result<Self> {
        let program = command.as_std().get_program().to_owned();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start the {name}, {}", program.display()))?;
        Ok(Self { name, child })
    }

    /// Fails if it has ended badly.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => self.ended(status),
            None => Ok(()),
        }
    }

    /// Waits for its end, which `tasks` tasks may hold up, and reads its report.
    pub(super) async fn report(self, tasks: u64) -> anyhow::Result<Report> {
        let name = self.name;
        let time_max = STALL_TIME_MAX + Duration::from_millis(tasks.saturating_mul(TASK_MS_MAX));
        let output = tokio::time::timeout(time_max, self.child.wait_with_output())
            .await
            .with_context(|| format!("the {name} does not end"))??;
        ensure!(
            output.status.success(),
            "the {name} ended: {}",
            output.status
        );
        Report::parse(&output.stdout).with_context(|| format!("the {name}"))
    }

    /// Reads what it has used, then ends it with SIGTERM.
    pub(super) async fn stop(mut self) -> anyhow::Result<Usage> {
        let name = self.name;
        let id = self
            .child
            .id()
            .with_context(|| format!("the {name} has ended"))?;
        let usage = Usage::of(id)?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process without an id")?, Signal::TERM)?;
        let status = tokio::time::timeout(STALL_TIME_MAX, self.child.wait())
            .await
            .with_context(|| format!("the {name} does not end"))??;
        self.ended(status)?;
        Ok(usage)
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Result<()> {
        ensure!(status.success(), "the {} ended: {status}", self.name);
        Ok(())
    }
}

/// What of a pipeline runs all the time: a worker and a collector.
pub(super) struct Services {
    worker: Process,
    collector: Process,
    tasks: u64,
}

/// What worker and collector used.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceUsage {
    pub(super) worker: Usage,
    pub(super) collector: Usage,
}

impl Services {
    /// Starts both; answers once both receive. The bare ones end by themselves
    /// after `tasks` tasks.
    pub(super) async fn start(world: &World, tasks: u64, load: Load) -> anyhow::Result<Self> {
        let mut services = Self {
            collector: Process::start("collector", world.side.collector(world, tasks)?)?,
            worker: Process::start("worker", world.side.worker(world, tasks, load)?)?,
            tasks,
        };
        let until = tokio::time::Instant::now() + STALL_TIME_MAX;
        while !world.is_consumed(load.processes()).await? {
            services.check()?;
            if tokio::time::Instant::now() > until {
                bail!("worker and collector do not begin");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(services)
    }

    /// Fails if one of them has ended badly.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.worker.check()?;
        self.collector.check()
    }

    /// Ends both.
    pub(super) async fn end(self, world: &World) -> anyhow::Result<ServiceUsage> {
        Ok(ServiceUsage {
            worker: world.side.end(self.worker, self.tasks).await?,
            collector: world.side.end(self.collector, self.tasks).await?,
        })
    }
}
