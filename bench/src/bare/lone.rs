use std::path::Path;
use std::time::{Duration, Instant};

use super::Queues;
use super::link::Link;
use super::publish::{body, new_id};
use crate::clock::now_ns;
use crate::report::Report;
use crate::sample::Lone;
use crate::watch::{Layout, Watch};

/// Publishes `tasks` tasks one at a time, `pause` after the one before is
/// stored.
///
/// # Errors
///
/// The broker is away, or a task is not stored in time.
pub async fn lone(
    url: &str,
    queues: &Queues,
    tasks: u64,
    store: &Path,
    pause: Duration,
) -> anyhow::Result<Report> {
    let mut link = Link::open(url).await?;
    let watch = Watch::open(store, Layout::Bare)?;
    let mut times = Vec::new();
    let start_ns = now_ns();
    for number in 0..tasks {
        tokio::time::sleep(pause).await;
        let id = new_id();
        let since = Instant::now();
        link.publish(&queues.tasks, &id, body(number)).await?;
        link.until_waiting(0).await?;
        watch.await_task(&id)?;
        times.push(since.elapsed());
    }
    let end_ns = now_ns();
    link.close().await?;
    Ok(Report {
        lone: Some(Lone::of(&times)),
        ..Report::new("lone", tasks, start_ns, end_ns)?
    })
}
