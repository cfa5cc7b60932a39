use std::time::Duration;

use anyhow::{bail, ensure};

use super::child::{Process, ServiceUsage, Services};
use super::side::Load;
use super::world::World;
use super::{STALL_TIME_MAX, Side, say};
use crate::clock::{now_ns, secs_between};
use crate::report::Report;
use crate::watch::Watch;

/// Between two looks at how much is stored: short beside a run of seconds, long
/// enough to cost the machine nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// CPU time is shown for so many tasks.
const CPU_TASKS: f64 = 10_000.0;

/// A run of the whole pipeline, all three stages at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pipeline {
    /// Tasks a second, from the first submit until all are stored.
    pub(super) rate: f64,
    /// Tasks a second, from the first submit until all are confirmed.
    pub(super) submit_rate: f64,
    /// Seconds of CPU of all three processes for 10,000 tasks.
    pub(super) cpu_secs: f64,
    /// Peak memory, MiB.
    pub(super) worker_rss_mib: f64,
    /// Peak memory, MiB.
    pub(super) collector_rss_mib: f64,
    /// Peak memory, MiB.
    pub(super) producer_rss_mib: f64,
}

/// A backlog that was worked off.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// Tasks a second, from the start of worker and collector until all are
    /// stored.
    pub(super) rate: f64,
    pub(super) submitted: Report,
    pub(super) used: ServiceUsage,
}

/// Runs it once, with `tasks` tasks.
pub(super) async fn run(side: Side, url: &str, tasks: u64, load: Load) -> anyhow::Result<Pipeline> {
    let world = World::new(side, url).await?;
    measure(&world, tasks, load).await
}

/// Queues `tasks` tasks with nobody there to run them, then works them off.
pub(super) async fn backlog(side: Side, url: &str, tasks: u64) -> anyhow::Result<Backlog> {
    let world = World::new(side, url).await?;
    work_off(&world, tasks).await
}

async fn work_off(world: &World, tasks: u64) -> anyhow::Result<Backlog> {
    let producer = world.side.producer(world, tasks, Load::Single)?;
    let producer = Process::start("producer", producer)?;
    let submitted = producer.report(tasks).await?;
    let side = world.side.name();
    let queued = submitted.rate;
    say(format_args!(
        "{side}: queued {tasks} tasks at {queued:.0} tasks/s; working them off"
    ));
    let start_ns = now_ns();
    let mut services = Services::start(world, tasks, Load::Single).await?;
    let end_ns = until_stored(world, tasks, || services.check()).await?;
    let rate = tasks as f64 / secs_between(start_ns, end_ns);
    say(format_args!("{side}: {rate:.0} tasks/s"));
    Ok(Backlog {
        rate,
        submitted,
        used: services.end(world).await?,
    })
}

async fn measure(world: &World, tasks: u64, load: Load) -> anyhow::Result<Pipeline> {
    let mut services = Services::start(world, tasks, load).await?;
    let producer = world.side.producer(world, tasks, load)?;
    let mut producer = Process::start("producer", producer)?;
    let watching = until_stored(world, tasks, || {
        services.check()?;
        producer.check()
    });
    let end_ns = watching.await?;
    let submitted = producer.report(tasks).await?;
    let used = services.end(world).await?;
    let measured = figures(&submitted, &used, end_ns);
    let side = world.side.name();
    say(format_args!(
        "{side}: {tasks} tasks, {load:?}, {:.0} tasks/s",
        measured.rate
    ));
    Ok(measured)
}

/// Waits until `tasks` rows are stored, and says when; `check` fails when one
/// of the processes has.
pub(super) async fn until_stored(
    world: &World,
    tasks: u64,
    mut check: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let watch = Watch::open(&world.store(), world.side.layout())?;
    let (mut stored, mut since) = (0, tokio::time::Instant::now());
    while stored < tasks {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = watch.progress()?;
        if now > stored {
            (stored, since) = (now, tokio::time::Instant::now());
        } else if since.elapsed() > STALL_TIME_MAX {
            bail!("stored {stored} of {tasks} tasks, and no more");
        }
        check()?;
    }
    let end_ns = now_ns();
    let rows = watch.rows()?;
    ensure!(rows == tasks, "stored {rows} rows of {tasks} tasks");
    Ok(end_ns)
}

fn figures(submitted: &Report, used: &ServiceUsage, end_ns: u64) -> Pipeline {
    let tasks = submitted.tasks as f64;
    let cpu_secs = submitted.cpu_secs + used.worker.cpu_secs + used.collector.cpu_secs;
    Pipeline {
        rate: tasks / secs_between(submitted.start_ns, end_ns),
        submit_rate: submitted.rate,
        cpu_secs: cpu_secs * CPU_TASKS / tasks,
        worker_rss_mib: used.worker.rss_peak_mib,
        collector_rss_mib: used.collector.rss_peak_mib,
        producer_rss_mib: submitted.rss_peak_mib,
    }
}
