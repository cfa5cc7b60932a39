use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use homing_broker::Window;
use homing_producer::{Batch, Producer, SubmitError};
use homing_protocol::{BatchId, TaskId};

use super::work::Work;
use crate::space::Space;
use crate::trouble::Trouble;

/// How long a confirm may take: the longest pause of whoever holds the file of an
/// embedded broker fits into it many times.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(60);

/// How often some tasks are submitted.
const TICK: Duration = Duration::from_millis(10);

/// Submits tasks of one batch, by their number.
pub(super) struct Load {
    batch: Batch,
    seed: u64,
    rate: u32,
    tasks: Vec<TaskId>,
}

impl Load {
    pub(super) async fn open(space: &Space, seed: u64, rate: u32) -> Result<Self, Trouble> {
        let window = Window {
            deadline: Some(CONFIRM_TIME_MAX),
            ..Window::DEFAULT
        };
        let producer = Producer::open_with(space.broker().clone(), window).await;
        let producer = producer.map_err(|error| space.link().trouble(&error))?;
        let batch = producer.batch("chaos").await;
        Ok(Self {
            batch: batch.map_err(|error| unsubmitted(&error, space))?,
            seed,
            rate,
            tasks: Vec::new(),
        })
    }

    pub(super) const fn batch(&self) -> BatchId {
        self.batch.id()
    }

    /// Submits until it is `over`. Not to be dropped before: a task that is on its
    /// way then would be in no book.
    pub(super) async fn submit(
        &mut self,
        over: &AtomicBool,
        count: &AtomicU64,
    ) -> Result<(), SubmitError> {
        let since = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        while !over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let due = since.elapsed().as_secs_f64() * f64::from(self.rate);
            while (self.tasks.len() as f64) < due && !over.load(Ordering::Relaxed) {
                let work = Work::new(self.seed, self.tasks.len() as u64);
                self.tasks.push(self.batch.submit(work).await?);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Waits until all are confirmed; answers their ids, in the order of their
    /// numbers.
    pub(super) async fn seal(self) -> Result<Vec<TaskId>, SubmitError> {
        self.batch.seal().await?;
        Ok(self.tasks)
    }
}

pub(super) fn unsubmitted(error: &SubmitError, space: &Space) -> Trouble {
    match error {
        SubmitError::Publish { source, .. } | SubmitError::Record { source, .. } => {
            space.link().publish_trouble(source, "homing chaos")
        }
        other => Trouble::bug(other),
    }
}
