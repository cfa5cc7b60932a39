//! The store in one SQLite file.
use std::path::Path;
use homing_protocol::{BatchId, TaskId, Timestamp};
use rusqlite::Connection;
use crate::batch::{Batch, BatchRef};
use crate::error::StoreError;
use crate::filter::{Filter, KindPattern};
use crate::position::{Position, Tail};
use crate::record::{DeadRecord, Record, TaskRecord};
use crate::stats::KindStats;
use crate::writer::{Entry, Holder};
type R<T> = Result<T, StoreError>;
#[derive(Debug)]
pub(crate) struct Pool;
impl Pool {
    pub(crate) fn new(_: &Path) -> Self { unimplemented!() }
    pub(crate) async fn run<T>(&self, _: impl FnOnce(&Connection) -> R<T> + Send + 'static) -> R<T> { unimplemented!() }
    pub(crate) async fn connect(&self) -> R<Connection> { unimplemented!() }
    pub(crate) async fn version(&self, _: Connection) -> (Connection, R<i64>) { unimplemented!() }
}
pub(crate) fn task(_: &Connection, _: TaskId) -> R<Option<TaskRecord>> { unimplemented!() }
pub(crate) fn record(_: &Connection, _: TaskId) -> R<Option<Record>> { unimplemented!() }
pub(crate) fn list(_: &Connection, _: &Filter, _: u32) -> R<Vec<Record>> { unimplemented!() }
pub(crate) fn tail(_: &Connection, _: Position, _: &Filter, _: u32) -> R<Tail> { unimplemented!() }
pub(crate) fn last(_: &Connection, _: &Filter, _: u32) -> R<Tail> { unimplemented!() }
pub(crate) fn end(_: &Connection) -> R<Position> { unimplemented!() }
pub(crate) fn batch(_: &Connection, _: &BatchRef) -> R<Option<Batch>> { unimplemented!() }
pub(crate) fn batches(_: &Connection, _: Option<&str>, _: u32) -> R<Vec<Batch>> { unimplemented!() }
pub(crate) fn batch_tasks(_: &Connection, _: BatchId, _: Position, _: u32) -> R<(Vec<TaskId>, Position)> { unimplemented!() }
pub(crate) fn stats(_: &Connection, _: Option<&KindPattern>) -> R<Vec<KindStats>> { unimplemented!() }
pub(crate) fn dead(_: &Connection, _: u32) -> R<Vec<DeadRecord>> { unimplemented!() }
#[derive(Debug)]
pub(crate) struct Writer;
impl Writer {
    pub(crate) fn write(&mut self, _: &[Entry], _: Timestamp) -> R<()> { unimplemented!() }
    pub(crate) fn stored(&self) -> R<u64> { unimplemented!() }
}
#[derive(Debug)]
pub(crate) struct Standby;
impl Standby {
    pub(crate) fn new(_: &Path) -> R<Self> { unimplemented!() }
    pub(crate) fn holder(&self) -> Holder { unimplemented!() }
    pub(crate) fn try_take(self) -> R<Result<Writer, Self>> { unimplemented!() }
}
