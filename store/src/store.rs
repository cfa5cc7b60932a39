use std::ops::RangeInclusive;

use homing_protocol::{BatchId, KindRecord, TaskId, TaskKind};

use crate::audit::{BatchAudit, LoneAudit, Unclosed};
use crate::batch::{Batch, BatchRef};
use crate::error::StoreError;
use crate::filter::{DeadFilter, Filter, KindPattern};
use crate::position::{Position, Tail};
use crate::record::{DeadLetterRecord, DeadRecord, Record, TaskRecord};
use crate::replay::Replayable;
use crate::stats::KindStats;
use crate::url::{Address, StoreUrl};
use crate::{postgres, sqlite};

/// A store, for reading. Cheap to clone; clones share a few connections.
///
/// Every call works off the async threads and sees one moment of the store. While
/// a database is away it is tried again for some seconds. Dropped before it
/// answers, a call changes nothing.
#[derive(Clone, Debug)]
pub struct Store(Backend);

/// What has the store.
#[derive(Clone, Debug)]
enum Backend {
    Sqlite(sqlite::Reads),
    Postgres(postgres::Reads),
}

/// Asks whichever backend there is.
macro_rules! ask {
    ($store:expr, $reads:ident => $answer:expr) => {
        match &$store.0 {
            Backend::Sqlite($reads) => $answer.await,
            Backend::Postgres($reads) => $answer.await,
        }
    };
}

impl Store {
    /// Opens a store that a collector has created. Never creates one.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it is not there, not readable, not ours, or of another
    /// version.
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        Ok(Self(match &url.0 {
            Address::Sqlite(path) => Backend::Sqlite(sqlite::Reads::open(path).await?),
            Address::Postgres(address) => Backend::Postgres(postgres::Reads::open(address).await?),
        }))
    }

    /// All that is stored of a task, `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        ask!(self, reads => reads.task(id))
    }

    /// What is known of a task's newest run, `None` if that is nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn record(&self, id: TaskId) -> Result<Option<Record>, StoreError> {
        ask!(self, reads => reads.record(id))
    }

    /// The tasks whose ids are in this range, the lowest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn tasks_between(
        &self,
        ids: RangeInclusive<TaskId>,
        limit: u32,
    ) -> Result<Vec<TaskId>, StoreError> {
        ask!(self, reads => reads.tasks_between(ids, limit))
    }

    /// What is known of the tasks that match, by their newest run, the last
    /// stored first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn list(&self, filter: &Filter, limit: u32) -> Result<Vec<Record>, StoreError> {
        ask!(self, reads => reads.list(filter, limit))
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
        ask!(self, reads => reads.tail(*after, filter, limit))
    }

    /// The end of the log: the newest `n` records that match, the oldest of
    /// them first.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn last(&self, filter: &Filter, n: u32) -> Result<Tail, StoreError> {
        ask!(self, reads => reads.last(filter, n))
    }

    /// Where the log ends now.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn end(&self) -> Result<Position, StoreError> {
        ask!(self, reads => reads.end())
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
        Ok(Watch(match &self.0 {
            Backend::Sqlite(reads) => Watching::Sqlite(reads.watch().await?),
            Backend::Postgres(reads) => Watching::Postgres(reads.watch().await?),
        }))
    }

    /// A batch, `None` if nothing is stored of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn batch(&self, batch: &BatchRef) -> Result<Option<Batch>, StoreError> {
        ask!(self, reads => reads.batch(batch))
    }

    /// The batches, the last opened first, at most `limit`; with a label only
    /// those of that label.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn batches(&self, label: Option<&str>, limit: u32) -> Result<Vec<Batch>, StoreError> {
        ask!(self, reads => reads.batches(label, limit))
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
        ask!(self, reads => reads.batch_tasks(batch, *after, limit))
    }

    /// Counts what is stored of a batch, row by row; `None` if that is nothing.
    /// Takes about a microsecond for each row.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn audit_batch(&self, batch: &BatchRef) -> Result<Option<BatchAudit>, StoreError> {
        ask!(self, reads => reads.audit_batch(batch))
    }

    /// Every batch that something is stored of, its records or a task of it,
    /// the newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn known_batches(&self) -> Result<Vec<BatchId>, StoreError> {
        ask!(self, reads => reads.known_batches())
    }

    /// Counts what is stored of tasks that are in no batch, task by task. They
    /// are known from their first record on.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn audit_lone(&self) -> Result<LoneAudit, StoreError> {
        ask!(self, reads => reads.audit_lone())
    }

    /// Those of `tasks` without an answer, in the same order.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn unclosed(&self, tasks: Vec<TaskId>) -> Result<Vec<Unclosed>, StoreError> {
        ask!(self, reads => reads.unclosed(&tasks))
    }

    /// What is counted of each kind that matches, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn stats(&self, kind: Option<&KindPattern>) -> Result<Vec<KindStats>, StoreError> {
        ask!(self, reads => reads.stats(kind))
    }

    /// What the payloads of a kind are to match, as the worker of it that started
    /// last says; `None` if none has said so.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn kind(&self, kind: &TaskKind) -> Result<Option<KindRecord>, StoreError> {
        let records: Vec<_> = ask!(self, reads => reads.declared(Some(kind.as_str())))?;
        Ok(records.into_iter().next())
    }

    /// The same of every kind that a worker has said so of, in the order of their
    /// names.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn kinds(&self) -> Result<Vec<KindRecord>, StoreError> {
        ask!(self, reads => reads.declared(None))
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
        ask!(self, reads => reads.dead(filter, limit))
    }

    /// The dead letter of this number with its content, `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    pub async fn dead_letter(&self, number: u64) -> Result<Option<DeadLetterRecord>, StoreError> {
        ask!(self, reads => reads.dead_letter(number))
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
        ask!(self, reads => reads.matching(filter, *after, *until, limit))
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
        ask!(self, reads => reads.replayable(&tasks))
    }
}

/// Notices commits by any process.
#[derive(Debug)]
pub struct Watch(Watching);

#[derive(Debug)]
enum Watching {
    Sqlite(sqlite::Watch),
    Postgres(postgres::Watch),
}

impl Watch {
    /// Returns soon after a commit that was not noticed yet, within 20 ms. While
    /// the server of a store is away it waits for it, however long that takes.
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
        match &mut self.0 {
            Watching::Sqlite(watch) => watch.changed().await,
            Watching::Postgres(watch) => watch.changed().await,
        }
    }

    /// What `look`, which reads the watched store, answers. While its server is
    /// away, or takes no connections, it is asked again, however long that takes.
    ///
    /// # Errors
    ///
    /// [`StoreError`], other than [`Unreachable`](StoreError::Unreachable): the
    /// store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// That of `look`, and nothing else is lost.
    pub async fn look<T, L>(&mut self, mut look: impl FnMut() -> L) -> Result<T, StoreError>
    where
        L: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match (look().await, &mut self.0) {
                (Err(StoreError::Unreachable { .. }), Watching::Postgres(watch)) => {
                    watch.pause().await?;
                }
                (answer, _) => return answer,
            }
        }
    }
}
