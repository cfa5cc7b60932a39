use uuid::Uuid;

use super::link::Link;
use super::{Queues, WINDOW};
use crate::clock::now_ns;
use crate::echo::BYTES;
use crate::report::Report;

/// Publishes `tasks` tasks and waits for all confirms.
///
/// # Errors
///
/// The broker is away, or refuses one.
pub async fn publish(url: &str, queues: &Queues, tasks: u64) -> anyhow::Result<Report> {
    let mut link = Link::open(url).await?;
    let start_ns = now_ns();
    for number in 0..tasks {
        if link.waiting() >= WINDOW.into() {
            // Not for each confirm: waking up costs more than a publish.
            link.until_waiting(u64::from(WINDOW / 4 * 3)).await?;
        }
        link.publish(&queues.tasks, &new_id(), body(number)).await?;
    }
    link.until_waiting(0).await?;
    let end_ns = now_ns();
    link.close().await?;
    Report::new("publish", tasks, start_ns, end_ns)
}

pub(super) fn new_id() -> String {
    Uuid::now_v7().simple().to_string()
}

/// A body as long as a task of Homing's has it, and as cheap to make.
pub(super) fn body(number: u64) -> Vec<u8> {
    format!("{number:0BYTES$}").into_bytes()
}
