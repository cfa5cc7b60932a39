//! The rows of a file, to be copied into another store.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

use super::columns;
use super::fault::{Answer, Fault};
use super::file;
use super::lock::{self, Lock};
use super::schema;
use crate::copy::{Cell, TABLES, Table};
use crate::error::StoreError;
use crate::writer::Holder;

/// Rows of a part, and their bytes up to the row that passes it.
const PART_ROWS_MAX: usize = 5_000;
const PART_BYTES_MAX: usize = 8 << 20;

/// A file that nobody else writes to.
#[derive(Debug)]
pub(crate) struct Dump {
    // Before the locks, so that it is closed before the next process has them.
    connection: Connection,
    path: PathBuf,
    _locks: [Lock; 2],
}

impl Dump {
    /// Opens a store that is there and has the newest schema, or says who writes
    /// to it.
    pub(crate) fn open(path: &Path) -> Result<Result<Self, Holder>, StoreError> {
        // Told as to a reader: why it is not there, not readable, or not ours.
        drop(file::open_reader(path)?);
        let path = path
            .canonicalize()
            .map_err(|source| file::unwritable(path, source))?;
        let collector = match lock::try_lock(&path, lock::COLLECTOR)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder)),
        };
        let replay = match lock::try_lock(&path, lock::REPLAY)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder)),
        };
        let connection = file::open_reader(&path)?;
        schema::check_readable(&connection, &path)?;
        Ok(Ok(Self {
            connection,
            path,
            _locks: [collector, replay],
        }))
    }

    /// Stands for what is in the file: it changes with every change that rows which
    /// are copied once may take.
    pub(crate) fn mark(&self) -> Result<i64, StoreError> {
        let mark = || -> Answer<_> {
            // Every change of a task is in the log.
            let log = "SELECT position, stored_at, task, run, status FROM log ORDER BY position";
            let mut log = self.connection.prepare(log)?;
            let mut rows = log.query([])?;
            let mut hasher = Sha256::new();
            while let Some(row) = rows.next()? {
                for column in 0..5 {
                    hash(&mut hasher, row.get_ref(column)?);
                }
            }
            // To the others rows are added, or, with a row in `repairs`, taken their
            // content.
            for (name, key) in TABLES
                .iter()
                .filter_map(|table| Some((table.name, table.key?)))
            {
                let sql = format!("SELECT count(*), coalesce(max({key}), 0) FROM {name}");
                let (count, last): (i64, i64) = self
                    .connection
                    .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
                hasher.update(count.to_be_bytes());
                hasher.update(last.to_be_bytes());
            }
            let hash = hasher.finalize();
            let first = <[u8; 8]>::try_from(&hash[..8]).expect("a hash has 32 bytes");
            Ok(i64::from_be_bytes(first))
        };
        mark().map_err(|fault| fault.at(&self.path))
    }

    /// How many rows a table has.
    pub(crate) fn count(&self, table: &Table) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let count = self
            .connection
            .query_row(&sql, [], |row| columns::natural(row, 0));
        count.map_err(|error| Fault::from(error).at(&self.path))
    }

    /// Rows of a table whose key is greater than `after`, in their order; all of
    /// those of a table without one.
    pub(crate) fn rows(&self, table: &Table, after: i64) -> Result<Vec<Vec<Cell>>, StoreError> {
        let rows = || -> Answer<_> {
            let names = table.columns.iter().map(|(name, _)| format!("\"{name}\""));
            let names = names.collect::<Vec<_>>().join(", ");
            let which = table.key.map_or_else(String::new, |key| {
                format!("WHERE {key} > {after} ORDER BY {key} LIMIT {PART_ROWS_MAX}")
            });
            let sql = format!("SELECT {names} FROM {} {which}", table.name);
            let mut statement = self.connection.prepare(&sql)?;
            let mut found = statement.query([])?;
            let (mut rows, mut bytes) = (Vec::new(), 0);
            while let Some(row) = found.next()? {
                let cells = (0..table.columns.len()).map(|column| Ok(cell(row.get_ref(column)?)));
                let cells = cells.collect::<rusqlite::Result<Vec<_>>>()?;
                bytes += cells.iter().map(size).sum::<usize>();
                rows.push(cells);
                if bytes >= PART_BYTES_MAX && table.key.is_some() {
                    break;
                }
            }
            Ok(rows)
        };
        rows().map_err(|fault| fault.at(&self.path))
    }
}

/// Adds a value and where it ends.
fn hash(hasher: &mut Sha256, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => {}
        ValueRef::Integer(number) => hasher.update(number.to_be_bytes()),
        ValueRef::Real(number) => hasher.update(number.to_be_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.update(bytes),
    }
    hasher.update([0xFF]);
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        // The schema is strict: there are none.
        ValueRef::Real(number) => Cell::Int(number as i64),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Null | Cell::Int(_) => 8,
        Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
    }
}
