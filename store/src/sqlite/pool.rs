use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::{Answer, Fault};
use super::file::{self, FileId};
use crate::error::StoreError;

/// Connections that may read at once. Each has a thread meanwhile and 2 MiB of
/// cache; more would not be faster on the machines a SQLite store is for.
const READERS_MAX: usize = 4;

/// Connections for reading one store, opened when needed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Reader>>>,
    permits: Arc<Semaphore>,
}

/// A connection, and the file it reads.
#[derive(Debug)]
pub(crate) struct Reader {
    connection: Connection,
    file: Option<FileId>,
}

impl Pool {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: Arc::new(path.to_owned()),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// Runs `query` on a thread where it may block, in one read transaction.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Answer<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let pool = self.clone();
        blocking(move || pool.run_blocking(query, permit)).await
    }

    fn run_blocking<T>(
        &self,
        query: impl FnOnce(&Connection) -> Answer<T>,
        _permit: OwnedSemaphorePermit,
    ) -> Result<T, StoreError> {
        let reader = match self.take() {
            Some(reader) => reader,
            None => Reader::open(&self.path)?,
        };
        let answer = reader.query(query).map_err(|fault| fault.at(&self.path))?;
        // After an error the connection is dropped: the next one is opened
        // anew, with all the checks.
        self.idle().push(reader);
        Ok(answer)
    }

    /// An idle reader of the file that is at the path now.
    fn take(&self) -> Option<Reader> {
        let mut idle = self.idle();
        while let Some(reader) = idle.pop() {
            if reader.is_current(&self.path) {
                return Some(reader);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        // A push or pop that panicked leaves a list that is still one.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection that is the caller's own.
    pub(crate) async fn reader(&self) -> Result<Reader, StoreError> {
        let path = Arc::clone(&self.path);
        blocking(move || Reader::open(&path)).await
    }

    /// A number that differs once another connection has committed; `None` if
    /// the reader's file is no longer the one at the path.
    pub(crate) async fn version(
        &self,
        reader: Reader,
    ) -> (Reader, Result<Option<i64>, StoreError>) {
        let path = Arc::clone(&self.path);
        blocking(move || {
            let version = reader.version(&path);
            (reader, version)
        })
        .await
    }
}

impl Reader {
    fn open(path: &Path) -> Result<Self, StoreError> {
        // Looked up first: a file that takes its place meanwhile is noticed.
        let file = file::file_id(path);
        let connection = file::open_reader(path)?;
        Ok(Self { connection, file })
    }

    fn is_current(&self, path: &Path) -> bool {
        file::file_id(path) == self.file
    }

    fn query<T>(&self, query: impl FnOnce(&Connection) -> Answer<T>) -> Answer<T> {
        let transaction = self.connection.unchecked_transaction()?;
        query(&transaction)
    }

    fn version(&self, path: &Path) -> Result<Option<i64>, StoreError> {
        if !self.is_current(path) {
            return Ok(None);
        }
        let version = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0));
        version
            .map(Some)
            .map_err(|error| Fault::from(error).at(path))
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down: nobody polls this any more.
        Err(_) => std::future::pending().await,
    }
}
