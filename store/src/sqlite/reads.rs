//! Reads, each off the async threads and in one read transaction.

use std::ops::RangeInclusive;
use std::path::Path;

use homing_protocol::{BatchId, KindRecord, TaskId};

use super::pool::Pool;
use super::watch::Watch;
use super::{audit, batch, count, dead, kind, query, repair, tail};
use crate::audit::{BatchAudit, LoneAudit, Unclosed};
use crate::batch::{Batch, BatchRef};
use crate::error::StoreError;
use crate::filter::{DeadFilter, Filter, KindPattern};
use crate::position::{Position, Tail};
use crate::record::{DeadLetterRecord, DeadRecord, Record, TaskRecord};
use crate::replay::Replayable;
use crate::stats::KindStats;

/// Reads one store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reads(Pool);

impl Reads {
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let pool = Pool::new(path);
        pool.run(|_| Ok(())).await?;
        Ok(Self(pool))
    }

    pub(crate) async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.0.run(move |db| query::task(db, id)).await
    }

    pub(crate) async fn record(&self, id: TaskId) -> Result<Option<Record>, StoreError> {
        self.0.run(move |db| query::record(db, id)).await
    }

    pub(crate) async fn tasks_between(
        &self,
        ids: RangeInclusive<TaskId>,
        limit: u32,
    ) -> Result<Vec<TaskId>, StoreError> {
        self.0.run(move |db| query::between(db, &ids, limit)).await
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let filter = filter.clone();
        self.0.run(move |db| query::list(db, &filter, limit)).await
    }

    pub(crate) async fn tail(
        &self,
        after: Position,
        filter: &Filter,
        limit: u32,
    ) -> Result<Tail, StoreError> {
        let filter = filter.clone();
        self.0
            .run(move |db| tail::tail(db, after, &filter, limit))
            .await
    }

    pub(crate) async fn last(&self, filter: &Filter, n: u32) -> Result<Tail, StoreError> {
        let filter = filter.clone();
        self.0.run(move |db| tail::last(db, &filter, n)).await
    }

    pub(crate) async fn end(&self) -> Result<Position, StoreError> {
        self.0.run(tail::end).await
    }

    pub(crate) async fn batch(&self, name: &BatchRef) -> Result<Option<Batch>, StoreError> {
        let name = name.clone();
        self.0.run(move |db| batch::batch(db, &name)).await
    }

    pub(crate) async fn batches(
        &self,
        label: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Batch>, StoreError> {
        let label = label.map(str::to_owned);
        self.0
            .run(move |db| batch::batches(db, label.as_deref(), limit))
            .await
    }

    pub(crate) async fn batch_tasks(
        &self,
        batch: BatchId,
        after: Position,
        limit: u32,
    ) -> Result<(Vec<TaskId>, Position), StoreError> {
        self.0
            .run(move |db| batch::batch_tasks(db, batch, after, limit))
            .await
    }

    pub(crate) async fn audit_batch(
        &self,
        batch: &BatchRef,
    ) -> Result<Option<BatchAudit>, StoreError> {
        let batch = batch.clone();
        self.0.run(move |db| audit::audit_batch(db, &batch)).await
    }

    pub(crate) async fn known_batches(&self) -> Result<Vec<BatchId>, StoreError> {
        self.0.run(audit::known_batches).await
    }

    pub(crate) async fn audit_lone(&self) -> Result<LoneAudit, StoreError> {
        self.0.run(audit::audit_lone).await
    }

    pub(crate) async fn unclosed(&self, tasks: &[TaskId]) -> Result<Vec<Unclosed>, StoreError> {
        let tasks = tasks.to_owned();
        self.0.run(move |db| audit::unclosed(db, &tasks)).await
    }

    pub(crate) async fn stats(
        &self,
        kind: Option<&KindPattern>,
    ) -> Result<Vec<KindStats>, StoreError> {
        let kind = kind.cloned();
        self.0.run(move |db| count::stats(db, kind.as_ref())).await
    }

    pub(crate) async fn declared(&self, kind: Option<&str>) -> Result<Vec<KindRecord>, StoreError> {
        let kind = kind.map(str::to_owned);
        self.0
            .run(move |db| kind::declared(db, kind.as_deref()))
            .await
    }

    pub(crate) async fn dead(
        &self,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<Vec<DeadRecord>, StoreError> {
        let filter = filter.clone();
        self.0.run(move |db| dead::dead(db, &filter, limit)).await
    }

    pub(crate) async fn dead_letter(
        &self,
        number: u64,
    ) -> Result<Option<DeadLetterRecord>, StoreError> {
        self.0.run(move |db| dead::dead_letter(db, number)).await
    }

    pub(crate) async fn matching(
        &self,
        filter: &Filter,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<(Vec<TaskId>, Position), StoreError> {
        let filter = filter.clone();
        self.0
            .run(move |db| query::matching(db, &filter, after, until, limit))
            .await
    }

    pub(crate) async fn replayable(
        &self,
        tasks: &[TaskId],
    ) -> Result<Vec<Option<Replayable>>, StoreError> {
        let tasks = tasks.to_owned();
        self.0.run(move |db| repair::replayable(db, &tasks)).await
    }

    pub(crate) async fn watch(&self) -> Result<Watch, StoreError> {
        Watch::new(self.0.clone()).await
    }
}
