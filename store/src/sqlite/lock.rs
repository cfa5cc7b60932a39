//! Decides which process writes: a lock on a file beside the database.
//!
//! The system gives the lock back when its process ends, in whatever way, so
//! the next one need not guess whether the holder still lives. The file itself
//! stays: whoever removed it would let two in.

use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use homing_faults::{Point, crash_point};
use homing_protocol::Timestamp;

use super::file::{self, FileId};
use super::health;
use super::writer::Writer;
use crate::error::StoreError;
use crate::writer::Holder;

/// Most bytes read of what the holder wrote: it is one short line.
const HOLDER_BYTES_MAX: u64 = 400;

/// The lock that decides which process collects.
pub(super) const COLLECTOR: &str = "collector";

/// The lock that decides which process replays.
pub(super) const REPLAY: &str = "replay";

/// Stands in line for the lock.
#[derive(Debug)]
pub(crate) struct Standby {
    database: PathBuf,
    beside: PathBuf,
    file: File,
}

/// The right to write. Dropped, the next process has it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Whether it is the lock of the database at the canonical path `database`,
    /// and not of one that was there before.
    pub(super) fn is_at(&self, database: &Path) -> bool {
        let ours = self.file.metadata().ok().map(FileId::from);
        ours.is_some() && ours == file::file_id(&beside(database, COLLECTOR))
    }
}

impl Standby {
    /// Creates the database at `path` if there is none, checks that it is ours,
    /// and gets in line for it.
    pub(crate) fn new(path: &Path) -> Result<Self, StoreError> {
        file::create(path)?;
        crash_point(Point::StoreCreated);
        // One database has one lock, by whatever path it is named.
        let database = path
            .canonicalize()
            .map_err(|source| file::unwritable(path, source))?;
        // Looked at before it has the lock, so that a takeover is at once.
        let connection = file::open_writer(&database)?;
        health::check(&connection).map_err(|fault| fault.at(&database))?;
        drop(connection);
        let beside = beside(&database, COLLECTOR);
        Ok(Self {
            file: file::open_beside(&beside)?,
            database,
            beside,
        })
    }

    /// Who has the lock, as far as it can be read.
    pub(crate) fn holder(&self) -> Holder {
        holder(&self.beside)
    }

    /// Takes the lock and opens the store, if nobody has it.
    pub(crate) fn try_take(self) -> Result<Result<Writer, Self>, StoreError> {
        match self.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(self)),
            Err(TryLockError::Error(source)) => return Err(file::unwritable(&self.beside, source)),
        }
        crash_point(Point::StoreLocked);
        let mut file = self.file;
        sign(&mut file).map_err(|source| file::unwritable(&self.beside, source))?;
        Writer::open(&self.database, Lock { file }).map(Ok)
    }
}

/// Takes the lock for `what` on the database at the canonical path `database`,
/// or says who has it.
pub(super) fn try_lock(database: &Path, what: &str) -> Result<Result<Lock, Holder>, StoreError> {
    let beside = beside(database, what);
    let mut file = file::open_beside(&beside)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(holder(&beside))),
        Err(TryLockError::Error(source)) => return Err(file::unwritable(&beside, source)),
    }
    sign(&mut file).map_err(|source| file::unwritable(&beside, source))?;
    Ok(Ok(Lock { file }))
}

fn beside(database: &Path, what: &str) -> PathBuf {
    let mut beside = database.as_os_str().to_owned();
    beside.push(".");
    beside.push(what);
    beside.into()
}

/// Who collects into the database at `path`, `None` if nobody does.
pub(crate) fn collects(path: &Path) -> Result<Option<Holder>, StoreError> {
    let unreadable = |source| file::unreadable(path, source);
    let database = path.canonicalize().map_err(unreadable)?;
    let beside = beside(&database, COLLECTOR);
    let file = match File::open(&beside) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file::unreadable(&beside, source)),
    };
    // Kept for a moment: a collector that begins right now stands by, and tries again.
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&beside))),
        Err(TryLockError::Error(source)) => Err(file::unreadable(&beside, source)),
    }
}

/// Who signed the file.
fn holder(beside: &Path) -> Holder {
    use std::io::Read as _;

    let mut text = String::new();
    let read =
        File::open(beside).and_then(|file| file.take(HOLDER_BYTES_MAX).read_to_string(&mut text));
    let known = read.is_ok() && !text.trim().is_empty();
    Holder(if known {
        text.trim().to_owned()
    } else {
        "another process".to_owned()
    })
}

/// Says in the file who has the lock, for people to read.
fn sign(file: &mut File) -> io::Result<()> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "this host",
        host => host,
    };
    let (process, since) = (std::process::id(), Timestamp::from(SystemTime::now()));
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {process} on {host}, since {since} ms")
}
