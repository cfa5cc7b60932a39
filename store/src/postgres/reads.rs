//! Reads, over a few connections that are opened when they are needed.

use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use homing_protocol::{BatchId, KindRecord, TaskId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::Address;
use super::fault::{Answer, Fault};
use super::pause::Pause;
use super::session::{Purpose, Session};
use super::watch::Watch;
use super::{audit, batch, count, dead, driver, kind, query, repair, schema, tail};
use crate::audit::{BatchAudit, LoneAudit, Unclosed};
use crate::batch::{Batch, BatchRef};
use crate::error::StoreError;
use crate::filter::{DeadFilter, Filter, KindPattern};
use crate::position::{Position, Tail};
use crate::record::{DeadLetterRecord, DeadRecord, Record, TaskRecord};
use crate::replay::Replayable;
use crate::stats::KindStats;

/// Connections that may read at once: a process that lists outcomes needs no
/// more, and a server has some hundred for all.
const READERS_MAX: usize = 4;

/// How long a read goes on trying while the server is away: a restart takes
/// less, and whoever asked wants to know.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a read may go without an answer before the server is asked whether it
/// still takes connections.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a read may take, whatever the server says of itself: more than it lets
/// a statement run.
const READ_TIMEOUT: Duration = Duration::from_secs(11 * 60);

/// Reads one store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    address: Arc<Address>,
    idle: Arc<Mutex<Vec<Session>>>,
    permits: Arc<Semaphore>,
}

/// A connection in a transaction that sees one moment of the store.
struct Reading {
    session: Session,
    _permit: OwnedSemaphorePermit,
}

/// Answers with `$query` of a connection `$db`, and asks again over another one
/// while the server is away.
macro_rules! read {
    ($reads:ident, $db:ident => $query:expr) => {{
        let mut trying = Trying::new();
        loop {
            let answer = $reads.while_it_lives(async {
                let reading = $reads.lend().await?;
                let $db = &reading.session;
                let answer = $query.await?;
                $reads.give_back(reading).await?;
                Ok(answer)
            });
            match answer.await {
                Ok(answer) => return Ok(answer),
                Err(fault) => trying.again(fault, &$reads.address).await?,
            }
        }
    }};
}

impl Reads {
    pub(crate) async fn open(address: &Address) -> Result<Self, StoreError> {
        let reads = Self {
            address: Arc::new(address.clone()),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        };
        // Whoever opens a store waits for none: a wrong name is told at once.
        let opened = reads.while_it_lives(async {
            let reading = reads.lend().await?;
            reads.give_back(reading).await
        });
        opened.await.map_err(|fault| fault.at(address))?;
        Ok(reads)
    }

    pub(crate) async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
        read!(self, db => query::task(db, id))
    }

    pub(crate) async fn record(&self, id: TaskId) -> Result<Option<Record>, StoreError> {
        read!(self, db => query::record(db, id))
    }

    pub(crate) async fn tasks_between(
        &self,
        ids: RangeInclusive<TaskId>,
        limit: u32,
    ) -> Result<Vec<TaskId>, StoreError> {
        read!(self, db => query::between(db, &ids, limit))
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        read!(self, db => query::list(db, filter, limit))
    }

    pub(crate) async fn tail(
        &self,
        after: Position,
        filter: &Filter,
        limit: u32,
    ) -> Result<Tail, StoreError> {
        read!(self, db => tail::tail(db, after, filter, limit))
    }

    pub(crate) async fn last(&self, filter: &Filter, n: u32) -> Result<Tail, StoreError> {
        read!(self, db => tail::last(db, filter, n))
    }

    pub(crate) async fn end(&self) -> Result<Position, StoreError> {
        read!(self, db => tail::end(db))
    }

    pub(crate) async fn batch(&self, name: &BatchRef) -> Result<Option<Batch>, StoreError> {
        read!(self, db => batch::batch(db, name))
    }

    pub(crate) async fn batches(
        &self,
        label: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Batch>, StoreError> {
        read!(self, db => batch::batches(db, label, limit))
    }

    pub(crate) async fn batch_tasks(
        &self,
        batch: BatchId,
        after: Position,
        limit: u32,
    ) -> Result<(Vec<TaskId>, Position), StoreError> {
        read!(self, db => batch::batch_tasks(db, batch, after, limit))
    }

    pub(crate) async fn audit_batch(
        &self,
        batch: &BatchRef,
    ) -> Result<Option<BatchAudit>, StoreError> {
        read!(self, db => audit::audit_batch(db, batch))
    }

    pub(crate) async fn known_batches(&self) -> Result<Vec<BatchId>, StoreError> {
        read!(self, db => audit::known_batches(db))
    }

    pub(crate) async fn audit_lone(&self) -> Result<LoneAudit, StoreError> {
        read!(self, db => audit::audit_lone(db))
    }

    pub(crate) async fn unclosed(&self, tasks: &[TaskId]) -> Result<Vec<Unclosed>, StoreError> {
        read!(self, db => audit::unclosed(db, tasks))
    }

    pub(crate) async fn stats(
        &self,
        kind: Option<&KindPattern>,
    ) -> Result<Vec<KindStats>, StoreError> {
        read!(self, db => count::stats(db, kind))
    }

    pub(crate) async fn declared(&self, kind: Option<&str>) -> Result<Vec<KindRecord>, StoreError> {
        read!(self, db => kind::declared(db, kind))
    }

    pub(crate) async fn dead(
        &self,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<Vec<DeadRecord>, StoreError> {
        read!(self, db => dead::dead(db, filter, limit))
    }

    pub(crate) async fn dead_letter(
        &self,
        number: u64,
    ) -> Result<Option<DeadLetterRecord>, StoreError> {
        read!(self, db => dead::dead_letter(db, number))
    }

    pub(crate) async fn matching(
        &self,
        filter: &Filter,
        after: Position,
        until: Position,
        limit: u32,
    ) -> Result<(Vec<TaskId>, Position), StoreError> {
        read!(self, db => query::matching(db, filter, after, until, limit))
    }

    pub(crate) async fn replayable(
        &self,
        tasks: &[TaskId],
    ) -> Result<Vec<Option<Replayable>>, StoreError> {
        read!(self, db => repair::replayable(db, tasks))
    }

    /// Watches for commits from now on.
    pub(crate) async fn watch(&self) -> Result<Watch, StoreError> {
        let mut trying = Trying::new();
        loop {
            match Watch::new(Arc::clone(&self.address)).await {
                Ok(watch) => return Ok(watch),
                Err(fault) => trying.again(fault, &self.address).await?,
            }
        }
    }

    /// What `read` answers, however long that takes, but not of a server that was
    /// stopped in its tracks: the system it runs on keeps its connections.
    async fn while_it_lives<T>(&self, read: impl Future<Output = Answer<T>>) -> Answer<T> {
        let mut read = pin!(read);
        let since = Instant::now();
        while since.elapsed() < READ_TIMEOUT {
            if let Some(answer) = driver::timeout(SILENCE, read.as_mut()).await {
                return answer;
            }
            if let Err(Fault::Silent) = Session::open(&self.address, Purpose::Read).await {
                break;
            }
        }
        Err(Fault::Silent)
    }

    async fn lend(&self) -> Answer<Reading> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let session = match self.take() {
            Some(session) => session,
            None => {
                let session = Session::open(&self.address, Purpose::Read).await?;
                schema::check(&session).await?;
                session
            }
        };
        session
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        Ok(Reading {
            session,
            _permit: permit.expect("the semaphore is never closed"),
        })
    }

    /// After an error the connection is dropped instead: the next one is opened
    /// anew, with all the checks.
    async fn give_back(&self, reading: Reading) -> Answer<()> {
        reading.session.batch("COMMIT").await?;
        self.idle().push(reading.session);
        Ok(())
    }

    /// An idle connection that has not ended.
    fn take(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(|session| !session.is_closed());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        // A push or pop that panicked leaves a list that is still one.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read that is tried again.
struct Trying {
    /// When it first failed: before that it may have taken long.
    since: Option<Instant>,
    pause: Pause,
}

impl Trying {
    fn new() -> Self {
        Self {
            since: None,
            pause: Pause::default(),
        }
    }

    /// Waits before the next try, unless none would help.
    async fn again(&mut self, fault: Fault, address: &Address) -> Result<(), StoreError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !fault.is_of_connection() || since.elapsed() > PATIENCE {
            return Err(fault.at(address));
        }
        self.pause.wait().await;
        Ok(())
    }
}
