//! Watches a store from outside, the same way whoever fills it.
//!
//! By SQL and not by Homing's own reader, which the bare program's store has
//! none of: both are to be seen at the same cost.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, ToSql};

/// Time between two looks for a lone task: a tenth of what one takes.
const LOOK_EVERY: Duration = Duration::from_micros(100);

/// How long a lone task may take before it counts as lost.
const LONE_TIME_MAX: Duration = Duration::from_secs(30);

/// Whose tables a store has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// The bare program's.
    Bare,
    /// Homing's.
    Homing,
}

impl Layout {
    /// How many tasks of batches are stored; answered without a scan, since it
    /// is asked while the store is being filled.
    const fn progress(self) -> &'static str {
        match self {
            Self::Bare => "SELECT coalesce(max(rowid), 0) FROM results",
            Self::Homing => {
                "SELECT coalesce(sum(tasks), 0) FROM batch_counts WHERE status = 'succeeded'"
            }
        }
    }

    /// How many rows are stored, each counted.
    const fn rows(self) -> &'static str {
        match self {
            Self::Bare => "SELECT count(*) FROM results",
            Self::Homing => {
                "SELECT count(*) FROM tasks WHERE batch IS NOT NULL AND status = 'succeeded'"
            }
        }
    }

    const fn one(self) -> &'static str {
        match self {
            Self::Bare => "SELECT 1 FROM results WHERE id = ?1",
            Self::Homing => "SELECT 1 FROM tasks WHERE task = ?1 AND status = 'succeeded'",
        }
    }
}

/// A store, opened for reading.
#[derive(Debug)]
pub struct Watch {
    db: Connection,
    layout: Layout,
}

impl Watch {
    /// Opens the store in the file `path`.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn open(path: &Path, layout: Layout) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)
            .with_context(|| format!("cannot open the store {}", path.display()))?;
        Ok(Self { db, layout })
    }

    /// How many tasks of batches are stored so far.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn progress(&self) -> anyhow::Result<u64> {
        self.number(self.layout.progress())
    }

    /// How many rows of tasks of batches there are, each counted.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn rows(&self) -> anyhow::Result<u64> {
        self.number(self.layout.rows())
    }

    /// Blocks until the task `id` is stored.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or the task does not come in 30 seconds.
    pub fn await_task(&self, id: impl ToSql) -> anyhow::Result<()> {
        let since = Instant::now();
        let mut look = self.db.prepare_cached(self.layout.one())?;
        while look.query_row([&id], |_| Ok(())).optional()?.is_none() {
            if since.elapsed() > LONE_TIME_MAX {
                bail!("a lone task was not stored within {LONE_TIME_MAX:?}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let number: i64 = self
            .db
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?;
        Ok(u64::try_from(number)?)
    }
}
