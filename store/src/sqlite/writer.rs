use std::path::{Path, PathBuf};

use homing_faults::{Point, crash_point};
use homing_protocol::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::fault::{Answer, Fault};
use super::file::{self, FileId};
use super::group::Group;
use super::lock::Lock;
use super::schema;
use crate::error::StoreError;
use crate::writer::Entry;

/// Prepared statements that are kept: every one that writing uses.
const STATEMENTS_MAX: usize = 32;

/// The one connection that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    // Before the lock, so that it is closed before the next process has it.
    connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
    _lock: Lock,
}

impl Writer {
    pub(super) fn open(path: &Path, lock: Lock) -> Result<Self, StoreError> {
        let file = file::file_id(path);
        let mut connection = file::open_writer(path)?;
        let prepare = |connection: &mut Connection| -> Answer<_> {
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            file::make_durable(connection)?;
            schema::migrate(connection)
        };
        prepare(&mut connection).map_err(|fault| fault.at(path))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            file,
            _lock: lock,
        })
    }

    /// Writes `entries` in one transaction that is on disk when this returns.
    pub(crate) fn write(&mut self, entries: &[Entry], now: Timestamp) -> Result<(), StoreError> {
        self.commit(entries, now)
            .map_err(|fault| fault.at(&self.path))?;
        // A file that was deleted or replaced takes writes as before, and they
        // are gone with the last handle of it.
        if file::file_id(&self.path) == self.file {
            return Ok(());
        }
        let path = self.path.clone();
        Err(StoreError::Gone { path })
    }

    fn commit(&mut self, entries: &[Entry], now: Timestamp) -> Answer<()> {
        let immediate = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(immediate)?;
        crash_point(Point::StoreBegun);
        let mut group = Group::new(&transaction, now)?;
        entries.iter().try_for_each(|entry| group.write(entry))?;
        group.finish()?;
        crash_point(Point::StoreBeforeCommit);
        transaction.commit()?;
        crash_point(Point::StoreCommitted);
        Ok(())
    }

    /// How many runs of tasks something is stored of.
    pub(crate) fn stored(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(tasks), 0) FROM kind_counts";
        let stored = self
            .connection
            .query_row(sql, [], |row| super::columns::natural(row, 0));
        stored.map_err(|error| Fault::from(error).at(&self.path))
    }
}
