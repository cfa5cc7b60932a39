use std::time::Duration;

use homing_protocol::{BatchId, TaskId};

use crate::audit::{BatchAudit, LoneAudit, Unclosed};
use crate::batch::{Batch, BatchRef};
use crate::error::StoreError;
use crate::filter::{DeadFilter, Filter, KindPattern};
use crate::position::{Position, Tail};
use crate::record::{DeadLetterRecord, DeadRecord, Record, TaskRecord};
use crate::replay::Replayable;
use crate::sqlite::{self, Pool, Reader};
use crate::stats::KindStats;
use crate::url::StoreUrl;

/// How often a [`Watch`] looks at first: a person does not notice 5 ms, and one
/// look costs some microseconds.
const LOOK_FIRST: Duration = Duration::from_millis(5);

/// How often it looks once nothing has come for a while.
const LOOK_MAX: Duration = Duration::from_millis(20);

/// A store, for reading. Cheap to clone; clones share a few connections.
///
/// Every call runs its SQL off the async threads and sees one moment of the
/// store. Dropped before it answers, a call changes nothing.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
}

impl Store {
    /// Opens a store that a collector has created. Never creates one.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it is not there, not readable, not ours, or of another
    /// version.
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let pool = Pool::new(url.path());
        pool.run(|_| Ok(())).await?;
        Ok(Self { pool })
    }

    /// All that is stored of a task, `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.pool.run(move |db| sqlite::task(db, id)).await
    }

    /// What is known of a task's newest run, `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn record(&self, id: TaskId) -> Result<Option<Record>, StoreError> {
        self.pool.run(move |db| sqlite::record(db, id)).await
    }

    /// What is known of the tasks that match, by their newest run, the last
    /// stored first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn list(&self, filter: &Filter, limit: u32) -> Result<Vec<Record>, StoreError> {
        let filter = filter.clone();
        self.pool
            .run(move |db| sqlite::list(db, &filter, limit))
            .await
    }

    /// The log after `after`: at most `limit` records that match, the oldest
    /// first.
    ///
    /// A call looks at a bounded part of the log, so it may answer with no
    /// records and [`at_end`](Tail::at_end) false: go on from its position.
    ///
    /// # Errors
    ///
    /// [`StoreError::Position`] if the log does not have that position;
    /// [`StoreError`]: the store cannot be read.
    pub async fn tail(
        &self,
        after: &Position,
        filter: &Filter,
        limit: u32,
    ) -> Result<Tail, StoreError> {
        let (after, filter) = (*after, filter.clone());
        self.pool
            .run(move |db| sqlite::tail(db, after, &filter, limit))
            .await
    }

    /// The end of the log: the newest `n` records that match, the oldest of
    /// them first.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn last(&self, filter: &Filter, n: u32) -> Result<Tail, StoreError> {
        let filter = filter.clone();
        self.pool.run(move |db| sqlite::last(db, &filter, n)).await
    }

    /// Where the log ends now.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn end(&self) -> Result<Position, StoreError> {
        self.pool.run(sqlite::end).await
    }

    /// Watches for commits from now on.
    ///
    /// Begin to watch before looking, so that no commit falls in between: watch,
    /// look, [`changed`](Watch::changed), look again.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn watch(&self) -> Result<Watch, StoreError> {
        let mut watch = Watch {
            reader: Some(self.pool.reader().await?),
            pool: self.pool.clone(),
            seen: None,
        };
        watch.seen = watch.version().await?;
        Ok(watch)
    }

    /// A batch, `None` if nothing is stored of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn batch(&self, batch: &BatchRef) -> Result<Option<Batch>, StoreError> {
        let batch = batch.clone();
        self.pool.run(move |db| sqlite::batch(db, &batch)).await
    }

    /// The batches, the last opened first, at most `limit`; with a label only
    /// those of that label.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn batches(&self, label: Option<&str>, limit: u32) -> Result<Vec<Batch>, StoreError> {
        let label = label.map(str::to_owned);
        self.pool
            .run(move |db| sqlite::batches(db, label.as_deref(), limit))
            .await
    }

    /// The tasks of a batch that something is stored of, in parts: at most
    /// `limit` after `after`, and where to go on. The first call takes
    /// [`Position::START`]; a part with no tasks is the end. A task that
    /// changes meanwhile may come twice; none is left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn batch_tasks(
        &self,
        batch: BatchId,
        after: &Position,
        limit: u32,
    ) -> Result<(Vec<TaskId>, Position), StoreError> {
        let after = *after;
        self.pool
            .run(move |db| sqlite::batch_tasks(db, batch, after, limit))
            .await
    }

    /// Counts what is stored of a batch, row by row; `None` if that is nothing.
    /// Takes about a microsecond for each row.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn audit_batch(&self, batch: &BatchRef) -> Result<Option<BatchAudit>, StoreError> {
        let batch = batch.clone();
        self.pool
            .run(move |db| sqlite::audit_batch(db, &batch))
            .await
    }

    /// Every batch that something is stored of, its records or a task of it,
    /// the newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn known_batches(&self) -> Result<Vec<BatchId>, StoreError> {
        self.pool.run(sqlite::known_batches).await
    }

    /// Counts what is stored of tasks that are in no batch, task by task. They
    /// are known from their first record on.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn audit_lone(&self) -> Result<LoneAudit, StoreError> {
        self.pool.run(sqlite::audit_lone).await
    }

    /// Those of `tasks` without an answer, in the same order.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn unclosed(&self, tasks: Vec<TaskId>) -> Result<Vec<Unclosed>, StoreError> {
        self.pool.run(move |db| sqlite::unclosed(db, &tasks)).await
    }

    /// What is counted of each kind that matches, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn stats(&self, kind: Option<&KindPattern>) -> Result<Vec<KindStats>, StoreError> {
        let kind = kind.cloned();
        self.pool
            .run(move |db| sqlite::stats(db, kind.as_ref()))
            .await
    }

    /// The dead letters stored last, the last first, at most `limit`, without
    /// those that were discarded.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn dead(&self, limit: u32) -> Result<Vec<DeadRecord>, StoreError> {
        self.dead_matching(&DeadFilter::default(), limit).await
    }

    /// The dead letters that match, the last stored first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn dead_matching(
        &self,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<Vec<DeadRecord>, StoreError> {
        let filter = filter.clone();
        self.pool
            .run(move |db| sqlite::dead(db, &filter, limit))
            .await
    }

    /// The dead letter of this number with its content, `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn dead_letter(&self, number: u64) -> Result<Option<DeadLetterRecord>, StoreError> {
        self.pool
            .run(move |db| sqlite::dead_letter(db, number))
            .await
    }

    /// The tasks that match, by their newest run, in parts: at most `limit`
    /// after `after`, the one that changed longest ago first, and where to go
    /// on. A part with no tasks is the end. Nothing stored after `until` is in
    /// it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn matching(
        &self,
        filter: &Filter,
        after: &Position,
        until: &Position,
        limit: u32,
    ) -> Result<(Vec<TaskId>, Position), StoreError> {
        let (filter, after, until) = (filter.clone(), *after, *until);
        self.pool
            .run(move |db| sqlite::matching(db, &filter, after, until, limit))
            .await
    }

    /// What a replay of these tasks needs, in their order; `None` for those that
    /// nothing is stored of. Answers for the first of them only, if the payloads
    /// of all are more than some MiB: ask again for the others.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn replayable(
        &self,
        tasks: Vec<TaskId>,
    ) -> Result<Vec<Option<Replayable>>, StoreError> {
        self.pool
            .run(move |db| sqlite::replayable(db, &tasks))
            .await
    }
}

/// Notices commits by any process.
#[derive(Debug)]
pub struct Watch {
    /// Its own, since what SQLite tells of other processes is told per
    /// connection. `None` after a look at it was cancelled or failed.
    reader: Option<Reader>,
    pool: Pool,
    /// The version that was last seen; `None` if there is nothing to compare
    /// with, so that whatever is there counts as changed.
    seen: Option<i64>,
}

impl Watch {
    /// Returns soon after a commit that was not noticed yet, within 20 ms.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, no commit is missed: at worst one is noticed
    /// that was noticed before.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        let mut pause = LOOK_FIRST;
        loop {
            let version = self.version().await?;
            let same = version.is_some() && version == self.seen;
            self.seen = version;
            if !same {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// A number that differs after each commit by another connection; `None`
    /// from a new reader, whose numbers cannot be compared with those before.
    async fn version(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(reader) = self.reader.take() else {
            self.reader = Some(self.pool.reader().await?);
            return Ok(None);
        };
        let (reader, version) = self.pool.version(reader).await;
        let version = version?;
        // Without a version another file has taken its place.
        self.reader = version.is_some().then_some(reader);
        Ok(version)
    }
}
