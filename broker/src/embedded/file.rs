//! The file of the embedded broker: opens it, tells ours from others, and says
//! who may write to it now.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, ffi};

use crate::error::BrokerError;

/// `HOMQ`: marks a SQLite file as ours
/// (<https://sqlite.org/pragma.html#pragma_application_id>).
const APPLICATION_ID: i32 = 0x484F_4D51;

/// The schema this version reads and writes.
const SCHEMA: i32 = 1;

/// How long a statement waits for another process. Who writes is decided by a
/// lock of our own; recovery after a crash takes a moment.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one waits for its turn before that is an error: less than the patience
/// of a one-shot verb, which is to say why.
const TURN_TIME_MAX: Duration = Duration::from_secs(3);

/// Between two looks at whose turn it is.
const TURN_WAIT_MIN: Duration = Duration::from_micros(50);

/// The same, after a while.
const TURN_WAIT_MAX: Duration = Duration::from_millis(1);

/// Prepared statements that are kept: every one that is used again and again.
const STATEMENTS_MAX: usize = 64;

/// Only the owner reads or writes: tasks may hold what nobody else may see.
const MODE: u32 = 0o600;

/// The same, of a folder.
const MODE_FOLDER: u32 = 0o700;

/// Where messages are, and the right to write there.
pub(super) struct QueueFile {
    connection: Connection,
    disk: Option<Disk>,
}

/// A file beside which others may work.
struct Disk {
    path: PathBuf,
    /// Which file was there when it was opened.
    id: Option<(u64, u64)>,
    /// Held while something is written. SQLite would poll for its own.
    turn: File,
}

/// `path` with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    options
}

/// Opens the file at `path`, created for its owner only if it is not there.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    private().create(true).truncate(false).read(true).open(path)
}

/// The folder of what lives beside the file at `path`: who works with it.
pub(super) fn clients(path: &Path) -> PathBuf {
    beside(path, "-clients")
}

/// The same, created for its owner only if it is not there.
pub(super) fn clients_of(path: &Path) -> io::Result<PathBuf> {
    let folder = clients(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(MODE_FOLDER).create(&folder)?;
    Ok(folder)
}

impl QueueFile {
    /// A broker of this process alone, gone with it.
    pub(super) fn in_memory() -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        create(&mut connection)?;
        let disk = None;
        Ok(Self { connection, disk })
    }

    /// The file at `path`, created if there is none.
    ///
    /// # Errors
    ///
    /// [`BrokerError::File`]: it is not ours, or newer, or cannot be written;
    /// [`BrokerError::Unreachable`]: another process writes, or the disk is full.
    pub(super) fn open(path: &Path, place: &str) -> Result<Self, BrokerError> {
        let refuse = |problem: String| BrokerError::File {
            path: path.to_owned(),
            problem,
        };
        let unwritable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => refuse("its folder does not exist".to_owned()),
            _ => refuse(error.to_string()),
        };
        if path.is_dir() {
            return Err(refuse("it is a directory".to_owned()));
        }
        match private().create_new(true).open(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unwritable(error));
            }
            _ => {}
        }
        // One file has one lock, by whatever path it is named.
        let path = path.canonicalize().map_err(unwritable)?;
        let folder = clients_of(&path).map_err(unwritable)?;
        let turn = open_private(&folder.join("turn")).map_err(unwritable)?;
        let connection = Connection::open(&path).map_err(|error| refuse(error.to_string()))?;
        let mut file = Self {
            connection,
            disk: Some(Disk {
                id: id(&path),
                path,
                turn,
            }),
        };
        match file.prepare() {
            Ok(None) => Ok(file),
            Ok(Some(problem)) => Err(refuse(problem)),
            Err(error) if may_pass(&error) => Err(BrokerError::Unreachable {
                place: place.to_owned(),
                cause: error.to_string(),
            }),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Makes it ours if it is empty. Answers with what is wrong with it.
    fn prepare(&mut self) -> rusqlite::Result<Option<String>> {
        let connection = &self.connection;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "trusted_schema", false)?;
        let turn = self.take_turn()?;
        let is_empty = match state(connection)? {
            Ok(schema) => schema.is_none(),
            Err(problem) => return Ok(Some(problem)),
        };
        // What is confirmed is on disk, see `sync`; a lease need not be.
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Ok(Some(format!("SQLite keeps no log there, but `{mode}`")));
        }
        connection.pragma_update(None, "synchronous", "normal")?;
        // 16 MiB of pages before they are moved into the database, and in memory.
        connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "cache_size", -(16 << 10))?;
        if is_empty {
            create(&mut self.connection)?;
        }
        drop(turn);
        Ok(None)
    }

    /// The path, if it is on disk.
    pub(super) fn path(&self) -> Option<&Path> {
        self.disk.as_ref().map(|disk| disk.path.as_path())
    }

    /// Whether another file is at the path now, or none: what is written here then
    /// nobody will read.
    pub(super) fn is_gone(&self) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| id(&disk.path) != disk.id)
    }

    /// What was committed is on disk once this log is.
    pub(super) fn log(&self) -> io::Result<Option<File>> {
        let path = self.path().map(|path| beside(path, "-wal"));
        path.map(File::open).transpose()
    }

    /// Waits until nobody else writes.
    fn take_turn(&self) -> rusqlite::Result<Option<Turn>> {
        // Without a lock of its own SQLite waits, less well.
        let turn = self.disk.as_ref().map(|disk| disk.turn.try_clone());
        let Some(Ok(turn)) = turn else {
            return Ok(None);
        };
        let (began, mut wait) = (Instant::now(), TURN_WAIT_MIN);
        loop {
            match turn.try_lock() {
                Ok(()) => return Ok(Some(Turn(turn))),
                Err(TryLockError::Error(_)) => return Ok(None),
                Err(TryLockError::WouldBlock) if began.elapsed() < TURN_TIME_MAX => {
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(TURN_WAIT_MAX);
                }
                Err(TryLockError::WouldBlock) => {
                    let secs = TURN_TIME_MAX.as_secs();
                    let text = format!("another process has been writing for {secs} s");
                    let busy = ffi::Error::new(ffi::SQLITE_BUSY);
                    return Err(rusqlite::Error::SqliteFailure(busy, Some(text)));
                }
            }
        }
    }

    /// Does `work` in a transaction. Nothing of it is done if it fails.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let turn = self.take_turn()?;
        let immediate = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        drop(turn);
        Ok(done)
    }

    /// Reads without a turn.
    pub(super) const fn read(&self) -> &Connection {
        &self.connection
    }
}

/// Tells a file from one that has taken its path.
fn id(path: &Path) -> Option<(u64, u64)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

/// Whether waiting may cure an error.
fn may_pass(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull};

    let code = error.sqlite_error_code();
    matches!(code, Some(DatabaseBusy | DatabaseLocked | DiskFull))
}

/// Given back when dropped: the lock is that of the open file, which clones share.
struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        let _gone = self.0.unlock();
    }
}

/// The schema of the file, `None` if it is empty, or why it cannot be used.
pub(super) fn state(connection: &Connection) -> rusqlite::Result<Result<Option<u32>, String>> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(tables, (), |row| row.get(0))?;
    Ok(
        match (number("application_id")?, number("user_version")?, tables) {
            (APPLICATION_ID, SCHEMA, _) => Ok(Some(SCHEMA.cast_unsigned())),
            (0, 0, 0) => Ok(None),
            (APPLICATION_ID, found, _) => Err(format!(
                "it has schema {found}, this version knows {SCHEMA}: use the newer Homing"
            )),
            _ => Err("it is another program's database".to_owned()),
        },
    )
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(include_str!("schema.sql"))?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("homing-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("queue.db")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    fn problem(path: &Path) -> String {
        match QueueFile::open(path, "a test") {
            Err(BrokerError::File { problem, .. }) => problem,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => "none".to_owned(),
        }
    }

    #[test]
    fn a_file_of_ours_is_opened_again_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = Folder::new("again");
        let path = folder.file();

        assert_eq!(
            (problem(&path), problem(&path)),
            ("none".to_owned(), "none".to_owned())
        );
        for path in [
            path.clone(),
            beside(&path, "-clients"),
            clients(&path).join("turn"),
        ] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn another_programs_file_and_a_newer_one_are_refused_and_not_changed() {
        let folder = Folder::new("foreign");
        let path = folder.file();
        let cases = [
            (
                "CREATE TABLE t (x); PRAGMA user_version = 1",
                "another program's database",
            ),
            (
                "PRAGMA application_id = 1213156689; PRAGMA user_version = 9; CREATE TABLE t (x)",
                "it has schema 9, this version knows 1",
            ),
        ];
        for (sql, expected) in cases {
            let _none = std::fs::remove_file(&path);
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            let before = std::fs::read(&path).unwrap();

            let problem = problem(&path);

            assert!(problem.contains(expected), "{problem}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
        std::fs::write(
            &path,
            "no database at all, but long enough to be read as one\n",
        )
        .unwrap();
        assert!(problem(&path).contains("not a database"));
        assert!(problem(&folder.0).contains("directory"));
        assert!(problem(&folder.0.join("no/queue.db")).contains("folder does not exist"));
    }
}
