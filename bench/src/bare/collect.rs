use std::path::Path;

use anyhow::Context as _;
use tokio::task::spawn_blocking;

use super::link::{Link, take_apart};
use super::sink::Sink;
use super::{Queues, WINDOW};
use crate::clock::now_ns;
use crate::report::Report;

/// Stores `tasks` outcomes in a new SQLite file at `store`, all that wait in one
/// commit, each acked after its commit.
///
/// # Errors
///
/// The broker is away, or the file cannot be written.
pub async fn collect(
    url: &str,
    queues: &Queues,
    tasks: u64,
    store: &Path,
) -> anyhow::Result<Report> {
    let mut sink = Sink::open(store)?;
    let link = Link::open(url).await?;
    let mut deliveries = link.consume(&queues.results).await?;
    let mut batch = Vec::with_capacity(usize::from(WINDOW));
    let (mut start_ns, mut stored) = (0, 0);
    while stored < tasks {
        let received = deliveries.recv_many(&mut batch, usize::from(WINDOW)).await;
        anyhow::ensure!(received > 0, "the broker ended the deliveries");
        if stored == 0 {
            start_ns = now_ns();
        }
        let mut outcomes = Vec::with_capacity(received);
        for delivery in batch.drain(..) {
            let (tag, id, body) = take_apart(delivery)?;
            stored = tag;
            outcomes.push((id, body));
        }
        // Elsewhere, so that the next batch is received meanwhile.
        let commit = spawn_blocking(move || sink.store(&outcomes).map(|()| sink));
        sink = commit.await?.context("cannot store")?;
        link.ack(stored).await?;
    }
    let end_ns = now_ns();
    link.close().await?;
    Report::new("collect", tasks, start_ns, end_ns)
}
