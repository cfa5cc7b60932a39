use std::time::{Duration, Instant};

use super::Queues;
use super::link::{Link, take_apart};
use super::publish::{body, new_id};
use crate::clock::now_ns;
use crate::report::Report;
use crate::sample::Lone;

/// Publishes `tasks` tasks one at a time, `pause` after the outcome of the one
/// before has come, and one before them, since the worker may still be starting.
///
/// # Errors
///
/// The broker is away, or there are other outcomes than of these tasks.
pub async fn awaited(
    url: &str,
    queues: &Queues,
    tasks: u64,
    pause: Duration,
) -> anyhow::Result<Report> {
    let mut link = Link::open(url).await?;
    let mut outcomes = link.consume(&queues.results).await?;
    let mut times = Vec::new();
    let start_ns = now_ns();
    for number in 0..=tasks {
        tokio::time::sleep(pause).await;
        let id = new_id();
        let since = Instant::now();
        link.publish(&queues.tasks, &id, body(number)).await?;
        let outcome = outcomes.recv().await;
        let (tag, of, _) = take_apart(outcome.ok_or_else(|| anyhow::anyhow!("no outcome"))?)?;
        anyhow::ensure!(of == id, "an outcome of another task");
        times.push(since.elapsed());
        link.ack(tag).await?;
    }
    let end_ns = now_ns();
    link.close().await?;
    Ok(Report {
        lone: Some(Lone::of(&times[1..])),
        ..Report::new("awaited", tasks, start_ns, end_ns)?
    })
}
