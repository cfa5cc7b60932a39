use anyhow::Context as _;

use super::child::{Process, Services};
use super::side::Load;
use super::world::World;
use super::{Side, say};
use crate::report::Report;
use crate::sample::Lone;

/// Measures `tasks` lone tasks, submitted one after the other, on an idle
/// pipeline.
pub(super) async fn run(side: Side, url: &str, tasks: u64) -> anyhow::Result<Lone> {
    let world = World::new(side, url).await?;
    measure(&world, tasks).await
}

async fn measure(world: &World, tasks: u64) -> anyhow::Result<Lone> {
    let services = Services::start(world, tasks, Load::Single).await?;
    let command = world.side.lone_producer(world, tasks)?;
    let producer = Process::start("producer", command)?;
    let report = producer.report(tasks).await?;
    services.end(world).await?;
    times(world, &report, "stored")
}

/// Measures `tasks` tasks whose producer waits for the outcome of each before it
/// submits the next. The bare one reads the queue of outcomes itself.
pub(super) async fn awaited(side: Side, url: &str, tasks: u64) -> anyhow::Result<Lone> {
    let world = World::new(side, url).await?;
    let command = side.awaiting_producer(&world, tasks)?;
    let report = match side {
        Side::Bare => {
            // It has one more task than it measures.
            let worker = side.worker(&world, tasks + 1, Load::Single)?;
            let worker = Process::start("worker", worker)?;
            let report = Process::start("producer", command)?.report(tasks).await?;
            worker.report(tasks).await?;
            report
        }
        Side::Homing => {
            let services = Services::start(&world, tasks, Load::Single).await?;
            let report = Process::start("producer", command)?.report(tasks).await?;
            services.end(&world).await?;
            report
        }
    };
    times(&world, &report, "awaited")
}

fn times(world: &World, report: &Report, until: &str) -> anyhow::Result<Lone> {
    let lone = report.lone.context("the producer's report has no times")?;
    let Lone { p50_ms, p99_ms } = lone;
    let (side, tasks) = (world.side.name(), report.tasks);
    say(format_args!(
        "{side}: {tasks} lone tasks, {until}, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms"
    ));
    Ok(lone)
}
