use std::fmt;

use serde::Serialize;

use super::Side;
use super::pipeline::{Backlog, backlog};

/// How much more memory a process of Homing may need for a hundred times the
/// tasks, MiB.
pub const RSS_GROWTH_MIB_MAX: f64 = 20.0;

/// Peak memory of Homing's processes with this many tasks queued.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Tasks that were queued before worker and collector began.
    pub tasks: u64,
    /// Tasks a second, from the start of worker and collector until all are
    /// stored.
    pub rate: f64,
    /// MiB.
    pub producer_rss_mib: f64,
    /// MiB.
    pub worker_rss_mib: f64,
    /// MiB.
    pub collector_rss_mib: f64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tasks,
            rate,
            producer_rss_mib: producer,
            worker_rss_mib: worker,
            collector_rss_mib: collector,
        } = self;
        write!(
            f,
            "| {tasks:>9} queued | producer {producer:.1} MiB | worker {worker:.1} MiB "
        )?;
        write!(f, "| collector {collector:.1} MiB | {rate:.0} tasks/s |")
    }
}

impl Memory {
    /// The most that a process needed more than in `other`, MiB.
    pub fn growth_since(&self, other: &Self) -> f64 {
        let grown = [
            self.producer_rss_mib - other.producer_rss_mib,
            self.worker_rss_mib - other.worker_rss_mib,
            self.collector_rss_mib - other.collector_rss_mib,
        ];
        grown.into_iter().fold(0.0, f64::max)
    }
}

/// Queues `tasks` tasks with nobody there to run them, then works them off.
///
/// # Errors
///
/// A process has failed, or the broker is away.
pub async fn memory(url: &str, tasks: u64) -> anyhow::Result<Memory> {
    let Backlog {
        rate,
        submitted,
        used,
    } = backlog(Side::Homing, url, tasks).await?;
    Ok(Memory {
        tasks,
        rate,
        producer_rss_mib: submitted.rss_peak_mib,
        worker_rss_mib: used.worker.rss_peak_mib,
        collector_rss_mib: used.collector.rss_peak_mib,
    })
}
