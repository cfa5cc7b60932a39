use std::path::Path;

use anyhow::Context as _;
use rusqlite::Connection;

use crate::clock::now_ns;

/// A table of outcomes: id, body, time.
pub(super) struct Sink(Connection);

impl Sink {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let db = Connection::open(path)
            .with_context(|| format!("cannot open the store {}", path.display()))?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE results (
                 id        TEXT PRIMARY KEY,
                 body      BLOB NOT NULL,
                 stored_at INTEGER NOT NULL
             ) STRICT;",
        )?;
        Ok(Self(db))
    }

    /// Stores all of them in one commit. One that is there already stays.
    pub(super) fn store(&mut self, outcomes: &[(String, Vec<u8>)]) -> rusqlite::Result<()> {
        let commit = self.0.transaction()?;
        let stored_at = now_ns() / 1_000_000;
        let mut insert =
            commit.prepare_cached("INSERT OR IGNORE INTO results VALUES (?1, ?2, ?3)")?;
        for (id, body) in outcomes {
            insert.execute((id, body, stored_at.cast_signed()))?;
        }
        drop(insert);
        commit.commit()
    }
}
