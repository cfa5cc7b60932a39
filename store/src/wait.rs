use homing_protocol::{Outcome, Task, TaskId};

use crate::error::{StoreError, WaitError};
use crate::record::Record;
use crate::store::Store;

impl Store {
    /// Waits until the task is closed, for ever: put a timeout around it.
    ///
    /// # Errors
    ///
    /// [`WaitError::Undecodable`] if the outcome is not of this type.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub async fn wait<T: Task>(&self, id: TaskId) -> Result<Outcome<T>, WaitError> {
        let outcome = self.closed(id).await?.outcome();
        outcome.map_err(|source| WaitError::Undecodable { id, source })
    }

    /// Waits until the task, of whatever type, is closed, for ever.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub async fn closed(&self, id: TaskId) -> Result<Record, StoreError> {
        let mut watch = self.watch().await?;
        loop {
            let record = self.record(id).await?;
            if let Some(record) = record.filter(|record| record.report.status.is_closed()) {
                return Ok(record);
            }
            watch.changed().await?;
        }
    }
}
