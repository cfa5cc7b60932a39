//! Opens the file: creates it for its owner only, and tells ours from others.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use super::schema;
use crate::error::StoreError;

/// How long a statement waits for another process. Readers never wait for the
/// writer; only recovery after a crash and checkpoints take a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of the write-ahead log before they are moved into the database: 16 MiB
/// of 4 KiB pages. Fewer would move pages that many groups write to each time.
const CHECKPOINT_PAGES: u32 = 4_000;

/// What a write-ahead log that once grew, while somebody read for long, is cut
/// to: 64 MiB.
const LOG_BYTES_MAX: u32 = 64 << 20;

/// Page cache of the writer, as SQLite wants it: 16 MiB in negative KiB. It
/// holds the index pages that new rows go to.
const CACHE_KIB: i32 = -(16 << 10);

/// Only the owner reads or writes: outcomes may hold what nobody else may see.
/// SQLite gives the files it creates beside the database the same mode.
const MODE: u32 = 0o600;

/// Tells a file from one that has taken its path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl From<Metadata> for FileId {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Which file is at `path`, `None` if there is none.
pub(super) fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(FileId::from)
}

/// Where SQLite keeps the write-ahead log of the database at `path`.
pub(super) fn log(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Opens the file at `path` for reading. Never creates it.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    // SQLite itself does not tell why it cannot open a file.
    std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { store: path.into() },
        _ => unreadable(path, source),
    })?;
    refuse_folder(path)?;
    let open = || -> Result<_, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    let connection = open().map_err(|fault| unreadable_if_closed(fault.at(path)))?;
    schema::check(&connection, path).map_err(unreadable_if_closed)?;
    schema::check_readable(&connection, path)?;
    Ok(connection)
}

/// SQLite calls it an error of the disk.
fn refuse_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        let (store, what) = (path.into(), "it is a directory");
        return Err(StoreError::Foreign { store, what });
    }
    Ok(())
}

/// To a reader a file that cannot be opened is unreadable.
fn unreadable_if_closed(error: StoreError) -> StoreError {
    match error {
        StoreError::Unwritable { path, source } => {
            let source = why(OpenOptions::new().read(true), &path, source);
            StoreError::Unreadable { path, source }
        }
        other => other,
    }
}

/// Why SQLite could not open the file, which it does not tell: what the system
/// says, or else SQLite's own words.
fn why(options: &OpenOptions, path: &Path, told: io::Error) -> io::Error {
    match options.open(path) {
        Err(error) => error,
        Ok(file) => {
            // Closing it would drop the locks that other connections of this
            // process have on it: https://www.sqlite.org/howtocorrupt.html
            // section 2.2. It stays open until the process ends.
            std::mem::forget(file);
            told
        }
    }
}

/// The error of a file at or beside `path` that cannot be read.
pub(super) fn unreadable(path: &Path, source: io::Error) -> StoreError {
    StoreError::Unreadable {
        path: path.into(),
        source,
    }
}

/// The error of a file at or beside `path` that cannot be created or written.
pub(super) fn unwritable(path: &Path, source: io::Error) -> StoreError {
    StoreError::Unwritable {
        path: path.into(),
        source,
    }
}

/// Creates an empty file at `path`, unless there is one.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    match private().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::NoDirectory { path: path.into() })
        }
        Err(error) => Err(unwritable(path, error)),
    }
}

/// Opens the file beside the database at `path`, created if it is not there.
pub(super) fn open_beside(path: &Path) -> Result<File, StoreError> {
    let opened = private().create(true).truncate(false).read(true).open(path);
    opened.map_err(|source| unwritable(path, source))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    options
}

/// Opens the file at `path` for writing and checks that it is ours, or empty.
/// Changes nothing in it.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    refuse_folder(path)?;
    let open = || -> Result<_, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    let connection = open().map_err(|fault| match fault.at(path) {
        StoreError::Unwritable { path, source } => {
            let source = why(OpenOptions::new().read(true).write(true), &path, source);
            StoreError::Unwritable { path, source }
        }
        other => other,
    })?;
    if connection.is_readonly(rusqlite::MAIN_DB).unwrap_or(false) {
        let source = io::ErrorKind::PermissionDenied.into();
        return Err(unwritable(path, source));
    }
    schema::check(&connection, path)?;
    Ok(connection)
}

/// Makes every commit of `connection` survive a crash of the system.
pub(super) fn make_durable(connection: &Connection) -> Result<(), Fault> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        let mode: String = row.get(0)?;
        if mode == "wal" {
            return Ok(());
        }
        // Such as on a file system without shared memory.
        Err(Fault::corrupt(0, "it cannot have a write-ahead log here"))
    })?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With less, power loss may take back what was committed:
    /// <https://www.sqlite.org/pragma.html#pragma_synchronous>.
    #[test]
    fn every_commit_of_a_writer_is_on_disk_before_it_returns() {
        const FULL: u32 = 2;
        let name = format!("homing-durable-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        create(&path).unwrap();

        let connection = open_writer(&path).unwrap();
        make_durable(&connection).unwrap();

        let asked = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
        assert_eq!(asked("synchronous"), Ok(FULL));
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
        drop(connection);
        std::fs::remove_file(path).unwrap();
    }
}
