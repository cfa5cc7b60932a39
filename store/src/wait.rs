use homing_protocol::{Outcome, Task, TaskId};

use crate::error::WaitError;
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
        let mut watch = self.watch().await?;
        loop {
            if let Some(record) = self.record(id).await?
                && record.report.status.is_closed()
            {
                let outcome = record.outcome();
                return outcome.map_err(|source| WaitError::Undecodable { id, source });
            }
            watch.changed().await?;
        }
    }
}
