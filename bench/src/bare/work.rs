use super::link::{Link, take_apart};
use super::{Queues, WINDOW};
use crate::clock::now_ns;
use crate::report::Report;

/// Answers `tasks` tasks with themselves, each acked once its outcome is
/// confirmed.
///
/// Deliveries have the numbers 1, 2, … on their channel, and so have the
/// outcomes on theirs, published in the same order: what is confirmed up to a
/// number is to be acked up to that number.
///
/// # Errors
///
/// The broker is away, or refuses one.
pub async fn work(url: &str, queues: &Queues, tasks: u64) -> anyhow::Result<Report> {
    let incoming = Link::open(url).await?;
    let mut outgoing = Link::open(url).await?;
    let mut deliveries = incoming.consume(&queues.tasks).await?;
    let mut batch = Vec::with_capacity(usize::from(WINDOW));
    let (mut start_ns, mut acked) = (0, 0);
    while acked < tasks {
        tokio::select! {
            received = deliveries.recv_many(&mut batch, usize::from(WINDOW)) => {
                anyhow::ensure!(received > 0, "the broker ended the deliveries");
                if outgoing.published() == 0 {
                    start_ns = now_ns();
                }
                for delivery in batch.drain(..) {
                    let (_, id, body) = take_apart(delivery)?;
                    outgoing.publish(&queues.results, &id, body).await?;
                }
            }
            confirmed = outgoing.next_confirmed() => {
                acked = confirmed?;
                incoming.ack(acked).await?;
            }
        }
    }
    incoming.close().await?;
    let end_ns = now_ns();
    outgoing.close().await?;
    Report::new("work", tasks, start_ns, end_ns)
}
