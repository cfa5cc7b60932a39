use std::path::{Path, PathBuf};

use homing_faults::{Point, crash_point};
use homing_protocol::{Digest, Timestamp};
use rusqlite::{Connection, TransactionBehavior};

use super::fault::{Answer, Fault};
use super::file::{self, FileId};
use super::group::Group;
use super::lock::{self, Lock};
use super::schema;
use crate::error::StoreError;
use crate::writer::Entry;

/// Prepared statements that are kept: every one that writing uses.
const STATEMENTS_MAX: usize = 64;

/// The one connection that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    // Before the lock, so that it is closed before the next process has it.
    connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
    /// The write-ahead log beside it.
    log: Option<FileId>,
    lock: Lock,
}

impl Writer {
    pub(super) fn open(path: &Path, lock: Lock) -> Result<Self, StoreError> {
        let file = file::file_id(path);
        let connection = connect(path)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            file,
            log: file::file_id(&file::log(path)),
            lock,
        })
    }

    /// Opens what is at the path now, never creating it: the same file again, or
    /// the one that has taken its place.
    pub(crate) fn reopen(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let Some(file) = file::file_id(&path) else {
            return Err(StoreError::Missing { store: path.into() });
        };
        if self.file != Some(file) {
            // SQLite would take the log of the file before for that of this one
            // (https://www.sqlite.org/howtocorrupt.html section 1.4).
            if self.log.is_some() && file::file_id(&file::log(&path)) == self.log {
                return Err(StoreError::Gone { path });
            }
            // With the connection go its files beside the path.
            let closed = Connection::open_in_memory();
            self.connection = closed.map_err(|error| Fault::from(error).at(&path))?;
            (self.file, self.log) = (None, None);
            if !self.lock.is_at(&path) {
                self.lock = match lock::try_lock(&path, lock::COLLECTOR)? {
                    Ok(lock) => lock,
                    Err(_) => return Err(StoreError::Busy { store: path.into() }),
                };
            }
        }
        self.connection = connect(&path)?;
        self.file = Some(file);
        self.log = file::file_id(&file::log(&path));
        Ok(())
    }

    /// Writes `entries` in one transaction that is on disk when this returns.
    pub(crate) fn write(&mut self, entries: &[Entry], now: Timestamp) -> Result<(), StoreError> {
        let committed = self.commit(entries, now);
        // A file that was deleted or replaced takes writes as before, and they
        // are gone with the last handle of it.
        if file::file_id(&self.path) != self.file {
            let path = self.path.clone();
            return Err(StoreError::Gone { path });
        }
        committed.map_err(|fault| fault.at(&self.path))
    }

    /// Counts one more try of `letter`, on disk when this returns, and none of the
    /// one `before`. Answers how many that makes.
    pub(crate) fn note_try(
        &mut self,
        letter: &Digest,
        before: Option<&Digest>,
    ) -> Result<u32, StoreError> {
        let sql = "INSERT INTO quarantine_tries (letter, tries) VALUES (?1, 1)
                   ON CONFLICT (letter) DO UPDATE SET tries = tries + 1 RETURNING tries";
        let tries = before
            .map_or(Ok(0), |before| {
                let forget = "DELETE FROM quarantine_tries WHERE letter = ?1";
                self.connection.execute(forget, [&before.as_bytes()[..]])
            })
            .and_then(|_| {
                let letter = [&letter.as_bytes()[..]];
                self.connection.query_row(sql, letter, |row| row.get(0))
            });
        tries.map_err(|error| Fault::from(error).at(&self.path))
    }

    fn commit(&mut self, entries: &[Entry], now: Timestamp) -> Answer<()> {
        let immediate = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(immediate)?;
        crash_point(Point::StoreBegun);
        let mut group = Group::new(&transaction, now)?;
        group.write(entries)?;
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

/// Opens the file at `path` for writing, with the newest schema.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = file::open_writer(path)?;
    let prepare = |connection: &mut Connection| -> Answer<_> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        file::make_durable(connection)?;
        schema::migrate(connection)
    };
    prepare(&mut connection).map_err(|fault| fault.at(path))?;
    Ok(connection)
}
