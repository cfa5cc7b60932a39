use anyhow::Context as _;

use super::child::{Process, Services};
use super::world::World;
use super::{Side, say};
use crate::sample::Lone;

/// Measures `tasks` lone tasks, submitted one after the other, on an idle
/// pipeline.
pub(super) async fn run(side: Side, url: &str, tasks: u64) -> anyhow::Result<Lone> {
    let world = World::new(side, url).await?;
    measure(&world, tasks).await
}

async fn measure(world: &World, tasks: u64) -> anyhow::Result<Lone> {
    let services = Services::start(world, tasks).await?;
    let command = world.side.lone_producer(world, tasks)?;
    let producer = Process::start("producer", command)?;
    let report = producer.report(tasks).await?;
    services.end(world).await?;
    let lone = report.lone.context("the producer's report has no times")?;
    let Lone { p50_ms, p99_ms } = lone;
    let side = world.side.name();
    say(format_args!(
        "{side}: {tasks} lone tasks, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms"
    ));
    Ok(lone)
}
