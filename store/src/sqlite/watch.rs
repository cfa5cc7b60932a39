//! Notices commits by any process: SQLite tells each connection whether another
//! one has committed, but only if it is asked.

use std::time::Duration;

use super::pool::{Pool, Reader};
use crate::error::StoreError;

/// How often a [`Watch`] looks at first: a person does not notice 5 ms, and one
/// look costs some microseconds.
const LOOK_FIRST: Duration = Duration::from_millis(5);

/// How often it looks once nothing has come for a while.
const LOOK_MAX: Duration = Duration::from_millis(20);

/// Looks for commits.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Its own, since what SQLite tells of other processes is told per
    /// connection. `None` after a look at it was cancelled or failed.
    reader: Option<Reader>,
    pool: Pool,
    /// The version that was last seen; `None` if there is nothing to compare
    /// with, so that whatever is there counts as changed.
    seen: Option<i64>,
}

impl Watch {
    /// Watches from now on.
    pub(super) async fn new(pool: Pool) -> Result<Self, StoreError> {
        let mut watch = Self {
            reader: Some(pool.reader().await?),
            pool,
            seen: None,
        };
        watch.seen = watch.version().await?;
        Ok(watch)
    }

    /// Returns within 20 ms of a commit that was not noticed yet.
    pub(crate) async fn changed(&mut self) -> Result<(), StoreError> {
        let mut pause = LOOK_FIRST;
        loop {
            let version = self.version().await?;
            let same = version.is_some() && version == self.seen;
            self.seen = version;
            if !same {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// A number that differs after each commit by another connection; `None`
    /// from a new reader, whose numbers cannot be compared with those before.
    async fn version(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(reader) = self.reader.take() else {
            self.reader = Some(self.pool.reader().await?);
            return Ok(None);
        };
        let (reader, version) = self.pool.version(reader).await;
        let version = version?;
        // Without a version another file has taken its place.
        self.reader = version.is_some().then_some(reader);
        Ok(version)
    }
}
