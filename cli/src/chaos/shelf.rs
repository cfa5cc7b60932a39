use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use homing_protocol::{BatchId, TaskId};
use homing_store::{BatchRef, Store};

use super::books::{Books, Fate};
use super::work::Work;
use crate::space::Space;
use crate::trouble::Trouble;

/// Between two looks at how much is stored.
const LOOK: Duration = Duration::from_millis(100);

/// How long nothing may be stored before what is missing counts as lost: longer
/// than any delay, and than the 15 s after which the embedded broker takes back
/// what a process holds that lives and does nothing.
pub(super) const STALL_TIME_MAX: Duration = Duration::from_secs(60);

/// Tasks that are looked up at once.
const READS: usize = 8;

/// What is stored, which a collector has to make first.
pub(super) struct Shelf<'a> {
    space: &'a Space,
    batch: BatchId,
    store: Option<Store>,
}

impl<'a> Shelf<'a> {
    pub(super) const fn new(space: &'a Space, batch: BatchId) -> Self {
        let store = None;
        Self {
            space,
            batch,
            store,
        }
    }

    /// How many tasks have an outcome; none as long as that cannot be read.
    pub(super) async fn stored(&mut self) -> u64 {
        let Ok(store) = self.store().await else {
            return 0;
        };
        let batch = store.batch(&BatchRef::Id(self.batch)).await;
        let batch = batch.ok().flatten();
        batch.map_or(0, |batch| batch.counts.closed())
    }

    /// Waits until `count` tasks have an outcome, or none gets one any more;
    /// answers how many have.
    pub(super) async fn until_stored(&mut self, count: u64) -> u64 {
        let (mut stored, mut moved) = (0, Instant::now());
        loop {
            let now = self.stored().await;
            if now > stored {
                (stored, moved) = (now, Instant::now());
            }
            if stored >= count || moved.elapsed() > STALL_TIME_MAX {
                return stored;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Compares all tasks with what is stored, by their ids.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: the store cannot be read.
    pub(super) async fn compare(&mut self, tasks: &[TaskId], seed: u64) -> Result<Books, Trouble> {
        let mut books = Books {
            stored: self.stored().await,
            ..Books::default()
        };
        // Ended before the first of them: no collector may have made a store yet.
        if tasks.is_empty() {
            return Ok(books);
        }
        let store = self.store().await?;
        let fates = (0_u64..).zip(tasks).map(async |(number, task)| {
            let record = store.record(*task).await?;
            let report = record.as_ref().map(|record| &record.report);
            let fate = Fate::of(&Work::new(seed, number).output(), report);
            Ok((*task, fate))
        });
        let mut fates = futures::stream::iter(fates).buffered(READS);
        while let Some((task, fate)) = fates
            .try_next()
            .await
            .map_err(|error| self.space.store_trouble(&error))?
        {
            books.note(task, fate);
        }
        Ok(books)
    }

    async fn store(&mut self) -> Result<Store, Trouble> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = Store::open(self.space.store()).await;
        let store = store.map_err(|error| self.space.store_trouble(&error))?;
        self.store = Some(store.clone());
        Ok(store)
    }
}
